"""How often do alarms come on independent data, against the risk that was asked for? evtkit beside libspot.

    python benchmarks/calibration.py --tables docs/tables

Eight distributions; risks 1e-3 and 1e-4; calibration on 2,000 and 10,000 observations. A replication is a new
calibration sample and a new stream after it. Rates differ between replications, because each has its own fit, and that
is where the bands come from: mean ± 1.96 standard errors over replications. All contestants see the same numbers; of
libspot's replications there are fewer, for it is called observation by observation.

Columns are multiples of the nominal risk:

fit             a fit (`fit_tail`) that is never updated: the true probability beyond its level, which needs no stream
theory          the same if the tail were exactly generalised Pareto, with the distribution's limiting ξ: what a sample
                of this size must cost. What `fit` has beyond it is the distribution's distance from its limit
Spot, libspot   share of alarms in the stream, the model being updated as it goes
late            the same in the last quarter of the stream alone
"""

from __future__ import annotations

import argparse
import csv
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _timing import machine
from libspot import ANOMALY
from libspot import Spot as LibSpot
from scipy import stats

import evtkit
from evtkit import fit_tail, gpd

RISKS = (1e-3, 1e-4)
SIZES = (2_000, 10_000)
QUANTILE = 0.98
MAX_EXCESS = 1_000  # kept, by both programs
BATCHES = 20  # of the stream; a quarter is five of them


class Law(NamedTuple):
    """A distribution, and the shape that its tail has in the limit."""

    name: str
    of: stats.rv_continuous
    xi: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Independent values; those that SciPy draws by inverting its cdf are drawn faster."""
        match self.name:
            case "normal":
                return rng.standard_normal(shape)
            case "exponential":
                return rng.standard_exponential(shape)
            case "uniform":
                return rng.random(shape)
            case "log-normal":
                return np.exp(rng.standard_normal(shape))
            case "Pareto":
                return np.exp(rng.standard_exponential(shape) / 3.0)
        return self.of.rvs(size=shape, random_state=rng)


LAWS = (
    Law("normal", stats.norm(), 0.0),
    Law("exponential", stats.expon(), 0.0),
    Law("Student t, 2 df", stats.t(2), 1 / 2),
    Law("Student t, 4 df", stats.t(4), 1 / 4),
    Law("log-normal", stats.lognorm(1.0), 0.0),
    Law("uniform", stats.uniform(), -1.0),
    Law("Pareto, α = 3", stats.pareto(3.0), 1 / 3),
    Law("gamma, shape 2", stats.gamma(2.0), 0.0),
)


class Rates(NamedTuple):
    """Multiples of the nominal risk, one a replication."""

    whole: np.ndarray
    late: np.ndarray

    @classmethod
    def of(cls, alarms: np.ndarray, rows: int, risk: float) -> Rates:
        """From the numbers of alarms in each batch of a stream, batches × replications."""
        late = BATCHES // 4
        return cls(alarms.sum(0) / (rows * risk), alarms[-late:].sum(0) / (rows * late / BATCHES * risk))


def mean(rates: np.ndarray) -> str:
    """Mean with its 95 % band over replications."""
    return f"{rates.mean():.2f} ± {1.96 * rates.std(ddof=1) / np.sqrt(len(rates)):.2f}"


def alarms_of_libspot(detectors: list[LibSpot], batch: np.ndarray) -> np.ndarray:
    """Alarms in each column."""
    return np.array([list(map(one.step, batch[:, c].tolist())).count(ANOMALY) for c, one in enumerate(detectors)])


def measure(number: int, streams: int, rows: int, libspot_streams: int, seed: int) -> list[dict[str, str]]:
    """The rows of the table for one distribution."""
    law, rng = LAWS[number], np.random.default_rng([seed, number])
    calibration = law.draw(rng, (max(SIZES), streams))
    cases = [(size, risk) for size in SIZES for risk in RISKS]
    spots, theirs = {}, {}
    for size, risk in cases:
        first = calibration[:size]
        spots[size, risk] = evtkit.Spot(risk, QUANTILE, max_excess=MAX_EXCESS, n_threads=1).fit(first)
        theirs[size, risk] = [LibSpot(q=risk, level=QUANTILE, max_excess=MAX_EXCESS) for _ in range(libspot_streams)]
        for c, one in enumerate(theirs[size, risk]):
            one.fit(np.ascontiguousarray(first[:, c]))
    ours_alarms = {case: np.zeros((BATCHES, streams)) for case in cases}
    their_alarms = {case: np.zeros((BATCHES, libspot_streams)) for case in cases}
    for b in range(BATCHES):
        batch = law.draw(rng, (rows // BATCHES, streams))
        for case in cases:
            ours_alarms[case][b] = np.count_nonzero(spots[case].update(batch) == ANOMALY, axis=0)
            their_alarms[case][b] = alarms_of_libspot(theirs[case], batch)
    table = []
    for size, risk in cases:
        level = fit_tail(calibration[:size], quantile=QUANTILE, n_threads=1).isf(risk)
        exact = gpd.rvs(law.xi, 1.0, (size, streams), rng=rng)
        ideal = gpd.sf(fit_tail(exact, quantile=QUANTILE, n_threads=1).isf(risk), law.xi, 1.0) / risk
        fit = law.of.sf(level) / risk
        ours, libspot = (Rates.of(a[size, risk], rows, risk) for a in (ours_alarms, their_alarms))
        table.append(
            {
                "distribution": law.name,
                "calibrated on": f"{size:,}",
                "risk": f"{risk:.0e}".replace("e-0", "e-"),
                "theory": mean(ideal),
                "fit": mean(fit),
                "9 in 10 fits": "{:.2f} – {:.2f}".format(*np.quantile(fit, [0.05, 0.95])),
                "Spot": mean(ours.whole),
                "Spot, late": mean(ours.late),
                "libspot": mean(libspot.whole),
                "libspot, late": mean(libspot.late),
            }
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1_000, help="replications")
    parser.add_argument("--rows", type=int, default=100_000, help="observations of each stream")
    parser.add_argument("--libspot-streams", type=int, default=200, help="replications of libspot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tables", type=Path, help="folder for calibration.csv")
    options = parser.parse_args()

    start = time.perf_counter()
    work = partial(
        measure,
        streams=options.streams,
        rows=options.rows // BATCHES * BATCHES,
        libspot_streams=options.libspot_streams,
        seed=options.seed,
    )
    with ProcessPoolExecutor(options.jobs) as pool:
        table = [row for rows in pool.map(work, range(len(LAWS))) for row in rows]
    print(
        f"{machine()}; {options.streams} replications, of libspot {options.libspot_streams}, {options.rows:,} rows each"
    )
    print(f"{time.perf_counter() - start:.0f} s; multiples of the nominal risk, mean ± 1.96 standard errors\n")
    widths = {key: max(len(key), *(len(row[key]) for row in table)) for key in table[0]}
    for row in [{key: key for key in widths}, {key: "=" * width for key, width in widths.items()}, *table]:
        print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
    if options.tables:
        options.tables.mkdir(parents=True, exist_ok=True)
        with (options.tables / "calibration.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(widths), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
