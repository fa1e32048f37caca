"""Does a stated probability come true at every door? Realised ÷ stated frequency, for docs/calibration.rst.

For each distribution, number of observations and risk, new samples are drawn again and again; a door (a way to a level)
gives a level, and the distribution itself says how often the next observation lies beyond it. 1 is right. On lattices,
where a level cannot be exceeded with just any probability, the realised frequency is divided by the largest attainable
one that is at most the risk. Bands are 1.96 standard errors of the mean over samples. `lattices.py` has more of them.

    python benchmarks/doors.py --tables docs/tables      # some minutes
    python benchmarks/doors.py --quick
"""

from __future__ import annotations

import argparse
import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from click.testing import CliRunner
from scipy import stats

from evtkit import TailSketch, fit_tail
from evtkit.cli import main as main_command
from evtkit.saliency.calibration import how_many_kept
from evtkit.saliency.reference import Reference
from evtkit.saliency.units import Units

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.tail import Tail

    Float = np.ndarray

RISKS = (1e-2, 1e-3, 1e-4)
SIZES = (200, 1_000, 10_000)


@dataclass(frozen=True)
class Law:
    """A distribution: how to draw, and P(X > x) exactly; its lattice step, if it has one."""

    draw: Callable[[np.random.Generator, tuple[int, int]], Float]
    beyond: Callable[[Float], Float]
    step: float = 0.0
    fitted: Callable[[Float], Callable[[Float], Float]] | None = None
    """Of samples (n, samples): P(X > x) by the same family with its parameters estimated, for levels (k, 1)."""


def continuous(of: object) -> Law:
    return Law(lambda rng, shape: of.ppf(rng.random(shape)), of.sf)  # type: ignore[attr-defined]


def rounded(of: object, step: float, family: Callable[[Float], object] | None = None) -> Law:
    """The distribution, rounded to the nearest multiple of a step: P(X > x) by the first multiple beyond x."""

    def beyond_by(law: object) -> Callable[[Float], Float]:
        return lambda x: np.asarray(law.sf((np.floor(x / step + 1e-9) + 0.5) * step))  # type: ignore[attr-defined]

    return Law(
        lambda rng, shape: np.round(of.ppf(rng.random(shape)) / step) * step,  # type: ignore[attr-defined]
        beyond_by(of), step, None if family is None else lambda x: beyond_by(family(x)),
    )  # fmt: skip


def normal(step: float) -> Law:
    """Standard normal values rounded to a step; the family's moments are corrected for it (Sheppard)."""
    return rounded(stats.norm(), step, lambda x: stats.norm(
        x.mean(axis=0), np.sqrt(np.maximum(x.var(axis=0) - step * step / 12.0, 1e-6))))  # fmt: skip


def exponential(step: float) -> Law:
    """P(X ≥ j) = exp(−(j − ½)δ/σ), and the mean of X is Σ δ P(X ≥ j), which a short table inverts."""
    scales = np.geomspace(0.3, 3.0, 4000)
    means = step * np.exp(-0.5 * step / scales) / -np.expm1(-step / scales)
    return rounded(stats.expon(), step, lambda x: stats.expon(scale=np.interp(x.mean(axis=0), means, scales)))


def mixture(share: float, first: object, second: object) -> Law:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Float:
        u = rng.random(shape)
        return np.where(rng.random(shape) < share, second.ppf(u), first.ppf(u))  # type: ignore[attr-defined]

    return Law(draw, lambda x: share * second.sf(x) + (1.0 - share) * first.sf(x))  # type: ignore[attr-defined]


LAWS: dict[str, Law] = {
    "normal": continuous(stats.norm()),
    "exponential": continuous(stats.expon()),
    "gamma, shape 0.5": continuous(stats.gamma(0.5)),
    "lognormal": continuous(stats.lognorm(1.0)),
    "t, 4 d.f.": continuous(stats.t(4)),
    "t, 2 d.f.": continuous(stats.t(2)),
    "uniform": continuous(stats.uniform()),
    "beta (2, 5)": continuous(stats.beta(2, 5)),
    "normal, a tenth thrice as wide": mixture(0.1, stats.norm(), stats.norm(0.0, 3.0)),
    "exponential, a twentieth thrice as wide": mixture(0.05, stats.expon(), stats.expon(scale=3.0)),
    "exponential, rounded to 0.1": exponential(0.1),
    "normal, rounded to 0.5": normal(0.5),
    "Poisson (3)": Law(lambda rng, shape: rng.poisson(3.0, shape).astype(float), stats.poisson(3.0).sf, 1.0),
    "Poisson (50)": Law(lambda rng, shape: rng.poisson(50.0, shape).astype(float), stats.poisson(50.0).sf, 1.0),
}


