"""Following the maximum of a likelihood from excess to excess, so that almost no fit need be made.

With t = ξ/σ, the sums Σ log(1 + t₀y) and Σ 1/(1 + t₀y) at a fixed t₀, the latest fit's, are kept up to date in O(1). So
one Newton step from t₀ tells where the maximum of the likelihood has gone since, and the alarm level with it. That
settles most excesses, which lie well below it. Near it, a few more steps, with sums over all excesses, find the maximum
itself. The search for all maxima that a fit begins with is made again only

- after a quarter of the excesses have gone, or where the maximum has moved too far for one step to be trusted, or
- where the likelihood does not surpass that of ξ = −1 by so much that no other maximum can have become the higher one.

There, in short tails, a bound serves instead. A maximum with ξ ≤ 0 has σ ≥ ȳ (1/(1 + tȳ) ≤ mean 1/(1 + ty) =
1/(1 + ξ), by Jensen) and an endpoint σ/|ξ| ≥ max y. The level of excess probability r, (σ/|ξ|)(1 − r^|ξ|), is then at
least (1 − √r) max y where ξ ≤ −1/2, and at least 2ȳ(1 − √r) elsewhere.

That such judgements are those of a fit after every excess is tested on streams of many kinds, not proved: of the
maxima that might take the lead, only ξ = −1, or the exponential, is followed.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels import predictive
from evtkit._kernels.bits import assign, empty
from evtkit._kernels.grimshaw import moments, store
from evtkit._kernels.jit import kernel
from evtkit._kernels.lanes import lanes, total
from evtkit._kernels.maxima import CANDIDATES, slope, solve
from evtkit._kernels.select import sort
from evtkit._kernels.sums import CHUNK, LANES, ROWS, sums
from evtkit._kernels.tail_columns import (
    AT,
    FIRST,
    FOLLOWED,
    FRESH,
    GRID,
    HEAD,
    INVERSES,
    LAST,
    LEVEL,
    LOGS,
    LOOSE,
    MAXIMUM,
    NOTHING,
    PLAIN,
    SCALE,
    SEEN,
    SHORT,
    SIGMA,
    SINCE,
    SIZE,
    SLOPE,
    TAU,
    TOP,
    TOTAL,
    XI,
    U,
)

WORK = (
    "Tuple((float64[::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, ::1], float64[::1], "
    "float64[:, ::1]))"
)

PLUG_IN, PREDICTIVE = 0, 1  # which law gives the level
ROOM = (4, 49)  # of a posterior, as `predictive` has it

_FEW = 32  # with fewer excesses than this every one is followed by a fit
_AWAY = 1e-3  # |t₀| at least, for the sums cancel at 0
_AHEAD = 0.15  # log-likelihood an excess by which the maximum must surpass ξ = −1, beside which there may be others
_CONTRADICTED = 1e-3  # probability of what has been seen, below which a level is raised
_TRUSTED = 4  # a fit is followed until one part in so many of the excesses is new
_CLOSE = 0.03  # the same, where the fit has hardly moved
_STEP = 0.2  # how far a step may change any 1 + ty, relatively
_MARGIN = 0.1  # how far, relatively, the alarm level may have moved, and how near to it an excess is not yet judged


@kernel(f"{WORK}(intp)")
def workspace(capacity):
    """Room for fits of so many excesses."""
    deep = max(2, (capacity + CHUNK - 1) // CHUNK)
    return (empty(capacity + 1), empty((deep, ROWS, LANES)), empty((2, ROWS, LANES)),
            empty((2, deep, LANES)), empty((CANDIDATES + 1, 3)), empty(capacity + 1),
            empty(ROOM))  # fmt: skip


@kernel("float64(float64, float64)", inline=True)
def reach(xi, log_ratio):
    """(r^(−ξ) − 1)/ξ: the excess, in units of σ, that is exceeded with probability r."""
    k = -xi * log_ratio
    return -log_ratio * (math.expm1(k) / k if k != 0.0 else 1.0)


@kernel("float64(int64[::1], float64, intp)", inline=True)
def log_ratio(i, risk, law):
    """Log of the share of the excesses beyond the alarm level, risk · n/N_u; 0 where that would be the threshold.

    Of the next observation, the probability to exceed the threshold is (N_u + 1)/(n + 1).
    """
    return min(0.0, math.log(risk * (i[SEEN] + law) / (i[TOTAL] + law)))


@kernel("intp(float64[::1], int64[::1], float64[::1], float64[::1])")
def unroll(f, i, ring, y):
    """The excesses kept into y, the oldest first; returns how many."""
    size = i[SIZE]
    first = i[HEAD] if size == ring.size else 0
    for j in range(size):
        k = first + j
        y[j] = ring[k if k < size else k - size] - f[U]
    return size


@kernel(f"void(float64[::1], intp, float64[::1], {WORK})")
def average(y, n, f, work):
    """The posterior of the n excesses in y, into the workspace; it leaves the chunks to itself."""
    _, chunks, _, _, _, even, nodes = work
    if f[GRID] > 0.0:
        assign(even[:n], y[:n])
        sort(even[:n])
        predictive.spread_ties(even, n, f[GRID])
        predictive.posterior_near(even, n, f[FIRST : LAST + 1], chunks, nodes)
    else:
        predictive.posterior_near(y, n, f[FIRST : LAST + 1], chunks, nodes)


@kernel(f"void(float64[::1], intp, float64[::1], int64[::1], float64, intp, {WORK})")
def level(y, n, f, i, risk, law, work):
    """The alarm level and the excess at the plug-in level, from ξ, σ and the excesses y.

    A value at the end of its range, such as a load of 100 %, may come again and again, and yet lie beyond the level of
    a fit that ends there. The level is at least the k-th largest excess kept, k being so many that, if exceedances are
    Poisson, as many or more of them have a probability below 0.001.
    """
    log_r = log_ratio(i, risk, law)
    excess = f[SIGMA] * reach(f[XI], log_r)
    f[PLAIN] = excess
    if law == PREDICTIVE:
        average(y, n, f, work)
        before = f[LEVEL] - f[U] - f[GRID]
        excess = f[GRID] + predictive.excess_level(log_r, before if 0.0 < before < np.inf else excess, work[6])
    f[LEVEL], f[AT], i[SINCE] = f[U] + excess, f[XI], 0
    beyond = 0
    for j in range(n):
        beyond += y[j] > excess
    if beyond == 0:
        return
    expected = n * math.exp(log_r)
    k, term = 1, math.exp(-expected)
    rest = 1.0 - term
    while rest >= _CONTRADICTED and k <= beyond:
        term *= expected / k
        rest -= term
        k += 1
    if k > beyond:
        return
    largest, found = empty(beyond), 0
    for j in range(n):
        if y[j] > excess:
            largest[found] = y[j]
            found += 1
    sort(largest)
    f[LEVEL] = f[U] + largest[beyond - k]


@kernel("UniTuple(float64, 2)(float64[::1], intp)")
def _extent(y, n):
    """The mean and the largest."""
    parts, highest, whole = lanes(), 0.0, n // CHUNK * CHUNK
    for start in range(0, whole, CHUNK):
        for j in range(LANES):
            part = 0.0
            for i in range(start + j, start + CHUNK, LANES):
                part += y[i]
            parts[j] += part
    for i in range(whole, n):
        parts[i % LANES] += y[i]
    for i in range(n):
        highest = max(highest, y[i])
    return total(parts) / n, highest


@kernel("void(float64[::1], int64[::1], float64[:, :, ::1], intp, float64, float64)")
def _rebase(f, i, z, n, mean, highest):
    """Sum anew at the maximum, ξ and σ, for excesses stored in z in units of their mean."""
    i[FOLLOWED] = NOTHING
    if math.log(f[SIGMA] / highest) + f[XI] + 1.0 > -_AHEAD:
        if mean < np.inf:
            f[SCALE], f[LOGS], f[TOP], i[FOLLOWED] = highest, n * (mean / highest), 1.0, SHORT
        return
    t, top = f[XI] / f[SIGMA] * mean, highest / mean
    tau = t if abs(t) >= _AWAY else math.copysign(_AWAY, t)
    if 1.0 + tau * top <= 0.0:
        return
    logs, m, m2 = sums(z, n, top, tau)
    _, falls = slope(tau, logs, m, m2)
    if falls < 0.0:
        f[SCALE], f[TAU], f[LOGS], f[INVERSES], f[SLOPE] = mean, tau, n * logs, n * m, falls
        f[TOP], i[FOLLOWED] = top, MAXIMUM


@kernel("void(float64[::1], int64[::1], float64[::1], intp, float64[:, :, ::1])")
def follow(f, i, y, n, chunks):
    """Begin to follow a maximum from a fit of y, which has left the excesses in chunks."""
    i[FOLLOWED], i[LOOSE] = NOTHING, 0
    if n >= _FEW:
        mean, highest = _extent(y, n)
        _rebase(f, i, chunks[: (n + CHUNK - 1) // CHUNK], n, mean, highest)


@kernel("UniTuple(float64, 3)(float64[::1], int64[::1])")
def newton(f, i):
    """One step from t₀: the step, and ξ and σ there, in units of SCALE; NaN where it cannot be trusted."""
    xi, m, tau = f[LOGS] / i[SIZE], f[INVERSES] / i[SIZE], f[TAU]
    step = -((1.0 + xi) * m - 1.0) / (tau * xi * m) / f[SLOPE]
    trusted = (
        _TRUSTED * i[LOOSE] <= i[SIZE]
        and math.log(f[TOP] * tau / xi) - xi - 1.0 > _AHEAD
        and abs(step) * f[TOP] < _STEP * (1.0 + tau * f[TOP])
    )
    sigma = xi / tau + step * (1.0 - m - xi) / (tau * tau)
    return step if trusted else np.nan, (tau + step) * sigma, sigma


@kernel("boolean(float64, float64[::1], int64[::1], float64, intp)")
def surely_below(value, f, i, risk, law):
    """Whether a value lies below the alarm level of a fit that need not be made.

    The level keeps its ratio to the plug-in level while that has moved by little.
    """
    if i[FOLLOWED] == NOTHING:
        return False
    excess = (value - f[U]) / f[SCALE]
    before, reached = f[PLAIN] / f[SCALE], (f[LEVEL] - f[U]) / f[SCALE]
    if i[FOLLOWED] == SHORT:
        mean = f[LOGS] / i[SIZE]
        lowest = min(f[TOP], 2.0 * mean) * (1.0 - math.exp(0.5 * log_ratio(i, risk, law)))
        if law == PREDICTIVE:
            lowest = (1.0 - _MARGIN) * min(lowest, reached)
            if 8 * i[SINCE] <= i[SIZE]:  # little has changed but, perhaps, the largest
                lowest = (1.0 - _CLOSE) * min(reached, before, f[TOP])
        return math.log(mean / f[TOP]) + 1.0 > _AHEAD and excess < lowest
    step, xi, sigma = newton(f, i)
    gap = sigma * reach(xi, log_ratio(i, risk, law))
    close = _CLOSE if law == PREDICTIVE and abs(xi - f[AT]) < _CLOSE else _MARGIN
    return (
        not math.isnan(step)
        and abs(xi - f[AT]) < _MARGIN
        and abs(gap - before) < _MARGIN * before
        and excess < (1.0 - close) * gap * min(1.0, reached / before)
    )


@kernel(f"boolean(float64[::1], int64[::1], float64[::1], float64, intp, {WORK})")
def polish(f, i, ring, risk, law, work):
    """Find the maximum where it has been followed to, with the alarm level; False if it is not certain to be there."""
    if i[FOLLOWED] != MAXIMUM:
        return False
    step, _, _ = newton(f, i)
    if math.isnan(step):
        return False
    y, chunks, _, rows, _, _, _ = work
    n = unroll(f, i, ring, y)
    mean, highest = _extent(y, n)
    z, top = chunks[: (n + CHUNK - 1) // CHUNK], highest / mean
    store(y, n, mean, z)
    start = (f[TAU] + step) * (mean / f[SCALE])
    width = 0.5 * (start + 1.0 / top)
    curvature = moments(z, n)[1] if abs(start) < width + 0.01 else np.nan
    t, xi, sigma = solve(z, n, top, start - width, start + width, start, curvature, rows)
    if not (abs(t - start) < 0.9 * width and math.log(top / sigma) - xi - 1.0 > _AHEAD):
        return False
    f[XI], f[SIGMA] = xi, sigma * mean
    _rebase(f, i, z, n, mean, highest)
    level(y, n, f, i, risk, law, work)
    i[FRESH] = 1
    return True


@kernel("void(float64, float64, float64[::1], int64[::1])")
def count(value, sign, f, i):
    """Take a value into the sums (sign 1), or out of them (−1)."""
    if i[FOLLOWED] == NOTHING:
        return
    y = (value - f[U]) / f[SCALE]
    if sign > 0.0:
        f[TOP] = max(f[TOP], y)
    elif y >= f[TOP]:
        i[FOLLOWED] = NOTHING
    if i[FOLLOWED] == SHORT:
        f[LOGS] += sign * y
        return
    a = 1.0 + f[TAU] * y
    if a > 0.0:
        f[LOGS] += sign * math.log(a)
        f[INVERSES] += sign / a
    else:
        i[FOLLOWED] = NOTHING
