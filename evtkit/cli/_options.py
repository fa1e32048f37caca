"""Options that several commands share, and what they amount to."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit._common.tables import Table

CALIBRATE = 1000
"""Rows that calibrate a stream detector."""

PICTURES = (".png", ".svg", ".pdf", ".jpg")
"""Formats of pictures."""

METHODS = ("mle", "pwm", "zhang-stephens", "moments")


class Finite(click.types.FloatParamType):
    """A number; NaN and infinity are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class FiniteRange(Finite, click.FloatRange):
    """A number in a range, whose help names its ends."""


FILE = click.argument("file", metavar="FILE")


def columns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which columns of the file, and what is between them."""
    for option in (
        click.option(
            "--separator", metavar="CHAR", callback=_separator,
            help="Between the cells of a CSV file: a character, '\\t', or a name such as tab, semicolon or space (any "
            "run of blanks); default a comma.",
        ),
        click.option(
            "--column", "-c", "columns", multiple=True, metavar="NAME",
            help="A column; repeat it for several. Default: every numeric column.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _separator(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    from evtkit._common.tables.dialect import SEPARATORS

    return None if value is None else SEPARATORS.get(value, value)


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which columns of the file, and how it is written; the command takes the latter as `dialect`."""

    def pack(
        separator: str | None, decimal: str, encoding: str | None, comment: str | None, header: bool | None,
        na: tuple[str, ...], thousands: str | None, **others: Any,
    ) -> Any:  # fmt: skip
        from evtkit._common.tables import Dialect

        return command(dialect=Dialect(separator, decimal, encoding, comment, header, na, thousands), **others)

    packed: Callable[..., Any] = functools.wraps(command)(pack)
    for option in (
        click.option(
            "--encoding", metavar="NAME", help="Of a CSV file, such as latin-1; default UTF-8, or as its mark says.",
        ),
        click.option("--comment", metavar="TEXT", help="Lines that begin with TEXT, such as '#', are passed over."),
        click.option(
            "--header/--no-header", default=None,
            help="Whether the first line names the columns; without names they are c1, c2, …. Default: it does, and is "
            "refused if it could be data.",
        ),
        click.option("--decimal", type=click.Choice([".", ","]), default=".", show_default=True,
                     help="Decimal mark; with a comma, cells are separated by semicolons unless told otherwise."),
        click.option("--thousands", type=click.Choice([".", ",", "'", " "]), default=None,
                     help="What parts thousands, as the point in 1.234,5 does; default nothing."),
        click.option("--na", multiple=True, metavar="TEXT",
                     help="A cell that stands for a missing value, such as -999; repeat it for several. Besides empty "
                     "cells, NA, N/A, null and NaN."),
        click.option(
            "--missing", type=click.Choice(["error", "drop"]), default="error", show_default=True,
            help="Missing values: refuse them, or let each column do with the values it has.",
        ),
        click.option("--skip", multiple=True, metavar="NAME", help="A column to leave out; repeat it for several."),
        columns_options,
    ):  # fmt: skip
        packed = option(packed)
    return packed


