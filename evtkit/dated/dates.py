"""The dates of a series: when each observation was made, and what is to be said of that."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit._common.zones import zone_of
from evtkit.dated.rhythm import DAY, MONTHS, WEEKDAYS, Rhythm, rhythm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Bool

__all__ = ["PERIODS", "Dates", "duration", "shown", "shown_duration"]

PERIODS = {"year": 1.0, "month": 1.0 / 12.0, "week": 7.0 / 365.25, "day": 1.0 / 365.25, "hour": 1.0 / 8766.0}
"""Periods by name, in years of 365.25 days."""

_UNITS = {
    "w": 7 * DAY, "d": DAY, "h": DAY // 24, "min": DAY // 1440, "s": 1_000_000, "ms": 1000, "us": 1,
}  # fmt: skip
_LISTED = 3
_CHANGES = ((2, 3, 4), (8, 9, 10))  # March to May, September to November: months in which clocks change, from 0


@dataclass(frozen=True, eq=False, repr=False)
class Dates(Result):
    """When the observations of a series were made. Its table has the gaps, the longest first.

    Attributes
    ----------
    time : ndarray of datetime64[us], shape (n,)
        In ascending order; in UTC where `zone` says which time zone they were given in, else as the clock showed.
    zone : str, or None
        The time zone.
    unordered : int
        Observations that stood after a later one before they were sorted.

    Examples
    --------
    >>> days = Dates(np.arange("1990-01-01", "1999-01-01", dtype="datetime64[D]").astype("datetime64[us]"))
    >>> days.per_year, days.description
    (365.25, '1990-01-01 to 1998-12-31, one every day: 365.25 a year')
    """

    time: NDArray[np.datetime64]
    zone: str | None = None
    unordered: int = 0

    @cached_property
    def beat(self) -> NDArray[np.datetime64]:
        """The times that the record keeps to, ascending: those of the zone's clock for daily values, taken at midnight

        there, whose days last 23 hours when clocks change; time that passes for a logger that pays clocks no heed.
        """
        if self.zone is None or self.zone == "UTC":
            return self.time
        clock = np.sort(self.local())
        return clock if _evenness(clock) >= _evenness(self.time) else self.time

    @cached_property
    def rhythm(self) -> Rhythm:
        """How often there is an observation, and where some are absent."""
        found = rhythm(self.beat.astype(np.int64))
        if self.beat is self.time or not found.start.size:
            return found
        clock = self.local()
        order = np.argsort(clock, kind="stable")
        start, stop = (
            self.time[order][np.searchsorted(self.beat, ends.astype("M8[us]"))].astype(np.int64)
            for ends in (found.start, found.stop)
        )
        return replace(found, start=start, stop=stop)

    @property
    def per_year(self) -> float:
        """Observations a year of 365.25 days while the record goes on; NaN for fewer than two times.

        A record with a step has the number that the step makes, in the months, days and hours in which it ever has
        observations, so that absent ones do not count less. Other records have their number over their length.
        """
        return self.rhythm.per_year

    @property
    def n_absent(self) -> int:
        """Observations that the step would have and that are not there."""
        return int(self.rhythm.absent.sum())

    @property
    def n_repeated(self) -> int:
        """Observations at the same time as the one before."""
        return int(np.count_nonzero(self.time[1:] == self.time[:-1]))

    @property
    def gaps(self) -> list[tuple[np.datetime64, np.datetime64, int]]:
        """The last observation before each gap, the first one after it, and how many are absent; the longest first.

        Times are as the clock in the time zone shows them.
        """
        r = self.rhythm
        longest = np.argsort(-r.absent, kind="stable")
        start, stop = (Dates(ends[longest].astype("M8[us]"), self.zone).local() for ends in (r.start, r.stop))
        return list(zip(start, stop, r.absent[longest].tolist(), strict=True))

    def observations_per(self, per: str | float) -> float:
        """Observations in one period: a number as it is, or one of `PERIODS` by its name.

        Raises
        ------
        ValueError
            If the name is unknown, or there are too few dates to say.
        """
        if isinstance(per, str):
            if per not in PERIODS:
                raise ValueError(f"per must be a number or one of {', '.join(map(repr, PERIODS))}, got {per!r}")
            if not self.per_year > 0.0:
                raise ValueError(f"per={per!r} needs at least two different times, got {len(self.time)} dates")
            return PERIODS[per] * self.per_year
        if not 0.0 < per < np.inf:
            raise ValueError(f"per must be a positive number of observations, got {per}")
        return float(per)

    def local(self) -> NDArray[np.datetime64]:
        """The times as a clock in the time zone shows them."""
        if self.zone is None or self.zone == "UTC":
            return self.time
        from datetime import UTC, datetime

        def offsets(times: NDArray[np.datetime64]) -> NDArray[np.timedelta64]:
            seconds = times.astype("M8[s]").astype(np.int64).tolist()
            found = [datetime.fromtimestamp(one, UTC).astimezone(zone).utcoffset() for one in seconds]
            return np.array([one.total_seconds() if one else 0.0 for one in found]).astype("m8[s]")

        # The offset changes a few times a year: it is looked up once a day, and once an hour on days of a change
        zone = zone_of(self.zone)
        days, place = np.unique(self.time.astype("M8[D]"), return_inverse=True)
        begin = offsets(days)
        ahead = begin[place]
        if (changing := (begin != offsets(days + 1))[place]).any():
            hours, place = np.unique(self.time[changing].astype("M8[h]"), return_inverse=True)
            ahead[changing] = offsets(hours)[place]
        return np.asarray(self.time + ahead)

    def _table(self) -> dict[str, Any]:
        """Gaps: the last observation before, the first one after, and how many are absent."""
        gaps = self.gaps
        ends = {name: np.array([gap[i] for gap in gaps], dtype="M8[us]") for i, name in enumerate(("before", "after"))}
        return ends | {"absent": np.array([gap[2] for gap in gaps], dtype=np.int64)}

    def _notes(self) -> tuple[str, ...]:
        return self.remarks

    def __repr__(self) -> str:
        return f"Dates({self.description})" if len(self.time) else "Dates(none)"

    # -- in words ------------------------------------------------------------------------------------------------------

    @property
    def description(self) -> str:
        """From when to when, how often, and when never."""
        r = self.rhythm
        first, last = (shown(t) for t in self.local()[[0, -1]])
        zone = f" ({self.zone})" if self.zone else ""
        if not r.is_regular:
            also = f", {self.n_repeated:,} at the time of another row" if self.n_repeated else ""
            often = f"at irregular times{also}"
        elif r.monthly:
            often = {1: "one every month", 12: "one every year"}.get(r.step, f"one in {r.step} months")
        else:
            often = "one every day" if r.step == DAY else f"one every {shown_duration(r.step).removeprefix('1 ')}"
            often += _only(r)
        return f"{first} to {last}{zone}, {often}: {r.per_year:,.6g} a year"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is wrong with the dates, a line each: absent observations, repeated times, disorder."""
        lines = []
        if gaps := self.gaps:
            longest = [f"{n:,} between {shown(a)} and {shown(b)}" for a, b, n in gaps[:_LISTED] if n]
            more = ", …" if len(gaps) > _LISTED else ""
            hourly = self.zone is None and not self.rhythm.monthly and self.rhythm.step <= DAY // 24
            clocks = hourly and _at_clock_change(self.rhythm.start, spring=True)
            why = "as a change of the clock leaves them" if clocks else f"{', '.join(longest)}{more}"
            lines.append(f"{_count(self.n_absent, 'observation')} absent from the dates: {why}")
        if self.rhythm.is_regular and (repeated := self.n_repeated):
            again = self.time[1:][self.time[1:] == self.time[:-1]]
            clocks = self.zone is None and _at_clock_change(again.astype(np.int64), spring=False)
            why = "as a change of the clock leaves them" if clocks else f"the first at {shown(again[0])}"
            lines.append(f"{_count(repeated, 'observation')} at the time of another one: {why}")
        if self.unordered:
            lines.append(f"{_count(self.unordered, 'observation')} earlier than the one before: sorted by time")
        return tuple(lines)


