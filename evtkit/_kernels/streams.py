"""Kernels of `evtkit.spot`: many streams, each judged and learnt one observation after another.

A stream has one tail or two, side by side in the arrays, whose columns `tail_columns` names. Where streams
drift, what is judged is the deviation from the mean of a window of the latest values learnt.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import assign, empty
from evtkit._kernels.follow import PREDICTIVE, ROOM, WORK, average, unroll, workspace
from evtkit._kernels.jit import kernel
from evtkit._kernels.labels import ANOMALY, EXCESS, HUGE, MISSING
from evtkit._kernels.stream_tail import IGNORE, IMPUTE, LEARN, decide, keep, log_probability, refit
from evtkit._kernels.tail_columns import LEVEL, SEEN, XI, U

LARGEST = np.finfo(np.float64).max
# Columns of runs: alarms in a row; observations until a stream that moves is held again, or 0; since it
# is held (one more than can be: never in doubt; and so many rows yet in which the latest alarm is a recent one).
ALARMS, MOVING, STAYED = 0, 1, 2
# Of moves: where a stream is held, how far its mean may be from there (0: it is never held), and to which deviations
# values are cut that enter its window; of a ramp how much of a deviation the next centre takes over, and the step of
# deviations, below which lies the rounding of the values (both 0 of others); by how many standard errors of a new
# centre a value may be nearer to it; and where the stream was held before that came into doubt.
HELD, TOLERANCE, LOWEST, HIGHEST, GAIN, GRAIN, ALLOWED, BEFORE = 0, 1, 2, 3, 4, 5, 6, 7
MOVES = 8
_SETTLED = 20  # windows after which where a stream is held is known well enough
TOLERATED = 6.0  # standard errors by which the mean of a window must be off before a stream has moved
MOVED, DRIFTS, DOUBTED = 2.0, 3.0, 4.0  # ALLOWED: of a stream that has moved, drifts, or whose sharp end was passed
_GOES_ON = 1.0 / 3.0  # of what is tolerated, how far one that drifts must have come to be taken to go on with it
_CAME_BACK = 0.13  # of what is tolerated, within which a stream that came into doubt is taken not to have moved
_SHARP = -0.4  # ξ below which a tail ends sharply
_OF_LATE, _LONGEST = 0.05, 1e6  # alarms that chance brings between two that come soon after each other; rows at most

_SLACK = 2.0**-50  # a value's rounding, by which the deviations of a ramp may differ from each other
_ROWS = 512  # observations copied together
_GROUP = 8  # of so many streams


@kernel("UniTuple(float64, 2)(float64, float64, float64)", inline=True)
def _add(high, low, value):
    """high + low + value in twice the working precision (Knuth's two-sum)."""
    total = high + value
    back = total - high
    low += (high - (total - back)) + (value - back)
    high = total + low
    return high, low - (high - total)


@kernel("UniTuple(float64, 2)(float64[::1])")
def precise_sum(window):
    """The sum of a window, as an unevaluated sum of two floats."""
    high, low = 0.0, 0.0
    for j in range(window.size):
        high, low = _add(high, low, window[j])
    return high, low


@kernel("intp(float64, intp, float64[::1], float64[:, ::1], intp)")
def slide(value, place, window, totals, c):
    """Put a value in place of the oldest; the sum is formed anew at every turn of the ring, so that no error stays."""
    old = window[place]
    window[place] = value
    place += 1
    if place == window.size:
        totals[c, 0], totals[c, 1] = precise_sum(window)
        return 0
    high, low = _add(totals[c, 0], totals[c, 1], value)
    totals[c, 0], totals[c, 1] = _add(high, low, -old)
    return place


@kernel("float64(intp, float64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, ::1])", inline=True)
def centre_of(c, windows, totals, runs, moves):
    """What is subtracted from the next value of stream c: where it is held, or the mean of its window."""
    if moves[c, TOLERANCE] > 0.0 and runs[c, MOVING] == 0:
        return moves[c, HELD]
    return (totals[c, 0] + totals[c, 1]) / windows.shape[1]


@kernel("float64(intp, intp, int64[:, ::1], float64[:, ::1])", inline=True)
def doubt(c, depth, runs, moves):
    """By how much a tail of stream c is judged more leniently while the centre is new, and known no better.

    The tail was learnt about a centre that has stayed. Beside one that is off by a little, a sharp end would be passed
    by many values.
    """
    if moves[c, GAIN] > 0.0 or not moves[c, TOLERANCE] > 0.0:
        return 0.0
    if runs[c, MOVING] == 0 and runs[c, STAYED] > _SETTLED * depth:  # never in doubt
        return 0.0
    rows = depth if runs[c, MOVING] > 0 else max(1, runs[c, STAYED])
    return moves[c, ALLOWED] / TOLERATED * moves[c, TOLERANCE] * math.sqrt(depth / rows)


@kernel("float64(float64, float64, float64)", inline=True)
def deviation(value, centre, grain):
    """A value's distance from the centre, of a ramp without the rounding of the values."""
    v = value - centre
    return v if grain == 0.0 else grain * np.rint(v / grain)


@kernel("intp(float64, float64, boolean, intp, intp, float64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, ::1])")
def advance(value, centre, as_it_is, place, c, windows, totals, runs, moves):
    """Put a value into the window of stream c, and see whether the stream has moved from where it is held.

    While a stream stays, its centre stays too: a mean that follows every value would add its own noise, and a lower end
    that wanders. Once the mean of the window is farther away than chance explains, the centre is that mean, for two
    windows' time. Then it is held where it was, if the mean has come back, or where the mean is, and gets more precise
    for a while; from then on it goes with the mean of so many values. A stream that moves again before that is over
    drifts: its centre is the mean of the window for as long as it goes on. Values enter cut to where most of them lie,
    unless they are wanted as they are.

    The centre of a ramp is an exponential mean of its latest values, or the last one: what is judged is the increment.
    """
    gain = moves[c, GAIN]
    if gain > 0.0:
        moves[c, HELD] = value if as_it_is or gain == 1.0 else moves[c, HELD] + gain * (value - moves[c, HELD])
        return place
    depth = windows.shape[1]
    settled = _SETTLED * depth
    if moves[c, TOLERANCE] > 0.0 and not as_it_is:
        value = centre + min(max(value - centre, moves[c, LOWEST]), moves[c, HIGHEST])
    place = slide(value, place, windows[c], totals, c)
    if moves[c, TOLERANCE] > 0.0:
        mean = (totals[c, 0] + totals[c, 1]) / depth
        if runs[c, MOVING] > 0:
            runs[c, MOVING] -= 1
            if runs[c, MOVING] == 0:
                far, drifts = abs(mean - moves[c, HELD]) / moves[c, TOLERANCE], runs[c, STAYED] < settled
                if drifts or far > 1.0:
                    moves[c, HELD], runs[c, STAYED] = mean, depth
                    if not drifts:
                        moves[c, ALLOWED] = MOVED
                if drifts and far > _GOES_ON:
                    runs[c, MOVING], moves[c, ALLOWED] = settled, max(moves[c, ALLOWED], DRIFTS)
        elif abs(mean - moves[c, HELD]) > moves[c, TOLERANCE]:
            runs[c, MOVING] = 2 * depth
        elif runs[c, STAYED] <= settled:
            is_new, runs[c, STAYED] = runs[c, STAYED] < settled, min(runs[c, STAYED] + 1, settled)
            moves[c, HELD] += (value - moves[c, HELD]) / runs[c, STAYED]
            if is_new and runs[c, STAYED] == settled:
                if moves[c, ALLOWED] < DOUBTED:
                    moves[c, BEFORE] = moves[c, HELD]
                elif abs(moves[c, HELD] - moves[c, BEFORE]) <= _CAME_BACK * moves[c, TOLERANCE]:
                    moves[c, HELD], runs[c, STAYED] = moves[c, BEFORE], settled + 1
        elif runs[c, STAYED] > settled + 1:
            runs[c, STAYED] -= 1
    return place


@kernel("void(float64, float64[::1], float64, intp, intp, int64[:, ::1], float64[:, ::1])")
def come_into_doubt(y, f, risk, c, depth, runs, moves):
    """Take an alarm of stream c for a sign that its centre is off, if it is near and not the only one of late.

    Where deviations end sharply a slow drift takes values beyond all that were seen long before it shows in any mean.
    The centre then goes with the mean of the latest values; unless that turns out to have stayed, and all is as before.
    """
    settled = _SETTLED * depth
    if not (f[XI] < _SHARP and y <= f[LEVEL] + moves[c, TOLERANCE]) or moves[c, GAIN] > 0.0 or runs[c, MOVING] > 0:
        return
    late = np.int64(min(_OF_LATE / risk, _LONGEST))
    if runs[c, STAYED] == settled + 1:
        runs[c, STAYED] += late + depth
        return
    if runs[c, STAYED] > settled + 1 + late:  # of the same burst
        return
    if runs[c, STAYED] > settled:
        runs[c, STAYED] = depth
    else:  # it drifts
        runs[c, STAYED], runs[c, MOVING] = min(runs[c, STAYED], settled - 1), settled
    moves[c, ALLOWED] = DOUBTED


@kernel(
    "void(Array(float64, 1, 'A', readonly=True), Array(boolean, 1, 'C', readonly=True), float64[:, ::1], "
    "float64[:, ::1], int64[::1], int64[:, ::1], float64[:, ::1], intp, float64[::1])"
)
def deviations(x, usual, windows, totals, places, runs, moves, c, out):
    """Fill the window of stream c with the first values of x, and subtract from each later one the centre then.

    Only usual values enter the window; usual and out have one entry for each value after the first.
    """
    depth = windows.shape[1]
    for i in range(depth):
        windows[c, i] = x[i]
    totals[c, 0], totals[c, 1] = precise_sum(windows[c])
    place, runs[c], runs[c, STAYED] = 0, 0, _SETTLED * depth + 1
    if moves[c, GAIN] > 0.0:
        moves[c, HELD] = x[0]
        for r in range(1, depth):
            advance(x[r], moves[c, HELD], False, place, c, windows, totals, runs, moves)
    elif abs((totals[c, 0] + totals[c, 1]) / depth - moves[c, HELD]) > moves[c, TOLERANCE] > 0.0:
        runs[c, MOVING] = 2 * depth
    for r in range(x.size - depth):
        centre = centre_of(c, windows, totals, runs, moves)
        out[r] = deviation(x[depth + r], centre, moves[c, GRAIN])
        if usual[r]:
            place = advance(x[depth + r], centre, False, place, c, windows, totals, runs, moves)
    places[c] = place


@kernel(
    "float64(float64, float64, float64, intp, int64, float64[::1], float64[:, ::1], int64[:, ::1], float64[:, ::1], "
    "intp, float64[:, :, ::1])"
)
def _score(v, slack, log_risk, c, n, signs, floats, integers, rings, law, nodes):
    """Log-probability of v as the next observation of stream c, by the latest fits; of two sides, twice the smaller."""
    score = np.inf
    for s in range(signs.size):
        t = c * signs.size + s
        y = signs[s] * v - slack
        score = min(score, log_probability(y, log_risk, n, floats[t], integers[t], rings[t], law, nodes[t]))
    return min(0.0, score + math.log(signs.size))


_TRACE = (
    "void(float64, float64, float64, int64, intp, intp, float64[:, ::1], int64[:, ::1], float64[:, ::1], "
    f"int64[:, ::1], float64[:, :, ::1], float64[:, ::1], float64[::1], float64, intp, intp, {WORK}, float64[:, ::1], "
    "float64[:, ::1])"
)


@kernel(_TRACE)
def _trace(
    v, centre, slack, n, c, row, floats, integers, fits, states, nodes, rings, signs, risk, min_excess, law, work,
    levels, scores,
):  # fmt: skip
    """The alarm levels before an observation is learnt, and the logarithm of how improbable it is.

    Both by a fit of its own, kept in fits, states and nodes: to look at a tail must not change how it is followed.
    """
    for s in range(signs.size):
        t = c * signs.size + s
        if states[t, SEEN] != integers[t, SEEN]:
            assign(fits[t], floats[t])
            assign(states[t], integers[t])
            refit(fits[t], states[t], rings[t], risk, min_excess, law, work)
            assign(nodes[t], work[6])
        levels[row, t] = centre + signs[s] * (fits[t, LEVEL] + slack)
    scores[row, c] = _score(v, slack, math.log(risk), c, n, signs, fits, states, rings, law, nodes)


_RUN = (
    "void(Array(float64, 2, 'A', readonly=True), intp, intp, int8[:, ::1], float64[:, ::1], int64[:, ::1], "
    "float64[:, ::1], int64[::1], float64[::1], float64, intp, intp, intp, float64, float64[:, ::1], "
    "float64[:, ::1], int64[::1], int64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], boolean)"
)


@kernel(_RUN)
def run(
    x, start, stop, labels, floats, integers, rings, n, signs, risk, min_excess, policy, law, share, windows, totals,
    places, runs, moves, levels, scores, every,
):  # fmt: skip
    """Judge and learn the rows of x (observations, streams), one after another, for the streams from start to stop.

    labels (observations, streams) must be 0 and receives what is not NORMAL. signs has one entry a tail, risk is a
    tail's. windows (streams, depth), where depth > 0, are rings of normal values whose mean is first subtracted, totals
    their sums and places where they go on; runs (streams, 3) and moves (streams, 8) say where a stream is held (see
    `advance`). After as many alarms in a row as the window is long a stream has moved, and its values enter the window
    as they are. levels (observations, tails) receives the alarm
    levels, and scores (observations, streams) the log-probabilities, before each observation is learnt; of alarms only
    unless every observation is wanted; of none if they have no rows.
    """
    work = workspace(rings.shape[1])
    sides, depth, traced = signs.size, windows.shape[1], levels.shape[0] > 0
    tile = empty((_GROUP, _ROWS))
    tails = floats.shape[0] if traced else 0
    fits, states = np.zeros((tails, floats.shape[1])), np.zeros((tails, integers.shape[1]), np.int64)
    nodes = empty((tails, *ROOM))
    for first in range(start, stop, _GROUP):
        width = min(_GROUP, stop - first)
        for top in range(0, x.shape[0], _ROWS):
            rows = min(_ROWS, x.shape[0] - top)
            for r in range(rows):
                for k in range(width):
                    tile[k, r] = x[top + r, first + k]
            for k in range(width):
                c = first + k
                seen, place = n[c], places[c]
                low, high = -LARGEST, LARGEST
                for s in range(sides):
                    if signs[s] > 0.0:
                        high = floats[c * sides + s, U]
                    else:
                        low = -floats[c * sides + s, U]
                is_ramp, grain = moves[c, GAIN] > 0.0, moves[c, GRAIN]
                for r in range(rows):
                    value, centre, slack, near = tile[k, r], 0.0, 0.0, 0.0
                    if depth:
                        centre = centre_of(c, windows, totals, runs, moves)
                        slack = doubt(c, depth, runs, moves)
                        near = _SLACK * abs(value) if is_ramp else slack
                    v = deviation(value, centre, grain)
                    if traced and every:
                        _trace(v, centre, slack, seen, c, top + r, floats, integers, fits, states, nodes, rings, signs,
                               risk, min_excess, law, work, levels, scores)  # fmt: skip
                    if low - near <= v <= high + near:
                        seen += 1
                        if depth:
                            place = advance(value, centre, False, place, c, windows, totals, runs, moves)
                            runs[c, ALARMS] = 0
                        continue
                    finite = abs(value) < HUGE
                    s = 0 if signs[0] * v - slack > floats[c * sides, U] else sides - 1
                    t = c * sides + s
                    y = signs[s] * v - slack
                    if finite:
                        label = decide(y, seen, floats[t], integers[t], rings[t], risk, min_excess, law, work)
                    else:
                        label = MISSING if math.isnan(value) else ANOMALY
                    labels[top + r, c] = label
                    if traced and label == ANOMALY and not every:
                        _trace(v, centre, slack, seen, c, top + r, floats, integers, fits, states, nodes, rings, signs,
                               risk, min_excess, law, work, levels, scores)  # fmt: skip
                    if not finite:
                        continue
                    if depth and label == ANOMALY and moves[c, TOLERANCE] > 0.0:
                        come_into_doubt(y, floats[t], risk, c, depth, runs, moves)
                    kept = keep(label, y, seen + 1, floats[t], integers[t], rings[t], risk, policy, law, share, work[0])
                    if kept:
                        seen += 1
                        if signs[s] > 0.0:  # the threshold may have risen
                            high = floats[t, U]
                        else:
                            low = -floats[t, U]
                    if depth:
                        runs[c, ALARMS] = runs[c, ALARMS] + 1 if label == ANOMALY else 0
                        has_moved = runs[c, ALARMS] > depth
                        if label == ANOMALY and policy == IMPUTE and floats[t, LEVEL] < np.inf and not has_moved:
                            value = centre + signs[s] * floats[t, LEVEL]
                        if label == EXCESS or policy != IGNORE:
                            as_it_is = has_moved or policy == LEARN
                            place = advance(value, centre, as_it_is, place, c, windows, totals, runs, moves)
                n[c], places[c] = seen, place


@kernel("void(intp, intp, float64[:, ::1], int64[:, ::1], float64[:, ::1], float64, intp, intp)")
def refit_all(start, stop, floats, integers, rings, risk, min_excess, law):
    """Refit the tails from start to stop."""
    work = workspace(rings.shape[1])
    for t in range(start, stop):
        refit(floats[t], integers[t], rings[t], risk, min_excess, law, work)


@kernel(
    "void(float64[:, ::1], float64[::1], float64, int64[::1], float64[::1], float64[:, ::1], int64[:, ::1], "
    "float64[:, ::1], intp, float64[:, ::1])"
)
def log_probabilities(values, slack, risk, n, signs, floats, integers, rings, law, out):
    """Log-probabilities of values (rows, streams) as the next observation, by the latest fits; slack a stream."""
    work = workspace(rings.shape[1])
    nodes = empty((floats.shape[0], *ROOM))
    for t in range(floats.shape[0]):
        if law == PREDICTIVE and not math.isinf(floats[t, LEVEL]):
            average(work[0], unroll(floats[t], integers[t], rings[t], work[0]), floats[t].copy(), work)
            assign(nodes[t], work[6])
    for c in range(n.size):
        for r in range(values.shape[0]):
            out[r, c] = _score(
                values[r, c], slack[c], math.log(risk), c, n[c], signs, floats, integers, rings, law, nodes
            )
