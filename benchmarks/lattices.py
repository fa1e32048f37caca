"""Counts and rounded data: how often is a level exceeded, of the attainable frequency and of the stated risk itself?

The default tail, as in `doors.py`, with three tables for docs/calibration.rst:

- lattices: realised frequency ÷ the largest attainable one that is at most the risk;
- lattices-risk: realised frequency ÷ the risk, which is what a user was told;
- family: of the cells of the first that lie outside, what others reach who know more.

    python benchmarks/lattices.py --tables docs/tables      # some minutes
    python benchmarks/lattices.py --quick
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from doors import RISKS, SAMPLES, SIZES, Law, attainable, exponential, judged, normal, points, rounded, tail, write
from scipy import stats

from evtkit import fit_tail, gpd

if TYPE_CHECKING:
    from collections.abc import Callable

    Float = np.ndarray

_XI, _SIGMA = np.linspace(-1.0, 1.0, 81), np.geomspace(1e-2, 1e2, 160)  # the latter in units of the mean excess
_MISSED = "{:,}, missed at 0.001"
_LEAST = 1e-12  # probability of a cell, beyond the threshold, that matters


def _counts(of: object, family: Callable[[Float], object]) -> Law:
    """Counts; the family with one parameter, by the mean."""
    return Law(lambda rng, shape: of.ppf(rng.random(shape)).astype(float), of.sf, 1.0,  # type: ignore[attr-defined]
               lambda x: family(x.mean(axis=0)).sf)  # type: ignore[attr-defined] # fmt: skip


LATTICES: dict[str, Law] = {
    "Poisson (0.5)": _counts(stats.poisson(0.5), stats.poisson),
    "Poisson (1)": _counts(stats.poisson(1.0), stats.poisson),
    "Poisson (3)": _counts(stats.poisson(3.0), stats.poisson),
    "Poisson (5)": _counts(stats.poisson(5.0), stats.poisson),
    "Poisson (10)": _counts(stats.poisson(10.0), stats.poisson),
    "Poisson (30)": _counts(stats.poisson(30.0), stats.poisson),
    "binomial (20, 0.2)": _counts(stats.binom(20, 0.2), lambda m: stats.binom(20, m / 20)),
    "binomial (100, 0.03)": _counts(stats.binom(100, 0.03), lambda m: stats.binom(100, m / 100)),
    "geometric (0.3)": _counts(stats.geom(0.3), lambda m: stats.geom(1.0 / m)),
    "geometric (0.1)": _counts(stats.geom(0.1), lambda m: stats.geom(1.0 / m)),
    "negative binomial (2, 0.3)": _counts(stats.nbinom(2, 0.3), lambda m: stats.nbinom(2, 2 / (2 + m))),
    "negative binomial (0.5, 0.1)": _counts(stats.nbinom(0.5, 0.1), lambda m: stats.nbinom(0.5, 0.5 / (0.5 + m))),
    "normal, rounded to 1": normal(1.0),
    "normal, rounded to 0.25": normal(0.25),
    "exponential, rounded to 1": exponential(1.0),
    "exponential, rounded to 0.5": exponential(0.5),
    "gamma (2), rounded to 1": rounded(stats.gamma(2.0), 1.0),
    "gamma (2), rounded to 0.5": rounded(stats.gamma(2.0), 0.5),
    "lognormal, rounded to 1": rounded(stats.lognorm(1.0), 1.0),
    "lognormal, rounded to 0.25": rounded(stats.lognorm(1.0), 0.25),
    "t, 4 d.f., rounded to 1": rounded(stats.t(4), 1.0),
    "t, 4 d.f., rounded to 0.5": rounded(stats.t(4), 0.5),
}


def by_family(law: Law, x: Float, risk: float) -> float:
    """Mean probability beyond the level by the law's own family, its parameters estimated, of samples (n, samples)."""
    assert law.fitted is not None
    levels = points(law)[:, None]
    return float(law.beyond(levels[(law.fitted(x)(levels) <= risk).argmax(axis=0), 0]).mean())


