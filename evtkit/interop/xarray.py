"""Tails of every cell of a grid: xarray in, xarray out, lazily and in parallel where the data are Dask's.

Each block of cells is fitted by itself, in one thread, by `evtkit.fit_tail`: blocks, workers and their number never
change a bit of the result. The functions here take the Dataset that `fit_tail` returns, or one that was written with
``to_zarr`` or ``to_netcdf`` and opened again.

Examples
--------
>>> import numpy as np, xarray as xr
>>> from evtkit.interop.xarray import fit_tail, return_level, score
>>> days = np.arange("1990-01-01", "2010-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
>>> rain = xr.DataArray(
...     np.random.default_rng(0).weibull(0.8, (len(days), 2, 3)),
...     dims=("time", "lat", "lon"), coords={"time": days, "lat": [50.0, 51.0]}, attrs={"units": "mm d-1"},
... )
>>> fits = fit_tail(rain)
>>> fits.sigma.dims, fits.sigma.attrs["units"]
(('lat', 'lon'), 'mm d-1')
>>> return_level(fits, [10, 100], per="year").dims
('period', 'lat', 'lon')
>>> float(score(fits, rain.isel(time=0)).max()) <= 1.0
True
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from evtkit import peaks
from evtkit.dated import Dates
from evtkit.fit import FitStatus
from evtkit.tail import Tail
from evtkit.tail.labelled import VARIABLES, dataset
from evtkit.threshold.rules import ALIKE, Thresholds, how_many

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["fit_tail", "goodness_of_fit", "return_level", "score", "to_tail"]

_INTEGERS = ("n", "n_excess", "status", "left_out")
_SINGLE = tuple(name for name in VARIABLES if name != "largest")


def fit_tail(
    da: xr.DataArray,
    dim: str = "time",
    *,
    quantile: float | None = None,
    threshold: float | xr.DataArray | None = None,
    n_excess: int | None = None,
    side: str = "upper",
    missing: str = "drop",
    method: str = "mle",
    resolution: float | None = None,
    clean: bool | None = None,
    keep: bool | int = True,
    rechunk: bool | None = None,
) -> xr.Dataset:
    """Fit a tail to every cell: `evtkit.fit_tail` along one dimension. Lazy where `da` is in chunks.

    Parameters
    ----------
    da : xarray.DataArray
        Observations along `dim`, and cells along any other dimensions. Units of pint, and the attribute ``units``, are
        those of the result.
    dim : str
        The dimension of the observations.
    quantile, n_excess, side, method, resolution, clean
        As in `evtkit.fit_tail`; with none of the three rules the default threshold.
    threshold : float or xarray.DataArray
        The threshold, or one a cell.
    missing : str
        "drop" fits each cell to the observations it has (`n` counts them); "raise" refuses cells that lack only some.
        Either way a cell without any, such as one of the ocean, has the status EMPTY.
    keep : bool or int
        Keep each cell's excesses in ``largest``, which `score`, intervals and tests need. A number is how many there is
        room for, which has to be known beforehand for a `threshold` and data in chunks; more are an error.
    rechunk : bool, optional
        What to do where `dim` is in several chunks, while a fit needs all of a cell's observations: rechunk and warn
        (the default), rechunk in silence (True), or refuse (False).

    Returns
    -------
    xarray.Dataset
        The arrays of a `evtkit.Tail` by their names, along the dimensions of the cells, with their coordinates;
        ``status`` is the cell's `evtkit.FitStatus`.

    Raises
    ------
    ValueError
        If `da` is no DataArray with this dimension, or as in `evtkit.fit_tail`; of data in chunks, when they are
        computed.

    See Also
    --------
    to_tail : the fits as a `evtkit.Tail`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from evtkit.interop.xarray import fit_tail
    >>> days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> x = np.random.default_rng(0).weibull(0.8, (len(days), 2))
    >>> rain = xr.DataArray(x, dims=("time", "site"), coords={"time": days})
    >>> fits = fit_tail(rain)
    >>> sorted(fits.data_vars)[:3], fits.xi.dims
    (['cov', 'largest', 'left_out'], ('site',))
    """
    data, units, quantity = _plain(da, "da")
    if dim not in data.dims:
        raise ValueError(f"dim must be a dimension of da, one of {', '.join(map(repr, data.dims))}, got {dim!r}")
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be 'raise' or 'drop', got {missing!r}")
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
    levels = threshold
    if threshold is not None:
        levels = _levels(threshold, data, dim, units)
        how_many(np.array([data.sizes[dim]]), 1, quantile, 0.0, n_excess, 2)  # not two rules
    data = _one_chunk(data, dim, rechunk)
    width = _width(data, dim, levels, (quantile, n_excess), side, keep)
    options: dict[str, Any] = {
        "quantile": quantile, "n_excess": n_excess, "side": side, "missing": missing, "method": method,
        "resolution": resolution, "clean": clean, "width": width, "n_threads": 1 if data.chunks else None,
    }  # fmt: skip
    cells = [d for d in data.dims if d != dim]
    coords = {name: one for name, one in data.coords.items() if dim not in one.dims}
    if isinstance(levels, xr.DataArray):
        like = data.isel({dim: 0}, drop=True)
        levels = xr.align(xr.broadcast(levels, like)[0].transpose(*cells), like, join="exact")[0].data
    parts = _fit_blocks(data.transpose(*cells, dim).data, levels, options)
    if not width:
        del parts["largest"]
    attrs = {
        "side": side, "method": method, "observations_per_year": _per_year(data[dim]),
        "variable": data.name if isinstance(data.name, str) else None,
        **{k: v for k, v in da.attrs.items() if k not in _OF_VARIABLE},
    }  # fmt: skip
    return _quantified(dataset(parts, [str(d) for d in cells], coords, attrs, units), quantity)


def return_level(
    ds: xr.Dataset,
    period: ArrayLike,
    *,
    per: str | float = 1.0,
    interval: float | None = None,
    method: str = "bartlett",
    extremal_index: float = 1.0,
) -> Any:
    """The level of every cell that is exceeded once in `period`, on average; see `evtkit.Tail.return_level`.

    Parameters
    ----------
    ds : xarray.Dataset
        Fits.
    period : float or sequence of them
        Numbers of what `per` says; a sequence gives a dimension ``period``.
    per : str or float
        "year", "month", "week", "day" or "hour", where `fit_tail` saw dates; or a number of observations.
    interval : float in (0, 1), optional
        Also confidence limits at this level.
    method, extremal_index
        As there.

    Returns
    -------
    xarray.DataArray, or xarray.Dataset
        A Dataset of ``return_level``, ``lower`` and ``upper`` where an interval is asked for.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from evtkit.interop.xarray import fit_tail, return_level
    >>> days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> x = np.random.default_rng(0).weibull(0.8, (len(days), 2))
    >>> rain = xr.DataArray(x, dims=("time", "site"), coords={"time": days})
    >>> return_level(fit_tail(rain), 100, per="year").round(1).values
    array([17.1, 16.8])
    """
    periods = np.asarray(period, dtype=np.float64)
    if periods.ndim > 1:
        raise ValueError(f"period must be a number or a sequence of them, got shape {periods.shape}")
    _check_fits(ds)
    each, many = _observations(ds, per), periods.ndim > 0
    options: dict[str, Any] = {"extremal_index": extremal_index}
    if interval is not None:
        options |= {"interval": interval, "method": method}

    def levels(tail: Tail) -> list[NDArray[Any]]:
        nothing = (tail.n_excess == 0) & np.isnan(tail.largest).all(axis=1)  # known of the cell: its levels are NaN
        tail = replace(tail, n=np.where(nothing, 0, tail.n))
        found = tail.return_level(periods.reshape(-1) * each, **options)
        arrays = [found] if interval is None else [found.estimate, found.lower, found.upper]
        return [np.moveaxis(np.asarray(a), 0, -1) for a in arrays]

    names = ["return_level"] if interval is None else ["return_level", "lower", "upper"]
    units = ds["threshold"].attrs.get("units")
    out = _of_cells(ds, levels, names, {"period": periods.size})
    out = out.transpose("period", ...)
    out = out.assign_coords(
        period=("period", periods.reshape(-1), {"long_name": "return period", "units": _period_units(per)})
    )
    out = out if many else out.isel(period=0)
    for name, text in (("return_level", "return level"), ("lower", "lower limit"), ("upper", "upper limit")):
        if name in out:
            out[name].attrs = {"long_name": text} | ({} if units is None else {"units": units})
    if interval is None:
        return out["return_level"]
    return out.assign_attrs(confidence_level=interval, method=method)


def score(ds: xr.Dataset, da: xr.DataArray, *, law: str = "predictive") -> xr.DataArray:
    """How improbable is each value in its cell: `evtkit.Tail.sf`, lazily, in the chunks of `da`.

    Parameters
    ----------
    ds : xarray.Dataset
        Fits, with the excesses kept for ``law="predictive"``.
    da : xarray.DataArray
        Values of the same cells, along any other dimensions, in the same units.
    law : {"predictive", "plug-in"}
        As there.

    Returns
    -------
    xarray.DataArray
        Probabilities, shaped as `da`; NaN where the value is missing, and in cells without observations.

    Raises
    ------
    ValueError
        If the cells are others, the excesses were not kept, or the law is unknown.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from evtkit.interop.xarray import fit_tail, score
    >>> days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> x = np.random.default_rng(0).weibull(0.8, (len(days), 2))
    >>> rain = xr.DataArray(x, dims=("time", "site"), coords={"time": days})
    >>> score(fit_tail(rain), rain).min("time").round(6).values
    array([0.000289, 0.000313])
    """
    if law not in ("predictive", "plug-in"):
        raise ValueError(f"law must be 'predictive' or 'plug-in', got {law!r}")
    _check_fits(ds)
    if law == "predictive" and "largest" not in ds:
        raise ValueError("law='predictive' needs the excesses; fit with keep=True, or take law='plug-in'")
    values = _plain(da, "da")[0]
    fits, cells = _inputs(ds)
    if absent := [d for d in cells if d not in values.dims]:
        raise ValueError(
            f"da must have the dimensions of the cells, {cells}, got none of {', '.join(map(str, absent))}"
        )
    order = [d for d in values.dims if d not in cells]
    values_first = values.transpose(*order, *cells)
    side, how = str(ds.attrs["side"]), str(ds.attrs["method"])

    def block(x: NDArray[Any], *arrays: NDArray[Any]) -> NDArray[Any]:
        shape = np.broadcast_shapes(*(a.shape for a in arrays[: len(_SINGLE)]))[-len(cells) or None :]
        shape = shape if cells else ()
        tail = _tail_of(arrays, shape, side, how)
        rows = x.reshape(-1, tail.threshold.size).astype(np.float64)
        known = ~np.isnan(rows) & (tail.n > 0)
        filled = np.where(known, rows, np.where(np.isnan(tail.threshold), 0.0, tail.threshold))
        return np.where(known, np.asarray(tail.sf(filled, law=law)), np.nan).reshape(x.shape)

    out = xr.apply_ufunc(
        block, values_first, *fits, input_core_dims=[[], *([] for _ in _SINGLE), ["rank"]],
        dask="parallelized", output_dtypes=[np.float64], join="exact",
        dask_gufunc_kwargs={"allow_rechunk": True},
    )  # fmt: skip
    out = cast("xr.DataArray", out).transpose(*values.dims).rename("probability")
    out.attrs = {"long_name": "probability of a value as extreme", "units": "1"}
    return out


def goodness_of_fit(ds: xr.Dataset) -> xr.Dataset:
    """Do the excesses of each cell follow the fitted distribution? `evtkit.gof.goodness_of_fit`, by its table.

    Returns
    -------
    xarray.Dataset
        ``w2``, ``a2`` and their p-values ``p_w2``, ``p_a2``, by cell.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from evtkit.interop.xarray import fit_tail, goodness_of_fit
    >>> days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> x = np.random.default_rng(0).weibull(0.8, (len(days), 2))
    >>> rain = xr.DataArray(x, dims=("time", "site"), coords={"time": days})
    >>> goodness_of_fit(fit_tail(rain)).p_a2.round(2).values
    array([0.24, 0.25])
    """
    _check_fits(ds)
    if "largest" not in ds:
        raise ValueError("a test needs the excesses; fit with keep=True")
    names = ["w2", "a2", "p_w2", "p_a2"]

    def tested(tail: Tail) -> list[NDArray[Any]]:
        if not tail.n_excess.any():
            return [np.full(len(tail), np.nan)] * 4
        found = tail.goodness_of_fit()
        return [np.asarray(getattr(found, name)) for name in names]

    out = _of_cells(ds, tested, names, {})
    for name, text in zip(names, ("Cramér-von Mises", "Anderson-Darling") * 2, strict=True):
        out[name].attrs = {"long_name": f"{'p-value of the ' if name[0] == 'p' else ''}{text} statistic", "units": "1"}
    return out


def to_tail(ds: xr.Dataset) -> Tail:
    """The fits as one `evtkit.Tail`, computed: a channel a cell, the last of their dimensions running fastest.

    A text coordinate of a single dimension of cells gives the channels' names. Without kept excesses the tail knows its
    parameters only: plug-in probabilities and levels.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from evtkit.interop.xarray import fit_tail, to_tail
    >>> days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> x = np.random.default_rng(0).weibull(0.8, (len(days), 2))
    >>> rain = xr.DataArray(x, dims=("time", "site"), coords={"time": days})
    >>> len(to_tail(fit_tail(rain)))
    2
    """
    fits, cells = _inputs(ds)
    arrays = [np.asarray(_plain(one, "ds")[0].transpose(*cells, ...).values) for one in fits]
    tail = _tail_of(arrays, arrays[0].shape, str(ds.attrs["side"]), str(ds.attrs["method"]))
    names = ds[cells[0]].values if len(cells) == 1 and cells[0] in ds.coords else None
    if names is not None and names.dtype.kind in "UOT":
        return Tail(**{**vars_of(tail), "names": names.astype(np.str_)})
    return tail if cells else tail[0]


def vars_of(tail: Tail) -> dict[str, Any]:
    """The arrays and words that a tail is made of."""
    return {name: getattr(tail, name) for name in (*VARIABLES, "side", "method")}


# -- blocks ---------------------------------------------------------------------------------------------------------


def _fit_blocks(x: Any, levels: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The arrays of the tails of all cells, x (cells …, observations), by name: Dask's where x is, a task a block."""
    names = (*_SINGLE, "largest")
    if not hasattr(x, "dask"):
        return dict(zip(names, _fit_block(x, levels, **options), strict=True))
    import dask.array

    cells, kept = tuple(range(x.ndim - 1)), np.dtype(np.float32 if x.dtype == np.float32 else np.float64)
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
        dtype = np.dtype(np.int64) if name in _INTEGERS else kept if name == "largest" else np.dtype(np.float64)
        more = (options["width"],) if name == "largest" else ()
        out[name] = dask.array.map_blocks(
            _pick, every, place, dtype=dtype, chunks=(*every.chunks, *((n,) for n in more)),
            new_axis=[every.ndim] if more else None, meta=np.empty((0,) * (every.ndim + len(more)), dtype=dtype),
        )  # fmt: skip
    return out


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
    out: dict[str, NDArray[Any]] = {name: np.full(cells, np.nan) for name in _SINGLE}
    for name in _INTEGERS:
        out[name] = np.zeros(cells, dtype=np.int64)
    out["resolution"][:] = 0.0
    out["status"][:] = FitStatus.EMPTY
    out["largest"] = np.full((cells, width), np.nan, dtype=columns.dtype if columns.dtype.kind == "f" else np.float64)
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
        for name in _SINGLE:
            out[name][there] = getattr(tail, name)
        if width:
            _fill_largest(out["largest"], there, tail, width)
    arrays = [out[name].reshape(shape) for name in _SINGLE]
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


