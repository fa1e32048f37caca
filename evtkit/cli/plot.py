"""``evtkit plot``: pictures of the tails of columns."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evtkit.cli import _options
from evtkit.cli._terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from evtkit._common.tables import Dialect, Table
    from evtkit.tail import Tail

__all__ = ["plot_command"]

KINDS = ("diagnostics", "probability", "quantile", "density", "return-level", "threshold", "ranking", "stream")
_LONGEST_NAME = 80  # bytes of a column in the name of a file


@click.command("plot", short_help="Pictures: can the fit be believed?")
@_options.FILE
@click.option("--kind", "-k", type=click.Choice(KINDS), default="diagnostics", show_default=True, help="Which picture.")
@_options.table_options
@partial(_options.tail_options, sides=("upper", "lower", "both"), quantile=" (of a stream 0.98, as in watch)")
@click.option(
    "--output",
    "-o",
    metavar="PICTURE",
    help="A .png, .svg, .pdf or .jpg file; default FILE-KIND.png here. Of several columns each has its name added.",
)
@_options.detector_options
@click.option("--label", "-l", metavar="NAME", help="A column of dates or numbers to draw a stream along.")
@click.option("--name", metavar="TEXT", help="What the values are, for the axes; default the column's name.")
@click.option("--unit", default="", metavar="TEXT", help="Unit of the values, for the axes.")
@click.option(
    "--per",
    type=_options.FiniteRange(0.0, min_open=True),
    default=1.0,
    metavar="N",
    help="Observations in one unit of return periods, e.g. 365.25 with --period-unit years.",
)
@click.option(
    "--period-unit", default="observations", show_default=True, metavar="TEXT", help="Unit of return periods."
)
@click.option("--dpi", type=click.IntRange(20, 1200), default=150, show_default=True, help="Resolution.")
def plot_command(
    file: str, kind: str, columns: tuple[str, ...], skip: tuple[str, ...], missing: str, dialect: Dialect,
    quantile: float | None, threshold: float | None, n_excess: int | None, side: str | None, method: str | None,
    output: str | None, label: str | None, name: str | None, unit: str, per: float, period_unit: str, dpi: int,
    **detector: Any,
) -> None:  # fmt: skip
    """Draw the tail of every numeric column of FILE, one picture each.

    \b
    diagnostics   can the fit be believed? the next four on one picture
    probability   share of excesses against the model's
    quantile      observations against the model's quantiles
    density       histogram and fitted density
    return-level  what is exceeded once in how many observations
    threshold     where does the tail begin? where mean excesses become a line, and parameters constant
    ranking       all columns of the last row, by how improbable they are given the rows before; one picture
    stream        each row judged by those before, as `evtkit watch` does: alarm levels, alarms

    Calibration, risk, depth and what is learnt of an alarm are of a stream only, as is --side both.

    \b
    Examples:
      evtkit plot rain.csv -c value --threshold 30 --name "daily rain" --unit mm --per 365.25 --period-unit years
      evtkit plot rain.csv --kind threshold --output rain-threshold.svg
      evtkit plot prices.csv --kind ranking --side lower
      evtkit plot latency.csv --kind stream --label time --risk 1e-5 --side both
    """  # noqa: D301
    from evtkit._common.tables import read_table

    rule = _options.rule(quantile, threshold, n_excess)
    of_stream = {"label": label, **detector}
    _check_kind(kind, side, of_stream, {"threshold": threshold, "n_excess": n_excess, "method": method})
    target = Path(output or f"{'stdin' if file == '-' else Path(file).name.split('.')[0]}-{kind}.png")
    _options.check_picture(target, "--output")
    table = read_table(file, columns, label=label, skip=skip, dialect=dialect)
    _options.check_missing(table, file, missing)
    side, method = side or "upper", method or "mle"
    if kind == "ranking":
        from evtkit.cli._model import fit_columns

        if len(table.values) < 2:
            raise ValueError(f"{file} has 1 row; a ranking of the last row wants others before it")
        tail = fit_columns(table.values[:-1], table.columns, side=side, method=method, **rule)
        _save(_ranking(tail, table.values[-1], table.columns), target, dpi)
        _say_left_out(table)
        return
    files = file_names(table.columns)
    for i, column in enumerate(table.columns):
        values = table.values[:, i : i + 1]
        path = target if len(table.columns) == 1 else target.with_stem(f"{target.stem}-{files[i]}")
        try:
            if kind == "stream":
                options = of_stream | {"quantile": quantile, "side": side}
                figure = _stream(values[:, 0], table.labels, options, missing, name or column, unit)
            else:
                figure = _figure(kind, values, rule, side, method, name or column, unit, per, period_unit)
        except ValueError as error:
            raise ValueError(f"column {column!r}: {error}") from error
        _save(figure, path, dpi)
    _say_left_out(table)


def _say_left_out(table: Table) -> None:
    for line in _options.left_out(table):
        say(line)


def _figure(
    kind: str, values: NDArray[np.float64], rule: dict[str, float], side: str, method: str, label: str, unit: str,
    per: float, period_unit: str,
) -> Figure:  # fmt: skip
    """The picture of one column (rows, 1)."""
    from evtkit import plot
    from evtkit.cli._model import fit_columns

    if kind == "threshold":
        return plot.threshold_choice(values[:, 0], side=side, label=label, unit=unit, marked=rule.get("threshold"))
    tail = fit_columns(values, [label], side=side, method=method, **rule)
    if count := int(tail.left_out.sum()):
        say(f"{count:,} gross outlier{'s' * (count != 1)} left out")
    if kind == "diagnostics":
        return plot.diagnostics(tail, label=label, unit=unit, per=per, period_unit=period_unit)
    if kind == "return-level":
        ax = plot.return_level(tail, label=label, unit=unit, per=per, period_unit=period_unit)
    elif kind == "probability":
        ax = plot.probability(tail)
    else:
        ax = (plot.quantile if kind == "quantile" else plot.density)(tail, label=label, unit=unit)
    return _root(ax)


def _check_kind(kind: str, side: str | None, of_stream: dict[str, Any], of_tail: dict[str, Any]) -> None:
    """Refuse options that the picture knows nothing of."""
    others = of_tail if kind == "stream" else of_stream | {"side both": True if side == "both" else None}
    if given := [f"--{name.replace('_', '-')}" for name, value in others.items() if value is not None]:
        raise click.UsageError(f"{given[0]} is not for --kind {kind}")


def _stream(
    x: NDArray[np.float64], labels: tuple[str, ...] | None, options: dict[str, Any], missing: str, name: str, unit: str
) -> Figure:
    """The picture of one column as a stream."""
    from evtkit import plot
    from evtkit.cli.watch.watching import detector

    given = {key: value for key, value in options.items() if value is not None}
    given.pop("label", None)
    n = given.pop("calibrate", _options.CALIBRATE)
    if not n < x.size:
        raise ValueError(f"rows must be more than the {n} that calibrate (--calibrate), got {x.size}")
    spot = detector(given | {"nonfinite": "skip" if missing == "drop" else "raise"}).fit(x[:n])
    time = None if labels is None else _times(labels)
    ax = plot.stream(
        x[n:], spot.trace(x[n:]), calibration=x[:n], time=time, label=name, unit=unit,
        time_label=options["label"] or "time",
    )  # fmt: skip
    return _root(ax)


def _times(labels: tuple[str, ...]) -> NDArray[Any]:
    """Labels as numbers, or else as dates."""
    import numpy as np

    for kind, is_missing in (("float64", np.isnan), ("datetime64[us]", np.isnat)):
        try:
            times = np.array(labels).astype(kind)
        except ValueError:
            continue
        if not np.any(is_missing(times)):
            return times
    raise ValueError("--label must be a column of dates (2026-01-31, with a time or without) or numbers")


def _ranking(tail: Tail, row: NDArray[np.float64], columns: tuple[str, ...]) -> Figure:
    """The picture of one row."""
    from evtkit import plot

    if any(absent := row != row):
        missing = [column for column, gone in zip(columns, absent, strict=True) if gone]
        raise ValueError(f"a ranking wants a value in every column, the last row has none in {', '.join(missing)}")
    return _root(plot.ranking(tail.rank(row)))


def _root(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes that were just drawn into have one
    return figure


def _save(figure: Figure, path: Path, dpi: int) -> None:
    from evtkit._common.files import write_atomic

    write_atomic(path, lambda stream: figure.savefig(stream, format=path.suffix[1:].lower(), dpi=dpi))
    say(f"written: {path}")


def file_names(columns: Sequence[str]) -> list[str]:
    r"""A part of a file's name for each column: different ones, the same every time, and safe on every system.

    A name that has to be changed, or differs from another one by nothing that every file system tells apart, has eight
    digits of its checksum added.

    Examples
    --------
    >>> file_names(["loss", "a b", "a/b"])
    ['loss', 'a_b-c8687a08', 'a_b-c14cddc0']
    """

    def cut(name: str) -> str:
        return name.encode()[:_LONGEST_NAME].decode(errors="ignore")

    def folded(name: str) -> str:
        return unicodedata.normalize("NFKC", name).casefold()

    safe = [cut(re.sub(r"[^\w.-]+", "_", column).strip("_.-")) or "column" for column in columns]
    alike = Counter(map(folded, safe))
    names = []
    for column, name in zip(columns, safe, strict=True):
        as_it_is = column == name and alike[folded(name)] == 1
        if not as_it_is or re.search(r"-[0-9a-f]{8}$", name):
            name = f"{name}-{hashlib.sha256(column.encode(errors='backslashreplace')).hexdigest()[:8]}"
        names.append(name)
    return names
