"""Taking blocks in: moments, and the largest values of every channel kept as blocks go by.

A row of the buffer holds a channel's candidates, unordered, and a cutoff below which nothing can be among the k largest
any more. New values from the cutoff upwards are appended; a full row is thinned to hardly more than k.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from evtkit._kernels.binned import add_values, bin_of
from evtkit._kernels.bits import assign, bits_of
from evtkit._kernels.compress import WIDTH, count_from, keep_from
from evtkit._kernels.jit import kernel
from evtkit._kernels.select import BUCKETS, SAMPLE, cut, keep_at_least, places, sort_into
from evtkit._kernels.tiles import CHANNELS, LINE, ROWS, WIDE, any_block, fetch, turn_over

_FETCHED = 4  # lines of memory behind a row that are asked for beforehand


@kernel("intp(intp)")
def rows_at_a_time(k):
    """How many rows of a block go into a channel's row at a time: many, so that it is visited seldom."""
    return min(256, max(64, k // 16))


@kernel("intp(intp)")
def spare_slots(k):
    """Slots that appending may touch behind the values of a row."""
    return rows_at_a_time(k) + WIDTH


@kernel(
    "Tuple((float32, intp))(float32[::1], intp, intp, float32, float64)",
    "Tuple((float64, intp))(float64[::1], intp, intp, float64, float64)",
)
def next_cut(row, fill, k, old, scale):
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
        low, count = next_cut(row, fill, k, old, scale)
    if count > k + k // 8 and fill > 2 * SAMPLE:
        low, count = cut(row, fill, k, sample, place, ends)
    if count <= room:
        sample[0] = low
        return keep_from(row, fill, low, row)
    sort_into(row, fill, scratch, place, ends)
    assign(row[:k], scratch[fill - k : fill])
    sample[0] = row[0]
    return k


def _take_in(one):
    """The signature for such numbers."""
    rows, row, whole, places = one[:, ::1], one[::1], types.int64[::1], types.int32[::1]
    return types.boolean(any_block(one), types.intp, types.intp, one, types.intp, types.int64[:, ::1], row, rows, whole,
                         whole, row, row, rows, rows, row, row, places, places)  # fmt: skip


@kernel(_take_in(types.float32), _take_in(types.float64))
def take_in(block, first, width, factor, k, moments, low, buffer, fill, added, cutoff, scale, samples,
            tile, scratch, high, place, ends):  # fmt: skip
    """Take in factor · block[:, first:first + width], at most `tiles.CHANNELS` channels; False if it is not all finite.

    Into the states of `binned`, and the minima, unless `moments` is empty; those from the cutoff upwards to the
    channels' rows in `buffer`, unless it is empty: `added` says how many lie behind the `fill` that were there. All
    into `samples`, unless it is empty. Arrays start with the channel `first`; scale is each channel's fall of the value
    for a fall of the logarithm of the count; it only helps to find cutoffs. NaN is never kept.

    What was in the buffer is still in it, and is nothing else, if the answer is False and the block has no more than
    `rows_at_a_time` rows.
    """
    most, spare, room = rows_at_a_time(k), spare_slots(k), buffer.shape[1]
    summed, sample = moments.shape[0] > 0, scratch[scratch.size - 2 * SAMPLE :]
    for c in range(width):
        high[c] = 0.0
    for top in range(0, block.shape[0], ROWS):
        rows = min(ROWS, block.shape[0] - top)
        if not turn_over(block, top, rows, first, width, factor, tile, high, low) and summed:
            return False
        for c in range(width):
            if room > 0 and c + 1 < width:  # where the next channel's values will go
                for j in range(_FETCHED):
                    fetch(buffer, c + 1, fill[c + 1] + added[c + 1] + j * (LINE // block.itemsize))
            if summed:
                add_values(tile[c], rows, bin_of(bits_of(np.float64(high[c]))), moments[c])
            if samples.size > 0:
                assign(samples[c, top : top + rows], tile[c, :rows])
            for part in range(0, rows if room > 0 else 0, most):
                row, count, level = buffer[c], fill[c] + added[c], cutoff[c]
                if count + spare > room:
                    full = count
                    count = _thin(row, full, k, room - spare, level, scale[c], scratch, sample, place, ends)
                    if -np.inf < level < sample[0] and count < full:
                        scale[c] = (sample[0] - level) / math.log(full / count)
                    level = sample[0]
                    cutoff[c], fill[c], added[c] = level, count, 0
                added[c] += keep_from(tile[c, part:], min(most, rows - part), level, row[count:])
    return True


def _update(one):
    """The signature for such numbers."""
    rows, row, whole = one[:, ::1], one[::1], types.int64[::1]
    return types.boolean(any_block(one), types.intp, types.intp, types.intp, types.int64[:, ::1], types.int64[:, ::1],
                         row, rows, whole, whole, row, row)  # fmt: skip


@kernel(_update(types.float32), _update(types.float64))
def update(block, start, stop, k, before, moments, low, buffer, fill, added, cutoff, scale):
    """`take_in` the channels from start to stop; arrays are those of all channels, or empty.

    Moments are those `before`, which stay as they are, with the block's.
    """
    width = buffer.shape[1]
    tile, high = np.empty((CHANNELS, WIDE), low.dtype), np.empty(CHANNELS, low.dtype)
    scratch = np.empty(width + WIDTH + 2 * SAMPLE, low.dtype)
    place, ends = np.empty(places(width), np.int32), np.empty(BUCKETS * places(width) + 1, np.int32)
    none = np.empty((0, 0), low.dtype)
    for first in range(start, stop, CHANNELS):
        last = min(stop, first + CHANNELS)
        assign(moments[first:last], before[first:last])
        if not take_in(block, first, last - first, low.dtype.type(1), k, moments[first:last], low[first:last],
                       buffer[first:last], fill[first:last], added[first:last], cutoff[first:last], scale[first:last],
                       none, tile, scratch, high, place, ends):  # fmt: skip
            return False
    return True


@kernel(
    "void(float32[:, ::1], intp, intp, intp, int64[::1], float32[::1])",
    "void(float64[:, ::1], intp, intp, intp, int64[::1], float64[::1])",
)
def order_largest(buffer, start, stop, k, fill, cutoff):
    """Reduce rows to their k largest values in ascending order: what a row is, however its values came."""
    width = buffer.shape[1]
    scratch, ordered = np.empty(width + WIDTH, buffer.dtype), np.empty(width, buffer.dtype)
    sample = np.empty(2 * SAMPLE, buffer.dtype)
    place, ends = np.empty(places(width), np.int32), np.empty(BUCKETS * places(width) + 1, np.int32)
    for c in range(start, stop):
        row = buffer[c]
        kept = min(k, fill[c])
        count = keep_at_least(row, fill[c], kept, scratch, sample, place, ends)
        sort_into(scratch, count, ordered, place, ends)
        assign(row[:kept], ordered[count - kept : count])
        fill[c] = kept
        if kept == k:
            cutoff[c] = row[0]
