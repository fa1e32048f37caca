"""Mean and variance from sums that no order can change: what `evtkit._kernels.binned` leaves, joined and read.

A state is a row of 19 whole numbers a channel: the bin, and low and high parts of nine sums. Joined on any tree, in any
order, states of the same values are the same numbers; mean and variance are their correctly rounded quotients.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evtkit._common.types import Float, Int

__all__ = ["BINS", "empty_state", "join", "mean_and_variance", "right_bins", "take_away"]

# As in `evtkit._kernels.binned`, which loads compiled code.
_SLICE, _LOW_BITS, _SUMS = 25, 40, 9
BINS = (-40, 41)
"""The lowest and the highest."""

_RAISED = {0: range(_SUMS), 1: (-1, 0, 1, -1, -1, -1, 3, 4, 6), 2: (-1, -1, 0, -1, -1, -1, -1, -1, 3)}
"""Which of the sums h, m, s, hh, hm, hs, mm, ms, ss each of them is after the bin was raised; −1 is none."""

_MANY_CHANNELS = 64  # from which on a kernel is worth loading


def empty_state(channels: int) -> Int:
    """The state of no values."""
    state = np.zeros((channels, 1 + 2 * _SUMS), dtype=np.int64)
    state[:, 0] = BINS[0]
    return state


def join(one: Int, other: Int) -> Int:
    """The state of the values of both."""
    top = np.maximum(one[:, 0], other[:, 0])
    return _carried(_raised(one, top) + _raised(other, top), top)


def take_away(whole: Int, part: Int) -> Int:
    """The state of the values of `whole` without those of `part`, which are among them."""
    top = whole[:, 0]
    return _carried(whole - _raised(part, top), top)


def _carried(sums: Int, top: Int) -> Int:
    sums[:, 2::2] += sums[:, 1::2] >> _LOW_BITS
    sums[:, 1::2] &= (1 << _LOW_BITS) - 1
    sums[:, 0] = top
    return sums


def _raised(state: Int, top: Int) -> Int:
    out = np.zeros_like(state)
    for steps, sources in _RAISED.items():
        of_these = top - state[:, 0] == steps
        if not np.any(of_these):
            continue
        for k, source in enumerate(sources):
            if source >= 0:
                out[of_these, 1 + 2 * k : 3 + 2 * k] = state[of_these, 1 + 2 * source : 3 + 2 * source]
    return out


def right_bins(largest: Float) -> Int:
    """The bins of channels with such largest magnitudes."""
    exponents = np.frexp(largest)[1]  # |x| < 2^exponent
    return np.where(largest > 0.0, np.maximum(BINS[0], -(-(exponents + 1) // _SLICE)), BINS[0])


def mean_and_variance(state: Int, n: Int) -> tuple[Float, Float]:
    """Mean, NaN of no values, and variance with ddof = 1, 0 of a single one."""
    if len(state) < _MANY_CHANNELS:
        return _in_whole_numbers(state, n)
    from evtkit._kernels import pairs  # deferred: compiled

    mean, variance, certain = np.empty(len(state)), np.empty(len(state)), np.empty(len(state), dtype=np.bool_)
    pairs.mean_and_variance(np.ascontiguousarray(state), np.ascontiguousarray(n), mean, variance, certain)
    if (rest := np.flatnonzero(~certain)).size:
        mean[rest], variance[rest] = _in_whole_numbers(state[rest], n[rest])
    return mean, variance


def _in_whole_numbers(state: Int, n: Int) -> tuple[Float, Float]:
    mean, variance = np.full(len(state), np.nan), np.full(len(state), np.nan)
    for channel, (row, count) in enumerate(zip(state.tolist(), n.tolist(), strict=True)):
        if count:
            h, m, s, hh, hm, hs, mm, ms, ss = (
                low + (high << _LOW_BITS) for low, high in zip(row[1::2], row[2::2], strict=True)
            )
            total = (h << 2 * _SLICE) + (m << _SLICE) + s
            squares = (
                (hh << 4 * _SLICE) + (hm << 3 * _SLICE + 1) + (2 * hs + mm << 2 * _SLICE) + (ms << _SLICE + 1) + ss
            )
            unit = _SLICE * (row[0] - 3)
            mean[channel] = _scaled(total / count, unit)
            spread = count * squares - total * total
            variance[channel] = _scaled(spread / (count * (count - 1)), 2 * unit) if count > 1 else 0.0
    return mean, variance


def _scaled(value: float, power: int) -> float:
    try:
        return math.ldexp(value, power)
    except OverflowError:
        return math.copysign(math.inf, value)
