"""Threshold and fit of whole channels: evtkit against libspot, and one thread against two.

    python benchmarks/threshold_and_fit.py

The 90 % quantile and the fit of the excesses above it, a channel, at 1,000, 5,000 and 50,000 observations. libspot fits
one channel a call; evtkit all of them in one. Its samples are contiguous, evtkit's are observations × channels.
Beneath, what two threads of this machine can do at best: arithmetic in the caches, and one bare pass over the block.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from _timing import best_times, machine
from libspot import Spot

from evtkit import fit_tail, gpd

if TYPE_CHECKING:
    from collections.abc import Callable


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


def two_bare_threads() -> None:
    """One thread's time for two pieces of work that share nothing, divided by that of two threads."""
    small = np.arange(2000.0)
    halves = [np.random.default_rng(i).standard_normal((500, 8000)) for i in range(2)]

    def in_the_cache(_: int) -> None:
        for _ in range(3000):
            np.log1p(small)

    def one_pass(i: int) -> None:
        halves[i].max(axis=0)

    with ThreadPoolExecutor(2) as pool:
        for name, work in (("log1p in the cache", in_the_cache), ("a pass of np.maximum", one_pass)):

            def in_turn(work: Callable[[int], None] = work) -> None:
                work(0)
                work(1)

            def at_once(work: Callable[[int], None] = work) -> None:
                list(pool.map(work, (0, 1)))

            times = best_times({"one": in_turn, "two": at_once}, rounds=7)
            print(f"two threads ×, {name}: {times['one'] / times['two']:.2f}")


if __name__ == "__main__":
    print(machine(), "— fastest of seven turns, µs a channel\n")
    print("      n     xi  evtkit µs  libspot µs    ratio  two threads ×")
    for xi in (0.0, 0.2, 0.5):
        for n, channels in ((1_000, 8_000), (5_000, 1_600), (50_000, 160)):
            compare(n, channels, xi)
    print()
    two_bare_threads()
