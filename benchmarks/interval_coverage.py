"""How often confidence limits hold the truth: profile, corrected profile and delta limits of few and many excesses.

    python benchmarks/interval_coverage.py [--write]

Draws samples of excesses from generalised Pareto distributions, asks for 95 % limits of the shape and of return levels
ten and a hundred times as rare as the threshold, and prints the share that hold the truth, with the standard error of
that share. With --write the table goes to docs/tables/interval-coverage.csv. Takes about a minute on one core.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from evtkit import gpd
from evtkit.intervals import return_level_interval, xi_interval

SIZES = (10, 15, 20, 30, 50, 70, 100, 200, 500)
SHAPES = (-0.2, 0.0, 0.2, 0.4)
METHODS = ("profile", "bartlett", "delta")
SAMPLES = 2000
LEVEL = 0.95
TABLE = Path(__file__).parents[1] / "docs" / "tables" / "interval-coverage.csv"


def share(interval, truth) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.mean((interval.lower <= truth) & (truth <= interval.upper)))


def main() -> None:
    rows = []
    for n in SIZES:
        for method in METHODS:
            shape, near, far = [], [], []
            for seed, xi in enumerate(SHAPES):
                y = gpd.rvs(xi, 1.0, (n, SAMPLES), rng=100 * n + seed)
                shape.append(share(xi_interval(y, level=LEVEL, method=method), xi))
                for found, p in ((near, 0.1), (far, 0.01)):
                    # the limits are for a given rate
                    limits = return_level_interval(y, 10.0 / p, rate=0.1, level=LEVEL, method=method)
                    found.append(share(limits, gpd.isf(p, xi, 1.0)))
            rows.append([n, method, *(round(f(v), 3) for v in (shape, near, far) for f in (np.mean, np.min))])
            print(*rows[-1], sep="\t", flush=True)
    error = np.sqrt(LEVEL * (1 - LEVEL) / SAMPLES)
    print(f"standard error of a share {error:.4f}, of a mean over {len(SHAPES)} shapes {error / 2:.4f}")
    if "--write" in sys.argv:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["n", "method", "shape", "shape-least", "tenfold", "tenfold-least", "hundredfold",
                             "hundredfold-least"])  # fmt: skip
            writer.writerows(rows)


if __name__ == "__main__":
    main()