# -- fits as arrays ----------------------------------------------------------------------------------------------------


def _check_fits(ds: Any) -> None:
    if not isinstance(ds, xr.Dataset):
        raise ValueError(f"ds must be the Dataset that fit_tail returns, got {type(ds).__name__}")
    if absent := [n for n in _SINGLE if n not in ds] + [n for n in ("side", "method") if n not in ds.attrs]:
        raise ValueError(f"ds must be the Dataset that fit_tail returns, got one without {', '.join(absent)}")


def _inputs(ds: xr.Dataset) -> tuple[list[xr.DataArray], tuple[Hashable, ...]]:
    """The arrays of the fits, the largest observations last, and the dimensions of the cells."""
    _check_fits(ds)
    cells = ds["xi"].dims
    fits = [_plain(ds[name], name)[0].transpose(*cells) for name in _SINGLE]
    if "largest" in ds:
        last = _plain(ds["largest"], "largest")[0].transpose(*cells, "rank")
        fits.append(last.chunk({"rank": -1}) if last.chunks else last)
    else:
        none = xr.full_like(fits[0], np.nan, dtype=np.float64)  # Dask's functions do not take arrays of no width
        fits.append(none.expand_dims(rank=1, axis=-1))
    return fits, cells


def _tail_of(arrays: Sequence[NDArray[Any]], shape: tuple[int, ...], side: str, method: str) -> Tail:
    """The tail of a block of cells."""
    flat: dict[str, Any] = {
        name: np.broadcast_to(a, shape).reshape(-1).astype(np.int64 if name in _INTEGERS else np.float64)
        for name, a in zip(_SINGLE, arrays, strict=False)
    }
    largest = arrays[-1]
    rows = np.ascontiguousarray(largest.reshape(flat["xi"].size, largest.shape[-1]))
    return Tail(**flat, largest=rows, side=side, method=method)


