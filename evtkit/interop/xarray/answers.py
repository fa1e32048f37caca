"""What follows a fit, cell by cell: levels, probabilities, tests, and the Tail itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from evtkit.dated import Dates
from evtkit.dated.dates import PERIODS
from evtkit.interop.xarray.labels import INTEGERS, SINGLE, check_values, plain
from evtkit.tail import Tail
from evtkit.tail.labelled import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["goodness_of_fit", "return_level", "score", "to_tail"]


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
    if "period" in ds["xi"].dims:
        raise ValueError("ds must have no cells along 'period', as levels have it; rename that dimension")
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
    values = plain(da, "da")[0]
    check_values(values)
    fits, cells = _inputs(ds)
    if absent := [d for d in cells if d not in values.dims]:
        raise ValueError(
            f"da must have the dimensions of the cells, {cells}, got none of {', '.join(map(str, absent))}"
        )
    order = [d for d in values.dims if d not in cells]
    values_first = values.transpose(*order, *cells)
    side, how = str(ds.attrs["side"]), str(ds.attrs["method"])

    def block(x: NDArray[Any], *arrays: NDArray[Any]) -> NDArray[Any]:
        shape = np.broadcast_shapes(*(a.shape for a in arrays[: len(SINGLE)]))[-len(cells) or None :]
        shape = shape if cells else ()
        tail = _tail_of(arrays, shape, side, how)
        rows = x.reshape(-1, tail.threshold.size).astype(np.float64)
        known = ~np.isnan(rows) & (tail.n > 0)
        filled = np.where(known, rows, np.where(np.isnan(tail.threshold), 0.0, tail.threshold))
        return np.where(known, np.asarray(tail.sf(filled, law=law)), np.nan).reshape(x.shape)

    out = xr.apply_ufunc(
        block, values_first, *fits, input_core_dims=[[], *([] for _ in SINGLE), ["rank"]],
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
    arrays = [np.asarray(plain(one, "ds")[0].transpose(*cells, ...).values) for one in fits]
    tail = _tail_of(arrays, arrays[0].shape, str(ds.attrs["side"]), str(ds.attrs["method"]))
    names = ds[cells[0]].values if len(cells) == 1 and cells[0] in ds.coords else None
    if names is not None and names.dtype.kind in "UOT":
        return Tail(**{**vars_of(tail), "names": names.astype(np.str_)})
    return tail if cells else tail[0]


def vars_of(tail: Tail) -> dict[str, Any]:
    """The arrays and words that a tail is made of."""
    return {name: getattr(tail, name) for name in (*VARIABLES, "side", "method")}


# -- fits as arrays ----------------------------------------------------------------------------------------------------


def _check_fits(ds: Any) -> None:
    if not isinstance(ds, xr.Dataset):
        raise ValueError(f"ds must be the Dataset that fit_tail returns, got {type(ds).__name__}")
    if absent := [n for n in SINGLE if n not in ds] + [n for n in ("side", "method") if n not in ds.attrs]:
        raise ValueError(f"ds must be the Dataset that fit_tail returns, got one without {', '.join(absent)}")


def _inputs(ds: xr.Dataset) -> tuple[list[xr.DataArray], tuple[Hashable, ...]]:
    """The arrays of the fits, the largest observations last, and the dimensions of the cells."""
    _check_fits(ds)
    cells = ds["xi"].dims
    fits = [plain(ds[name], name)[0].transpose(*cells) for name in SINGLE]
    if "largest" in ds:
        last = plain(ds["largest"], "largest")[0].transpose(*cells, "rank")
        fits.append(last.chunk({"rank": -1}) if last.chunks else last)
    else:
        none = xr.full_like(fits[0], np.nan, dtype=np.float64)  # Dask's functions do not take arrays of no width
        fits.append(none.expand_dims(rank=1, axis=-1))
    return fits, cells


def _tail_of(arrays: Sequence[NDArray[Any]], shape: tuple[int, ...], side: str, method: str) -> Tail:
    """The tail of a block of cells."""
    flat: dict[str, Any] = {
        name: np.broadcast_to(a, shape).reshape(-1).astype(np.int64 if name in INTEGERS else np.float64)
        for name, a in zip(SINGLE, arrays, strict=False)
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
        shaped = [np.asarray(a, dtype=np.float64).reshape((*shape, *extra.values())) for a in found]
        return tuple(shaped) if len(shaped) > 1 else shaped[0]

    found = xr.apply_ufunc(
        block, *fits, input_core_dims=[*([] for _ in SINGLE), ["rank"]], output_core_dims=[list(extra)] * len(names),
        dask="parallelized", output_dtypes=[np.float64] * len(names), dask_gufunc_kwargs={"output_sizes": dict(extra)},
    )  # fmt: skip
    arrays = found if isinstance(found, tuple) else (found,)
    return xr.Dataset(dict(zip(names, arrays, strict=True)))


def _observations(ds: xr.Dataset, per: str | float) -> float:
    """How many observations `per` is."""
    if not isinstance(per, str):
        return Dates(np.empty(0, dtype="M8[us]")).observations_per(per)
    if "observations_per_year" not in ds.attrs:
        raise ValueError(f"per={per!r} needs dates; fit along a dimension with dates, or give a number of observations")
    if per not in PERIODS:
        raise ValueError(f"per must be a number or one of {', '.join(map(repr, PERIODS))}, got {per!r}")
    return float(ds.attrs["observations_per_year"]) * PERIODS[per]


def _period_units(per: str | float) -> str:
    return per if isinstance(per, str) else "1"
