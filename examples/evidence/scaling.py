"""How time and memory of calibration and of fitting grow with the filters and with the samples.

    python examples/evidence/scaling.py --output DIR [--threads 1] [--quick]

Measured, on synthetic float32 profiles in batches of 100: gamma and lognormal columns of sizes six decades apart, a few
with Pareto tails, 2 % of dead filters, all zero. From 500 to 32,000 filters at 2,000 samples, and from 500 to 32,000
samples at 2,000 filters:

- "evtkit update": a TailSketch for the 0.9 quantile, made and updated with every batch;
- "numpy partition", "numpy sort": all profiles kept, then every filter's partitioned at the threshold, or sorted, as
  the published approach has them. The array is made beforehand in the layout that came out fastest, (filters, samples),
  and partitioned in place, so that nothing is held twice. Unlike the sketch it gets neither mean, variance nor minimum,
  and nobody checks that values are finite;
- "evtkit fit": TailSketch.fit, which orders the kept values and fits all tails;
- "scipy fit": genpareto.fit(excess, floc=0) of 50 filters drawn at random from those that have excesses, handed over
  ready made, and extrapolated to all such filters: the rows say "extrapolated". The smallest number of filters is
  also fitted in full, "scipy fit of all", to show how good that extrapolation is.

Not measured: the gradients themselves (benchmarks/profile_torch.py), drawing the synthetic profiles, and compiling. How
the curves go on beyond the grid is not known either.

Three repeats: in each, every point of the grid is measured once, one after the other, and within a point all take turns
on the same batches, two to eight times, of which the fastest counts. scipy has one turn a repeat, for it takes longer;
on a busy machine that is a little to its disadvantage. Curves are the minimum over repeats. A slope is that of least
squares through log seconds against log filters or samples; its standard error is that of the mean of the repeats' own
slopes, from three of them a rough figure. Curves that bend have a last slope, between their last two points, far from
that of all; slopes.csv has both. scipy's slope against the filters is near one because it is extrapolated.

Bytes come from a turn of their own (repeat 0), by tracemalloc, which counts what NumPy allocates: "held" is what is
left afterwards, "peak" the most at any moment, without the batch. Workspaces of compiled functions, below a MiB a
thread, are not seen. For a fit, "held" is the sketch and its tails.

Likelihoods are compared once: shares of the filters fitted where scipy's is lower, or higher, by more than 1e-6 an
excess, and the largest shortfall an excess; the same for excesses that were divided by their mean before scipy got them
("scaled"), for its optimiser has absolute tolerances. A filter that evtkit does not fit counts as higher.

Results: <output>/scaling/scaling.csv, a row a measurement, and slopes.csv; <output>/pictures/evidence-scaling.png. Rows
that exist are not measured again. With --quick, a small grid, under names of its own.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tables
from matplotlib.figure import Figure
from scipy.stats import genpareto

from evtkit import TailSketch, gpd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from evtkit.tail import Tail

QUANTILE, BATCH, REPEATS = 0.9, 100, 3
SIZES, MIDDLE = (500, 2_000, 8_000, 32_000), 2_000
QUICK_SIZES, QUICK_MIDDLE = (250, 500, 1_000), 500
SOME = 50  # filters that scipy fits
MANY = 150_000_000  # values; a point is measured as often in a repeat as fit into these, up to eight times
KEY = ("filters", "samples", "threads", "method", "repeat")
HEADER = (
    *KEY, "seconds", "filters_timed", "us_per_filter", "bytes_held", "bytes_peak",
    "scipy_lower", "scipy_higher", "largest_shortfall",
    "scaled_scipy_lower", "scaled_scipy_higher", "scaled_largest_shortfall",
)  # fmt: skip
UPDATE, PARTITION, SORT = "evtkit update", "numpy partition", "numpy sort"
FIT, SCIPY, SCIPY_ALL = "evtkit fit", "scipy fit, extrapolated", "scipy fit of all"
LOOKS = {
    UPDATE: ("#1f77b4", "o-"), PARTITION: ("#8a8a8a", "s--"), SORT: ("#bc7a00", "^--"),
    FIT: ("#4f9d69", "o-"), SCIPY: ("#c1352b", "D:"),
}  # fmt: skip


class Profiles:
    """Synthetic profiles, the same ones every time."""

    def __init__(self, filters: int, samples: int) -> None:
        rng = np.random.default_rng([filters, samples])
        self.filters, self.samples = filters, samples
        dead, heavy = max(1, filters // 50), filters // 25
        self.gamma = rng.uniform(0.5, 3.0, (filters - dead - heavy) // 2).astype(np.float32)
        self.spread = rng.uniform(0.4, 1.2, filters - dead - heavy - self.gamma.size).astype(np.float32)
        self.heavy = rng.uniform(0.3, 0.8, heavy).astype(np.float32)
        self.scale = (10.0 ** rng.uniform(-6.0, 0.0, filters)).astype(np.float32)
        self.order = rng.permutation(filters)

    def batches(self) -> Iterator[np.ndarray]:
        """Blocks of rows; no other memory is held meanwhile."""
        rng = np.random.default_rng([self.filters, self.samples, 1])
        for start in range(0, self.samples, BATCH):
            rows = min(BATCH, self.samples - start)
            block = np.zeros((rows, self.filters), dtype=np.float32)
            a, b = self.gamma.size, self.gamma.size + self.spread.size
            c = b + self.heavy.size
            block[:, :a] = rng.standard_gamma(self.gamma, (rows, a), dtype=np.float32)
            block[:, a:b] = np.exp(self.spread * rng.standard_normal((rows, b - a), dtype=np.float32))
            block[:, b:c] = np.exp(self.heavy * rng.standard_exponential((rows, c - b), dtype=np.float32))
            block *= self.scale
            block = np.take(block, self.order, axis=1)
            yield block

    @property
    def place(self) -> int:
        """Of the threshold among a filter's values in order."""
        return int(QUANTILE * self.samples)


