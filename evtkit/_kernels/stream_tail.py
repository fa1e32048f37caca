"""Kernels of one tail that is learnt excess by excess, for `evtkit.spot`.

A tail sees observations times its sign, so that its extremes are large. Its state is a row of floats f, a row of
integers i (see `tail_columns`) and a ring of the values kept. The model is that of a refit at every excess; `follow`
says how almost all refits are spared.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels import predictive
from evtkit._kernels.bits import assign
from evtkit._kernels.follow import (
    PREDICTIVE,
    WORK,
    count,
    follow,
    level,
    log_ratio,
    newton,
    polish,
    reach,
    surely_below,
    unroll,
)
from evtkit._kernels.grimshaw import BOUNDARY, EMPTY, TOO_FEW, fit_one
from evtkit._kernels.jit import kernel
from evtkit._kernels.labels import ANOMALY, EXCESS
from evtkit._kernels.select import sort
from evtkit._kernels.tail_columns import (
    CALM,
    COUNTED,
    CROWD,
    FIRST,
    FOLLOWED,
    FRESH,
    GRID,
    HEAD,
    IMPUTED,
    LAST,
    LEVEL,
    LOOSE,
    MARK,
    MAXIMUM,
    NOTHING,
    PLAIN,
    RARE,
    REFUSED,
    SCALE,
    SEEN,
    SIGMA,
    SINCE,
    SIZE,
    SPARE,
    STATUS,
    TOTAL,
    XI,
    U,
)

IGNORE, IMPUTE, LEARN = 0, 1, 2  # what is learnt of an alarm: nothing, an ordinary excess in its place, its value

FEW = 100  # excesses that a short calibration begins with

_RARER = 0.5 * math.log(10.0)  # how much rarer than an alarm what is learnt as it is may be
_LATER = 1.05  # how far beyond the alarm level, relatively, a tail may reach that ends

_OFTEN = 3.0  # in units of the risk, the probability below which values are rare
_REFILL = 4.0  # how many times as often as that they may be learnt
_BEGIN, _MOST = 1.0, 4.0  # room for them after the calibration, and at most
_LASTING = 200  # refused, after which they are there to stay
_SHORT = -0.3  # ξ below which a tail has an end that may be found farther out
_SEEN_OFTEN = 10.0  # values kept as large as one, which is not rare then
_FAR = 0.4  # of the way from the threshold to the alarm level, below which no value is rare
_QUIET = 50.0  # observations after a rare value that still belong to it,
_AFTER = 0.02 / _OFTEN  # but at most one in fifty, where rare values come as often as chance has it
_RECENT = 1000.0  # observations after which an excess counts for 1/e
_CROWDED = 6.0  # standard errors by which excesses are too many for a stream that stays
_SPREAD = 8.0  # an excess counts in full once an eighth of their usual distance has passed since the last
_NEAR = 1.5  # in units of the alarm level's excess, up to where a stream may have moved then


@kernel("float64(float64, float64, float64)")
def log_survival(y, xi, sigma):
    """log P(Y > y) of a generalised Pareto excess."""
    x = y / sigma
    e = xi * x
    if e <= -1.0:
        return -np.inf
    return -x * (math.log1p(e) / e) if e != 0.0 else -x


@kernel(f"boolean(float64[::1], int64[::1], float64[::1], intp, {WORK})")
def _fit(f, i, ring, min_excess, work):
    """Fit a tail to its ring, exactly as `fit_gpd` does, and begin to follow the maximum from there; is there a fit?"""
    y, chunks, few, rows, found, _, _ = work
    n = unroll(f, i, ring, y)
    i[FOLLOWED] = NOTHING
    if n < min_excess:
        i[STATUS] = np.int64(TOO_FEW if n else EMPTY)
    else:
        status, xi, sigma, _, _, _, _ = fit_one(y, n, chunks, few, rows, found)
        i[STATUS] = np.int64(status)
        if status <= BOUNDARY:
            f[XI], f[SIGMA] = xi, sigma
            follow(f, i, y, n, chunks)
            return True
    i[FRESH], f[XI], f[SIGMA], f[LEVEL] = 1, np.nan, np.nan, np.inf
    return False


@kernel(f"void(float64[::1], int64[::1], float64[::1], float64, intp, intp, {WORK})")
def refit(f, i, ring, risk, min_excess, law, work):
    """Fit a tail to its ring, and find its alarm level."""
    if _fit(f, i, ring, min_excess, work):
        level(work[0], i[SIZE], f, i, risk, law, work)
        i[FRESH] = 1


@kernel("void(float64, int64, float64[::1], int64[::1], float64[::1])")
def learn(value, n, f, i, ring):
    """Take in an excess, the n-th observation; where the ring is full, in place of the oldest one."""
    i[SEEN], i[FRESH] = n, 0
    i[TOTAL] += 1
    i[LOOSE] += 1
    i[SINCE] += 1
    if i[SIZE] < ring.size:
        i[SIZE] += 1
    else:
        count(ring[i[HEAD]], -1.0, f, i)
    count(value, 1.0, f, i)
    ring[i[HEAD]] = value
    i[HEAD] = i[HEAD] + 1 if i[HEAD] + 1 < ring.size else 0


@kernel("boolean(float64, float64[::1], int64[::1], float64)")
def _may_end_later(value, f, i, risk):
    """Whether the fitted tail ends, but may do so as much later as this value says."""
    log_r = min(0.0, math.log(risk * i[SEEN] / i[TOTAL]))
    if not (f[XI] < 0.0 and log_r < 0.0):
        return False
    later = reach(f[XI], log_r - 2.0 * _RARER) / reach(f[XI], log_r)
    return value - f[U] <= max(_LATER, later) * (f[LEVEL] - f[U])


@kernel("boolean(float64, float64[::1], int64[::1], float64)")
def _is_plausible(value, f, i, risk):
    """Whether the fitted tail itself exceeds a value with a third of the risk."""
    log_r = min(0.0, math.log(risk * i[SEEN] / i[TOTAL]))
    return value - f[U] <= f[SIGMA] * reach(f[XI], log_r - _RARER)


@kernel("boolean(intp, float64, float64[::1], int64[::1], float64[::1], float64)")
def _is_rare(label, value, f, i, ring, risk):
    """Whether the model exceeds a value with less than _OFTEN times the risk, and what is kept does not contradict it.

    The model is taken as far as it has been followed. A value at the end of its range may come often.
    """
    excess, gap, xi = value - f[U], f[LEVEL] - f[U], f[XI]
    if not gap < np.inf or i[STATUS] > BOUNDARY or excess <= _FAR * gap:
        return False
    if i[FRESH]:
        if label == ANOMALY and xi < _SHORT and _may_end_later(value, f, i, risk):
            return False
    else:
        if i[FOLLOWED] != MAXIMUM:
            return False
        step, xi, sigma = newton(f, i)
        if math.isnan(step):
            return False
        gap *= f[SCALE] * sigma * reach(xi, log_ratio(i, risk, PREDICTIVE)) / f[PLAIN]
    log_r = log_ratio(i, risk, PREDICTIVE)
    if not excess > gap * reach(xi, min(0.0, log_r + math.log(_OFTEN))) / reach(xi, log_r):
        return False
    above = 0
    for j in range(i[SIZE]):
        above += ring[j] >= value
    return above < _SEEN_OFTEN + 3.0 * _OFTEN * i[SIZE] * math.exp(log_r)


@kernel("void(float64[::1], int64[::1], int64, float64)")
def _make_room(f, i, n, risk):
    """Let room for rare values grow with the observations since they were last looked at."""
    f[SPARE] += _REFILL * _OFTEN * risk * (n - i[RARE])
    i[RARE] = n
    if f[SPARE] >= _MOST:
        f[SPARE], i[REFUSED] = _MOST, 0


@kernel("boolean(float64[::1], int64[::1], int64, float64)")
def _has_room(f, i, n, risk):
    """Whether one rare value more can be ordinary; if so, it is counted.

    Room for them grows with the observations, faster than chance would need it, up to a few. Values that come
    much more often are incidents. They would move the level to where the next of them is ordinary. What goes on coming
    is no incident, and is learnt after so many have been refused.
    """
    _make_room(f, i, n, risk)
    if f[SPARE] >= 1.0:
        f[SPARE] -= 1.0
        return True
    i[REFUSED] += 1
    return i[REFUSED] > _LASTING


@kernel("boolean(boolean, float64, float64[::1], int64[::1], int64, float64)")
def _is_amid(far, value, f, i, n, risk):
    """Whether a value comes soon after one that was far out, and is far out itself; more than a few are there to stay.

    Values of one burst are one value. Learnt one by one each makes the next more ordinary, and the level runs away.
    """
    after = n <= i[CALM]
    if far:
        if not after:  # by the level as it was before
            f[MARK] = f[U] + _FAR * (min(f[LEVEL], value) - f[U])
        i[CALM] = n + np.int64(min(_QUIET, _AFTER / risk))
    if not (after and value > f[MARK]):
        return False
    _make_room(f, i, n, risk)
    i[REFUSED] += 1
    return i[REFUSED] <= _LASTING


@kernel("boolean(boolean, float64[::1], int64[::1], int64)")
def _is_crowded(ordinary, f, i, n):
    """Whether there are of late more ordinary excesses than chance explains: the stream itself has moved.

    An incident leaves the values between the threshold and itself as they were, but for those it passes on its way:
    of excesses that follow one another closely each counts for little.
    """
    share, passed = i[TOTAL] / i[SEEN], n - i[COUNTED]
    recent = f[CROWD] * math.exp(-passed / _RECENT)
    if ordinary:
        recent += min(1.0, _SPREAD * share * passed)
        f[CROWD], i[COUNTED] = recent, n
    expected = _RECENT * share
    return recent > expected + _CROWDED * math.sqrt(expected)


@kernel("boolean(int64, int64, float64)")
def _is_allowed(far, n, risk):
    """Whether one value more that far out is as many as the risk lets expect of n, and their standard error."""
    expected = risk * n
    return far + 1.0 <= expected + math.sqrt(expected)


@kernel("void(int64, float64[::1], int64[::1], float64[::1])", late=True)
def _impute(n, f, i, ring):
    """Learn an excess as the fitted tail itself expects beyond the alarm level.

    The k-th has the k-th place of van der Corput's sequence among the excesses beyond the level, evenly spread.
    """
    i[IMPUTED] += 1
    share, digit, k = 0.0, 0.5, i[IMPUTED]
    while k > 0:
        share += digit * (k & 1)
        k, digit = k >> 1, 0.5 * digit
    excess = f[LEVEL] - f[U]
    beyond = log_survival(excess, f[XI], f[SIGMA])
    if beyond > -np.inf:
        excess = max(excess, f[SIGMA] * reach(f[XI], beyond + math.log(share)))
    learn(f[U] + excess, n, f, i, ring)


@kernel("float64(intp)", inline=True)
def fewest(capacity):
    """Excesses that a short calibration begins with."""
    return min(1.0 * FEW, capacity // 3)


@kernel("boolean(float64[::1], int64[::1], float64[::1], float64, float64[::1])")
def _rise(f, i, ring, share, y):
    """Raise the threshold where there are more excesses than are needed; False if it stays.

    A short calibration begins lower than the quantile asked for, with FEW excesses: fewer would tell too little of the
    tail. As excesses gather the threshold goes up, until the share above it is the one asked for.
    """
    wanted = max(1.25 * fewest(ring.size), share * i[SEEN])
    if i[SIZE] < i[TOTAL] or i[TOTAL] < 1.75 * wanted or i[TOTAL] % 16:
        return False
    n = i[SIZE]
    assign(y[:n], ring[:n])
    sort(y[:n])
    u = y[n - 1 - np.int64(wanted)]
    above = 0
    for j in range(n):
        above += ring[j] > u
    if u <= f[U] or 2 * above < wanted:  # values are equal
        return False
    first = i[HEAD] if n == ring.size else 0
    kept = 0
    for j in range(n):
        k = first + j
        value = ring[k if k < n else k - n]
        if value > u:
            y[kept] = value
            kept += 1
    assign(ring[:kept], y[:kept])
    f[CROWD] *= kept / n
    f[U], i[HEAD], i[SIZE], i[TOTAL] = u, kept, kept, kept
    i[FRESH], i[FOLLOWED], i[SINCE] = 0, NOTHING, kept  # LEVEL is that of another threshold
    return True


@kernel("float64(float64, float64, int64, float64[::1], int64[::1], float64[::1], intp, float64[:, ::1])")
def log_probability(value, log_risk, n, f, i, ring, law, nodes):
    """log P(X > value) by the latest fit, after n observations; of rounded ones log P(X ≥ value).

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
        if law == PREDICTIVE:
            share = math.log((i[TOTAL] + 1.0) / (i[SEEN] + 1.0))
            by_model = share + predictive.log_survival(max(0.0, value - f[U] - f[GRID]), nodes)[0]
        else:
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
def decide(value, n, f, i, ring, risk, min_excess, law, work):
    """EXCESS or ANOMALY for a value above the threshold, after n observations."""
    if surely_below(value, f, i, risk, law):
        return EXCESS
    if not i[FRESH] and not polish(f, i, ring, risk, law, work) and _fit(f, i, ring, min_excess, work):
        if 2 * i[SINCE] <= i[SIZE] and f[LEVEL] < np.inf and surely_below(value, f, i, risk, law):
            return EXCESS  # the level costs more than the fit, and is not needed
        level(work[0], i[SIZE], f, i, risk, law, work)
        i[FRESH] = 1
    if i[STATUS] <= BOUNDARY:
        return ANOMALY if value > f[LEVEL] else EXCESS
    log_risk = math.log(risk)
    return ANOMALY if log_probability(value, log_risk, n, f, i, ring, law, work[6]) < log_risk else EXCESS


