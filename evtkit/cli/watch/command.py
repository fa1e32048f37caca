"""``evtkit watch``: alarms on a stream, as its lines arrive."""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evtkit.cli import _options

if TYPE_CHECKING:
    from evtkit.cli.watch.lines import Lines
    from evtkit.cli.watch.rows import RowReader
    from evtkit.cli.watch.stop import Stop
    from evtkit.cli.watch.views import View
    from evtkit.cli.watch.watching import Watch

__all__ = ["watch_command"]

ALARM = 1
"""Exit code if there was an alarm."""

_WAIT = 0.25  # seconds between two looks at the clock, where no lines come


@click.command("watch", short_help="Alarms on a stream, as its lines arrive.")
@_options.FILE
@_options.columns_options
@click.option("--label", "-l", metavar="NAME", help="A column that names the rows, such as a time.")
@click.option(
    "--missing", type=click.Choice(["error", "drop"]), default=None,
    help="Missing values (empty, NA, NaN): refuse them (default), or pass over them and make infinite ones alarms.",
)  # fmt: skip
@click.option(
    "--malformed", type=click.Choice(["error", "skip"]), default="error", show_default=True,
    help="Lines that cannot be read: end with exit code 2, or say so and go on.",
)  # fmt: skip
@click.option("--side", type=click.Choice(["upper", "lower", "both"]), help="Which extremes; default upper.")
@click.option("--quantile", type=float, metavar="Q", help="The tail begins at this quantile; default 0.98.")
@_options.detector_options
@click.option("--state", metavar="STATE.json", help="Go on from this file if it exists, and keep it up to date.")
@click.option(
    "--save-every", type=click.FloatRange(min=0.0), default=10.0, show_default=True, metavar="SECONDS",
    help="How often --state is written while lines come, besides at the end.",
)  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="At the end of FILE, wait for more of it.")
@click.option("--live", is_flag=True, help="A view of all columns on the terminal.")
@click.option("--json", "json_", is_flag=True, help="Print alarms as JSON, one a line (JSON Lines).")
def watch_command(
    file: str, columns: tuple[str, ...], separator: str | None, label: str | None, missing: str | None, malformed: str,
    calibrate: int | None, state: str | None, save_every: float, follow: bool, live: bool, json_: bool, **detector: Any,
) -> None:  # fmt: skip
    """Watch the columns of FILE, or of the standard input (-), and print an alarm as soon as its line has arrived.

    The first rows calibrate; from then on every row is judged by what came before it, and learnt. An alarm is a value
    that an ordinary row of its column exceeds with less than the probability --risk. Rows count from 1, the first under
    the header. A line is a row: a cell may be quoted, but not hold a line break.

    With --state, what was learnt is kept in a file. Where it exists nothing is calibrated anew, FILE is read on after
    the rows that were seen, and the rows of the standard input are all new. Ctrl-C, SIGTERM and SIGHUP write the state
    and end as the end of the stream does, unless the command was started with the signal ignored, as by nohup. After a
    kill, the rows since the last write are seen once more.

    The exit code is 1 if there was an alarm in this run, 0 if there was none, and 2 for what cannot be read.

    \b
    Examples:
      evtkit watch latency.csv --label time --risk 1e-5
      tail -n +1 -f latency.csv | evtkit watch - --side both --json | tee alarms.jsonl
      evtkit watch latency.csv --follow --live --depth 200
      evtkit watch today.csv --state watch.json || echo "look at this"
    """  # noqa: D301
    from evtkit.cli.watch.lines import Lines, open_file
    from evtkit.cli.watch.rows import RowReader
    from evtkit.cli.watch.stop import Stop
    from evtkit.cli.watch.watching import Watch
    from evtkit.cli.watch.watching import detector as make_detector

    if live and json_:
        raise click.UsageError("--live and --json exclude each other; give one")
    if follow and file == "-":
        raise click.UsageError("--follow is for files; the standard input is read until it is closed")
    options = {name: value for name, value in detector.items() if value is not None}
    if missing is not None:
        options["nonfinite"] = "skip" if missing == "drop" else "raise"
    if state is not None and not Path(state).absolute().parent.is_dir():
        raise ValueError(f"cannot write {state}: {Path(state).parent} is not a folder")
    watch = Watch.load(state, columns, **options) if state and Path(state).exists() else None
    of_detector = watch.detector if watch else make_detector(options)  # refuses what is out of range before any reading
    finite = of_detector.nonfinite == "raise"
    with ExitStack() as stack:
        piped = file == "-" or not Path(file).is_file()  # nothing to come back to
        stream = sys.stdin.buffer if file == "-" else stack.enter_context(open_file(file))
        name = "the standard input" if file == "-" else file
        lines = Lines(stream, name, follow=follow, partial=not (state or follow))
        stop = stack.enter_context(Stop())
        view = stack.enter_context(_view(name, live=live, json=json_))
        was_there, first_line = watch is not None, None
        if watch is not None and not piped and watch.position.size:
            first_line = lines.resume(watch.position)
        reader = RowReader(
            lines, name, view.note if malformed == "skip" else None, first_line,
            separator=separator or ("\t" if file.lower().endswith(".tsv") else ","), label=label,
            columns=watch.columns if watch else columns, finite=finite,
        )  # fmt: skip
        if watch is None:
            watch = _calibrated(reader, view, calibrate or _options.CALIBRATE, options, stop)
        view.start(watch, resumed=was_there)
        alarms = _go_on(reader, lines, watch, view, stop, state, save_every, keeps_position=not piped)
        if lines.left and not stop:
            view.note(f"the last line of {name} has no line break yet, and is left for the next time: {lines.left}")
    if alarms:
        click.get_current_context().exit(ALARM)


def _calibrated(reader: RowReader, view: View, count: int, options: dict[str, Any], stop: Stop) -> Watch:
    """A new detector, from the first rows."""
    from evtkit.cli.watch.watching import Watch, detector

    rows = reader.first(count, _WAIT, stop)
    assert reader.cells is not None  # it has read rows
    if reader.cells.skipped:
        view.note(f"not numeric, left out: {', '.join(reader.cells.skipped)}")
    return Watch.fit(rows, reader.cells.columns, detector(options))


def _go_on(
    reader: RowReader, lines: Lines, watch: Watch, view: View, stop: Stop, state: str | None, save_every: float, *,
    keeps_position: bool,
) -> int:  # fmt: skip
    """Watch until the rows end or somebody stops it; how many alarms there were.

    The state is written between two pieces of work, and where a line is refused. Where the reader of the alarms has
    gone it is not: what was not told is told the next time.
    """
    from evtkit.cli.watch.lines import Position

    alarms, saved, unsaved = 0, -math.inf, True

    def save() -> None:
        if state is not None:
            watch.position = lines.position if keeps_position else Position()
            watch.save(state)

    try:
        while not (reader.ended or stop):
            rows = reader.read(_WAIT)
            found = watch.update(rows) if rows.n_lines else []
            view.show(watch, rows, found)
            alarms, unsaved = alarms + len(found), unsaved or rows.n_lines > 0
            if unsaved and time.monotonic() - saved >= save_every:
                save()
                saved, unsaved = time.monotonic(), False
    except ValueError:
        save()
        raise
    save()
    return alarms


def _view(name: str, *, live: bool, json: bool) -> View:
    """The view asked for; where there is no terminal, lines."""
    if live and sys.stdout.isatty():
        from evtkit.cli.watch.live import LiveView

        return LiveView(name)
    from evtkit.cli.watch.views import LineView, as_json, as_text

    return LineView(as_json if json else as_text)
