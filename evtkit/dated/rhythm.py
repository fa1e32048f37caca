"""The rhythm of times: how often there is an observation, when there never is one, and where some are absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Int

__all__ = ["DAY", "MONTHS", "WEEKDAYS", "YEAR", "Rhythm", "rhythm"]

HOUR = 3_600_000_000
DAY = 24 * HOUR
YEAR = 365.25 * DAY
"""In microseconds, as the other lengths of time here."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LENGTHS = np.array([31.0, 28.25, 31.0, 30.0, 31.0, 30.0, 31.0, 31.0, 30.0, 31.0, 30.0, 31.0])
_SLOTS = 12 * 7 * 24
_USUAL = 0.5  # share of the steps that must be of one length
_CLOSED = 0.25  # share of the busiest slot's below which a slot is closed
_LONG = 30  # absent observations in a row that are a break of the record
_PRESENT = 0.8  # share of what there should be, breaks apart, in a record with a rhythm
_TOLD = (2.0 * YEAR, 21 * DAY, 3 * DAY)  # from which on months, weekdays and hours without observations are no breaks
_MOST = 4_000_000  # absent positions looked at one by one


@dataclass(frozen=True, eq=False)
class Rhythm:
    """How often a record has an observation.

    Attributes
    ----------
    per_year : float
        Observations a year of 365.25 days while the record goes on: breaks do not count. NaN for fewer than two times.
    step : int
        The usual time from one observation to the next, in microseconds; in months if `monthly`; 0 if there is none.
    monthly : bool
        Whether the record goes by months or years, at the same time of the month.
    start, stop : ndarray of int64
        The observations before and after each hole where some are absent; microseconds since 1970.
    absent : ndarray of int64
        How many are absent there.
    months, weekdays, hours : ndarray of bool, shape (12,), (7,), (24,)
        Whether there is ever an observation then.
    """

    per_year: float
    step: int
    monthly: bool
    start: Int
    stop: Int
    absent: Int
    months: Bool
    weekdays: Bool
    hours: Bool
    _open: Bool

    @property
    def is_regular(self) -> bool:
        """Whether observations come at a usual step."""
        return self.step > 0

    def expected(self, begin: int, end: int, phase: int) -> float:
        """How many observations there should be from `begin` until `end`; NaN without a rhythm.

        `phase` is the time of any observation.
        """
        if not self.is_regular:
            return float("nan")
        if self.monthly:
            return float((_month(np.array([end])) - _month(np.array([begin])))[0] / self.step)
        first = begin + (phase - begin) % self.step
        return float(np.count_nonzero(self._open[_slot(np.arange(first, end, self.step))]))


def rhythm(time: Int) -> Rhythm:
    """The rhythm of ascending times, microseconds since 1970."""
    distinct = np.unique(time)
    steps = np.diff(distinct)
    if not steps.size:
        return _irregular(float("nan"))
    span = float(time[-1] - time[0])
    irregular = _irregular(YEAR * (len(time) - 1) / span)  # the first observation begins the time that is counted
    if (by_month := _by_month(distinct, steps)) is not None:
        return by_month
    lengths, counts = np.unique(steps, return_counts=True)
    step = int(lengths[np.argmax(counts)])
    if counts.max() < _USUAL * steps.size:
        return irregular
    absent = np.maximum(np.rint(steps / step).astype(np.int64) - 1, 0)
    always = np.ones(_SLOTS, dtype=bool)
    if not absent.any():
        return _regular(YEAR / step, step, distinct, absent, always)
    holes, positions, weight = _absent_positions(distinct, absent, step)
    told = np.array([span >= length for length in _TOLD])
    told[2] &= step < DAY  # in universal time, days by the clock begin at another hour in summer
    merged = _slots_merged(told)  # what cannot be told apart is one slot
    here, gone = merged[_slot(distinct)], merged[_slot(positions)]
    present, lacking = np.bincount(here, minlength=_SLOTS), weight * np.bincount(gone, minlength=_SLOTS)
    with np.errstate(invalid="ignore"):
        share = present / (present + lacking)
    seen = ~np.isnan(share)
    is_open = seen & (np.nan_to_num(share) >= _CLOSED * np.nanmax(share))
    is_open, seen = is_open[merged], seen[merged]
    length = np.repeat(_LENGTHS, 7 * 24) * seen
    per_year = YEAR / step * float(length[is_open].sum() / length.sum())
    absent = weight * np.bincount(holes[is_open[gone]], minlength=steps.size)
    opened = _open_times(is_open, seen)
    some = int(np.count_nonzero(is_open[here]))
    short = int(absent[absent <= _LONG].sum())
    if some < _PRESENT * (some + short):
        return irregular
    if not opened[1][5:].any() and step <= DAY:  # working days: what else is absent for a day are holidays
        per_year *= some / (some + short)
        absent = np.where(absent > _LONG, absent, 0)
    return _regular(per_year, step, distinct, absent, is_open | ~seen, opened)


