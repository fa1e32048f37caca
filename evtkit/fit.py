"""Fitting the generalised Pareto distribution to excesses: one call for one channel or thousands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import as_columns, real_array
from evtkit._common.results import Result
from evtkit._common.threads import chunks, for_each

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["FitStatus", "GpdFit", "fit_gpd"]

_CHUNK_VALUES = 1 << 17  # values copied at a time, 1 MiB


class FitStatus(IntEnum):
    """What became of a fit.

    Examples
    --------
    >>> from evtkit import FitStatus, fit_gpd
    >>> fit = fit_gpd([2.0, 2.0, 2.0])
    >>> FitStatus(int(fit.status)).name
    'CONSTANT'
    """

    OK = 0
    """A fit; by maximum likelihood, one in the interior, ξ > −1."""
    BOUNDARY = 1
    """The likelihood is largest at ξ = −1, a uniform distribution up to the largest excess. A legitimate answer."""
    CONSTANT = 2
    """All excesses are equal. The likelihood's maximum, ξ = −1 and σ = the excess, says nothing of a tail."""
    TOO_FEW = 3
    """One excess: no fit."""
    EMPTY = 4
    """No excess: no fit."""
    NO_SOLUTION = 5
    """The estimator has no valid value for this sample (the moment estimators, now and then)."""

    @property
    def is_fitted(self) -> bool:
        """Whether ξ and σ describe a tail: OK or BOUNDARY."""
        return self <= FitStatus.BOUNDARY


@dataclass(frozen=True, eq=False)
class GpdFit(Result):
    """Generalised Pareto parameters of one or many channels; every field has one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    xi : ndarray of float64
        Shape ξ; NaN where there is no fit.
    sigma : ndarray of float64
        Scale σ, in the units of the excesses.
    loglik : ndarray of float64
        Log-likelihood at (ξ, σ).
    n : ndarray of int64
        Number of excesses used; NaN padding is not counted.
    status : ndarray of int64
        A `FitStatus` each.
    se_xi, se_sigma : ndarray of float64
        Standard errors from the observed information. NaN where ξ ≤ −0.5, where they do not exist (Smith 1985), and for
        estimators other than maximum likelihood.
    cov : ndarray of float64
        Covariance of the estimates of σ and ξ, likewise.
    method : str
        The estimator.
    resolution : ndarray of float64, or None
        The step of the lattice that the excesses were taken to be rounded to; 0 for none.

    See Also
    --------
    fit_gpd : makes it.

    Examples
    --------
    >>> from evtkit import fit_gpd, gpd
    >>> fit = fit_gpd(gpd.rvs(0.2, 1.0, size=(300, 2), rng=0))
    >>> fit
    GpdFit(2 channels: 2 OK; method='mle')
    >>> fit.xi.round(3), fit.se_xi.round(3), fit.status
    (array([0.109, 0.214]), array([0.065, 0.066]), array([0, 0]))
    """

    xi: Float
    sigma: Float
    loglik: Float
    n: NDArray[np.int64]
    status: NDArray[np.int64]
    se_xi: Float
    se_sigma: Float
    cov: Float
    method: str = "mle"
    resolution: Float | None = None

    def __repr__(self) -> str:
        if self.xi.ndim == 0:
            return (
                f"GpdFit(xi={self.xi:.6g} ± {self.se_xi:.2g}, sigma={self.sigma:.6g} ± {self.se_sigma:.2g}, "
                f"loglik={self.loglik:.6f}, n={self.n}, status={FitStatus(int(self.status)).name}, "
                f"method={self.method!r})"
            )
        names = [f"{np.count_nonzero(self.status == s)} {s.name}" for s in FitStatus if np.any(self.status == s)]
        return f"GpdFit({'×'.join(map(str, self.xi.shape))} channels: {', '.join(names)}; method={self.method!r})"