def _of_cells(
    ds: xr.Dataset, answer: Callable[[Tail], list[NDArray[Any]]], names: Sequence[str], extra: Mapping[str, int]
) -> xr.Dataset:
    """What a tail says, by cell: arrays (cells, extra …), one a name."""
    fits, _ = _inputs(ds)
    side, method = str(ds.attrs["side"]), str(ds.attrs["method"])

    def block(*arrays: NDArray[Any]) -> Any:
        shape = arrays[0].shape
        found = answer(_tail_of(arrays, shape, side, method))
        shaped = [np.asarray(a, dtype=np.float64).reshape(*shape, *extra.values()) for a in found]
        return tuple(shaped) if len(shaped) > 1 else shaped[0]

    found = xr.apply_ufunc(
        block, *fits, input_core_dims=[*([] for _ in _SINGLE), ["rank"]], output_core_dims=[list(extra)] * len(names),
        dask="parallelized", output_dtypes=[np.float64] * len(names), dask_gufunc_kwargs={"output_sizes": dict(extra)},
    )  # fmt: skip
    arrays = found if isinstance(found, tuple) else (found,)
    return xr.Dataset(dict(zip(names, arrays, strict=True)))


# -- what is asked for -------------------------------------------------------------------------------------------------

_OF_VARIABLE = frozenset({
    "units", "standard_name", "long_name", "cell_methods", "valid_min", "valid_max", "valid_range", "_FillValue",
    "missing_value", "scale_factor", "add_offset", "flag_values", "flag_meanings", "grid_mapping",
})  # fmt: skip
"""Attributes that say what the values of a variable are; those of a fit are others."""


