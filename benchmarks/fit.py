"""Fitting many channels: evtkit against scipy.stats.genpareto.fit and pyextremes, one thread, side by side.

    python benchmarks/fit.py

Prints, for samples of several sizes and shapes, the time of a fit and the ratios, then the time of one evaluation of
the profile likelihood an element against one pass over the data.
"""

from __future__ import annotations

import warnings

import numpy as np
from _timing import best_times, machine
from numba import njit
from scipy.stats import genpareto

from evtkit import fit_gpd, gpd
from evtkit._kernels.sums import CHUNK, LANES, ROWS, sums

SHAPES = (-0.3, 0.0, 0.2, 0.5, 1.0)


@njit(error_model="numpy")
def evaluate(z, n, z_max, t, times):
    total = 0.0
    for i in range(times):
        total += sums(z, n, z_max, t + i * 1e-9)[0]
    return total


@njit(error_model="numpy", fastmath=True)
def one_pass(z, times):
    total = 0.0
    for i in range(times):
        part = 0.0
        for j in range(z.size):
            part += z[j] * (1.0 + i)
        total += part
    return total


def fits(n: int, channels: int) -> None:
    for xi in SHAPES:
        y = gpd.rvs(xi, 1.0, (n, channels), rng=1)
        few = [np.ascontiguousarray(y[:, i]) for i in range(8)]

        def by_scipy(few=few):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for column in few:
                    genpareto.fit(column, floc=0.0)

        times = best_times({"evtkit": lambda y=y: fit_gpd(y, n_threads=1), "scipy": by_scipy})
        ours, scipy = times["evtkit"] / channels, times["scipy"] / len(few)
        print(f"{n:7d}  {xi:5.1f}  {ours * 1e6:9.2f}  {scipy * 1e6:9.0f}  {scipy / ours:8.0f}")


def evaluations() -> None:
    print("\nOne evaluation of the profile likelihood and its derivative, ns an element")
    print("      n     evtkit   one pass     numpy")
    for n in (100, 500, 5_000, 50_000):
        evaluation(gpd.rvs(0.2, 1.0, n, rng=1))


def evaluation(y: np.ndarray) -> None:
    n, repeats = y.size, max(1, 2_000_000 // y.size)
    few = max(1, repeats // 50)
    z = np.zeros((-(-n // CHUNK), ROWS, LANES))
    z.ravel()[:n] = y / y.mean()
    times = best_times(
        {
            "evtkit": lambda: evaluate(z, n, z.max(), 0.2, repeats),
            "pass": lambda: one_pass(y, repeats),
            "numpy": lambda: [(np.log1p(0.2 * y).mean(), (1 / (1 + 0.2 * y)).mean()) for _ in range(few)],
        }
    )
    each = [times["evtkit"] / repeats, times["pass"] / repeats, times["numpy"] / few]
    print(f"{n:7d}  " + "  ".join(f"{t / n * 1e9:9.3f}" for t in each))


def peer_pyextremes() -> None:
    try:
        import pandas as pd
        from pyextremes import EVA
    except ImportError:
        print("\npyextremes: not installed")
        return
    x = np.random.default_rng(0).standard_t(4, size=20_000)
    series = pd.Series(x, index=pd.date_range("2000-01-01", periods=x.size, freq="h"))
    u = float(np.quantile(x, 0.95))

    def theirs() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = EVA(series)
            model.get_extremes("POT", threshold=u, r="1h")
            model.fit_model("MLE", distribution="genpareto")

    from evtkit import fit_tail

    times = best_times({"evtkit": lambda: fit_tail(x, threshold=u), "pyextremes": theirs}, rounds=3)
    print(
        f"\nThreshold and fit of 20,000 observations, 1,000 excesses: evtkit {times['evtkit'] * 1e3:.2f} ms, "
        f"pyextremes {times['pyextremes'] * 1e3:.0f} ms, ratio {times['pyextremes'] / times['evtkit']:.0f}"
    )


if __name__ == "__main__":
    print(machine(), "— one thread, fastest of five turns\n")
    print("      n     xi  evtkit µs   scipy µs     ratio")
    for n, channels in ((100, 2000), (500, 1000), (5_000, 200)):
        fits(n, channels)
    evaluations()
    peer_pyextremes()
