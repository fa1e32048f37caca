"""Found: where each ranking puts the damaged filter of a planted fault, for single mistakes and for sets of them.

    python examples/evidence/found.py --data DIR --output DIR --setting cifar_resnet56

Reads what faults.py wrote. A set of n is n mistakes of one fault, up to 4 disjoint sets each, averaged; so are single
mistakes. Means over faults of the reciprocal rank (1: always first) and of being among the first 25 (10, 1), with 95 %
bootstrap bands over faults, which is what the sampling of faults leaves open. Equal scores share their middle rank.

The reference is of the sound network: what one has who calibrated a network when it was released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import command
import numpy as np
from repair import reference
from tables import band, write

if TYPE_CHECKING:
    from settings import Setting

    from evtkit.saliency import Reference

SETS = (1, 5, 20, 50)
MOST_SETS = 4
FIRST = (1, 10, 25)

Scores = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # profiles (n, units) to scores and places, likewise


def each_of(reference: Reference, by: str) -> Scores:
    """Scores and places of samples ranked apart."""

    def scores(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ranking = reference.rank(profiles, by, combine="each", rng=0)
        places = np.empty(ranking.order.shape)
        np.put_along_axis(places, ranking.order, np.arange(1.0, ranking.order.shape[1] + 1)[None], axis=1)
        return ranking.score, places

    return scores


def rankings(setting: Setting) -> list[tuple[str, str, Scores, tuple[str, ...], Reference | None]]:
    """Name, profile, scores, ways of combining, and the reference for ways that need more than the scores."""
    sample, taylor = reference(setting, normalize="sample"), reference(setting, "taylor", "sample")
    plain = reference(setting)
    out: list[tuple[str, str, Scores, tuple[str, ...], Reference | None]] = []

    def add(by: str, of: Reference, *ways: str) -> None:
        label = by if of.normalize is None else f"{by}/sample"
        out.append((label, of.reduction, each_of(of, by), ways, of))

    add("pot", plain, "mean-rank", "fisher", "harmonic", "cauchy", "exceedance")
    for by in ("spot-script", "random"):
        add(by, plain, "mean-rank")
    for by in ("excess", "zscore", "gradient"):
        add(by, plain, "mean-rank", "mean")
    add("pot", sample, "mean-rank", "fisher", "exceedance")
    for by in ("zscore", "impact"):
        add(by, sample, "mean-rank", "mean")
    add("pot", taylor, "mean-rank")
    for by in ("zscore", "gradient", "impact"):
        add(by, taylor, "mean-rank", "mean")
    for label, how in (("log-normal", False), ("log-normal/sample", True)):
        out.append((label, "mean-abs", _log_normal(setting.usual(), how), ("mean-rank", "mean"), None))
    return out


def _log_normal(usual: np.ndarray, centred: bool) -> Scores:
    """The z-score of the logarithm, as if saliency were log-normal; centred: less its mean over the units."""
    tiny = usual[usual > 0].min()

    def log(profiles: np.ndarray) -> np.ndarray:
        values = np.log(np.maximum(profiles.astype(float), tiny))
        return values - values.mean(axis=1, keepdims=True) if centred else values

    values = log(usual)
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    std[std <= 1e-9] = np.inf

    def scores(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = (log(profiles) - mean) / std
        return z, np.argsort(np.argsort(-z, axis=1, kind="stable"), axis=1) + 1.0

    return scores


def place(score: np.ndarray, unit: int) -> float:
    """Rank from 1; equal scores share their middle."""
    own = score[unit]
    return 1.0 + np.count_nonzero(score > own) + 0.5 * (np.count_nonzero(score == own) - 1)


def found(setting: Setting) -> None:
    files = sorted((setting.output / "faults" / setting.name).glob("[0-9]*[0-9].npz"))
    folder = setting.output / "found"
    done = folder / f"{setting.name}.csv"
    if done.exists() and all(path.stat().st_mtime <= done.stat().st_mtime for path in files):
        return
    loaded = [dict(np.load(path)) for path in files]
    faults = [fault for fault in loaded if "taylor" in fault]
    units = setting.net.units
    rows, single = [], []
    for label, profile, scores, ways, of in rankings(setting):
        places: dict[tuple[str, int], list[list[float]]] = {(way, n): [] for way in ways for n in SETS}
        for fault in faults:
            profiles, unit = fault[profile], int(fault["unit"])
            score, rank = scores(profiles)
            for way, n in places:
                found_at = []
                for i in range(min(len(profiles) // n, MOST_SETS if n > 1 else 12)):
                    some = slice(i * n, (i + 1) * n)
                    if way in ("mean", "mean-rank") or n == 1:
                        mean = -rank[some].mean(axis=0) if way != "mean" else score[some].mean(axis=0)
                    else:
                        order = of.rank(profiles[some], label.partition("/")[0], combine=way).order
                        mean = -np.argsort(order).astype(float)
                    found_at.append(place(mean, unit))
                if found_at:
                    places[way, n].append(found_at)
                    single.append((setting.name, label, profile, way, n, str(units.stage[unit]), str(fault["kind"]),
                                   float(np.mean(1.0 / np.array(found_at)))))  # fmt: skip
        for (way, n), each in places.items():
            if each:
                mrr = band(np.array([np.mean(1.0 / np.array(sets)) for sets in each]))
                hits = [band(np.array([np.mean(np.array(sets) <= k) for sets in each])) for k in FIRST]
                rows.append((setting.name, label, profile, way, n, len(each), *mrr, *(v for hit in hits for v in hit)))
                print(label, profile, way, n, f"{mrr[0]:.3f} ({mrr[1]:.3f} … {mrr[2]:.3f})", flush=True)
    hits = [f"hit{k}{end}" for k in FIRST for end in ("", "_low", "_high")]
    head = ("setting", "ranking", "profile", "combine", "n", "faults", "mrr", "mrr_low", "mrr_high", *hits)
    write(folder / f"{setting.name}-faults.csv",
          ("setting", "ranking", "profile", "combine", "n", "stage", "kind", "reciprocal"), single)  # fmt: skip
    write(
        folder / f"{setting.name}-drawn.csv",
        ("setting", "drawn", "counted"),
        [(setting.name, len(loaded), len(faults))],
    )
    write(folder / f"{setting.name}.csv", head, rows)


if __name__ == "__main__":
    found(command.chosen(command.parsed(command.parser(__doc__))))
