"""Data frames and series of pandas and polars: their numbers, names and dates, and results that look like them.

Neither library is a dependency of the functions that take them: what is not imported yet cannot have made an argument,
so it is looked up among the modules already loaded. All that a library does in its own way is in one class below.

A data frame's only column of dates, beside columns of numbers, names its rows as an index does: it is no channel.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from evtkit._common.zones import zone_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Labels",
    "by_channel",
    "check_names",
    "column_of",
    "column_times",
    "elementwise",
    "frame_labels",
    "frame_times",
    "joined_names",
    "like",
    "make_frame",
    "unlabelled",
    "without",
]

Function = TypeVar("Function", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Labels:
    """What a data frame or series says beside its numbers.

    Attributes
    ----------
    columns : tuple of str, or None
        Names of a data frame's columns, but for the dates of its rows.
    library : str
        "pandas" or "polars".
    rows : tuple of str, or None
        The names in a series' index, as a row taken from a data frame has them.
    name : str or None
        A series' name.
    """

    library: str
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


def unlabelled(x: ArrayLike, argument: str, *, nulls: bool = False) -> ArrayLike:
    """The numbers of a data frame or series as an array; anything else as it is. With `nulls` a null becomes NaN.

    Raises
    ------
    ValueError
        If a column holds no numbers or has missing values other than NaN, or two columns have one name.
    """
    library = _library(x)
    return x if library is None else library.array(x, argument, nulls)


def frame_times(x: object) -> tuple[NDArray[np.datetime64], str | None] | None:
    """The dates of a data frame's or series' rows, as `column_times`; None without any."""
    library = _library(x)
    return None if library is None else library.times(x)


def column_times(column: object) -> tuple[NDArray[np.datetime64], str | None] | None:
    """A series or index of dates as datetime64[us], in UTC where it has a time zone, and the zone's name."""
    library = _LIBRARIES.get(type(column).__module__.partition(".")[0])  # an index is no series
    return None if library is None else library.column_times(column)


def column_of(x: Any, name: str) -> Any:
    """A column of a data frame, or the index of this name; None if there is none, or x is no data frame."""
    library = _library(x)
    return None if library is None else library.column(x, name)


def without(x: Any, name: str) -> Any:
    """A data frame without a column; as it is where that is its index."""
    library = _library(x)
    return x if library is None else library.without(x, name)


def like(x: object, result: NDArray[Any]) -> Any:
    """A result with the index and columns of x, if x is a data frame or series and the result of its shape."""
    library = _library(x)
    return result if library is None or result.shape != library.shape(x) else library.wrap(x, result)


def by_channel(result: NDArray[Any], names: NDArray[np.str_], library: str) -> Any:
    """One number a channel: a series with the names as its index of pandas, a data frame of one row of polars."""
    module = importlib.import_module(library)
    if library == "pandas":
        return module.Series(result, index=names.tolist())
    return module.DataFrame(dict(zip(names.tolist(), result.tolist(), strict=True)))


def make_frame(columns: dict[str, Any], library: str | None = None) -> Any:
    """A data frame of pandas where that is installed, else of polars; or of the library that is named."""
    if library not in (None, *_LIBRARIES):
        raise ValueError(f"library must be {' or '.join(map(repr, _LIBRARIES))}, got {library!r}")
    if library is None:
        library = next((name for name in _LIBRARIES if importlib.util.find_spec(name)), None)
        if library is None:
            raise ImportError("a data frame needs pandas or polars; install one with: pip install pandas")
    return importlib.import_module(library).DataFrame(columns)


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


def joined_names(parts: Sequence[NDArray[np.str_] | None]) -> NDArray[np.str_] | None:
    """The names of the channels of several, one behind the other; all must have some, or none, and each its own."""
    known = [names for names in parts if names is not None]
    if not known:
        return None
    if len(known) < len(parts):
        raise ValueError(f"all must have names of channels or none, got {len(known)} of {len(parts)} with names")
    names = np.concatenate([np.atleast_1d(one) for one in known])
    if twice := [name for name, n in Counter(names.tolist()).items() if n > 1]:
        raise ValueError(f"channels must have different names, got {', '.join(map(repr, twice[:5]))} more than once")
    return names


