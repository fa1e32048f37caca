"""``evtkit watch --backtest``: what would have been told of a file, at which risks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.cli._options import CALIBRATE
from evtkit.cli._report import print_table
from evtkit.cli._terminal import say
from evtkit.cli.watch import summary
from evtkit.cli.watch.clock import row_times, rows_to_calibrate, seconds_a_row
from evtkit.cli.watch.views import as_text
from evtkit.cli.watch.watching import Told, Watch, detector
from evtkit.spot import Seasonal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit.cli.watch.cells import Rows

__all__ = ["run_backtest"]

_RISKS = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)
_MOST_EVENTS = 50


def run_backtest(
    rows: Rows, columns: Sequence[str], calibrate: int | None, options: dict[str, Any], events: dict[str, Any],
    pace: float | None, picture: str | None,
) -> None:  # fmt: skip
    """Calibrate on the first rows and judge the others, at several risks; print what would have been told.

    ValueError if there are no rows after the calibration, or a picture of several columns is wanted.
    """
    given, pace = pace, pace or seconds_a_row(rows.labels)
    calibrate = calibrate or rows_to_calibrate(detector(options), pace, CALIBRATE)
    if rows.n_lines <= calibrate:
        raise ValueError(f"a backtest needs more rows than the {calibrate:,} that calibrate, got {rows.n_lines:,}")
    if picture is not None and len(columns) != 1:
        raise ValueError(f"--picture shows one column, got {len(columns)}; choose one with --column")
    first, rest = rows.until(calibrate), rows.after(calibrate)
    asked = detector(options).risk
    table: list[tuple[str, ...]] = []
    shown: list[Told] = []
    for risk in sorted({*_RISKS, asked}, reverse=True):
        try:
            watch = Watch.fit(first, columns, detector({**options, "risk": risk}), pace=given, **events)
        except ValueError:
            if risk == asked:
                raise
            continue  # a risk beyond what the quantile allows
        if risk == asked:
            for line in summary.of_calibration(watch, pace):
                say(line)
        told = watch.update(rest)
        expected = risk * (watch.rows - watch.calibrated)
        table.append((f"{risk:g}", f"{watch.events.total:,}", f"{int(watch.alarms.sum()):,}", f"{expected:.3g}"))
        if risk == asked:
            shown = told
    title = f"{rest.n_lines:,} rows after the calibration, {len(columns)} column{'s' * (len(columns) > 1)}"
    print_table(title, ("risk", "events", "alarms", "events by chance"), table)
    over = [item for item in shown if item.kind == "end"]
    ended = {item.event.id for item in over}
    events_shown = [item for item in shown if item.kind == "end" or item.event.id not in ended]
    say(f"at risk {asked:g}:" + ("" if events_shown else " nothing"))
    for item in events_shown[:_MOST_EVENTS]:
        say(as_text(item))
    if events_shown[_MOST_EVENTS:]:
        say(f"… {len(events_shown) - _MOST_EVENTS:,} more")
    if picture is not None:
        _draw(first, rest, columns[0], options, picture, given)


def _draw(first: Rows, rest: Rows, column: str, options: dict[str, Any], picture: str, pace: float | None) -> None:
    from matplotlib.figure import Figure

    from evtkit._common.files import write_atomic
    from evtkit.plot import stream

    spot, x = detector(options), rest.values[:, 0]
    if isinstance(spot, Seasonal):
        spot.fit(first.values[:, 0], row_times(1 + first.lines, first.labels, pace))
        trace = spot.trace(x, row_times(1 + first.n_lines + rest.lines, rest.labels, pace))
    else:
        trace = spot.fit(first.values[:, 0]).trace(x)
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    stream(x, trace, figure.add_subplot(), calibration=np.asarray(first.values[:, 0]), label=column)
    path = Path(picture)
    write_atomic(path, lambda stream: figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150))
    say(f"drawn to {picture}")
