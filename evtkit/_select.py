"""The k largest values of a row, sorted, and its mean and variance: what a tail model needs of the data.

A pivot from a small sample separates a little more than k values in one pass without branches; those are sorted by
distributing them over four buckets a value on the scale of the bits of the floating-point number (in effect
logarithmic), so that few collide and tails of every weight spread evenly. Both are exact whatever the data: a bad pivot
is replaced, a crowded bucket is sorted by comparison.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._compress import WIDTH, keep_from
from evtkit._jit import kernel

BUCKETS = 4  # a value, when sorting
_SMALL = 24  # insertion sort up to here
_CROWDED = 48  # a bucket with more values than this is sorted by comparison
_BLOCK = 1024  # values to one partial sum
_SIGNLESS = np.int64(0x7FFFFFFFFFFFFFFF)


@kernel("int64(float64)", inline=True)
def _key(value):
    """An integer that orders as the number does."""
    bits = np.float64(value).view(np.int64)
    return bits ^ ((bits >> 63) & _SIGNLESS)


@kernel("void(float32[::1], intp, intp)", "void(float64[::1], intp, intp)")
def _insertion(x, start, stop):
    for i in range(start + 1, stop):
        value = x[i]
        j = i - 1
        while j >= start and x[j] > value:
            x[j + 1] = x[j]
            j -= 1
        x[j + 1] = value


@kernel(
    "void(float32[::1], intp, float32[::1], int32[::1], int32[::1])",
    "void(float64[::1], intp, float64[::1], int32[::1], int32[::1])",
)
def sort_into(x, n, out, place, ends):
    """Sort the first n values of x, none NaN, into out, ascending; place (≥ n) and ends (≥ 4n + 1) are workspace."""
    if n <= _SMALL:
        for i in range(n):
            out[i] = x[i]
        _insertion(out, 0, n)
        return
    low, high = x[0], x[0]
    for i in range(n):
        value = x[i]
        low = value if value < low else low
        high = value if value > high else high
    if low == high:
        for i in range(n):
            out[i] = x[i]
        return
    buckets = BUCKETS * n
    for i in range(buckets + 1):
        ends[i] = 0
    if low == -np.inf or high == np.inf:
        out[:n] = np.sort(x[:n])
        return
    if (low > 0.0) == (high > 0.0):
        lowest = _key(low)
        scale = (buckets - 1) / np.float64(_key(high) - lowest)
        for i in range(n):
            place[i] = np.int32(np.float64(_key(x[i]) - lowest) * scale)
    else:  # the bits crowd around 0; take the numbers
        base = 0.5 * low  # halves, for the difference may overflow
        scale = (buckets - 1) / (0.5 * high - base)
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
            out[start:stop] = np.sort(out[start:stop])
        else:
            _insertion(out, start, stop)
        start = stop


@kernel(
    "intp(float32[::1], intp, intp, float32[::1], float32[::1], int32[::1], int32[::1])",
    "intp(float64[::1], intp, intp, float64[::1], float64[::1], int32[::1], int32[::1])",
)
def keep_at_least(x, n, k, out, sample, place, ends):
    """Copy at least the k largest of the first n values of x to out (≥ n + WIDTH), hardly more; return how many.

    All values equal to the smallest one kept are kept too. sample (≥ 1024), place and ends are workspace.
    """
    size = 64 if n < 4096 else 512
    if 2 * k >= n or n <= 2 * size:
        return keep_from(x, n, -np.inf, out)
    step = n // size
    for i in range(size):
        sample[size + i] = x[i * step]
    sort_into(sample[size:], size, sample, place, ends)
    share = k / n
    rank = size * share + 2.0 * math.sqrt(size * share * (1.0 - share)) + 1.0
    while rank < size:
        count = keep_from(x, n, sample[size - 1 - int(rank)], out)
        if count >= k:
            return count
        rank *= 2.0
    return keep_from(x, n, -np.inf, out)


@kernel(
    "void(float32[:, ::1], intp, float32[:, ::1])",
    "void(float64[:, ::1], intp, float64[:, ::1])",
)
def top_rows(rows, k, out):
    """The k largest values of every row, ascending, into the rows of out."""
    n = rows.shape[1]
    kept, ordered, sample = np.empty(n + WIDTH, rows.dtype), np.empty(n, rows.dtype), np.empty(1024, rows.dtype)
    place, ends = np.empty(max(n, 512), np.int32), np.empty(BUCKETS * max(n, 512) + 1, np.int32)
    for i in range(rows.shape[0]):
        count = keep_at_least(rows[i], n, k, kept, sample, place, ends)
        sort_into(kept, count, ordered, place, ends)
        out[i] = ordered[count - k : count]


@kernel(
    "UniTuple(float64, 2)(float32[::1], float64)",
    "UniTuple(float64, 2)(float64[::1], float64)",
    fused=True,
)
def _partial(x, shift):
    """Sums of x − shift and of its square."""
    total, squares = 0.0, 0.0
    for i in range(x.size):
        deviation = x[i] - shift
        total += deviation
        squares += deviation * deviation
    return total, squares


@kernel("boolean(float32[:, ::1], float64[:, ::1])", "boolean(float64[:, ::1], float64[:, ::1])")
def moments_rows(rows, out):
    """Mean and sum of squared deviations of every row, into out (rows, 2); whether all values are finite."""
    n = rows.shape[1]
    finite = True
    for i in range(rows.shape[0]):
        shift, total = np.float64(rows[i, 0]), 0.0
        for start in range(0, n, _BLOCK):
            total += _partial(rows[i, start : start + _BLOCK], shift)[0]
        mean = shift + total / n
        # Once more around the mean; what its rounding leaves is taken off (Chan, Golub & LeVeque 1983).
        rest, squares = 0.0, 0.0
        for start in range(0, n, _BLOCK):
            linear, square = _partial(rows[i, start : start + _BLOCK], mean)
            rest += linear
            squares += square
        finite &= math.isfinite(total)
        out[i, 0], out[i, 1] = mean + rest / n, squares - rest * rest / n
    return finite
