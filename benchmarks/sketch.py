"""TailSketch over a long stream of many channels, against one np.maximum pass over the same blocks.

    python benchmarks/sketch.py [channels observations rows]

By default 26,560 channels × 50,000 float32 observations in blocks of 256 rows, generated one by one; the 90 % quantile,
so that a third of all values is taken in. Then all channels are fitted. Prints times, ratios and the peak memory.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from _timing import machine

from evtkit import TailSketch


def main(channels: int = 26_560, observations: int = 50_000, rows: int = 256) -> None:
    rng = np.random.default_rng(0)
    capacity = observations - int(0.9 * observations)
    sketch = TailSketch(channels, capacity, dtype=np.float32, n_threads=1)
    start = time.process_time()
    sketch._make_room(observations)
    sketch._rows.fill(0)  # pages are handed out at the first touch, which costs what the system asks for it
    touched = time.process_time() - start
    running = np.full(channels, -np.inf, dtype=np.float32)
    spent = {"sketch": 0.0, "maximum": 0.0}
    seen = 0
    while seen < observations:
        block = rng.standard_exponential((min(rows, observations - seen), channels), dtype=np.float32)
        seen += len(block)
        start = time.process_time()
        np.maximum(running, np.maximum.reduce(block, axis=0), out=running)
        middle = time.process_time()
        sketch.update(block)
        spent["maximum"] += middle - start
        spent["sketch"] += time.process_time() - middle
    values = channels * observations
    print(machine())
    print(f"{channels} channels × {observations} float32 values in blocks of {rows}, {capacity} kept, one thread")
    for name, seconds in spent.items():
        print(f"  {name:8s} {seconds:7.2f} s   {seconds / values * 1e9:6.3f} ns a value")
    print(f"  ratio    {spent['sketch'] / spent['maximum']:7.2f}")
    print(
        f"  sketch holds {sketch.nbytes / 2**20:.0f} MiB; the values kept are {channels * capacity * 4 / 2**20:.0f} MiB"
    )
    print(f"  first touch of its memory {touched:.2f} s, not counted above")
    start = time.process_time()
    tail = sketch.fit(quantile=0.9)
    seconds = time.process_time() - start
    print(f"  order and fit of all channels {seconds:.2f} s, {seconds / channels * 1e6:.0f} µs a channel, one thread")
    print(f"  {tail}")
    print(f"  peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
