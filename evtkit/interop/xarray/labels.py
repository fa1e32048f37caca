"""Units, attributes and dates of a DataArray, and which arrays a fit is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from evtkit.dated import Dates
from evtkit.tail.labelled import VARIABLES

__all__ = ["INTEGERS", "OF_VARIABLE", "SINGLE", "check_values", "per_year", "plain", "quantified"]

INTEGERS = ("n", "n_excess", "status", "left_out")
SINGLE = tuple(name for name in VARIABLES if name != "largest")

OF_VARIABLE = frozenset({
    "units", "standard_name", "long_name", "cell_methods", "valid_min", "valid_max", "valid_range", "_FillValue",
    "missing_value", "scale_factor", "add_offset", "flag_values", "flag_meanings", "grid_mapping",
})  # fmt: skip
"""Attributes that say what the values of a variable are; those of a fit are others."""


def plain(da: Any, name: str) -> tuple[xr.DataArray, str | None, Any]:
    """A DataArray without pint, its units, and how to put pint back."""
    if not isinstance(da, xr.DataArray):
        raise ValueError(f"{name} must be an xarray.DataArray, got {type(da).__name__}")
    inner = da.variable._data if hasattr(da.variable, "_data") else da.data
    if hasattr(inner, "magnitude") and hasattr(inner, "units"):  # what is not pint has no magnitude
        plain = da.copy(data=inner.magnitude)
        return plain, str(inner.units), type(inner)
    units = da.attrs.get("units")
    return da, None if units is None else str(units), None


def check_values(da: xr.DataArray) -> None:
    """Only numbers; those that a file packs, and marks of what is missing, would be taken for observations."""
    if da.dtype.kind not in "iuf":
        raise ValueError(f"da must hold real numbers, got an array of dtype {da.dtype}")
    found = [name for name in ("scale_factor", "add_offset", "_FillValue", "missing_value") if name in da.attrs]
    found = [name for name in found if not _is_nan(da.attrs[name])]
    if found:
        raise ValueError(
            f"da must hold decoded values, got the attributes {', '.join(found)}; open it with mask_and_scale=True, or "
            "decode it: xarray.decode_cf(da.to_dataset(name='x')).x; without a meaning, drop the attributes"
        )


def _is_nan(mark: Any) -> bool:
    return bool(np.all(np.asarray(mark) != np.asarray(mark)))


def quantified(ds: xr.Dataset, quantity: Any) -> xr.Dataset:
    """With the units of the attributes as those of pint."""
    if quantity is None:
        return ds
    for name in ds.data_vars:
        if VARIABLES[str(name)][1] == "data":
            units = ds[name].attrs.pop("units")
            ds[name] = ds[name].copy(data=quantity(ds[name].data, units))
    return ds


def per_year(time: xr.DataArray) -> float | None:
    """Observations a year, where the coordinate has dates; of a calendar of its own, in years of that calendar."""
    if time.dtype.kind == "M":
        known = time.values[~np.isnat(time.values)]
        found = Dates(np.sort(known).astype("M8[us]")).per_year
        return float(found) if found > 0.0 else None
    values = time.values
    if time.dtype.kind == "O" and len(values) > 1 and hasattr(values[0], "calendar"):
        lengths = {"noleap": 365.0, "365_day": 365.0, "360_day": 360.0, "all_leap": 366.0, "366_day": 366.0}
        days = (values.max() - values.min()).total_seconds() / 86400.0
        return float((len(values) - 1) / days) * lengths.get(values[0].calendar, 365.25) if days else None
    return None
