"""Kernels of the next excess of a stream: its probability and its level, with ξ and σ averaged over a posterior.

The law is that of `evtkit.predictive`: with t = ξ/σ, m(t) = mean log(1 + t yᵢ) over k excesses and the prior dξ dσ/σ,

    w(t) dt ∝ (t/m)^(k−1) exp(−k m) dt,      P(Y > y | t) = (1 + log(1 + t y)/(k m))^(−(k−1)).

The sum over t is taken by the trapezoidal rule in log(1 + t y_max), in which the weight is smooth. Where the nodes lay
the last time is where they are looked for first: excess after excess they hardly move.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import CHUNK, sums

NODES = 48
ROOM = (3, NODES + 1)  # of a posterior: t, 1/(k m) and log weight of every node, in units of the largest excess

_DEPTH = 21.0  # nodes reach to where the weight has fallen to e^−21 of its largest
_NEAR = 1e-6  # |t| below which two terms of the series are exact to more digits than the logarithms
_LAST_RESORT = -745.0  # log weight of a heavy tail: beyond all endpoints values still have an order
_HEAVY = 0.6  # shapes beyond a few times this are not believed of a few excesses
_LEAST = -36.0  # log(1 + t y_max) at the least, where 1 + t y_max is lost in rounding
_POSTERIOR = "float64[:, ::1]"


@kernel(f"void(float64[::1], intp, float64[::1], float64[:, :, ::1], {_POSTERIOR})")
def posterior(y, n, window, chunks, out):
    """Nodes for n excesses, not all equal; window has the first and last place, NaN where not known yet."""
    largest, total, squares = 0.0, 0.0, 0.0
    for j in range(n):
        largest = max(largest, y[j])
    packed = chunks[: (n + CHUNK - 1) // CHUNK]
    flat = packed.ravel()
    for j in range(n):
        z = y[j] / largest
        flat[j] = z
        total += z
        squares += z * z
    for j in range(n, flat.size):
        flat[j] = 0.0
    first, second = total / n, squares / n
    low, high = window[0], window[1]
    if not low < high:
        low, high = max(-math.log(n) - 30.0, _LEAST), 8.0 - math.log(first)
    for _ in range(60):
        step, most = (high - low) / (NODES - 1), -np.inf
        for j in range(NODES):
            u = low + step * j
            t = math.expm1(u)
            if abs(t) < _NEAR:
                t = t if abs(t) > 1e-12 else 1e-12
                m = t * (first - 0.5 * t * second)
            else:
                m = sums(packed, n, 1.0, t)[0]
            out[0, j], out[1, j] = t, 1.0 / (n * m)
            out[2, j] = (n - 1.0) * math.log(t / m) - n * m + u
            if m > 0.0:
                out[2, j] -= 0.5 * (m / _HEAVY) ** 2
            most = max(most, out[2, j])
        begin, end = 0, NODES - 1
        while out[2, begin] < most - _DEPTH:
            begin += 1
        while out[2, end] < most - _DEPTH:
            end -= 1
        wide_left, wide_right = begin > 0 or low <= _LEAST, end < NODES - 1 or high >= 300.0
        if wide_left and wide_right and end - begin > 2 * NODES // 3:
            break
        width = max(high - low, 1e-9)
        left = low + step * (begin - 1) if begin > 0 else max(low - width, _LEAST)
        right = low + step * (end + 1) if end < NODES - 1 else min(high + width, 300.0)
        low, high = left, right
    window[0], window[1] = low, high
    total = 0.0
    for j in range(NODES):
        total += math.exp(out[2, j] - most)
    total = most + math.log(total)
    for j in range(NODES):
        out[0, j] /= largest
        out[2, j] -= total
    out[0, NODES], out[1, NODES], out[2, NODES] = 1.0 / largest, 1.0 / (n * sums(packed, n, 1.0, 1.0)[0]), _LAST_RESORT


@kernel(f"UniTuple(float64, 2)(float64, float64, {_POSTERIOR}, float64)")
def _log_survival(y, k, nodes, floor):
    """log P(Y > y), and its derivative in log y; nodes whose log weight is below floor are left out."""
    most = -np.inf
    for j in range(NODES + 1):
        if nodes[2, j] < floor:
            continue
        a = nodes[0, j] * y
        if a > -1.0:
            most = max(most, nodes[2, j] - (k - 1.0) * math.log1p(nodes[1, j] * math.log1p(a)))
    total, slope = 0.0, 0.0
    for j in range(NODES + 1):
        if nodes[2, j] < floor:
            continue
        a = nodes[0, j] * y
        if a > -1.0:
            b = 1.0 + nodes[1, j] * math.log1p(a)
            p = math.exp(nodes[2, j] - (k - 1.0) * math.log(b) - most)
            total += p
            slope -= p * (k - 1.0) * nodes[1, j] * a / ((1.0 + a) * b)
    return min(0.0, most + math.log(total)), slope / total


@kernel(f"float64(float64, intp, {_POSTERIOR})")
def log_survival(y, n, nodes):
    """log P(Y > y) for the next excess after n: finite for every y."""
    return _log_survival(y, float(n), nodes, -np.inf)[0]


@kernel(f"float64(float64, float64, intp, {_POSTERIOR})")
def reach(log_p, start, n, nodes):
    """The excess that the next one exceeds with that log-probability: Newton's steps in log y from start, bracketed."""
    if log_p >= 0.0:
        return 0.0
    k, floor = float(n), log_p - 40.0
    low, high = 0.0, np.inf
    y = start
    for _ in range(200):
        p, slope = _log_survival(y, k, nodes, floor)
        if p > log_p:
            low = y
        else:
            high = y
        step = (log_p - p) / slope if slope < 0.0 else 0.0
        new = y * math.exp(min(max(step, -1.0), 1.0)) if slope < 0.0 else np.nan
        if abs(step) < 1e-7 and slope < 0.0:  # after such a step the error is its square
            y = new
            break
        if not low < new < high:
            new = 0.5 * (low + high) if high < np.inf else 2.0 * y
            if new in (low, high):
                break
        y = new
    return y
