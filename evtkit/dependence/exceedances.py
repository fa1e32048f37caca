"""When streams exceed their thresholds, and the times between, with missing values kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = ["Times", "exceedance_times", "streams_and_levels", "streams_of"]


@dataclass(frozen=True)
class Times:
    """When one stream exceeds a threshold.

    Attributes
    ----------
    times : ndarray of int64
        Places of the exceedances.
    seen : ndarray of int64
        Times between neighbouring exceedances, missing values not counted.
    known : ndarray of int64
        Times between neighbouring exceedances with nothing missing between.
    censored : ndarray of int64
        What is known of the other times between exceedances: the part before the first missing value, and the part
        after the last one.
    between : int
        Values seen between missing ones, in these times.
    rate : float
        Exceedances a value that is not missing.
    """

    times: Int
    seen: Int
    known: Int
    censored: Int
    between: int
    rate: float


def exceedance_times(x: Float, threshold: float) -> Times:
    """Times between the exceedances of one stream, with those apart that missing values interrupt."""
    times = np.flatnonzero(x > threshold)
    missing = np.flatnonzero(np.isnan(x))
    present = x.size - missing.size
    gaps = np.diff(times)
    rate = times.size / max(present, 1)
    if not missing.size or times.size < 2:
        return Times(times, gaps, gaps, np.empty(0, dtype=np.int64), 0, rate)
    first, last = np.searchsorted(missing, times[:-1]), np.searchsorted(missing, times[1:])
    cut = last > first
    before = missing[first[cut]] - times[:-1][cut]
    after = times[1:][cut] - missing[last[cut] - 1]
    between = missing[last[cut] - 1] - missing[first[cut]] + 1 - (last[cut] - first[cut])
    parts = np.concatenate([before, after])
    return Times(times, gaps - (last - first), gaps[~cut], parts, int(between.sum()), rate)


def streams_and_levels(x: ArrayLike, threshold: ArrayLike) -> tuple[Float, Float]:
    """Streams as (n,) or (n, channels), and a threshold for each channel."""
    values = streams_of(x)
    levels = real_array(threshold, "threshold").astype(np.float64)
    if np.isnan(levels).any():
        raise ValueError("threshold must be a number, got nan")
    try:
        return values, np.broadcast_to(levels, values.shape[1:]).ravel()
    except ValueError:
        raise ValueError(
            f"threshold must be one number or one a channel, {values.shape[1:]}; got shape {levels.shape}"
        ) from None


def streams_of(x: ArrayLike) -> Float:
    """One stream (n,) or several (n, channels) in float64, finite but for what is missing."""
    values = real_array(x, "x").astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"x must have shape (n,) or (n, channels), got {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"x must be finite, or NaN where it is missing; got {values[np.isinf(values)][0]}")
    return values
