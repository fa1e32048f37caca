"""Profile likelihoods of the GPD, and where they have fallen by a given drop, for `evtkit.intervals`.

All in units in which the excesses have mean 1, log-likelihoods an observation. For a fixed shape ξ the likelihood is
largest where m(t) = mean 1/(1+ty) is 1/(1 + ξ), t = ξ/σ. m falls strictly, so the whole profile of ξ is a curve in t,

    ξ(t) = 1/m(t) − 1,   σ(t) = ξ(t)/t,   ℓ(t) = −log σ(t) − (1 + 1/ξ(t)) · mean log1p(ty),

and needs no inner maximisation. A return level r at w = log(period × exceedance rate) is σ expm1(ξw)/ξ: there the
likelihood is maximised over ξ for fixed r (Coles 2001, section 4.3.3). Both are restricted to ξ ≥ −1, as is the fit.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.grimshaw import mean_of, pack, store
from evtkit._kernels.jit import kernel
from evtkit._kernels.likelihood import mean_log, mean_loglik
from evtkit._kernels.sums import CHUNK, LANES, ROWS, sums, sums_near_zero

_NEAR = 0.01
_GOLDEN = 0.6180339887498949
_CUBE = "float64[:, :, ::1]"


@kernel(f"UniTuple(float64, 2)({_CUBE}, intp, float64, float64, {_CUBE})")
def _xi_profile(z, n, z_max, t, work):
    """ξ(t) and ℓ(t)."""
    if abs(t) < _NEAR:
        b = sums_near_zero(z, n, t, work)[1]
        slope = 1.0 - t * b
        xi, sigma = t * slope / (1.0 - t * slope), slope / (1.0 - t * slope)
    else:
        xi = 1.0 / sums(z, n, z_max, t)[1] - 1.0
        sigma = xi / t
    return xi, -math.log(sigma) - (1.0 + xi) * mean_log(z, n, z_max, t, work) / sigma


@kernel(f"UniTuple(float64, 2)({_CUBE}, intp, float64, float64, float64, float64, {_CUBE})")
def _xi_limits(z, n, z_max, xi, sigma, bar, work):
    """The ξ on either side of the estimate where its profile falls below `bar`; −1 where it never does."""
    limits = np.empty(2)
    centre = max(1.0 + xi / sigma * z_max, 1e-15)
    for side in range(2):
        inside, outside = centre, centre
        factor = 2.0 if side else 0.5
        reached = False
        while not reached and 1e-15 <= outside * factor < 1e300:
            inside, outside = outside, outside * factor
            reached = _xi_profile(z, n, z_max, (outside - 1.0) / z_max, work)[1] < bar
        if not reached:
            limits[side] = np.inf if side else -1.0
            continue
        while True:
            v = math.sqrt(inside) * math.sqrt(outside)
            if abs(outside - inside) <= 1e-14 * v or v in (inside, outside):
                break
            if _xi_profile(z, n, z_max, (v - 1.0) / z_max, work)[1] < bar:
                outside = v
            else:
                inside = v
        limits[side] = _xi_profile(z, n, z_max, (outside - 1.0) / z_max, work)[0]
    return limits[0], limits[1]


@kernel("float64(float64)", inline=True)
def _expm1rel(x):
    return 1.0 if x == 0.0 else math.expm1(x) / x


@kernel(f"float64({_CUBE}, intp, float64, float64, float64, float64, {_CUBE})")
def _at_level(z, n, z_max, level, w, xi, work):
    """Log-likelihood where the return level is `level` and the shape ξ."""
    if xi < -1.0 or xi * w > 600.0:
        return -np.inf
    sigma = level / (w * _expm1rel(xi * w))
    if xi == -1.0:
        return -math.log(sigma) if sigma >= z_max else -np.inf
    return mean_loglik(z, n, z_max, xi, sigma, work)


@kernel(f"UniTuple(float64, 2)({_CUBE}, intp, float64, float64, float64, float64, {_CUBE})")
def _level_profile(z, n, z_max, level, w, start, work):
    """The shape at which a return level is likeliest, and its log-likelihood; sought uphill from `start`."""
    low = -1.0
    if level < z_max * -math.expm1(-w):
        low = max(low, math.log1p(-level / z_max) / w)  # below this shape the endpoint is below the largest excess
    middle = max(start, low + 1e-9)
    step = 0.05
    best = _at_level(z, n, z_max, level, w, middle, work)
    left, right = max(low, middle - step), middle + step
    value = _at_level(z, n, z_max, level, w, left, work)
    while value > best and left > low:
        middle, right, best = left, middle, value
        step *= 2.0
        left = max(low, middle - step)
        value = _at_level(z, n, z_max, level, w, left, work)
    step = max(step, 0.05)
    value = _at_level(z, n, z_max, level, w, right, work)
    while value > best:
        left, middle, best = middle, right, value
        step *= 2.0
        right = middle + step
        value = _at_level(z, n, z_max, level, w, right, work)
    a, b = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    value_a = _at_level(z, n, z_max, level, w, a, work)
    value_b = _at_level(z, n, z_max, level, w, b, work)
    while right - left > 1e-9 * (1.0 + abs(left)):
        if value_a > value_b:
            right, b, value_b = b, a, value_a
            a = right - _GOLDEN * (right - left)
            value_a = _at_level(z, n, z_max, level, w, a, work)
        else:
            left, a, value_a = a, b, value_b
            b = left + _GOLDEN * (right - left)
            value_b = _at_level(z, n, z_max, level, w, b, work)
    middle = 0.5 * (left + right)
    value = max(value_a, value_b)
    edge = _at_level(z, n, z_max, level, w, low, work)
    return (low, edge) if edge > value else (middle, value)


@kernel(f"UniTuple(float64, 2)({_CUBE}, intp, float64, float64, float64, float64, float64, {_CUBE})")
def _level_limits(z, n, z_max, xi, sigma, w, bar, work):
    """The return levels on either side of the estimate where their profile falls below `bar`."""
    limits = np.empty(2)
    estimate = sigma * w * _expm1rel(xi * w)
    for side in range(2):
        inside, outside, shape = estimate, estimate, xi
        shift = 0.1 if side else -0.1
        while True:
            inside, outside = outside, outside * math.exp(shift)
            if not 1e-290 < outside < 1e290:
                break
            near, value = _level_profile(z, n, z_max, outside, w, shape, work)
            if value < bar:
                break
            shape = near
            shift *= 2.0
        if not 1e-290 < outside < 1e290:
            limits[side] = np.inf if side else 0.0
            continue
        while abs(outside - inside) > 1e-12 * inside:
            middle = math.sqrt(inside) * math.sqrt(outside)
            near, value = _level_profile(z, n, z_max, middle, w, shape, work)
            if value < bar:
                outside = middle
            else:
                inside, shape = middle, near
        limits[side] = 0.5 * (inside + outside)
    return limits[0], limits[1]


@kernel("void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64)")
def limits_rows(rows, fits, result, drop):
    """For every row the lower and upper limit; a row of `fits` is ξ, σ and w, or NaN for w where ξ itself is meant.

    NaN where ξ is NaN. `drop` is the fall of the whole log-likelihood that a limit marks.
    """
    deep = max(2, (rows.shape[1] + CHUNK - 1) // CHUNK)
    chunks, work = np.empty((deep, ROWS, LANES)), np.empty((2, deep, LANES))
    y = np.empty(rows.shape[1] + 1)
    for i in range(rows.shape[0]):
        n = pack(rows[i], y)
        result[i] = np.nan
        xi, scale, w = fits[i]
        if n < 2 or math.isnan(xi):
            continue
        high = y[:n].max()
        mean = mean_of(y, n, high)
        z, z_max, sigma = chunks[: (n + CHUNK - 1) // CHUNK], high / mean, scale / mean
        store(y, n, mean, z)
        best = -math.log(sigma) if xi == -1.0 else mean_loglik(z, n, z_max, xi, sigma, work)
        if math.isnan(w):
            result[i, 0], result[i, 1] = _xi_limits(z, n, z_max, xi, sigma, best - drop / n, work)
        else:
            lower, upper = _level_limits(z, n, z_max, xi, sigma, w, best - drop / n, work)
            result[i, 0], result[i, 1] = lower * mean, upper * mean
