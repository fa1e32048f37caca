r"""The generalised extreme-value distribution (GEV), for block maxima.

Location μ, scale σ > 0 and shape ξ, with the sign of `evtkit.gpd`: ξ > 0 is a heavy tail (scipy's ``c = −ξ``).

.. math::

    F(x) = \exp(-e^{-g}), \qquad g = \log(1 + ξ s)/ξ, \qquad s = (x - μ)/σ, \qquad g = s \text{ where } ξ = 0.

Functions broadcast, compute in float64, return NaN where an argument is NaN and raise ``ValueError`` where σ ≤ 0 or a
parameter is infinite. All are built from g, which log1p(ξs)/ξ gives without cancellation through ξ = 0.

Examples
--------
>>> from evtkit import gev
>>> print(gev.isf(0.01, 0.1, mu=4.0, sigma=0.2).round(4))  # the level of a 100-year maximum
5.1682
>>> fit = gev.fit_gev(gev.rvs(0.1, 4.0, 0.2, size=200, rng=1))
>>> print(f"μ = {fit.mu:.3f}, σ = {fit.sigma:.3f}, ξ = {fit.xi:.3f}")
μ = 3.995, σ = 0.195, ξ = 0.025
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import elementwise
from evtkit._common.threads import chunks, for_each
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["GevFit", "cdf", "fit_gev", "isf", "logpdf", "logsf", "pdf", "ppf", "rvs", "sf"]

_CHUNK_VALUES = 1 << 14  # maxima fitted by a thread at a time


@elementwise
def logpdf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Logarithm of the density, −log σ − (1 + ξ) g − e^(−g).

    Parameters
    ----------
    x : array_like
        Maxima.
    xi, mu, sigma : array_like
        Shape (dimensionless), location and scale (> 0) in the units of `x`; broadcast with it.

    Returns
    -------
    ndarray of float64
        −inf outside the support.

    Raises
    ------
    ValueError
        Where sigma ≤ 0, or a parameter is infinite.
    """
    values, shape, location, scale = _arguments(x, xi, mu, sigma)
    g = _reduced(values, shape, location, scale)
    with np.errstate(over="ignore", invalid="ignore"):
        bend = np.where(shape == -1.0, 0.0, (1.0 + shape) * g)  # at ξ = −1 the density is finite at its endpoint
        outside = np.isneginf(g) | (shape * ((values - location) / scale) < -1.0)
        return np.where(outside, -np.inf, -bend - np.exp(-g) - np.log(scale))[()]


@elementwise
def pdf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Density, in 1/`sigma`'s units. Arguments and errors as in `logpdf`."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(logpdf(x, xi, mu, sigma))


@elementwise
def cdf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Distribution function P(X ≤ x) = exp(−e^(−g)). Arguments and errors as in `logpdf`."""
    g = _reduced(*_arguments(x, xi, mu, sigma))
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(-np.exp(-g))


@elementwise
def sf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Survival function P(X > x), accurate far in the tail. Arguments and errors as in `logpdf`."""
    g = _reduced(*_arguments(x, xi, mu, sigma))
    with np.errstate(over="ignore"):
        return -np.expm1(-np.exp(-g))


@elementwise
def logsf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Logarithm of the survival function. Arguments and errors as in `logpdf`."""
    g = _reduced(*_arguments(x, xi, mu, sigma))
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        tail = np.exp(-g)
        # 1 − exp(−T) = T (1 − T/2 + …) for T = e^(−g) below rounding, where log T = −g
        out = np.where(g > 37.0, -g, np.log(-np.expm1(-tail)))
        return np.where(tail > 1.0, np.log1p(-np.exp(-tail)), out)[()]


@elementwise
def isf(p: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Level that a maximum exceeds with probability `p`: with annual maxima, the return level of 1/`p` years.

    Parameters
    ----------
    p : array_like
        Probabilities in [0, 1].
    xi, mu, sigma : array_like
        As in `logpdf`.

    Returns
    -------
    ndarray of float64
        An end of the support at p = 0 and p = 1.

    Raises
    ------
    ValueError
        Where p is outside [0, 1], sigma ≤ 0, or a parameter is infinite.
    """
    prob, shape, location, scale = _arguments(p, xi, mu, sigma)
    _check_probability(prob)
    with np.errstate(divide="ignore"):
        return _from_reduced(-np.log(-np.log1p(-prob)), shape, location, scale)


