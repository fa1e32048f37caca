"""Do alarms keep their word? Independent data, contaminated and moving streams, by the default and by its rivals.

    python benchmarks/alarms.py [--tables docs/tables] [--quick] [--only long masking]

- first: the true probability beyond the first level after 1,000 rows, in units of the risk;
- long: alarms in a million rows of independent data, in units of the risk;
- masking: calibrations of 100 whose anomalies, one row in 30, are soon taken for ordinary;
- oracles: of how many of them, and of what risk, other first levels are, for Student's t with 4 degrees of freedom;
- moving: events told of streams that shift, drift, swing, die and come back, and how many alarms those are;
- drifts: events told of streams of several distributions that drift or shift, and of nothing else.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _streams import DRIFTING, MOVES, STREAMS
from _timing import machine
from scipy import stats

from evtkit import DSpot, Spot
from evtkit.spot import Events

if TYPE_CHECKING:
    from collections.abc import Callable

RISK, CALIBRATION = 1e-4, 1000
LAWS = {
    "normal": stats.norm(), "exponential": stats.expon(), "uniform": stats.uniform(), "lognormal": stats.lognorm(1.0),
    "t, 4 d.f.": stats.t(4), "gamma ½": stats.gamma(0.5), "Gumbel": stats.gumbel_r(), "Laplace": stats.laplace(),
    "logistic": stats.logistic(), "Weibull 0.7": stats.weibull_min(0.7), "Pareto, ξ = ½": stats.genpareto(0.5),
    "beta 2, 5": stats.beta(2, 5),
}  # fmt: skip
DETECTORS: dict[str, Callable[[], Spot]] = {
    "Spot": lambda: Spot(RISK),
    "Spot, both sides": lambda: Spot(RISK, side="both"),
    "DSpot, both sides": lambda: DSpot(RISK, side="both"),
    "Spot, plug-in, ignoring": lambda: Spot(RISK, level="plug-in", on_alarm="ignore"),
}


def first(replications: int) -> list[list[str]]:
    """Mean true probability beyond the first level, over the risk."""
    rows = [["", "plug-in", "default"]]
    for name, law in LAWS.items():
        x = law.rvs((replications, CALIBRATION), random_state=np.random.default_rng(1))
        row = [name]
        for level in ("plug-in", "predictive"):
            levels = np.array([float(Spot(RISK, level=level).fit(sample).alarm_threshold) for sample in x])
            ratio = law.sf(levels) / RISK
            row.append(f"{ratio.mean():.2f} ± {1.96 * ratio.std() / np.sqrt(replications):.2f}")
        rows.append(row)
    return rows


def long(replications: int, observations: int) -> list[list[str]]:
    """Alarms over the risk in independent data."""
    rows = [["", *DETECTORS]]
    for name, law in LAWS.items():
        row = [name]
        for make in DETECTORS.values():
            rng, rates = np.random.default_rng(2), []
            for _ in range(replications):
                x = law.rvs(CALIBRATION + observations, random_state=rng)
                labels = make().fit(x[:CALIBRATION]).update(x[CALIBRATION:])
                rates.append(np.count_nonzero(labels == 2) / observations / RISK)
            row.append(f"{np.mean(rates):.2f} ± {1.96 * np.std(rates) / np.sqrt(replications):.2f}")
        rows.append(row)
    return rows


def columns(replications: int, observations: int) -> list[list[str]]:
    """Events over the risk, of several columns watched together."""
    rows = [["", "2 columns", "5 columns", "20 columns"]]
    for name in ("normal", "exponential", "uniform", "lognormal", "t, 4 d.f.", "beta 2, 5"):
        row, rng = [name], np.random.default_rng(3)
        for m in (2, 5, 20):
            rates = []
            for _ in range(replications):
                x = LAWS[name].rvs((CALIBRATION + observations, m), random_state=rng)
                spot, events = DSpot(RISK, side="both").fit(x[:CALIBRATION]), Events(m, risk=RISK, side="both")
                events.feed(x[CALIBRATION:], spot.trace(x[CALIBRATION:], alarms_only=True))
                rates.append(events.total / observations / RISK)
            row.append(f"{np.mean(rates):.2f} ± {1.96 * np.std(rates) / np.sqrt(replications):.2f}")
        rows.append(row)
    return rows


def masking(seeds: int) -> list[list[str]]:
    """Calibrations, of so many, in which fewer than 90 of 100 anomalies at +20 are told from the others."""
    rows = [["", "by the first level", "default", "learn", "plug-in, ignoring"]]
    for name, draw in (
        ("exponential", lambda rng, n: rng.standard_exponential(n)),
        ("normal", lambda rng, n: rng.standard_normal(n)),
        ("gamma ½", lambda rng, n: rng.gamma(0.5, size=n)),
        ("t, 4 d.f.", lambda rng, n: rng.standard_t(4, n)),
    ):
        row, behind = [name], 0
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            level, y = float(Spot(RISK).fit(draw(rng, CALIBRATION)).alarm_threshold), draw(rng, 3000)
            behind += int((y[::30] + 20.0 > level).sum() < 90)
        row.append(str(behind))
        for options in ({}, {"on_alarm": "learn"}, {"level": "plug-in", "on_alarm": "ignore"}):
            blind = 0
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                spot, y = Spot(RISK, **options).fit(draw(rng, CALIBRATION)), draw(rng, 3000)
                y[::30] += 20.0
                blind += int((spot.update(y)[::30] == 2).sum() < 90)
            row.append(str(blind))
        rows.append(row)
    return rows


def oracles(seeds: int) -> list[list[str]]:
    """First levels for Student's t: calibrations in which fewer than 90 of 100 anomalies at +20 lie beyond."""
    law = LAWS["t, 4 d.f."]

    def family(x: np.ndarray) -> float:
        df, loc, scale = stats.t.fit(x)
        return float(stats.t.isf(RISK, df, loc, scale))

    def peaks(share: float) -> Callable[[np.ndarray], float]:
        def level(x: np.ndarray) -> float:
            return float(Spot(RISK, 1.0 - share, level="plug-in").fit(x).alarm_threshold)

        return level

    def default(x: np.ndarray) -> float:
        return float(Spot(RISK).fit(x).alarm_threshold)

    rows = [["level by", "rows", "blind of 100", "true probability ÷ risk", "tenth", "median", "nine tenths"]]
    for name, n, level in (
        ("the true distribution", CALIBRATION, lambda x: float(law.isf(RISK))),
        ("maximum likelihood of a t", CALIBRATION, family),
        ("maximum likelihood, 20 excesses", CALIBRATION, peaks(0.02)),
        ("maximum likelihood, 100 excesses", CALIBRATION, peaks(0.1)),
        ("default", CALIBRATION, default),
        ("default", 3000, default),
        ("default", 10_000, default),
        ("default", 30_000, default),
    ):
        levels, behind = np.empty(seeds), 0
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            levels[seed] = level(rng.standard_t(4, n))
            behind += int((rng.standard_t(4, 3000)[::30] + 20.0 > levels[seed]).sum() < 90)
        ratio = law.sf(levels) / RISK
        mean = f"{ratio.mean():.2f} ± {1.96 * ratio.std() / np.sqrt(seeds):.2f}"
        rows.append([name, f"{n:,}", str(behind), mean, *(f"{q:.1f}" for q in np.quantile(levels, (0.1, 0.5, 0.9)))])
    return rows


