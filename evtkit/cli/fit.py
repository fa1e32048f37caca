"""``evtkit fit``: threshold, shape, scale and return levels of columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from evtkit._common.text import counted
from evtkit.cli import _options
from evtkit.cli._report import check_output, number, print_json, print_table, write_records
from evtkit.cli._terminal import say

if TYPE_CHECKING:
    from evtkit._common.tables import Dialect
    from evtkit.tail import Tail

__all__ = ["fit_command"]


@click.command("fit", short_help="Fit tails: threshold, shape, scale, return levels.")
@_options.FILE
@_options.table_options
@_options.tail_options
@_options.time_options
@_options.clean_option
@click.option(
    "--return-period",
    "-m",
    "periods",
    type=_options.FiniteRange(0.0, min_open=True),
    multiple=True,
    metavar="M",
    help="Also the level exceeded once in M observations, or in M years with --per year, with its interval; repeat it "
    "for several.",
)
@click.option(
    "--confidence",
    type=_options.FiniteRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of the profile-likelihood intervals.",
)
@click.option(
    "--by",
    metavar="COLUMN",
    help="A tail for every key in this column of a long table, of the values in the column named by -c. FILE may be a "
    "pattern, such as 'part-*.parquet': Parquet files are read some rows at a time.",
)
@click.option("--save", metavar="TAIL.npz", help="Save the fitted tails, for `evtkit score --tail`.")
@click.option("--output", "-o", metavar="FILE", help="Also write the results to a .csv, .parquet or .json file.")
@_options.as_json
def fit_command(
    file: str, columns: tuple[str, ...], skip: tuple[str, ...], missing: str, dialect: Dialect,
    quantile: float | None, threshold: float | None, n_excess: int | None, side: str | None, method: str | None,
    time: str | None, per: str | float | None, clean: bool | None, periods: tuple[float, ...],
    confidence: float, by: str | None, save: str | None, output: str | None, json_: bool,
) -> None:  # fmt: skip
    """Fit the tail of every numeric column of FILE, a CSV or Parquet file or - for CSV on the standard input.

    The observations beyond the threshold are fitted by a generalised Pareto distribution with shape ξ and scale σ.
    ξ > 0 is a heavy tail, ξ < 0 one that ends at a finite value, the endpoint. Standard errors exist for ξ > −0.5 only.

    \b
    Examples:
      evtkit fit rain.csv
      evtkit fit rain.csv --threshold 30 --return-period 3652.5 --return-period 36525
      evtkit fit rain.csv --threshold 30 --time day --per year -m 10 -m 100
      evtkit fit prices.parquet -c AAPL -c MSFT --side lower --quantile 0.95 --json
      evtkit fit history.csv --save tail.npz && evtkit score today.csv --tail tail.npz
      zcat big.csv.gz | evtkit fit - --missing drop
      evtkit fit 'part-*.parquet' --by sensor -c value --output tails.parquet
      evtkit fit pegel.csv --decimal , --encoding latin-1 --comment '#' --na -999 --missing drop
    """  # noqa: D301
    from evtkit._common.tables import read_table
    from evtkit.cli._model import dates_of, fit_columns, return_level

    rule = _options.rule(quantile, threshold, n_excess)
    check_output(output)
    if by is not None:
        given = {"--side lower": side == "lower", "--time": time, "--per": isinstance(per, str), "--clean": clean,
                 "--skip": skip}  # fmt: skip
        if wrong := [name for name, value in given.items() if value]:
            raise ValueError(f"--by does not go with {wrong[0]}")
        _fit_by(
            file, by, columns, missing, dialect, rule | {"clean": clean}, method or "mle", per, periods, confidence,
            save, output, json_,
        )  # fmt: skip
        return
    table = read_table(file, columns, skip=skip, dialect=dialect, dated=True, time=time)
    _options.check_missing(table, file, missing)
    dates = dates_of(table)
    tail = fit_columns(
        table.values, table.columns, dates, side=side or "upper", method=method or "mle", clean=clean, **rule
    )
    if isinstance(per, str) and dates is None:
        raise ValueError(f"--per {per} needs dates, and no column of {file} has them all; name it with --time")
    levels = [(m, *return_level(tail, m, confidence, per or 1.0)) for m in periods]
    if save:
        tail.save(save)

    rows = _rows(tail, table.missing, levels, confidence)
    content = {
        "file": file, "rows": len(table.values), "rule": rule or None, "side": tail.side, "method": tail.method,
        "skipped_columns": _options.skipped(table), "per": per, "dates": _dates(tail, table.time_column),
        "columns": rows, "notes": tail.notes,
    }  # fmt: skip
    if output:
        write_records(output, "fit", content, [_flat(row) for row in rows])
    if json_:
        print_json("fit", content)
        return
    notes = [f"times: {tail.dates.description}, by column {table.time_column}"] if tail.dates is not None else []
    notes += _options.left_out(table)
    if save:
        notes.append(f"saved to {save}")
    notes += [f"note: {line}" for line in tail.notes]
    _print(
        rows, f"{tail.side.capitalize()} tails of {'standard input' if file == '-' else file}", confidence, per, notes
    )


def _fit_by(
    file: str, by: str, columns: tuple[str, ...], missing: str, dialect: Dialect, rule: dict[str, Any], method: str,
    per: str | float | None, periods: tuple[float, ...], confidence: float, save: str | None, output: str | None,
    json_: bool,
) -> None:  # fmt: skip
    """The tails of the keys of a long table, shown, saved and written as those of columns are."""
    from evtkit.cli._model import return_level
    from evtkit.cli._parts import fit_by

    tail, absent, column, files = fit_by(file, by, columns, missing, dialect, rule, method)
    levels = [(m, *return_level(tail, m, confidence, per or 1.0)) for m in periods]
    if save:
        tail.save(save)
    rows = _rows(tail, absent, levels, confidence)
    content = {
        "file": file, "files": files, "rows": int((tail.n + absent).sum()), "by": by,
        "rule": {name: value for name, value in rule.items() if name != "clean"} or None,
        "side": tail.side, "method": tail.method, "per": per, "columns": rows, "notes": tail.notes,
    }  # fmt: skip
    if output:
        write_records(output, "fit", content, [_flat(row) for row in rows])
    if json_:
        print_json("fit", content)
        return
    notes = [f"missing: {counted(int(absent.sum()), 'value')}"] if absent.any() else []
    notes += [f"saved to {save}"] if save else []
    notes += [f"note: {line}" for line in tail.notes]
    what = f"column {column} of " if column else ""
    _print(rows, f"Upper tails of {what}{file} by {by}", confidence, per, notes)


def _dates(tail: Tail, column: str | None) -> dict[str, Any] | None:
    """What the dates say, for the JSON document."""
    if tail.dates is None:
        return None
    first, last = (str(t) for t in tail.dates.time[[0, -1]])
    return {
        "column": column, "first": first, "last": last, "zone": tail.dates.zone, "per_year": tail.dates.per_year,
        "absent": tail.dates.n_absent, "repeated": tail.dates.n_repeated, "unordered": tail.dates.unordered,
    }  # fmt: skip


def _rows(tail: Tail, missing: Any, levels: list[tuple[Any, ...]], confidence: float) -> list[dict[str, Any]]:
    """One dictionary a column, as in the JSON document."""
    from evtkit.fit import FitStatus

    assert tail.names is not None  # of the columns
    endpoint = tail.endpoint
    return [
        {
            "column": name, "n": int(tail.n[i]), "missing": int(missing[i]), "mean": tail.mean[i], "std": tail.std[i],
            "threshold": tail.threshold[i], "n_excess": int(tail.n_excess[i]),
            "exceedance_rate": tail.n_excess[i] / tail.n[i], "status": FitStatus(int(tail.status[i])).name,
            "xi": tail.xi[i], "se_xi": tail.se_xi[i], "sigma": tail.sigma[i], "se_sigma": tail.se_sigma[i],
            "loglik": tail.loglik[i], "endpoint": endpoint[i],
            "return_levels": [
                {"period": m, "level": level[i], "lower": low[i], "upper": high[i], "confidence": confidence}
                for m, level, low, high in levels
            ],
        }
        for i, name in enumerate(tail.names.tolist())
    ]  # fmt: skip


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its return levels in columns of their own."""
    flat = {name: value for name, value in row.items() if name != "return_levels"}
    for item in row["return_levels"]:
        for name in ("level", "lower", "upper"):
            flat[f"{name}_{item['period']:g}"] = item[name]
    return flat


