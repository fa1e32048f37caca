"""evtkit in the tools of others, one small module an ecosystem; none is imported until you do.

- `evtkit.interop.sklearn`: `~evtkit.interop.sklearn.CalibratedDetector`, an alarm level for any outlier detector, and
  `~evtkit.interop.sklearn.PotDetector`, one that names the feature responsible
- `evtkit.interop.pyod`: `~evtkit.interop.pyod.PotThreshold`, a threshold for any detector of PyOD
- `evtkit.interop.xarray`: a tail for every cell of a grid, lazily and in parallel with Dask
- `evtkit.interop.dask`: tails of the columns or keys of tables that are larger than memory
- `evtkit.interop.river`: `~evtkit.interop.river.SpotDetector` and `~evtkit.interop.river.SpotFilter` for River
"""
