"""Detectors on streams with a season: alarms ÷ risk in quiet hours and busy ones, and real series with labels.

    python benchmarks/seasons.py --data ../shared/data/streams/NAB --tables docs/tables
    python benchmarks/seasons.py --hours --tables docs/tables
    python benchmarks/seasons.py --jobs --tables docs/tables

The first table is simulated: four weeks calibrate, ten are watched, all laws have a day and weekends. Rows fall into
quarters by what is usual at their time, from the quietest to the busiest. The second one has the taxis of New York and
the traffic series of the Numenta Anomaly Benchmark: events within the labelled windows, and others. With --hours the
server of the tutorial, without incidents: alarms ÷ risk, hour by hour. With --jobs the same server with other jobs:
alarms ÷ risk at the moments of the job, and at all others.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from _nab import read

from evtkit import DSpot, Spot
from evtkit.spot import ANOMALY, Events, Seasonal

DAY, WEEK = 86400.0, 604800.0
RISK, STEP, CALIBRATION, WATCHED, SAMPLES = 1e-3, 900.0, 4, 10, 12


def usual(t: np.ndarray) -> np.ndarray:
    """The size of what is usual at each time: by day eleven times that by night, half of it at weekends."""
    size = np.exp(-np.cos(2.0 * np.pi * t / DAY) + 0.4 * np.cos(4.0 * np.pi * t / DAY))
    return size * np.where(t % WEEK >= 5 * DAY, 0.5, 1.0)


def laws(t: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Streams with a day and a week; the last has neither."""
    size = usual(t)
    office = np.where((t % DAY > 8 * 3600) & (t % DAY < 17 * 3600) & (t % WEEK < 5 * DAY), 5.0, 1.0)
    noise = rng.standard_normal(len(t))
    chain = np.empty(len(t))
    chain[0] = 0.0
    for i in range(1, len(t)):
        chain[i] = 0.7 * chain[i - 1] + noise[i]
    return {
        "gamma (3), scale by the hour": size * rng.gamma(3.0, size=len(t)),
        "lognormal (.5), scale by the hour": size * np.exp(0.5 * rng.standard_normal(len(t))),
        "normal, mean by the hour": 10.0 * size + rng.standard_normal(len(t)),
        "normal, mean and deviation by the hour": 10.0 * size * (1.0 + 0.1 * rng.standard_normal(len(t))),
        "normal, autoregressive (.7)": 10.0 * size + chain,
        "Poisson (20 on average)": rng.poisson(20.0 * size).astype(float),
        "Poisson (2 on average)": rng.poisson(2.0 * size).astype(float),
        "normal, steps at 8 and 17 o'clock": 10.0 * office * (1.0 + 0.1 * rng.standard_normal(len(t))),
        "normal, a job at 2 o'clock": 10.0 * size + noise + 40.0 * (t % DAY == 7200.0),
        "normal, no season": noise,
    }


def simulated() -> list[dict[str, object]]:
    n = round(CALIBRATION * WEEK / STEP)
    t = STEP * np.arange(n + round(WATCHED * WEEK / STEP))
    size = usual(t[n:])
    quarter = np.searchsorted(np.quantile(size, [0.25, 0.5, 0.75]), size)
    share = np.bincount(quarter, minlength=4)
    counts: dict[str, dict[str, np.ndarray]] = {}
    for seed in range(SAMPLES):
        for name, x in laws(t, np.random.default_rng(seed)).items():
            seasonal = Seasonal(Spot(RISK, side="both")).fit(x[:n], t[:n]).update(x[n:], t[n:])
            found = {
                "Spot": Spot(RISK, side="both").fit(x[:n]).update(x[n:]),
                "DSpot": DSpot(RISK, side="both").fit(x[:n]).update(x[n:]),
                "Seasonal": seasonal,
            }
            own = counts.setdefault(name, {kind: np.zeros(4) for kind in found})
            for kind, labels in found.items():
                own[kind] += np.bincount(quarter[labels == ANOMALY], minlength=4)
    expected = RISK * SAMPLES * share
    rows = []
    for name, own in counts.items():
        row: dict[str, object] = {"law": name}
        for kind, count in own.items():
            ratio = count / expected
            row[kind] = f"{count.sum() / expected.sum():.2f}"
            row[f"{kind}, quietest to busiest"] = " ".join(f"{r:.2f}" for r in ratio)
        rows.append(row)
    return rows


def server(rng: np.random.Generator, weeks: int) -> np.ndarray:
    """The tutorial's requests: by day e² times those of the night, half at weekends, a backup at two every night."""
    hour, day = np.arange(weeks * 672) % 96 / 4, np.arange(weeks * 672) // 96 % 7
    size = (300 * np.exp(-np.cos(2 * np.pi * hour / 24)) + 400 * (hour == 2)) * np.where(day >= 5, 0.5, 1.0)
    return rng.poisson(size * rng.gamma(100.0, 0.01, size=size.size)).astype(float)