def moving(replications: int, observations: int) -> list[list[str]]:
    """Events told, and alarms, on average over streams."""
    rows = [["", "Spot: events", "alarms", "DSpot: events", "alarms"]]
    for name, draw in STREAMS.items():
        row = [name]
        for make in (DETECTORS["Spot, both sides"], DETECTORS["DSpot, both sides"]):
            counts = []
            for seed in range(replications):
                x = draw(np.random.default_rng(seed), CALIBRATION + observations)
                spot, events = make().fit(x[:CALIBRATION]), Events(risk=RISK, side="both")
                trace = spot.trace(x[CALIBRATION:], alarms_only=True)
                events.feed(x[CALIBRATION:], trace)
                counts.append((events.total, np.count_nonzero(trace.label == 2)))
            row += [f"{value:,.1f}" for value in np.mean(counts, axis=0)]
        rows.append(row)
    return rows


def drifts(replications: int, observations: int) -> list[list[str]]:
    """Events that `DSpot` tells of values that move, on average over streams; by chance it is the risk × rows."""
    rows = [["", *MOVES]]
    for name, draw in DRIFTING.items():
        row = [name]
        for move in MOVES.values():
            counts = []
            for seed in range(replications):
                n = CALIBRATION + observations
                x = draw(np.random.default_rng(seed), n) + move(np.arange(n) / n)
                spot, events = DETECTORS["DSpot, both sides"]().fit(x[:CALIBRATION]), Events(risk=RISK, side="both")
                events.feed(x[CALIBRATION:], spot.trace(x[CALIBRATION:], alarms_only=True))
                counts.append(events.total)
            row.append(f"{np.mean(counts):.1f} ± {1.96 * np.std(counts) / np.sqrt(replications):.1f}")
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder for alarms-*.csv")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--only", nargs="+", help="names of the tables wanted, such as long")
    options = parser.parse_args()
    few = 10 if options.quick else 1
    print(machine())
    for name, table in (
        ("first", lambda: first(1000 // few)),
        ("masking", lambda: masking(100)),
        ("oracles", lambda: oracles(100)),
        ("moving", lambda: moving(5 // min(few, 5), 20_000)),
        ("drifts", lambda: drifts(10 // min(few, 5), 20_000)),
        ("columns", lambda: columns(10 // min(few, 5), 50_000)),
        ("long", lambda: long(5 // min(few, 5), 1_000_000 // few)),
    ):
        if options.only and name not in options.only:
            continue
        rows = table()
        print(f"\n{name}")
        for row in rows:
            print("  ".join(f"{cell:>22}" for cell in row), flush=True)
        if options.tables:
            with (options.tables / f"alarms-{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
