"""The distribution: density, probabilities, quantiles and draws, without cancellation through ξ = 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import elementwise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["cdf", "isf", "logpdf", "logsf", "pdf", "ppf", "rvs", "sf"]


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

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.logpdf([0.0, 5.0], 0.1, 0.0, 1.0).round(4)
    array([-1.    , -4.4775])
    """
    values, shape, location, scale = _arguments(x, xi, mu, sigma)
    g = _reduced(values, shape, location, scale)
    with np.errstate(over="ignore", invalid="ignore"):
        bend = np.where(shape == -1.0, 0.0, (1.0 + shape) * g)  # at ξ = −1 the density is finite at its endpoint
        outside = np.isneginf(g) | (shape * ((values - location) / scale) < -1.0)
        return np.where(outside, -np.inf, -bend - np.exp(-g) - np.log(scale))[()]


@elementwise
def pdf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Density, in 1/`sigma`'s units. Arguments and errors as in `logpdf`.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.pdf([0.0, 5.0], 0.1, 0.0, 1.0).round(6)
    array([0.367879, 0.011362])
    """
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(logpdf(x, xi, mu, sigma))


@elementwise
def cdf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Distribution function P(X ≤ x) = exp(−e^(−g)). Arguments and errors as in `logpdf`.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.cdf([0.0, 5.0], 0.1, 0.0, 1.0).round(6)
    array([0.367879, 0.982808])
    """
    g = _reduced(*_arguments(x, xi, mu, sigma))
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(-np.exp(-g))


@elementwise
def sf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Survival function P(X > x), accurate far in the tail. Arguments and errors as in `logpdf`.

    See Also
    --------
    logsf : far out, where this is 0.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.sf([0.0, 5.0], 0.1, 0.0, 1.0).round(6)
    array([0.632121, 0.017192])
    """
    g = _reduced(*_arguments(x, xi, mu, sigma))
    with np.errstate(over="ignore"):
        return -np.expm1(-np.exp(-g))


@elementwise
def logsf(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Logarithm of the survival function. Arguments and errors as in `logpdf`.

    See Also
    --------
    sf : not the logarithm, and so 0 from far enough out.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.logsf([5.0, 800.0], 0.0, 0.0, 1.0).round(4)
    array([  -5.0034, -800.    ])
    """
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

    See Also
    --------
    evtkit.gev.GevFit.return_level : the same of a fit, with limits.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.isf([0.1, 0.01], 0.1, 20.0, 5.0).round(3)  # exceeded by one maximum in ten, in a hundred
    array([32.618, 49.205])
    """
    prob, shape, location, scale = _arguments(p, xi, mu, sigma)
    _check_probability(prob)
    with np.errstate(divide="ignore"):
        return _from_reduced(-np.log(-np.log1p(-prob)), shape, location, scale)


@elementwise
def ppf(q: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float:
    """Quantile function, the inverse of `cdf`. Arguments and errors as in `isf`.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.ppf([0.9, 0.99], 0.1, 20.0, 5.0).round(3)
    array([32.618, 49.205])
    """
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
    """Draw random maxima; `size` and `rng` as in `evtkit.gpd.rvs`, other arguments and errors as in `logpdf`.

    Examples
    --------
    >>> from evtkit import gev
    >>> gev.rvs(0.1, 20.0, 5.0, size=3, rng=0).round(3)
    array([21.966, 19.903, 44.01 ])
    """
    _, shape, location, scale = _arguments(0.0, xi, mu, sigma)
    draws = np.random.default_rng(rng).standard_exponential(shape.shape if size is None else size)
    return _from_reduced(*np.broadcast_arrays(-np.log(draws), shape, location, scale))


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
