"""``evtkit watch``: alarms on a stream, as its lines arrive."""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evtkit._common.text import plain
from evtkit.cli import _options

if TYPE_CHECKING:
    from evtkit.cli.watch.lines import Lines
    from evtkit.cli.watch.outputs import Executor
    from evtkit.cli.watch.rows import RowReader
    from evtkit.cli.watch.stop import Stop
    from evtkit.cli.watch.views import View
    from evtkit.cli.watch.watching import Watch

__all__ = ["watch_command"]

ALARM = 1
"""Exit code if an event began."""

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
@click.option("--side", type=click.Choice(["upper", "lower", "both"]), help="Which extremes; default both.")
@click.option("--quantile", type=float, metavar="Q", help="The tail begins at this quantile; default 0.98.")
@_options.detector_options
@click.option(
    "--season", metavar="day,week",
    help="Judge each row by what is usual at its hour (hour, day, week, year, or seconds); needs times in --label, "
    "or --pace, and calibrates on four cycles.",
)  # fmt: skip
@click.option("--budget", metavar="N per PERIOD", help="Instead of --risk: events by chance, such as '1 per week'.")
@click.option(
    "--pace", type=_options.FiniteRange(min=0.0, min_open=True), metavar="SECONDS",
    help="From row to row; default: by the times in --label.",
)  # fmt: skip
@click.option(
    "--quiet", type=int, metavar="ROWS", help="An event is over after so many rows without an alarm; default 50."
)
@click.option(
    "--cooldown", type=int, metavar="ROWS", help="After an event a column begins none for so long; default 0."
)
@click.option("--need", type=int, nargs=2, metavar="M N", help="An event begins with M alarms in N rows; default 1 1.")
@click.option("--every-alarm", is_flag=True, help="Print every alarm of an event too.")
@click.option(
    "--every", type=_options.FiniteRange(min=0.0, min_open=True), metavar="SECONDS",
    help="Say what was seen so far this often (at the end, and on SIGUSR1, it is said anyway).",
)  # fmt: skip
@click.option("--exec", "program", metavar="COMMAND", help="Run it for each event, as JSON on its standard input.")
@click.option("--prometheus", metavar="FILE.prom", help="Keep counters and levels in a file for a node exporter.")
@click.option("--backtest", is_flag=True, help="What would have been told of FILE, at which risks.")
@click.option("--picture", metavar="FILE.png", help="With --backtest of one column: draw it.")
@click.option("--state", metavar="STATE.json", help="Go on from this file if it exists, and keep it up to date.")
@click.option(
    "--save-every", type=_options.FiniteRange(min=0.0), default=10.0, show_default=True, metavar="SECONDS",
    help="How often --state and --prometheus are written while lines come, besides at the end.",
)  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="At the end of FILE, wait for more of it, by its name.")
@click.option("--live", is_flag=True, help="A view of all columns on the terminal.")
@click.option("--json", "json_", is_flag=True, help="Print events as JSON, one a line (JSON Lines).")
def watch_command(
    file: str, columns: tuple[str, ...], separator: str | None, label: str | None, missing: str | None, malformed: str,
    calibrate: int | None, budget: str | None, pace: float | None, quiet: int | None, cooldown: int | None,
    need: tuple[int, int] | None, every_alarm: bool, every: float | None, program: str | None, prometheus: str | None,
    backtest: bool, picture: str | None, state: str | None, save_every: float, follow: bool, live: bool, json_: bool,
    **detector: Any,
) -> None:  # fmt: skip
    """Watch the columns of FILE, or of the standard input (-), and print an event as soon as its line has arrived.

    The first rows calibrate; from then on every row is judged by what came before it, and learnt. An alarm is a value
    more improbable than --risk, which is that of an ordinary row, all columns together. Alarms that belong together are
    one event, told when it begins and when it is over. Rows count from 1, the first under the header. A line is a row:
    a cell may be quoted, but not hold a line break.

    With --state, what was learnt is kept in a file. Where it exists nothing is calibrated anew, FILE is read on after
    the rows that were seen, and the rows of the standard input are all new. Ctrl-C, SIGTERM and SIGHUP write the state
    and end as the end of the stream does, unless the command was started with the signal ignored, as by nohup. After a
    kill, the rows since the last write are seen once more, and events told again have the same id.

    The exit code is 0 if no event began, 1 if one did, 2 for wrong usage and what cannot be read, and 3 for a failure
    of evtkit itself.

    \b
    Examples:
      evtkit watch latency.csv --label time --budget "1 per week"
      tail -n +1 -f latency.csv | evtkit watch - --json | tee events.jsonl
      evtkit watch latency.csv --follow --live --state watch.json
      evtkit watch latency.csv --backtest -c p99 --picture p99.png
    """  # noqa: D301
    from evtkit.cli.watch import summary
    from evtkit.cli.watch.lines import Lines, Position, open_file
    from evtkit.cli.watch.lock import locked
    from evtkit.cli.watch.outputs import Executor
    from evtkit.cli.watch.rows import RowReader
    from evtkit.cli.watch.stop import Stop
    from evtkit.cli.watch.watching import Watch
    from evtkit.cli.watch.watching import detector as make_detector

    if live and json_:
        raise click.UsageError("--live and --json exclude each other; give one")
    if follow and file == "-":
        raise click.UsageError("--follow is for files; the standard input is read until it is closed")
    if budget is not None and detector.get("risk") is not None:
        raise click.UsageError("--budget and --risk exclude each other; give one")
    if backtest and (state or follow or live):
        raise click.UsageError("--backtest reads a file once; --state, --follow and --live are not for it")
    if picture is not None and not backtest:
        raise click.UsageError("--picture is for --backtest")
    if picture is not None:
        _options.check_picture(picture, "--picture")
    options = {name: value for name, value in detector.items() if value is not None}
    if missing is not None:
        options["nonfinite"] = "skip" if missing == "drop" else "raise"
    events = {"quiet": quiet, "cooldown": cooldown, **dict(zip(("need", "within"), need or (None, None), strict=True))}
    events = {name: value for name, value in events.items() if value is not None}
    if state is not None and not Path(state).absolute().parent.is_dir():
        raise ValueError(f"cannot write {state}: {Path(state).parent} is not a folder")
    with ExitStack() as stack:
        if state is not None:
            stack.enter_context(locked(state))
        watch = Watch.load(state, columns, **options, **events) if state and Path(state).exists() else None
        of_detector = watch.detector if watch else make_detector(options)  # refuses what is out of range at once
        piped = file == "-" or not Path(file).is_file()  # nothing to come back to
        stream = sys.stdin.buffer if file == "-" else stack.enter_context(open_file(file))
        name = "the standard input" if file == "-" else plain(file)
        stop = stack.enter_context(Stop())
        view = stack.enter_context(_view(name, live=live, json=json_))
        outputs = Executor(program, view.note) if program else None
        lines = Lines(stream, file, follow=follow, partial=not (state or follow), note=view.note)
        if watch is not None and not piped and watch.position != Position():
            _resume(lines, watch, file, view)
        reader = RowReader(
            lines, name, view.note if malformed == "skip" else None, watch.header if watch else None,
            separator=separator or ("\t" if file.lower().endswith(".tsv") else ","), label=label,
            columns=watch.columns if watch else columns, finite=of_detector.nonfinite == "raise",
        )  # fmt: skip
        if backtest:
            from evtkit.cli.watch.backtest import run_backtest

            rows = reader.all(_WAIT, stop)
            assert reader.cells is not None
            run_backtest(rows, reader.cells.columns, calibrate, options, events, pace, picture)
            return
        resumed = watch is not None
        if watch is None:
            watch = _calibrated(reader, view, calibrate, options, events, budget, pace, stop)
        watch.every_alarm = every_alarm
        view.start(watch, resumed=resumed)
        begun = _go_on(reader, lines, watch, view, stop, state, save_every, every, outputs, prometheus,
                       keeps_position=not piped)  # fmt: skip
        if outputs:
            outputs.close()
        for line in summary.of_watch(watch):
            view.note(line)
        if lines.left and not stop:
            view.note(
                f"the last line of {name} has no line break yet, and is left for the next time: {plain(lines.left)}"
            )
    if begun:
        click.get_current_context().exit(ALARM)


