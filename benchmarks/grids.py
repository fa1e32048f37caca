"""Tails of a grid through xarray and Dask: what the engine costs beside `fit_tail`, and what other ways cost.

    python benchmarks/grids.py [--cells 1700] [--days 15000] [--curve | --others]

One block is 100 MB of float32 by default, generated. CPU seconds are those of the process that does the work, the
smallest of three; of workers, less what idle workers use in the same time. Memory is the peak of resident memory beyond
what was resident with the block in memory. With --curve also blocks of an eighth to a half, on one and two workers.
Only the columns of wall time need an idle machine. The last lines extrapolate to the grid of ERA5: 1,038,240 cells, 40
years of days, at the cost a value that was measured here, if reading keeps up and blocks are as large.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

ERA5 = 1_038_240, 14_610
ROWS = "{:64s} {:>12s} {:>8s}"


def grid(cells: int, days: int):
    import xarray as xr

    lat = next(n for n in range(int(cells**0.5), 0, -1) if cells % n == 0)
    x = np.random.default_rng(0).standard_exponential((days, lat, cells // lat), dtype=np.float32)
    return xr.DataArray(x, dims=("time", "lat", "lon"))


def cpu(call, times: int = 3) -> float:
    call()
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def peak(cells: int, days: int, ocean: float) -> float:
    """Peak memory beyond the block, in blocks, of a process of its own."""
    code = f"""
import json, resource, numpy as np
from evtkit.interop.xarray import fit_tail
import dask, xarray as xr
small = xr.DataArray(np.random.default_rng(0).random((200, 4), dtype=np.float32), dims=("time", "cell"))
dask.config.set(scheduler="synchronous")
fit_tail(small.chunk()).compute()
x = np.random.default_rng(0).standard_exponential(({days}, {cells}), dtype=np.float32)
x[:, : int({ocean} * {cells})] = np.nan
block = dask.array.from_array(x, chunks=-1, asarray=False, inline_array=True)
lazy = fit_tail(xr.DataArray(block, dims=("time", "cell")))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lazy.compute()
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / x.nbytes))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


class Workers:
    """So many worker processes of one thread, and what they use."""

    def __init__(self, number: int) -> None:
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=number, threads_per_worker=1, dashboard_address=None, silence_logs=50, memory_limit=0
        )
        self.client = Client(self.cluster)
        before = self._used()
        time.sleep(2.0)
        self.idle = (self._used() - before) / 2.0

    def _used(self) -> float:
        return sum(sum(used[:2]) for used in self.client.run(os.times).values())

    def cost(self, call) -> tuple[float, float]:
        """CPU seconds of all workers beyond idling, and wall seconds: the smallest of three."""
        call()
        used, walls = [], []
        for _ in range(3):
            before, start = self._used(), time.perf_counter()
            call()
            walls.append(time.perf_counter() - start)
            used.append(self._used() - before - self.idle * walls[-1])
        return min(used), min(walls)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *rest: object) -> None:
        self.client.close()
        self.cluster.close()


def from_zarr(folder: Path, da, sizes: list[int]) -> None:
    """Read and fit four blocks of each size, on one worker and on two."""
    import xarray as xr

    from evtkit import fit_tail as plain
    from evtkit.interop import xarray as grids

    print("\nfour blocks of zarr; CPU of a block ÷ that of fit_tail in memory; wall time of one worker ÷ two")
    print(f"{'a block, MB':>12s} {'workers':>8s} {'plain, s':>9s} {'read':>6s} {'read, fitted':>13s} {'fit alone':>10s}"
          f" {'wall, s':>8s} {'one ÷ two':>10s}")  # fmt: skip
    ones = {}
    for cells in sizes:
        part = da.stack(cell=("lat", "lon"), create_index=False).isel(cell=slice(0, cells))
        whole = xr.concat([part] * 4, "cell").chunk({"time": -1, "cell": cells})
        whole.to_dataset(name="x").to_zarr(folder / str(cells), mode="w", encoding={"x": {"compressors": None}})
        columns = np.ascontiguousarray(part.values)
        one = cpu(lambda columns=columns: plain(columns, keep_sample=False, n_threads=1))
        for number in (1, 2):
            with Workers(number) as workers:
                stored = xr.open_zarr(folder / str(cells)).x
                first = stored.data.map_blocks(lambda x: x[:1, :1], dtype=np.float32, chunks=(1, 1))
                read, _ = workers.cost(first.compute)
                both, wall = workers.cost(grids.fit_tail(stored).compute)
            ones.setdefault(cells, wall)
            ratio = f"{ones[cells] / wall:.2f}" if number == 2 else ""
            print(f"{columns.nbytes / 1e6:12.0f} {number:8d} {one:9.3f} {read / 4 / one:6.2f} {both / 4 / one:13.2f} "
                  f"{(both - read) / 4 / one:10.2f} {wall:8.2f} {ratio:>10s}", flush=True)  # fmt: skip


