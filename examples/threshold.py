"""Where does the tail begin? Three pictures and a sequence of tests.

python examples/threshold.py                              Google's daily losses, which Matplotlib ships
python examples/threshold.py rain.csv --unit mm
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from evtkit import demo, plot, threshold


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a CSV file whose last column is the series")
    parser.add_argument("--unit", default="%")
    parser.add_argument("--output", type=Path, default=Path("threshold.png"))
    args = parser.parse_args(argv)

    if args.file is None:
        _, x = demo.daily_losses()
    else:
        x = np.loadtxt(args.file, delimiter=",", skiprows=1, usecols=-1)
    choice = threshold.suggest_threshold(x)
    print(f"tested {choice.thresholds.size} thresholds, rejected {choice.index}")
    print(f"suggested: {choice.threshold:.2f} {args.unit}, {choice.n_excess} excesses, ξ = {choice.xi:.2f}")
    marked = choice.threshold if choice.index >= 0 else None  # where all are rejected, the pictures must do
    plot.threshold_choice(x, unit=args.unit, marked=marked).savefig(args.output, dpi=120)
    print(f"picture: {args.output}")


if __name__ == "__main__":
    main()
