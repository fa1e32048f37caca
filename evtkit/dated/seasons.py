"""Seasons: which observations were made in some months."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.frames import column_of, frame_times
from evtkit.dated.dates import Dates
from evtkit.dated.reading import as_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["in_season", "months_of"]

_INITIALS = "JFMAMJJASOND"


def in_season(x: Any, season: str | Sequence[int], *, time: str | None = None) -> NDArray[np.bool_]:
    """Which observations were made in a season: a mask to select them by.

    Parameters
    ----------
    x : data frame, series, Dates, or array_like of dates, shape (n,)
        What has the dates, or the dates. Zoned times are taken as a clock in their zone shows them.
    season : str or sequence of int
        Initials of months that follow each other, such as "DJF" for December to February, or numbers of months.
    time : str, optional
        The column of dates, where a data frame has several.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        If there are no dates, or the season is unknown or ambiguous.

    Examples
    --------
    >>> days = np.arange("2001-01-01", "2003-01-01", dtype="datetime64[D]")
    >>> int(in_season(days, "DJF").sum()), int(in_season(days, [7]).sum())
    (180, 62)
    """
    months = months_of(season)
    if isinstance(x, Dates):
        clock = x.local()
    else:
        found = frame_times(x) if time is None else as_times(column_of(x, time), f"column {time!r} of x")
        clock = Dates(*(as_times(x) if found is None else found)).local()
    return np.asarray(np.isin(clock.astype("M8[M]").astype(np.int64) % 12 + 1, months))


def months_of(season: str | Sequence[int]) -> list[int]:
    """The numbers of a season's months, from 1.

    Examples
    --------
    >>> months_of("NDJ"), months_of([6, 7])
    ([11, 12, 1], [6, 7])
    """
    if not isinstance(season, str):
        months = [int(month) for month in np.atleast_1d(np.asarray(season))]
        if not months or not all(1 <= month <= 12 for month in months):
            raise ValueError(f"season must have months from 1 to 12, got {list(season)}")
        return months
    wanted = season.upper()
    places = [i for i in range(12) if (2 * _INITIALS)[i : i + len(wanted)] == wanted]
    if not 1 <= len(wanted) <= 12 or len(places) != 1:
        why = "fits several places of the year" if places else "is not there"
        raise ValueError(f"season must be initials of months in a row such as 'DJF', or numbers; {season!r} {why}")
    return [(places[0] + i) % 12 + 1 for i in range(len(wanted))]
