"""Mean and variance of many channels, from the sums that `binned` leaves, in pairs of float64.

A pair, high and low, has 106 bits: it is a sum or a product with its error (Knuth 1969; Dekker 1971). All roundings
together are below 2⁻⁹⁵ of the sizes that are added up. So the nearest float64 is known, unless the result lies that
near to the middle between two of them, or nearly everything has cancelled.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.binned import LOW_BITS, SLICE
from evtkit._kernels.jit import kernel

_LOW_PART = 2.0**LOW_BITS
_SPLIT = 2.0**27 + 1.0  # parts a number into two of 26 bits
_ROOM = 2.0**-95
_MANY = 1 << 52

_FACTORS = np.array([2.0**power for power in (
    2 * SLICE, SLICE, 0, 4 * SLICE, 3 * SLICE + 1, 2 * SLICE + 1, 2 * SLICE, SLICE + 1, 0
)])  # fmt: skip
"""What each of the nine sums counts in the total and in the sum of squares, in units of the last slice."""


@kernel("UniTuple(float64, 2)(float64, float64)", inline=True)
def _two_sum(a, b):
    """a + b, and what its rounding lost."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


@kernel("UniTuple(float64, 2)(float64, float64, float64, float64)", inline=True)
def _sum(high, low, more, rest):
    high, error = _two_sum(high, more)
    low, lost = _two_sum(low, rest)
    high, low = _two_sum(high, low + error)
    return _two_sum(high, low + lost)


@kernel("UniTuple(float64, 2)(float64, float64, float64, float64)")
def _product(high, low, more, rest):
    whole = high * more
    a, b = _SPLIT * high, _SPLIT * more
    a, b = a - (a - high), b - (b - more)
    c, d = high - a, more - b
    error = ((a * b - whole) + a * d + c * b) + c * d
    return _two_sum(whole, error + (high * rest + low * more))


@kernel("UniTuple(float64, 2)(float64, float64, float64)")
def _quotient(high, low, divisor):
    first = high / divisor
    whole, error = _product(first, 0.0, divisor, 0.0)
    return _two_sum(first, (((high - whole) - error) + low) / divisor)


@kernel("boolean(float64, float64, float64)")
def _sure(high, low, room):
    """Whether all numbers within `room` of a pair round to its high part."""
    return high + (low + room) == high and high + (low - room) == high


@kernel("void(int64[:, ::1], int64[::1], float64[::1], float64[::1], boolean[::1])")
def mean_and_variance(state, n, means, variances, certain):
    """Mean and variance of every row of state with so many values, and whether they are surely the nearest numbers."""
    for i in range(state.shape[0]):
        mean, mean_low, squares, squares_low, size = 0.0, 0.0, 0.0, 0.0, 0.0
        fits = 1 < n[i] < _MANY
        for k in range(9):
            low, high = state[i, 1 + 2 * k], state[i, 2 + 2 * k]
            fits &= -_MANY < high < _MANY
            more, rest = _two_sum(np.float64(high) * _LOW_PART * _FACTORS[k], np.float64(low) * _FACTORS[k])
            if k == 3:
                mean, mean_low, squares, squares_low = squares, squares_low, 0.0, 0.0
            squares, squares_low = _sum(squares, squares_low, more, rest)
            size += abs(more) if k < 3 else 0.0
        count = np.float64(max(n[i], 2))
        squares, squares_low = _product(squares, squares_low, count, 0.0)
        other, other_low = _product(mean, mean_low, mean, mean_low)
        spread, spread_low = _sum(squares, squares_low, -other, -other_low)
        spread, spread_low = _quotient(spread, spread_low, count)
        spread, spread_low = _quotient(spread, spread_low, count - 1.0)
        mean, mean_low = _quotient(mean, mean_low, count)
        certain[i] = fits and (
            _sure(mean, mean_low, _ROOM * size / count)
            and _sure(spread, spread_low, _ROOM * squares / (count * (count - 1.0)))
        )
        unit = SLICE * (state[i, 0] - 3)
        means[i], variances[i] = math.ldexp(mean, unit), math.ldexp(spread, 2 * unit)
