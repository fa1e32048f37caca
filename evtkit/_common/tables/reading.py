"""Reading the numeric columns of a CSV or Parquet file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evtkit._common.frames import column_times
from evtkit._common.tables.cutting import cut
from evtkit._common.tables.dates import dates, look_like_dates
from evtkit._common.tables.decoding import decoded, read_bytes
from evtkit._common.tables.dialect import Dialect
from evtkit._common.tables.hints import hint
from evtkit._common.tables.numbers import MISSING, is_number, numbers, oddity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

__all__ = ["Skipped", "Table", "listed", "read_table"]

_REMARKS = ("#", "//", "%%")  # a single % begins many a name
_NO_NAMES = {"nan", "na", "n/a", "n.a.", "#n/a", "null", "none", "nil", "missing", "inf", "-inf", "-", "--", ".", "?"}
_ODD = 1000  # cells of a column of text that are looked at, whether they should have been numbers


class Skipped(NamedTuple):
    """A column that is left out."""

    column: str
    reason: str

    def __str__(self) -> str:
        """For the reader."""
        return f"{self.column} ({self.reason})"


@dataclass(frozen=True, eq=False)
class Table:
    """Numeric columns of a file.

    Attributes
    ----------
    columns : tuple of str
        Their names.
    values : ndarray of float64, shape (rows, columns)
        NaN where a value is missing.
    labels : tuple of str, or None
        A name for each row.
    skipped : tuple of Skipped
        Columns left out, and why: they hold text throughout, or no values, or are not wanted.
    others : tuple of str
        Other columns with numbers, where columns were asked for by name.
    time : ndarray of datetime64[us], shape (rows,), or None
        The rows' dates, if they were asked for and found; in UTC if `zone` is one.
    zone, time_column : str, or None
        Their time zone, and the column that has them.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    labels: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    others: tuple[str, ...] = ()
    time: NDArray[np.datetime64] | None = None
    zone: str | None = None
    time_column: str | None = None

    @property
    def missing(self) -> NDArray[np.int64]:
        """Missing values of each column."""
        return np.asarray(np.isnan(self.values).sum(axis=0))


def read_table(
    path: str | Path, columns: Sequence[str] = (), *, label: str | None = None, skip: Sequence[str] = (),
    dialect: Dialect | None = None, dated: bool = False, time: str | None = None,
) -> Table:  # fmt: skip
    r"""Read numeric columns. A file is read as it is, or refused; no cell, row or column disappears unsaid.

    Parameters
    ----------
    path : str or Path
        A CSV file (compressed by gzip, bzip2 or xz too), a Parquet file, or "-" for the standard input. Empty cells,
        NA, N/A, null and NaN are missing values.
    columns : sequence of str
        Which columns, in this order; by default every numeric one.
    label : str, optional
        A column that names the rows; it is not read as numbers.
    skip : sequence of str
        Columns that are not looked at.
    dialect : Dialect, optional
        How the file is written.
    dated : bool
        Look for a column of dates: the only one whose cells are all such as 2026-01-31, with or without a time.
    time : str, optional
        The column of dates. Here 31.1.2026, 20260131 and years are dates too.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If the file cannot be read or has no rows; rows differ in their number of cells; two columns have one name; the
        first line could be data; a column is unknown, or holds numbers and text; no column is numeric; a value is
        infinite.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "levels.csv"
    ...     _ = path.write_text("day;north;south\nMon;1,5;2\nTue;;3\n")
    ...     table = read_table(path, dialect=Dialect(decimal=","))
    >>> table.columns, table.missing.tolist(), str(table.skipped[0])
    (('north', 'south'), [1, 0], "day (text, such as 'Mon')")
    """
    file = _File(str(path), dialect or Dialect())
    named = [*columns, *(name for name in (label, time) if name is not None), *skip]
    unknown = [name for name in named if name not in file.names]
    if not (columns and not unknown):  # who asks for 2024 has seen the header
        file.check_header()
    file.check_names()
    if len(set(columns)) < len(columns):
        raise ValueError(f"a column is asked for twice: {', '.join(columns)}")
    if time is not None and time in columns:
        raise ValueError(f"column {time!r} is asked for as dates and as numbers, wanted one of the two")
    if both := [name for name in skip if name in (*columns, label, time)]:
        raise ValueError(f"column {both[0]!r} is asked for and to be skipped, wanted one of the two")
    if unknown:
        raise ValueError(f"no column {unknown[0]!r} in {path}; it has {listed(file.names)}{file.headless}")
    if file.height == 0:
        raise ValueError(f"{path} has a header but no rows")
    if dated and time is None:
        time = file.column_of_dates(columns, skip)
    candidates = [name for name in file.names if name not in (label, time) and name not in (columns or skip)]
    chosen, skipped, others = list(columns), [], []
    for name in candidates:
        if columns:
            if name not in skip and file.has_numbers(name):
                others.append(name)
        elif reason := file.reason(name):
            skipped.append(Skipped(name, reason))
        else:
            chosen.append(name)
    if not chosen:
        raise ValueError(f"no numeric column in {path}; it has {listed(file.names)}{file.hint}")
    values = np.column_stack([file.values(name) for name in chosen])
    labels = None if label is None else file.labels(label)
    skipped += [Skipped(name, "as asked for") for name in skip if not columns]
    when, zone = (None, None) if time is None else file.times(time)
    return Table(tuple(chosen), values, labels, tuple(skipped), tuple(others), when, zone, time)


