"""The Numenta Anomaly Benchmark (NAB): evtkit's stream detectors beside libspot, a rolling z-score and two controls.

    python benchmarks/nab.py --data ../shared/data/streams/NAB --tables docs/tables --pictures docs/_static

All 58 series, each detector in one fixed configuration (see _detectors.py), calibrated on the rows that the benchmark
gives for learning. Two verdicts: with the detector's own alarms at its nominal risk, and with the one threshold for all
series that the labels show to be best, which is the benchmark's own rule. --data is a folder with the benchmark's
folders data and labels. Tables are printed, and written as CSV where --tables says.
"""

from __future__ import annotations

import argparse
import csv
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import _detectors
import numpy as np
from _detectors import Verdict
from _nab import PROFILES, best_threshold, false_alarms, found, read, score
from _timing import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _nab import Series

    Verdicts = dict[str, list[Verdict]]

CONTESTANTS = {
    "DSpot, events": partial(_detectors.dspot, events=True),
    "Spot, events": partial(_detectors.spot, events=True),
    "DSpot, every alarm": _detectors.dspot,
    "Spot, every alarm": _detectors.spot,
    "DSpot, learns alarms": partial(_detectors.dspot, on_alarm="learn"),
    "Spot, learns alarms": partial(_detectors.spot, on_alarm="learn"),
    "Spot, as published": partial(_detectors.spot, level="plug-in", on_alarm="ignore"),
    "libspot": _detectors.libspot,
    "libspot, learns alarms": partial(_detectors.libspot, discard=False),
    "rolling z-score": _detectors.rolling_z,
    "windowed Gaussian": _detectors.windowed_gaussian,
    "random": _detectors.chance,
    "silent": _detectors.silent,
}
GROUPED = ("DSpot, events", "Spot, events", "DSpot, every alarm", "Spot, as published", "libspot", "rolling z-score")
DRAWN = ("Spot, every alarm", "DSpot, events")
SHOWN = (
    "realKnownCause/machine_temperature_system_failure.csv",
    "realKnownCause/nyc_taxi.csv",
    "realAWSCloudwatch/grok_asg_anomaly.csv",
)


def judge(name: str, series: Series) -> Verdict:
    learning, rest = np.split(series.values, [series.learning])
    judged = CONTESTANTS[name](learning, rest)
    blank = np.zeros(len(learning))
    score = _detectors.score(judged, rest, float(learning.std()))
    return Verdict(np.append(blank, judged.alarm).astype(bool), np.append(blank, score), judged)


def own_scores(corpus: Sequence[Series], verdicts: Verdicts) -> list[dict[str, object]]:
    """Scores of the alarms that the detectors raise by themselves."""
    return [
        {"detector": name}
        | {
            profile: f"{score(corpus, [one.alarm for one in of_series], weights):,.1f}"
            for profile, weights in PROFILES.items()
        }
        for name, of_series in verdicts.items()
    ]


def best_scores(corpus: Sequence[Series], verdicts: Verdicts) -> list[dict[str, object]]:
    """Scores at the threshold that the labels show to be best for each profile; its probability for the first."""
    rows = []
    for name, of_series in verdicts.items():
        row: dict[str, object] = {"detector": name}
        for profile, weights in PROFILES.items():
            threshold, value = best_threshold(corpus, [one.score for one in of_series], weights)
            row[profile] = f"{value:.1f}"
            if profile == "standard":
                p = _detectors.probability_of(threshold)
                row["alarm if p is at most"] = "–" if threshold > 1.0 else f"{p:.0e}" if p else "0"
        rows.append(row)
    return rows


def luck(corpus: Sequence[Series], draws: int = 20) -> str:
    """What random scores reach with the best threshold, and how much that varies."""
    rng = np.random.default_rng(0)
    drawn = [
        [best_threshold(corpus, scores, weights)[1] for weights in PROFILES.values()]
        for scores in ([rng.random(len(series.values)) for series in corpus] for _ in range(draws))
    ]
    pairs = zip(PROFILES, np.mean(drawn, axis=0), np.std(drawn, axis=0, ddof=1), strict=True)
    return ", ".join(f"{profile} {mean:.1f} ± {std:.1f}" for profile, mean, std in pairs)


