"""``evtkit score``: how improbable are the values of a file?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from evtkit._common.text import counted, probability
from evtkit.cli import _options
from evtkit.cli._report import check_output, number, period, print_json, print_table, write_records
from evtkit.cli._terminal import say

if TYPE_CHECKING:
    from evtkit._common.tables import Dialect, Table
    from evtkit.tail import Tail

__all__ = ["score_command"]

ALARM = 1
"""Exit code of an alarm."""


@click.command("score", short_help="How improbable are the values? With alarms.")
@_options.FILE
@_options.table_options
@_options.tail_options
@_options.clean_option
@click.option(
    "--tail", "saved", metavar="TAIL.npz", help="Tails saved by `evtkit fit --save`; default: fitted to FILE."
)
@click.option("--label", "-l", metavar="NAME", help="A column that names the rows, such as a date.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the last N rows; without --tail, fit to those before them.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="K",
    help="Show the K most improbable values.",
)
@click.option(
    "--alarm",
    type=_options.FiniteRange(0.0, 1.0, min_open=True, max_open=True),
    metavar="P",
    help="Exit with code 1 if a value is more improbable than P.",
)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    help="Also write all scored values, row by row, to a .csv or .parquet file (.json: the document).",
)
@_options.as_json
def score_command(
    file: str, columns: tuple[str, ...], skip: tuple[str, ...], missing: str, dialect: Dialect,
    quantile: float | None, threshold: float | None, n_excess: int | None, side: str | None, method: str | None,
    clean: bool | None, saved: str | None, label: str | None, last: int | None, top: int, alarm: float | None,
    output: str | None, json_: bool,
) -> None:  # fmt: skip
    """Score the values of FILE by their probability, and show the most improbable ones.

    P is the probability that the next observation is as extreme, with the uncertainty of the fit averaged in.

    Without --tail or --last the tails are fitted to the very rows that are scored: good to see which values stand out,
    but an extreme value then makes itself look more ordinary. At or below the threshold, and in columns without a
    fitted tail, P is a rank, (1 + number of observations as extreme)/(n + 1). "Once in" is 1/P. Rows count from 1, the
    first under the header.

    --alarm P exits with code 1 if a value is more improbable than P. It holds for each value by itself: of m ordinary
    values m·P are beyond it by chance, so choose P well below 1/m. With --tail, a numeric column more or less than the
    tail's is an error (exit code 2), unless -c or --skip says which are meant.

    \b
    Examples:
      evtkit score rain.csv --top 5
      evtkit score prices.csv --label Date --last 1 --side lower
      evtkit score today.csv --tail tail.npz --alarm 1e-5 || echo "look at this"
      evtkit score rain.csv --output scores.parquet --json
    """  # noqa: D301
    from evtkit.cli._model import fit_columns, load
    from evtkit.cli._scores import Scores

    check_output(output)
    rule = _options.rule(quantile, threshold, n_excess)
    if saved:
        given = {
            "--quantile": quantile,
            "--threshold": threshold,
            "--n-excess": n_excess,
            "--side": side,
            "--method": method,
            "--clean": clean,
        }
        if wrong := [flag for flag, value in given.items() if value is not None]:
            raise click.UsageError(f"{' and '.join(wrong)} would fit anew, but --tail is fitted already; give one")
    tail = load(saved, columns) if saved else None
    table = _read(file, columns, tail, saved, alarm, label=label, skip=skip, dialect=dialect)
    _options.check_missing(table, file, missing)
    first = 0 if last is None else len(table.values) - last
    if first < 0 or (first == 0 and last is not None and tail is None):
        wanted = f"at least {last}" if tail else f"more than {last}, to fit to those before"
        raise ValueError(f"{file} has {len(table.values)} rows; --last {last} wants {wanted}")
    if tail is None:
        past = table.values if last is None else table.values[:first]
        tail = fit_columns(past, table.columns, side=side or "upper", method=method or "mle", clean=clean, **rule)

    scores = Scores(tail, table, first)
    alarms = 0 if alarm is None else scores.alarms(alarm)
    count = int(scores.scored.size)
    if alarm is not None and not count:
        raise ValueError(
            f"{file} has no value that can be scored, so --alarm sees nothing; {scores.missing:,} are missing"
        )
    content = {
        "file": file, "tail": saved, "side": tail.side, "columns": table.columns,
        "skipped_columns": _options.skipped(table), "other_columns": table.others,
        "in_sample": saved is None and last is None,
        "notes": tail.notes_on(alarm), "scored": count, "missing": scores.missing_in, "unfitted": scores.unfitted,
        "alarm": None if alarm is None else {"p": alarm, "alarms": alarms, "expected_by_chance": alarm * count},
        "scores": [scores.record(i) for i in scores.order[:top]],
    }  # fmt: skip
    if output:
        write_records(output, "score", content, [scores.record(i) for i in scores.scored])
    if json_:
        print_json("score", content)
    else:
        _print(content, table, label)
    if alarms:
        click.get_current_context().exit(ALARM)


def _read(
    file: str, columns: tuple[str, ...], tail: Tail | None, saved: str | None, alarm: float | None, **how: Any
) -> Table:
    """The columns asked for, else the tail's; for an alarm, other numeric columns beside those are refused."""
    from evtkit._common.tables import listed, read_table

    names = columns if tail is None or tail.names is None else tail.names.tolist()
    table = read_table(file, names, **how)
    if alarm is not None and tail is not None and table.others and not columns:
        raise ValueError(
            f"{file} has numeric columns that {saved} knows nothing of, so --alarm would not see them: "
            f"{listed(table.others)}; fit them too, or leave them out with --skip NAME or -c NAME"
        )
    return table


def _print(content: dict[str, Any], table: Table, label: str | None) -> None:
    from evtkit._common.tables import listed

    beyond = "≥" if content["side"] == "upper" else "≤"
    header = ["row", *([label] if label else []), "column", "value", f"P(X {beyond} x)", "once in", ""]
    lines = [
        [
            f"{s['row']:,}", *([s["label"]] if label else []), s["column"], number(s["value"]), probability(s["log_p"]),
            period(s["log_p"]), "" if s["in_tail"] else "not in the tail",
        ]
        for s in content["scores"]
    ]  # fmt: skip
    source = content["tail"] or ("the same rows" if content["in_sample"] else "the rows before")
    notes = [f"{counted(content['scored'], 'value')} scored by the tails of {source}"]
    notes += _options.left_out(table)
    if table.others and content["tail"]:
        notes.append(f"numeric, but not scored: {listed(table.others)}")
    if content["unfitted"]:
        notes.append(
            f"{counted(content['unfitted'], 'value')} scored by rank: their columns' tails could not be fitted"
        )
    if alarm := content["alarm"]:
        notes.append(
            f"alarms: {counted(alarm['alarms'], 'value')} more improbable than {alarm['p']:g}; "
            f"{number(alarm['expected_by_chance'], 2)} expected by chance of {content['scored']:,} scored, "
            f"{sum(content['missing'].values()):,} missing"
        )
    if content["in_sample"]:
        notes.append("note: in-sample: the fit has seen these values, and an extreme one makes itself look ordinary")
    notes += [f"note: {line}" for line in content["notes"]]
    print_table("Most improbable values", header, lines, left=range(1, 2 + bool(label)))
    for note in notes:
        say(note)