class _Pandas:
    """What is pandas' own way."""

    @staticmethod
    def labels_of(x: Any) -> Labels:
        if x.ndim == 2:
            return Labels("pandas", columns=tuple(map(str, _Pandas._numbers(x).columns)))
        named = all(isinstance(label, str) for label in x.index)
        return Labels("pandas", rows=tuple(x.index) if named else None, name=None if x.name is None else str(x.name))

    @staticmethod
    def shape(x: Any) -> tuple[int, ...]:
        return tuple(x.shape) if x.ndim == 1 else tuple(_Pandas._numbers(x).shape)

    @staticmethod
    def array(x: Any, argument: str, nulls: bool) -> NDArray[Any]:
        x = x if x.ndim == 1 else _Pandas._numbers(x)
        columns = [(None, x)] if x.ndim == 1 else [(str(name), x.iloc[:, i]) for i, name in enumerate(x.columns)]
        _check_unique([name for name, _ in columns], argument)
        for name, column in columns:
            dtype = column.dtype
            if getattr(dtype, "kind", "O") not in "iuf":
                raise ValueError(f"{_where(argument, name)} must be real numbers, got {dtype}")
            if not isinstance(dtype, np.dtype) and not nulls:
                _check_missing(int(column.isna().sum()), argument, name)
        narrow = bool(columns) and all(column.dtype == np.float32 for _, column in columns)
        if nulls and any(not isinstance(column.dtype, np.dtype) for _, column in columns):
            return np.asarray(x.to_numpy(dtype=np.float32 if narrow else np.float64, na_value=np.nan))
        return np.asarray(x.to_numpy(dtype=np.float32 if narrow else np.float64))

    @staticmethod
    def wrap(x: Any, result: NDArray[Any]) -> Any:
        if x.ndim == 1:
            return type(x)(result, index=x.index, name=x.name)
        out = type(x)(result, index=x.index, columns=_Pandas._numbers(x).columns)
        for name in _Pandas._dates(x):
            out.insert(x.columns.get_loc(name), name, x[name])
        return out

    @staticmethod
    def times(x: Any) -> tuple[NDArray[np.datetime64], str | None] | None:
        if (found := _Pandas.column_times(x.index)) is not None:
            return found
        names = _Pandas._dates(x) if x.ndim == 2 else []
        return _Pandas.column_times(x[names[0]]) if names else None

    @staticmethod
    def column_times(column: Any) -> tuple[NDArray[np.datetime64], str | None] | None:
        index = sys.modules["pandas"].Index(column)
        if index.inferred_type == "period":
            index = index.to_timestamp()
        if index.inferred_type == "date":
            return np.asarray(index).astype("M8[us]"), None
        if not index.inferred_type.startswith("datetime"):
            return None
        index = sys.modules["pandas"].DatetimeIndex(index)
        if (zone := index.tz) is not None:
            index = index.tz_convert("UTC").tz_localize(None)
        return index.to_numpy().astype("M8[us]"), None if zone is None else zone_name(zone)

    @staticmethod
    def column(x: Any, name: str) -> Any:
        if x.ndim == 2 and name in x.columns:
            return x[name]
        return x.index if x.index.name == name else None

    @staticmethod
    def without(x: Any, name: str) -> Any:
        return x.drop(columns=name) if x.ndim == 2 and name in x.columns else x

    @staticmethod
    def _dates(x: Any) -> list[str]:
        """The column of dates that names the rows, if there is one: beside others, and the index is no dates."""
        names = [name for name, dtype in x.dtypes.items() if getattr(dtype, "kind", "O") == "M"]
        alone = len(names) == 1 and x.shape[1] > 1 and _Pandas.column_times(x.index) is None
        return names if alone else []

    @staticmethod
    def _numbers(x: Any) -> Any:
        names = _Pandas._dates(x)
        return x.drop(columns=names) if names else x


class _Polars:
    """What is polars' own way; it has no index."""

    @staticmethod
    def labels_of(x: Any) -> Labels:
        if not hasattr(x, "columns"):
            return Labels("polars", name=x.name or None)
        return Labels("polars", columns=tuple(_Polars._numbers(x).columns))

    @staticmethod
    def shape(x: Any) -> tuple[int, ...]:
        return tuple(_Polars._numbers(x).shape) if hasattr(x, "columns") else tuple(x.shape)

    @staticmethod
    def array(x: Any, argument: str, nulls: bool) -> NDArray[Any]:
        series = [x] if not hasattr(x, "columns") else _Polars._numbers(x).get_columns()
        for column in series:
            name = None if column is x else column.name
            if not column.dtype.is_numeric():
                raise ValueError(f"{_where(argument, name)} must be real numbers, got {column.dtype}")
            _check_missing(0 if nulls else column.null_count(), argument, name)
        narrow = bool(series) and all(str(column.dtype) == "Float32" for column in series)
        arrays = [column.to_numpy().astype(np.float32 if narrow else np.float64, copy=False) for column in series]
        if series and series[0] is x:
            return np.asarray(arrays[0])
        return np.column_stack(arrays) if arrays else np.empty((x.height, 0))

    @staticmethod
    def wrap(x: Any, result: NDArray[Any]) -> Any:
        if not hasattr(x, "columns"):
            return type(x)(x.name, result)
        out = type(x)(result, schema=_Polars._numbers(x).columns, orient="row")
        for name in _Polars._dates(x):
            out = out.insert_column(x.columns.index(name), x[name])
        return out

    @staticmethod
    def times(x: Any) -> tuple[NDArray[np.datetime64], str | None] | None:
        names = _Polars._dates(x) if hasattr(x, "columns") else []
        return _Polars.column_times(x[names[0]]) if names else None

    @staticmethod
    def column_times(column: Any) -> tuple[NDArray[np.datetime64], str | None] | None:
        if not str(column.dtype).startswith("Date"):
            return None
        zone = getattr(column.dtype, "time_zone", None)
        if zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.to_numpy().astype("M8[us]"), zone

    @staticmethod
    def column(x: Any, name: str) -> Any:
        return x[name] if name in getattr(x, "columns", ()) else None

    @staticmethod
    def without(x: Any, name: str) -> Any:
        return x.drop(name)

    @staticmethod
    def _dates(x: Any) -> list[str]:
        """The column of dates that names the rows, if there is one, beside others."""
        names = [name for name, dtype in x.schema.items() if str(dtype).startswith("Date")]
        return names if len(names) == 1 and x.width > 1 else []

    @staticmethod
    def _numbers(x: Any) -> Any:
        names = _Polars._dates(x)
        return x.drop(names) if names else x


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