def by_hour(streams: int = 24) -> list[dict[str, object]]:
    n, weeks = CALIBRATION * 672, CALIBRATION + WATCHED
    t = STEP * np.arange(weeks * 672)
    x = np.column_stack([server(np.random.default_rng(seed), weeks) for seed in range(streams)])
    hour = (t[n:] % DAY // 3600).astype(int)
    rows = np.bincount(hour) * streams
    counts = {}
    for risk in (1e-2, 1e-3):
        plain = Spot(risk, side="both").fit(x[:n]).update(x[n:])
        seasonal = Seasonal(Spot(risk, side="both")).fit(x[:n], t[:n]).update(x[n:], t[n:])
        for kind, labels in (("Spot", plain), ("Seasonal", seasonal)):
            counts[f"{kind}, {risk:g}"] = np.bincount(hour, (labels == ANOMALY).sum(axis=1)) / (risk * rows), risk
    table: list[dict[str, object]] = [
        {"hour": f"{h:02d}"} | {kind: f"{ratio[h]:.2f}" for kind, (ratio, _) in counts.items()} for h in range(24)
    ]
    every = {kind: f"{ratio.mean():.2f}" for kind, (ratio, _) in counts.items()}
    chance = {kind: f"{(risk * rows[0]) ** -0.5:.2f}" for kind, (_, risk) in counts.items()}
    return [*table, {"hour": "all"} | every, {"hour": "by chance ±"} | chance]


def by_job(streams: int = 8) -> list[dict[str, object]]:
    n, t = CALIBRATION * 672, STEP * np.arange((CALIBRATION + WATCHED) * 672)
    hour, weekend = t % DAY / 3600.0, t % WEEK >= 5 * DAY
    size = 300.0 * np.exp(-np.cos(2.0 * np.pi * hour / 24.0)) * np.where(weekend, 0.5, 1.0)
    jobs = {
        "every night, half at weekends": (lambda rng: np.where(weekend, 200.0, 400.0), hour == 2),
        "every night, but not at weekends": (lambda rng: np.where(weekend, 0.0, 400.0), hour == 2),
        "every night, of gamma (4) size": (lambda rng: rng.gamma(4.0, 100.0, size=t.size), hour == 2),
        "every six hours": (lambda rng: 300.0, hour % 6 == 1),
        "every night for an hour": (lambda rng: 400.0, (hour >= 2) & (hour < 3)),
        "on Sundays": (lambda rng: 800.0, (hour == 3) & (t % WEEK >= 6 * DAY)),
        "every night, spread only": (lambda rng: rng.normal(0.0, 150.0, size=t.size), hour == 2),
        "every night, fewer requests": (lambda rng: -60.0, hour == 4),
    }
    table: list[dict[str, object]] = []
    for name, (amount, at) in jobs.items():
        row: dict[str, object] = {"job": name}
        columns = []
        for seed in range(100, 100 + streams):
            rng = np.random.default_rng(seed)
            mean = np.maximum(size + np.where(at, amount(rng), 0.0), 1.0)
            columns.append(rng.poisson(mean * rng.gamma(100.0, 0.01, size=t.size)))
        x, now = np.column_stack(columns).astype(float), at[n:]
        for risk in (1e-2, 1e-3):
            alarm = Seasonal(Spot(risk, side="both")).fit(x[:n], t[:n]).update(x[n:], t[n:]) == ANOMALY
            row[f"job, {risk:g}"] = f"{alarm[now].sum()} of {risk * streams * now.sum():.1f}"
            row[f"others, {risk:g}"] = f"{alarm[~now].mean() / risk:.2f}"
        table.append(row)
    return table


def real(folder: Path) -> list[dict[str, object]]:
    rows = []
    for series in read(folder):
        if "Traffic" not in series.name and "nyc_taxi" not in series.name:
            continue
        seconds = series.times.astype("M8[s]").astype(float)
        season, weeks = ("day,week", 4.0) if "taxi" in series.name else ("day", 5.0 / 7.0)
        n = max(int(np.searchsorted(seconds, seconds[0] + weeks * WEEK)), len(seconds) // 4)
        row: dict[str, object] = {"series": series.name.split("/")[1].removesuffix(".csv"), "season": season}
        windows = [(a, b) for a, b in series.windows if b >= n]
        row["windows"] = len(windows)
        for risk in (1e-3, 1e-4):
            seasonal = Seasonal(DSpot(risk, depth=50, side="both"), season).fit(series.values[:n], seconds[:n])
            plain = DSpot(risk, depth=50, side="both").fit(series.values[:n])
            events = Events(risk=risk, side="both").feed(series.values[n:], plain.trace(series.values[n:]))
            for kind, told in (("DSpot", events), ("Seasonal", seasonal.events(series.values[n:], seconds[n:]))):
                starts = [n + event.start for event in told if not event.is_over]
                hit = sum(any(a <= s <= b for s in starts) for a, b in windows)
                others = sum(not any(a <= s <= b for a, b in windows) for s in starts)
                row[f"{kind}, risk {risk:g}"] = f"{hit}, {others}"
        rows.append(row)
    return rows


def show(rows: list[dict[str, object]], path: Path | None) -> None:
    for row in rows:
        print("  ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
    if path is not None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--hours", action="store_true")
    parser.add_argument("--jobs", action="store_true")
    parser.add_argument("--tables", type=Path)
    arguments = parser.parse_args()
    tables = arguments.tables
    if arguments.data:
        show(real(arguments.data), tables and tables / "seasons-series.csv")
    if arguments.hours:
        show(by_hour(), tables and tables / "seasons-hours.csv")
    if arguments.jobs:
        show(by_job(), tables and tables / "seasons-jobs.csv")
    if not (arguments.hours or arguments.jobs):
        show(simulated(), tables and tables / "seasons.csv")
