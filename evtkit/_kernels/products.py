"""Sums of products and of their absolute values, in one pass over a layer's output and its gradient.

Letters: m sample, c channel, q position, f feature. All are added up in float64.
"""

from __future__ import annotations

import numpy as np
from numba import float64

from evtkit._kernels.jit import kernel

_WIDE = 32  # running sums side by side, for a compiler that must not reorder a sum to use vectors


@kernel(
    "void(float32[:, :, ::1], float32[:, :, ::1], float64[::1], float64[:, ::1], float64[:, ::1])",
    "void(float64[:, :, ::1], float64[:, :, ::1], float64[::1], float64[:, ::1], float64[:, ::1])",
)
def channel_sums(y, g, bias, sums, sizes):
    """Σ_q (y − b) · g and Σ_q |(y − b) · g| of arrays (m, c, q), both (m, c)."""
    m, c, q = y.shape
    some_sums, some_sizes = np.empty(_WIDE), np.empty(_WIDE)
    whole = q - q % _WIDE
    for i in range(m):
        for j in range(c):
            own, slope, b = y[i, j], g[i, j], bias[j]
            s, z = 0.0, 0.0
            if whole > 0:
                for k in range(_WIDE):
                    d = (float64(own[k]) - b) * float64(slope[k])
                    some_sums[k] = d
                    some_sizes[k] = abs(d)
                for start in range(_WIDE, whole, _WIDE):
                    y_here, g_here = own[start : start + _WIDE], slope[start : start + _WIDE]
                    for k in range(_WIDE):
                        d = (float64(y_here[k]) - b) * float64(g_here[k])
                        some_sums[k] += d
                        some_sizes[k] += abs(d)
                for k in range(0, _WIDE, 4):
                    s += (some_sums[k] + some_sums[k + 1]) + (some_sums[k + 2] + some_sums[k + 3])
                    z += (some_sizes[k] + some_sizes[k + 1]) + (some_sizes[k + 2] + some_sizes[k + 3])
            for k in range(whole, q):
                d = (float64(own[k]) - b) * float64(slope[k])
                s += d
                z += abs(d)
            sums[i, j] = s
            sizes[i, j] = z


@kernel(
    "void(float32[:, :, ::1], float32[:, :, ::1], float64[::1], float64[:, ::1], float64[:, ::1])",
    "void(float64[:, :, ::1], float64[:, :, ::1], float64[::1], float64[:, ::1], float64[:, ::1])",
)
def feature_sums(y, g, bias, sums, sizes):
    """Σ_q (y − b) · g and Σ_q |(y − b) · g| of arrays (m, q, f), both (m, f)."""
    m, q, f = y.shape
    for i in range(m):
        s, z = sums[i], sizes[i]
        for j in range(f):
            s[j] = 0.0
            z[j] = 0.0
        k = 0
        while k + 4 <= q:  # four positions at a time, for the sums are read and written less often
            y0, y1, y2, y3 = y[i, k], y[i, k + 1], y[i, k + 2], y[i, k + 3]
            g0, g1, g2, g3 = g[i, k], g[i, k + 1], g[i, k + 2], g[i, k + 3]
            for j in range(f):
                b = bias[j]
                d0 = (float64(y0[j]) - b) * float64(g0[j])
                d1 = (float64(y1[j]) - b) * float64(g1[j])
                d2 = (float64(y2[j]) - b) * float64(g2[j])
                d3 = (float64(y3[j]) - b) * float64(g3[j])
                s[j] += (d0 + d1) + (d2 + d3)
                z[j] += (abs(d0) + abs(d1)) + (abs(d2) + abs(d3))
            k += 4
        while k < q:
            y0, g0 = y[i, k], g[i, k]
            for j in range(f):
                d0 = (float64(y0[j]) - bias[j]) * float64(g0[j])
                s[j] += d0
                z[j] += abs(d0)
            k += 1