def _plain(da: Any, name: str) -> tuple[xr.DataArray, str | None, Any]:
    """A DataArray without pint, its units, and how to put pint back."""
    if not isinstance(da, xr.DataArray):
        raise ValueError(f"{name} must be an xarray.DataArray, got {type(da).__name__}")
    inner = da.variable._data if hasattr(da.variable, "_data") else da.data
    if hasattr(inner, "magnitude") and hasattr(inner, "units"):  # what is not pint has no magnitude
        plain = da.copy(data=inner.magnitude)
        return plain, str(inner.units), type(inner)
    units = da.attrs.get("units")
    return da, None if units is None else str(units), None


def _quantified(ds: xr.Dataset, quantity: Any) -> xr.Dataset:
    """With the units of the attributes as those of pint."""
    if quantity is None:
        return ds
    for name in ds.data_vars:
        if VARIABLES[str(name)][1] == "data":
            units = ds[name].attrs.pop("units")
            ds[name] = ds[name].copy(data=quantity(ds[name].data, units))
    return ds


def _levels(threshold: Any, data: xr.DataArray, dim: str, units: str | None) -> Any:
    """Thresholds as a number or by cell, chunked as the data are."""
    if not isinstance(threshold, xr.DataArray):
        return float(threshold)
    levels, own, _ = _plain(threshold, "threshold")
    if own is not None and units is not None and own != units:
        raise ValueError(f"threshold must be in the units of da, {units!r}, got {own!r}")
    if strange := [str(d) for d in levels.dims if d not in data.dims or d == dim]:
        raise ValueError(f"threshold must have dimensions of the cells only, got {', '.join(map(repr, strange))}")
    return levels


