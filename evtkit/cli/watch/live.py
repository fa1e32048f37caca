"""A live view of watched columns on a terminal, drawn by rich."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Self

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evtkit._common.text import plain
from evtkit.cli._report import number
from evtkit.cli.watch.views import as_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import ConsoleOptions, RenderResult

    from evtkit._common.types import Float
    from evtkit.cli.watch.cells import Rows
    from evtkit.cli.watch.watching import Told, Watch

__all__ = ["LiveView", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_ALARM = "bold red"
_PAUSE = 0.1  # seconds between two pictures
_RATE = 3.0  # seconds over which the rate is taken
_LONGEST = 200  # values kept for the curves
_AT_ONCE = 4  # of them at most come with one picture
_NAME = 18
_LONGEST_NOTE = 2000
_FREE = 3  # cells at the right: where a line is full, the terminal's own ^C begins another one


class LiveView:
    """Alarms scroll by; below them a table of all columns."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._watch: Watch | None = None
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._drawn = 0.0
        self._times: deque[tuple[float, int]] = deque()
        self._values: deque[tuple[Float, NDArray[np.bool_]]] = deque(maxlen=_LONGEST)
        self._new: list[tuple[Float, NDArray[np.bool_]]] = []
        self._latest: Float | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._draw(self._watch)
        self._live.stop()

    def start(self, watch: Watch, *, resumed: bool) -> None:
        """Draw the first picture."""
        self._watch = watch
        self._draw(watch)

    def note(self, text: str) -> None:
        """Say it above the table."""
        self._console.print(Text(plain(text, _LONGEST_NOTE), style="dim"))

    def show(self, watch: Watch, rows: Rows, told: list[Told]) -> None:
        """Tell events at once, and draw from time to time."""
        for item in told:
            self._console.print(Text(as_text(item), style="dim" if item.kind == "end" else _ALARM))
        if len(rows.values):
            self._new.append((rows.values, watch.is_alarm))
            self._latest = rows.values[-1]
        if time.monotonic() - self._drawn >= _PAUSE:
            self._draw(watch)

    def _draw(self, watch: Watch) -> None:
        now = self._drawn = time.monotonic()
        self._gather(watch)
        self._times.append((now, watch.rows))
        while now - self._times[0][0] > _RATE:
            self._times.popleft()
        (first, before) = self._times[0]
        elapsed = now - first
        rate = (watch.rows - before) / elapsed if elapsed > 0.0 else 0.0
        picture = Group(self._title(watch, rate), self._table(watch))
        self._live.update(Padding(picture, (0, _FREE, 0, 0)), refresh=True)

    def _gather(self, watch: Watch) -> None:
        """Take new rows into the curves: each of a few, of many the most extreme of every part."""
        if not self._new:
            return
        values, alarmed = (np.concatenate(parts) for parts in zip(*self._new, strict=True))
        self._new.clear()
        for part in np.array_split(np.arange(len(values)), min(_AT_ONCE, len(values))):
            alarms = np.asarray(alarmed[part].any(axis=0))
            self._values.append((_extreme(values[part], watch.detector.side), alarms))

    def _title(self, watch: Watch, rate: float) -> Text:
        alarms, events = int(watch.alarms.sum()), watch.events.total
        kind = f"depth {watch.detector.depth}  " if watch.detector.depth else ""
        title = Text(no_wrap=True, overflow="ellipsis")
        title.append(f" {self._name}", style="bold")
        title.append(f"  row {watch.rows:,}  {rate:,.0f} rows/s  {kind}risk {watch.detector.risk:g}  ", style="dim")
        title.append(f"{events:,} event{'s' * (events != 1)}, ", style=_ALARM if events else "dim")
        title.append(f"{alarms:,} alarm{'s' * (alarms != 1)}", style=_ALARM if alarms else "dim")
        return title

    def _table(self, watch: Watch) -> Table:
        both = watch.detector.side == "both"
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=True, expand=True, header_style="dim")
        table.add_column("column", no_wrap=True, max_width=_NAME, overflow="ellipsis")
        beyond = "alarm beyond" if both else "alarm above" if watch.detector.side == "upper" else "alarm below"
        for name in ("latest", beyond, "excesses", "alarms"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("latest values", no_wrap=True, ratio=1, overflow="crop")
        levels = watch.detector.alarm_threshold.reshape(len(watch.columns), -1)
        room = max(1, self._console.height - 5)
        going_on = {channel for event in watch.events.going_on for channel in event.channels}
        order = sorted(range(len(watch.columns)), key=lambda c: (watch.columns[c] not in going_on, -watch.alarms[c]))
        for c in sorted(order[:room]):  # those in an event first, where not all have room
            name = plain(watch.columns[c])
            latest = "" if self._latest is None else number(float(self._latest[c]), 4)
            level = " … ".join(number(float(z), 4) for z in levels[c])
            alarms = int(watch.alarms[c])
            table.add_row(
                Text(name, style=_ALARM if watch.columns[c] in going_on else ""), Text(latest), Text(level),
                f"{watch.excesses[c]:,}",
                Text(f"{alarms:,}", style=_ALARM if alarms else ""),
                _Curve([(float(v[c]), bool(a[c])) for v, a in self._values], levels[c], watch.detector.side),
            )  # fmt: skip
        if len(watch.columns) > room:
            table.add_row(Text(f"… {len(watch.columns) - room} more", style="dim"))
        return table


class _Curve:
    """A sparkline as wide as there is room."""

    def __init__(self, points: list[tuple[float, bool]], levels: Float, side: str) -> None:
        self._points, self._levels, self._side = points, levels, side

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(10, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield sparkline(self._points[-options.max_width :], self._levels, self._side)


def sparkline(points: list[tuple[float, bool]], levels: Float, side: str) -> Text:
    """Values as bars, alarms among them in red, missing ones as gaps; a full bar is at the upper alarm level.

    An empty one is at the lower level; where no level is watched, or none is known, at the end of what is shown.
    """
    values = np.array([value for value, _ in points], dtype=np.float64)
    ends = [*values[np.isfinite(values)], *levels[np.isfinite(levels)]]
    text = Text(no_wrap=True, overflow="crop")
    if not ends:
        return text
    low, high = min(ends), max(ends)
    if side != "upper" and np.isfinite(levels[0]):
        low = float(levels[0])
    if side != "lower" and np.isfinite(levels[-1]):
        high = float(levels[-1])
    for value, alarm in points:
        if np.isnan(value):
            text.append(" ")
            continue
        share = (value - low) / (high - low) if high > low else 0.5
        text.append(_BARS[int(np.clip(share, 0.0, 1.0) * (len(_BARS) - 1) + 0.5)], style=_ALARM if alarm else "cyan")
    return text


def _extreme(values: Float, side: str) -> Float:
    """Of rows of values one row: what is nearest to an alarm; NaN where all are missing."""
    if side != "both":
        best = np.fmax.reduce(values) if side == "upper" else np.fmin.reduce(values)
        return np.asarray(best)
    middle = np.where(np.isfinite(values), values, 0.0).mean(axis=0)
    away = np.where(np.isnan(values), -1.0, np.abs(values - middle))
    return np.asarray(np.take_along_axis(values, away.argmax(axis=0)[None], axis=0)[0])
