"""What does the default rule of `fit_tail` leave out? Nothing of clean samples, most gross outliers: two tables.

python benchmarks/gross.py --tables docs/tables      # some minutes
python benchmarks/gross.py --quick
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from evtkit import fit_tail
from evtkit.cleaning.gross import count_gross, looked_at

if TYPE_CHECKING:
    from collections.abc import Callable

    Float = np.ndarray
    Draw = Callable[[np.random.Generator, int], Float]

SIZES = (50, 200, 1_000, 10_000)


def _wider(share: float, factor: float, draw: str = "standard_normal") -> Draw:
    def sample(rng: np.random.Generator, n: int) -> Float:
        return np.asarray(getattr(rng, draw)(n) * np.where(rng.random(n) < share, factor, 1.0))

    return sample


CLEAN: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random(n),
    "beta (2, 5)": lambda rng, n: rng.beta(2.0, 5.0, n),
    "exponential": lambda rng, n: rng.standard_exponential(n),
    "gamma, shape 0.1": lambda rng, n: rng.gamma(0.1, size=n),
    "Weibull, shape 0.3": lambda rng, n: rng.weibull(0.3, n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "lognormal, σ = 2": lambda rng, n: rng.lognormal(sigma=2.0, size=n),
    "t, 4 d.f.": lambda rng, n: rng.standard_t(4, n),
    "t, 2 d.f.": lambda rng, n: rng.standard_t(2, n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "Pareto, ξ = 1": lambda rng, n: rng.random(n) ** -1.0,
    "Pareto, ξ = 2": lambda rng, n: rng.random(n) ** -2.0,
    "Poisson (0.5)": lambda rng, n: rng.poisson(0.5, n).astype(float),
    "Poisson (3)": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "geometric (0.3)": lambda rng, n: rng.geometric(0.3, n).astype(float),
    "negative binomial (0.5, 0.05)": lambda rng, n: rng.negative_binomial(0.5, 0.05, n).astype(float),
    "Pareto, ξ = 0.7, whole numbers": lambda rng, n: np.floor(rng.random(n) ** -0.7),
    "exponential, rounded to 1": lambda rng, n: rng.standard_exponential(n).round(),
    "t, 2 d.f., rounded to 0.1": lambda rng, n: rng.standard_t(2, n).round(1),
    "Cauchy, rounded to 1": lambda rng, n: rng.standard_cauchy(n).round(),
    "normal, 10 % thrice as wide": _wider(0.1, 3.0),
    "exponential, 5 % thrice as wide": _wider(0.05, 3.0, "standard_exponential"),
    "normal, 5 % five times as wide": _wider(0.05, 5.0),
    "normal, 5 % at +10": lambda rng, n: rng.standard_normal(n) + 10.0 * (rng.random(n) < 0.05),
    "normal, 1 % five times as wide": _wider(0.01, 5.0),
    "normal, 1 % ten times as wide": _wider(0.01, 10.0),
}

LAWS = {"normal": stats.norm(), "exponential": stats.expon(), "t, 4 d.f.": stats.t(4), "lognormal": stats.lognorm(1.0)}

SPOILT: dict[str, tuple[str, Callable[[np.random.Generator, int], Float]]] = {
    "1 % at 60": ("exponential", lambda _, n: np.full(n // 100, 60.0)),
    "1 % at 60 ± 1": ("normal", lambda rng, n: 60.0 + rng.standard_normal(n // 100)),
    "1 % at 60, one value": ("t, 4 d.f.", lambda _, n: np.full(n // 100, 60.0)),
    "1 % at 200": ("lognormal", lambda _, n: np.full(n // 100, 200.0)),
    "1 % moved by 8": ("normal", lambda rng, n: 8.0 + rng.standard_normal(n // 100)),
    "1 % from 10 to 10,000": ("normal", lambda rng, n: 10.0 ** rng.uniform(1.0, 4.0, n // 100)),
    "0.5 % at 60, 0.5 % at 1,000": ("exponential", lambda rng, n: np.r_[
        60.0 + rng.standard_normal(n // 200), 1e3 + rng.standard_normal(n // 200)]),
    "one at 1e6": ("lognormal", lambda _, n: np.array([1e6])),
    "one at 60": ("normal", lambda _, n: np.array([60.0])),
    "one at 60, exponential": ("exponential", lambda _, n: np.array([60.0])),
    "5 % at 60": ("exponential", lambda _, n: np.full(n // 20, 60.0)),
    "5 % moved by 8": ("normal", lambda rng, n: 8.0 + rng.standard_normal(n // 20)),
}  # fmt: skip


def clean(samples: int) -> list[list[str]]:
    """Of how many clean samples something is left out."""
    rows = []
    for name, draw in CLEAN.items():
        row = [name]
        for n in SIZES:
            count = max(50, samples // (8 if n > 1_000 else 1))
            rng, k = np.random.default_rng(n + 1), int(looked_at(np.array(n))) + 1
            tops = np.sort([np.partition(draw(rng, n), n - k)[n - k :] for _ in range(count)], axis=1)
            row.append(f"{np.count_nonzero(count_gross(tops, np.full(count, n)))} of {count:,}")
        rows.append(_said(row))
    return rows


def spoilt(samples: int) -> list[list[str]]:
    """Share of outliers that are left out; realised ÷ stated frequency at 1e-3 by the others' law, and all counted."""
    rows = []
    for name, (of, outliers) in SPOILT.items():
        law, row = LAWS[of], [f"{name.removesuffix(', exponential').removesuffix(', one value')}", of]
        for n in SIZES[1:]:
            rng, found = np.random.default_rng(n + 2), []
            for _ in range(samples):
                bad = outliers(rng, n)
                x = np.concatenate([law.ppf(rng.random(n - bad.size)), bad])
                left, kept = fit_tail(x), fit_tail(x, clean=False)
                found.append([float(left.left_out) / bad.size, law.sf(left.isf(1e-3)) / 1e-3,
                              law.sf(kept.isf(1e-3)) / 1e-3])  # fmt: skip
            share, ratio, textbook = np.mean(found, axis=0)
            row += [f"{share:.2f}", f"{ratio:.2f}", f"{textbook:.2f}"]
        rows.append(_said(row))
    return rows


def _said(row: list[str]) -> list[str]:
    print("  ".join(f"{cell:>14s}" for cell in row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder for the tables")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    options = parser.parse_args()
    few = 10 if options.quick else 1
    of_spoilt, of_clean = spoilt(100 // few), clean(2_000 // few)
    if options.tables:
        header = ["outliers", "of"]
        for n in SIZES[1:]:
            header += [f"{n:,}: left out", "ratio", "clean=False"]
        _write(options.tables / "gross-spoilt.csv", [header, *of_spoilt])
        _write(options.tables / "gross-clean.csv", [["distribution", *(f"{n:,}" for n in SIZES)], *of_clean])


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
