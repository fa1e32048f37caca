"""Found: where each ranking puts the damaged filter of a planted fault, for single mistakes and for sets of them.

    python examples/evidence/found.py --data DIR --output DIR --setting cifar_resnet56

Reads what faults.py wrote. A set of n is n mistakes of one fault, up to 4 disjoint sets each, averaged; so are single
mistakes. Means over faults of the reciprocal rank (1: always first) and of being among the first 25 (10, 1), with 95 %
bootstrap bands over faults, which is what the sampling of faults leaves open. Equal scores share their middle rank.

The reference is of the sound network: what one has who calibrated a network when it was released.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from repair import reference
from settings import NAMES, Setting
from tables import band, write

SETS = (1, 5, 20, 50)
MOST_SETS = 4
FIRST = (1, 10, 25)

Score = Callable[[np.ndarray], np.ndarray]  # profiles (n, units) to one score a unit, larger first


def rankings(setting: Setting) -> dict[tuple[str, str, str], tuple[str, Score]]:
    """By name, profile and way of combining: which profile, and the score of a set."""
    sample, taylor = reference(setting, normalize="sample"), reference(setting, "taylor", "sample")
    plain = reference(setting)
    out: dict[tuple[str, str, str], tuple[str, Score]] = {}

    def add(label: str, ref, reduction: str, by: str, *ways: str) -> None:
        for way in ways:
            def score(p: np.ndarray, way: str = way) -> np.ndarray:
                ranking = ref.rank(p, by, combine="mean-rank" if len(p) == 1 else way, rng=0)
                if by in ("pot", "published", "random") or way != "mean":
                    return -np.argsort(ranking.order).astype(float)
                return ranking.score
            out[label, reduction, way] = reduction, score

    for by in ("pot", "published", "excess", "zscore", "gradient", "random"):
        add(by, plain, "mean-abs", by, "mean-rank")
    for by in ("zscore", "excess", "gradient"):
        add(by, plain, "mean-abs", by, "mean")
    add("pot", plain, "mean-abs", "pot", "fisher", "harmonic", "cauchy", "exceedance")
    add("pot/sample", sample, "mean-abs", "pot", "mean-rank", "fisher", "exceedance")
    add("zscore/sample", sample, "mean-abs", "zscore", "mean-rank")
    add("impact/sample", sample, "mean-abs", "impact", "mean")
    for by in ("pot", "zscore", "gradient"):
        add(f"{by}/sample", taylor, "taylor", by, "mean-rank")
    add("gradient/sample", taylor, "taylor", "gradient", "mean")
    add("zscore/sample", taylor, "taylor", "zscore", "mean")
    add("impact/sample", taylor, "taylor", "impact", "mean", "mean-rank")
    for label, how in (("log-normal", False), ("log-normal/sample", True)):
        out[label, "mean-abs", "mean"] = "mean-abs", _log_normal(setting.usual(), how)
    return out


def _log_normal(usual: np.ndarray, centred: bool) -> Score:
    """The z-score of the logarithm, as if saliency were log-normal; centred: less its mean over the units."""
    tiny = usual[usual > 0].min()

    def log(profiles: np.ndarray) -> np.ndarray:
        values = np.log(np.maximum(profiles.astype(float), tiny))
        return values - values.mean(axis=1, keepdims=True) if centred else values

    values = log(usual)
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    std[std <= 1e-9] = np.inf
    return lambda profiles: ((log(profiles) - mean) / std).mean(axis=0)


def place(score: np.ndarray, unit: int) -> float:
    """Rank from 1; equal scores share their middle."""
    own = score[unit]
    return 1.0 + np.count_nonzero(score > own) + 0.5 * (np.count_nonzero(score == own) - 1)


def found(setting: Setting) -> None:
    files = sorted((setting.output / "faults" / setting.name).glob("[0-9]*[0-9].npz"))
    loaded = [dict(np.load(path)) for path in files]
    faults = [fault for fault in loaded if "taylor" in fault]
    units = setting.net.units
    rows, single = [], []
    for (label, profile, way), (reduction, score) in rankings(setting).items():
        places: dict[int, list[list[float]]] = {n: [] for n in SETS}
        for fault in faults:
            profiles, unit = fault[reduction], int(fault["unit"])
            for n in SETS:
                sets = min(len(profiles) // n, MOST_SETS if n > 1 else 12)
                if sets:
                    each = [place(score(profiles[i * n : (i + 1) * n]), unit) for i in range(sets)]
                    places[n].append(each)
                    single.append((setting.name, label, profile, way, n, str(units.stage[unit]), str(fault["kind"]),
                                   float(np.mean(1.0 / np.array(each)))))  # fmt: skip
        for n in SETS:
            if not places[n]:
                continue
            mrr = band([np.mean(1.0 / np.array(each)) for each in places[n]])
            hits = [band([np.mean(np.array(each) <= k) for each in places[n]]) for k in FIRST]
            rows.append((setting.name, label, profile, way, n, len(places[n]), *mrr, *(v for hit in hits for v in hit)))
        print(label, profile, way, *(f"{row[6]:.3f}" for row in rows[-len(SETS):]), flush=True)
    folder = setting.output / "found"
    hits = [f"hit{k}{end}" for k in FIRST for end in ("", "_low", "_high")]
    head = ("setting", "ranking", "profile", "combine", "n", "faults", "mrr", "mrr_low", "mrr_high", *hits)
    write(folder / f"{setting.name}-faults.csv",
          ("setting", "ranking", "profile", "combine", "n", "stage", "kind", "reciprocal"), single)  # fmt: skip
    write(folder / f"{setting.name}-drawn.csv", ("setting", "drawn", "counted"), [(setting.name, len(loaded), len(faults))])
    write(folder / f"{setting.name}.csv", head, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--setting", choices=(*NAMES, "mnist_vit"), required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found(Setting(options.setting, options.data, options.output))
