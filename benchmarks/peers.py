"""Fits, intervals and regressions beside OpenTURNS and SciPy's general optimisers, on one thread, turn by turn.

    python benchmarks/peers.py [--write]

A turn is some ten milliseconds of calls, or one that takes longer; times are those of the processor. Prints
milliseconds, ratios, and by how much a peer's log-likelihood falls short of evtkit's. With --write the table
goes to docs/tables/peers.csv. A peer that is not installed is left out.
"""

from __future__ import annotations

import csv
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["EVTKIT_NUM_THREADS"] = "1"

import numpy as np
from _timing import best_times, machine
from scipy.optimize import minimize

from evtkit import covariates, fit_gpd, gev, gpd
from evtkit.intervals import return_level_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    import openturns as ot
except ImportError:
    ot = None

TABLE = Path(__file__).parents[1] / "docs" / "tables" / "peers.csv"
HEAD = ["what", "n", "evtkit ms", "SciPy ratio", "OpenTURNS ratio", "SciPy short by", "OpenTURNS short by"]


def column(x: np.ndarray) -> Any:
    """As OpenTURNS has a sample."""
    return ot.Sample(np.asarray(x, dtype=float).reshape(len(x), -1))


def by_optimiser(loglik: Callable[[np.ndarray], float], start: list[float]) -> float:
    """The likelihood that a general optimiser reaches, with numerical derivatives, as one would write it."""

    def minus(theta: np.ndarray) -> float:
        value = loglik(theta)
        return -value if np.isfinite(value) else 1e10

    return -min(minimize(minus, start, method=method).fun for method in ("BFGS", "Nelder-Mead"))


Row = tuple[str, int, "Callable[[], float]", "Callable[[], float] | None", "Callable[[], float] | None"]


def rows() -> Iterator[Row]:
    """What is done, on how many values, and by whom; each returns the log-likelihood reached, or NaN."""
    for n in (100, 1000):
        y = gpd.rvs(0.2, 1.0, n, rng=1)

        def scipy_gpd(y: np.ndarray = y) -> float:
            return by_optimiser(lambda t: gpd.logpdf(y, t[1], np.exp(t[0])).sum(), [np.log(y.mean()), 0.1])

        def their_gpd(y: np.ndarray = y) -> float:
            law = ot.GeneralizedParetoFactory().buildMethodOfLikelihoodMaximization(column(y), 0.0)
            return float(gpd.logpdf(y, law.getXi(), law.getSigma()).sum())

        yield "GPD fit", n, lambda y=y: float(fit_gpd(y).loglik), scipy_gpd, their_gpd
        x = np.zeros(10 * n)
        x[::10] = y

        def their_level(x: np.ndarray = x) -> float:
            factory = ot.GeneralizedParetoFactory()
            factory.buildReturnLevelProfileLikelihoodEstimator(column(x), 0.0, 1000.0).getParameterConfidenceInterval()
            return np.nan

        yield (
            "GPD level with limits",
            n,
            lambda y=y: nothing(return_level_interval(y, 1000, rate=0.1)),
            None,
            their_level,
        )
    maxima = gev.rvs(0.1, 0.0, 1.0, 65, rng=1)

    def scipy_gev() -> float:
        return by_optimiser(lambda t: gev.logpdf(maxima, t[2], t[0], np.exp(t[1])).sum(), [maxima.mean(), 0.0, 0.1])

    def their_gev() -> float:
        law = ot.GeneralizedExtremeValueFactory().buildMethodOfLikelihoodMaximization(column(maxima))
        return float(gev.logpdf(maxima, law.getXi(), law.getMu(), law.getSigma()).sum())

    def their_gev_level() -> float:
        factory = ot.GeneralizedExtremeValueFactory()
        factory.buildReturnLevelProfileLikelihoodEstimator(column(maxima), 100.0).getParameterConfidenceInterval()
        return np.nan

    yield "GEV fit", 65, lambda: float(gev.fit_gev(maxima).loglik), scipy_gev, their_gev
    yield (
        "GEV level with limits", 65, lambda: nothing(gev.fit_gev(maxima).return_level(100, interval=0.95)), None,
        their_gev_level,
    )  # fmt: skip
    year = np.arange(120.0)
    rising = gev.rvs(-0.1, 1.0 + 0.002 * year, 0.1, size=120, rng=0)

    def scipy_trend() -> float:
        return by_optimiser(lambda t: gev.logpdf(rising, t[3], t[0] + t[1] * year, np.exp(t[2])).sum(),
                            [rising.mean(), 0.0, np.log(rising.std()), 0.0])  # fmt: skip

    def their_trend() -> float:
        found = ot.GeneralizedExtremeValueFactory().buildCovariates(column(rising), column(year), [0])
        return float(found.getLogLikelihood())

    yield (
        "GEV, location linear in a covariate", 120,
        lambda: float(covariates.fit_gev(rising, {"year": year}, mu="year").loglik), scipy_trend, their_trend,
    )  # fmt: skip
    place = np.random.default_rng(2).normal(size=500)
    y = gpd.rvs(0.15, np.exp(0.3 + 0.4 * place), 500, rng=3)

    def scipy_scale() -> float:
        return by_optimiser(
            lambda t: gpd.logpdf(y, t[2], np.exp(t[0] + t[1] * place)).sum(), [np.log(y.mean()), 0.0, 0.1]
        )

    def their_scale() -> float:
        link = ot.SymbolicFunction("x", "exp(x)")
        found = ot.GeneralizedParetoFactory().buildCovariates(column(y), 0.0, column(place), [0], [], link)
        return float(found.getLogLikelihood())

    yield (
        "GPD, log scale linear in a covariate", 500,
        lambda: float(covariates.fit_gpd(y, {"place": place}, sigma="place").loglik), scipy_scale, their_scale,
    )  # fmt: skip


def nothing(_: object) -> float:
    """No likelihood to compare."""
    return np.nan


def calls_of(run: Callable[[], object]) -> int:
    """How many calls make a turn: some ten milliseconds of them."""
    start = time.process_time()
    run()
    return max(1, min(200, int(0.01 / max(time.process_time() - start, 1e-6))))


def line(what: str, n: int, ours: Callable[[], float], scipy: Any, theirs: Any) -> list[str]:
    programs = {"evtkit": ours} | ({"scipy": scipy} if scipy else {}) | ({"openturns": theirs} if ot else {})
    reached = {name: run() for name, run in programs.items()}
    calls = {name: calls_of(run) for name, run in programs.items()}
    turns = {name: lambda run=run, n=calls[name]: [run() for _ in range(n)] for name, run in programs.items()}
    times = {name: t / calls[name] for name, t in best_times(turns, rounds=8, clock=time.process_time).items()}
    ratios = [f"{times[name] / times['evtkit']:.0f}" if name in times else "" for name in ("scipy", "openturns")]
    short = [reached["evtkit"] - reached.get(name, np.nan) for name in ("scipy", "openturns")]
    return [what, f"{n}", f"{1e3 * times['evtkit']:.3g}", *ratios, *("" if np.isnan(s) else f"{s:.1e}" for s in short)]


def main() -> None:
    warnings.simplefilter("ignore")
    print(machine(), "— OpenTURNS", ot.__version__ if ot else "not installed")
    print(*HEAD, sep="\t")
    table = [HEAD]
    for row in rows():
        table.append(line(*row))
        print(*table[-1], sep="\t", flush=True)
    if "--write" in sys.argv:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)


if __name__ == "__main__":
    main()
