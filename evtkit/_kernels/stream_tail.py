"""Kernels of one tail that is learnt excess by excess, for `evtkit.spot`.

A tail sees observations times its sign, so that its extremes are large. Its state is a row of floats f, a row of
integers i (see `tail_columns`) and a ring of the values kept. The model is that of a refit at every excess; `follow`
says how almost all refits are spared.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.follow import WORK, count, follow, level, log_ratio, polish, reach, surely_below, unroll
from evtkit._kernels.grimshaw import BOUNDARY, EMPTY, TOO_FEW, fit_one
from evtkit._kernels.jit import kernel
from evtkit._kernels.labels import ANOMALY, EXCESS
from evtkit._kernels.tail_columns import (
    FOLLOWED,
    FRESH,
    HEAD,
    IMPUTED,
    LEVEL,
    LOOSE,
    NOTHING,
    SEEN,
    SIGMA,
    SIZE,
    STATUS,
    TOTAL,
    XI,
    U,
)

IGNORE, IMPUTE, LEARN = 0, 1, 2  # what is learnt of an alarm: nothing, an ordinary excess in its place, its value

_EXPECTED = 2.0  # alarms learnt, at the most, for each that the risk lets expect


@kernel("float64(float64, float64, float64)")
def log_survival(y, xi, sigma):
    """log P(Y > y) of a generalised Pareto excess."""
    x = y / sigma
    e = xi * x
    if e <= -1.0:
        return -np.inf
    return -x * (math.log1p(e) / e) if e != 0.0 else -x


@kernel(f"void(float64[::1], int64[::1], float64[::1], float64, intp, {WORK})")
def refit(f, i, ring, risk, min_excess, work):
    """Fit a tail to its ring, exactly as `fit_gpd` does, and begin to follow the maximum from there."""
    y, chunks, few, rows, found = work
    n = unroll(f, i, ring, y)
    i[FRESH], i[FOLLOWED] = 1, NOTHING
    f[LEVEL], f[XI], f[SIGMA] = np.inf, np.nan, np.nan
    if n < min_excess:
        i[STATUS] = np.int64(TOO_FEW if n else EMPTY)
        return
    status, xi, sigma, _, _, _, _ = fit_one(y, n, chunks, few, rows, found)
    i[STATUS] = np.int64(status)
    if status <= BOUNDARY:
        f[XI], f[SIGMA] = xi, sigma
        f[LEVEL] = f[U] + level(y, n, f, i, risk)
        follow(f, i, y, n, chunks)


@kernel("void(float64, int64, float64[::1], int64[::1], float64[::1])")
def learn(value, n, f, i, ring):
    """Take in an excess, the n-th observation; where the ring is full, in place of the oldest one."""
    i[SEEN], i[FRESH] = n, 0
    i[TOTAL] += 1
    i[LOOSE] += 1
    if i[SIZE] < ring.size:
        i[SIZE] += 1
    else:
        count(ring[i[HEAD]], -1.0, f, i)
    count(value, 1.0, f, i)
    ring[i[HEAD]] = value
    i[HEAD] = i[HEAD] + 1 if i[HEAD] + 1 < ring.size else 0


@kernel("void(int64, float64[::1], int64[::1], float64[::1], float64)")
def _impute(n, f, i, ring, risk):
    """Learn an excess as the tail itself expects beyond its alarm level.

    The k-th has the k-th place of van der Corput's sequence among the excesses beyond the level, evenly spread.
    """
    i[IMPUTED] += 1
    share, digit, k = 0.0, 0.5, i[IMPUTED]
    while k > 0:
        share += digit * (k & 1)
        k, digit = k >> 1, 0.5 * digit
    learn(f[U] + f[SIGMA] * reach(f[XI], log_ratio(i, risk) + math.log(share)), n, f, i, ring)


@kernel("float64(float64, float64, int64, float64[::1], int64[::1], float64[::1])")
def log_probability(value, log_risk, n, f, i, ring):
    """log P(X > value) by the latest fit, after n observations.

    At and below the threshold it is only known to be at least N_u/n, and 0 is returned. Where what was seen contradicts
    the fit (`follow.level`), the share of excesses at least as large. Without a fit, of n + 1 exchangeable
    observations this one has its rank or a smaller one with the probability rank/(n + 1).
    """
    if math.isnan(value):
        return np.nan
    if not value > f[U]:
        return 0.0
    above = 0
    if i[STATUS] <= BOUNDARY:
        share = math.log(i[TOTAL] / i[SEEN])
        by_model = share + log_survival(value - f[U], f[XI], f[SIGMA])
        if value > f[LEVEL]:
            return by_model
        if by_model > log_risk - 1e-9:  # as it must be here, but for rounding
            return max(by_model, log_risk)
        for j in range(i[SIZE]):  # the level has been raised by what was seen
            above += ring[j] >= value
        return share + math.log(above / i[SIZE])
    for j in range(i[SIZE]):
        above += ring[j] >= value
    return math.log((1.0 + above + i[TOTAL] - i[SIZE]) / (n + 1.0))  # those not kept may lie above


@kernel(f"intp(float64, int64, float64[::1], int64[::1], float64[::1], float64, intp, intp, {WORK})")
def judge(value, n, f, i, ring, risk, min_excess, policy, work):
    """EXCESS or ANOMALY for a value above the threshold, the n-th observation if it is learnt; and learn it."""
    if not surely_below(value, f, i, risk):
        if not i[FRESH] and not polish(f, i, ring, risk, work):
            refit(f, i, ring, risk, min_excess, work)
        fitted = i[STATUS] <= BOUNDARY
        if value > f[LEVEL] if fitted else log_probability(value, math.log(risk), n - 1, f, i, ring) < math.log(risk):
            if policy == LEARN:
                learn(value, n, f, i, ring)
            elif policy == IMPUTE and fitted and i[IMPUTED] < 1.0 + _EXPECTED * risk * n and f[LEVEL] > f[U]:
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
    i[SEEN], i[FRESH], i[FOLLOWED] = x.size, 0, NOTHING
