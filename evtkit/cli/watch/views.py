"""How a watched stream is shown as lines: events for readers or for programs."""

from __future__ import annotations

import errno
import math
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from evtkit._common.text import plain
from evtkit.cli import _terminal
from evtkit.cli._report import number
from evtkit.cli._terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.cli.watch.cells import Rows
    from evtkit.cli.watch.watching import Told, Watch
    from evtkit.spot import Alarm

__all__ = ["LineView", "View", "as_json", "as_text", "record"]

_MOST_NAMES = 5
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class View(Protocol):
    """What a watched stream is shown by; a context manager."""

    def start(self, watch: Watch, *, resumed: bool) -> None:
        """From now on this is watched."""

    def show(self, watch: Watch, rows: Rows, told: list[Told]) -> None:
        """These rows were judged, or none were there."""

    def note(self, text: str) -> None:
        """Something else to be said."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def names(columns: tuple[str, ...]) -> str:
    """Names of columns, the first few of many."""
    more = f" and {len(columns) - _MOST_NAMES:,} more" if columns[_MOST_NAMES:] else ""
    return ", ".join(plain(column) for column in columns[:_MOST_NAMES]) + more


def as_text(told: Told) -> str:
    """What is told, for readers."""
    event, (first, peak, last) = told.event, told.labels
    if told.kind != "end":
        label = "" if first is None else f"  {plain(first)}"
        others = f"  with {names(event.channels[1:])}" if event.channels[1:] else ""
        return f"row {event.start}{label}  {_beyond(event.first)}{others}"
    label = "" if first is None else f"  {plain(first)} to {plain(str(last))}"
    counted = f"{event.alarms:,} alarm{'s' * (event.alarms != 1)}"
    at = f" at row {event.peak.row}" + ("" if peak is None else f", {plain(peak)}") if event.alarms > 1 else ""
    state = "has moved since" if event.has_moved else "over"
    return f"rows {event.start} to {event.end}{label}  {state}: {counted}, peak {_beyond(event.peak)}{at}"


def _beyond(alarm: Alarm) -> str:
    sign = ">" if alarm.side == "upper" else "<"
    level = number(alarm.threshold, 6) if math.isfinite(alarm.threshold) else "all but a few"
    p = "below 1e-300" if alarm.probability < 1e-300 else f"{alarm.probability:.2g}"
    return f"{plain(alarm.channel)} {number(alarm.value, 6)} {sign} {level}  p {p}"


def record(told: Told) -> dict[str, Any]:
    """What is told, for programs: infinities are None."""
    event, (first, peak, last) = told.event, told.labels
    alarm = event.first if told.kind != "end" else event.peak
    plainly: dict[str, Any] = {
        "kind": told.kind, "id": event.id, "row": alarm.row, "label": first if told.kind != "end" else peak,
        "column": alarm.channel, "value": alarm.value, "threshold": alarm.threshold, "probability": alarm.probability,
        "side": alarm.side,
    }  # fmt: skip
    if told.kind != "alarm":
        plainly["columns"] = list(event.channels)
    if told.kind == "end":
        plainly |= {
            "start": event.start, "start_label": first, "end": event.end, "end_label": last, "rows": event.rows,
            "alarms": event.alarms, "rate": event.rate, "moved": event.has_moved,
        }  # fmt: skip
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plainly.items()}


def as_json(told: Told) -> str:
    """`record` as strict JSON on a line."""
    return _terminal.as_json(record(told))


class LineView:
    """What is told as lines on the standard output, all else on the standard error.

    Lines that cannot be written, as on a full disk, are kept and tried again.
    """

    def __init__(self, line: Callable[[Told], str]) -> None:
        self._line = line
        self._waiting: list[str] = []

    def start(self, watch: Watch, *, resumed: bool) -> None:
        """Say what is watched."""
        self.note(f"{names(watch.columns)}: {'going on' if resumed else 'calibrated'} after {watch.rows:,} rows")

    def show(self, watch: Watch, rows: Rows, told: list[Told]) -> None:
        """Print what is told at once."""
        was_waiting = bool(self._waiting)
        self._waiting += map(self._line, told)
        if self._waiting:
            try:
                _write("\n".join(self._waiting) + "\n")
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                if not was_waiting:
                    self.note(f"the standard output cannot be written: {error.strerror}; trying again")
                return
            self._waiting.clear()

    def note(self, text: str) -> None:
        """Say it, where there is room to."""
        try:
            say(text, err=True)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._waiting:
            self.note(f"{len(self._waiting):,} lines were never written to the standard output")


def _write(text: str) -> None:
    """Write to the standard output, past its buffer where it has a file: what failed is not written later."""
    try:
        handle = sys.stdout.fileno()
    except (OSError, AttributeError, ValueError):
        click.echo(text, nl=False, file=sys.stdout)
        return
    sys.stdout.flush()
    data = text.encode(sys.stdout.encoding, "evtkit")
    while data:
        data = data[os.write(handle, data) :]