class Sketch:
    """A TailSketch of just the capacity."""

    def __init__(self, profiles: Profiles, threads: int) -> None:
        self.sketch = TailSketch(
            profiles.filters, profiles.samples - profiles.place, dtype=np.float32, n_threads=threads
        )

    def add(self, batch: np.ndarray) -> None:
        """Take in a batch."""
        self.sketch.update(batch)

    def end(self) -> None:
        """Nothing is left to do."""


class Kept:
    """All profiles, partitioned or sorted in the end."""

    def __init__(self, profiles: Profiles, how: str) -> None:
        self.values = np.empty((profiles.filters, profiles.samples), dtype=np.float32)
        self.place, self.how, self.filled = profiles.place, how, 0

    def add(self, batch: np.ndarray) -> None:
        """Take in a batch."""
        self.values[:, self.filled : self.filled + len(batch)] = batch.T
        self.filled += len(batch)

    def end(self) -> None:
        """Put each filter's values in order, as far as asked."""
        if self.how == SORT:
            self.values.sort(axis=1)
        else:
            self.values.partition(self.place, axis=1)


def makers(profiles: Profiles, threads: int) -> dict[str, Callable[[], Any]]:
    return {
        UPDATE: lambda: Sketch(profiles, threads),
        PARTITION: lambda: Kept(profiles, PARTITION),
        SORT: lambda: Kept(profiles, SORT),
    }


def bytes_used(profiles: Profiles, threads: int) -> dict[str, dict[str, Any]]:
    """What each holds, and its peak, by the name of the method."""
    found: dict[str, dict[str, Any]] = {}
    for name, make in makers(profiles, threads).items():
        batches, peak = profiles.batches(), 0
        tracemalloc.start()
        it = make()
        for batch in batches:
            tracemalloc.reset_peak()
            it.add(batch)
            peak = max(peak, tracemalloc.get_traced_memory()[1] - batch.nbytes)
        del batch, batches
        tracemalloc.reset_peak()
        it.end()
        found[name] = _bytes(max(peak, tracemalloc.get_traced_memory()[1]))
        if name == UPDATE:
            tracemalloc.reset_peak()
            tail = it.sketch.fit(quantile=QUANTILE)
            found[FIT] = _bytes(tracemalloc.get_traced_memory()[1])
            del tail
        tracemalloc.stop()
    return found


def _bytes(peak: int) -> dict[str, Any]:
    return {"bytes_held": tracemalloc.get_traced_memory()[0], "bytes_peak": peak}


