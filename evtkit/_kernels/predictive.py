"""Kernels of `evtkit.predictive`: the posterior's one sum over the excesses, and the probabilities of many values."""

from __future__ import annotations

import math

import numpy as np
from numba import types

from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import CHUNK, LANES, ROWS, sums

__all__ = ["log_p", "mean_log1p"]

_NEAR = 1e-6  # |t| below which two terms of the series are exact to more digits than the logarithms

_VALUES = types.Array(types.float64, 2, "A", readonly=True)
_TABLE = types.Array(types.float64, 2, "C", readonly=True)
_COLUMN = types.Array(types.float64, 1, "C", readonly=True)


@kernel("void(float64[::1], float64[::1], float64[::1])")
def mean_log1p(z, t, out):
    """Mean of log(1 + t z) for every t, of z scaled to a largest element of 1; t > −1."""
    n = z.size
    packed = np.zeros(((n + CHUNK - 1) // CHUNK, ROWS, LANES))
    first, second = 0.0, 0.0
    flat = packed.ravel()
    for i in range(n):
        flat[i] = z[i]
        first += z[i] / n
        second += z[i] * z[i] / n
    for j in range(t.size):
        if abs(t[j]) < _NEAR:
            out[j] = t[j] * (first - 0.5 * t[j] * second)
        else:
            out[j] = sums(packed, n, 1.0, t[j])[0]


@kernel("float64(float64, float64[::1], float64[::1], float64[::1], float64, float64[::1])")
def _log_mixture(y, t, reach, log_weight, power, terms):
    """Logarithm of Σ w (1 + reach · log(1 + t y))^(−power), whose terms vanish where 1 + t y ≤ 0."""
    most = -np.inf
    for j in range(t.size):
        a = t[j] * y
        terms[j] = log_weight[j] - power * math.log1p(reach[j] * math.log1p(a)) if a > -1.0 else -np.inf
        most = max(most, terms[j])
    if most == -np.inf:
        return most
    total = 0.0
    for j in range(t.size):
        total += math.exp(terms[j] - most)
    return min(0.0, most + math.log(total))


@kernel(types.void(
    _VALUES, types.float64, _TABLE, _TABLE, _COLUMN, _COLUMN, _COLUMN, _TABLE, _TABLE, _TABLE, _COLUMN,
    types.float64[:, ::1],
))  # fmt: skip
def log_p(values, sign, levels, log_rank, threshold, gap, log_rate, t, reach, log_weight, power, out):
    """Log p-values (rows, channels): by rank up to the threshold, by rate times mixture above; see `Predictive`."""
    terms = np.empty(t.shape[1])
    for c in range(values.shape[1]):
        ordered, ranks = levels[c], log_rank[c]
        nodes, reaches, weights = t[c].copy(), reach[c].copy(), log_weight[c].copy()
        for i in range(values.shape[0]):
            x = sign * values[i, c]
            if x > threshold[c]:
                y = max(0.0, x - threshold[c] - gap[c])
                out[i, c] = log_rate[c] + _log_mixture(y, nodes, reaches, weights, power[c], terms)
                continue
            first, length = 0, ordered.size  # a search without branches, which no processor could foresee
            while length > 1:
                half = length // 2
                first += half * (ordered[first + half - 1] < x)
                length -= half
            out[i, c] = ranks[first + (ordered[first] < x)]
