"""Options that several commands share, and what they amount to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit._common.tables import Table

QUANTILE = 0.9
"""Default threshold: the largest tenth are excesses (DuMouchel 1983's rule)."""

CALIBRATE = 1000
"""Rows that calibrate a stream detector."""

METHODS = ("mle", "pwm", "zhang-stephens", "moments")

FILE = click.argument("file", metavar="FILE")


def columns_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which columns of the file, and what is between them."""
    for option in (
        click.option("--separator", metavar="CHAR", help="Between the cells of a CSV file; default a comma."),
        click.option(
            "--column", "-c", "columns", multiple=True, metavar="NAME",
            help="A column; repeat it for several. Default: every numeric column.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which columns of the file, and how it is to be read."""
    missing = click.option(
        "--missing", type=click.Choice(["error", "drop"]), default="error", show_default=True,
        help="Missing values (empty, NA, NaN): refuse them, or let each column do with the values it has.",
    )  # fmt: skip
    return columns_options(missing(command))


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
        click.option("--threshold", type=float, metavar="U", help="The tail begins at U, in the units of the data."),
        click.option(
            "--quantile", type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True), metavar="Q",
            help=f"The tail begins at this quantile; default {QUANTILE}, the most extreme tenth{quantile}. "
            "Of --quantile, --threshold and --n-excess give one at most.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def detector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a stream is watched: the arguments of `evtkit.Spot`, None where the default is wanted."""
    for option in (
        click.option("--max-excess", type=int, metavar="K", help="Excesses kept a tail, the newest; default 1000."),
        click.option(
            "--clean/--no-clean", default=None, help="Leave what stands apart out of the calibration; default no.",
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
    """The one way asked for to choose the threshold."""
    given = {"quantile": quantile, "threshold": threshold, "n_excess": n_excess}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise click.UsageError(f"{flags} exclude each other; give one")
    return chosen or {"quantile": QUANTILE}


def check_missing(table: Table, file: str, missing: str) -> None:
    """Refuse missing values unless they are to be dropped."""
    if missing == "error" and table.missing.any():
        counts = ", ".join(f"{m} in {c!r}" for c, m in zip(table.columns, table.missing, strict=True) if m)
        raise ValueError(
            f"{file} has missing values, of {len(table.values)} rows: {counts}; leave them out with --missing drop"
        )
