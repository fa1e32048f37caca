"""How a watched stream is shown: alarms as lines for readers or for programs, or all columns on the terminal."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from evtkit.cli._report import number

if TYPE_CHECKING:
    from evtkit.cli.watch.cells import Rows
    from evtkit.cli.watch.watching import Alarm, Watch

__all__ = ["LineView", "View", "as_json", "as_text"]


class View(Protocol):
    """What a watched stream is shown by; a context manager."""

    def start(self, watch: Watch, *, resumed: bool) -> None:
        """From now on this is watched."""

    def show(self, watch: Watch, rows: Rows, alarms: list[Alarm]) -> None:
        """These rows were judged, or none were there."""

    def note(self, text: str) -> None:
        """Something else to be said."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def as_text(alarm: Alarm) -> str:
    """An alarm for readers."""
    label = "" if alarm.label is None else f"  {alarm.label}"
    sign = ">" if alarm.side == "upper" else "<"
    level = number(alarm.threshold, 6) if math.isfinite(alarm.threshold) else "all but a few"
    return (
        f"row {alarm.row}{label}  {alarm.column} {number(alarm.value, 6)} {sign} {level}  p {alarm.probability:.2g}"
    )  # fmt: skip


def as_json(alarm: Alarm) -> str:
    """An alarm for programs, strict JSON: infinities are null."""
    plain: dict[str, Any] = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in alarm._asdict().items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


class LineView:
    """An alarm a line on the standard output, all else on the standard error."""

    def __init__(self, line: Any) -> None:
        self._line = line

    def start(self, watch: Watch, *, resumed: bool) -> None:
        """Say what is watched."""
        columns = ", ".join(watch.columns[:5]) + (f" and {len(watch.columns) - 5} more" if watch.columns[5:] else "")
        self.note(f"{columns}: {'going on' if resumed else 'calibrated'} after {watch.rows:,} rows")

    def show(self, watch: Watch, rows: Rows, alarms: list[Alarm]) -> None:
        """Print the alarms at once."""
        if alarms:
            click.echo("\n".join(map(self._line, alarms)))  # which flushes

    def note(self, text: str) -> None:
        """Say it."""
        click.echo(text, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
