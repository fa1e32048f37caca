"""Confidence intervals of the shape ξ and of return levels: profile likelihood, and the delta method where it is valid.

The profile-likelihood interval holds every value that a likelihood-ratio test at level 1 − `level` accepts,

    2 (ℓ(ξ̂, σ̂) − max over the other parameter ℓ) ≤ χ²₁ quantile of `level`

(Coles 2001, section 2.6.6). It is asymmetric where the likelihood is, which for return levels it always is, and stays
inside ξ ≥ −1. The delta method's symmetric interval needs standard errors, which do not exist for ξ ≤ −0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.special import exprel, ndtri

from evtkit._common.checks import real_array
from evtkit._common.threads import chunks, for_each
from evtkit.fit import FitStatus, GpdFit, fit_gpd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["Interval", "return_level_interval", "xi_interval"]

_METHODS = ("profile", "delta")


@dataclass(frozen=True, eq=False)
class Interval:
    """Maximum-likelihood estimates with confidence limits; one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    estimate, lower, upper : ndarray of float64
        NaN where there is no fit; limits are NaN too where the delta method does not apply.
    level : float
        Confidence level.
    method : str
        ``"profile"`` or ``"delta"``.
    status : ndarray of int64
        The fit's `evtkit.FitStatus`.
    """

    estimate: Float
    lower: Float
    upper: Float
    level: float
    method: str
    status: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("estimate", "lower", "upper"):  # 0-d arithmetic makes scalars of arrays
            object.__setattr__(self, name, np.asarray(getattr(self, name)))


def xi_interval(
    excesses: ArrayLike, *, level: float = 0.95, method: str = "profile", n_threads: int | None = None
) -> Interval:
    """Confidence interval of the shape ξ.

    Parameters
    ----------
    excesses : array_like, (n,) or (n, channels)
        Positive excesses; NaN is padding.
    level : float
        Confidence level in (0, 1).
    method : {"profile", "delta"}
        Profile likelihood, or estimate ± normal quantile × standard error (NaN where ξ ≤ −0.5).
    n_threads : int, optional
        As in `evtkit.fit_gpd`.

    Returns
    -------
    Interval
        A lower limit of −1 means that the profile does not fall far enough before the end of the parameter's range.

    Raises
    ------
    ValueError
        For bad excesses (see `evtkit.fit_gpd`), a level outside (0, 1) or an unknown method.

    Examples
    --------
    >>> from evtkit import gpd
    >>> interval = xi_interval(gpd.rvs(0.2, 1.0, size=300, rng=1))
    >>> print(f"{interval.estimate:.3f}, between {interval.lower:.3f} and {interval.upper:.3f}")
    0.219, between 0.105 and 0.368
    """
    _check(level, method)
    values, fit = _fit(excesses, n_threads)
    estimate = np.where(_fitted(fit), fit.xi, np.nan)
    if method == "delta":
        half = ndtri(0.5 + 0.5 * level) * fit.se_xi
        return Interval(estimate, estimate - half, estimate + half, level, method, fit.status)
    lower, upper = _limits(values, fit, np.full(fit.xi.shape, np.nan), level, n_threads)
    return Interval(estimate, lower, upper, level, method, fit.status)


def return_level_interval(
    excesses: ArrayLike,
    period: ArrayLike,
    *,
    rate: ArrayLike,
    threshold: ArrayLike = 0.0,
    level: float = 0.95,
    method: str = "profile",
    n_threads: int | None = None,
) -> Interval:
    """Confidence interval of the level that is exceeded once in `period` observations, on average.

    Parameters
    ----------
    excesses : array_like, (n,) or (n, channels)
        Positive excesses over `threshold`; NaN is padding.
    period : array_like
        Return period in observations: one, or one a channel. 100 years of daily data are 36,500.
    rate : array_like
        Exceedance rate N_u/n, the share of the observations that exceed the threshold, in (0, 1]: one, or one a channel
    threshold : array_like
        Threshold u; one, or one a channel.
    level : float
        Confidence level in (0, 1).
    method : {"profile", "delta"}
        Profile likelihood for a given exceedance rate, or the delta method, which includes the exceedance rate's
        binomial variance (Coles 2001, section 4.3.3) and is NaN where ξ ≤ −0.5.
    n_threads : int, optional
        As in `evtkit.fit_gpd`.

    Returns
    -------
    Interval
        In the units of the excesses, threshold included.

    Raises
    ------
    ValueError
        For bad excesses (see `evtkit.fit_gpd`), a rate outside (0, 1], a period × rate of 1 or less (such a level lies
        below the threshold), a level outside (0, 1) or an unknown method.

    Examples
    --------
    >>> from evtkit import gpd
    >>> excesses = gpd.rvs(0.2, 1.0, size=300, rng=1)
    >>> interval = return_level_interval(excesses, 36500, rate=300 / 3650, threshold=10.0)
    >>> print(f"{interval.estimate:.2f}, between {interval.lower:.2f} and {interval.upper:.2f}")
    31.25, between 23.32 and 53.53
    """
    _check(level, method)
    values, fit = _fit(excesses, n_threads)
    shape = fit.xi.shape
    share, m, u = (
        _per_channel(v, name, shape) for v, name in ((rate, "rate"), (period, "period"), (threshold, "threshold"))
    )
    if not np.all((share > 0.0) & (share <= 1.0)):
        raise ValueError(f"rate must lie in (0, 1], got {share[~((share > 0.0) & (share <= 1.0))].flat[0]}")
    if not np.all((m * share > 1.0) & np.isfinite(m)):
        wrong = (m * share)[~((m * share > 1.0) & np.isfinite(m))].flat[0]
        raise ValueError(
            f"period × rate must be finite and exceed 1, else the level is not above the threshold; got {wrong}"
        )
    w = np.log(m * share)
    fitted = _fitted(fit)
    xi, sigma = np.where(fitted, fit.xi, np.nan), np.where(fitted, fit.sigma, np.nan)
    excess = sigma * w * exprel(xi * w)
    if method == "profile":
        lower, upper = _limits(values, fit, w, level, n_threads)
        return Interval(u + excess, u + lower, u + upper, level, method, fit.status)
    # Derivatives of the excess by log σ, ξ and log rate, all in units of σ, lest squares overflow.
    by_sigma, by_xi, by_rate = w * exprel(xi * w), w * w * _exprel_slope(xi * w), np.exp(xi * w)
    with np.errstate(invalid="ignore"):
        variance = (by_sigma * (fit.se_sigma / sigma)) ** 2 + (by_xi * fit.se_xi) ** 2
        variance += 2.0 * by_sigma * by_xi * (fit.cov / sigma) + by_rate**2 * (1.0 - share) / np.maximum(fit.n, 1)
        half = sigma * ndtri(0.5 + 0.5 * level) * np.sqrt(variance)
    return Interval(u + excess, u + excess - half, u + excess + half, level, method, fit.status)


def _check(level: float, method: str) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")


def _fit(excesses: ArrayLike, n_threads: int | None) -> tuple[Float, GpdFit]:
    values = real_array(excesses, "excesses")
    if values.ndim not in (1, 2):
        raise ValueError(f"excesses must have shape (n,) or (n, channels), got {values.shape}")
    return values, fit_gpd(values, n_threads=n_threads)


def _fitted(fit: GpdFit) -> NDArray[np.bool_]:
    return fit.status <= FitStatus.BOUNDARY


def _per_channel(values: ArrayLike, name: str, shape: tuple[int, ...]) -> Float:
    array = real_array(values, name).astype(np.float64)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} must be one number or one a channel, {shape}; got shape {array.shape}") from None


def _limits(values: Float, fit: GpdFit, w: Float, level: float, n_threads: int | None) -> tuple[Float, Float]:
    """Profile-likelihood limits of every channel: of the return level at w, or of ξ where w is NaN."""
    from evtkit._kernels.profile_limits import limits_rows  # deferred: compiled

    columns = values.reshape(len(values), -1) if values.size else np.empty((0, fit.xi.size))
    fits = np.column_stack([np.where(_fitted(fit), fit.xi, np.nan).ravel(), fit.sigma.ravel(), w.ravel()])
    limits = np.empty((columns.shape[1], 2))
    drop = 0.5 * float(ndtri(0.5 + 0.5 * level)) ** 2

    def work(piece: slice) -> None:
        limits_rows(np.array(columns[:, piece].T, dtype=np.float64, order="C"), fits[piece], limits[piece], drop)

    for_each(work, chunks(columns.shape[1], 64), n_threads)
    return limits[:, 0].reshape(fit.xi.shape), limits[:, 1].reshape(fit.xi.shape)


def _exprel_slope(x: Float) -> Float:
    """The derivative of (eˣ − 1)/x, by its series where it would cancel."""
    near = np.abs(x) < 0.1
    series = polyval(np.where(near, x, 0.0), [j / math.factorial(j + 1) for j in range(1, 12)])
    far = np.where(near, 1.0, x)
    return np.where(near, series, (far * np.exp(far) - np.expm1(far)) / (far * far))