def others(da, one: float, row) -> None:
    """Fits of the same excesses, of twenty cells, as others make them; of as many cells as the grid has."""
    import xarray as xr
    from scipy.stats import genpareto

    from evtkit import fit_tail as plain

    columns = da.stack(cell=("lat", "lon"), create_index=False).isel(cell=slice(0, 20))
    tail = plain(columns.values, keep_sample=False)
    beyond = columns - xr.DataArray(tail.threshold, dims="cell")
    beyond = beyond.where(beyond > 0.0)
    cells = da[0].size / columns.sizes["cell"]

    def scipy_fit(x):
        shape, _, scale = genpareto.fit(x[x > 0.0], floc=0)
        return shape, scale

    ways = {
        "scipy.stats.genpareto.fit by apply_ufunc": lambda: xr.apply_ufunc(
            scipy_fit, beyond, input_core_dims=[["time"]], output_core_dims=[[], []], vectorize=True
        )
    }
    try:
        from xclim.indices.stats import fit

        ways["xclim.indices.stats.fit, genpareto"] = lambda: fit(
            beyond, dist="genpareto", method="ML", floc=0
        ).compute()
    except ImportError:
        print("xclim is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, way in ways.items():
            row(f"{name}, as many cells (from 20)", cpu(way, 1) * cells)


def main() -> None:
    import dask

    from evtkit import fit_tail as plain
    from evtkit.interop import xarray as grids

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=1700)
    parser.add_argument("--days", type=int, default=15_000)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--others", action="store_true", help="only fit_tail in memory, and what others make of it")
    given = parser.parse_args()
    da = grid(given.cells, given.days)
    columns = da.values.reshape(given.days, -1)
    one = cpu(lambda: plain(columns, keep_sample=False, n_threads=1))
    what = f"a block of {da.nbytes / 1e6:.0f} MB, {given.cells:,} cells × {given.days:,} days"
    print(ROWS.format(what, "CPU s", "÷ plain"))

    def row(what: str, seconds: float, blocks: float = 1.0) -> None:
        print(ROWS.format(what, f"{seconds:.3f}", f"{seconds / blocks / one:.2f}"), flush=True)

    row("fit_tail, one thread, in memory", one)
    if given.others:
        others(da, one, row)
        return
    block = dask.array.from_array(da.data, chunks=-1, asarray=False, inline_array=True)
    lazy = grids.fit_tail(da.copy(data=block))
    with dask.config.set(scheduler="synchronous"):
        row("evtkit.interop.xarray.fit_tail, one task", cpu(lambda: lazy.compute()))
    for ocean in (0.0, 0.6):
        print(ROWS.format(f"peak memory beyond the block, {ocean:.0%} of it ocean, in blocks",
                          f"{peak(given.cells, given.days, ocean):.2f}", ""), flush=True)  # fmt: skip

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = [given.cells // 8, given.cells // 4, given.cells // 2] if given.curve else []
        from_zarr(Path(folder), da, [*sizes, given.cells])

    others(da, one, row)
    hours = one * ERA5[0] * ERA5[1] / da.size / 3600
    print(ROWS.format("ERA5, 40 years of days: fits alone, CPU hours", f"{hours:.2f}", ""))


if __name__ == "__main__":
    main()
