"""A grid that is cut in time: rechunked before it is fitted, or summarised chunk by chunk with a cutoff.

    python benchmarks/time_chunks.py [--cells 850] [--days 15000] [--chunk 500]

A fit needs the largest values of a cell only. If a lower bound of those is known beforehand, a chunk hands on the
values beyond it, and sums; a tree joins them. Here a cell's bound comes from two chunks, and is checked in the end.
CPU of two workers beyond idling, the smallest of three; megabytes that leave the tasks that read. Both ways end in
the same tails, which is asserted.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings

import numpy as np
from grids import Workers, grid

from evtkit import TailSketch
from evtkit._moments import join


def bound(chunks, capacity: int, n: int):
    """Cells' lower bounds of the `capacity` largest of n, from some of the chunks: a little lower than expected."""
    seen = np.concatenate([chunk.reshape(len(chunk), -1) for chunk in chunks])
    expected = len(seen) * capacity / n
    rank = min(len(seen), int(expected + 3.5 * np.sqrt(expected)) + 1)
    return np.partition(seen, len(seen) - rank, axis=0)[len(seen) - rank]


def leaf(chunk, bounds, capacity: int):
    """What is beyond the bounds, cell behind cell, how many that are, and the sums of all."""
    sketch = TailSketch(bounds.size, capacity, dtype=chunk.dtype, n_threads=1)
    sketch._cutoff[:] = bounds
    sketch.update(chunk.reshape(len(chunk), -1))
    there = np.arange(sketch._rows.shape[1]) < sketch._fill[:, None]
    return [(sketch._rows[there], sketch._fill)], sketch._moments, sketch._minimum, sketch.count


def joined(parts):
    kept, moments, least, count = parts[0]
    for more, other, smaller, fresh in parts[1:]:
        kept, moments, least, count = kept + more, join(moments, other), np.minimum(least, smaller), count + fresh
    return kept, moments, least, count


def fitted(parts, capacity: int, rule):
    kept, moments, least, count = joined(parts)
    fills = np.array([fill for _, fill in kept])
    if np.any(fills.sum(axis=0) < np.minimum(capacity, count)):
        raise ValueError("a bound was too high: these cells need another pass")
    sketch = TailSketch(count.size, capacity, dtype=kept[0][0].dtype, n_threads=1)
    for values, fill in kept:
        rows = np.full((fill.size, int(fill.max())), np.nan, dtype=values.dtype)
        rows[np.arange(rows.shape[1]) < fill[:, None]] = values
        sketch._keep(np.ascontiguousarray(rows.T))
    sketch._moments, sketch._minimum, sketch.count = moments, least, count
    return sketch.fit(**rule)


def main() -> None:
    import dask
    import xarray as xr

    from evtkit.interop import xarray as grids
    from evtkit.sketch.fitting import capacity_for

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=850)
    parser.add_argument("--days", type=int, default=15_000)
    parser.add_argument("--chunk", type=int, default=500)
    given = parser.parse_args()
    da = grid(given.cells, given.days)
    print(
        f"{given.cells} cells × {given.days} days, {da.nbytes / 1e6:.0f} MB of float32 in chunks of {given.chunk} days"
    )
    print(f"{'rule':20s} {'way':10s} {'CPU s':>8s} {'wall s':>8s} {'MB handed on':>13s}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), Workers(2) as workers:
        warnings.simplefilter("ignore")
        da.chunk({"time": given.chunk, "lat": -1, "lon": -1}).to_dataset(name="x").to_zarr(
            folder, mode="w", encoding={"x": {"compressors": None}}
        )
        stored = xr.open_zarr(folder).x
        for rule in ({"quantile": 0.99}, {"quantile": 0.95}, {}):
            capacity = capacity_for(np.full(1, given.days), rule.get("quantile"))
            whole = grids.fit_tail(stored, rechunk=True, **rule)
            seconds, wall = workers.cost(whole.compute)
            print(f"{rule!s:20s} {'rechunked':10s} {seconds:8.2f} {wall:8.2f} {da.nbytes / 1e6:13.0f}", flush=True)
            blocks = stored.data.to_delayed().ravel().tolist()
            some = [blocks[len(blocks) // 4], blocks[3 * len(blocks) // 4]]
            bounds = dask.delayed(bound)(some, capacity, given.days)
            parts = [dask.delayed(leaf)(block, bounds, capacity) for block in blocks]
            leaves = list(parts)
            while len(parts) > 8:
                parts = [dask.delayed(joined)(parts[i : i + 8]) for i in range(0, len(parts), 8)]
            end = dask.delayed(fitted)(parts, capacity, rule)
            seconds, wall = workers.cost(end.compute)
            handed = sum(part[0][0][0].nbytes + part[1].nbytes for part in dask.compute(*leaves))
            print(f"{rule!s:20s} {'cutoffs':10s} {seconds:8.2f} {wall:8.2f} {handed / 1e6:13.0f}", flush=True)
            tail, found = end.compute(), whole.compute()
            assert np.array_equal(tail.xi, found.xi.values.ravel())
            assert np.array_equal(tail.std, found["std"].values.ravel())


if __name__ == "__main__":
    main()