def tail_options(
    command: Callable[..., Any], sides: tuple[str, ...] = ("upper", "lower"), quantile: str = ""
) -> Callable[..., Any]:
    """Where the tail begins, on which side, and how it is fitted."""
    for option in (
        click.option(
            "--method", type=click.Choice(METHODS), default=None,
            help="Estimator; default mle, the exact maximum likelihood.",
        ),
        click.option(
            "--side", type=click.Choice(sides), default=None,
            help="The tail of large values or of small ones; default upper.",
        ),
        click.option(
            "--n-excess", type=click.IntRange(min=1), metavar="K", help="The tail is the K most extreme values.",
        ),
        click.option("--threshold", type=Finite(), metavar="U", help="The tail begins at U, in the units of the data."),
        click.option(
            "--quantile", type=FiniteRange(0.0, 1.0, min_open=True, max_open=True), metavar="Q",
            help="The tail begins at this quantile; default: the most extreme tenth, at most 50 values or the square "
            f"root of their number{quantile}. Of --quantile, --threshold and --n-excess give one at most.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def time_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The rows' dates, and what periods are counted in."""
    for option in (
        click.option(
            "--per", callback=_per, metavar="PERIOD",
            help="What return periods count: year, month, week, day or hour, by the dates; or a number of rows. "
            "Default: rows.",
        ),
        click.option(
            "--time", "-t", metavar="NAME",
            help="The column of dates; default: the only one, if its cells are such as 2026-01-31 or 2026-01-31 12:30.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _per(_context: click.Context, _option: click.Parameter, value: str | None) -> str | float | None:
    from evtkit.dated.dates import PERIODS

    if value is None or value in PERIODS:
        return value
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 < number < float("inf"):
        raise click.BadParameter(f"must be one of {', '.join(PERIODS)}, or a number of rows, got {value!r}")
    return number


def clean_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--clean``: of a tail that is fitted once."""
    return click.option(
        "--clean/--no-clean", default=None,
        help="Leave all values that stand apart out of the fit, for data that may hold outliers, or none. Default: "
        "gross outliers, if no rule for the threshold is given.",
    )(command)  # fmt: skip


def detector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a stream is watched: the arguments of `evtkit.Spot`, None where the default is wanted."""
    for option in (
        click.option("--max-excess", type=int, metavar="K", help="Excesses kept a tail, the newest; default 1000."),
        click.option(
            "--clean/--no-clean", default=None,
            help="Leave out of the calibration all that stands apart, or nothing; default: gross outliers.",
        ),
        click.option(
            "--on-alarm", type=click.Choice(["impute", "ignore", "learn"]),
            help="What is learnt of an alarm: what the tail can account for (default), nothing, or its value.",
        ),
        click.option(
            "--depth", type=int, metavar="D",
            help="A stream that moves is followed by the mean of D rows; default 100; 0: it is not followed.",
        ),
        click.option(
            "--risk", type=float, metavar="P",
            help="Probability that an ordinary row raises an alarm; default 1e-4.",
        ),
        click.option(
            "--calibrate", type=click.IntRange(min=1), metavar="N",
            help=f"The first N rows calibrate; default {CALIBRATE}.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``: for programs."""
    return click.option("--json", "json_", is_flag=True, help="Print strict JSON (NaN and infinities are null).")(
        command
    )


def rule(quantile: float | None, threshold: float | None, n_excess: int | None) -> dict[str, float]:
    """The one way asked for to choose the threshold; none of them is that of `evtkit.fit_tail`."""
    given = {"quantile": quantile, "threshold": threshold, "n_excess": n_excess}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise click.UsageError(f"{flags} exclude each other; give one")
    return chosen


def check_picture(path: str | Path, flag: str) -> None:
    """Refuse a suffix that says no format of pictures, before any work is done."""
    if Path(path).suffix.lower() not in PICTURES:
        raise click.UsageError(f"{flag} must end in {', '.join(PICTURES)}, got {str(path)!r}")


def check_missing(table: Table, file: str, missing: str) -> None:
    """Refuse missing values unless they are to be dropped."""
    if missing == "error" and table.missing.any():
        counts = [f"{m} in {c!r}" for c, m in zip(table.columns, table.missing, strict=True) if m]
        more = f" and in {len(counts) - 12} more columns" if len(counts) > 12 else ""
        place = int((table.missing > 0).argmax())
        row = int((table.values[:, place] != table.values[:, place]).argmax()) + 1  # only NaN is not itself
        raise ValueError(
            f"{file} has missing values, of {len(table.values)} rows: {', '.join(counts[:12])}{more}; leave them out "
            f"with --missing drop (the first of {table.columns[place]!r} is in row {row})"
        )


def left_out(table: Table) -> list[str]:
    """What is not in the numbers, for the reader: missing values by column, and whole columns."""
    absent = {column: int(m) for column, m in zip(table.columns, table.missing, strict=True) if m}
    lines = []
    if absent:
        counts = ", ".join(f"{m:,} in {column}" for column, m in list(absent.items())[:12])
        more = f" and in {len(absent) - 12} more columns" if len(absent) > 12 else ""
        lines.append(f"missing values left out, of {len(table.values):,} rows: {counts}{more}")
    if table.skipped:
        shown = ", ".join(map(str, table.skipped[:12]))
        more = f" and {len(table.skipped) - 12} more; --json has them all" if len(table.skipped) > 12 else ""
        lines.append(f"columns left out: {shown}{more}")
    return lines


def skipped(table: Table) -> list[dict[str, str]]:
    """Columns left out and why, for the JSON document."""
    return [{"column": column, "reason": reason} for column, reason in table.skipped]
