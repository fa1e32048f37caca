"""Finding the dates of a series: in its index, in a column, or given beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import column_of, column_times, frame_labels, frame_times, unlabelled, without
from evtkit._common.text import shortened
from evtkit.dated.dates import Dates

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["as_times", "dated_values", "dates_of"]

_YEARS = (1000, 3000)  # numbers between which a column of dates holds years


def dated_values(x: Any, time: Any = None, *, nulls: bool = False) -> tuple[NDArray[Any], Dates | None, Any]:
    """The numbers of x in order of time, its dates, and what of x has the names.

    Parameters
    ----------
    x : array_like
        Observations along axis 0; a data frame or series may have the dates.
    time : str, Dates or array_like, optional
        The column of dates, or the dates themselves; without it they are looked for.
    nulls : bool
        Whether nulls are NaN, or an error.
    """
    found: tuple[NDArray[Any], str | None] | None
    if isinstance(time, str):
        column = column_of(x, time)
        if column is None:
            raise ValueError(f"time must be a column of x or dates, got {time!r}")
        found, x = as_times(column, f"column {time!r} of x"), without(x, time)
    elif isinstance(time, Dates):
        found = time.time, time.zone
    elif time is not None:
        found = as_times(time, "time")
    else:
        found = frame_times(x)
    values = real_array(unlabelled(x, "x", nulls=nulls), "x")
    if found is None:
        return values, None, frame_labels(x)
    times, zone = found
    if times.shape != values.shape[:1]:
        raise ValueError(f"time must have one date an observation, shape {values.shape[:1]}, got {times.shape}")
    if np.any(absent := np.isnat(times)):
        raise ValueError(f"time must be dates, got {np.count_nonzero(absent)} missing, the first in row "
                         f"{int(np.argmax(absent))}")  # fmt: skip
    back = int(np.count_nonzero(times[1:] < np.maximum.accumulate(times)[:-1])) if len(times) else 0
    if back:
        order = np.argsort(times, kind="stable")
        values, times = values[order], times[order]
    return values, Dates(times, zone, back), frame_labels(x)


def dates_of(x: object) -> Dates | None:
    """The dates of a data frame or series, in their order; None without any."""
    found = frame_times(x)
    return None if found is None else Dates(*found)


def as_times(given: ArrayLike, name: str = "time") -> tuple[NDArray[np.datetime64], str | None]:
    """Dates as datetime64[us], in UTC where they have a time zone, and its name.

    Takes columns of dates of pandas and polars, arrays of datetime64, lists of Python's dates and datetimes, texts as
    ISO 8601 has them, and whole numbers from 1000 to 3000, which are years.

    Raises
    ------
    ValueError
        If they are nothing of the kind.
    """
    if (found := column_times(given)) is not None:
        return found
    if np.ma.is_masked(given):
        raise ValueError(f"{name} must not be missing, got {np.ma.array(given).mask.sum()} masked")
    array = np.asarray(given)
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {array.shape}")
    if array.dtype.kind == "M":
        return array.astype("M8[us]"), None
    if array.dtype.kind in "iuf" and array.size and np.all((array % 1 == 0) & (array >= _YEARS[0])
                                                            & (array <= _YEARS[1])):  # fmt: skip
        return (array.astype(np.int64) - 1970).astype("M8[Y]").astype("M8[us]"), None
    moments = [_moment(one, name) for one in array.tolist()]
    zoned = [moment is not None and moment.tzinfo is not None for moment in moments]
    if any(zoned) and not all(zoned):
        raise ValueError(f"{name} must have a time zone everywhere or nowhere, got both")
    plain = [None if m is None else m.astimezone(UTC).replace(tzinfo=None) if m.tzinfo else m for m in moments]
    zone = "UTC" if any(zoned) else None
    if zone and (names := {str(m.tzinfo) for m in moments if m is not None}) and len(names) == 1 and "/" in min(names):
        zone = names.pop()
    return np.array(plain, dtype="M8[us]"), zone


def _moment(one: object, name: str) -> datetime | None:
    if one is None or isinstance(one, datetime):
        return one
    if isinstance(one, date):
        return datetime(one.year, one.month, one.day)
    if isinstance(one, str):
        try:
            return datetime.fromisoformat(one.strip())
        except ValueError:
            pass
    raise ValueError(f"{name} must be dates, such as 2026-01-31, got {shortened(repr(one))}")
