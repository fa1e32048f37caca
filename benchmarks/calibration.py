"""How often do alarms come on independent data, against the risk that was asked for? evtkit beside libspot.

    python benchmarks/calibration.py --tables docs/tables

Eight distributions; risks 1e-3 and 1e-4; calibration on 2,000 and 10,000 observations. A replication is a new
calibration sample and a new stream after it. Rates differ between replications, because each has its own fit, and that
is where the bands come from: mean ± 1.96 standard errors over replications. All contestants see the same numbers; of
libspot's replications there are fewer, for it is called observation by observation.

Three tables, in multiples of the nominal risk:

fit      a fit (`fit_tail`) that is never updated: the true probability beyond its level, which needs no stream. Beside
         it, `exact tail`: the same if the tail were exactly generalised Pareto with the distribution's limiting ξ:
         what a sample of this size must cost; the rest is the distribution's distance from its limit
stream   share of alarms in a stream, the model being updated as it goes; `impute`, `ignore` and `learn` are what it
         takes from an alarm, see `evtkit.Spot`
drift    the same along a longer stream of exponential values. `theory`: the fit to infinitely many excesses of which
         those above the level of the turn before are missing, once for each time that the memory has been renewed
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
from evtkit import fit_gpd, fit_tail, gpd

RISKS = (1e-3, 1e-4)
SIZES = (2_000, 10_000)
QUANTILE = 0.98
MAX_EXCESS = 1_000  # kept, by both programs
BLOCK = 500  # fits at once
BATCHES = 20  # that a stream comes in
TURN = 50_000  # observations that renew a memory of 1,000 excesses over the 98 % quantile


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


def mean(rates: np.ndarray) -> str:
    """Mean with its 95 % band over replications."""
    return f"{rates.mean():.2f} ± {1.96 * rates.std(ddof=1) / np.sqrt(len(rates)):.2f}"


class Theirs:
    """libspot's detectors, one a stream, called as evtkit's are."""

    def __init__(self, risk: float, first: np.ndarray, on_alarm: str) -> None:
        self.learns = on_alarm == "learn"
        self.streams = [
            LibSpot(q=risk, level=QUANTILE, max_excess=MAX_EXCESS, discard_anomalies=not self.learns)
            for _ in range(first.shape[1])
        ]
        for c, stream in enumerate(self.streams):
            stream.fit(np.ascontiguousarray(first[:, c]))

    def alarms(self, batch: np.ndarray) -> np.ndarray:
        """Alarms of each stream in a batch."""
        columns = batch[:, : len(self.streams)].T.tolist()
        pairs = zip(self.streams, columns, strict=True)
        if self.learns:  # it does not report what it learns
            return np.array(
                [sum((x > stream.anomaly_threshold) | (stream.step(x) < 0) for x in xs) for stream, xs in pairs]
            )
        return np.array([list(map(stream.step, xs)).count(ANOMALY) for stream, xs in pairs])


class Ours:
    """`evtkit.Spot` on all streams at once."""

    def __init__(self, risk: float, first: np.ndarray, on_alarm: str) -> None:
        self.spot = evtkit.Spot(risk, QUANTILE, max_excess=MAX_EXCESS, on_alarm=on_alarm, n_threads=1).fit(first)

    def alarms(self, batch: np.ndarray) -> np.ndarray:
        """Alarms of each stream in a batch."""
        return np.count_nonzero(self.spot.update(batch) == ANOMALY, axis=0)


def contest(risk: float, first: np.ndarray, theirs: int) -> dict[str, Ours | Theirs]:
    """All contestants, calibrated; libspot on the first streams only."""
    return {f"Spot, {on_alarm}": Ours(risk, first, on_alarm) for on_alarm in ("impute", "ignore", "learn")} | {
        f"libspot, {on_alarm}": Theirs(risk, first[:, :theirs], on_alarm) for on_alarm in ("ignore", "learn")
    }


def case(law: Law, size: int, risk: float) -> dict[str, str]:
    """The first columns of a row."""
    return {"distribution": law.name, "calibrated on": f"{size:,}", "risk": f"{risk:.0e}".replace("e-0", "e-")}


def fits(number: int, replications: int, seed: int) -> list[dict[str, str]]:
    """How far fits are off that are never updated."""
    law, rng = LAWS[number], np.random.default_rng([seed, number])
    rows = []
    for size in SIZES:
        true, exact = [], []  # blocks × risks × fits
        for _ in range(replications // BLOCK):
            tail, ideal = (
                fit_tail(x, quantile=QUANTILE, n_threads=1, keep_sample=False)
                for x in (law.draw(rng, (size, BLOCK)), gpd.rvs(law.xi, 1.0, (size, BLOCK), rng=rng))
            )
            true.append([law.of.sf(tail.isf(risk, law="plug-in")) / risk for risk in RISKS])
            exact.append([gpd.sf(ideal.isf(risk, law="plug-in"), law.xi, 1.0) / risk for risk in RISKS])
        for risk, of_true, of_exact in zip(RISKS, np.hstack(true), np.hstack(exact), strict=True):
            low, high = np.quantile(of_true, [0.05, 0.95])
            rows.append(
                case(law, size, risk)
                | {"exact tail": mean(of_exact), "this tail": mean(of_true), "nine in ten": f"{low:.2f} – {high:.2f}"}
            )
    return rows


def streams(number: int, replications: int, theirs: int, rows: int, seed: int) -> list[dict[str, str]]:
    """Share of alarms along streams."""
    law, rng = LAWS[number], np.random.default_rng([seed, number, 1])
    calibration = law.draw(rng, (max(SIZES), replications))
    contestants = {(size, risk): contest(risk, calibration[:size], theirs) for size in SIZES for risk in RISKS}
    count = {key: dict.fromkeys(detectors, 0) for key, detectors in contestants.items()}
    for _ in range(BATCHES):
        batch = law.draw(rng, (rows // BATCHES, replications))
        for key, detectors in contestants.items():
            for name, detector in detectors.items():
                count[key][name] = count[key][name] + detector.alarms(batch)
    return [
        case(law, size, risk) | {name: mean(alarms / (rows * risk)) for name, alarms in of_case.items()}
        for (size, risk), of_case in count.items()
    ]


def drift(number: int, replications: int, seed: int) -> list[dict[str, str]]:
    """Rates of alarms at one risk in each turn of the memory; one entry a turn."""
    risk, law, rng = RISKS[number], LAWS[1], np.random.default_rng([seed, number, 2])
    first = law.draw(rng, (max(SIZES), replications))
    contestants = contest(risk, first, replications // 4)
    rows = []
    for turn, theory in enumerate(renewals(risk, 8), start=1):
        parts = [law.draw(rng, (TURN // 10, replications)) for _ in range(10)]
        row = {
            "risk": f"{risk:.0e}".replace("e-0", "e-"),
            "observations": f"to {turn * TURN:,}",
            "theory": f"{theory:.2f}",
        }
        for name, detector in contestants.items():
            row[name] = mean(sum(detector.alarms(part) for part in parts) / (TURN * risk))
        rows.append(row)
    return rows


def renewals(risk: float, turns: int, excesses: int = 20_000) -> list[float]:
    """True rates, in multiples of the risk, of levels fitted to exponential excesses up to the level before."""
    share, seen, rates = 1.0 - QUANTILE, 1.0, []
    for _ in range(turns):
        kept = -np.log1p(-seen * (np.arange(excesses) + 0.5) / excesses)
        fit = fit_gpd(kept)
        observed = share * seen / (1.0 - share * (1.0 - seen))
        level = gpd.isf(risk / observed, fit.xi, fit.sigma)
        rates.append(float(np.exp(-level)) * share / risk)
        seen = 1.0 - float(np.exp(-level))
    return rates


def show(title: str, table: list[dict[str, str]], file: Path | None) -> None:
    """Print a table as reStructuredText, and write it."""
    widths = {key: max(len(key), *(len(row[key]) for row in table)) for key in table[0]}
    rule = {key: "=" * width for key, width in widths.items()}
    print(f"\n{title}\n")
    for row in [rule, {key: key for key in widths}, rule, *table, rule]:
        print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(widths), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=4_000, help="replications of fits")
    parser.add_argument("--streams", type=int, default=400, help="replications of streams")
    parser.add_argument("--libspot-streams", type=int, default=50, help="of them for libspot")
    parser.add_argument(
        "--long-streams", type=int, default=200, help="replications of long streams, a quarter for libspot"
    )
    parser.add_argument("--rows", type=int, default=100_000, help="observations of each stream")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tables", type=Path, help="folder for calibration-*.csv")
    options = parser.parse_args()
    rows = options.rows // BATCHES * BATCHES
    parts = {
        "fit": (partial(fits, replications=options.fits, seed=options.seed), len(LAWS)),
        "stream": (
            partial(
                streams, replications=options.streams, theirs=options.libspot_streams, rows=rows, seed=options.seed
            ),
            len(LAWS),
        ),
        "drift": (partial(drift, replications=options.long_streams, seed=options.seed), len(RISKS)),
    }
    print(f"{machine()}; multiples of the nominal risk, mean ± 1.96 standard errors over replications")
    with ProcessPoolExecutor(options.jobs) as pool:
        for name, (work, count) in parts.items():
            start = time.perf_counter()
            table = [row for of_one in pool.map(work, range(count)) for row in of_one]
            title = f"{name}, {time.perf_counter() - start:.0f} s"
            show(title, table, options.tables and options.tables / f"calibration-{name}.csv")


if __name__ == "__main__":
    main()
