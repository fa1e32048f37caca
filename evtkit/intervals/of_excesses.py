"""Limits of what a GPD says, from its excesses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.special import exprel, ndtri

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit.fit import GpdFit, fit_gpd
from evtkit.intervals.coverage import measured_coverage
from evtkit.intervals.interval import Interval, check_level
from evtkit.intervals.profile import ENDPOINT, LEVEL, LOG_SF, SIGMA, XI, fitted, limits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = [
    "endpoint_interval",
    "level_interval",
    "parameter_interval",
    "return_level_interval",
    "sf_interval",
    "sigma_interval",
    "xi_interval",
]


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
    method : {"profile", "bartlett", "delta"}
        Profile likelihood; the same, corrected for fewer than 100 excesses; or estimate ± normal quantile × standard
        error (NaN where ξ ≤ −0.5).
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
    values, fit = _checked(excesses, level, method, n_threads)
    return parameter_interval(values, fit, "xi", level=level, method=method, n_threads=n_threads)


def sigma_interval(
    excesses: ArrayLike, *, level: float = 0.95, method: str = "profile", n_threads: int | None = None
) -> Interval:
    """Confidence interval of the scale σ, in the units of the excesses; arguments and errors as in `xi_interval`.

    Examples
    --------
    >>> from evtkit import gpd
    >>> sigma_interval(gpd.rvs(0.2, 1.0, size=300, rng=1))
    Interval(...)
    """
    values, fit = _checked(excesses, level, method, n_threads)
    return parameter_interval(values, fit, "sigma", level=level, method=method, n_threads=n_threads)


def parameter_interval(
    values: Float, fit: GpdFit, name: str, *, level: float, method: str, n_threads: int | None = None
) -> Interval:
    """Limits of ξ or σ (`name`) of excesses that have been fitted."""
    estimate = np.where(fitted(fit), getattr(fit, name), np.nan)
    coverage = measured_coverage(method, "shape", level, fit.n)
    if method == "delta":
        half = ndtri(0.5 + 0.5 * level) * getattr(fit, f"se_{name}")
        return Interval(estimate, estimate - half, estimate + half, level, method, fit.status, coverage)
    lower, upper = limits(
        values, fit, [(XI if name == "xi" else SIGMA, np.array(np.nan))], level,
        corrected=method == "bartlett", n_threads=n_threads,
    )  # fmt: skip
    shape = fit.xi.shape
    return Interval(estimate, lower.reshape(shape), upper.reshape(shape), level, method, fit.status, coverage)


def endpoint_interval(
    excesses: ArrayLike,
    *,
    threshold: ArrayLike = 0.0,
    level: float = 0.95,
    method: str = "profile",
    n_threads: int | None = None,
) -> Interval:
    """Confidence interval of the endpoint u − σ/ξ, which is infinite where ξ ≥ 0.

    Parameters
    ----------
    excesses : array_like, (n,) or (n, channels)
        Positive excesses over `threshold`; NaN is padding.
    threshold : array_like
        Threshold u; one, or one a channel.
    level, n_threads
        As in `xi_interval`.
    method : {"profile", "bartlett"}
        As in `xi_interval`; the delta method says nothing of an endpoint.

    Returns
    -------
    Interval
        The lower limit is at least the largest observation; the upper one is infinite where ξ ≥ 0 is not rejected.

    Raises
    ------
    ValueError
        As in `xi_interval`.

    Examples
    --------
    >>> from evtkit import gpd
    >>> interval = endpoint_interval(gpd.rvs(-0.4, 2.0, size=300, rng=1), threshold=10.0)
    >>> print(f"{interval.estimate:.2f}, between {interval.lower:.2f} and {interval.upper:.2f}; the truth is 15")
    15.15, between 14.86 and 16.12; the truth is 15
    """
    values, fit = _checked(excesses, level, method, n_threads, without=("delta",))
    u = _numbers(threshold, "threshold", fit.xi.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(fit.xi < 0.0, -fit.sigma / fit.xi, np.where(fitted(fit), np.inf, np.nan))
    return _shifted(values, fit, (ENDPOINT, np.array(np.nan)), reach, u, level, method, n_threads)


def sf_interval(
    excesses: ArrayLike,
    x: ArrayLike,
    *,
    rate: ArrayLike = 1.0,
    threshold: ArrayLike = 0.0,
    level: float = 0.95,
    method: str = "profile",
    n_threads: int | None = None,
) -> Interval:
    """Confidence interval of the probability P(X > x) of a level x above the threshold, for a given exceedance rate.

    Parameters
    ----------
    excesses : array_like, (n,) or (n, channels)
        Positive excesses over `threshold`; NaN is padding.
    x : array_like, shape (…, channels) or (…)
        Levels above the threshold, in the units of the excesses and the threshold; any shape for one channel.
    rate, threshold : array_like
        Exceedance rate N_u/n and threshold u; one, or one a channel.
    level, n_threads
        As in `xi_interval`.
    method : {"profile", "bartlett"}
        As in `xi_interval`.

    Returns
    -------
    Interval
        Shaped as `x`. A lower limit of 0 means that the data allow x to be impossible.

    Raises
    ------
    ValueError
        As in `return_level_interval`; also where x is not above the threshold.

    Examples
    --------
    >>> from evtkit import gpd
    >>> interval = sf_interval(gpd.rvs(0.2, 1.0, size=300, rng=1), 12.0, rate=0.1)
    >>> print(f"{interval.estimate:.1e}, between {interval.lower:.1e} and {interval.upper:.1e}; the truth is 2.2e-04")
    2.6e-04, between 5.7e-05 and 8.0e-04; the truth is 2.2e-04
    """
    values, fit = _checked(excesses, level, method, n_threads, without=("delta",))
    share, u = _numbers(rate, "rate", fit.xi.shape), _numbers(threshold, "threshold", fit.xi.shape)
    _check_rate(share)
    excess = _numbers(x, "x", fit.xi.shape, several=True) - u
    if not np.all(excess > 0.0):
        raise ValueError(f"x must be above the threshold, got {np.asarray(excess + u)[~(excess > 0.0)].flat[0]}")
    rows = excess.reshape(-1, fit.xi.size)
    lower, upper = limits(
        values, fit, [(LOG_SF, row) for row in rows], level, corrected=method == "bartlett", n_threads=n_threads
    )
    xi, sigma = np.where(fitted(fit), fit.xi, np.nan), np.where(fitted(fit), fit.sigma, 1.0)
    with np.errstate(under="ignore"):
        low, high = share * np.exp(lower.reshape(excess.shape)), share * np.exp(upper.reshape(excess.shape))
        estimate = share * np.exp(gpd.logsf(excess, xi, sigma))
    return Interval(estimate, low, high, level, method, fit.status, measured_coverage(method, "level", level, fit.n))


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
    period : array_like, shape (…, channels) or scalar; any shape for one channel
        Return periods in observations. 100 years of daily data are 36,500.
    rate : array_like
        Exceedance rate N_u/n, the share of the observations that exceed the threshold, in (0, 1]: one, or one a channel
    threshold : array_like
        Threshold u; one, or one a channel.
    level : float
        Confidence level in (0, 1).
    method : {"profile", "bartlett", "delta"}
        Profile likelihood for a given exceedance rate; the same, corrected for fewer than 100 excesses; or the delta
        method, which includes the exceedance rate's binomial variance (Coles 2001, section 4.3.3), is NaN where
        ξ ≤ −0.5 and covers far too little with few excesses (`Interval.coverage`).
    n_threads : int, optional
        As in `evtkit.fit_gpd`.

    Returns
    -------
    Interval
        In the units of the excesses, threshold included; shaped as `period`, channels last.

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
    values, fit = _checked(excesses, level, method, n_threads)
    share, u = _numbers(rate, "rate", fit.xi.shape), _numbers(threshold, "threshold", fit.xi.shape)
    _check_rate(share)
    m = _numbers(period, "period", fit.xi.shape, several=True)
    if not np.all((m * share > 1.0) & np.isfinite(m)):
        wrong = (m * share)[~((m * share > 1.0) & np.isfinite(m))].flat[0]
        raise ValueError(
            f"period × rate must be finite and exceed 1, else the level is not above the threshold; got {wrong}"
        )
    return level_interval(values, fit, np.log(m * share), share, u, level=level, method=method, n_threads=n_threads)


def level_interval(
    values: Float,
    fit: GpdFit,
    w: Float,
    share: Float,
    u: Float,
    *,
    level: float,
    method: str,
    n_threads: int | None = None,
) -> Interval:
    """Limits of levels at w = log(period × rate), (…, channels), of excesses that have been fitted; NaN where w is."""
    xi, sigma = np.where(fitted(fit), fit.xi, np.nan), np.where(fitted(fit), fit.sigma, np.nan)
    excess = sigma * w * exprel(xi * w)
    coverage = measured_coverage(method, "level", level, fit.n)
    if method != "delta":
        lower, upper = limits(
            values, fit, [(LEVEL, row) for row in w.reshape(-1, fit.xi.size)], level,
            corrected=method == "bartlett", n_threads=n_threads,
        )  # fmt: skip
        low, high = u + lower.reshape(w.shape), u + upper.reshape(w.shape)
        return Interval(u + excess, low, high, level, method, fit.status, coverage)
    # Derivatives of the excess by log σ, ξ and log rate, all in units of σ, lest squares overflow.
    by_sigma, by_xi, by_rate = w * exprel(xi * w), w * w * _exprel_slope(xi * w), np.exp(xi * w)
    with np.errstate(invalid="ignore"):
        variance = (by_sigma * (fit.se_sigma / sigma)) ** 2 + (by_xi * fit.se_xi) ** 2
        variance += 2.0 * by_sigma * by_xi * (fit.cov / sigma) + by_rate**2 * (1.0 - share) / np.maximum(fit.n, 1)
        half = sigma * ndtri(0.5 + 0.5 * level) * np.sqrt(variance)
    return Interval(u + excess, u + excess - half, u + excess + half, level, method, fit.status, coverage)


def _checked(
    excesses: ArrayLike, level: float, method: str, n_threads: int | None, *, without: tuple[str, ...] = ()
) -> tuple[Float, GpdFit]:
    """Excesses and their fit, after a look at the other arguments."""
    check_level(level, method, without=without)
    values = real_array(excesses, "excesses")
    if values.ndim not in (1, 2):
        raise ValueError(f"excesses must have shape (n,) or (n, channels), got {values.shape}")
    return values, fit_gpd(values, n_threads=n_threads)


def _check_rate(share: Float) -> None:
    """Refuse exceedance rates that are none."""
    if not np.all((share > 0.0) & (share <= 1.0)):
        raise ValueError(f"rate must lie in (0, 1], got {share[~((share > 0.0) & (share <= 1.0))].flat[0]}")


def _numbers(values: ArrayLike, name: str, shape: tuple[int, ...], *, several: bool = False) -> Float:
    """One number, or one a channel; `several` of them along the first axes."""
    array = real_array(values, name).astype(np.float64)
    try:
        return np.broadcast_to(array, np.broadcast_shapes(array.shape, shape) if several else shape)
    except ValueError:
        raise ValueError(f"{name} must be one number or one a channel, {shape}; got shape {array.shape}") from None


def _shifted(
    values: Float, fit: GpdFit, asked: tuple[int, Float], estimate: Float, u: Float, level: float, method: str,
    n_threads: int | None,
) -> Interval:  # fmt: skip
    """Limits of a quantity that is a distance from the threshold."""
    lower, upper = limits(values, fit, [asked], level, corrected=method == "bartlett", n_threads=n_threads)
    low, high = u + lower.reshape(fit.xi.shape), u + upper.reshape(fit.xi.shape)
    coverage = measured_coverage(method, "level", level, fit.n)
    return Interval(u + estimate, low, high, level, method, fit.status, coverage)


def _exprel_slope(x: Float) -> Float:
    """The derivative of (eˣ − 1)/x, by its series where it would cancel."""
    near = np.abs(x) < 0.1
    series = polyval(np.where(near, x, 0.0), [j / math.factorial(j + 1) for j in range(1, 12)])
    far = np.where(near, 1.0, x)
    return np.where(near, series, (far * np.exp(far) - np.expm1(far)) / (far * far))
