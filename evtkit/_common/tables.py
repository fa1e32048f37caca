"""Reading the numeric columns of a CSV or Parquet file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

__all__ = ["MISSING", "Table", "listed", "read_table"]

MISSING = ["", "NA", "N/A", "null"]  # besides NaN, which is a number to a parser


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
    skipped : tuple of str
        Columns left out because they are not numeric.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    labels: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()

    @property
    def missing(self) -> NDArray[np.int64]:
        """Missing values of each column."""
        return np.asarray(np.isnan(self.values).sum(axis=0))


def read_table(
    path: str | Path, columns: Sequence[str] = (), *, label: str | None = None, separator: str | None = None
) -> Table:
    r"""Read numeric columns.

    Parameters
    ----------
    path : str or Path
        A CSV file with a header (compressed too), a Parquet file (by its suffix, .parquet or .pq), or "-" for CSV on
        the standard input. Empty cells, NA, N/A, null and NaN are missing values.
    columns : sequence of str
        Which columns, in this order; by default every numeric one.
    label : str, optional
        A column that names the rows; it is not read as numbers.
    separator : str, optional
        Between the cells of a CSV file; a tab for .tsv, else a comma by default.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If the file cannot be read or has no rows, a column is unknown or not numeric, no column is numeric, or a value
        is infinite.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "levels.csv"
    ...     _ = path.write_text("day,north,south\nMon,1.5,2\nTue,,3\n")
    ...     table = read_table(path, label="day")
    >>> table.columns, table.labels, table.missing.tolist()
    (('north', 'south'), ('Mon', 'Tue'), [1, 0])
    """
    frame = _read(str(path), separator)
    if len(set(columns)) < len(columns):
        raise ValueError(f"a column is asked for twice: {', '.join(columns)}")
    for name in (*columns, *([label] if label else [])):
        if name not in frame.columns:
            raise ValueError(f"no column {name!r} in {path}; it has {listed(frame.columns)}")
    if frame.height == 0:
        raise ValueError(f"{path} has a header but no rows")
    candidates = [name for name in frame.columns if name != label]
    chosen = list(columns) or [name for name in candidates if frame.schema[name].is_numeric()]
    if not chosen:
        raise ValueError(f"no numeric column in {path}; it has {listed(frame.columns)} (is its separator another one?)")
    values = np.column_stack([_numbers(frame[name], str(path)) for name in chosen])
    labels = None
    if label:
        labels = tuple("" if value is None else str(value) for value in frame[label].to_list())
    return Table(tuple(chosen), values, labels, () if columns else tuple(n for n in candidates if n not in chosen))


def _read(path: str, separator: str | None) -> pl.DataFrame:
    """The whole file as a data frame, or a ValueError of one line."""
    import polars as pl  # deferred: takes as long to import as everything else together
    from polars.exceptions import NoDataError, PolarsError

    source = sys.stdin.buffer.read() if path == "-" else Path(path)
    if isinstance(source, Path) and not source.is_file():
        raise ValueError(f"{path} is a folder, not a file" if source.is_dir() else f"no such file: {path}")
    name = path.lower()
    if separator is None:
        separator = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
    if len(separator.encode()) != 1:
        raise ValueError(f"separator must be one ASCII character, got {separator!r}")
    try:
        if name.endswith((".parquet", ".pq")):
            return pl.read_parquet(source)
        return pl.read_csv(source, separator=separator, null_values=MISSING, infer_schema_length=None)
    except NoDataError:
        raise ValueError(f"{path} is empty") from None
    except (PolarsError, OSError) as error:
        raise ValueError(f"cannot read {path}: {str(error).strip().splitlines()[0]}") from None


def _numbers(column: pl.Series, path: str) -> NDArray[np.float64]:
    """A column as numbers, NaN where missing."""
    import polars as pl

    if not column.dtype.is_numeric() and column.dtype not in (pl.String, pl.Null):
        raise ValueError(f"column {column.name!r} of {path} holds {column.dtype}, wanted numbers")
    numeric = column.cast(pl.Float64, strict=False)
    if (wrong := numeric.is_null() & column.is_not_null()).any():
        row = int(wrong.arg_max() or 0)
        raise ValueError(f"column {column.name!r} of {path} holds {column[row]!r} in row {row + 1}, wanted a number")
    values: NDArray[np.float64] = numeric.fill_null(np.nan).to_numpy()
    if np.any(infinite := np.isinf(values)):
        row = int(np.argmax(infinite))
        raise ValueError(
            f"column {column.name!r} of {path} holds {values[row]} in row {row + 1}, wanted finite numbers"
        )
    return values


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "no columns"
