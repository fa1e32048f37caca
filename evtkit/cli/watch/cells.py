"""Cells of CSV lines: which columns are numbers, the numbers in them, and what is wrong with a line."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evtkit._common.tables import MISSING, listed
from evtkit._common.text import plain
from evtkit.spot.labels import HUGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Float

__all__ = ["Cells", "Rows", "Wrong"]

_MOSTLY = 0.9  # of the cells of a column of numbers are numbers


class Wrong(NamedTuple):
    """What is wrong with a line."""

    line: int
    """Counted from 0 among those read together."""
    what: str
    """What was got, and what is wanted."""
    is_row: bool = False
    """It is a row, but for values that are not finite."""


class Rows(NamedTuple):
    """Lines as rows of numbers."""

    values: Float
    """Of shape (rows, columns); NaN is missing."""
    lines: NDArray[np.int64]
    """Which line each row was, from 0."""
    labels: Sequence[str | None]
    wrong: list[Wrong]
    n_lines: int
    """Of all the lines, those among them that are wrong."""

    @classmethod
    def none(cls) -> Rows:
        """Of no lines."""
        return cls(np.empty((0, 0)), np.empty(0, np.int64), [], [], 0)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Of the lines of all parts, one after another."""
        starts = np.cumsum([0, *(part.n_lines for part in parts)]).tolist()
        return cls(
            np.concatenate([part.values for part in parts]),
            np.concatenate([start + part.lines for start, part in zip(starts, parts, strict=False)]),
            [label for part in parts for label in part.labels],
            [],
            starts[-1],
        )

    def until(self, line: int) -> Rows:
        """Of the lines before this one."""
        n = int(np.searchsorted(self.lines, line))
        return Rows(self.values[:n], self.lines[:n], self.labels[:n], [], line)

    def after(self, line: int) -> Rows:
        """Of this line and those behind it."""
        n = int(np.searchsorted(self.lines, line))
        return Rows(self.values[n:], self.lines[n:] - line, self.labels[n:], [], self.n_lines - line)


