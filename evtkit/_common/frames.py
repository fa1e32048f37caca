"""Data frames and series of pandas and polars: their numbers, their names, and results that look like them.

Neither library is a dependency of the functions that take them: what is not imported yet cannot have made an argument,
so it is looked up among the modules already loaded. All that a library does in its own way is in one class below.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Labels", "check_names", "elementwise", "frame_labels", "like", "unlabelled"]

Function = TypeVar("Function", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Labels:
    """What a data frame or series says beside its numbers.

    Attributes
    ----------
    columns : tuple of str, or None
        Names of a data frame's columns.
    rows : tuple of str, or None
        The names in a series' index, as a row taken from a data frame has them.
    name : str or None
        A series' name.
    """

    columns: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    name: str | None = None

    @property
    def channels(self) -> tuple[str, ...] | None:
        """The names that channels have, where observations or values of many channels are given."""
        return self.columns if self.columns is not None else self.rows

    @property
    def names(self) -> NDArray[np.str_] | None:
        """The names that a model of these observations takes over: (channels,), or 0-d for a series."""
        named = self.columns if self.columns is not None else self.name
        return None if named is None else np.array(named, dtype=np.str_)


def frame_labels(x: object) -> Labels | None:
    """The labels of a data frame or series; None for anything else."""
    library = _library(x)
    return None if library is None else library.labels_of(x)


def unlabelled(x: ArrayLike, argument: str) -> ArrayLike:
    """The numbers of a data frame or series as an array; anything else as it is.

    Raises
    ------
    ValueError
        If a column holds no numbers or has missing values other than NaN, or two columns have one name.
    """
    library = _library(x)
    return x if library is None else library.array(x, argument)


def like(x: object, result: NDArray[Any]) -> Any:
    """A result with the index and columns of x, if x is a data frame or series and the result of its shape."""
    library = _library(x)
    return result if library is None or result.shape != cast("Any", x).shape else library.wrap(x, result)


def elementwise(function: Function) -> Function:
    """Let a function of one value each return a data frame or series where its first argument is one."""
    first = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else kwargs.pop(first)
        return like(x, function(unlabelled(x, first), *args[1:], **kwargs))

    return cast("Function", wrapped)


def check_names(given: Sequence[str] | None, wanted: NDArray[np.str_] | None, argument: str) -> None:
    """Refuse names that differ from the channels', or come in another order; none on either side is no complaint."""
    if given is None or wanted is None or not wanted.ndim or list(given) == (known := wanted.tolist()):
        return
    strange = [name for name in given if name not in known]
    absent = [name for name in known if name not in given]
    if strange or absent:
        got = " and ".join(
            f"{text} {', '.join(map(repr, names[:5]))}"
            for text, names in (("has unknown", strange), ("lacks", absent))
            if names
        )
        raise ValueError(f"{argument} {got}; the channels are {', '.join(map(repr, known[:12]))}")
    raise ValueError(
        f"{argument} has the channels in another order, {', '.join(map(repr, given[:12]))}; "
        f"wanted {', '.join(map(repr, known[:12]))}"
    )


class _Pandas:
    """What is pandas' own way."""

    @staticmethod
    def labels_of(x: Any) -> Labels:
        if x.ndim == 2:
            return Labels(columns=tuple(map(str, x.columns)))
        named = all(isinstance(label, str) for label in x.index)
        return Labels(rows=tuple(x.index) if named else None, name=None if x.name is None else str(x.name))

    @staticmethod
    def array(x: Any, argument: str) -> NDArray[Any]:
        columns = [(None, x)] if x.ndim == 1 else [(str(name), x.iloc[:, i]) for i, name in enumerate(x.columns)]
        _check_unique([name for name, _ in columns], argument)
        for name, column in columns:
            dtype = column.dtype
            if getattr(dtype, "kind", "O") not in "iuf":
                raise ValueError(f"{_where(argument, name)} must be real numbers, got {dtype}")
            if not isinstance(dtype, np.dtype):
                _check_missing(int(column.isna().sum()), argument, name)
        narrow = bool(columns) and all(column.dtype == np.float32 for _, column in columns)
        return np.asarray(x.to_numpy(dtype=np.float32 if narrow else np.float64))

    @staticmethod
    def wrap(x: Any, result: NDArray[Any]) -> Any:
        if x.ndim == 1:
            return type(x)(result, index=x.index, name=x.name)
        return type(x)(result, index=x.index, columns=x.columns)


class _Polars:
    """What is polars' own way; it has no index."""

    @staticmethod
    def labels_of(x: Any) -> Labels:
        return Labels(columns=tuple(x.columns)) if hasattr(x, "columns") else Labels(name=x.name or None)

    @staticmethod
    def array(x: Any, argument: str) -> NDArray[Any]:
        series = [x] if not hasattr(x, "columns") else x.get_columns()
        for column in series:
            name = None if column is x else column.name
            if not column.dtype.is_numeric():
                raise ValueError(f"{_where(argument, name)} must be real numbers, got {column.dtype}")
            _check_missing(column.null_count(), argument, name)
        narrow = bool(series) and all(str(column.dtype) == "Float32" for column in series)
        arrays = [column.to_numpy().astype(np.float32 if narrow else np.float64, copy=False) for column in series]
        if series and series[0] is x:
            return np.asarray(arrays[0])
        return np.column_stack(arrays) if arrays else np.empty((x.height, 0))

    @staticmethod
    def wrap(x: Any, result: NDArray[Any]) -> Any:
        if not hasattr(x, "columns"):
            return type(x)(x.name, result)
        return type(x)(result, schema=x.columns, orient="row")


_LIBRARIES: dict[str, type[_Pandas] | type[_Polars]] = {"pandas": _Pandas, "polars": _Polars}
_NO_FRAMES = (np.ndarray, float, int, list, tuple)


def _library(x: object) -> type[_Pandas] | type[_Polars] | None:
    if isinstance(x, _NO_FRAMES):
        return None
    for name, library in _LIBRARIES.items():
        module = sys.modules.get(name)
        kinds = tuple(kind for kind in (getattr(module, "DataFrame", None), getattr(module, "Series", None)) if kind)
        if kinds and isinstance(x, kinds):
            return library
    return None


def _check_unique(names: Sequence[str | None], argument: str) -> None:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{argument} has several columns of the name {', '.join(map(repr, twice))}; names must differ")


def _check_missing(count: int, argument: str, column: str | None) -> None:
    if count:
        raise ValueError(f"{_where(argument, column)} has missing values ({count}); drop or fill them first")


def _where(argument: str, column: str | None) -> str:
    return argument if column is None else f"column {column!r} of {argument}"
