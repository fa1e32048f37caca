"""How near the extremal index the choice of threshold and run length comes: `evtkit.dependence.choose_k_gaps`.

    python benchmarks/k_gaps.py [--write]

Draws series whose extremal index is known, lets thresholds from the 0.9 to the 0.995 quantile and run lengths from 1 to
6 be chosen from, and prints the error (root mean square), the share of limits that hold the truth, and the mean
exceedance rate chosen; beside it the same of the best fixed threshold and run length for that series, which nobody
knows beforehand. With --write the table goes to docs/tables/k-gaps.csv. Takes some minutes on one core.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from evtkit.dependence import choose_k_gaps

TABLE = Path(__file__).parents[1] / "docs" / "tables" / "k-gaps.csv"
QUANTILES = np.array([0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995])
SIZES = (2000, 5000)
SAMPLES = 40


def frechet(n: int, rng: np.random.Generator) -> np.ndarray:
    return -1.0 / np.log(rng.random(n))


def moving_maximum(n, rng, width):
    return np.lib.stride_tricks.sliding_window_view(frechet(n + width - 1, rng), width).max(axis=1)


def scaled_recursion(n, rng, theta, lag=1):
    z = frechet(n, rng)
    x = z.copy()
    for t in range(lag, n):
        x[t] = max((1.0 - theta) * x[t - lag], theta * z[t])
    return x


def recursion(z, rate):
    return lfilter([1.0], [1.0, -rate], z)[100:]


SERIES = {
    "independent": (1.0, lambda n, rng: rng.standard_exponential(n)),
    "largest of 2": (0.5, lambda n, rng: moving_maximum(n, rng, 2)),
    "largest of 4": (0.25, lambda n, rng: moving_maximum(n, rng, 4)),
    "max recursion, θ = 0.5": (0.5, lambda n, rng: scaled_recursion(n, rng, 0.5)),
    "max recursion, θ = 0.25": (0.25, lambda n, rng: scaled_recursion(n, rng, 0.25)),
    "max recursion, every third": (0.5, lambda n, rng: scaled_recursion(n, rng, 0.5, 3)),
    "Cauchy, 0.5": (0.5, lambda n, rng: recursion(rng.standard_cauchy(n + 100), 0.5)),
    "Cauchy, 0.8": (0.2, lambda n, rng: recursion(rng.standard_cauchy(n + 100), 0.8)),
    "uniform, 1/2": (0.5, lambda n, rng: recursion(rng.integers(0, 2, n + 100) / 2.0, 0.5)),
    "uniform, 1/4": (0.75, lambda n, rng: recursion(rng.integers(0, 4, n + 100) / 4.0, 0.25)),
    "normal, 0.5": (1.0, lambda n, rng: recursion(rng.standard_normal(n + 100), 0.5)),
}


def line(name: str, n: int) -> list[str]:
    theta, draw = SERIES[name]
    rng = np.random.default_rng(n)
    error, held, rate, cells, inside = [], [], [], [], []
    for _ in range(SAMPLES):
        x = draw(n, rng)
        choice = choose_k_gaps(x, np.quantile(x, QUANTILES))
        if choice.threshold.size == QUANTILES.size:
            cells.append(choice.theta - theta)
            inside.append((choice.lower <= theta) & (theta <= choice.upper))
        if choice.chosen_k < 0:
            continue
        i, j = np.flatnonzero(choice.threshold == choice.chosen_threshold)[0], choice.chosen_k - 1
        error.append(choice.theta[i, j] - theta)
        held.append(choice.lower[i, j] <= theta <= choice.upper[i, j])
        rate.append(np.mean(x > choice.chosen_threshold))
    fixed = np.sqrt(np.nanmean(np.square(cells), axis=0))
    best = np.unravel_index(np.argmin(fixed), fixed.shape)
    figures = (
        np.sqrt(np.mean(np.square(error))),
        np.mean(held),
        np.mean(rate),
        fixed[best],
        np.mean(inside, axis=0)[best],
    )
    return [name, f"{theta:g}", f"{n}", *(f"{value:.3f}" for value in figures), f"{SAMPLES - len(error)}"]


def main() -> None:
    head = ["series", "θ", "n", "error", "held", "exceedance rate", "best fixed: error", "held ", "no choice"]
    rows = []
    print(*head, sep="\t")
    for name in SERIES:
        for n in SIZES:
            rows.append(line(name, n))
            print(*rows[-1], sep="\t", flush=True)
    if "--write" in sys.argv:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])


if __name__ == "__main__":
    main()