def _by_month(distinct: Int, steps: Int) -> Rhythm | None:
    """Of times that stand at one place of their months, counted from the month's beginning or from its end."""
    if np.median(steps) < 27 * DAY:
        return None
    month = _month(distinct)
    begins = month.astype("M8[M]").astype("M8[us]").astype(np.int64)
    ends = (month + 1).astype("M8[M]").astype("M8[us]").astype(np.int64)
    if np.ptp(distinct - begins) and np.ptp(ends - distinct):
        return None
    lengths, counts = np.unique(np.diff(month), return_counts=True)
    step = int(lengths[np.argmax(counts)])
    if counts.max() < _USUAL * steps.size:
        return None
    absent = np.maximum(np.rint(np.diff(month) / step).astype(np.int64) - 1, 0)
    return _regular(12.0 / step, step, distinct, absent, np.ones(_SLOTS, dtype=bool), monthly=True)


def _irregular(per_year: float) -> Rhythm:
    none, always = np.empty(0, dtype=np.int64), np.ones(_SLOTS, dtype=bool)
    return Rhythm(per_year, 0, False, none, none, none, *_open_times(always, always), always)


def _regular(
    per_year: float, step: int, distinct: Int, absent: Int, is_open: Bool,
    opened: tuple[Bool, Bool, Bool] | None = None, *, monthly: bool = False,
) -> Rhythm:  # fmt: skip
    holes = np.flatnonzero(absent)
    return Rhythm(
        per_year,
        step,
        monthly,
        distinct[holes],
        distinct[holes + 1],
        absent[holes],
        *(opened or _open_times(is_open, is_open)),
        is_open,
    )


def _open_times(is_open: Bool, seen: Bool) -> tuple[Bool, Bool, Bool]:
    """In which months, on which days and in which hours there are observations, or the record never comes to them."""
    cube, known = is_open.reshape(12, 7, 24), seen.reshape(12, 7, 24)
    months, days, hours = (np.asarray(cube.any(axis=axes) | ~known.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return months, days, hours


def _absent_positions(distinct: Int, absent: Int, step: int) -> tuple[Int, Int, int]:
    """In which hole each absent position lies, when it is, and for how many it stands where there are very many."""
    weight = 1 + int(absent.sum()) // _MOST
    count = -(-absent // weight)
    holes = np.repeat(np.arange(absent.size), count)
    within = np.arange(holes.size) - np.repeat(np.cumsum(count) - count, count)
    return holes, distinct[holes] + step * (1 + weight * within), weight


def _month(time: NDArray[np.int64]) -> Int:
    return time.astype("M8[us]").astype("M8[M]").astype(np.int64)


def _slot(time: NDArray[np.int64]) -> Int:
    """Month, day of the week and hour, as one number."""
    return np.asarray((_month(time) % 12 * 7 + (time // DAY + 3) % 7) * 24 + time % DAY // HOUR)


def _slots_merged(told: Bool) -> Int:
    """The slot that stands for each one, where months, weekdays or hours are not told apart."""
    month, day, hour = np.unravel_index(np.arange(_SLOTS), (12, 7, 24))
    return np.asarray((told[0] * month * 7 + told[1] * day) * 24 + told[2] * hour)