@elementwise
def ppf(q: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Quantile function, the inverse of `cdf`. Arguments and errors as in `isf`."""
    prob, shape, location, scale = _arguments(q, xi, mu, sigma)
    _check_probability(prob)
    with np.errstate(divide="ignore"):
        return _from_reduced(-np.log(-np.log(prob)), shape, location, scale)


def rvs(
    xi: ArrayLike,
    mu: ArrayLike,
    sigma: ArrayLike,
    size: int | tuple[int, ...] | None = None,
    rng: np.random.Generator | int | None = None,
) -> Float:
    """Draw random maxima; `size` and `rng` as in `evtkit.gpd.rvs`, other arguments and errors as in `logpdf`."""
    _, shape, location, scale = _arguments(0.0, xi, mu, sigma)
    draws = np.random.default_rng(rng).standard_exponential(shape.shape if size is None else size)
    return _from_reduced(*np.broadcast_arrays(-np.log(draws), shape, location, scale))


@dataclass(frozen=True, eq=False)
class GevFit:
    """Maximum-likelihood GEV parameters; every array has one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    xi, mu, sigma : ndarray of float64
        Shape, location and scale; NaN where there is no fit.
    loglik : ndarray of float64
        Log-likelihood.
    covariance : ndarray of float64, (..., 3, 3)
        Inverse of the observed information of (ξ, μ, σ); NaN where ξ ≤ −0.5, where it is not valid (Smith 1985).
    n : ndarray of int64
        Number of maxima; NaN padding is not counted.
    status : ndarray of int64
        An `evtkit.FitStatus` each: OK; BOUNDARY, where the likelihood is larger at ξ = −1, with the endpoint at the
        largest value, than at any local maximum; CONSTANT, TOO_FEW (one or two maxima) and EMPTY; NO_SOLUTION, where
        the likelihood grows towards the corner ξ → ∞ without any local maximum. The last four are no fit.
    """

    xi: Float
    mu: Float
    sigma: Float
    loglik: Float
    covariance: Float
    n: NDArray[np.int64]
    status: NDArray[np.int64]

    @property
    def se_xi(self) -> Float:
        """Standard error of ξ."""
        return np.sqrt(self.covariance[..., 0, 0])

    @property
    def se_mu(self) -> Float:
        """Standard error of μ."""
        return np.sqrt(self.covariance[..., 1, 1])

    @property
    def se_sigma(self) -> Float:
        """Standard error of σ."""
        return np.sqrt(self.covariance[..., 2, 2])

    def __repr__(self) -> str:
        if self.xi.ndim == 0:
            return (
                f"GevFit(xi={self.xi:.4g} ± {self.se_xi:.2g}, mu={self.mu:.6g} ± {self.se_mu:.2g}, "
                f"sigma={self.sigma:.4g} ± {self.se_sigma:.2g}, loglik={self.loglik:.6f}, n={self.n}, "
                f"status={FitStatus(int(self.status)).name})"
            )
        states = [f"{np.count_nonzero(self.status == s)} {s.name}" for s in FitStatus if np.any(self.status == s)]
        return f"GevFit({'×'.join(map(str, self.xi.shape))} channels: {', '.join(states)})"


def fit_gev(maxima: ArrayLike, *, axis: int = 0, n_threads: int | None = None) -> GevFit:
    """Fit a GEV distribution to the block maxima of each channel, by maximum likelihood over ξ ≥ −1.

    The estimator is the highest local maximum of the likelihood (Coles 2001, section 3.3.2). Without a restriction the
    likelihood is unbounded in two corners: where ξ < −1 and the endpoint is the largest value, and, more slowly, where
    ξ → ∞ and the endpoint is the smallest, which few or tied maxima make easy to run into. Neither is an answer.

    Parameters
    ----------
    maxima : array_like
        Block maxima; observations along `axis`, channels along the others. NaN is padding: channels may be ragged.
    axis : int
        The axis of the observations.
    n_threads : int, optional
        Threads for many channels; default EVTKIT_NUM_THREADS or all processors. The result does not depend on it.

    Returns
    -------
    GevFit
        Fields of the shape of `maxima` without `axis`.

    Raises
    ------
    ValueError
        If a maximum is infinite, or the data are not numbers or have no axis `axis`.

    Examples
    --------
    >>> from evtkit import gev
    >>> x = gev.rvs([-0.2, 0.0, 0.3], 10.0, 2.0, size=(500, 3), rng=0)
    >>> gev.fit_gev(x).xi.round(2)
    array([-0.18,  0.03,  0.29])
    >>> gev.fit_gev(x[:, 1])
    GevFit(xi=0.03306 ± 0.031, mu=9.76792 ± 0.096, sigma=1.93 ± 0.07, loglik=-1126.603252, n=500, status=OK)
    """
    from evtkit._kernels.gev import fit_rows  # deferred, for they load the compiled kernels

    values = real_array(maxima, "maxima")
    if values.ndim == 0:
        raise ValueError(f"maxima must have at least one axis, got the single value {values}")
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(f"axis must lie in [{-values.ndim}, {values.ndim - 1}], got {axis}")
    if np.isinf(values).any():
        raise ValueError(f"maxima must be finite (NaN is padding), got {values[np.isinf(values)][0]}")
    columns = np.moveaxis(values, axis, 0)
    shape = columns.shape[1:]
    columns = columns.reshape(columns.shape[0], math.prod(shape))
    channels = columns.shape[1]
    result, covariance = np.empty((channels, 5)), np.empty((channels, 3, 3))
    counts = np.empty(channels, dtype=np.int64)

    def work(piece: slice) -> None:
        rows = np.array(columns[:, piece].T, dtype=np.float64, order="C")
        fit_rows(rows, result[piece], covariance[piece], counts[piece])

    for_each(work, chunks(channels, max(1, _CHUNK_VALUES // max(1, len(columns)))), n_threads)
    status, xi, mu, sigma, loglik = (column.reshape(shape).copy() for column in result.T)
    return GevFit(
        xi, mu, sigma, loglik, covariance.reshape(*shape, 3, 3), counts.reshape(shape), status.astype(np.int64)
    )


def _arguments(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> tuple[Float, Float, Float, Float]:
    """Float64 arrays of one shape, parameters checked."""
    given = ((xi, "xi"), (mu, "mu"), (sigma, "sigma"))
    shape, location, scale = (real_array(a, name).astype(np.float64, copy=False) for a, name in given)
    if np.any(bad := (scale <= 0.0) | np.isinf(scale)):
        raise ValueError(f"sigma must be positive and finite, got {scale[bad].flat[0]}")
    if np.any(np.isinf(shape)) or np.any(np.isinf(location)):
        raise ValueError("xi and mu must be finite, got inf")
    values = real_array(x, "x").astype(np.float64, copy=False)
    values, shape, location, scale = np.broadcast_arrays(values, shape, location, scale)
    return values, shape, location, scale


def _check_probability(p: Float) -> None:
    if np.any(bad := (p < 0.0) | (p > 1.0)):
        raise ValueError(f"a probability must lie in [0, 1], got {p[bad].flat[0]}")


def _reduced(x: Float, xi: Float, mu: Float, sigma: Float) -> Float:
    """g, the Gumbel variate of the same probability; ±inf at and beyond an end of the support."""
    with np.errstate(all="ignore"):
        s = (x - mu) / sigma
        w = xi * s
        g = np.where(w == 0.0, s, s * (np.log1p(w) / w))
        g = np.where(np.isinf(w), np.log1p(w) / xi, g)
        return np.where(w <= -1.0, np.where(xi < 0.0, np.inf, -np.inf), g)[()]


def _from_reduced(g: Float, xi: Float, mu: Float, sigma: Float) -> Float:
    """The inverse of `_reduced`."""
    with np.errstate(all="ignore"):
        w = xi * g
        s = np.where(np.abs(w) > 1.0, np.expm1(w) / xi, g * np.where(w == 0.0, 1.0, np.expm1(w) / w))
        return (mu + sigma * np.where(xi == 0.0, g, s))[()]
