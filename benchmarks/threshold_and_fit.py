"""Threshold and fit of whole channels: evtkit against libspot, and one thread against two.

    python benchmarks/threshold_and_fit.py

The 90 % quantile and the fit of the excesses above it, a channel, at 1,000, 5,000 and 50,000 observations. libspot fits
one channel a call; evtkit all of them in one. Its samples are contiguous, evtkit's are observations × channels.
"""

from __future__ import annotations

import numpy as np
from _timing import best_times, machine
from libspot import Spot

from evtkit import fit_tail, gpd


def compare(n: int, channels: int, xi: float) -> None:
    x = gpd.rvs(xi, 1.0, (n, channels), rng=1)
    few = [np.ascontiguousarray(x[:, i]) for i in range(min(channels, 20))]

    def libspot() -> None:
        for column in few:
            Spot(q=1e-4, level=0.9, max_excess=n).fit(column)

    times = best_times(
        {
            "one": lambda: fit_tail(x, quantile=0.9, keep_sample=False, n_threads=1),
            "two": lambda: fit_tail(x, quantile=0.9, keep_sample=False, n_threads=2),
            "libspot": libspot,
        },
        rounds=7,
    )
    one, two, theirs = times["one"] / channels, times["two"] / channels, times["libspot"] / len(few)
    print(f"{n:7d}  {xi:5.1f}  {one * 1e6:9.2f}  {theirs * 1e6:10.1f}  {theirs / one:7.1f}  {one / two:12.2f}")


if __name__ == "__main__":
    print(machine(), "— fastest of seven turns, µs a channel\n")
    print("      n     xi  evtkit µs  libspot µs    ratio  two threads ×")
    for xi in (0.0, 0.2, 0.5):
        for n, channels in ((1_000, 8_000), (5_000, 1_600), (50_000, 160)):
            compare(n, channels, xi)
