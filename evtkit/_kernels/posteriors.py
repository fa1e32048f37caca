"""Posteriors of many tails, of measurements and of values on a lattice.

Of a lattice with few different values an excess says only in which cell it lies: the likelihood is a product of
differences S(a) − S(b) (see `grouped`). For t = ξ/σ, A = log(1 + t a), D = log(1 + t b) − A and λ = 1/ξ, that of an
excess is exp(−λA)(1 − exp(−λD)). Under the prior of `predictive` the density of log λ given t is

    F = Σ c (−λA + log(1 − exp(−λD))) − log λ + log π(1/λ),

which is concave. It is replaced by the Gamma density with the same mode and curvature, and a table has the same rows as
that of exact excesses. Where t < 0, signs of λ, A and D are those of t, and b may lie beyond the end: D is infinite
then. What is known so is little: two or three different values hardly say whether the tail ends at the next one.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import empty
from evtkit._kernels.grouped import into_cells, spread
from evtkit._kernels.jit import kernel
from evtkit._kernels.predictive import NODES, POWER, REACH, SPREAD, STEEP, WEIGHT, T, posterior, spread_ties
from evtkit._kernels.sums import CHUNK, LANES, ROWS

_CELLS = 32  # different values above which excesses are spread over their cells and taken for exact
_COARSE = 24  # nodes of the grids that look for where the weight is
_ENOUGH = 8  # of them, if they have weight
_DEPTH = 25.0  # nodes reach to where the weight has fallen to e^−25 of its largest
_LOWEST = -36.0  # log(1 + t), where the end of the support is scaled to 1
_LAST_RESORT = -745.0  # log weight, the logarithm of the least positive number
_NEAR = 1e-9  # t is kept this far from 0
_STEPS = 60  # of Newton's method, at most


@kernel("UniTuple(float64, 4)(float64[::1], float64[::1], intp, float64, float64)")
def _node(edges, counts, m, width, u):
    """t, reach, power and log weight at u = log(1 + t) of m cells' lower edges, the last scaled to 1."""
    t = math.expm1(u)
    if abs(t) < _NEAR:
        t = _NEAR
    steep = 1.0 / (SPREAD * SPREAD) if t > 0.0 else 0.0
    total, inside, reach = 0.0, 0.0, 0.0
    for j in range(m):
        total += counts[j]
        if 1.0 + t * (edges[j] + width) > 0.0:
            inside += counts[j]
        reach += counts[j] * abs(math.log1p(t * max(edges[j], 0.5 * width)))
    if inside < 2.0:
        return t, 1.0, 1.0, -np.inf
    log_rate, value, curvature = math.log(total / reach), 0.0, 0.0
    for _ in range(_STEPS):
        rate = math.exp(log_rate)
        bend = steep / (rate * rate)
        value, slope, curvature = -log_rate - 0.5 * bend, bend - 1.0, -2.0 * bend
        for j in range(m):
            base = 1.0 + t * edges[j]
            near = rate * abs(math.log(base)) if abs(t) > 1e-3 else rate * abs(math.log1p(t * edges[j]))
            value -= counts[j] * near
            slope -= counts[j] * near
            curvature -= counts[j] * near
            if base + t * width > 0.0:
                x = rate * abs(math.log1p(t * width / base))
                less = -math.expm1(-x)
                share = x * math.exp(-x) / less  # x/(e^x − 1)
                value += counts[j] * math.log(less)
                slope += counts[j] * share
                curvature += counts[j] * share * (1.0 - x / less)
        move = -slope / curvature
        if abs(move) < 1e-6:
            break
        log_rate += min(1.0, max(-1.0, move))
    power = -curvature
    log_weight = value + power + math.lgamma(power) - power * math.log(power) + u - math.log(abs(t))
    return t, math.copysign(math.exp(log_rate) / power, t), power, log_weight


