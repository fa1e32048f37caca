"""Of every channel of a matrix, in one pass: moments, and the k largest values in order.

Values of a sample of rows say from where on a channel's values are worth keeping: from a cut that hardly fewer than k
reach. A channel where fewer did is gone through again.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from evtkit._kernels.bits import assign
from evtkit._kernels.compress import WIDTH, keep_from
from evtkit._kernels.jit import kernel
from evtkit._kernels.select import BUCKETS, SAMPLE, keep_at_least, places, sort_into
from evtkit._kernels.sketch import next_cut, spare_slots, take_in
from evtkit._kernels.tiles import CHANNELS, WIDE, any_block

_LONG = 1 << 20  # values kept of a channel


@kernel("void(float32[:, ::1], intp)", "void(float64[:, ::1], intp)")
def _sort_columns(x, width):
    """Sort the first columns of x, a power of two rows, ascending: Batcher's network (1968), all columns at a time."""
    rows, p = x.shape[0], 1
    while p < rows:
        k = p
        while k >= 1:
            for j in range(k % p, rows - k, 2 * k):
                for i in range(j, min(j + k, rows - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        low, high = x[i], x[i + k]
                        for c in range(width):
                            one, other = low[c], high[c]
                            low[c] = one if one < other else other
                            high[c] = other if one < other else one
            k //= 2
        p *= 2


def _of_numbers(one):
    """The signature of `first_cuts` for such numbers."""
    return types.void(any_block(one), types.intp, types.intp, types.float64, types.intp, one[::1], one[::1])


@kernel(_of_numbers(types.float32), _of_numbers(types.float64))
def first_cuts(block, start, stop, sign, k, cutoff, scale):
    """Cuts that at least k of the values of a channel reach, most probably, and how values fall with their rank."""
    n, factor = block.shape[0], cutoff.dtype.type(sign)
    sample, nought = np.empty((SAMPLE, CHANNELS), cutoff.dtype), cutoff.dtype.type(0)
    expected = SAMPLE * (k / n)
    rank = int(expected + 2.5 * math.sqrt(expected * (1.0 - k / n)) + 1.0)
    if rank >= SAMPLE:
        return
    higher = rank // 4
    steps = math.log((rank + 1.0) / (higher + 1.0))
    for first in range(start, stop, CHANNELS):
        width = min(CHANNELS, stop - first)
        for i in range(SAMPLE):
            for c in range(width):
                sample[i, c] = factor * block[i * n // SAMPLE, first + c] + nought
        _sort_columns(sample, width)
        for c in range(width):
            low, high = sample[SAMPLE - 1 - rank, c], sample[SAMPLE - 1 - higher, c]
            cutoff[first - start + c], scale[first - start + c] = low, (high - low) / steps


def _summarise(one):
    """The signature of `summarise` for such numbers."""
    rows = one[:, ::1]
    return types.boolean(any_block(one), types.intp, types.intp, types.float64, types.intp, rows, types.int64[:, ::1],
                         rows, one[::1], one[::1])  # fmt: skip


@kernel(_summarise(types.float32), _summarise(types.float64))
def summarise(block, start, stop, sign, k, largest, moments, samples, cutoffs, scales):
    """The k largest of sign · block (observations, channels) and its moments, for the channels from start to stop.

    Rows of largest (channels, k) come out ascending; moments (stop − start, 19), of nothing before, are the states of
    `binned`; samples (channels, n), unless it has no columns, receives all values. cutoffs and scales (stop − start)
    are those of `first_cuts`, or −inf and 0: they change nothing but the time, and are overwritten. Stops at the first
    channels that are not finite and returns False. Zeros lose their sign, lest it depend on the order of the values.
    """
    n, dtype = block.shape[0], largest.dtype
    all_kept = 2 * k >= n or n <= 4 * SAMPLE
    room = 5 * k // 2 if k < _LONG else 5 * k // 4  # rows of a tenth of a long series would be as long as that
    width = (n if all_kept else min(n, max(room, 4 * SAMPLE))) + spare_slots(k)
    tile, high, factor = np.empty((CHANNELS, WIDE), dtype), np.empty(CHANNELS, dtype), dtype.type(sign)
    buffer, low = np.empty((min(CHANNELS, stop - start), width), dtype), np.empty(CHANNELS, dtype)
    fill, added = np.empty(CHANNELS, np.int64), np.empty(CHANNELS, np.int64)
    scratch, ordered = np.empty(width + WIDTH + 2 * SAMPLE, dtype), np.empty(width, dtype)
    place, ends = np.empty(places(width), np.int32), np.empty(BUCKETS * places(width) + 1, np.int32)
    for first in range(start, stop, CHANNELS):
        last = min(stop, first + CHANNELS)
        for c in range(CHANNELS):
            fill[c], added[c] = 0, 0
        states, cutoff, scale = moments[first - start :], cutoffs[first - start :], scales[first - start :]
        if not take_in(block, first, last - first, factor, k, states, low, buffer, fill, added, cutoff, scale,
                       samples[first:last], tile, scratch, high, place, ends):  # fmt: skip
            return False
        for c in range(last - first):
            row, count = buffer[c], fill[c] + added[c]
            if count < k:
                cutoff[c], scale[c], fill[c], added[c] = -np.inf, 0, 0, 0
                take_in(block, first + c, 1, factor, k, moments[:0], low, buffer[c : c + 1], fill[c:], added[c:],
                        cutoff[c:], scale[c:], samples[:0], tile, scratch, high, place, ends)  # fmt: skip
                count = fill[c] + added[c]
            if scale[c] > 0.0 and count > k + k // 8:
                count = keep_from(row, count, next_cut(row, count, k, cutoff[c], scale[c])[0], scratch)
            else:
                count = keep_at_least(row, count, k, scratch, scratch[scratch.size - 2 * SAMPLE :], place, ends)
            sort_into(scratch, count, ordered, place, ends)
            assign(largest[first + c], ordered[count - k : count])
    return True
