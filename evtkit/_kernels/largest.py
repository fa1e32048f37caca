"""From the largest values of many channels to fitted tails: the step that whole matrices and sketches share."""

from __future__ import annotations

import numpy as np

from evtkit._kernels.grimshaw import fit_one
from evtkit._kernels.jit import kernel
from evtkit._kernels.maxima import CANDIDATES
from evtkit._kernels.sums import CHUNK, LANES, ROWS


@kernel("intp(float32[::1], float64)", "intp(float64[::1], float64)")
def first_above(ordered, level):
    """The position of the first value above level in ascending values, NaN in front counting as low."""
    low, high = 0, ordered.size
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] > level:
            high = middle
        else:
            low = middle + 1
    return low


@kernel(
    "void(float32[:, ::1], float64[::1], float64[:, ::1], int64[::1], float64[::1])",
    "void(float64[:, ::1], float64[::1], float64[:, ::1], int64[::1], float64[::1])",
)
def fit_largest(largest, thresholds, result, counts, means):
    """Fit the excesses of every row of ascending values over its threshold; also their numbers and means."""
    width = largest.shape[1]
    deep = max(2, (width + CHUNK - 1) // CHUNK)
    chunks, work = np.empty((deep, ROWS, LANES)), np.empty((2, deep, LANES))
    few, found = np.empty((2, ROWS, LANES)), np.empty((CANDIDATES + 1, 3))
    y = np.empty(width + 1)
    for i in range(largest.shape[0]):
        first = first_above(largest[i], thresholds[i])
        n = width - first
        total = 0.0
        for j in range(n):
            y[j] = np.float64(largest[i, first + j]) - thresholds[i]
            total += y[j]
        counts[i] = n
        means[i] = total / n if n else np.nan
        fit = fit_one(y, n, chunks, few, work, found)
        for k in range(7):
            result[i, k] = fit[k]


@kernel(
    "void(float32[:, ::1], float32[:, ::1], float64[:, ::1], int64[:, ::1])",
    "void(float64[:, ::1], float64[:, ::1], float64[:, ::1], int64[:, ::1])",
)
def count_above(largest, samples, levels, counts):
    """How many values of each channel lie above its levels (queries, channels), in the whole sample if there is one."""
    for c in range(largest.shape[0]):
        for q in range(levels.shape[0]):
            level = levels[q, c]
            count = largest.shape[1] - first_above(largest[c], level)
            if count == largest.shape[1] and samples.shape[1] > 0:
                count = 0
                for j in range(samples.shape[1]):
                    count += samples[c, j] > level
            counts[q, c] = count
