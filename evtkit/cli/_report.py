"""How results leave the command: tables on the terminal, strict JSON, files."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evtkit._common.text import plain, probability
from evtkit.cli._terminal import as_json, say, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SCHEMA = 1
"""Version of the JSON documents; a new one where a field changes its meaning or goes."""

_MOST_ROWS = 60
_PIPE_WIDTH = 160  # of a table that no terminal shows


def print_json(command: str, content: Mapping[str, Any]) -> None:
    """Print one JSON document, with what the output's encoding may lack as escape sequences of JSON."""
    click.echo(as_json(_document(command, content), indent=2), file=sys.stdout)


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Iterable[int] = (0,)
) -> None:
    """Print a table by rich, numbers to the right; cells without control characters."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)

    def text(cell: str, style: str = "") -> Text:
        return Text(spelled(plain(cell), console.encoding), style)

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    flush_left = set(left)
    for i, name in enumerate(header):
        table.add_column(text(name), justify="left" if i in flush_left else "right", overflow="fold")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*map(text, row))
    console.print(text(title, "bold"))
    console.print(table)
    if len(rows) > _MOST_ROWS:
        say(f"… {len(rows) - _MOST_ROWS} more; --json and --output have them all")


def write_records(path: str, command: str, content: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
    """Write to a file: the document where it ends in .json, else flat records as .csv or .parquet."""
    from evtkit._common.files import write_atomic

    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        text = json.dumps(_document(command, content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        write_atomic(path, lambda stream: stream.writelines([text.encode(errors="backslashreplace")]))
        return
    import polars as pl

    frame = pl.DataFrame([_plain(record) for record in records], infer_schema_length=None)
    write_atomic(path, frame.write_csv if suffix == ".csv" else frame.write_parquet)


def check_output(path: str | None) -> None:
    """Refuse a suffix that says no known format, before any work is done."""
    if path is not None and Path(path).suffix.lower() not in (".csv", ".parquet", ".json"):
        raise click.UsageError(f"--output must end in .csv, .parquet or .json, got {path!r}")


def number(value: float, digits: int = 4) -> str:
    """A number for reading; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{max(digits, 1)}g}" if abs(value) < 10.0**digits else _large(value, digits)


def period(log_p: float) -> str:
    """How many observations to one beyond, for reading."""
    if log_p == -math.inf:
        return "never"
    if log_p > -13.8:  # up to a million
        return f"{number(math.exp(-log_p))}"
    return probability(-log_p).replace("e+", "e") if log_p > -690.0 else f"1e{-log_p / math.log(10.0):.0f}"


def _large(value: float, digits: int) -> str:
    return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.{digits}g}"


def _document(command: str, content: Mapping[str, Any]) -> Any:
    from evtkit._common.version import __version__

    return _plain({"evtkit": __version__, "schema": SCHEMA, "command": command, **content})


def _plain(value: Any) -> Any:
    """Python's own types, None for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
