"""One confidence interval of a return level: evtkit against pyextremes' bootstrap and a profile by SciPy's optimisers.

    python benchmarks/intervals.py [--write]

Prints milliseconds an interval and ratios, on one thread. With --write the table goes to
docs/tables/interval-speed.csv. A peer that is not installed is left out.
"""

from __future__ import annotations

import csv
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["EVTKIT_NUM_THREADS"] = "1"

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.stats import chi2, genextreme, genpareto

from evtkit import gev, gpd
from evtkit.intervals import return_level_interval

TABLE = Path(__file__).parents[1] / "docs" / "tables" / "interval-speed.csv"


def seconds(run, rounds: int) -> float:
    """The fastest of some turns, after one that is not counted."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def by_scipy(y: np.ndarray, w: float) -> tuple[float, float]:
    """Profile limits as one would write them: a fit, an inner maximum by Brent's method, and a root at either side."""
    c, _, scale = genpareto.fit(y, floc=0.0)
    best = genpareto.logpdf(y, c, 0.0, scale).sum()
    level = scale * np.expm1(c * w) / c

    def fall(r: float) -> float:
        def minus(xi: float) -> float:
            value = genpareto.logpdf(y, xi, 0.0, r * xi / np.expm1(xi * w)).sum()
            return -value if np.isfinite(value) else 1e10

        found = minimize_scalar(minus, bounds=(-0.99, 3.0), method="bounded")
        return 2.0 * (best + found.fun) - chi2.ppf(0.95, 1)

    return brentq(fall, 0.3 * level, level), brentq(fall, level, 20.0 * level)


def by_scipy_maxima(x: np.ndarray, g: float) -> tuple[float, float]:
    """The same for block maxima, with an inner maximum over shape and scale by a simplex."""
    c, mu, scale = genextreme.fit(x)
    best, level = genextreme.logpdf(x, c, mu, scale).sum(), mu + scale * np.expm1(-c * g) / -c

    def fall(z: float) -> float:
        def minus(v: np.ndarray) -> float:
            sigma = np.exp(v[1])
            value = genextreme.logpdf(x, -v[0], z - sigma * np.expm1(v[0] * g) / v[0], sigma).sum()
            return -value if np.isfinite(value) else 1e10

        found = minimize(minus, [-c, np.log(scale)], method="Nelder-Mead")
        return 2.0 * (best + found.fun) - chi2.ppf(0.95, 1)

    return brentq(fall, level - 1.5 * scale, level), brentq(fall, level, level + 10.0 * scale)


def by_pyextremes(x: np.ndarray, u: float):
    import pandas as pd
    from pyextremes import EVA

    model = EVA(pd.Series(x, index=pd.date_range("2000-01-01", periods=x.size, freq="D")))
    model.get_extremes("POT", threshold=u, r="1h")
    model.fit_model("MLE", distribution="genpareto")
    return lambda: _fresh(model).get_return_value(100, alpha=0.95, n_samples=100)


def _fresh(model):
    model.fit_model("MLE", distribution="genpareto")  # forgets the bootstrap
    return model


def main() -> None:
    rows = [["what", "n", "evtkit ms", "scipy ms", "pyextremes ms", "scipy ratio", "pyextremes ratio"]]
    warnings.simplefilter("ignore")
    for n in (50, 150, 1000):
        y = gpd.rvs(0.15, 1.0, n, rng=1)
        x = np.zeros(10 * n)
        x[::10] = y
        ours = seconds(lambda y=y: return_level_interval(y, 1000, rate=0.1), 20)
        theirs = seconds(lambda y=y: by_scipy(y, np.log(100.0)), 2)
        try:
            peer = seconds(by_pyextremes(x, 0.0), 1)
        except ImportError:
            peer = float("nan")
        rows.append(["GPD level", n, *(f"{1e3 * s:.2f}" for s in (ours, theirs, peer)), f"{theirs / ours:.0f}",
                     f"{peer / ours:.0f}"])  # fmt: skip
        print(*rows[-1], sep="\t", flush=True)
    maxima = gev.rvs(0.1, 0.0, 1.0, 65, rng=1)
    ours = seconds(lambda: gev.fit_gev(maxima).return_level(100, interval=0.95), 10)
    theirs = seconds(lambda: by_scipy_maxima(maxima, -np.log(-np.log1p(-0.01))), 2)
    rows.append(["GEV level", 65, f"{1e3 * ours:.2f}", f"{1e3 * theirs:.2f}", "", f"{theirs / ours:.0f}", ""])
    print(*rows[-1], sep="\t")
    if "--write" in sys.argv:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
