"""Cells as dates: in the way of ISO 8601, or in another one that leaves no doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["dates", "look_like_dates"]

_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f")
_ISO = tuple(f"%Y-%m-%d{clock}" for clock in _CLOCKS)
_ZONED = tuple(f"%Y-%m-%d{clock}%#z" for clock in _CLOCKS[1:])
_OTHERS = ("%Y%m%d", "%Y-%m", *(f"%d.%m.%Y{clock}" for clock in _CLOCKS))
_EITHER = tuple((f"%d/%m/%Y{clock}", f"%m/%d/%Y{clock}") for clock in _CLOCKS)
_FIRST = r"^[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}([T ]|$)"


def look_like_dates(cells: pl.Series) -> bool:
    """Whether every cell is a date that begins with its year, as 2026-01-31 does."""
    return len(cells) > 0 and bool(cells.head(8).str.contains(_FIRST).all()) and dates(cells) is not None


def dates(cells: pl.Series) -> tuple[NDArray[np.datetime64], str | None] | None:
    """Cells of text without blanks around as datetime64[us], and "UTC" where they had a time zone; None if they aren't.

    Raises
    ------
    ValueError
        If day and month cannot be told apart.
    """
    plain = cells.str.replace("T", " ", literal=True)
    iso = plain.str.replace_all("/", "-", literal=True)
    for form in _ISO:
        if (found := _read(iso, form)) is not None:
            return found, None
    for form in _ZONED:
        if (found := _read(iso.str.replace("Z$", "+00:00"), form)) is not None:
            return found, "UTC"
    years = cells.str.replace(r"\.0*$", "")
    if years.str.contains("^[12][0-9]{3}$").all():
        return np.asarray(years.to_numpy().astype(np.int64) - 1970).astype("M8[Y]").astype("M8[us]"), None
    for form in _OTHERS:
        if (found := _read(plain, form)) is not None:
            return found, None
    for day_first, month_first in _EITHER:
        one, other = _read(plain, day_first), _read(plain, month_first)
        if one is not None and other is not None and np.any(one != other):
            raise ValueError(f"{cells[0]!r} could begin with its day or its month; write dates as 2026-01-31")
        if one is not None or other is not None:
            return one if one is not None else other, None  # type: ignore[return-value]
    return None


def _read(cells: pl.Series, form: str) -> NDArray[np.datetime64] | None:
    """The cells if every one is of this form."""
    if cells.head(1).str.to_datetime(form, strict=False, time_unit="us").null_count():
        return None
    found = cells.str.to_datetime(form, strict=False, time_unit="us")
    if found.null_count():
        return None
    if found.dtype.time_zone is not None:  # type: ignore[attr-defined]
        found = found.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return found.to_numpy().astype("M8[us]")
