r"""The generalised Pareto distribution (GPD), accurate through ξ = 0 and far into the tail.

For an excess y ≥ 0 with shape ξ and scale σ > 0 (Pickands 1975; Balkema & de Haan 1974),

.. math::

    S(y) = (1 + ξ y / σ)^{-1/ξ}, \qquad S(y) = e^{-y/σ} \text{ where } ξ = 0,

on 0 ≤ y, and y ≤ −σ/ξ where ξ < 0. ξ > 0 is a heavy tail: scipy's ``c = ξ``, Hosking's ``k = −ξ``.

All functions broadcast, compute in float64 whatever they are given, return NaN where an argument is NaN, and raise
``ValueError`` where σ ≤ 0 or a parameter is infinite. Everything is built from two functions that do not cancel,
log1p(x)/x and expm1(x)/x, and from 1 + ξy/σ computed without rounding error near the endpoint.

Examples
--------
>>> from evtkit import gpd
>>> float(gpd.sf(10.0, xi=0.0, sigma=2.0))
0.006737946999085467
>>> gpd.isf([1e-3, 1e-6], xi=0.2, sigma=1.0).round(6)
array([14.905359, 74.24466 ])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import elementwise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["cdf", "isf", "logpdf", "logsf", "pdf", "ppf", "rvs", "sf"]

_SPLITTER = 134217729.0  # 2**27 + 1: halves a 53-bit significand (Veltkamp 1968)


@elementwise
def logpdf(x: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Logarithm of the density, −log σ − (1 + 1/ξ) log(1 + ξx/σ).

    Parameters
    ----------
    x : array_like
        Excesses, in the units of `sigma`.
    xi, sigma : array_like
        Shape (dimensionless) and scale (> 0); broadcast with `x`.

    Returns
    -------
    ndarray of float64
        −inf outside the support. At the endpoint of a tail with ξ < −1 the density is infinite.

    Raises
    ------
    ValueError
        Where sigma ≤ 0, or a parameter is infinite.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.logpdf([0.0, 1.0, 100.0], 0.2, 1.0).round(4)
    array([ -0.    ,  -1.0939, -18.2671])
    """
    y, shape, scale = _arguments(x, xi, sigma)
    with np.errstate(invalid="ignore"):
        # (1 + 1/ξ) log1p(ξy/σ) = −(1 + ξ) logsf; at ξ = −1 the density is flat up to its endpoint.
        body = np.where(shape == -1.0, 0.0, (1.0 + shape) * _logsf(y, shape, scale))
    inside = (y >= 0.0) & ((shape >= 0.0) | (_one_plus(y, shape, scale) >= 0.0)) & (y < np.inf)
    out = np.where(inside, body - np.log(scale), -np.inf)
    return _keep_nan(out, y, shape, scale)


