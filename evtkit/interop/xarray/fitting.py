"""From observations of cells to the Dataset of their fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr

from evtkit._common.checks import whole_number
from evtkit.estimators import METHODS
from evtkit.fit import rounding_steps
from evtkit.interop.xarray.blocks import fit_blocks
from evtkit.interop.xarray.labels import OF_VARIABLE, check_values, per_year, plain, quantified
from evtkit.tail.labelled import VARIABLES, dataset
from evtkit.threshold.rules import ALIKE, Thresholds, how_many

__all__ = ["fit_tail"]


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
        If `da` is no DataArray with this dimension, or holds values as a file packs them (attributes ``scale_factor``,
        ``_FillValue`` and the like, which xarray takes away when it decodes them); or as in `evtkit.fit_tail`, of data
        in chunks when they are computed.

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
    data, units, quantity = plain(da, "da")
    check_values(data)
    if not isinstance(dim, str) or dim not in data.dims:
        there = ", ".join(map(repr, data.dims)) or "none, as da is a single value"
        raise ValueError(f"dim must be a dimension of da, one of {there}, got {dim!r}")
    _check_names(data, dim)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    rounding_steps(resolution, 1)
    if not isinstance(keep, bool):
        keep = whole_number(keep, "keep", 1)
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
    parts = fit_blocks(data.transpose(*cells, dim).data, levels, options)
    if not width:
        del parts["largest"]
    attrs = {
        "side": side, "method": method, "observations_per_year": per_year(data[dim]),
        "variable": data.name if isinstance(data.name, str) else None,
        **{k: v for k, v in da.attrs.items() if k not in OF_VARIABLE},
    }  # fmt: skip
    return quantified(dataset(parts, [str(d) for d in cells], coords, attrs, units), quantity)


def _levels(threshold: Any, data: xr.DataArray, dim: str, units: str | None) -> Any:
    """Thresholds as a number or by cell, chunked as the data are."""
    if not isinstance(threshold, xr.DataArray):
        if np.ndim(threshold) or not np.isfinite(level := float(threshold)):
            raise ValueError("threshold must be a finite number, or a DataArray of one a cell")
        return level
    levels, own, _ = plain(threshold, "threshold")
    if own is not None and units is not None and own != units:
        raise ValueError(f"threshold must be in the units of da, {units!r}, got {own!r}")
    if strange := [str(d) for d in levels.dims if d not in data.dims or d == dim]:
        raise ValueError(f"threshold must have dimensions of the cells only, got {', '.join(map(repr, strange))}")
    return levels


def _check_names(data: xr.DataArray, dim: str) -> None:
    """Cells cannot be named as the arrays of the fits are."""
    names = {*map(str, data.dims), *(str(name) for name, one in data.coords.items() if dim not in one.dims)} - {dim}
    if taken := sorted(names & {*VARIABLES, "rank"}):
        raise ValueError(f"da must have no dimension or coordinate {', '.join(map(repr, taken))}, as fits have; rename")


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
