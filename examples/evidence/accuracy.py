"""Accuracy: how good each network is, on its own kind of samples and on those shifted.

    python examples/evidence/accuracy.py --data DIR --output DIR

Of the shifts only those that repair.py has looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gathered import title
from settings import NAMES, Setting
from tables import write


def accuracy(data: Path, output: Path) -> None:
    rows = []
    for name in NAMES:
        setting = Setting(name, data, output)
        x, y = setting.own
        own = np.mean(setting.kept("own-predicted", lambda s=setting, x=x: s.predicted(x)) == y)
        shifts = []
        for shift, make in setting.shifts.items():
            if (output / "repair" / f"{name}-{shift}.csv").exists():
                x, y = make()
                share = np.mean(setting.kept(f"{shift}-predicted", lambda s=setting, x=x: s.predicted(x)) == y)
                shifts.append(f"{shift} {100 * share:.1f}")
        calibration = len(setting.calibration[1])
        rows.append((title(name), len(setting.net.units), calibration, f"{100 * own:.1f}", ", ".join(shifts)))
    head = ("network", "units", "calibration samples", "accuracy [%]", "under shift [%]")
    write(output / "accuracy.csv", head, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    options = parser.parse_args()
    accuracy(options.data, options.output)