def _evenness(times: NDArray[np.datetime64]) -> float:
    """The share of the steps of ascending times that have the commonest length."""
    steps = np.diff(times)
    return float(np.unique(steps, return_counts=True)[1].max() / steps.size) if steps.size else 1.0


def duration(span: Any, name: str = "span") -> int:
    """A length of time in microseconds: "48h", "2d", "90min", or a timedelta of Python, NumPy or pandas.

    Examples
    --------
    >>> duration("48h") == duration(np.timedelta64(2, "D"))
    True
    """
    found = 0
    if isinstance(span, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d*)?|)\s*([A-Za-z]+)\s*", span)):
        unit = match[2].lower() if match[2] != "D" else "d"
        unit = {"t": "min", "day": "d", "days": "d", "hour": "h", "hours": "h", "minutes": "min"}.get(unit, unit)
        found = round(float(match[1] or 1) * _UNITS.get(unit, 0))
    elif isinstance(span, timedelta):
        found = span // timedelta(microseconds=1)
    elif isinstance(span, np.timedelta64) and not np.isnat(span):
        found = int(span / np.timedelta64(1, "us"))
    if found <= 0:
        raise ValueError(f"{name} must be a length of time such as '48h' or '2d', got {span!r}")
    return found


def shown(time: np.datetime64) -> str:
    """A time as text, without what is zero at its end."""
    text = str(time.astype("M8[s]")) if time.astype(np.int64) % 1_000_000 == 0 else str(time)
    date, _, clock = text.partition("T")
    return date if not clock.strip("0:") else f"{date} {clock.removesuffix(':00')}"


