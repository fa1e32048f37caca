"""What columns can do, and what they did: said at the calibration, at the end, and on demand."""

from __future__ import annotations

import math
import re
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.text import counted, plain
from evtkit.cli._report import number
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evtkit.cli.watch.watching import Watch
    from evtkit.spot import Repeat

__all__ = ["Clock", "budget_risk", "of_calibration", "of_repeat", "of_watch", "on_signal"]

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0, "month": 2629746.0,
            "year": 31556952.0}  # fmt: skip
_FEW = 10.0  # rows of the calibration times risk, below which the level lies beyond what was seen
_MANY = 20.0  # times the risk, from which on a stream is not what it was
_MOST_COLUMNS = 20


def budget_risk(budget: str, pace: float | None) -> float:
    """The risk that gives so many events by chance, such as "1 per week", where a row takes `pace` seconds."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*(?:per|/|a|an)\s*([a-z]+?)s?\s*", budget)
    if match is None or match[2] not in _PERIODS or not (count := float(match[1])) > 0.0:
        raise ValueError(f"--budget must be a number per {', '.join(_PERIODS)}, such as '1 per week', got {budget!r}")
    if pace is None:
        raise ValueError(
            "--budget needs the pace of the stream: name a column of times with --label (ISO 8601, or seconds since "
            "1970), or say the seconds from row to row with --pace"
        )
    return count * pace / _PERIODS[match[2]]


def of_calibration(watch: Watch, pace: float | None) -> list[str]:
    """Of every column its rows, excesses and levels, or why it has none; and how many events chance will begin."""
    spot, lines = watch.detector, []
    sides = ("lower", "upper") if spot.side == "both" else (spot.side,)
    shape = (len(watch.columns), len(sides))
    levels, status, counts = (np.asarray(a).reshape(shape) for a in (spot.alarm_threshold, spot.status, spot.n_excess))
    n, left_out = np.atleast_1d(spot.n), np.atleast_1d(spot.n_cleaned)
    for c, column in enumerate(watch.columns[:_MOST_COLUMNS]):
        parts = []
        for s, side in enumerate(sides):
            if np.isfinite(levels[c, s]):
                word = "above" if side == "upper" else "below"
                parts.append(f"{word} {number(float(levels[c, s]), 5)} ({counted(int(counts[c, s]), 'excess')})")
            else:
                needed = math.ceil(len(sides) / spot.risk)
                parts.append(
                    f"{side}: no level, {_why(int(status[c, s]))}; only what was never seen in {needed:,} rows will be "
                    f"an alarm, so none before row {needed + watch.calibrated - int(n[c]):,}"
                )
        lines.append(f"{plain(column)}: {int(n[c]):,} rows; alarm {', '.join(parts)}")
        if out := int(left_out[c]):
            lines[-1] += (
                f"; {counted(out, 'row')} stood apart and {'was' if out == 1 else 'were'} left out (--no-clean)"
            )
    if watch.columns[_MOST_COLUMNS:]:
        without = int(np.count_nonzero(~np.isfinite(levels[_MOST_COLUMNS:])))
        lines.append(f"… {len(watch.columns) - _MOST_COLUMNS:,} more columns; {without:,} of their tails have no level")
    lines.append(f"risk {spot.risk:g} a row, all columns together: chance begins {_chance(spot.risk, pace)}")
    if watch.calibrated * spot.risk < _FEW:
        lines.append(
            f"{watch.calibrated:,} rows are few for this risk (rows × risk is {watch.calibrated * spot.risk:.2g}, "
            f"wanted {_FEW:g}): the risk is right on average, but a level may be well off, and settles as rows come"
        )
    return lines


def _why(status: int) -> str:
    return {
        FitStatus.EMPTY: "no value differs upwards from most others",
        FitStatus.CONSTANT: "all extremes are equal",
        FitStatus.TOO_FEW: "too few values differ from most others",
    }.get(FitStatus(status), FitStatus(status).name)


def _chance(risk: float, pace: float | None) -> str:
    """How often an event begins by chance."""
    if pace is None:
        return f"1 event in {1.0 / risk:,.0f} rows"
    rate = risk / pace
    for period in ("day", "week", "month", "year"):
        if rate * _PERIODS[period] >= 0.95:
            return f"{rate * _PERIODS[period]:.2g} events a {period} at the stream's pace"
    return f"1 event in {1.0 / (rate * _PERIODS['year']):.2g} years at the stream's pace"


def of_watch(watch: Watch) -> list[str]:
    """What was seen since the calibration: alarms and events against the risk, and what that suggests."""
    rows, risk = watch.rows - watch.calibrated, watch.detector.risk
    going_on = len(watch.events.going_on)
    lines = [
        f"{rows:,} rows after the calibration: {counted(int(watch.alarms.sum()), 'alarm')}, "
        f"{counted(watch.events.total, 'event')}"
        + (f", {going_on} going on" if going_on else "")
        + f"; {rows * risk:.2g} events expected by chance"
    ]
    order = np.argsort(-watch.alarms, kind="stable")
    for c in order[:_MOST_COLUMNS].tolist():
        alarms = int(watch.alarms[c])
        if not alarms:
            break
        ratio = alarms / (rows * risk)
        lines.append(
            f"{plain(watch.columns[c])}: {counted(alarms, 'alarm')}, {counted(int(watch.begun[c]), 'event')} begun, "
            f"{ratio:,.3g} times the risk"
        )
        if ratio > _MANY and alarms >= _MANY:
            lines[-1] += ": it is no longer what it was calibrated on, or rows depend on each other; calibrate on more"
    return lines


def of_repeat(repeat: Repeat) -> str:
    """That a column repeats one value for longer than it is used to, or no longer does."""
    name, value = plain(repeat.channel), number(repeat.value, 6)
    what = f"{name}: {value} {repeat.rows:,} times in succession, from row {repeat.start}"
    return f"{what}; another value has come" if repeat.is_over else f"{what} on; is it stuck?"


class Clock:
    """When to say it again."""

    def __init__(self, every: float | None) -> None:
        self._every, self._last = every, time.monotonic()
        self.asked = False

    def is_time(self) -> bool:
        """Whether it was asked for, or so many seconds have passed."""
        now = time.monotonic()
        if self.asked or (self._every is not None and now - self._last >= self._every):
            self.asked, self._last = False, now
            return True
        return False


@contextmanager
def on_signal(clock: Clock) -> Iterator[None]:
    """Within it, SIGUSR1 asks for the summary, where there is that signal."""
    number = getattr(signal, "SIGUSR1", None)
    if number is None:
        yield
        return

    def ask(*_: object) -> None:
        clock.asked = True

    before = signal.signal(number, ask)
    try:
        yield
    finally:
        signal.signal(number, before)