@kernel(
    "boolean(intp, float64, int64, float64[::1], int64[::1], float64[::1], float64, intp, intp, float64, float64[::1])"
)
def keep(label, value, n, f, i, ring, risk, policy, law, share, y):
    """Learn a value judged to be an EXCESS or an ANOMALY, the n-th observation; False if nothing is learnt of it.

    With IMPUTE what the fitted tail can account for is learnt as it is, whatever its label. Of what lies farther out
    as many as the risk lets expect are taken for ordinary, and an excess as the tail expects is learnt in their place.
    With the predictive level nothing is learnt of rare values, alarms or not, that come too often, nor of what lies
    far out and comes soon after one. Where the stream itself has moved, those near the level are learnt however often
    they come.
    """
    stays = False
    if policy == IMPUTE and law == PREDICTIVE:
        rare = _is_rare(label, value, f, i, ring, risk)
        ordinary = label == EXCESS and not rare and not (n <= i[CALM] and value > f[MARK])
        stays = _is_crowded(ordinary, f, i, n) and value - f[U] <= _NEAR * (f[LEVEL] - f[U])
        if not stays and (
            _is_amid(rare or label == ANOMALY, value, f, i, n, risk) or (rare and not _has_room(f, i, n, risk))
        ):
            return False
    fitted = i[FRESH] and i[STATUS] <= BOUNDARY and f[LEVEL] > f[U]  # not fresh: surely below
    if policy == IMPUTE:
        as_it_is = stays or label == EXCESS
        if fitted and not stays:
            as_it_is = _is_plausible(value, f, i, risk) or _may_end_later(value, f, i, risk)
    else:
        as_it_is = policy == LEARN or label == EXCESS
    if as_it_is:
        learn(value, n, f, i, ring)
    elif policy == IMPUTE and fitted and _is_allowed(i[IMPUTED], n, risk):
        _impute(n, f, i, ring)
    else:
        return False
    if share > 0.0:
        _rise(f, i, ring, share, y)
    return True


@kernel("void(float64[::1], float64, float64, float64, float64[::1], int64[::1], float64[::1])")
def begin(x, sign, threshold, grid, f, i, ring):
    """Start a tail: its threshold, the step of its values and, in order of time, the excesses among x."""
    f[U], f[FIRST], f[LAST], f[GRID] = threshold, np.nan, np.nan, grid
    for value in x:
        if sign * value > f[U]:
            learn(sign * value, x.size, f, i, ring)
    i[SEEN], i[FRESH], i[FOLLOWED], i[RARE], f[SPARE] = x.size, 0, NOTHING, x.size, _BEGIN
    f[CROWD], i[COUNTED] = _RECENT * i[TOTAL] / x.size, x.size
