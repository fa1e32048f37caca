"""Kernels of one tail that is learnt excess by excess, for `evtkit.spot`.

A tail sees observations times its sign, so that its extremes are large. Its state is a row of floats f, a row of
integers i (the columns below) and a ring of the values kept.

The model is that of a refit at every excess, but almost no refit is made. With t = ξ/σ, the sums Σ log(1 + t₀y) and
Σ 1/(1 + t₀y) at a fixed t₀, the latest fit's, are kept up to date in O(1), and one Newton step from t₀ tells where the
maximum of the likelihood has gone since, and the alarm level with it. An excess is judged by a fit only

- near that level, or where the maximum has moved too far for one step to be trusted, or
- where the likelihood does not surpass that of ξ = −1 by so much that no other maximum can have become the higher one.

That such judgements are those of a fit after every excess is tested on streams of many kinds, not proved.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._jit import kernel
from evtkit._profile import CHUNK, LANES, ROWS, sums
from evtkit._roots import CANDIDATES, slope
from evtkit.grimshaw import BOUNDARY, EMPTY, OK, TOO_FEW, fit_one

# A tail's floats: its model,
U, LEVEL, XI, SIGMA = 0, 1, 2, 3  # threshold, alarm level (inf without a fit), shape and scale of the latest fit
# and the sums that follow the maximum between fits.
SCALE, TAU, LOGS, INVERSES, SLOPE, TOP = 4, 5, 6, 7, 8, 9
FLOATS = 10

# A tail's integers:
HEAD, SIZE, TOTAL = 0, 1, 2  # where the ring goes on, values in it, excesses ever learnt
SEEN, STATUS = 3, 4  # observations learnt up to the latest excess; FitStatus of the latest fit
FRESH, FOLLOWED, LOOSE = 5, 6, 7  # is the fit of the present ring? are the sums valid? excesses since the fit
IMPUTED = 8  # alarms in whose place an excess was learnt
INTEGERS = 9

EXCESS, ANOMALY = 1, 2
IGNORE, IMPUTE, LEARN = 0, 1, 2  # what is learnt of an alarm: nothing, an ordinary excess in its place, its value

_FEW = 32  # with fewer excesses than this every one is followed by a fit
_AWAY = 1e-3  # |t₀| at least, for the sums cancel at 0
_EXPECTED = 2.0  # alarms learnt, at the most, for each that the risk lets expect
_AHEAD = 0.15  # log-likelihood an excess by which the maximum must surpass ξ = −1, beside which there may be others
_STEP = 0.2  # how far a step may change any 1 + ty, relatively
_MARGIN = 0.1  # how far, relatively, the alarm level may have moved, and how near to it an excess is judged by a fit

WORK = "Tuple((float64[::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, ::1]))"


@kernel(f"{WORK}(intp)")
def workspace(capacity):
    """Room for fits of so many excesses."""
    deep = max(2, (capacity + CHUNK - 1) // CHUNK)
    return (np.empty(capacity + 1), np.empty((deep, ROWS, LANES)), np.empty((2, ROWS, LANES)),
            np.empty((2, deep, LANES)), np.empty((CANDIDATES + 1, 3)))  # fmt: skip


@kernel("float64(float64, float64)", inline=True)
def _reach(xi, log_ratio):
    """(r^(−ξ) − 1)/ξ: the excess, in units of σ, that is exceeded with probability r."""
    k = -xi * log_ratio
    return -log_ratio * (math.expm1(k) / k if k != 0.0 else 1.0)


@kernel("float64(int64[::1], float64)", inline=True)
def _log_ratio(i, risk):
    """Log of the share r = risk · n/N_u of the excesses beyond the alarm level; 0 where that would be the threshold."""
    return min(0.0, math.log(risk * i[SEEN] / i[TOTAL]))


@kernel("float64(float64, float64, float64)")
def log_survival(y, xi, sigma):
    """log P(Y > y) of a generalised Pareto excess."""
    x = y / sigma
    e = xi * x
    if e <= -1.0:
        return -np.inf
    return -x * (math.log1p(e) / e) if e != 0.0 else -x


@kernel("intp(float64[::1], int64[::1], float64[::1], float64[::1])")
def unroll(f, i, ring, y):
    """The excesses kept into y, the oldest first; returns how many."""
    size = i[SIZE]
    first = i[HEAD] if size == ring.size else 0
    for j in range(size):
        k = first + j
        y[j] = ring[k if k < size else k - size] - f[U]
    return size


@kernel(f"void(float64[::1], int64[::1], float64[::1], float64, intp, {WORK})")
def refit(f, i, ring, risk, min_excess, work):
    """Fit a tail to its ring, exactly as `fit_gpd` does, and start to follow the maximum from there."""
    y, chunks, few, rows, found = work
    n = unroll(f, i, ring, y)
    i[FRESH], i[FOLLOWED], i[LOOSE] = 1, 0, 0
    f[LEVEL], f[XI], f[SIGMA] = np.inf, np.nan, np.nan
    if n < min_excess:
        i[STATUS] = np.int64(TOO_FEW if n else EMPTY)
        return
    status, xi, sigma, _, _, _, _ = fit_one(y, n, chunks, few, rows, found)
    i[STATUS] = np.int64(status)
    if status > BOUNDARY:
        return
    f[XI], f[SIGMA] = xi, sigma
    f[LEVEL] = f[U] + sigma * _reach(xi, _log_ratio(i, risk))
    if status != OK or n < _FEW:
        return
    total, highest = 0.0, 0.0
    for j in range(n):
        total += y[j]
        highest = max(highest, y[j])
    mean = total / n
    t = xi / sigma * mean
    tau = t if abs(t) >= _AWAY else math.copysign(_AWAY, t)
    if 1.0 + tau * (highest / mean) <= 0.0:
        return
    logs, m, m2 = sums(chunks[: (n + CHUNK - 1) // CHUNK], n, highest / mean, tau)
    _, falls = slope(tau, logs, m, m2)
    if falls < 0.0:
        f[SCALE], f[TAU], f[LOGS], f[INVERSES], f[SLOPE] = mean, tau, n * logs, n * m, falls
        f[TOP], i[FOLLOWED] = highest / mean, 1


@kernel("boolean(float64, float64[::1], int64[::1], float64)")
def _surely_below(value, f, i, risk):
    """Whether a value lies below the alarm level of a fit that need not be made."""
    if not i[FOLLOWED] or 4 * i[LOOSE] > i[SIZE]:
        return False
    xi, m, tau = f[LOGS] / i[SIZE], f[INVERSES] / i[SIZE], f[TAU]
    step = -((1.0 + xi) * m - 1.0) / (tau * xi * m) / f[SLOPE]
    sigma = xi / tau + step * (1.0 - m - xi) / (tau * tau)
    shape = (tau + step) * sigma
    gap = f[SCALE] * sigma * _reach(shape, _log_ratio(i, risk))
    before = f[LEVEL] - f[U]
    return (
        math.log(f[TOP] * tau / xi) - xi - 1.0 > _AHEAD
        and abs(step) * f[TOP] < _STEP * (1.0 + tau * f[TOP])
        and abs(shape - f[XI]) < _MARGIN
        and abs(gap - before) < _MARGIN * before
        and value - f[U] < (1.0 - _MARGIN) * gap
    )


@kernel("void(float64, float64, float64[::1], int64[::1])")
def _count(value, sign, f, i):
    """Take a value into the sums (sign 1), or out of them (−1)."""
    if i[FOLLOWED]:
        y = (value - f[U]) / f[SCALE]
        a = 1.0 + f[TAU] * y
        if a > 0.0:
            if sign > 0.0:
                f[TOP] = max(f[TOP], y)
            elif y >= f[TOP]:
                i[FOLLOWED] = 0
            f[LOGS] += sign * math.log(a)
            f[INVERSES] += sign / a
        else:
            i[FOLLOWED] = 0


@kernel("void(float64, int64, float64[::1], int64[::1], float64[::1])")
def learn(value, n, f, i, ring):
    """Take in an excess, the n-th observation; where the ring is full, in place of the oldest one."""
    i[SEEN], i[FRESH] = n, 0
    i[TOTAL] += 1
    i[LOOSE] += 1
    if i[SIZE] < ring.size:
        i[SIZE] += 1
    else:
        _count(ring[i[HEAD]], -1.0, f, i)
    _count(value, 1.0, f, i)
    ring[i[HEAD]] = value
    i[HEAD] = i[HEAD] + 1 if i[HEAD] + 1 < ring.size else 0


@kernel("void(int64, float64[::1], int64[::1], float64[::1], float64)")
def _impute(n, f, i, ring, risk):
    """Learn an excess as the tail itself expects beyond its alarm level, if the risk lets expect one by now.

    The k-th has the k-th place of van der Corput's sequence among the excesses beyond the level, evenly spread.
    """
    if not i[IMPUTED] < 1.0 + _EXPECTED * risk * n or not f[LEVEL] > f[U]:
        return
    i[IMPUTED] += 1
    share, digit, k = 0.0, 0.5, i[IMPUTED]
    while k > 0:
        share += digit * (k & 1)
        k, digit = k >> 1, 0.5 * digit
    learn(f[U] + f[SIGMA] * _reach(f[XI], _log_ratio(i, risk) + math.log(share)), n, f, i, ring)


@kernel("float64(float64, int64, float64[::1], int64[::1], float64[::1])")
def log_probability(value, n, f, i, ring):
    """log P(X > value) by the latest fit, after n observations.

    At and below the threshold it is only known to be at least N_u/n, and 0 is returned. Without a fit, of n + 1
    exchangeable observations this one has its rank or a smaller one with the probability rank/(n + 1).
    """
    if math.isnan(value):
        return np.nan
    if not value > f[U]:
        return 0.0
    if i[STATUS] <= BOUNDARY:
        return math.log(i[TOTAL] / i[SEEN]) + log_survival(value - f[U], f[XI], f[SIGMA])
    rank = 1.0 + i[TOTAL] - i[SIZE]  # those not kept may lie above
    for j in range(i[SIZE]):
        rank += ring[j] >= value
    return math.log(rank / (n + 1.0))


@kernel(f"intp(float64, int64, float64[::1], int64[::1], float64[::1], float64, intp, intp, {WORK})")
def judge(value, n, f, i, ring, risk, min_excess, policy, work):
    """EXCESS or ANOMALY for a value above the threshold, the n-th observation if it is learnt; and learn it."""
    if not _surely_below(value, f, i, risk):
        if not i[FRESH]:
            refit(f, i, ring, risk, min_excess, work)
        fitted = i[STATUS] <= BOUNDARY
        if value > f[LEVEL] if fitted else log_probability(value, n - 1, f, i, ring) < math.log(risk):
            if policy == LEARN:
                learn(value, n, f, i, ring)
            elif policy == IMPUTE and fitted:
                _impute(n, f, i, ring, risk)
            return ANOMALY
    learn(value, n, f, i, ring)
    return EXCESS


@kernel("void(float64[::1], float64, float64, float64[::1], int64[::1], float64[::1])")
def begin(x, sign, threshold, f, i, ring):
    """Start a tail: its threshold and, in order of time, the excesses among x."""
    f[U] = threshold
    for value in x:
        if sign * value > f[U]:
            learn(sign * value, x.size, f, i, ring)
    i[SEEN], i[FRESH], i[FOLLOWED] = x.size, 0, 0
