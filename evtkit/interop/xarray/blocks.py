"""A block of cells, each fitted by itself; and a task a block where the data are Dask's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit import peaks
from evtkit.fit import FitStatus
from evtkit.interop.xarray.labels import INTEGERS, SINGLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit.tail import Tail

__all__ = ["fit_blocks"]


def fit_blocks(x: Any, levels: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The arrays of the tails of all cells, x (cells …, observations), by name: Dask's where x is, a task a block."""
    names = (*SINGLE, "largest")
    if not hasattr(x, "dask"):
        return dict(zip(names, _fit_block(x, levels, **options), strict=True))
    import dask.array

    cells, kept = tuple(range(x.ndim - 1)), _numbers(x)
    arguments: list[Any] = [x, (*cells, x.ndim)]  # in one chunk along the last axis: a list of one block, never copied
    if levels is not None:
        level = dask.array.asarray(np.asarray(levels) if not hasattr(levels, "dask") else levels)
        arguments += [level.rechunk(x.chunks[:-1]) if level.ndim else float(level), cells if level.ndim else None]
    every = dask.array.blockwise(
        _fit_one_chunk, cells, *arguments, dtype=object, meta=np.empty((0,) * len(cells), dtype=object),
        options=options, concatenate=False,
    )  # fmt: skip
    out = {}
    for place, name in enumerate(names):
        dtype = np.dtype(np.int64) if name in INTEGERS else kept if name == "largest" else np.dtype(np.float64)
        more = (options["width"],) if name == "largest" else ()
        out[name] = dask.array.map_blocks(
            _pick, every, place, dtype=dtype, chunks=(*every.chunks, *((n,) for n in more)),
            new_axis=[every.ndim] if more else None, meta=np.empty((0,) * (every.ndim + len(more)), dtype=dtype),
        )  # fmt: skip
    return out


def _numbers(x: Any) -> np.dtype[Any]:
    """The type of a fit's largest values, of such data."""
    return np.dtype(np.float32 if x.dtype.kind == "f" and x.dtype.itemsize <= 4 else np.float64)


def _fit_one_chunk(x: Any, *levels: Any, options: dict[str, Any]) -> tuple[NDArray[Any], ...]:
    return _fit_block(x[0] if isinstance(x, list) else x, *levels, **options)


def _pick(found: tuple[NDArray[Any], ...], place: int) -> NDArray[Any]:
    return found[place]


def _fit_block(
    x: NDArray[Any],
    levels: NDArray[Any] | float | None = None,
    *,
    quantile: float | None,
    n_excess: int | None,
    side: str,
    missing: str,
    width: int,
    n_threads: int | None,
    **options: Any,
) -> tuple[NDArray[Any], ...]:
    """The arrays of the tails of a block of cells, x (cells …, observations)."""
    shape, rows = x.shape[:-1], x.shape[-1]
    columns = x.reshape(-1, rows).T
    cells = columns.shape[1]
    out: dict[str, NDArray[Any]] = {name: np.full(cells, np.nan) for name in SINGLE}
    for name in INTEGERS:
        out[name] = np.zeros(cells, dtype=np.int64)
    out["resolution"][:] = 0.0
    out["status"][:] = FitStatus.EMPTY
    out["largest"] = np.full((cells, width), np.nan, dtype=_numbers(x))
    given = None if levels is None else np.broadcast_to(np.asarray(levels, dtype=np.float64), shape).reshape(-1)
    there = _with_values(columns)
    if given is not None:
        there &= ~np.isnan(given)
    if np.any(there):
        some = columns if np.all(there) else columns[:, there]
        if missing == "raise" and np.any(bad := np.isnan(some).any(axis=0)):
            raise ValueError(
                f"cells must have all observations or none, got {np.count_nonzero(bad)} that lack some; missing='drop' "
                "fits them to those they have"
            )
        rule: dict[str, Any] = {"quantile": quantile, "n_excess": n_excess}
        if given is not None:
            rule = {"threshold": given[there]}
        tail = _fitted(some, rule, side=side, n_threads=n_threads, **options)
        for name in SINGLE:
            out[name][there] = getattr(tail, name)
        if width:
            _fill_largest(out["largest"], there, tail, width)
    arrays = [out[name].reshape(shape) for name in SINGLE]
    return (*arrays, out["largest"].reshape(*shape, width))


def _with_values(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which cells have observations at all; only those whose first is missing are looked at to the end."""
    there = np.ones(columns.shape[1], dtype=bool)
    if columns.dtype.kind == "f":
        doubtful = np.flatnonzero(np.isnan(columns[0]))
        there[doubtful] = [not np.isnan(columns[:, c]).all() for c in doubtful]
    return there


def _fitted(columns: NDArray[Any], rule: dict[str, Any], *, side: str, **options: Any) -> Tail:
    """`evtkit.fit_tail`, which refuses data none of which can be fitted: here that is a status, as in other blocks."""

    def fit(x: NDArray[Any], **how: Any) -> Tail:
        return peaks.fit_tail(x, side=side, missing="drop", keep_sample=False, **how, **options)

    try:
        return fit(columns, **rule)
    except ValueError:
        beside = np.arange(len(columns), dtype=columns.dtype)  # a cell that can be
        if "threshold" in rule:
            rule = {"threshold": np.append(rule["threshold"], 0.5 if side == "upper" else len(columns) - 1.5)}
        return fit(np.column_stack([columns, beside]), **rule)[list(range(columns.shape[1]))]


def _fill_largest(out: NDArray[Any], there: NDArray[np.bool_], tail: Tail, width: int) -> None:
    """The most extreme observations, at the right of so many places."""
    most = int(tail.n_excess.max())
    if most > width:
        raise ValueError(f"keep must be at least {most}, the most excesses of a cell, got room for {width}")
    wide = tail.largest.shape[1]
    out[there, max(0, width - wide) :] = tail.largest[:, max(0, wide - width) :]