def alarms(corpus: Sequence[Series], verdicts: Verdicts) -> list[dict[str, object]]:
    """What the detectors' own alarms hit and miss."""
    windows = sum(len(series.windows) for series in corpus)
    outside = sum(int((series.window[series.learning :] < 0).sum()) for series in corpus)
    rows = []
    for name, of_series in verdicts.items():
        pairs = [(series, one.alarm) for series, one in zip(corpus, of_series, strict=True)]
        count = sum(int(alarm.sum()) for _, alarm in pairs)
        false = [false_alarms(*pair) for pair in pairs]
        rows.append(
            {
                "detector": name,
                "windows found": f"{sum(int((found(*pair) >= 0).sum()) for pair in pairs)} of {windows}",
                "alarms": f"{count:,}",
                "in a window": f"{100 * (1 - sum(false) / count):.0f} %" if count else "–",
                "false per 1,000 rows": f"{1000 * sum(false) / outside:.2f}",
                "runs of false ones": f"{sum(_runs(*pair) for pair in pairs):,}",
                "series without": sum(number == 0 for number in false),
            }
        )
    return rows


def _runs(series: Series, alarm: np.ndarray) -> int:
    """Runs of false alarms in successive rows."""
    false = alarm.astype(bool) & (series.window < 0)
    return int(np.count_nonzero(false[1:] & ~false[:-1]) + false[0])


def groups(corpus: Sequence[Series], verdicts: Verdicts) -> list[dict[str, object]]:
    """False alarms per 1,000 rows, and windows found, in each kind of series."""
    rows = []
    for group in sorted({series.group for series in corpus}):
        members = [number for number, series in enumerate(corpus) if series.group == group]
        outside = sum(int((corpus[m].window[corpus[m].learning :] < 0).sum()) for m in members)
        row: dict[str, object] = {
            "series": f"{group} ({len(members)})",
            "windows": sum(len(corpus[m].windows) for m in members),
        }
        for name in GROUPED:
            of_series = verdicts[name]
            hit = sum(int((found(corpus[m], of_series[m].alarm) >= 0).sum()) for m in members)
            false = sum(false_alarms(corpus[m], of_series[m].alarm) for m in members)
            row[name] = f"{hit}; {1000 * false / outside:.1f}"
        rows.append(row)
    return rows


def show(title: str, rows: Sequence[dict[str, object]], file: Path | None) -> None:
    """Print a table, and write it."""
    widths = [max(len(str(row[key])) for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]) for key in rows[0]]
    print(f"\n{title}\n")
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row.values(), widths, strict=True)).rstrip())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/streams/NAB"))
    parser.add_argument("--tables", type=Path, help="folder for nab-*.csv")
    parser.add_argument("--pictures", type=Path, help="folder for nab.png")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if not (options.data / "labels").is_dir():
        print(f"needs the benchmark's folders data and labels in {options.data}; see --data")
        return

    corpus = read(options.data)
    print(machine())
    verdicts: Verdicts = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in CONTESTANTS:
            start = time.perf_counter()
            verdicts[name] = list(pool.map(partial(judge, name), corpus, chunksize=4))
            print(f"{name}: {time.perf_counter() - start:.1f} s")
    for title, table, file in (
        (
            f"Scores of the detectors' own alarms, risk {_detectors.RISK:g}: 0 for silence, 100 for perfection",
            own_scores,
            "own",
        ),
        ("Scores at the best threshold for all series together", best_scores, "best"),
        ("The detectors' own alarms", alarms, "alarms"),
        ("Windows found; false alarms per 1,000 rows", groups, "groups"),
    ):
        show(title, table(corpus, verdicts), options.tables and options.tables / f"nab-{file}.csv")
    print(f"\nRandom scores at their best threshold, mean ± standard deviation of 20 draws: {luck(corpus)}")
    if options.pictures:
        from _nab_picture import draw

        three = [next(series for series in corpus if series.name == name) for name in SHOWN]
        options.pictures.mkdir(parents=True, exist_ok=True)
        shown = {name: [verdicts[name][corpus.index(series)] for series in three] for name in DRAWN}
        draw(three, shown, options.pictures / "nab.png")


if __name__ == "__main__":
    main()
