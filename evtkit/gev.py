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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.optimize import minimize

from evtkit._common.checks import real_array
from evtkit._common.frames import elementwise
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["GevFit", "cdf", "fit_gev", "isf", "logpdf", "logsf", "pdf", "ppf", "rvs", "sf"]

_STARTS = (-0.4, -0.1, 0.1, 0.4, 0.9)  # shapes from which the maximum is sought


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
        Number of maxima.
    status : ndarray of int64
        A `evtkit.FitStatus` each: OK; BOUNDARY (ξ = −1); CONSTANT, TOO_FEW (one or two maxima) and EMPTY: no fit.
    """

    xi: Float
    mu: Float
    sigma: Float
    loglik: Float
    covariance: Float
    n: NDArray[np.int64]
    status: NDArray[np.int64]


def fit_gev(maxima: ArrayLike) -> GevFit:
    """Fit a GEV distribution to block maxima by maximum likelihood over ξ ≥ −1 (Coles 2001, section 3.3.2).

    Parameters
    ----------
    maxima : array_like, (n,) or (n, channels)
        Block maxima; NaN is padding. A channel takes some 20 ms.

    Returns
    -------
    GevFit

    Raises
    ------
    ValueError
        Where the maxima are not finite numbers of one of these shapes.
    """
    values = real_array(maxima, "maxima").astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"maxima must have shape (n,) or (n, channels), got {values.shape}")
    if np.isinf(values).any():
        raise ValueError("maxima must be finite (NaN is padding), got inf")
    shape = values.shape[1:]
    columns = values.reshape(len(values), -1) if values.size else np.empty((0, *(shape or (1,))))
    channels = columns.shape[1]
    result, covariance = np.full((channels, 4), np.nan), np.full((channels, 3, 3), np.nan)
    n, status = np.count_nonzero(~np.isnan(columns), axis=0), np.empty(channels, dtype=np.int64)
    for i in range(channels):
        x = columns[~np.isnan(columns[:, i]), i]
        if x.size < 3:
            status[i] = FitStatus.TOO_FEW if x.size else FitStatus.EMPTY
        elif x.min() == x.max():
            status[i] = FitStatus.CONSTANT
        else:
            status[i], result[i], covariance[i] = _fit_one(x)
    xi, mu, sigma, loglik = (column.reshape(shape) for column in result.T)
    return GevFit(xi, mu, sigma, loglik, covariance.reshape(*shape, 3, 3), n.reshape(shape), status.reshape(shape))


def _arguments(x: ArrayLike, xi: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> tuple[Float, Float, Float, Float]:
    """Float64 arrays of one shape, parameters checked."""
    shape, location, scale = (np.asarray(a, dtype=np.float64) for a in (xi, mu, sigma))
    if np.any(bad := (scale <= 0.0) | np.isinf(scale)):
        raise ValueError(f"sigma must be positive and finite, got {scale[bad].flat[0]}")
    if np.any(np.isinf(shape)) or np.any(np.isinf(location)):
        raise ValueError("xi and mu must be finite, got inf")
    values, shape, location, scale = np.broadcast_arrays(np.asarray(x, dtype=np.float64), shape, location, scale)
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


def _fit_one(x: Float) -> tuple[FitStatus, Float, Float]:
    """Status, (ξ, μ, σ, ℓ) and covariance for at least three maxima that are not all equal."""
    centre, unit = np.median(x), x.std()
    z = (x - centre) / unit
    candidates = [_climb(z, xi) for xi in _STARTS]
    theta = max(candidates, key=lambda candidate: _loglik(candidate, z))
    best = _loglik(theta, z)
    # At ξ = −1 the maximum is x_max as the endpoint and its mean distance as the scale.
    sigma = float(np.mean(z.max() - z))
    if -z.size * (np.log(sigma) + 1.0) >= best:
        loglik = -z.size * (np.log(sigma) + 1.0 + np.log(unit))
        result = np.array([-1.0, centre + unit * (z.max() - sigma), unit * sigma, loglik])
        return FitStatus.BOUNDARY, result, np.full((3, 3), np.nan)
    units = np.array([1.0, unit, unit])
    covariance = np.full((3, 3), np.nan)
    if theta[0] > -0.5:
        covariance = np.linalg.inv(-_hessian(theta, z)) * np.outer(units, units)
    result = np.append(theta * units + np.array([0.0, centre, 0.0]), best - z.size * np.log(unit))
    return FitStatus.OK, result, covariance


def _climb(z: Float, xi: float) -> Float:
    """A local maximum (ξ, μ, σ): Nelder and Mead's simplex from a shape, then Newton's method to the last digits."""
    g = -np.log(-np.log(np.array([0.25, 0.5, 0.75])))
    low, middle, high = np.expm1(xi * g) / xi
    spread = np.subtract(*np.quantile(z, [0.75, 0.25]))
    sigma = max(spread, 0.1) / (high - low)
    farthest = z.max() if xi < 0.0 else z.min()
    sigma = max(sigma, -1.2 * farthest * xi / (1.0 + xi * middle) if xi < 0.0 else sigma)
    start = np.array([xi, -sigma * middle, sigma])
    while not np.isfinite(_loglik(start, z)):
        start[1:] *= 1.5
    found = minimize(
        lambda theta: -_loglik(theta, z),
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000, "maxfev": 2000},
    )
    theta: Float = found.x
    for _ in range(5):
        try:
            step = np.linalg.solve(_hessian(theta, z), -_score(theta, z))
        except np.linalg.LinAlgError:
            break
        if not _loglik(theta + step, z) >= _loglik(theta, z):
            break
        theta = theta + step
    return theta


def _loglik(theta: Float, z: Float) -> float:
    """Log-likelihood; −inf outside the parameter space ξ ≥ −1, σ > 0."""
    xi, mu, sigma = theta
    if xi < -1.0 or sigma <= 0.0:
        return -np.inf
    return float(np.sum(logpdf(z, xi, mu, sigma)))


def _score(theta: Float, z: Float) -> Float:
    """Gradient of the log-likelihood by (ξ, μ, σ)."""
    xi, mu, sigma = theta
    s = (z - mu) / sigma
    w = xi * s
    near = np.abs(w) < 1e-2
    far = np.where(near, 1.0, w)
    # ∂g/∂ξ = s² (w/(1 + w) − log1p w)/w², by its series where it cancels
    series = polyval(np.where(near, w, 0.0), [-((-1.0) ** k) * (k - 1) / k for k in range(2, 10)])
    g = _reduced(z, xi, mu, sigma)
    with np.errstate(all="ignore"):  # NaN outside the support
        by_xi = s * s * np.where(near, series, (far / (1.0 + far) - np.log1p(far)) / far**2)
        by_g = np.exp(-g) - 1.0 - xi
        by_s = by_g / (1.0 + w)
        return np.array([np.sum(by_g * by_xi - g), -by_s.sum() / sigma, -(z.size + by_s @ s) / sigma])


def _hessian(theta: Float, z: Float) -> Float:
    """Hessian of the log-likelihood, from central differences of its gradient."""
    step = 1e-5 * np.array([1.0, theta[2], theta[2]])
    columns = [_score(theta + d, z) - _score(theta - d, z) for d in np.diag(step)]
    hessian = np.array(columns) / (2.0 * step[:, None])
    return 0.5 * (hessian + hessian.T)