def attainable(law: Law, risk: float) -> float:
    """The largest probability of exceeding a level that is at most the risk."""
    if not law.step:
        return risk
    beyond = law.beyond(points(law))
    return float(beyond[beyond <= risk].max())


def points(law: Law) -> Float:
    """Of a lattice, as many as matter."""
    return law.step * np.arange(-200, 2000)


def plug_in(x: Float, _step: float) -> Float:
    """The textbook's level from the largest tenth, (risks, samples); none where there is no fit."""
    fitted = fit_tail(x, quantile=0.9, resolution=0.0)
    return np.nan_to_num([fitted.isf(risk, law="plug-in") for risk in RISKS], nan=np.inf)


def tail(x: Float, _step: float) -> Float:
    """`Tail.isf` of a tail as it comes."""
    return _levels(fit_tail(x))


def tenth(x: Float, _step: float) -> Float:
    """The same of the largest tenth."""
    return _levels(fit_tail(x, quantile=0.9, keep_sample=False))


def cleaned(x: Float, _step: float) -> Float:
    """`evtkit.interop.pyod.PotThreshold` on scores, and a feature of PotDetector: the same, of cleaned samples."""
    return _levels(fit_tail(x, clean=True))


def _levels(fitted: Tail) -> Float:
    return np.array([fitted.isf(risk) for risk in RISKS])


def saliency(x: Float, step: float) -> Float:
    """The p-values of `Reference.rank`: each column is a unit, calibrated by its rows as `calibrate` does it."""
    rows, count = x.shape
    sketch = TailSketch(count, how_many_kept(rows, None))
    sketch.update(x)
    units = Units(["layer"] * count, ["filters"] * count, list(range(count)), [9] * count, ["layer"] * count)
    reference = Reference(sketch.fit(), units)
    return _where_p_falls(lambda values: reference.rank(values, by="pot", combine="each").log_sf, x, step)


def score(x: Float, step: float) -> Float:
    """The column p of ``evtkit score --tail``, of tails by ``evtkit fit --save``, both as they come.

    In a file there are values on both sides of each level that `Tail.isf` names: p must pass the risk between them.
    """
    levels = tail(x, step)
    if step:
        below = step * np.floor(levels / step + 1e-6)
        above = below + step
    else:
        below, above = (levels + sign * 1e-6 * np.abs(levels) for sign in (-1.0, 1.0))
    with TemporaryDirectory() as folder:
        history, query, saved, scores = (Path(folder) / name for name in ("h.csv", "q.csv", "h.npz", "p.csv"))
        header = ",".join(f"c{i}" for i in range(x.shape[1]))
        for path, values in (
            (history, x),
            (query, np.where(np.isfinite(levels), [below, above], 0.0).reshape(-1, x.shape[1])),
        ):
            np.savetxt(path, values, delimiter=",", header=header, comments="", fmt="%.17g")
        _run("fit", history, "--save", saved)
        _run("score", query, "--tail", saved, "--output", scores)
        with scores.open(encoding="utf-8") as file:
            p = np.exp([float(row["log_p"]) for row in csv.DictReader(file)]).reshape(2, *levels.shape)
    risks = np.array(RISKS)[:, None]
    wrong = np.isfinite(levels) & ~((p[0] > risks) & (p[1] <= risks * (1.0 + 1e-9)))
    if np.any(wrong):
        raise SystemExit(f"score: p passes the risk elsewhere in {np.count_nonzero(wrong)} of {wrong.size} cases")
    return levels


def _run(*arguments: object) -> None:
    result = CliRunner().invoke(main_command, [str(a) for a in arguments])
    if result.exit_code:
        raise SystemExit(result.output)


def _where_p_falls(log_p_of: Callable[[Float], Float], x: Float, step: float) -> Float:
    """The levels (risks, samples) beyond which p-values are at most the risks, on ever finer grids."""
    middle, high = float(np.median(x)), float(np.quantile(x, 0.96))
    log_risk = np.log(RISKS)[:, None, None]
    low, far = np.full((len(RISKS), x.shape[1]), np.log(0.3)), np.full((len(RISKS), x.shape[1]), np.log(1e3))
    for _ in range(3):
        between = np.linspace(low, far, 49, axis=1)
        values = middle + (high - middle) * np.exp(between)
        if step:
            values = step * np.ceil(values / step)
        falls = log_p_of(values.reshape(-1, x.shape[1])).reshape(values.shape) <= log_risk
        falls[:, -1] = True
        first = np.maximum(falls.argmax(axis=1), 1)[:, None]
        low, far = (np.take_along_axis(between, first - i, axis=1)[:, 0] for i in (1, 0))
    level = middle + (high - middle) * np.exp(far)
    return step * (np.ceil(level / step) - 1.0) if step else level  # on a lattice the first value that counts


