"""The estimators that do not maximise the likelihood: moments, probability-weighted moments, Zhang & Stephens.

Each works on excesses divided by their mean, so units never change an answer, and returns ξ and σ in those units. The
frame around them, `estimate_rows`, answers for the samples that have no estimate, adds the log-likelihood and restores
the units.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.grimshaw import CONSTANT, EMPTY, OK, TOO_FEW, _mean, pack, store
from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import CHUNK, LANES, ROWS, sums, sums_near_zero

NO_SOLUTION = 5.0  # FitStatus, as the kernels return it
MOMENTS, PWM, ZHANG_STEPHENS = 0, 1, 2

_NEAR = 0.01  # |ξ/σ| below which ξ(t)/t would cancel


@kernel("float64(float64[:, :, ::1], intp, float64, float64, float64[:, :, ::1])")
def mean_log(z, n, z_max, t, work):
    """mean log1p(tz)/t, exact through t = 0: the scale that goes with t in the likelihood of Grimshaw (1993)."""
    if abs(t) < _NEAR:
        return 1.0 - t * sums_near_zero(z, n, t, work)[0]
    return sums(z, n, z_max, t)[0] / t


@kernel("float64(float64[:, :, ::1], intp, float64, float64, float64, float64[:, :, ::1])")
def mean_loglik(z, n, z_max, xi, sigma, work):
    """Log-likelihood an observation; −inf where the largest excess is at the endpoint, to rounding, or beyond it."""
    t = xi / sigma
    if 1.0 + t * z_max <= 1e-12:
        return -np.inf
    return -math.log(sigma) - (1.0 + xi) * mean_log(z, n, z_max, t, work) / sigma


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp)")
def _moments(z, n):
    """ξ = ½(1 − ȳ²/s²), σ = ½ȳ(1 + ȳ²/s²), s² with n − 1 (Hosking & Wallis 1987, section 3)."""
    y = z.ravel()
    mean = 0.0
    for i in range(n):
        mean += y[i]
    mean /= n
    variance = 0.0
    for i in range(n):
        variance += (y[i] - mean) * (y[i] - mean)
    ratio = mean * mean / (variance / (n - 1))
    return 0.5 * (1.0 - ratio), 0.5 * mean * (1.0 + ratio)


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp)")
def _weighted_moments(z, n):
    """ξ = 2 − a₀/(a₀ − 2a₁), σ = 2a₀a₁/(a₀ − 2a₁), aᵣ estimating E[Y (1 − F)ʳ] without bias (Hosking & Wallis 1987)."""
    y = np.sort(z.ravel()[:n])
    a0, a1, spread = 0.0, 0.0, 0.0
    for i in range(n):
        a0 += y[i]
        a1 += y[i] * (n - 1 - i)
        spread += y[i] * (2 * i + 1 - n)  # a₀ − 2a₁, without its cancellation
    a0, a1, spread = a0 / n, a1 / n / (n - 1), spread / n / (n - 1)
    return 2.0 - a0 / spread, 2.0 * a0 * a1 / spread


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64[:, :, ::1])")
def _zhang_stephens(z, n, z_max, work):
    """The likelihood's mean of t over the prior points of Zhang & Stephens (2009), equations 5 to 8; their θ is −t."""
    points = 20 + int(math.sqrt(n))
    quartile = np.partition(z.ravel()[:n], int(n / 4 + 0.5) - 1)[int(n / 4 + 0.5) - 1]
    ts, logliks = np.empty(points), np.empty(points)
    for i in range(points):
        ts[i] = -1.0 / z_max - (1.0 - math.sqrt(points / (i + 0.5))) / (3.0 * quartile)
        sigma = mean_log(z, n, z_max, ts[i], work)
        logliks[i] = n * (-math.log(sigma) - ts[i] * sigma - 1.0)
    best = logliks.max()
    total, t = 0.0, 0.0
    for i in range(points):
        weight = math.exp(logliks[i] - best)
        total += weight
        t += weight * ts[i]
    t /= total
    sigma = mean_log(z, n, z_max, t, work)
    return t * sigma, sigma


@kernel("void(float64[:, ::1], float64[:, ::1], int64[::1], intp)")
def estimate_rows(rows, result, counts, method):
    """As `evtkit._kernels.grimshaw.fit_rows`, with one of the estimators above."""
    deep = max(2, (rows.shape[1] + CHUNK - 1) // CHUNK)
    chunks, work = np.empty((deep, ROWS, LANES)), np.empty((2, deep, LANES))
    y = np.empty(rows.shape[1] + 1)
    for i in range(rows.shape[0]):
        n = pack(rows[i], y)
        counts[i] = n
        result[i, 0] = -1.0 if n < 0 else EMPTY if n == 0 else TOO_FEW
        result[i, 1:] = np.nan
        if n < 2:
            continue
        low, high = y[:n].min(), y[:n].max()
        if low == high:
            result[i, 0], result[i, 1], result[i, 2], result[i, 3] = CONSTANT, -1.0, high, -n * math.log(high)
            continue
        mean = _mean(y, n, high)
        z, z_max = chunks[: (n + CHUNK - 1) // CHUNK], high / mean
        store(y, n, mean, z)
        if method == MOMENTS:
            xi, sigma = _moments(z, n)
        elif method == PWM:
            xi, sigma = _weighted_moments(z, n)
        else:
            xi, sigma = _zhang_stephens(z, n, z_max, work)
        result[i, 0] = NO_SOLUTION
        if not (abs(xi) < np.inf and 0.0 < sigma < np.inf):
            continue
        value = mean_loglik(z, n, z_max, xi, sigma, work)
        if value > -np.inf:
            result[i, 0] = OK
        result[i, 1], result[i, 2], result[i, 3] = xi, sigma * mean, n * (value - math.log(mean))