def _one_chunk(data: xr.DataArray, dim: str, rechunk: bool | None) -> xr.DataArray:
    """The data with all of a cell's observations in one chunk."""
    if not data.chunks or len(data.chunksizes[dim]) == 1:
        return data
    cut = len(data.chunksizes[dim])
    if rechunk is False:
        raise ValueError(f"{dim!r} must be in one chunk for a fit, got {cut}; rechunk, or let rechunk=True do it")
    whole = data.chunk({d: -1 if d == dim else "auto" for d in data.dims})
    if rechunk is None:
        plan = " × ".join(f"{max(whole.chunksizes[d])} {d}" for d in whole.dims)
        blocks = int(np.prod([len(sizes) for sizes in whole.chunks or ()]))
        warnings.warn(
            f"{dim!r} is in {cut} chunks and a fit needs one: rechunked to blocks of {plan}, {blocks} of them, which "
            "moves all data between workers; rechunk=True does so in silence",
            UserWarning, stacklevel=3,
        )  # fmt: skip
    return whole


def _width(
    data: xr.DataArray, dim: str, levels: Any, rule: tuple[float | None, int | None], side: str, keep: bool | int
) -> int:
    """How many of the most extreme observations of a cell there is room for."""
    n = data.sizes[dim]
    if keep is False:
        return 0
    if keep is not True:
        return int(min(int(keep), n))
    if levels is None:
        found = how_many(np.array([n]), 1, rule[0], None, rule[1], 2)
        assert not isinstance(found, Thresholds)
        by_default = rule[0] is None and rule[1] is None
        return min(n, ALIKE * (int(found[0]) - 1) + 1) if by_default else int(found[0])
    if data.chunks:
        raise ValueError(
            "keep must be a number, how many excesses a cell may have, or False, for a threshold and chunks"
        )
    beyond = (data > levels) if side == "upper" else (data < levels)
    return max(1, int(beyond.sum(dim).max()))


