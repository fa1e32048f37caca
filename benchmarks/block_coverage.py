"""How often limits of block maxima hold the truth: profile, corrected profile and delta limits of few and many blocks.

    python benchmarks/block_coverage.py [--write]

Draws samples from generalised extreme-value distributions and counts how often 95 % limits of the shape and of the
levels of 10 and 100 blocks hold the truth. A profile-likelihood limit holds it where the likelihood ratio of the truth
is within its bar, so that the ratio alone is worked out, here by plain golden-section searches, and of a few samples
the limits are asked for, too. With --write the table goes to docs/tables/block-coverage.csv. Takes some five minutes
on one core.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
from numba import njit

from evtkit import gev
from evtkit.gev.results import BlockData, _stretched

SIZES = (10, 15, 20, 30, 50, 70)
SHAPES = (-0.2, 0.0, 0.2, 0.4)
SAMPLES = 1500
CHECKED = 20
QUANTILE = 3.841458820694124  # of χ²₁ at 95 %
TABLE = Path(__file__).parents[1] / "docs" / "tables" / "block-coverage.csv"
_GOLDEN = 0.6180339887498949


@njit
def loglik(x, xi, mu, sigma):
    total = -x.size * math.log(sigma)
    for one in x:
        z = (one - mu) / sigma
        if xi * z <= -1.0:
            return -1e300
        y = z if abs(xi) < 1e-9 else math.log1p(xi * z) / xi
        if y < -600.0:
            return -1e300
        total -= (1.0 + xi) * y + math.exp(-y)
    return total


@njit
def reduced(xi, period):
    """The level of a period where μ = 0 and σ = 1."""
    g = -math.log(-math.log1p(-1.0 / period))
    return g if abs(xi) < 1e-9 else math.expm1(xi * g) / xi


@njit
def over_sigma(x, xi, level, period, centre):
    """The largest likelihood with this shape and this level, over log σ within 1.75 of a centre."""
    q = reduced(xi, period)
    best, place = -1e300, centre
    for i in range(15):
        s = centre - 1.75 + 0.25 * i
        value = loglik(x, xi, level - math.exp(s) * q, math.exp(s))
        if value > best:
            best, place = value, s
    low, high = place - 0.25, place + 0.25
    for _ in range(22):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        fa = loglik(x, xi, level - math.exp(a) * q, math.exp(a))
        fb = loglik(x, xi, level - math.exp(b) * q, math.exp(b))
        best = max(best, fa, fb)
        low, high = (low, b) if fa > fb else (a, high)
    return best


@njit
def with_level(x, level, period, centre):
    """The largest likelihood with this level, over ξ from −1 to 1.4."""
    best, place = -1e300, 0.0
    for i in range(25):
        value = over_sigma(x, -1.0 + 0.1 * i, level, period, centre)
        if value > best:
            best, place = value, -1.0 + 0.1 * i
    low, high = max(-1.0, place - 0.1), place + 0.1
    for _ in range(14):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        fa, fb = over_sigma(x, a, level, period, centre), over_sigma(x, b, level, period, centre)
        best = max(best, fa, fb)
        low, high = (low, b) if fa > fb else (a, high)
    return best


@njit
def with_shape(x, xi, centre):
    """The largest likelihood with this shape, over the median and σ."""
    middle, unit = np.median(x), math.exp(centre)
    best, place = -1e300, middle
    for i in range(17):
        level = middle + 0.25 * unit * (i - 8)
        value = over_sigma(x, xi, level, 2.0, centre)
        if value > best:
            best, place = value, level
    low, high = place - 0.25 * unit, place + 0.25 * unit
    for _ in range(18):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        fa, fb = over_sigma(x, xi, a, 2.0, centre), over_sigma(x, xi, b, 2.0, centre)
        best = max(best, fa, fb)
        low, high = (low, b) if fa > fb else (a, high)
    return best


@njit
def heights(samples, sigma, xi):
    """The largest likelihoods where the shape, and the levels of 10 and 100 blocks, are what they are."""
    out = np.empty((samples.shape[0], 3))
    for k in range(samples.shape[0]):
        centre = math.log(sigma[k])
        out[k, 0] = with_shape(samples[k], xi, centre)
        out[k, 1] = with_level(samples[k], reduced(xi, 10.0), 10.0, centre)
        out[k, 2] = with_level(samples[k], reduced(xi, 100.0), 100.0, centre)
    return out


def shares(n: int, xi: float, seed: int) -> dict[str, np.ndarray]:
    """How often each method's limits hold the shape and the two levels."""
    x = gev.rvs(xi, 0.0, 1.0, (n, SAMPLES), rng=seed)
    fit = gev.fit_gev(x)
    x = x[:, fit.status <= 1]
    fit = gev.fit_gev(x)
    ratio = 2.0 * (fit.loglik[:, None] - heights(np.ascontiguousarray(x.T), fit.sigma, xi))
    bars = {"profile": QUANTILE, "bartlett": QUANTILE * _stretched(BlockData(x[:, 0], x[:, 0], np.ones(n)))}
    found = {name: np.mean(ratio <= bar, axis=0) for name, bar in bars.items()}
    truth = np.array([xi, *(reduced(xi, m) for m in (10.0, 100.0))])
    with np.errstate(invalid="ignore"):
        delta = [
            fit.xi_interval(method="delta"),
            *(fit.return_level(m, interval=0.95, method="delta") for m in (10, 100)),
        ]
        found["delta"] = np.array([np.mean((z.lower <= t) & (t <= z.upper)) for z, t in zip(delta, truth, strict=True)])
    for k in range(CHECKED):  # the limits themselves
        one = gev.fit_gev(x[:, k])
        for name, bar in bars.items():
            levels = one.return_level([10, 100], interval=0.95, method=name)
            limits = [one.xi_interval(method=name), *zip(levels.lower, levels.upper, strict=True)]
            for j, z in enumerate(limits):
                low, high = (z.lower, z.upper) if j == 0 else z
                if abs(ratio[k, j] - bar) > 0.02 and (low <= truth[j] <= high) != (ratio[k, j] <= bar):
                    print(f"n={n} xi={xi} sample {k} {name} {j}: {low} … {high}, ratio {ratio[k, j]}")
    return found


def main() -> None:
    rows = []
    for n in SIZES:
        every = [shares(n, xi, 100 * n + seed) for seed, xi in enumerate(SHAPES)]
        for name in every[0]:
            table = np.array([one[name] for one in every])
            both = np.column_stack([table.mean(axis=0), table.min(axis=0)]).ravel()
            rows.append([n, name, *both.round(3).tolist()])
            print(*rows[-1], sep="\t", flush=True)
    if "--write" in sys.argv:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["n", "method", "shape", "shape-least", "10 blocks", "10-least", "100 blocks", "100-least"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