def shown_duration(microseconds: int) -> str:
    """A length of time as text.

    Examples
    --------
    >>> shown_duration(5_400_000_000), shown_duration(2 * DAY)
    ('90 min', '2 days')
    """
    for unit, name in ((DAY, "days"), (DAY // 24, "h"), (DAY // 1440, "min"), (1_000_000, "s"), (1000, "ms")):
        if microseconds % unit == 0:
            count = microseconds // unit
            return f"{count:,} {name.removesuffix('s') if name == 'days' and count == 1 else name}"
    return f"{microseconds:,} µs"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what} {'is' if n == 1 else 's are'}".replace(f"{what} s ", f"{what}s ")


def _only(r: Rhythm) -> str:
    """When there are observations at all."""
    parts = [_runs(names, is_open) for names, is_open in ((MONTHS, r.months), (WEEKDAYS, r.weekdays)) if
             not is_open.all()]  # fmt: skip
    return f", {' and '.join(parts)} only" if parts else ""


def _runs(names: tuple[str, ...], is_open: Bool) -> str:
    """The names that are open, neighbours joined by a dash, around the end of the year or week."""
    n = len(names)
    begins = [i for i in range(n) if is_open[i] and not is_open[i - 1]]
    runs = []
    for i in begins:
        length = next(k for k in range(1, n + 1) if not is_open[(i + k) % n])
        runs.append(names[i] if length == 1 else f"{names[i]}–{names[(i + length - 1) % n]}")
    return ", ".join(runs)


def _at_clock_change(time: NDArray[np.int64], *, spring: bool) -> bool:
    """Whether all are within an hour on nights from Saturday to Sunday, in months in which clocks are changed."""
    of_day, weekday = time % DAY, (time // DAY + 3) % 7
    month = time.astype("M8[us]").astype("M8[M]").astype(np.int64) % 12
    early = of_day < 4 * DAY // 24
    nights = early & (weekday == 6) | (spring & (of_day >= 23 * DAY // 24) & (weekday == 5))
    return bool(np.all(nights & np.isin(month, np.ravel(_CHANGES))))
