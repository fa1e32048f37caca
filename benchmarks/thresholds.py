"""Rules that choose a threshold, on samples whose tail is known: bias, error and limits of a far quantile.

    python benchmarks/thresholds.py --tables docs/tables
    python benchmarks/thresholds.py --limits --tables docs/tables

The quantile is exceeded once in ten times as many observations as a sample has, by the fit over the chosen threshold
(the textbook's, so that only the thresholds differ), with profile limits that know nothing of the choice; those of the
rules that are averaged do. Where a rule rejects all candidates, the default threshold stands. Of a GPD, and of the kink
from there on, every rejection is wrong: "rejects" is the size of the whole procedure.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from evtkit import fit_tail, gpd
from evtkit.intervals import return_level_interval
from evtkit.threshold import METHODS, averaged_level, suggest_threshold
from evtkit.threshold.evidence import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES = 60
CHEAP = ("forward-stop", "increments")
STEPS = {"GPD, ξ = .1, rounded to .2": 0.2, "gamma (3), rounded to .5": 0.5}


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


class Found(NamedTuple):
    """What a rule says of a sample."""

    far: float
    lower: float
    upper: float
    kept: int
    rejects: bool
    rejects_all: bool


def over(x: np.ndarray, u: float, level: float, *, lowest: bool = True, none: bool = False) -> Found:
    """The quantile by the fit over a threshold, of rounded values spread over their cells."""
    y = x[x > u] - u
    found = return_level_interval(y, 1.0 / level, rate=len(y) / len(x), threshold=u, method="bartlett")
    return Found(float(found.estimate), float(found.lower), float(found.upper), len(y), not lowest, none)


def rules(x: np.ndarray, step: float, level: float, methods: Sequence[str], *, limits: bool) -> dict[str, Found]:
    """What every rule says."""
    default = float(fit_tail(x, clean=False).threshold)
    half = float(fit_tail(x, quantile=0.5, clean=False).threshold)
    even = spread(np.sort(x), step)
    found = {"default of fit_tail": over(even, default, level), "half of the data": over(even, half, level)}
    for method in methods:
        choice = suggest_threshold(x, method=method)
        none = choice.index < 0
        found[method] = over(even, default if none else choice.threshold, level, lowest=choice.index == 0, none=none)
        if limits:
            mixed = averaged_level(x, 1.0 / level, method=method)
            found[f"{method}, averaged"] = Found(
                *map(float, (mixed.estimate, mixed.lower, mixed.upper)), 0, False, False
            )
    return found


def table(n: int, methods: Sequence[str], samples: int, *, limits: bool) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    level = 0.1 / n
    for name, (draw, isf) in LAWS.items():
        results: dict[str, list[Found]] = {}
        step = STEPS.get(name, 0.0)
        for seed in range(samples):
            for rule, found in rules(draw(n, np.random.default_rng(seed)), step, level, methods, limits=limits).items():
                results.setdefault(rule, []).append(found)
        truth = float(isf(level))
        for rule, found in results.items():
            far, lower, upper, kept, rejects, none = (np.array(column) for column in zip(*found, strict=True))
            error = np.log(far / truth)
            row: dict[str, object] = {
                "law": name, "n": n, "rule": rule, "bias of log quantile": f"{error.mean():.2f}",
                "RMSE": f"{np.sqrt(np.mean(error**2)):.2f}",
            }  # fmt: skip
            if limits:
                row["95 % limits hold"] = f"{np.mean((lower <= truth) & (truth <= upper)):.2f}"
                row["rejects"] = f"{np.mean(rejects):.2f}" if rule in methods else ""
            else:
                row |= {"median excesses": int(np.median(kept)), "all rejected": int(none.sum())}
            rows.append(row)
            print(*row.values(), sep="  ", flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--limits", action="store_true", help="of the cheap rules, alone and averaged")
    arguments = parser.parse_args()
    methods = CHEAP if arguments.limits else tuple(METHODS)
    rows = table(arguments.n, methods, arguments.samples, limits=arguments.limits)
    if arguments.tables:
        with (arguments.tables / ("thresholds-limits.csv" if arguments.limits else "thresholds.csv")).open(
            "w", newline="", encoding="utf-8"
        ) as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