@dataclass
class Cells:
    """How lines are cut into cells, and which of them are wanted.

    Attributes
    ----------
    header : list of str
        Names of all columns.
    separator : str
        One character.
    columns : tuple of str
        Those wanted, numbers; empty until `choose` has found them.
    label : str, optional
        A column that names the rows.
    finite : bool
        Missing and infinite values are wrong, and those so large that the detector takes them for infinite.

    Examples
    --------
    >>> cells = Cells.of("day,level", "levels.csv", columns=("level",), label="day")
    >>> rows = cells.read(["Mon,2.5", "Tue,high", "Wed,3,3"])
    >>> rows.values.tolist(), rows.labels, [wrong.what for wrong in rows.wrong]
    ([[2.5]], ['Mon'], ["'high' in column 'level', wanted a number", '3 cells, wanted 2: Wed,3,3'])
    """

    header: list[str]
    separator: str = ","
    columns: tuple[str, ...] = ()
    label: str | None = None
    finite: bool = True
    line: str = ""
    """The header as it was read."""
    skipped: tuple[str, ...] = field(default=(), init=False)
    """Columns that `choose` left out because they are not numeric."""

    @classmethod
    def of(
        cls, line: str, name: str, *, separator: str = ",", columns: tuple[str, ...] = (), label: str | None = None,
        finite: bool = True,
    ) -> Cells:  # fmt: skip
        """From a file's first line. ValueError if a column is not there."""
        if len(separator.encode()) != 1:
            raise ValueError(f"separator must be one ASCII character, got {separator!r}")
        header = _cut(line.removeprefix("\ufeff"), separator)
        if isinstance(header, str) or not header:
            raise ValueError(f"{name} must begin with a line of column names, got {line!r}")
        if twice := [column for i, column in enumerate(header) if column in header[:i]]:
            raise ValueError(f"two columns of {name} are called {twice[0]!r}")
        if len(set(columns)) < len(columns):
            raise ValueError(f"a column is asked for twice: {', '.join(columns)}")
        for column in (*columns, *([label] if label else [])):
            if column not in header:
                raise ValueError(f"no column {column!r} in {name}; it has {listed(header)}")
        return cls(header, separator, columns, label, finite, line.removeprefix("\ufeff"))

    def choose(self, lines: Sequence[str], name: str) -> None:
        """Take every column that has numbers in these lines, nine in ten of its cells at least but for missing ones."""
        cut = [_cut(line, self.separator) for line in lines]
        rows = [row for row in cut if isinstance(row, list) and len(row) == len(self.header) and row != self.header]
        cells = dict(zip(self.header, zip(*rows, strict=True), strict=False))
        numeric = tuple(c for c in self.header if c != self.label and _is_numeric(cells.get(c, ())))
        if not numeric:
            raise ValueError(
                f"no numeric column in {name}; it has {listed(self.header)} (is its separator another one?)"
            )
        self.columns = numeric
        self.skipped = tuple(c for c in self.header if c not in numeric and c != self.label)

    def read(self, lines: Sequence[str]) -> Rows:
        """The rows that can be used, and what is wrong with the other lines."""
        rows = self._cut_all(lines)
        if rows is not None:
            try:
                columns = [_numbers(list(map(itemgetter(place), rows))) for place in self._places]
                values = np.array(columns, dtype=np.float64).T
            except ValueError:
                pass  # in the other way, which says where
            else:
                if not self.finite or bool(np.all(np.abs(values) < HUGE)):
                    return Rows(values, np.arange(len(rows)), self._labels(rows), [], len(lines))
        return self._read_one_by_one(lines)

    @property
    def _places(self) -> list[int]:
        return [self.header.index(column) for column in self.columns]

    def _cut_all(self, lines: Sequence[str]) -> list[list[str]] | None:
        """The cells of all lines, if there is nothing wrong with any."""
        try:
            rows = list(csv.reader(lines, delimiter=self.separator, strict=True))
        except csv.Error:
            return None
        width = len(self.header)
        return rows if len(rows) == len(lines) and all(len(row) == width for row in rows) else None

    def _read_one_by_one(self, lines: Sequence[str]) -> Rows:
        kept, numbers, places, wrong = [], [], [], []
        for i, line in enumerate(lines):
            row = _cut(line, self.separator) or [""] * len(self.header)  # an empty line has no values
            if isinstance(row, str):
                wrong.append(Wrong(i, f"{row}: {plain(line)}"))
            elif len(row) != len(self.header):
                wrong.append(Wrong(i, f"{len(row)} cells, wanted {len(self.header)}: {plain(line)}"))
            elif what := self._wrong_cell(row):
                wrong.append(Wrong(i, *what))
            else:
                kept.append(row)
                numbers.append([_number(row[place]) for place in self._places])
                places.append(i)
        values = np.array(numbers, dtype=np.float64).reshape(len(kept), len(self.columns))
        return Rows(values, np.array(places, dtype=np.int64), self._labels(kept), wrong, len(lines))

    def _wrong_cell(self, row: list[str]) -> tuple[str, bool] | None:
        for column, place in zip(self.columns, self._places, strict=True):
            try:
                value = _number(row[place])
            except ValueError:
                return f"'{plain(row[place])}' in column '{plain(column)}', wanted a number", False
            if self.finite and not abs(value) < HUGE:
                got, then = (
                    ("no value", "passes over it") if math.isnan(value) else (plain(row[place]), "makes it an alarm")
                )
                return f"{got} in column '{plain(column)}', wanted a finite number (--missing drop {then})", True
        return None

    def _labels(self, rows: list[list[str]]) -> Sequence[str | None]:
        if self.label is None:
            return list(repeat(None, len(rows)))
        return list(map(itemgetter(self.header.index(self.label)), rows))


def _cut(line: str, separator: str) -> list[str] | str:
    """The cells of a line, or what is wrong with it: a row does not go on in the next line."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        return f"no cells ({error})"


def _number(cell: str) -> float:
    """A cell's value, NaN if it is missing; ValueError if it is no number."""
    try:
        return float(cell)
    except ValueError:
        if cell in MISSING:
            return math.nan
        raise


def _numbers(cells: list[str]) -> list[float]:
    try:
        return list(map(float, cells))
    except ValueError:
        return list(map(_number, cells))


def _is_numeric(cells: Sequence[str]) -> bool:
    numbers, others = 0, 0
    for cell in cells:
        try:
            numbers += not math.isnan(_number(cell))
        except ValueError:
            others += 1
    return numbers > 0 and numbers >= _MOSTLY * (numbers + others)
