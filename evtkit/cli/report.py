"""``evtkit report``: one page on one column that someone can sign."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from evtkit.cli import _options
from evtkit.cli._terminal import say

if TYPE_CHECKING:
    from evtkit._common.tables import Dialect

__all__ = ["report_command"]


@click.command("report", short_help="One page to sign: data, threshold, fit, return levels.")
@_options.FILE
@_options.table_options
@_options.tail_options
@_options.time_options
@click.option(
    "--return-period",
    "-m",
    "periods",
    type=_options.FiniteRange(0.0, min_open=True),
    multiple=True,
    metavar="M",
    help="A return period, in what --per says; repeat it for several. Default: 2, 5, 10, … 500 years.",
)
@click.option("--span", metavar="TIME", help="Events: exceedances that follow each other by at most TIME, such as 48h.")
@click.option("--season", metavar="MONTHS", help="Only these months, by their initials, such as DJF.")
@click.option(
    "--confidence",
    type=_options.FiniteRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the intervals.",
)
@click.option("--output", "-o", metavar="PAGE", help="The page; default FILE-COLUMN.html here.")
@click.option("--name", metavar="TEXT", help="What the values are; default the column's name.")
@click.option("--unit", default="", metavar="TEXT", help="Unit of the values.")
@click.option("--title", metavar="TEXT", help="The heading.")
@click.option("--note", "notes", multiple=True, metavar="TEXT", help="A remark for the page; repeat it for several.")
def report_command(
    file: str, columns: tuple[str, ...], skip: tuple[str, ...], missing: str, dialect: Dialect,
    quantile: float | None, threshold: float | None, n_excess: int | None, side: str | None, method: str | None,
    time: str | None, per: str | float | None, periods: tuple[float, ...], span: str | None, season: str | None,
    confidence: float, output: str | None, name: str | None, unit: str, title: str | None, notes: tuple[str, ...],
) -> None:  # fmt: skip
    """Write one HTML page on one column of FILE: it opens in any browser, prints, and needs nothing from elsewhere.

    The page has the data and their gaps, the evidence for the threshold, the fit and its test, whether extremes come
    evenly over time, return levels with intervals, every note that applies, and what reproduces it.

    \b
    Examples:
      evtkit report rain.csv -c rain --time day --threshold 30 --unit mm
      evtkit report sea.csv -c level --span 48h --season ONDJFM --missing drop -m 100 -m 1000
    """  # noqa: D301
    from evtkit._common.tables import listed, read_table
    from evtkit.cli._model import dates_of
    from evtkit.cli.plot import file_names
    from evtkit.reports import report

    given = {"quantile": quantile, "threshold": threshold, "n_excess": n_excess}
    rule: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if len(rule) > 1:
        _options.rule(quantile, threshold, n_excess)  # which says that one is enough
    if method not in (None, "mle"):
        raise click.UsageError(f"--method must be mle for a report, which has intervals and tests; got {method}")
    table = read_table(file, columns, skip=skip, dialect=dialect, dated=True, time=time)
    if len(table.columns) != 1:
        raise ValueError(f"a report is of one column; name it with -c, of {listed(table.columns)}")
    _options.check_missing(table, file, missing)
    dates, values = dates_of(table), table.values[:, 0]
    if dates is None and (isinstance(per, str) or span or season):
        raise ValueError(
            f"years, a span and a season need dates, and no column of {file} has them; name it with --time"
        )
    stem = "stdin" if file == "-" else Path(file).name.split(".")[0]
    path = output or f"{stem}-{file_names(table.columns)[0]}.html"
    source = None
    if file != "-":
        source = f"{Path(file).name}, SHA-256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"
    report(
        path, values, time=dates, **rule, season=season, span=span, side=side or "upper", periods=periods or None,
        per=per, level=confidence, label=name or table.columns[0], unit=unit, title=title, notes=notes,
        command=_command(click.get_current_context()), source=source,
    )  # fmt: skip
    say(f"written: {path}")


def _command(context: click.Context) -> str:
    """The command as it was given, option by option."""
    words = ["evtkit", "report"]
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in context.params or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Argument):
            words.insert(2, str(value))
        elif isinstance(value, bool):
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [parameter.opts[0], str(one).removesuffix(".0")]
    return shlex.join(words)
