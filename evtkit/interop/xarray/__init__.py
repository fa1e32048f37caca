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

from evtkit.interop.xarray import accessor as accessor
from evtkit.interop.xarray.answers import goodness_of_fit, return_level, score, to_tail
from evtkit.interop.xarray.fitting import fit_tail

__all__ = ["fit_tail", "goodness_of_fit", "return_level", "score", "to_tail"]