@elementwise
def pdf(x: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Density. Arguments, errors and broadcasting as in `logpdf`; units are 1/`sigma`'s.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.pdf([0.0, 1.0, 100.0], 0.2, 1.0).round(6)
    array([1.      , 0.334898, 0.      ])
    """
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(logpdf(x, xi, sigma))


@elementwise
def logsf(x: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Logarithm of the survival function P(Y > x); it orders values long after `sf` has underflowed.

    Parameters
    ----------
    x : array_like
        Excesses, in the units of `sigma`.
    xi, sigma : array_like
        Shape (dimensionless) and scale (> 0); broadcast with `x`.

    Returns
    -------
    ndarray of float64
        0 for x ≤ 0, −inf at and beyond the endpoint −σ/ξ of a tail with ξ < 0.

    Raises
    ------
    ValueError
        Where sigma ≤ 0, or a parameter is infinite.

    See Also
    --------
    sf : not the logarithm, and so 0 from far enough out.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.logsf([1.0, 1e6], xi=[-0.5, 0.0], sigma=2.0)
    array([-5.75364145e-01, -5.00000000e+05])
    """
    y, shape, scale = _arguments(x, xi, sigma)
    return _keep_nan(_logsf(y, shape, scale), y, shape, scale)


@elementwise
def sf(x: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Survival function P(Y > x) = (1 + ξx/σ)^(−1/ξ). Arguments, errors and broadcasting as in `logsf`.

    See Also
    --------
    evtkit.Tail.sf : of a whole observation, its threshold and rate included.
    logsf : far out, where this is 0.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.sf([1.0, 10.0], 0.2, 1.0).round(6)
    array([0.401878, 0.004115])
    """
    with np.errstate(under="ignore"):
        return np.exp(logsf(x, xi, sigma))


@elementwise
def cdf(x: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Distribution function P(Y ≤ x), accurate near 0. Arguments, errors and broadcasting as in `logsf`.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.cdf([1.0, 10.0], 0.2, 1.0).round(6)
    array([0.598122, 0.995885])
    """
    return -np.expm1(logsf(x, xi, sigma))


@elementwise
def isf(p: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Excess that is exceeded with probability `p`: the inverse of `sf`.

    Parameters
    ----------
    p : array_like
        Probabilities in [0, 1].
    xi, sigma : array_like
        Shape (dimensionless) and scale (> 0); broadcast with `p`.

    Returns
    -------
    ndarray of float64
        In the units of `sigma`; at p = 0 the endpoint −σ/ξ, or inf where ξ ≥ 0.

    Raises
    ------
    ValueError
        Where p is outside [0, 1], sigma ≤ 0, or a parameter is infinite.

    See Also
    --------
    ppf : the same of 1 − p, exact for small excesses.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.isf([0.5, 1e-9], 0.2, 1.0).round(6)
    array([  0.743492, 310.478672])
    """
    prob, shape, scale = _arguments(p, xi, sigma)
    _check_probability(prob)
    with np.errstate(divide="ignore"):
        return _from_exponential(0.0 - np.log(prob), shape, scale)


@elementwise
def ppf(q: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> Float:
    """Quantile function, the inverse of `cdf`, accurate for small `q`. Arguments and errors as in `isf`.

    See Also
    --------
    isf : the same of 1 − q, exact far out in the tail.

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.ppf([1e-20, 0.5], 0.2, 1.0)
    array([1.00000000e-20, 7.43491775e-01])
    """
    prob, shape, scale = _arguments(q, xi, sigma)
    _check_probability(prob)
    with np.errstate(divide="ignore"):
        return _from_exponential(0.0 - np.log1p(-prob), shape, scale)


def rvs(
    xi: ArrayLike,
    sigma: ArrayLike,
    size: int | tuple[int, ...] | None = None,
    rng: np.random.Generator | int | None = None,
) -> Float:
    """Draw random excesses.

    Parameters
    ----------
    xi, sigma : array_like
        Shape and scale; broadcast together, and with `size`.
    size : int or tuple of int, optional
        Shape of the result; by default that of the broadcast parameters.
    rng : numpy.random.Generator or int, optional
        Generator, or the seed of a new one; None seeds from the operating system. Global random state is never used.

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> from evtkit import gpd
    >>> gpd.rvs(0.2, 1.0, size=3, rng=1).round(4)
    array([1.1969, 0.3182, 9.6512])
    """
    _, shape, scale = _arguments(0.0, xi, sigma)
    generator = np.random.default_rng(rng)
    draws = generator.standard_exponential(shape.shape if size is None else size)
    return _from_exponential(*np.broadcast_arrays(draws, shape, scale))


def _arguments(x: ArrayLike, xi: ArrayLike, sigma: ArrayLike) -> tuple[Float, Float, Float]:
    """Float64 arrays of one shape, parameters checked."""
    shape, scale = (real_array(a, name).astype(np.float64, copy=False) for a, name in ((xi, "xi"), (sigma, "sigma")))
    if np.any(bad := (scale <= 0.0) | np.isinf(scale)):
        raise ValueError(f"sigma must be positive and finite, got {scale[bad].flat[0]!r}")
    if np.any(np.isinf(shape)):
        raise ValueError("xi must be finite, got inf")
    y, shape, scale = np.broadcast_arrays(real_array(x, "x").astype(np.float64, copy=False), shape, scale)
    return y, shape, scale


def _check_probability(p: Float) -> None:
    if np.any(bad := (p < 0.0) | (p > 1.0)):
        raise ValueError(f"a probability must lie in [0, 1], got {p[bad].flat[0]!r}")


def _keep_nan(out: Float, *arguments: Float) -> Float:
    for argument in arguments:
        out = np.where(np.isnan(argument), np.nan, out)
    return out[()] if out.ndim else np.asarray(out)


def _logsf(y: Float, xi: Float, sigma: Float) -> Float:
    """−log(1 + ξy/σ)/ξ, with y < 0 taken as 0; NaN handling is the caller's."""
    with np.errstate(all="ignore"):
        y = np.maximum(y, 0.0)
        z = y / sigma
        x = xi * z
        log1prel = np.where(x == 0.0, 1.0, np.log1p(x) / x)
        out = -z * log1prel
        # 1 + ξy/σ cancels near the endpoint, and beyond it the probability is 0.
        out = np.where(x < -0.5, -np.log(np.maximum(_one_plus(y, xi, sigma), 0.0)) / xi, out)
        # ξy/σ overflows, or y/σ is infinite times a ξ of 0 or less.
        huge = np.isinf(x) & (xi > 0.0)
        out = np.where(huge, -(np.log(xi) + np.log(y) - np.log(sigma)) / xi, out)
        return np.where(np.isinf(y) | (np.isinf(z) & (xi <= 0.0)), -np.inf, out)


def _one_plus(y: Float, xi: Float, sigma: Float) -> Float:
    """1 + ξy/σ with an exact product, so that it is right to the last bits where ξy/σ is near −1.

    Significands are multiplied exactly (Dekker 1971); exponents are added apart, so nothing overflows.
    """
    with np.errstate(all="ignore"):
        (a, ea), (b, eb), (s, es) = np.frexp(xi), np.frexp(y), np.frexp(sigma)
        product = a * b
        a_high = (c := _SPLITTER * a) - (c - a)
        b_high = (c := _SPLITTER * b) - (c - b)
        a_low, b_low = a - a_high, b - b_high
        rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
        shift = np.clip(ea.astype(np.int64) + eb - es, -4000, 4000).astype(np.int32)
        product, rest = np.ldexp(product, shift), np.ldexp(rest, shift)
        total = s + product
        total_rest = (s - (total - (part := total - s))) + (product - part)  # Knuth's exact sum
        return np.where(np.isinf(y), np.where(xi < 0, -np.inf, np.inf), (total + (total_rest + rest)) / s)


def _from_exponential(w: Float, xi: Float, sigma: Float) -> Float:
    """GPD excess at the level that a standard exponential exceeds with the same probability as it does `w`."""
    with np.errstate(all="ignore"):
        x = xi * w
        expm1rel = np.where(x == 0.0, 1.0, np.expm1(x) / x)
        near = sigma * (w * expm1rel)
        far = sigma * (np.expm1(x) / xi)
        out = np.where(np.abs(x) > 1.0, far, near)
        out = np.where(np.isinf(w) & (xi == 0.0), np.inf, out)
        # exp(ξw) may overflow where σ/ξ · exp(ξw) does not.
        out = np.where(np.isinf(out) & (xi > 0.0) & ~np.isinf(w), np.exp(x + np.log(sigma) - np.log(xi)), out)
    return _keep_nan(out, w, xi, sigma)
