"""Times and seasons in seconds: dates as the clock on the wall showed them, and what a calibration must hold."""

from __future__ import annotations

import math
from contextlib import suppress
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.dated.dates import Dates
from evtkit.dated.reading import as_times

if TYPE_CHECKING:
    from evtkit._common.types import Float

__all__ = ["SEASONS", "check_times", "period_of", "seconds_of", "wall"]

SEASONS = {"hour": 3600.0, "day": 86400.0, "week": 604800.0, "year": 31556952.0}
"""Seasons by name, in seconds."""

_CYCLES = 2  # of the longest season that a calibration must hold
_ROWS = 4  # of a cycle of the shortest season, at the least
_ROOM = 0.02  # of a cycle, that a calibration may lack
_SHORTEST = 1e-100  # season: moments a second must be finite


def seconds_of(time: Any) -> Float:
    """Times as seconds: numbers as they are, dates as the clock on the wall showed them.

    Raises
    ------
    ValueError
        If they are neither, or not finite.
    """
    array = np.asarray(time)
    if array.dtype.kind in "iuf" and array.ndim == 1 and not np.ma.is_masked(time):
        seconds = array.astype(np.float64)
        if not np.all(np.isfinite(seconds)):
            raise ValueError("time must be finite, got NaN or inf")
        return seconds
    times, zone = as_times(time)
    if np.any(np.isnat(times)):
        raise ValueError(f"time must be dates, got {np.count_nonzero(np.isnat(times))} missing")
    return wall(Dates(times, zone))


def wall(dates: Dates) -> Float:
    """Seconds that the clock on the wall showed."""
    return np.asarray(dates.local().astype("M8[us]").astype(np.int64) / 1e6)


def period_of(season: Any) -> float:
    """A season's length in seconds, from its name or as it is.

    Raises
    ------
    ValueError
        If it is neither a name of `SEASONS` nor a positive length.
    """
    if isinstance(season, str):
        if season in SEASONS:
            return SEASONS[season]
        with suppress(ValueError):
            season = float(season)
    length = float(season) if isinstance(season, Real) and not isinstance(season, bool) else math.nan
    if not _SHORTEST < length < 1.0 / _SHORTEST:
        raise ValueError(f"season must be {', '.join(SEASONS)}, or a length in seconds, got {season!r:.60}")
    return length


def check_times(times: Float, periods: tuple[float, ...]) -> None:
    """Raise ValueError if a calibration's times are not in order, or of too few cycles or rows for its seasons."""
    steps = np.diff(times)
    if not steps.size or np.any(steps < 0.0) or not np.median(steps) > 0.0:
        raise ValueError("time must be in ascending order, with a step between rows")
    step, shortest, longest = float(np.median(steps)), min(periods), max(periods)
    if step * _ROWS > shortest:
        raise ValueError(f"a season must have {_ROWS} rows or more, got one of {shortest / step:.3g}")
    cycles = (times[-1] - times[0] + step) / longest
    if cycles < _CYCLES - _ROOM:
        raise ValueError(
            f"the calibration must hold {_CYCLES} cycles of the longest season, some "
            f"{math.ceil(_CYCLES * longest / step):,} rows, got {cycles:.2g} in {len(times):,} rows"
        )