def seconds_used(profiles: Profiles, threads: int, repeat: int, in_full: bool) -> dict[str, dict[str, Any]]:
    """Seconds of each, by the name of the method."""
    best: dict[str, float] = {}
    for turn in range(min(8, max(1, MANY // (profiles.filters * profiles.samples)))):
        spent, tail = one_turn(profiles, threads, repeat + turn)
        best = {name: min(seconds, best.get(name, np.inf)) for name, seconds in spent.items()}
    found = {name: _seconds(seconds, profiles.filters, profiles.filters) for name, seconds in best.items()}
    alive = np.flatnonzero(tail.n_excess > 0)
    some = np.random.default_rng(0).permutation(alive)[:SOME]
    for name, those in {SCIPY: some, SCIPY_ALL: alive}.items() if in_full else [(SCIPY, some)]:
        excesses = [excess(tail, i) for i in those]
        seconds, fits = _timed(lambda excesses=excesses: by_scipy(excesses))
        found[name] = _seconds(seconds, len(those), len(alive))
        if repeat == 1:
            found[name] |= likelihoods(tail, those, excesses, fits)
    return found


def one_turn(profiles: Profiles, threads: int, turn: int) -> tuple[dict[str, float], Tail]:
    """Seconds of all but scipy, on the same batches by turns, and the tails."""
    spent: dict[str, float] = {}
    contestants: dict[str, Any] = {}
    for name, make in makers(profiles, threads).items():
        spent[name], contestants[name] = _timed(make)
    names = list(contestants)
    for number, batch in enumerate(profiles.batches()):
        first = (turn + number) % len(names)  # who goes first may find the batch out of the cache
        for name in names[first:] + names[:first]:
            spent[name] += _timed(lambda it=contestants[name], batch=batch: it.add(batch))[0]
    for name, it in contestants.items():
        spent[name] += _timed(it.end)[0]
    spent[FIT], tail = _timed(lambda: contestants[UPDATE].sketch.fit(quantile=QUANTILE))
    return spent, tail


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _seconds(seconds: float, timed: int, wanted: int) -> dict[str, Any]:
    return {"seconds": seconds / timed * wanted, "filters_timed": timed, "us_per_filter": seconds / timed * 1e6}


def excess(tail: Tail, i: int) -> np.ndarray:
    return tail.largest[i, -int(tail.n_excess[i]) :].astype(np.float64) - tail.threshold[i]


def by_scipy(excesses: list[np.ndarray]) -> list[tuple[float, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = [genpareto.fit(y, floc=0) for y in excesses]
    return [(xi, sigma) for xi, _, sigma in fits]


def likelihoods(tail: Tail, some: np.ndarray, excesses: list[np.ndarray], fits: list[Any]) -> dict[str, float]:
    """How scipy's likelihoods compare with evtkit's, an excess."""

    def gaps(theirs: list[Any]) -> tuple[float, float, float]:
        gap = np.array([
            np.mean(gpd.logpdf(y, tail.xi[i], tail.sigma[i])) - np.mean(gpd.logpdf(y, *fit))
            for i, y, fit in zip(some, excesses, theirs, strict=True)
        ])  # fmt: skip
        gap[np.isnan(gap)] = -np.inf  # no fit of ours: scipy's is the higher one
        return float(np.mean(gap > 1e-6)), float(np.mean(gap < -1e-6)), float(gap.max())

    means = [float(y.mean()) for y in excesses]
    scaled = by_scipy([y / mean for y, mean in zip(excesses, means, strict=True)])
    again = [(xi, sigma * mean) for (xi, sigma), mean in zip(scaled, means, strict=True)]
    names = ("scipy_lower", "scipy_higher", "largest_shortfall")
    return dict(zip(names, gaps(fits), strict=True)) | {
        f"scaled_{name}": value for name, value in zip(names, gaps(again), strict=True)
    }


def measure(path: Path, points: list[tuple[int, int]], threads: int) -> list[dict[str, str]]:
    """The table, complete; it is written after every point, and what it has is not measured again."""
    done = {tuple(row[name] for name in KEY): row for row in tables.read(path)} if path.exists() else {}
    one_turn(Profiles(100, 100), threads, 0)  # compiles, and imports what is imported late
    for repeat in range(REPEATS + 1):
        for filters, samples in points:
            in_full = filters == min(f for f, _ in points)
            names = [UPDATE, PARTITION, SORT, FIT]
            if repeat:
                names += [SCIPY, SCIPY_ALL] if in_full else [SCIPY]
            keys = {name: tuple(map(str, (filters, samples, threads, name, repeat))) for name in names}
            if all(key in done for key in keys.values()):
                continue
            profiles = Profiles(filters, samples)
            found = seconds_used(profiles, threads, repeat, in_full) if repeat else bytes_used(profiles, threads)
            for name, key in keys.items():
                if key not in done:
                    done[key] = dict(zip(KEY, key, strict=True)) | found[name]
            tables.write(path, HEADER, ([row.get(name, "") for name in HEADER] for row in done.values()))
            print(f"repeat {repeat}: {filters} filters, {samples} samples", flush=True)
    return tables.read(path)


class Curves:
    """Curves of the table: at the sizes of one grid, on so many threads."""

    def __init__(self, rows: list[dict[str, str]], sizes: tuple[int, ...], middle: int, threads: int) -> None:
        self.sizes, self.middle = sizes, middle
        self.cells = {
            tuple(row[name] for name in KEY if name != "threads"): row for row in rows if int(row["threads"]) == threads
        }

    def cell(self, against: str, size: int, method: str, repeat: int, what: str) -> float:
        """One figure of the table."""
        point = (size, self.middle) if against == "filters" else (self.middle, size)
        return float(self.cells[tuple(map(str, (*point, method, repeat)))][what])

    def turns(self, against: str, method: str, what: str) -> np.ndarray:
        """One curve a repeat."""
        repeats = range(1, REPEATS + 1) if what == "seconds" else [0]
        return np.array([[self.cell(against, size, method, r, what) for size in self.sizes] for r in repeats])

    def curve(self, against: str, method: str, what: str = "seconds") -> np.ndarray:
        """The minimum over repeats."""
        return self.turns(against, method, what).min(axis=0)

    def slope(self, against: str, method: str, what: str = "seconds") -> tuple[float, float]:
        """Slope of the curve and its standard error over repeats (NaN for bytes, which do not vary)."""
        x = np.log(self.sizes)
        each = [np.polyfit(x, np.log(y), 1)[0] for y in self.turns(against, method, what)]
        error = np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
        return float(np.polyfit(x, np.log(self.curve(against, method, what)), 1)[0]), float(error)


def last_slope(curves: Curves, y: np.ndarray) -> float:
    return float(np.log(y[-1] / y[-2]) / np.log(curves.sizes[-1] / curves.sizes[-2]))


def write_slopes(path: Path, curves: Curves) -> None:
    rows = []
    for against in ("filters", "samples"):
        for what in ("seconds", "bytes_held", "bytes_peak"):
            for method in LOOKS:
                if what == "seconds" or method != SCIPY:
                    y, (slope, error) = curves.curve(against, method, what), curves.slope(against, method, what)
                    ends = curves.sizes[0], curves.sizes[-1], curves.middle
                    spread = error if what == "seconds" else ""
                    rows.append((against, what, method, slope, spread, last_slope(curves, y), *ends, y[0], y[-1]))
    header = (
        "against", "what", "method", "slope", "standard_error", "last_slope", "from", "to", "at", "at_first", "at_last",
    )  # fmt: skip
    tables.write(path, header, rows)


def draw(path: Path, curves: Curves) -> None:
    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    other = {"filters": "samples", "samples": "filters"}
    for ax, against in zip(panels, other, strict=True):
        for method, (colour, look) in LOOKS.items():
            slope, error = curves.slope(against, method)
            label = f"{method}: {slope:.2f} ± {error:.2f}"
            ax.loglog(curves.sizes, curves.curve(against, method), look, color=colour, label=label, markersize=4)
        ax.set_xlabel(f"{against}, at {curves.middle:,} {other[against]}")
        ax.set_xticks(curves.sizes, [f"{size:,}" for size in curves.sizes])
        ax.minorticks_off()
        ax.grid(alpha=0.3, linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(
            title="least-squares slope ± standard error", fontsize=8, title_fontsize=8, frameon=False,
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2,
        )  # fmt: skip
    panels[0].set_ylabel("seconds, minimum of three")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=92, metadata={"Software": None})


def report(curves: Curves) -> None:
    """Ratios, printed."""
    for against in ("filters", "samples"):
        y = {name: curves.curve(against, name) for name in LOOKS}
        held = {name: curves.curve(against, name, "bytes_held") / 2**20 for name in (UPDATE, PARTITION)}
        peak = {name: curves.curve(against, name, "bytes_peak") / 2**20 for name in (UPDATE, FIT, PARTITION)}
        print(
            f"\n{against:>8s} scipy/evtkit partition/update sort/update   "
            "MiB held: sketch, kept   peak: update, fit, kept"
        )
        for i, size in enumerate(curves.sizes):
            print(
                f"{size:8d} {y[SCIPY][i] / y[FIT][i]:12.0f} {y[PARTITION][i] / y[UPDATE][i]:16.2f} "
                f"{y[SORT][i] / y[UPDATE][i]:11.2f} {held[UPDATE][i]:18.1f} {held[PARTITION][i]:8.1f} "
                f"{peak[UPDATE][i]:10.1f} {peak[FIT][i]:6.1f} {peak[PARTITION][i]:7.1f}"
            )


def main(output: Path, threads: int, quick: bool) -> None:
    sizes, middle, suffix = (QUICK_SIZES, QUICK_MIDDLE, "-quick") if quick else (SIZES, MIDDLE, "")
    points = list(dict.fromkeys([(size, middle) for size in sizes] + [(middle, size) for size in sizes]))
    folder = output / f"scaling{suffix}"
    curves = Curves(measure(folder / "scaling.csv", points, threads), sizes, middle, threads)
    write_slopes(folder / "slopes.csv", curves)
    draw(output / "pictures" / f"evidence-scaling{suffix}.png", curves)
    report(curves)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not needed: the profiles are made up")
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    main(given.output, given.threads, given.quick)
