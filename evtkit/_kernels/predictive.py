"""The next observation: the posterior of a tail given its excesses, and the probabilities and levels that follow.

With t = ξ/σ and m(t) = mean log(1 + t yᵢ) over the k excesses, the likelihood is (t/ξ)^k exp(−(1/ξ + 1) k m). Write
ξ = m/s. Under the prior π(ξ) dξ dσ/σ the posterior of t and s is

    π(m/s) · (t/m)^(k−1) e^(−k m) · s^(k−2) e^(−k s) dt ds.

π is flat for ξ ≤ 0 and a Gaussian's right half beyond, with a standard deviation of `SPREAD`. In s it is a slowly
varying factor: it is replaced by C s^a e^(−b s) with its value and first two derivatives in log s at s = 1, where s has
its mean. Then s is integrated out in closed form,

    w(t) dt ∝ C (t/m)^(k−1) e^(−k m) Γ(p)/(k + b)^p dt,   p = k − 1 + a,
    P(Y > y | t) = (1 + log(1 + t y)/((k + b) m))^(−p),

smooth through t = 0, and one sum over t remains, by the trapezoidal rule in log(1 + t max y).

A posterior is a table of four rows, a node a column: T, REACH = 1/((k + b) m), POWER = p and WEIGHT, the logarithm. Its
last column is a heavy tail of next to no weight, which keeps an order beyond the ends of all others. Streams take fewer
nodes than tails that are fitted once, and look for them first where they lay the last time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from evtkit._kernels.bits import flat
from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import CHUNK, sums

T, REACH, POWER, WEIGHT = 0, 1, 2, 3
NODES = 64
COLUMNS = NODES + 1
SPREAD = 0.6  # of the prior on ξ > 0; chosen by benchmarks/doors.py

_COARSE = 24  # nodes of the grids that look for where the weight is
_ENOUGH = 8  # of them, if they have weight
_DEPTH = 25.0  # nodes reach to where the weight has fallen to e^−25 of its largest
_SHALLOW = 21.0  # the same, where they need not be looked for anew
_LAST_RESORT = -745.0  # log weight, the logarithm of the least positive number
_NEAR = 1e-12  # t is kept this far from 0, relative to 1/max y
STEEP = 8.0  # largest ξ looked at, in units of SPREAD

_COLUMN = types.Array(types.float64, 1, "C", readonly=True)
_TABLE = types.Array(types.float64, 2, "C", readonly=True)
_TABLES = types.Array(types.float64, 3, "C", readonly=True)


@kernel("UniTuple(float64, 4)(float64[:, :, ::1], intp, float64)")
def _node(z, k, u):
    """t, reach, power and log weight at u = log(1 + t) of k excesses z scaled to a largest one of 1."""
    t = math.expm1(u)
    if abs(t) < _NEAR:
        t = _NEAR
    if abs(t) < 1e-6:  # two terms of the series are exact to more digits than the logarithms
        first, second = 0.0, 0.0
        y = flat(z)
        for i in range(k):
            first += y[i]
            second += y[i] * y[i]
        m = t * (first - 0.5 * t * second) / k
    else:
        m = sums(z, k, 1.0, t)[0]
    share = m / SPREAD if m > 0.0 else 0.0
    square = share * share  # of log π = −ξ²/2τ²: d/dl = ξ²/τ², d²/dl² = −2ξ²/τ², l = log s
    power, rate = k - 1.0 + 3.0 * square, k + 2.0 * square
    log_weight = (k - 1.0) * math.log(t / m) - k * m + 1.5 * square + u
    log_weight += math.lgamma(power) - power * math.log(rate)
    return t, 1.0 / (rate * m), power, log_weight


@kernel("float64(float64[::1], intp, float64[:, :, ::1])")
def _pack(y, k, chunks):
    """The first k excesses into chunks, scaled to a largest one of 1, which is returned."""
    top = y[0]
    for i in range(k):
        top = max(top, y[i])
    row = flat(chunks[: (k + CHUNK - 1) // CHUNK])
    for i in range(k):
        row[i] = max(y[i] / top, 1e-300)
    for i in range(k, row.size):
        row[i] = 0.0
    return top


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64[:, ::1])")
def _window(z, k, nodes):
    """Between which u the weight lies; nodes are workspace."""
    logs, y = 0.0, flat(z)
    for i in range(k):
        logs += math.log(y[i])
    # In u the weight is smooth. Towards the end of the support it falls off like e^u, and log t ≤ m − mean log z.
    low, high = max(-math.log(k) - 1.2 * _DEPTH, -36.0), STEEP * SPREAD - logs / k + 1.0
    for _ in range(12):
        step, best = (high - low) / (_COARSE - 1), -np.inf
        for j in range(_COARSE):
            nodes[WEIGHT, j] = _node(z, k, low + step * j)[3]
            best = max(best, nodes[WEIGHT, j])
        first, last = _COARSE, 0
        for j in range(_COARSE):
            if nodes[WEIGHT, j] > best - _DEPTH:
                first, last = min(first, j), j
        low, high = low + step * max(first - 1, 0), low + step * min(last + 1, _COARSE - 1)
        if last - first >= _ENOUGH:
            break
    return low, high


@kernel("float64(float64[:, :, ::1], intp, float64, float64, float64[:, ::1])")
def _fill(z, k, low, high, nodes):
    """All nodes but the last resort, evenly from low to high; returns the largest log weight."""
    n = nodes.shape[1] - 1
    step, best = (high - low) / (n - 1), -np.inf
    for j in range(n):
        nodes[T, j], nodes[REACH, j], nodes[POWER, j], nodes[WEIGHT, j] = _node(z, k, low + step * j)
        best = max(best, nodes[WEIGHT, j])
    return best


@kernel("void(float64[:, :, ::1], intp, float64, float64[:, ::1])")
def _finish(z, k, top, nodes):
    """Weights that sum to 1, t in the excesses' units, and the last resort."""
    n = nodes.shape[1] - 1
    best, total = -np.inf, 0.0
    for j in range(n):
        best = max(best, nodes[WEIGHT, j])
    for j in range(n):
        total += math.exp(nodes[WEIGHT, j] - best)
    best += math.log(total)
    nodes[T, n], nodes[REACH, n], nodes[POWER, n], _ = _node(z, k, math.log(2.0))
    for j in range(n):
        nodes[WEIGHT, j] -= best
    nodes[WEIGHT, n] = _LAST_RESORT
    for j in range(n + 1):
        nodes[T, j] /= top


