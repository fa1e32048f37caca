"""Tails of the columns, or of the keys, of tables that are larger than memory: Dask's data frames.

Each partition fills a sketch, sketches merge on a tree, one fit follows: the result is that of `evtkit.fit_tail` of all
rows, to the last bit, however the table is cut and on however many workers it is read.

Examples
--------
>>> import dask, numpy as np, pandas as pd
>>> import dask.dataframe as dd
>>> from evtkit.interop.dask import fit_tail
>>> rng = np.random.default_rng(0)
>>> long = pd.DataFrame({"sensor": rng.choice(["a", "b"], 2000), "value": rng.standard_exponential(2000)})
>>> with dask.config.set(scheduler="synchronous"):
...     tail = fit_tail(dd.from_pandas(long, npartitions=4), by="sensor", quantile=0.9)
>>> tail.names
array(['a', 'b'], dtype='<U1')
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import dask
import numpy as np

from evtkit._common.checks import real_array
from evtkit.sketch import GroupSketch, TailSketch, capacity_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evtkit.tail import Tail

__all__ = ["fit_tail"]

_TOGETHER = 8  # sketches that a task merges


def fit_tail(
    frame: Any,
    *,
    by: str | None = None,
    value: str | None = None,
    quantile: float | None = None,
    threshold: float | None = None,
    n_excess: int | None = None,
    missing: str = "raise",
    method: str = "mle",
    resolution: float | None = None,
    clean: bool | None = None,
) -> Tail:
    """Fit a tail to every column of a Dask data frame, or to every key of a long one. Computes.

    Two passes: the first counts, so that the second keeps no more than the fit needs. With a `threshold` one pass keeps
    all values, as any number of them may exceed it.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        Columns are channels, by their names; or rows of keys and values.
    by : str, optional
        The column of keys, text or whole numbers; a tail is fitted to the values of each.
    value : str, optional
        The column of values; by default the only one of numbers beside the keys.
    quantile, threshold, n_excess, method, resolution
        As in `evtkit.fit_tail`.
    missing : str
        "raise" a ValueError on NaN, or "drop" such values.
    clean : None or False
        As in `evtkit.TailSketch.fit`.

    Returns
    -------
    evtkit.Tail
        With the names of the columns or keys; the latter in ascending order.

    Raises
    ------
    ValueError
        If `frame` is no Dask data frame, columns are not numeric or unknown, a key is missing, or as in
        `evtkit.fit_tail`.

    See Also
    --------
    evtkit.GroupSketch : what it fills.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> import numpy as np, pandas as pd
    >>> from evtkit.interop.dask import fit_tail
    >>> x = np.random.default_rng(0).gamma(2.0, size=3000)
    >>> frame = dd.from_pandas(pd.DataFrame({"sensor": np.arange(3000) % 3, "value": x}), npartitions=4)
    >>> tail = fit_tail(frame, by="sensor", value="value")
    >>> tail.n.tolist()
    [1000, 1000, 1000]
    """
    if not hasattr(frame, "to_delayed") or not hasattr(frame, "columns"):
        raise ValueError(f"frame must be a Dask data frame, got {type(frame).__name__}")
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be 'raise' or 'drop', got {missing!r}")
    numeric = [str(name) for name, kind in frame.dtypes.items() if getattr(kind, "kind", "O") in "iuf"]
    if by is None:
        if value is not None:
            raise ValueError("value goes with by, the column of keys; select columns by frame[[…]]")
        if others := [str(name) for name in frame.columns if str(name) not in numeric]:
            raise ValueError(f"columns must be numeric, got {', '.join(map(repr, others[:5]))}; leave out, or name by=")
        table, count = frame, frame.count()
        leaf: Callable[..., Any] = _of_columns
    else:
        column = _value_column(frame, by, value, numeric)
        table, count = frame[[by, column]], frame[by].value_counts()
        leaf = _of_keys
    capacity = None
    if threshold is None:
        found = np.asarray(count.compute()).astype(np.int64)
        if not found.any():
            raise ValueError("frame must hold observations, got none in any of its partitions")
        capacity = capacity_for(found, quantile, n_excess)
    kind = _kind([table.dtypes.iloc[-1]] if by is not None else table.dtypes)
    parts = [dask.delayed(leaf)(part, capacity, kind, missing) for part in table.to_delayed()]
    sketch = _merged(parts).compute()
    rules = {"quantile": quantile, "threshold": threshold, "n_excess": n_excess}
    return cast("Tail", sketch.fit(**rules, method=method, resolution=resolution, clean=clean))


def _value_column(frame: Any, by: str, value: str | None, numeric: Sequence[str]) -> str:
    for name in (by, value):
        if name is not None and not isinstance(name, str):
            raise ValueError(f"by and value must be names of columns, got {name!r}")
        if name is not None and name not in frame.columns:
            raise ValueError(f"no column {name!r}; there is {', '.join(map(repr, frame.columns[:12]))}")
    others = [name for name in numeric if name != by]
    if value is None and len(others) != 1:
        raise ValueError(
            f"value must name the column of values, one of {', '.join(map(repr, others)) or 'none numeric'}"
        )
    column = others[0] if value is None else value
    if column not in others:
        raise ValueError(f"value must be a column of numbers, got {column!r}")
    return column


def _merged(parts: list[Any]) -> Any:
    """One sketch of all, on a tree."""
    while len(parts) > 1:
        parts = [dask.delayed(_join)(parts[i : i + _TOGETHER]) for i in range(0, len(parts), _TOGETHER)]
    return parts[0]


def _join(sketches: list[Any]) -> Any:
    """The sketch of all; those given stay as they are, for a task may run twice on them."""
    whole = copy.deepcopy(sketches[0])
    for other in sketches[1:]:
        whole.merge(copy.deepcopy(other))
    return whole


def _of_columns(part: Any, capacity: int | None, kind: Any, missing: str) -> TailSketch:
    values = real_array(part, "frame", narrow=True)
    _check_values(values, missing)
    sketch = TailSketch(part.shape[1], capacity, dtype=kind, nonfinite="count", n_threads=1)
    sketch.update(values)
    sketch.names = np.array([str(name) for name in part.columns], dtype=np.str_)
    return sketch


def _of_keys(part: Any, capacity: int | None, kind: Any, missing: str) -> GroupSketch:
    keys, values = part.iloc[:, 0], real_array(part.iloc[:, 1], "values", narrow=True)
    _check_values(values, missing)
    if keys.isna().any():
        raise ValueError(f"keys must not be missing, got {int(keys.isna().sum())} that are, of a column {keys.name!r}")
    sketch = GroupSketch(capacity, dtype=kind, nonfinite="count", n_threads=1)
    names = keys.to_numpy()
    sketch.update(names.astype(np.str_) if names.dtype.kind not in "iu" else names, values)
    return sketch


def _kind(columns: Any) -> Any:
    """The type that holds all values of columns of such types: of the whole table, whatever a partition has."""
    one = np.result_type(*(np.dtype(getattr(kind, "numpy_dtype", kind)) for kind in columns))
    return np.float32 if one.itemsize <= (4 if one.kind == "f" else 2) else np.float64


def _check_values(values: Any, missing: str) -> None:
    if np.isinf(values).any():
        raise ValueError("values must be finite, got infinities")
    if missing == "raise" and (count := np.count_nonzero(np.isnan(values))):
        raise ValueError(f"values must be finite, got nan {count} times in a partition; missing='drop' leaves it out")