def _resume(lines: Lines, watch: Watch, file: str, view: View) -> None:
    """Go on where the rows seen end: in the file, in the one that rotation renamed, or at the start of a new one."""
    found = lines.go_on(watch.position)
    if found is None:
        seen = f"{watch.position.lines:,} lines"
        view.note(f"{plain(file)} is not the file whose {seen} were seen; reading it from its beginning")
    elif found != file:
        view.note(f"{plain(file)} was rotated; reading the rest of {plain(found)} first")


def _calibrated(
    reader: RowReader, view: View, count: int | None, options: dict[str, Any], events: dict[str, Any],
    budget: str | None, pace: float | None, stop: Stop,
) -> Watch:  # fmt: skip
    """A new detector, from the first rows."""
    from evtkit.cli.watch import summary
    from evtkit.cli.watch.clock import rows_to_calibrate, seconds_a_row
    from evtkit.cli.watch.watching import Watch, detector

    rows = reader.first(count or _options.CALIBRATE, _WAIT, stop)
    assert reader.cells is not None  # it has read rows
    if reader.cells.skipped:
        view.note(f"not numeric, left out: {', '.join(map(plain, reader.cells.skipped))}")
    given, pace = pace, pace or seconds_a_row(rows.labels)
    if budget is not None:
        options = {**options, "risk": summary.budget_risk(budget, pace)}
    chosen = detector(options)
    if count is None and (wanted := rows_to_calibrate(chosen, pace, rows.n_lines)) > rows.n_lines:
        view.note(f"calibrating on {wanted:,} rows: four cycles of the longest season")
        rows = reader.more(rows, wanted, _WAIT, stop)
    watch = Watch.fit(rows, reader.cells.columns, chosen, reader.cells.line, pace=given, **events)
    for line in summary.of_calibration(watch, pace):
        view.note(line)
    return watch


