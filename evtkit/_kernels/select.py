"""The k largest values of a row, sorted.

A cut, found by sampling and counting, separates hardly more than k values in one pass; those are sorted by
distributing them over four buckets a value on the scale of the bits of the floating-point number (in effect
logarithmic), so that few collide and tails of every weight spread evenly. Both are exact whatever the data: a bad pivot
is replaced, a crowded bucket is sorted by comparison.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.binned import value_of
from evtkit._kernels.bits import assign, bits_of
from evtkit._kernels.compress import count_from, keep_from
from evtkit._kernels.jit import kernel

BUCKETS = 4  # a value, when sorting
SAMPLE = 64  # values from which a cut is first estimated
_SMALL = 24  # insertion sort up to here
_CROWDED = 48  # a bucket with more values than this is sorted by comparison
_PLACES = 1 << 18  # values that are distributed at a time
_PARTS = 1 << 12  # that more of them are cut into first
_SIGNLESS = np.int64(0x7FFFFFFFFFFFFFFF)


@kernel("int64(float64)", inline=True)
def _key(value):
    """An integer that orders as the number does."""
    bits = bits_of(np.float64(value))
    return bits ^ ((bits >> 63) & _SIGNLESS)


@kernel("UniTuple(int64, 2)(float32[::1], intp)", "UniTuple(int64, 2)(float64[::1], intp)")
def _span(x, n):
    """The keys of the smallest and of the largest of the first n: whole numbers are compared many at a time."""
    low = high = _key(x[0])
    for i in range(n):
        key = _key(x[i])
        low, high = min(low, key), max(high, key)
    return low, high


@kernel("void(float32[::1], intp, intp)", "void(float64[::1], intp, intp)")
def _insertion(x, start, stop):
    for i in range(start + 1, stop):
        value = x[i]
        j = i - 1
        while j >= start and x[j] > value:
            x[j + 1] = x[j]
            j -= 1
        x[j + 1] = value


@kernel("void(float32[::1])", "void(float64[::1])")
def sort(x):
    """Sort x, none NaN, in place, ascending, by a heap (Williams 1964; Floyd 1964)."""
    first, last = x.size // 2, x.size - 1
    while last > 0:
        if first > 0:  # the heap is being built
            first -= 1
            value = x[first]
        else:
            value = x[last]
            x[last] = x[0]
            last -= 1
        hole, child = first, 2 * first + 1
        while child <= last:
            if child < last and x[child] < x[child + 1]:
                child += 1
            if not value < x[child]:
                break
            x[hole] = x[child]
            hole, child = child, 2 * child + 1
        x[hole] = value


@kernel("intp(float64, boolean, int64, float64, float64)", inline=True)
def _part(value, positive, lowest, base, scale):
    """Which part of the range holds the value: of its bits where all have one sign, else of the numbers."""
    return np.intp(np.float64(_key(value) - lowest) * scale) if positive else np.intp((0.5 * value - base) * scale)


@kernel("intp(intp)")
def places(width):
    """The size of the workspace `place` for rows of so many values; `ends` is BUCKETS times as long, and one."""
    return min(max(width, SAMPLE), _PLACES)


@kernel(
    "void(float32[::1], intp, float32[::1], int32[::1], int32[::1])",
    "void(float64[::1], intp, float64[::1], int32[::1], int32[::1])",
)
def sort_into(x, n, out, place, ends):
    """Sort the first n values of x, none NaN, into out, ascending; place and ends are workspace of `places`.

    More values than there are places are first cut into parts of the range, each part then sorted by itself: x is
    overwritten.
    """
    if n <= place.size:
        _sort_at_once(x, n, out, place, ends)
        return
    low, high = x[0], x[0]
    for i in range(n):
        value = x[i]
        low = value if value < low else low
        high = value if value > high else high
    if low == high or low == -np.inf or high == np.inf:
        assign(out[:n], x[:n])
        if low < high:
            sort(out[:n])
        return
    positive, lowest = (low > 0.0) == (high > 0.0), _key(low)
    base = 0.0 if positive else 0.5 * low
    scale = (_PARTS - 1) / (np.float64(_key(high) - lowest) if positive else 0.5 * high - base)
    if not scale < np.inf:
        assign(out[:n], x[:n])
        sort(out[:n])
        return
    for i in range(_PARTS + 1):
        ends[i] = 0
    for i in range(n):
        ends[1 + _part(x[i], positive, lowest, base, scale)] += 1
    for i in range(_PARTS):
        ends[i + 1] += ends[i]
    for i in range(n):
        part = _part(x[i], positive, lowest, base, scale)
        out[ends[part]] = x[i]
        ends[part] += 1
    start = 0
    while start < n:  # the ends are overwritten: a part ends where the values of another begin
        first, stop = _part(out[start], positive, lowest, base, scale), start + 1
        while stop < n and _part(out[stop], positive, lowest, base, scale) == first:
            stop += 1
        equal = True
        for i in range(start, stop):
            equal &= out[i] == out[start]
        if stop - start > place.size and not equal:
            sort(out[start:stop])
        elif not equal:
            _sort_at_once(out[start:stop], stop - start, x, place, ends)
            assign(out[start:stop], x[: stop - start])
        start = stop


@kernel(
    "void(float32[::1], intp, float32[::1], int32[::1], int32[::1])",
    "void(float64[::1], intp, float64[::1], int32[::1], int32[::1])",
)
def _sort_at_once(x, n, out, place, ends):
    """The same of no more values than there are places."""
    if n <= _SMALL:
        for i in range(n):
            out[i] = x[i]
        _insertion(out, 0, n)
        return
    lowest, highest = _span(x, n)
    low, high = value_of(lowest), value_of(highest)
    if low == high:
        for i in range(n):
            out[i] = x[i]
        return
    buckets = BUCKETS * n
    for i in range(buckets + 1):
        ends[i] = 0
    if low == -np.inf or high == np.inf:
        assign(out[:n], x[:n])
        sort(out[:n])
        return
    if (low > 0.0) == (high > 0.0):
        scale = (buckets - 1) / np.float64(highest - lowest)
        for i in range(n):
            place[i] = np.int32(np.float64(_key(x[i]) - lowest) * scale)
    else:  # the bits crowd around 0; take the numbers
        base = 0.5 * low  # halves, for the difference may overflow
        scale = (buckets - 1) / (0.5 * high - base)
        if not scale < np.inf:  # numbers so small that their differences have no inverse
            assign(out[:n], x[:n])
            sort(out[:n])
            return
        for i in range(n):
            place[i] = np.int32((0.5 * x[i] - base) * scale)
    for i in range(n):
        ends[place[i] + 1] += 1
    fullest = 0
    for i in range(buckets):
        fullest = max(fullest, ends[i + 1])
        ends[i + 1] += ends[i]
    for i in range(n):
        bucket = place[i]
        out[ends[bucket]] = x[i]
        ends[bucket] += 1  # in the end, where the bucket stops
    if fullest <= _CROWDED:
        _insertion(out, 0, n)
        return
    start = 0
    for bucket in range(buckets):
        stop = ends[bucket]
        if stop - start > _CROWDED:
            sort(out[start:stop])
        else:
            _insertion(out, start, stop)
        start = stop


@kernel(
    "Tuple((float32, intp))(float32[::1], intp, intp, float32[::1], int32[::1], int32[::1])",
    "Tuple((float64, intp))(float64[::1], intp, intp, float64[::1], int32[::1], int32[::1])",
)
def cut(x, n, k, sample, place, ends):
    """A value that at least k of the first n of x reach, hardly more if x is well-behaved, and how many do.

    Two values of a small sorted sample enclose it; then counting, which is cheap, and interpolating the logarithm of
    the count, which is nearly linear in a tail, close in. sample (≥ 128), place and ends are workspace.
    """
    step = n // SAMPLE
    for i in range(SAMPLE):
        sample[SAMPLE + i] = x[i * step]
    sort_into(sample[SAMPLE:], SAMPLE, sample, place, ends)
    expected = SAMPLE * (k / n)
    spread = 2.5 * math.sqrt(expected * (1.0 - k / n)) + 1.0
    low = sample[max(SAMPLE - 1 - int(expected + spread), 0)]
    reached = count_from(x, n, low)
    if reached < k:
        return sample.dtype.type(-np.inf), n
    high = sample[min(SAMPLE - 1 - int(expected - spread), SAMPLE - 1)]
    too_few = count_from(x, n, high)
    if too_few >= k:
        low, reached = high, too_few
    for _ in range(4):
        if reached <= k + k // 32 + 2 or low >= high:
            break
        share = math.log(reached / (k + k / 64 + 1.0)) / math.log(reached / max(too_few, 0.5))
        middle = sample.dtype.type(low + (np.float64(high) - low) * share)
        count = count_from(x, n, middle)
        if count >= k:
            low, reached = middle, count
        else:
            high, too_few = middle, count
    return low, reached


@kernel(
    "intp(float32[::1], intp, intp, float32[::1], float32[::1], int32[::1], int32[::1])",
    "intp(float64[::1], intp, intp, float64[::1], float64[::1], int32[::1], int32[::1])",
)
def keep_at_least(x, n, k, out, sample, place, ends):
    """Copy at least the k largest of the first n values of x to out (≥ n + WIDTH), hardly more; return how many."""
    if 2 * k >= n or n <= 4 * SAMPLE:
        return keep_from(x, n, -np.inf, out)
    return keep_from(x, n, cut(x, n, k, sample, place, ends)[0], out)
