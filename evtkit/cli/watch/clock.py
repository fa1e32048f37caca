"""When the rows of a stream were made: by the times in their labels, or by its pace."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.text import plain
from evtkit.spot import Seasonal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.spot import Spot

__all__ = ["row_times", "rows_to_calibrate", "seconds_a_row"]

_CYCLES = 4  # of the longest season, if nobody says how many rows calibrate


def row_times(numbers: NDArray[np.int64], labels: Sequence[str | None], pace: float | None) -> Float:
    """Seconds at which rows were made, as the clock on the wall showed them.

    Without labels row k is made k · pace after an unknown moment. ValueError if there is neither a pace nor a time in
    every label.
    """
    if pace is not None and all(label is None for label in labels):
        return pace * np.asarray(numbers, dtype=np.float64)
    times = np.empty(len(numbers))
    for i, (row, label) in enumerate(zip(numbers, labels, strict=True)):
        seconds = _wall_seconds(label) if label else None
        if seconds is None:
            got = "no label" if label is None else repr(plain(label))
            raise ValueError(
                f"--season needs the time of every row, got {got} in row {row}: name a column of times with --label "
                f"(ISO 8601, or seconds since 1970), or say the seconds from row to row with --pace"
            )
        times[i] = seconds
    return times


def rows_to_calibrate(detector: Spot | Seasonal, pace: float | None, least: int) -> int:
    """Rows that calibrate where nobody says how many: four cycles of the longest season, and never fewer than usual."""
    if not isinstance(detector, Seasonal) or pace is None:
        return least
    return max(least, math.ceil(_CYCLES * max(detector.periods) / pace))


def seconds_a_row(labels: Sequence[str | None]) -> float | None:
    """The pace of a stream, by times in the labels of its rows; None where they are no times."""
    given = [label for label in labels if label]
    if len(given) < 2:
        return None
    first, last = _seconds(given[0]), _seconds(given[-1])
    if first is None or last is None or not last > first:
        return None
    return (last - first) / (len(given) - 1)


def _wall_seconds(label: str) -> float | None:
    """Seconds of a label that is a time, as the clock on the wall showed it; None if it is none."""
    try:
        return datetime.fromisoformat(label.strip()).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return _seconds(label)


def _seconds(label: str) -> float | None:
    try:
        return datetime.fromisoformat(label.strip()).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        value = float(label)
    except ValueError:
        return None
    return value if 1e8 < value < 1e10 else value / 1e3 if 1e11 < value < 1e13 else None  # seconds or ms since 1970
