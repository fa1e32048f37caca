"""What does cleaning leave out? Nothing of clean samples, most outliers: tables for docs/calibration.rst.

- spoilt, clean: what the default of `fit_tail` leaves out;
- groups: what it, and ``clean=True``, leave out of larger groups, beside who knows where to cut;
- single: one value, and what could be known of it.

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
from evtkit.cleaning import gross_outliers
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


def _and(first: int, second: int) -> Draw:
    """Two groups, at 8 and at 30."""
    return lambda rng, _n: np.append(8.0 + rng.standard_normal(first), 30.0 + rng.standard_normal(second))


def _moved(count: int, by: float) -> Draw:
    return lambda rng, _n: by + rng.standard_normal(count)


GROUPS: dict[str, tuple[str, Draw]] = {
    "1 % moved by 8": ("normal", _moved(10, 8.0)),
    "2 %": ("normal", _moved(20, 8.0)),
    "5 %": ("normal", _moved(50, 8.0)),
    "8 %": ("normal", _moved(80, 8.0)),
    "10 %": ("normal", _moved(100, 8.0)),
    "12 %": ("normal", _moved(120, 8.0)),
    "4 % moved by 8, 4 % at 30 ± 1": ("normal", _and(40, 40)),
    "4 % from 10 to 30": ("normal", lambda rng, _n: rng.uniform(10.0, 30.0, 40)),
    "8 % at 30 ± 1": ("exponential", _moved(80, 30.0)),
    "8 % at 30 ± 1, ": ("t, 4 d.f.", _moved(80, 30.0)),
    "8 % at 60 ± 1": ("lognormal", _moved(80, 60.0)),
    "8 % at −9, low side": ("exponential", lambda rng, _n: -9.0 - 0.3 * rng.standard_normal(80)),
}


def groups(samples: int, n: int = 1_000) -> list[list[str]]:
    """Share of outliers left out, and others, of n; the realised ÷ stated frequency at 1e-3 once they are."""
    rows = []
    for name, (of, outliers) in GROUPS.items():
        law, found, rng = LAWS[of], [], np.random.default_rng(3)
        sign = -1.0 if "low side" in name else 1.0
        for _ in range(samples):
            bad = outliers(rng, n)
            x = np.concatenate([bad, law.ppf(rng.random(n - bad.size))]) * sign
            out = [float(np.mean(x[: bad.size] > np.sort(x[bad.size :])[-3]))]
            for tail in (fit_tail(x), cleaned := fit_tail(x, clean=True)):
                apart = np.argsort(x)[n - int(tail.left_out) :] < bad.size
                out += [float(np.count_nonzero(apart) / bad.size), float(np.count_nonzero(~apart))]
            beyond = cleaned.isf(1e-3)
            out.append(float(law.sf(beyond) if sign > 0.0 else law.cdf(-beyond)) / 1e-3)
            found.append(out)
        mean = np.mean(found, axis=0)
        rows.append(_said([name.removesuffix(", "), of, *(f"{v:.2f}" for v in mean)]))
    return rows


def single(samples: int, n: int = 1_000) -> list[list[str]]:
    """One value among exponentials, and clean samples: how often the law of the others says that it is improbable."""
    limits = np.log(np.array([1 / 2_000, 1 / 20_000, 1 / 200_000]) / n)
    rng, rows = np.random.default_rng(4), []

    def log_p(x: Float) -> Float:
        ordered = np.sort(x, axis=0)
        return fit_tail(ordered[:-1], quantile=0.8, clean=False, keep_sample=False).logsf(ordered[-1])

    for value in (15.0, 20.0, 25.0, 30.0, 40.0, 60.0):
        x = np.vstack([rng.standard_exponential((n - 1, samples // 4)), np.full((1, samples // 4), value)])
        by_law = np.mean(value / x[:-1].mean(axis=0) > np.log(2_000 * n))
        default = np.mean([np.any(gross_outliers(column)) for column in x.T[: samples // 20]])
        shares = [f"{np.mean(log_p(x) < limit):.2f}" for limit in limits]
        rows.append(_said([f"a value of {value:.0f}: share found", f"{by_law:.2f}", *shares, f"{default:.2f}"]))
    for name in SINGLE:
        p = log_p(np.column_stack([CLEAN[name](rng, n) for _ in range(samples)]))
        taken = [f"{np.count_nonzero(p < limit)}" for limit in limits]
        rows.append(_said([f"{name}: taken of {samples:,}", "", *taken, ""]))
    return rows


SINGLE = (
    "exponential", "normal", "Pareto, ξ = 1", "lognormal", "t, 4 d.f.", "t, 2 d.f.", "normal, 1 % five times as wide",
    "normal, 1 % ten times as wide",
)  # fmt: skip


def _said(row: list[str]) -> list[str]:
    print("  ".join(f"{cell:>14s}" for cell in row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder for the tables")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--only", nargs="+", default=["spoilt", "clean", "groups", "single"], help="tables wanted")
    options = parser.parse_args()
    few = 10 if options.quick else 1
    spoilt_header = ["outliers", "of"]
    for n in SIZES[1:]:
        spoilt_header += [f"{n:,}: left out", "ratio", "clean=False"]
    groups_header = ["outliers of 1,000", "of", "who knows", "default", "others", "clean=True", "others", "ratio"]
    single_header = ["", "exponentials known", "1 in 2,000", "1 in 20,000", "1 in 200,000", "default"]
    for name, header, table in (
        ("spoilt", spoilt_header, lambda: spoilt(100 // few)),
        ("clean", ["distribution", *(f"{n:,}" for n in SIZES)], lambda: clean(2_000 // few)),
        ("groups", groups_header, lambda: groups(60 // few)),
        ("single", single_header, lambda: single(2_000 // few)),
    ):
        if name in options.only:
            rows = table()
            if options.tables:
                _write(options.tables / f"gross-{name}.csv", [header, *rows])


def _write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
