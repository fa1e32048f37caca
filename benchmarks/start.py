"""What starting costs: importing evtkit against importing NumPy, and the first fit in a new process.

    python benchmarks/start.py [--cold]

With ``--cold``: processor seconds of whole processes that compile all they need, from an empty cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _timing import best_times, machine

FLOOR = """
from evtkit._kernels.jit import kernel

@kernel("float64(float64)")
def twice(x):
    return 2.0 * x

twice(1.0)
"""
FIT = "import numpy, evtkit; evtkit.{}(numpy.random.default_rng(0).standard_exponential({}))"
COLD = {
    "a kernel of one line": ["-c", FLOOR],
    "fit_gpd, 100 excesses": ["-c", FIT.format("fit_gpd", 100)],
    "fit_tail, 1,000 values": ["-c", FIT.format("fit_tail", 1000)],
    "evtkit fit, 600 rows": ["-m", "evtkit", "fit", "few.csv"],
    "evtkit watch, 3,000 rows": ["-m", "evtkit", "watch", "many.csv"],
}


def cold(command: list[str], folder: Path) -> float:
    """Processor seconds of a Python process that finds no compiled kernels."""
    with tempfile.TemporaryDirectory() as cache:
        quiet = {"EVTKIT_QUIET": "1", "EVTKIT_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": cache}
        silent = subprocess.DEVNULL
        with subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=os.environ | quiet, stdout=silent, stderr=silent
        ) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), command  # 1: there was an alarm
    return used.ru_utime + used.ru_stime


def all_cold() -> None:
    """A table of what the first use compiles."""
    print(f"{machine()} — processor seconds of whole processes from an empty cache\n")
    with tempfile.TemporaryDirectory() as name:
        for file, rows in (("few.csv", 600), ("many.csv", 3000)):
            values = np.random.default_rng(rows).gumbel(size=rows)
            Path(name, file).write_text("v\n" + "\n".join(f"{value:.4f}" for value in values) + "\n")
        for what, command in COLD.items():
            print(f"{what:26s} {cold(command, Path(name)):6.2f} s", flush=True)


def process(code: str) -> object:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    if "--cold" in sys.argv:
        all_cold()
        sys.exit()
    print(machine(), "— whole processes, fastest of seven turns\n")
    times = best_times(
        {
            "python alone": process("pass"),
            "import numpy": process("import numpy"),
            "import evtkit": process("import evtkit"),
            "from evtkit import gpd": process("from evtkit import gpd"),
            "first fit, warm cache": process(
                "import numpy, evtkit; evtkit.fit_tail(numpy.random.default_rng(0).random(1000), quantile=0.9)"
            ),
        },
        rounds=7,
    )
    for name, seconds in times.items():
        print(f"{name:24s} {seconds:6.3f} s   {seconds / times['import numpy']:5.2f} × import numpy")
