"""Kernels of TailSketch: a block's moments, and the largest values of every channel kept as blocks go by.

A row of the buffer holds a channel's candidates, unordered, and a cutoff below which nothing can be among the k largest
any more. New values from the cutoff upwards are appended; a full row is thinned to hardly more than k.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.binned import add_values, bin_of, extent, is_finite, value_of
from evtkit._kernels.bits import assign
from evtkit._kernels.compress import WIDTH, count_from, keep_from
from evtkit._kernels.jit import kernel
from evtkit._kernels.select import BUCKETS, SAMPLE, cut, keep_at_least, sort_into

_TILE_CHANNELS = 64


@kernel("intp(intp)")
def rows_at_a_time(k):
    """How many rows of a block are transposed together: many, so that a channel's row is visited seldom."""
    return min(256, max(64, k // 16))


@kernel("intp(intp)")
def spare_slots(k):
    """Slots that appending may touch behind the values of a row."""
    return rows_at_a_time(k) + WIDTH


@kernel(
    "boolean(float32[:, ::1], intp, intp, int64[:, ::1], float32[::1])",
    "boolean(float64[:, ::1], intp, intp, int64[:, ::1], float64[::1])",
)
def block_moments(block, start, stop, moments, low):
    """States of `binned` (channels, 19), 0 before, and minima of a block (rows, channels); False if it is not finite.

    A zero has no sign.
    """
    rows, nought = block.shape[0], low.dtype.type(0)
    tile = np.empty((_TILE_CHANNELS, rows + WIDTH), low.dtype)
    for first in range(start, stop, _TILE_CHANNELS):
        width = min(_TILE_CHANNELS, stop - first)
        for r in range(rows):
            for c in range(width):
                tile[c, r] = block[r, first + c] + nought
        for c in range(width):
            magnitude, smallest = extent(tile[c], rows)
            if not is_finite(magnitude):
                return False
            add_values(tile[c], rows, bin_of(magnitude), moments[first + c])
            low[first + c] = value_of(smallest)
    return True


@kernel(
    "Tuple((float32, intp))(float32[::1], intp, intp, float32, float64)",
    "Tuple((float64, intp))(float64[::1], intp, intp, float64, float64)",
)
def _next_cut(row, fill, k, old, scale):
    """Guess a cut a little below the k-th largest of a row whose values all reach the old one; and how many reach it.

    The logarithm of the count falls in proportion to the value in a tail, by 1/scale: what was seen the last time, or
    is seen by the first guess. Where three guesses do not come close, the old cut is returned.
    """
    low, reached, high = old, fill, np.inf
    for _ in range(3):
        guess = row.dtype.type(low + scale * math.log(reached / (k + k / 64 + 1.0)))
        if not low < guess < high:
            break
        count = count_from(row, fill, guess)
        scale = (np.float64(guess) - old) / math.log(fill / max(count, 0.5))
        if count >= k:
            low, reached = guess, count
            if count <= k + k // 24 + 2:
                break
        else:
            high = guess
            scale *= 0.95
    return low, reached


@kernel(
    "intp(float32[::1], intp, intp, intp, float32, float64, float32[::1], float32[::1], int32[::1], int32[::1])",
    "intp(float64[::1], intp, intp, intp, float64, float64, float64[::1], float64[::1], int32[::1], int32[::1])",
)
def _thin(row, fill, k, room, old, scale, scratch, sample, place, ends):
    """Keep at least the k largest of the first `fill` values of row, at most `room`, in place; returns how many.

    Everything kept is at least as large as the cut, which is left in sample[0].
    """
    low, count = old, fill
    if scale > 0.0:
        low, count = _next_cut(row, fill, k, old, scale)
    if count > k + k // 8 and fill > 2 * SAMPLE:
        low, count = cut(row, fill, k, sample, place, ends)
    if count <= room:
        sample[0] = low
        return keep_from(row, fill, low, row)
    sort_into(row, fill, scratch, place, ends)
    assign(row[:k], scratch[fill - k : fill])
    sample[0] = row[0]
    return k


@kernel(
    "void(float32[:, ::1], intp, intp, intp, float32[:, ::1], int64[::1], float32[::1], float32[::1])",
    "void(float64[:, ::1], intp, intp, intp, float64[:, ::1], int64[::1], float64[::1], float64[::1])",
)
def keep_largest(block, start, stop, k, buffer, fill, cutoff, scale):
    """Append a block's values from the cutoff upwards to the channels' rows; NaN is never kept.

    scale is each channel's fall of the value for a fall of the logarithm of the count; it only helps to find cutoffs.
    """
    width = buffer.shape[1]
    scratch, sample = np.empty(width, buffer.dtype), np.empty(2 * SAMPLE, buffer.dtype)
    place, ends = np.empty(max(width, SAMPLE), np.int32), np.empty(BUCKETS * max(width, SAMPLE) + 1, np.int32)
    most, spare, nought = rows_at_a_time(k), spare_slots(k), buffer.dtype.type(0)
    tile = np.empty((_TILE_CHANNELS, most + WIDTH), buffer.dtype)  # no power of two between channels
    for top in range(0, block.shape[0], most):
        rows = min(most, block.shape[0] - top)
        for first in range(start, stop, _TILE_CHANNELS):
            channels = min(_TILE_CHANNELS, stop - first)
            for r in range(rows):
                values = block[top + r, first:stop]
                for c in range(channels):
                    tile[c, r] = values[c] + nought
            for c in range(channels):
                row, count, level = buffer[first + c], fill[first + c], cutoff[first + c]
                if count + spare > width:
                    full = count
                    count = _thin(row, full, k, width - spare, level, scale[first + c], scratch, sample, place, ends)
                    if -np.inf < level < sample[0] and count < full:
                        scale[first + c] = (sample[0] - level) / math.log(full / count)
                    level = sample[0]
                    cutoff[first + c] = level
                fill[first + c] = count + keep_from(tile[c], rows, level, row[count:])


@kernel(
    "void(float32[:, ::1], intp, intp, intp, int64[::1], float32[::1])",
    "void(float64[:, ::1], intp, intp, intp, int64[::1], float64[::1])",
)
def order_largest(buffer, start, stop, k, fill, cutoff):
    """Reduce rows to their k largest values in ascending order: what a row is, however its values came."""
    width = buffer.shape[1]
    scratch, ordered = np.empty(width + WIDTH, buffer.dtype), np.empty(width, buffer.dtype)
    sample = np.empty(2 * SAMPLE, buffer.dtype)
    place, ends = np.empty(max(width, SAMPLE), np.int32), np.empty(BUCKETS * max(width, SAMPLE) + 1, np.int32)
    for c in range(start, stop):
        row = buffer[c]
        kept = min(k, fill[c])
        count = keep_at_least(row, fill[c], kept, scratch, sample, place, ends)
        sort_into(scratch, count, ordered, place, ends)
        assign(row[:kept], ordered[count - kept : count])
        fill[c] = kept
        if kept == k:
            cutoff[c] = row[0]
