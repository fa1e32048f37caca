"""Rules that choose a threshold, on samples whose tail is known: bias and error of a far quantile, and what they keep.

    python benchmarks/thresholds.py --tables docs/tables

The quantile is exceeded once in ten times as many observations as a sample has, by the fit over the chosen threshold
(the textbook's, so that only the thresholds differ). Where a rule rejects all candidates, the default threshold stands.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy import stats

from evtkit import fit_tail, gpd
from evtkit.threshold import METHODS, suggest_threshold

SAMPLES = 60


def kinked(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform up to 1, then a GPD with ξ = .1: five in six below."""
    above = rng.uniform(size=n) < 1.0 / 6.0
    return np.where(above, 1.0 + gpd.rvs(0.1, 0.5, size=n, rng=rng), rng.uniform(size=n))


LAWS = {
    "GPD, ξ = .1": (lambda n, rng: gpd.rvs(0.1, 1.0, size=n, rng=rng), lambda p: gpd.isf(p, 0.1, 1.0)),
    "GPD, ξ = −.2": (lambda n, rng: gpd.rvs(-0.2, 1.0, size=n, rng=rng), lambda p: gpd.isf(p, -0.2, 1.0)),
    "GPD above a kink": (kinked, lambda p: 1.0 + gpd.isf(6.0 * p, 0.1, 0.5)),
    "normal": (lambda n, rng: rng.standard_normal(n), stats.norm.isf),
    "gamma (3)": (lambda n, rng: rng.gamma(3.0, size=n), stats.gamma(3.0).isf),
    "lognormal (1)": (lambda n, rng: np.exp(rng.standard_normal(n)), stats.lognorm(1.0).isf),
    "t (4)": (lambda n, rng: rng.standard_t(4.0, n), stats.t(4.0).isf),
    "GPD, ξ = .1, rounded to .2": (
        lambda n, rng: np.round(5.0 * gpd.rvs(0.1, 1.0, size=n, rng=rng)) / 5.0,
        lambda p: gpd.isf(p, 0.1, 1.0),
    ),
    "gamma (3), rounded to .5": (lambda n, rng: np.round(2.0 * rng.gamma(3.0, size=n)) / 2.0, stats.gamma(3.0).isf),
}


def rules(x: np.ndarray, level: float) -> dict[str, tuple[float, int, bool]]:
    """By rule: the quantile, the excesses kept, and whether all candidates were rejected."""
    default = fit_tail(x, clean=False)
    half = fit_tail(x, quantile=0.5, clean=False)
    found = {
        "default of fit_tail": (float(default.isf(level, law="plug-in")), int(default.n_excess), False),
        "half of the data": (float(half.isf(level, law="plug-in")), int(half.n_excess), False),
    }
    for method in METHODS:
        choice = suggest_threshold(x, method=method)
        if choice.index < 0:
            found[method] = (found["default of fit_tail"][0], int(default.n_excess), True)
        else:
            rate = choice.n_excess / len(x)
            far = choice.threshold + float(gpd.isf(level / rate, choice.xi, choice.sigma))
            found[method] = (far, choice.n_excess, False)
    return found


def table(n: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    level = 0.1 / n
    for name, (draw, isf) in LAWS.items():
        results: dict[str, list[tuple[float, int, bool]]] = {}
        for seed in range(SAMPLES):
            for rule, found in rules(draw(n, np.random.default_rng(seed)), level).items():
                results.setdefault(rule, []).append(found)
        for rule, found in results.items():
            quantiles, kept, rejected = (np.array(column) for column in zip(*found, strict=True))
            error = np.log(quantiles / float(isf(level)))
            row = {
                "law": name, "n": n, "rule": rule, "bias of log quantile": f"{error.mean():.2f}",
                "RMSE": f"{np.sqrt(np.mean(error**2)):.2f}", "median excesses": int(np.median(kept)),
                "all rejected": int(rejected.sum()),
            }  # fmt: skip
            rows.append(row)
            print(*row.values(), sep="  ", flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    arguments = parser.parse_args()
    rows = table(arguments.n)
    if arguments.tables:
        with (arguments.tables / "thresholds.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