def _print(
    rows: list[dict[str, Any]], title: str, confidence: float, per: str | float | None, notes: list[str]
) -> None:
    fits = [
        [
            row["column"], f"{row['n']:,}", number(row["threshold"]), f"{row['n_excess']:,}",
            _with_error(row["xi"], row["se_xi"]), _with_error(row["sigma"], row["se_sigma"]), number(row["endpoint"]),
            row["status"],
        ]
        for row in rows
    ]  # fmt: skip
    header = ["column", "n", "threshold", "excesses", "shape ξ", "scale σ", "ends at", "status"]
    print_table(title, header, fits)
    levels = [
        [
            row["column"], _period(item["period"], per), number(item["level"]),
            f"{number(item['lower'])} … {number(item['upper'])}",
        ]
        for row in rows
        for item in row["return_levels"]
    ]  # fmt: skip
    if levels:
        header = ["column", "once in", "level", f"{100 * confidence:g} % interval"]
        say()
        print_table("Return levels, with profile-likelihood intervals", header, levels)
    for note in notes:
        say(note)


def _period(period: float, per: str | float | None) -> str:
    if isinstance(per, str):
        return f"{number(period, 10)} {per}{'s' * (period != 1.0)}"
    return number(period, 10) if per is None else f"{number(period, 10)} × {number(per, 10)}"


def _with_error(value: float, error: float) -> str:
    """An estimate to the two digits of its standard error, if it has one."""
    if not error > 0.0:
        return number(value, 3)
    decimals = 1 - math.floor(math.log10(error))
    if not 0 <= decimals <= 6:
        return f"{number(value, 4)} ± {number(error, 2)}"
    return f"{value:,.{decimals}f} ± {error:.{decimals}f}"