@kernel("void(float64[::1], float64[::1], intp, float64[:, ::1])")
def cell_posterior(cells, counts, m, nodes):
    """The posterior table (4, COLUMNS) of counts in m ≥ 2 ascending cells 1, 2, …, whose width is the unit of length.

    cells become workspace.
    """
    top, logs, total = cells[m - 1] - 1.0, 0.0, 0.0
    for j in range(m):
        logs += counts[j] * math.log((cells[j] - 0.5) / top)
        total += counts[j]
        cells[j] = (cells[j] - 1.0) / top
    width = 1.0 / top
    low, high = max(-math.log(total) - 1.2 * _DEPTH, _LOWEST), STEEP * SPREAD - logs / total + 1.0
    for _ in range(12):
        step, best = (high - low) / (_COARSE - 1), -np.inf
        for j in range(_COARSE):
            nodes[WEIGHT, j] = _node(cells, counts, m, width, low + step * j)[3]
            best = max(best, nodes[WEIGHT, j])
        first, last = _COARSE, 0
        for j in range(_COARSE):
            if nodes[WEIGHT, j] > best - _DEPTH:
                first, last = min(first, j), j
        low, high = low + step * max(first - 1, 0), low + step * min(last + 1, _COARSE - 1)
        if last - first >= _ENOUGH:
            break
    step, best, whole = (high - low) / (NODES - 1), -np.inf, 0.0
    for j in range(NODES):
        nodes[T, j], nodes[REACH, j], nodes[POWER, j], nodes[WEIGHT, j] = _node(cells, counts, m, width, low + step * j)
        best = max(best, nodes[WEIGHT, j])
    for j in range(NODES):
        whole += math.exp(nodes[WEIGHT, j] - best)
    best += math.log(whole)
    for j in range(NODES):
        nodes[WEIGHT, j] -= best
    nodes[T, NODES], nodes[REACH, NODES], nodes[POWER, NODES], _ = _node(cells, counts, m, width, math.log(2.0))
    nodes[WEIGHT, NODES] = _LAST_RESORT
    for j in range(NODES + 1):
        nodes[T, j] /= top


@kernel(
    "void(float32[:, ::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], "
    "float64[:, :, ::1])",
    "void(float64[:, ::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], "
    "float64[:, :, ::1])",
)
def posteriors(largest, counts, thresholds, steps, xi, sigma, gaps, nodes):
    """The posterior of every row of ascending values whose last `counts` lie above its threshold; none for 0 of them.

    Excesses on a lattice are counted by cell, or spread over their cells where these are many. Gaps are half a step of
    it: how far below a value what it stands for begins. Without a lattice gaps are the least steps between different
    values from the threshold up, and equal values are spread over the step below them. Taken as they are they would
    pass for a tail that ends.
    """
    width = largest.shape[1]
    chunks = empty((max(1, (width + CHUNK - 1) // CHUNK), ROWS, LANES))
    y, cells, number = empty(width + 1), empty(width + 1), empty(width + 1)
    for c in range(largest.shape[0]):
        k = counts[c]
        gaps[c] = 0.0
        if k < 1:
            continue
        gap, before, total = np.inf, 0.0, 0.0
        for i in range(k):
            y[i] = np.float64(largest[c, width - k + i]) - thresholds[c]
            if y[i] > before:
                gap = min(gap, y[i] - before)
            before = y[i]
            total += y[i]
        if steps[c] > 0.0:
            gaps[c] = 0.5 * steps[c]
            m = into_cells(y, k, steps[c], cells, number)
            if 1 < m <= _CELLS:
                cell_posterior(cells, number, m, nodes[c])
                for j in range(NODES + 1):
                    nodes[c, T, j] /= steps[c]
                continue
            if sigma[c] > 0.0 and xi[c] > -1.0:
                spread(y, k, steps[c], xi[c], sigma[c])
            else:  # as evenly as an exponential
                spread(y, k, steps[c], 0.0, total / k)
        else:
            gaps[c] = gap
            spread_ties(y, k, gap)
        posterior(y, k, chunks, nodes[c])