@kernel("void(float64[::1], intp, float64[:, :, ::1], float64[:, ::1])")
def posterior(y, k, chunks, nodes):
    """The posterior table (4, COLUMNS) of the first k ≥ 2 excesses of y, positive, in any order and not all equal.

    chunks (≥ k/128, 16, 8) is workspace.
    """
    top = _pack(y, k, chunks)
    z = chunks[: (k + CHUNK - 1) // CHUNK]
    low, high = _window(z, k, nodes)
    _fill(z, k, low, high, nodes)
    _finish(z, k, top, nodes)


@kernel("void(float64[::1], intp, float64[::1], float64[:, :, ::1], float64[:, ::1])")
def posterior_near(y, k, window, chunks, nodes):
    """As `posterior`, with the nodes in the window (first, last) if the weight lies well within it; else it is set."""
    top = _pack(y, k, chunks)
    z = chunks[: (k + CHUNK - 1) // CHUNK]
    last = nodes.shape[1] - 2
    if window[0] < window[1]:
        best = _fill(z, k, window[0], window[1], nodes)
        begin, end = 0, last
        while nodes[WEIGHT, begin] < best - _SHALLOW:
            begin += 1
        while nodes[WEIGHT, end] < best - _SHALLOW:
            end -= 1
        if begin > 0 and end < last and 2 * (end - begin) > last:
            _finish(z, k, top, nodes)
            return
    window[0], window[1] = _window(z, k, nodes)
    _fill(z, k, window[0], window[1], nodes)
    _finish(z, k, top, nodes)


@kernel(types.UniTuple(types.float64, 2)(types.float64, types.float64, _TABLE))
def _survival(y, floor, nodes):
    """As `log_survival`, without the nodes whose log weight is below floor."""
    n = nodes.shape[1]
    most, total, slope = -np.inf, 0.0, 0.0
    for j in range(n):
        a = nodes[T, j] * y
        if a > -1.0 and (nodes[WEIGHT, j] >= floor or j == n - 1):
            inner = nodes[REACH, j] * math.log1p(a)
            term = nodes[WEIGHT, j] - nodes[POWER, j] * math.log1p(inner)
            if term > most:
                smaller = math.exp(most - term)
                most, total, slope = term, total * smaller, slope * smaller
            elif term < most - 50.0:
                continue
            share = math.exp(term - most)
            total += share
            slope -= share * nodes[POWER, j] * nodes[REACH, j] * a / ((1.0 + inner) * (1.0 + a))
    return min(0.0, most + math.log(total)), slope / total


@kernel(types.UniTuple(types.float64, 2)(types.float64, _TABLE))
def log_survival(y, nodes):
    """log P(Y > y) of the next excess, and its derivative in log y."""
    return _survival(y, -np.inf, nodes)


@kernel(types.float64(types.float64, types.float64, _TABLE))
def excess_level(log_p, start, nodes):
    """The least excess y with log P(Y > y) ≤ log_p, the inverse of `log_survival`; inf where no number has it.

    It is looked for from start on; 0 for the largest excess.
    """
    if log_p >= 0.0:
        return 0.0
    v = math.log(start) if start > 0.0 else -math.log(nodes[T, nodes.shape[1] - 1])  # log y
    low, high = -np.inf, np.inf  # the level lies between them
    step, value = 1.0, 0.0
    for _ in range(200):
        value, slope = _survival(math.exp(v), log_p - 45.0, nodes)
        if value > log_p:
            low = v
        else:
            high = v
        move = (log_p - value) / slope
        following = v + move
        if not low < following < high or abs(move) > 8.0 * step:  # Newton's step leaves the bracket, or is far too long
            if high == np.inf:
                following = v + step
                step *= 2.0
            elif low == -np.inf:
                following = v - step
                step *= 2.0
            else:
                following = 0.5 * (low + high)
        # after a short step of Newton's on a smooth stretch the error is its square
        if following == v + move and abs(move) < 1e-7 and abs(value - log_p) < 1e-5:
            v, value = following, log_p
            break
        if abs(following - v) <= 1e-14 * max(1.0, abs(v)):
            break
        v = following
        if v > 709.0:
            return np.inf
        if v < -744.0:
            return 0.0
    # with a handful of excesses P falls in steps, where a node's support ends
    return math.exp(high if value > log_p + 1e-9 and high < np.inf else v)


@kernel("void(float64[::1], intp, float64)", late=True)
def spread_ties(y, k, step):
    """Put equal ones among k ascending excesses evenly over the step below them."""
    start = 0
    while start < k:
        stop = start + 1
        while stop < k and y[stop] == y[start]:
            stop += 1
        base = y[start] - step
        for i in range(start, stop):
            y[i] = base + step * (i - start + 0.5) / (stop - start)
        start = stop


@kernel(types.void(types.float64[:, :], _COLUMN, _COLUMN, _COLUMN, _TABLES, types.float64[:, :]))
def log_tail(values, thresholds, gaps, log_rates, nodes, out):
    """Logarithms of the next observation's probabilities (rows, channels), where values lie above thresholds."""
    for c in range(values.shape[1]):
        for i in range(values.shape[0]):
            if values[i, c] > thresholds[c]:
                out[i, c] = log_rates[c] + log_survival(max(0.0, values[i, c] - thresholds[c] - gaps[c]), nodes[c])[0]


@kernel(types.void(
    types.float64[:, :], types.boolean[:, :], _COLUMN, _COLUMN, _COLUMN, _TABLES, types.float64[:, :],
))  # fmt: skip
def tail_levels(log_probability, wanted, thresholds, gaps, log_rates, nodes, out):
    """Levels (rows, channels) that the next observation exceeds with such probabilities, where they are wanted."""
    for c in range(out.shape[1]):
        for i in range(out.shape[0]):
            if wanted[i, c]:
                y = excess_level(log_probability[i, c] - log_rates[c], 0.0, nodes[c])
                out[i, c] = thresholds[c] + (gaps[c] + y if y > 0.0 else 0.0)
