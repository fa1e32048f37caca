"""Text into cells: every row has as many as the first one, or is refused by its number."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.tables.hints import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from evtkit._common.tables.dialect import Dialect

__all__ = ["cut"]


def cut(text: str, path: str, dialect: Dialect) -> tuple[list[str], pl.Series]:
    """The first row's cells, and those of all rows one after another; without blanks around.

    A blank line is a row without values; those at the beginning and at the end are none.
    """
    import polars as pl  # deferred: takes as long to import as everything else together

    between = dialect.between(path)
    text = text.lstrip("\n").rstrip("\n ")
    if not text.strip():
        raise ValueError(f"{path} is empty")
    if '"' not in text and dialect.comment is None and between != " " and _is_regular(text.encode(), between):
        width = text.partition("\n")[0].count(between) + 1
        cells = (
            pl.Series([text.replace("\n", between)]).str.split(between).explode()
        )  # one column: there may be thousands
    else:
        rows = _rows(text, path, between, dialect)
        width = len(rows[0])
        cells = pl.Series([cell for row in rows for cell in row], dtype=pl.String)
    cells = cells.str.strip_chars()
    return cells.head(width).to_list(), cells


def _is_regular(data: bytes, between: str) -> bool:
    """Whether no line is blank and each has as many separators as the first: then rows need not be told apart."""
    codes = np.frombuffer(data + b"\n", np.uint8)
    ends = np.flatnonzero(codes == 10)
    if np.any(np.diff(ends, prepend=-1) == 1):
        return False
    seen = np.searchsorted(np.flatnonzero(codes == ord(between)), ends)
    counts = np.diff(seen, prepend=0)
    return bool(np.all(counts == counts[0]))


def _rows(text: str, path: str, between: str, dialect: Dialect) -> list[list[str]]:
    lines = _Lines(text, dialect.comment, blanks=between == " ")
    reader = csv.reader(lines, delimiter=between, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not rows and not row:
                continue  # above the header
            if rows and row and len(row) != len(rows[0]):
                first = "row 1" if dialect.header is False else "the header"
                number = len(rows) + (dialect.header is False)
                raise ValueError(
                    f"row {number} of {path} (line {lines.number}) has {_cells(len(row))}, {first} has {len(rows[0])}"
                    f"{hint(text, path, dialect)}"
                )
            rows.append(row or [""] * len(rows[0]))
    except csv.Error as error:
        raise ValueError(f"cannot read {path}: {error} in line {lines.number}") from None
    if not rows:
        raise ValueError(f"{path} is empty, but for comments")
    return rows


class _Lines:
    """Lines without comments; knows the number of the last one."""

    def __init__(self, text: str, comment: str | None, *, blanks: bool) -> None:
        self._stream, self._comment, self._blanks, self.number = io.StringIO(text), comment, blanks, 0

    def __iter__(self) -> Iterator[str]:
        within = False  # a quoted cell that goes on in the next line
        for line in self._stream:
            self.number += 1
            if self._comment is not None and not within and line.lstrip().startswith(self._comment):
                continue
            within ^= line.count('"') % 2 == 1
            if self._blanks:
                line = f"{line.replace(chr(9), ' ').strip()}\n"
            yield line if within or line.strip(" ") != "\n" else "\n"


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
