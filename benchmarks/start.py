"""What starting costs: importing evtkit against importing NumPy, and the first fit in a new process.

python benchmarks/start.py
"""

from __future__ import annotations

import subprocess
import sys

from _timing import best_times, machine


def process(code: str) -> object:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
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
