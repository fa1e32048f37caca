"""From the largest values of many channels to fitted tails: the step that whole matrices and sketches share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from evtkit._kernels.bits import empty
from evtkit._kernels.grimshaw import fit_one
from evtkit._kernels.grouped import fit_rounded, mid_cell, rounding
from evtkit._kernels.jit import kernel
from evtkit._kernels.maxima import CANDIDATES
from evtkit._kernels.sums import CHUNK, LANES, ROWS


def _rows(number: Any, ndim: int = 2) -> Any:
    """Arrays that may be read-only, as those of a file that is mapped into memory are."""
    return types.Array(number, ndim, "C", readonly=True)


@kernel(types.intp(_rows(types.float32, 1), types.float64), types.intp(_rows(types.float64, 1), types.float64))
def first_above(ordered, level):
    """The position of the first value above level in ascending values, NaN in front counting as low."""
    first, length = 0, ordered.size
    if length == 0:
        return 0
    while length > 1:  # without branches, which no processor could foresee
        half = length // 2
        first += half * (not ordered[first + half - 1] > level)
        length -= half
    return first + (not ordered[first] > level)


@kernel(
    "void(float32[:, ::1], float64[::1], float64[::1], float64[:, ::1], int64[::1], float64[::1])",
    "void(float64[:, ::1], float64[::1], float64[::1], float64[:, ::1], int64[::1], float64[::1])",
)
def fit_largest(largest, thresholds, steps, result, counts, means):
    """Fit the excesses of every row of ascending values over its threshold; also their numbers and means.

    steps are those of the lattices that the rows are rounded to, 0 for none and NaN where that is to be found out;
    found steps are written there, and thresholds are moved to the middle between two lattice points.
    """
    width = largest.shape[1]
    deep = max(2, (width + CHUNK - 1) // CHUNK)
    chunks, work = empty((deep, ROWS, LANES)), empty((2, deep, LANES))
    few, found = empty((2, ROWS, LANES)), empty((CANDIDATES + 1, 3))
    y, cells, numbers = empty(width + 1), empty(width + 1), empty(width + 1)
    for i in range(largest.shape[0]):
        first = first_above(largest[i], thresholds[i])
        n = width - first
        total = 0.0
        for j in range(n):
            y[j] = np.float64(largest[i, first + j]) - thresholds[i]
            total += y[j]
        if n == 0:
            steps[i] = 0.0
        elif math.isnan(steps[i]):
            for j in range(n):
                y[j] = np.float64(largest[i, first + j])
            steps[i] = rounding(y, n, total / n) if n > 2 else 0.0  # two values always lie on a lattice
            if (
                steps[i] > 0.0
                and first > 0
                and (largest[i, first - 1] >= mid_cell(thresholds[i], np.float64(largest[i, first]), steps[i]))
            ):
                steps[i] = 0.0  # what is no excess does not lie on it
        if steps[i] > 0.0:
            thresholds[i] = mid_cell(thresholds[i], np.float64(largest[i, first]), steps[i])
        total = 0.0
        for j in range(n):
            y[j] = np.float64(largest[i, first + j]) - thresholds[i]
            total += y[j]
        counts[i] = n
        means[i] = total / n if n else np.nan
        fit = fit_rounded(y, n, steps[i], cells, numbers) if steps[i] > 0.0 else (
            fit_one(y, n, chunks, few, work, found))  # fmt: skip
        for k in range(7):
            result[i, k] = fit[k]


@kernel(
    types.void(_rows(types.float32), _rows(types.float32), types.float64[:, ::1], types.int64[:, ::1]),
    types.void(_rows(types.float64), _rows(types.float64), types.float64[:, ::1], types.int64[:, ::1]),
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