DOORS: dict[str, Callable[[Float, float], Float]] = {
    "plug-in": plug_in, "tail": tail, "tenth": tenth, "cleaned": cleaned, "saliency": saliency, "score": score,
}  # fmt: skip
SAMPLES = {"plug-in": (1000, 600, 150), "tail": (1000, 600, 150), "tenth": (1000, 600, 150),
           "cleaned": (200, 100, 30), "saliency": (400, 200, 30), "score": (400, 200, 50)}  # fmt: skip


def measure(law: Law, door: str, n: int, samples: int, seed: int) -> tuple[Float, Float, Float]:
    """Mean realised ÷ stated frequency at every risk, its standard error, and the median probability missed.

    The last is P(an anomaly is missed) for one that the law with all parameters known would just see nine times in ten:
    a normal one around the level of twice the true one's distance from the median, as wide as a quarter of it.
    """
    x = law.draw(np.random.default_rng(seed), (n, samples))
    return judged(law, x, DOORS[door](x, law.step))


def judged(law: Law, x: Float, levels: Float) -> tuple[Float, Float, Float]:
    """The same of levels (risks, samples) that some door gave for x (n, samples)."""
    n, samples = x.shape
    ratio = np.array([law.beyond(levels[i]) / attainable(law, risk) for i, risk in enumerate(RISKS)])
    middle = float(np.median(x))
    missed = []
    for i, risk in enumerate(RISKS):
        grid = np.quantile(x, 1.0 - risk) if n * samples * risk > 10 else np.nan
        reach = grid - middle
        missed.append(float(np.mean(stats.norm.cdf((levels[i] - middle - 2.0 * reach) / (0.25 * reach)))))
    return ratio.mean(axis=1), ratio.std(axis=1) / np.sqrt(samples), np.array(missed)


def contaminated(seeds: int) -> list[list[str]]:
    """Rows flagged by PotThreshold on scores of PyOD's detectors, outliers and others, beside the best level's."""
    from pyod.models.ecod import ECOD
    from pyod.models.hbos import HBOS
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN

    from evtkit.interop.pyod import PotThreshold

    rows = []
    for normal, moved in ((990, 10), (999, 50)):
        for name, detector in (("HBOS", HBOS), ("ECOD", ECOD), ("KNN", KNN), ("IForest", IForest)):
            counts = []
            for seed in range(seeds):
                x = np.random.default_rng(seed).standard_normal((normal + moved, 4))
                x[:moved] += 8.0
                scores = detector(**({"random_state": seed} if name == "IForest" else {})).fit(x).decision_scores_
                best = np.count_nonzero(scores[:moved] > np.sort(scores[moved:])[-3])
                found = [best]
                for threshold in (PotThreshold(), PotThreshold(risk=1e-3)):
                    flagged = threshold.fit(scores).labels_
                    found += [flagged[:moved].sum(), flagged[moved:].sum()]
                counts.append(found)
            row = [f"{moved} of {normal + moved:,}", name, *(f"{v:.1f}" for v in np.mean(counts, axis=0))]
            print("  ".join(f"{cell:>14s}" for cell in row), flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder for the tables")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--doors", nargs="*", default=list(DOORS), help="doors to try")
    parser.add_argument("--laws", nargs="*", default=list(LAWS), help="distributions to try")
    parser.add_argument("--seeds", type=int, default=50, help="of contaminated training rows; 0 for none")
    options = parser.parse_args()
    if options.seeds:
        rows = contaminated(options.seeds)
        if options.tables:
            header = ["outliers", "detector", "oracle", "as it comes", "and of the others", "risk 0.001",
                      "and of the others"]  # fmt: skip
            write(options.tables / "doors-contaminated.csv", [header, *rows])
    warnings.simplefilter("error")
    laws = {name: LAWS[name] for name in options.laws}
    for door in options.doors:
        rows = []
        for name, law in laws.items():
            row = [name]
            for n, samples in zip(SIZES, SAMPLES[door], strict=True):
                count = max(8, samples // 10) if options.quick else samples
                mean, error, missed = measure(law, door, n, count, seed=n)
                row += [f"{m:.2f} ± {1.96 * e:.2f}" for m, e in zip(mean, error, strict=True)]
                row += [f"{m:.2f}" for m in missed[1:2]]
            rows.append(row)
            print(f"{door:14s}", "  ".join(f"{cell:>14s}" for cell in row), flush=True)
        if options.tables:
            header = ["distribution"]
            for n in SIZES:
                header += [f"{n:,} at {risk:g}" for risk in RISKS] + [f"{n:,}, missed at 0.001"]
            write(options.tables / f"doors-{door.lower().replace('-', '_')}.csv", [header, *rows])


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