def _per_year(time: xr.DataArray) -> float | None:
    """Observations a year, where the coordinate has dates; of a calendar of its own, in years of that calendar."""
    if time.dtype.kind == "M":
        found = Dates(np.sort(time.values).astype("M8[us]")).per_year
        return float(found) if found > 0.0 else None
    values = time.values
    if time.dtype.kind == "O" and len(values) > 1 and hasattr(values[0], "calendar"):
        lengths = {"noleap": 365.0, "365_day": 365.0, "360_day": 360.0, "all_leap": 366.0, "366_day": 366.0}
        days = (values[-1] - values[0]).total_seconds() / 86400.0
        return float((len(values) - 1) / days) * lengths.get(values[0].calendar, 365.25)
    return None


def _observations(ds: xr.Dataset, per: str | float) -> float:
    """How many observations `per` is."""
    if not isinstance(per, str):
        return Dates(np.empty(0, dtype="M8[us]")).observations_per(per)
    if "observations_per_year" not in ds.attrs:
        raise ValueError(f"per={per!r} needs dates; fit along a dimension with dates, or give a number of observations")
    from evtkit.dated.dates import PERIODS

    if per not in PERIODS:
        raise ValueError(f"per must be a number or one of {', '.join(map(repr, PERIODS))}, got {per!r}")
    return float(ds.attrs["observations_per_year"]) * PERIODS[per]


def _period_units(per: str | float) -> str:
    return per if isinstance(per, str) else "1"