def by_shape(law: Law, x: Float, risk: float) -> float:
    """The same by a discretised GPD that knows its ξ, with σ averaged over what it may be.

    It begins where the default's does, and has the shape that describes the distribution best from there on.
    """
    model, found = fit_tail(x), []
    for u in np.unique(model.threshold):
        borders = u + law.step * np.arange(2000)
        beyond = law.beyond(borders)
        borders, beyond = borders[: (few := int((beyond >= _LEAST * beyond[0]).sum()) + 2)], beyond[:few]
        cells = -np.diff(beyond, append=0.0) / beyond[0]
        scales = _SIGMA * float(cells @ (borders - u + 0.5 * law.step))
        best, log_cells, log_beyond = -np.inf, np.empty(0), np.empty(0)
        for xi in _XI:
            log_s = gpd.logsf(borders - u, xi, scales[:, None])
            with np.errstate(divide="ignore", invalid="ignore"):
                log_p = np.maximum(np.log(-np.diff(np.exp(log_s), axis=1, append=0.0)), -1e6)
            if (most := float((log_p @ cells).max())) > best:
                best, log_cells, log_beyond = most, log_p, log_s
        of = x[:, model.threshold == u]
        counts = [[np.count_nonzero((s > low) & (s <= low + law.step)) for low in borders] for s in of.T]
        loglik = np.array(counts) @ log_cells.T
        weights = np.exp(loglik - loglik.max(axis=1, keepdims=True))
        weights *= ((model.n_excess[model.threshold == u] + 1.0) / (len(x) + 1.0) / weights.sum(axis=1))[:, None]
        found.append(law.beyond(borders[(weights @ np.exp(log_beyond) <= risk).argmax(axis=1)]))
    return float(np.concatenate(found).mean())


def next_to(law: Law, risk: float) -> tuple[float, float]:
    """The probability next to the risk that some level has, ÷ the risk, and the factor to the next lower one."""
    beyond = law.beyond(points(law))
    beyond = np.unique(beyond[beyond > 0.0])
    nearest = int(np.argmin(np.abs(np.log(beyond / risk))))
    return float(beyond[nearest] / risk), float(beyond[nearest] / beyond[max(nearest - 1, 0)])


def out_of_band(name: str, law: Law, x: Float, ratio: Float) -> list[list[str]]:
    """What there is to know of the cells that may be in the band, and are not."""
    rows = []
    for risk, one in zip(RISKS, ratio, strict=True):
        if len(x) * risk < 0.99 or 0.5 <= one <= 1.5:
            continue
        nearest, factor = next_to(law, risk)
        at = attainable(law, risk)
        known = "" if law.fitted is None else f"{by_family(law, x, risk) / at:.2f}"
        rows.append([name, f"{len(x):,}", f"{risk:g}", f"{one:.2f}", f"{one * at / risk:.2f}", f"{nearest:.2f}",
                     f"{factor:.1f}", known, f"{by_shape(law, x, risk) / at:.2f}"])  # fmt: skip
        print("  ".join(f"{cell:>14s}" for cell in rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder for the tables")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    options = parser.parse_args()
    warnings.simplefilter("error")
    of_attainable, of_risk, outside = [], [], []
    for name, law in LATTICES.items():
        of_attainable.append([name])
        of_risk.append([name])
        for n, samples in zip(SIZES, SAMPLES["tail"], strict=True):
            x = law.draw(np.random.default_rng(n), (n, max(8, samples // 10) if options.quick else samples))
            mean, error, missed = judged(law, x, tail(x, law.step))
            stated = np.array([attainable(law, risk) / risk for risk in RISKS])
            of_attainable[-1] += [f"{m:.2f} ± {1.96 * e:.2f}" for m, e in zip(mean, error, strict=True)]
            of_attainable[-1] += [f"{missed[1]:.2f}"]
            of_risk[-1] += [f"{m:.2f} ± {1.96 * e:.2f}" for m, e in zip(mean * stated, error * stated, strict=True)]
            outside += out_of_band(name, law, x, mean)
        for row in (of_attainable[-1], of_risk[-1]):
            print("  ".join(f"{cell:>12s}" for cell in row), flush=True)
    if options.tables:
        cells = [[f"{n:,} at {risk:g}" for risk in RISKS] for n in SIZES]
        header = ["distribution", *(h for n, row in zip(SIZES, cells, strict=True) for h in [*row, _MISSED.format(n)])]
        write(options.tables / "doors-lattices.csv", [header, *of_attainable])
        write(options.tables / "doors-lattices-risk.csv", [["distribution", *np.ravel(cells).tolist()], *of_risk])
        header = ["distribution", "observations", "risk", "ratio", "realised ÷ risk", "nearest ÷ risk", "factor",
                  "own family", "ξ known"]  # fmt: skip
        write(options.tables / "doors-family.csv", [header, *outside])


if __name__ == "__main__":
    main()
