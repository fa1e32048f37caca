"""The same functions as methods of xarray's objects: ``da.evtkit.fit_tail()``, ``fits.evtkit.return_level(100)``."""

from __future__ import annotations

from typing import Any

import xarray as xr

from evtkit.interop.xarray.answers import goodness_of_fit, return_level, score, to_tail
from evtkit.interop.xarray.fitting import fit_tail

__all__: list[str] = []


@xr.register_dataarray_accessor("evtkit")
class _OfValues:
    """Of a DataArray of observations."""

    def __init__(self, da: xr.DataArray) -> None:
        self._da = da

    def fit_tail(self, dim: str = "time", **options: Any) -> xr.Dataset:
        """See `evtkit.interop.xarray.fit_tail`."""
        return fit_tail(self._da, dim, **options)


@xr.register_dataset_accessor("evtkit")
class _OfFits:
    """Of a Dataset of fits."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def return_level(self, period: Any, **options: Any) -> Any:
        """See `evtkit.interop.xarray.return_level`."""
        return return_level(self._ds, period, **options)

    def score(self, da: xr.DataArray, **options: Any) -> xr.DataArray:
        """See `evtkit.interop.xarray.score`."""
        return score(self._ds, da, **options)

    def goodness_of_fit(self) -> xr.Dataset:
        """See `evtkit.interop.xarray.goodness_of_fit`."""
        return goodness_of_fit(self._ds)

    def to_tail(self) -> Any:
        """See `evtkit.interop.xarray.to_tail`."""
        return to_tail(self._ds)