def _go_on(
    reader: RowReader, lines: Lines, watch: Watch, view: View, stop: Stop, state: str | None, save_every: float,
    every: float | None, outputs: Executor | None, prometheus: str | None, *, keeps_position: bool,
) -> int:  # fmt: skip
    """Watch until the rows end or somebody stops it; how many events began.

    The state is written between two pieces of work, and where a line is refused. Where the reader of the events has
    gone it is not: what was not told is told the next time.
    """
    from evtkit.cli.watch import summary
    from evtkit.cli.watch.lines import Position
    from evtkit.cli.watch.outputs import write_metrics

    before, saved, unsaved, failed = watch.events.total, -math.inf, True, False
    clock = summary.Clock(every)

    def save() -> None:
        nonlocal failed
        try:
            if state is not None:
                watch.position = lines.position if keeps_position else Position()
                watch.save(state)
            if prometheus is not None:
                write_metrics(prometheus, watch)
        except OSError as error:  # a full disk, say; it may have room the next time
            if not failed:
                view.note(f"cannot write {error.filename or state or prometheus}: {error.strerror}; trying again")
            failed = True
        else:
            failed = False

    with summary.on_signal(clock):
        try:
            while not (reader.ended or stop):
                rows = reader.read(_WAIT)
                told = watch.update(rows) if rows.n_lines else []
                view.show(watch, rows, told)
                for repeat in watch.repeats if rows.n_lines else ():
                    view.note(summary.of_repeat(repeat))
                if outputs and told:
                    outputs.run(told)
                unsaved = unsaved or rows.n_lines > 0
                if unsaved and time.monotonic() - saved >= save_every:
                    save()
                    saved, unsaved = time.monotonic(), failed
                if clock.is_time():
                    for line in summary.of_watch(watch):
                        view.note(line)
        except ValueError:
            save()
            raise
    save()
    if failed:
        view.note("what was learnt since the last write is lost: it could not be written at the end either")
    return watch.events.total - before


def _view(name: str, *, live: bool, json: bool) -> View:
    """The view asked for; where there is no terminal, lines."""
    if live and sys.stdout.isatty():
        from evtkit.cli.watch.live import LiveView

        return LiveView(name)
    from evtkit.cli.watch.views import LineView, as_json, as_text

    return LineView(as_json if json else as_text)