class _File:
    """A file's columns: their names, numbers and texts."""

    def __init__(self, path: str, dialect: Dialect) -> None:
        self.path, self._dialect, self._text = path, dialect, ""
        data = read_bytes(path)
        if data.startswith(b"PAR1") or path.lower().endswith((".parquet", ".pq")):
            self._of_parquet(data)
        else:
            self._text = decoded(data, path, dialect.encoding)
            del data
            self._of_text()
        self._place = {name: i for i, name in enumerate(self.names)}

    def _of_text(self) -> None:
        first, cells = cut(self._text, self.path, self._dialect)
        given = [f"c{i}" for i in range(1, len(first) + 1)]
        self._first: list[str] | None = first
        self.names = given
        if self._dialect.header is not False:
            cells = cells.slice(len(first))
            self.names = [name or place for name, place in zip(first, given, strict=True)]
        self.height = len(cells) // len(first)
        self._texts: Callable[[int], pl.Series] = lambda place: cells.gather_every(len(first), place)
        self._types = [""] * len(first)
        self._column: Callable[[int], pl.Series] = self._texts
        values, other = numbers(cells, self._dialect.decimal, self._dialect.na, self._dialect.thousands)
        self._values, self._other = list(values.reshape(-1, len(first)).T), list(other.reshape(-1, len(first)).T)

    def _of_parquet(self, data: bytes) -> None:
        """Columns of numbers as they are, columns of text as those of a CSV file, and no others."""
        import polars as pl
        from polars.exceptions import PolarsError

        try:
            frame = pl.read_parquet(io.BytesIO(data))
        except (PolarsError, OSError) as error:
            raise ValueError(f"cannot read {self.path}: {str(error).strip().splitlines()[0]}") from None
        self._first, self.names, self.height = None, list(frame.columns), frame.height
        self._texts = lambda place: frame.to_series(place).cast(pl.String, strict=False).fill_null("").str.strip_chars()
        self._column = frame.to_series
        self._types, self._values, self._other = [], [], []
        absent = [float(text) for text in self._dialect.na if is_number(text, ".")]
        for place, kind in enumerate(frame.dtypes):
            column = frame.to_series(place)
            values, other = np.full(frame.height, np.nan), np.zeros(frame.height, bool)
            if kind.is_numeric():
                values = column.cast(pl.Float64).to_numpy().copy()
                values[np.isin(values, absent)] = np.nan
            elif is_text := kind in (pl.String, pl.Categorical, pl.Enum, pl.Null):
                values, other = numbers(self._texts(place), ".", self._dialect.na)
            self._types.append("" if kind.is_numeric() or is_text else str(kind))
            self._values.append(values)
            self._other.append(other)

    # -- what is refused as a whole ------------------------------------------------------------------------------------

    def check_header(self) -> None:
        """Refuse a first line that could be data."""
        if self._first is None or self._dialect.header is not None:
            return
        first = self._first
        if mark := next((mark for mark in _REMARKS if first[0].startswith(mark)), ""):
            raise ValueError(
                f"the first line of {self.path} begins with {mark!r}; give --comment {mark!r} if it is a remark, "
                "--header if it has the names of the columns"
            )
        if self.height == 0:
            if len(first) > 1 and all(
                is_number(cell, self._dialect.decimal, self._dialect.thousands) for cell in first
            ):
                between = {"\t": r"\t"}.get(mark := self._dialect.between(self.path), mark)
                lines = f"; `tr '{between}' '\\n'` makes them, and --no-header reads them"
                raise ValueError(
                    f"{self.path} is one line of {len(first):,} numbers, wanted a line for each observation"
                    f"{self.hint or lines}"
                )
            return
        over_numbers = [
            cell
            for cell, values, other in zip(first, self._values, self._other, strict=True)
            if not other.any() and not np.isnan(values).all()
        ]
        if over_numbers and all(self._is_value(cell) for cell in over_numbers):
            shown = max(over_numbers, key=bool)
            raise ValueError(
                f"the first line of {self.path} could be data: {shown!r} stands over numbers; give --no-header if the "
                f"file has no line of names, --header if that is a name{self.hint}"
            )

    def check_names(self) -> None:
        """Refuse two columns of one name."""
        if len(self._place) < len(self.names):
            twice = next(name for i, name in enumerate(self.names) if name in self.names[:i])
            raise ValueError(f"two columns of {self.path} are called {twice!r}, wanted different names")

    @property
    def headless(self) -> str:
        """A hint for those who ask for a column that is not there."""
        if self._first and self._dialect.header is None and all(self._is_value(cell) for cell in self._first):
            return " (without a line of names: --no-header)"
        return ""

    @property
    def hint(self) -> str:
        """The options that would read more."""
        return hint(self._text, self.path, self._dialect) if self._text else ""

    def _is_value(self, cell: str) -> bool:
        absent = cell in MISSING or cell in self._dialect.na or cell.lower() in _NO_NAMES
        return absent or is_number(cell, ".") or is_number(cell, ",")

    # -- columns -------------------------------------------------------------------------------------------------------

    def has_numbers(self, name: str) -> bool:
        """Whether a column holds numbers, perhaps beside text."""
        return not bool(np.isnan(self._values[self._place[name]]).all())

    def reason(self, name: str) -> str:
        """Why the column is left out, empty if it is not; ValueError if it holds numbers and text."""
        place = self._place[name]
        if self._types[place]:
            return f"of type {self._types[place]}"
        if self._other[place].any():
            if self.has_numbers(name) or self._advice(place):
                self.values(name)  # which says what is wrong
            return f"text, such as {self._texts(place)[int(np.argmax(self._other[place]))]!r}"
        return "" if self.has_numbers(name) else "no values"

    def values(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where missing; ValueError if one is infinite, or there is something else."""
        place = self._place[name]
        where = f"column {name!r} of {self.path} holds"
        if kind := self._types[place]:
            raise ValueError(f"{where} {kind}, wanted numbers")
        if (other := self._other[place]).any():
            row = int(np.argmax(other))
            cell = str(self._texts(place)[row])
            advice = self._advice(place) or f"if it stands for a missing value, give --na {cell!r} and --missing drop"
            raise ValueError(
                f"{where} {cell!r} in row {row + 1}, wanted a number; {advice}; --skip {name!r} leaves the column out"
                f"{self.hint}"
            )
        values = self._values[place]
        if np.any(infinite := np.isinf(values)):
            row = int(np.argmax(infinite))
            raise ValueError(f"{where} {values[row]} in row {row + 1}, wanted finite numbers")
        return values

    def labels(self, name: str) -> tuple[str, ...]:
        """A column as text."""
        return tuple(self._texts(self._place[name]).to_list())

    def column_of_dates(self, columns: Sequence[str], skip: Sequence[str]) -> str | None:
        """The only column of dates, if there is one, that is neither asked for nor to be skipped."""
        found = [
            name
            for name, place in self._place.items()
            if name not in columns and name not in skip
            and (self._types[place].startswith("Date")
                 or (not self._types[place] and self._other[place].all() and look_like_dates(self._texts(place))))
        ]  # fmt: skip
        return found[0] if len(found) == 1 else None

    def times(self, name: str) -> tuple[NDArray[np.datetime64], str | None]:
        """A column as dates; ValueError if one is missing or something else."""
        place = self._place[name]
        where = f"column {name!r} of {self.path} must be dates"
        column = self._column(place)
        if self._types[place].startswith("Date"):
            found = column_times(column)
        else:
            column = self._texts(place)
            if (blank := (column == "").to_numpy()).any():
                raise ValueError(f"{where}, got none in row {int(np.argmax(blank)) + 1}")
            try:
                found = dates(column)
            except ValueError as error:
                raise ValueError(f"{where}; {error}") from None
        if found is None:
            raise ValueError(f"{where} such as 2026-01-31 or 2026-01-31 12:30, got {column[0]!r} in row 1")
        if (absent := np.isnat(found[0])).any():
            raise ValueError(f"{where}, got none in row {int(np.argmax(absent)) + 1}")
        return found

    def _advice(self, place: int) -> str:
        """What to do about cells that look like numbers and are none."""
        cells = self._texts(place).to_numpy()[np.flatnonzero(self._other[place])[:_ODD]].tolist()
        return oddity(cells, self._dialect.decimal, self._dialect.thousands)


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    shown = ", ".join(map(repr, names[:12]))
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "no columns"
