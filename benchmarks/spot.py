"""Stream detectors: evtkit's update and step against libspot's step, and many streams at once.

    python benchmarks/spot.py [--tables docs/tables] [--risks 1e-3 1e-4]

One stream is calibrated on its first 2,000 observations and fed 500,000 more, threshold at the 98 % quantile, as many
excesses kept by both (500, libspot's default), seconds of the processor. libspot has a step for one observation; it is
called in a loop over Python floats, and so is evtkit's. Then 1,000 streams of 100,000 observations at once, one thread
and all.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path

import libspot
import numpy as np
from _timing import best_times, machine

from evtkit import DSpot, Spot, gpd

CALIBRATION, OBSERVATIONS, KEPT = 2_000, 500_000, 500


def one_stream(name: str, x: np.ndarray, risk: float) -> list[str]:
    """Print the rates, and return a row of the table."""
    first, rest = x[:CALIBRATION], x[CALIBRATION:]
    floats = rest.tolist()

    def theirs() -> None:
        spot = libspot.Spot(q=risk, level=0.98, max_excess=KEPT)
        spot.fit(first)
        step = spot.step
        for value in floats:
            step(value)

    def ours() -> None:
        step = Spot(risk, max_excess=KEPT).fit(first).step
        for value in floats:
            step(value)

    times = best_times(
        {
            "libspot": theirs,
            "step": ours,
            "update": lambda: Spot(risk, max_excess=KEPT).fit(first).update(rest),
            "default": lambda: Spot(risk).fit(first).update(rest),
            "both": lambda: Spot(risk, side="both", max_excess=KEPT).fit(first).update(rest),
            "drift": lambda: DSpot(risk, 100, max_excess=KEPT).fit(first).update(rest),
        },
        rounds=3,
        clock=time.process_time,  # one thread each; other work on the machine counts for little
    )
    rates = {key: OBSERVATIONS / seconds / 1e6 for key, seconds in times.items()}
    ratios = {key: times["libspot"] / times[key] for key in ("step", "update")}
    print(f"{name:12s} {risk:6g}  {rates['libspot']:7.2f}  {rates['step']:6.2f} {ratios['step']:5.1f} ×"
          f"  {rates['update']:6.1f} {ratios['update']:6.1f} ×  {rates['default']:6.1f}"
          f"  {rates['both']:6.1f}  {rates['drift']:6.1f}", flush=True)  # fmt: skip
    kinds = (Spot(risk), Spot(risk, side="both"), DSpot(risk, 100), DSpot(risk, 100, side="both"))
    sizes = [sum(np.asarray(a).nbytes for a in vars(spot.fit(first)._streams).values()) for spot in kinds]
    print("bytes a stream, 1000 excesses: Spot, both sides, DSpot, both sides", sizes)
    return [name, f"{risk:g}", f"{rates['libspot']:.2f}", f"{rates['step']:.2f} ({ratios['step']:.1f} ×)",
            f"{rates['update']:.1f} ({ratios['update']:.0f} ×)", f"{rates['both']:.1f}", f"{rates['drift']:.1f}",
            f"{sizes[0]:,}", f"{sizes[3]:,}"]  # fmt: skip


def many_streams(streams: int, observations: int) -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((CALIBRATION, streams))
    x = rng.standard_normal((observations, streams))
    for kind, arguments in ((Spot, {}), (DSpot, {"depth": 100})):
        for threads in (1, None):
            start = time.perf_counter()
            spot = kind(1e-4, n_threads=threads, **arguments).fit(first)
            middle = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            alarms = np.count_nonzero(spot.update(x) == 2)
            seconds = time.perf_counter() - middle
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(f"{kind.__name__:6s} {streams:,} × {observations:,}, threads {threads or 'all'}: "
                  f"{x.size / seconds / 1e6:6.1f} million a second, {alarms / x.size:.2e} alarms an observation, "
                  f"calibration {middle - start:.2f} s, {grown / 1024:.0f} MiB more than before "
                  f"({x.size / 2**20:.0f} MiB of labels)")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder for alarms-speed.csv")
    parser.add_argument("--risks", type=float, nargs="+", default=[1e-3, 1e-4])
    options = parser.parse_args()
    print(machine(), "— million observations a second of the processor, fastest of three turns\n")
    print("stream         risk  libspot    step ratio   update    ratio  kept 1000  both  DSpot")
    rng = np.random.default_rng(0)
    total = CALIBRATION + OBSERVATIONS
    streams = {
        "normal": rng.standard_normal(total),
        "exponential": rng.standard_exponential(total),
        "ξ = 0.5": gpd.rvs(0.5, 1.0, total, rng),
        "uniform": rng.random(total),
    }
    table = [
        ["", "risk", "libspot", "step", "update", "update, both sides", "DSpot", "bytes, Spot", "bytes, DSpot, both"]
    ]
    for name, x in streams.items():
        table += [one_stream(name, x, risk) for risk in options.risks]
    if options.tables:
        with (options.tables / "alarms-speed.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)
    print()
    many_streams(1_000, 100_000)
