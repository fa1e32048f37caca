"""More than the maximum of a block: its r largest values, or all that exceed a threshold, for the same GEV.

A block's maximum is one value of many. Its r largest values (Weissman 1978; Coles 2001, section 3.5), or all its values
above a high threshold as points of a Poisson process (Smith 1989; Coles 2001, section 7.4), are described by the same
three parameters μ, σ and ξ and say more of them. `fit_r_largest` and `fit_point_process` return a `evtkit.gev.GevFit`,
with its levels and limits. The point process joins the two views: its maximum is that of the GPD of the excesses with
the rate of exceedances, in the GEV's parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyder, polyval

from evtkit._common.checks import real_array, whole_number
from evtkit.fit import FitStatus, fit_gpd
from evtkit.gev.results import BlockData, GevFit, slope_by_xi, standardised

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = ["fit_point_process", "fit_r_largest"]

_FEWEST = 3


def fit_r_largest(values: ArrayLike, *, r: int | None = None) -> GevFit:
    """Fit a GEV to the r largest values of every block, by maximum likelihood over ξ ≥ −1 (Coles 2001, equation 3.15).

    Parameters
    ----------
    values : array_like, (blocks, k) or (blocks, k, channels)
        The k largest values of each block, in any order; NaN where a block has fewer.
    r : int, optional
        Use the r largest of them; by default all. Too large an r is biased, as too low a threshold is.

    Returns
    -------
    GevFit
        `n` counts the values used.

    Raises
    ------
    ValueError
        If values are infinite, not numbers or of another shape, or r is not in [1, k].

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> days = rng.gumbel(size=(50, 365))
    >>> fit_r_largest(np.sort(days, axis=1)[:, -5:])
    GevFit(...)
    """
    array = real_array(values, "values").astype(np.float64)
    if array.ndim not in (2, 3):
        raise ValueError(f"values must have shape (blocks, k) or (blocks, k, channels), got {array.shape}")
    if np.isinf(array).any():
        raise ValueError(f"values must be finite (NaN is padding), got {array[np.isinf(array)][0]}")
    r = array.shape[1] if r is None else whole_number(r, "r", 1, array.shape[1])
    top = -np.sort(-array, axis=1)[:, :r]  # NaN last
    channels = top.reshape(*top.shape[:2], -1)
    fits = [_fit(channels[:, :, c]) for c in range(channels.shape[2])]
    return _joined(fits, array.shape[2:])


def fit_point_process(x: ArrayLike, threshold: ArrayLike, *, per_block: float) -> GevFit:
    """Fit a Poisson process to all that exceeds a threshold, in the GEV's parameters (Coles 2001, equation 7.9).

    The maximum is known from that of the GPD: σ = σ_u ζ^ξ and μ = u + σ_u (ζ^ξ − 1)/ξ with ζ exceedances a block, whose
    estimate is their number over the number of blocks.

    Parameters
    ----------
    x : array_like, (n,) or (n, channels)
        Observations, of which NaN is missing and does not count.
    threshold : array_like
        Threshold u; one, or one a channel.
    per_block : float
        Observations in a block: 365.25 for daily values and annual maxima.

    Returns
    -------
    GevFit
        Of a block's maximum; `n` counts the exceedances, `status` is that of the GPD's fit, and `loglik` is the point
        process's.

    Raises
    ------
    ValueError
        If x is infinite or not numbers, shapes do not match, or per_block is not positive.

    Examples
    --------
    >>> from evtkit import gpd
    >>> fit = fit_point_process(gpd.rvs(0.1, 1.0, size=36_525, rng=1), 4.0, per_block=365.25)
    >>> print(fit.return_level(100).round(1), "the truth is", gpd.isf(1 / 36_525, 0.1, 1.0).round(1))
    17.7 the truth is 18.6
    """
    values = real_array(x, "x").astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"x must have shape (n,) or (n, channels), got {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"x must be finite, or NaN where it is missing; got {values[np.isinf(values)][0]}")
    if not 0.0 < per_block < math.inf:
        raise ValueError(f"per_block must be a positive number of observations, got {per_block}")
    u = real_array(threshold, "threshold").astype(np.float64)
    try:
        u = np.broadcast_to(u, values.shape[1:])
    except ValueError:
        raise ValueError(f"threshold must be one number or one a channel, got shape {u.shape}") from None
    if np.isnan(u).any():
        raise ValueError("threshold must be a number, got nan")
    gpd_fit = fit_gpd(np.where(values > u, values - u, np.nan))
    fitted = gpd_fit.status <= FitStatus.BOUNDARY
    xi, scale, n = np.where(fitted, gpd_fit.xi, np.nan), np.where(fitted, gpd_fit.sigma, np.nan), gpd_fit.n
    blocks = np.count_nonzero(~np.isnan(values), axis=0) / per_block
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rate = np.log(n / blocks)
        grown = xi * log_rate
        sigma = scale * np.exp(grown)
        mu = u + scale * np.where(grown == 0.0, log_rate, np.expm1(grown) / np.where(xi == 0.0, 1.0, xi))
        loglik = gpd_fit.loglik + n * log_rate - n
    covariance = _covariance_of_rate(xi, scale, log_rate, gpd_fit.se_sigma, gpd_fit.se_xi, gpd_fit.cov, n)
    columns, levels, sizes = values.reshape(len(values), -1), np.ravel(u), np.ravel(blocks)
    data = tuple(
        BlockData(columns[columns[:, c] > levels[c], c], levels[c : c + 1].copy(), sizes[c : c + 1].copy())
        for c in range(columns.shape[1])
    )
    return GevFit(xi, np.asarray(mu), np.asarray(sigma), np.asarray(loglik), covariance, n, gpd_fit.status, "mle", data)


def _covariance_of_rate(
    xi: Float, scale: Float, log_rate: Float, se_scale: Float, se_xi: Float, cov: Float, n: Int
) -> Float:  # fmt: skip
    """Covariance of (ξ, μ, σ) from that of (σ_u, ξ) and the variance 1/N of log ζ, by the derivatives between them."""
    grown = np.exp(xi * log_rate)
    jacobian = np.zeros((*np.shape(xi), 3, 3))  # rows ξ, μ, σ; columns σ_u, ξ, log ζ
    jacobian[..., 0, 1] = 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        jacobian[..., 1, 0] = np.where(xi == 0.0, log_rate, (grown - 1.0) / np.where(xi == 0.0, 1.0, xi))
    jacobian[..., 1, 1] = scale * slope_by_xi(np.asarray(xi), np.asarray(log_rate))
    jacobian[..., 1, 2] = scale * grown
    jacobian[..., 2, 0] = grown
    jacobian[..., 2, 1] = scale * grown * log_rate
    jacobian[..., 2, 2] = scale * grown * xi
    inner = np.zeros((*np.shape(xi), 3, 3))
    inner[..., 0, 0], inner[..., 1, 1] = se_scale**2, se_xi**2
    inner[..., 0, 1] = inner[..., 1, 0] = cov
    inner[..., 2, 2] = 1.0 / np.maximum(n, 1)
    return np.asarray(jacobian @ inner @ np.swapaxes(jacobian, -1, -2))


def _fit(top: Float) -> tuple[list[float], Float, BlockData]:
    """Status, ξ, μ, σ, ℓ and the number of values; covariance; and the data, of the r largest values of every block."""
    from evtkit._kernels.block_maxima import fit

    present = ~np.isnan(top)
    blocks = np.any(present, axis=1)
    points = top[present]
    last = np.count_nonzero(present, axis=1)[blocks] - 1
    exposures = np.take_along_axis(top[blocks], last[:, None], axis=1)[:, 0]
    data = BlockData(points, exposures, np.ones(exposures.size))
    nothing = np.full((3, 3), np.nan)
    if exposures.size < _FEWEST or points.min() == points.max():
        few = FitStatus.TOO_FEW if points.size else FitStatus.EMPTY
        status = few if exposures.size < _FEWEST else FitStatus.CONSTANT
        return [float(status), np.nan, np.nan, np.nan, np.nan, float(points.size)], nothing, data
    z, e, centre, unit = standardised(data)
    status, t, rate, c, height = fit(z, e, data.weights)
    if status > FitStatus.BOUNDARY:
        return [status, np.nan, np.nan, np.nan, np.nan, float(points.size)], nothing, data
    place = c / rate
    xi, sigma = t / rate, unit * math.exp(t * place) / rate
    mu = centre + unit * (math.expm1(t * place) / t if t else place)
    loglik = height - points.size * math.log(unit)
    if status == FitStatus.BOUNDARY:
        xi = -1.0
    covariance = nothing if xi <= -0.5 else _covariance(z, e, data.weights, t, rate, c, unit)
    return [status, xi, mu, sigma, loglik, float(points.size)], covariance, data


def _covariance(z: Float, e: Float, weights: Float, t: float, rate: float, c: float, unit: float) -> Float:
    """Inverse of the observed information of (t, λ, c), taken to (ξ, μ, σ)."""
    _, first, second = _derivatives(z, t)
    y_e, first_e, second_e = _derivatives(e, t)
    tail = weights * np.exp(c - rate * y_e)
    hessian = np.empty((3, 3))
    hessian[0, 0] = (
        -2.0 * first.sum() - (t + rate) * second.sum() + np.sum(tail * (rate * second_e - (rate * first_e) ** 2))
    )
    hessian[0, 1] = hessian[1, 0] = -first.sum() + np.sum(tail * first_e * (1.0 - rate * y_e))
    hessian[0, 2] = hessian[2, 0] = rate * np.sum(tail * first_e)
    hessian[1, 1] = -z.size / rate**2 - np.sum(tail * y_e**2)
    hessian[1, 2] = hessian[2, 1] = np.sum(tail * y_e)
    hessian[2, 2] = -np.sum(tail)
    a = c / rate
    grown = math.exp(t * a)
    sigma = grown / rate
    by_t = float(slope_by_xi(np.asarray(t), np.asarray(a)))
    jacobian = np.array(
        [
            [1.0 / rate, -t / rate**2, 0.0],
            [by_t, -grown * a / rate, grown / rate],
            [sigma * a, sigma * (-t * a / rate - 1.0 / rate), sigma * t / rate],
        ]
    )
    scale = np.array([1.0, unit, unit])
    return np.asarray(scale[:, None] * (jacobian @ np.linalg.inv(-hessian) @ jacobian.T) * scale)


def _derivatives(z: Float, t: float) -> tuple[Float, Float, Float]:
    """y = log1p(tz)/t and its first two derivatives by t, by series where they would cancel."""
    w = t * z
    near = np.abs(w) < 0.03
    safe = np.where(near, 1.0, w)
    inverse = 1.0 / (1.0 + safe)
    value = np.log1p(safe) / safe
    first = (inverse - value) / safe
    second = (-inverse * inverse - 2.0 * first) / safe
    k = np.arange(13)
    series = (-1.0) ** k / (k + 1.0)
    small = np.where(near, w, 0.0)
    parts = [polyval(small, coefficients) for coefficients in (series, polyder(series), polyder(series, 2))]
    return (
        z * np.where(near, parts[0], value),
        z**2 * np.where(near, parts[1], first),
        z**3 * np.where(near, parts[2], second),
    )


def _joined(fits: list[tuple[list[float], Float, BlockData]], shape: tuple[int, ...]) -> GevFit:
    rows = np.array([row for row, _, _ in fits]).reshape(-1, 6).T
    status, xi, mu, sigma, loglik, n = (row.reshape(shape) for row in rows)
    covariance = np.array([matrix for _, matrix, _ in fits]).reshape(*shape, 3, 3)
    return GevFit(
        xi, mu, sigma, loglik, covariance, n.astype(np.int64), status.astype(np.int64), "mle",
        tuple(data for _, _, data in fits),
    )  # fmt: skip
