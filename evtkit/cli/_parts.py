"""Tails by key from a table in one or many files, of which only batches are in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.tables import read_table
from evtkit._common.text import shortened
from evtkit.sketch import GroupSketch, capacity_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from evtkit._common.tables import Dialect
    from evtkit.tail import Tail

__all__ = ["fit_by"]

_ROWS = 1 << 20  # of a Parquet file, at a time


def fit_by(
    pattern: str, by: str, columns: Sequence[str], missing: str, dialect: Dialect, rule: dict[str, Any], method: str
) -> tuple[Tail, NDArray[np.int64], str, int]:
    """The tails of the keys in column `by`; how many values each lacks, the column of values, and the number of files.

    Two passes over the files, the first of which counts, so that no more is kept than the fit needs.
    """
    if len(columns) > 1:
        raise ValueError(f"--by wants one column of values, got {', '.join(columns)}")
    files = _files(pattern)
    column = columns[0] if columns else ""
    count: dict[str, int] = {}
    for path in files if "threshold" not in rule else ():
        for keys, _ in _batches(path, by, column, dialect, keys_only=True):
            names, numbers = np.unique(keys, return_counts=True)
            for name, number in zip(names.tolist(), numbers.tolist(), strict=True):
                count[name] = count.get(name, 0) + number
    capacity = None
    if count:
        capacity = capacity_for(np.array(list(count.values())), rule.get("quantile"), rule.get("n_excess"))
    sketch = GroupSketch(capacity, nonfinite="count")
    for path in files:
        for keys, values in _batches(path, by, column, dialect):
            if np.isinf(values).any():
                raise ValueError(f"{path} has infinite values in its column of values")
            if missing == "error" and (n := int(np.isnan(values).sum())):
                raise ValueError(f"{path} lacks {n} values; --missing drop leaves them out")
            sketch.update(keys, values)
    return sketch.fit(method=method, **rule), sketch.nonfinite_count, column or _value_of(files[0], by), len(files)


def _files(pattern: str) -> list[str]:
    path = Path(pattern)
    if pattern == "-" or path.is_file():
        return [pattern]
    found = sorted(str(p) for p in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))) if p.is_file())
    if not found:
        raise ValueError(f"no file is called {pattern}")
    return found


def _is_parquet(path: str) -> bool:
    return path.lower().endswith((".parquet", ".pq"))


def _schema(path: str) -> dict[str, Any]:
    """The columns of a Parquet file and their types."""
    import polars as pl

    try:
        return dict(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {shortened(error)}") from error


def _value_of(path: str, by: str) -> str:
    """The only column of numbers beside the keys, of a Parquet file; "" of another, which is read to see."""
    if not _is_parquet(path):
        return ""
    schema = _schema(path)
    found = [name for name, kind in schema.items() if kind.is_numeric() and name != by]
    if len(found) != 1:
        raise ValueError(f"--by wants the column of values named by -c, one of {', '.join(found) or 'no numeric one'}")
    return found[0]


def _batches(
    path: str, by: str, column: str, dialect: Dialect, *, keys_only: bool = False
) -> Iterator[tuple[NDArray[np.str_], NDArray[np.float64]]]:
    """Keys and values of a file, some rows at a time where it is Parquet."""
    if not _is_parquet(path):
        table = read_table(path, [column] if column else (), label=by, dialect=dialect)
        if table.values.shape[1] != 1:
            raise ValueError(f"--by wants the column of values named by -c, one of {', '.join(table.columns)}")
        assert table.labels is not None
        yield np.array(table.labels, dtype=np.str_), table.values[:, 0]
        return
    import polars as pl

    schema = _schema(path)
    column = column or _value_of(path, by)
    for name in (by, column):
        if name not in schema:
            raise ValueError(f"no column {name!r} in {path}; it has {', '.join(schema)}")
    if not schema[column].is_numeric():
        raise ValueError(f"column {column!r} of {path} must hold numbers, got {schema[column]}")
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    for start in range(0, rows, _ROWS):
        part = pl.scan_parquet(path).select([by] if keys_only else [by, column]).slice(start, _ROWS).collect()
        if part[by].null_count():
            raise ValueError(f"{path} has {part[by].null_count()} rows without a key in column {by!r}")
        keys = part[by].cast(pl.String).to_numpy().astype(np.str_)
        yield keys, np.empty(0) if keys_only else part[column].cast(pl.Float64).to_numpy()
