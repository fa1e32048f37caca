"""What AVX-512's compress gains from end to end: sketches and fits with it and, in another process, without it.

    python benchmarks/compress.py [channels observations]

`evtkit._kernels.compress` uses the instruction where the processor has it. Naming the processor to Numba, here by its
own name, keeps everything else and switches that off. Where the processor has no AVX-512, both columns are the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from _timing import machine

ROUNDS = 3


def times(channels: int, observations: int) -> dict[str, float]:
    """Seconds of a sketch's updates and of `fit_tail`, the best of some rounds."""
    from evtkit import TailSketch, fit_tail

    rng = np.random.default_rng(0)
    blocks = [rng.standard_exponential((256, channels), dtype=np.float32) for _ in range(observations // 256)]
    x = rng.standard_exponential((5_000, 200))
    best = {"sketch": np.inf, "fit_tail": np.inf}
    fit_tail(x, quantile=0.9, n_threads=1)
    for _ in range(ROUNDS):
        sketch = TailSketch(channels, observations // 10, dtype=np.float32, n_threads=1)
        start = time.perf_counter()
        for block in blocks:
            sketch.update(block)
        middle = time.perf_counter()
        fit_tail(x, quantile=0.9, keep_sample=False, n_threads=1)
        best["sketch"] = min(best["sketch"], middle - start)
        best["fit_tail"] = min(best["fit_tail"], time.perf_counter() - middle)
    return best


def main(channels: int = 2_000, observations: int = 25_600) -> None:
    import llvmlite.binding

    from evtkit._kernels.compress import HAS_COMPRESS

    with tempfile.TemporaryDirectory() as cache:
        plain = os.environ | {"NUMBA_CPU_NAME": llvmlite.binding.get_host_cpu_name(), "NUMBA_CACHE_DIR": cache}
        found = {
            name: json.loads(subprocess.run(
                [sys.executable, __file__, "--times", str(channels), str(observations)], env=environment, check=True,
                capture_output=True, text=True,
            ).stdout)
            for name, environment in (("compress", os.environ), ("scalar", plain))
        }  # fmt: skip
    print(machine())
    print(f"AVX-512's compress is {'used' if HAS_COMPRESS else 'not there'}; one thread, best of {ROUNDS}")
    for what, about in (("sketch", f"{channels} × {observations} float32"), ("fit_tail", "200 × 5,000 float64")):
        with_it, without = found["compress"][what], found["scalar"][what]
        print(f"  {what:8s} {about:22s} {with_it:7.3f} s, scalar {without:7.3f} s: {without / with_it:.2f} ×")


if __name__ == "__main__":
    if "--times" in sys.argv:
        print(json.dumps(times(*map(int, sys.argv[2:]))))
    else:
        main(*map(int, sys.argv[1:]))