def fit_gpd(
    excesses: ArrayLike,
    *,
    axis: int = 0,
    method: str = "mle",
    resolution: float | None = 0.0,
    n_threads: int | None = None,
) -> GpdFit:
    """Fit a generalised Pareto distribution to the excesses of each channel.

    Parameters
    ----------
    excesses : array_like
        Excesses over a threshold, x − u for x > u, hence positive; observations along `axis`, channels along the
        others. NaN is padding: channels may be ragged. float32 is computed in float64.
    axis : int
        The axis of the observations.
    method : str
        ``"mle"`` the exact maximum of the likelihood over ξ ≥ −1 (Grimshaw 1993; see `evtkit._kernels.grimshaw`);
        ``"pwm"`` unbiased probability-weighted moments (Hosking & Wallis 1987); ``"zhang-stephens"`` (Zhang &
        Stephens 2009); ``"moments"`` (Hosking & Wallis 1987); ``"spot-script"`` the fitter of the first POT-saliency
        code, two known defects included, for comparison only (see `evtkit.estimators`).
    resolution : float or None
        The step δ that excesses are rounded to. An excess y then stands for all within δ/2 of it, its likelihood is a
        difference of two survival functions, and ξ and σ are those of the excesses over the middle between the last two
        lattice points that lie at 0 or around it (`fit_tail` puts its threshold there). 0, the default, takes excesses
        as they are; None finds δ. For maximum likelihood only; a δ too fine to matter makes no difference.
    n_threads : int, optional
        Threads for many channels; default EVTKIT_NUM_THREADS or all processors. The result does not depend on it.

    Returns
    -------
    GpdFit
        Fields of the shape of `excesses` without `axis`.

    Raises
    ------
    ValueError
        If an excess is infinite, zero or negative, the data are not numbers or have no axis `axis`, `method` is
        unknown or `resolution` negative.

    Examples
    --------
    >>> from evtkit import fit_gpd, gpd
    >>> fit = fit_gpd(gpd.rvs(0.2, 3.0, size=1000, rng=0))
    >>> fit
    GpdFit(xi=0.173458 ± 0.035, sigma=3.16133 ± 0.15, loglik=-2324.449232, n=1000, status=OK, method='mle')
    >>> fit_gpd(gpd.rvs(-0.3, 1.0, size=(500, 4), rng=0)).xi.round(2)
    array([-0.27, -0.29, -0.29, -0.32])
    """
    from evtkit.estimators import METHODS

    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    columns, shape = as_columns(real_array(excesses, "excesses"), axis, "excesses")
    n, channels = columns.shape
    result, counts = np.empty((channels, 7)), np.empty(channels, dtype=np.int64)
    steps = rounding_steps(resolution, channels, method)

    def work(piece: slice) -> None:
        rows = np.array(columns[:, piece].T, dtype=np.float64, order="C")
        METHODS[method](rows, result[piece], counts[piece])
        if resolution != 0.0 and method == "mle":
            from evtkit._kernels.grouped import fit_rounded_rows  # deferred: compiled

            fit_rounded_rows(rows, steps[piece], result[piece])

    for_each(work, chunks(channels, max(1, _CHUNK_VALUES // max(1, n))), n_threads)
    if (bad := result[:, 0] < 0).any():
        channel = columns[:, np.flatnonzero(bad)[0]]
        wrong = channel[~np.isnan(channel) & ~((channel > 0) & (channel < np.inf))][0]
        raise ValueError(
            f"excesses must be positive and finite (x − u for x > u; NaN is padding), got {float(wrong)!r}"
        )
    return as_fit(result, counts, shape, method, steps)


def rounding_steps(resolution: float | None, channels: int, method: str = "mle") -> Float:
    """The steps that kernels start from: NaN where they are to be found, which only maximum likelihood can use."""
    if resolution is not None and not 0.0 <= resolution < np.inf:
        raise ValueError(f"resolution must be a step of at least 0, or None to find it, got {resolution!r}")
    if method != "mle":
        return np.zeros(channels)
    return np.full(channels, np.nan if resolution is None else float(resolution))


def as_fit(
    result: Float, counts: NDArray[np.int64], shape: tuple[int, ...], method: str, resolution: Float | None = None
) -> GpdFit:
    """A GpdFit from what the kernels return: status, ξ, σ, ℓ, var σ/σ̂, var ξ, their cov, a channel."""
    block = np.array(result.T, order="C").reshape(7, *shape)
    np.sqrt(block[4:6], out=block[4:6])
    block[4::2] *= block[2]
    status, xi, sigma, loglik, se_sigma, se_xi, cov = (block[i, ...] for i in range(7))
    return GpdFit(
        xi=xi,
        sigma=sigma,
        loglik=loglik,
        n=counts.reshape(shape),
        status=status.astype(np.int64),
        se_xi=se_xi,
        se_sigma=se_sigma,
        cov=cov,
        method=method,
        resolution=None if resolution is None else resolution.reshape(shape),
    )
