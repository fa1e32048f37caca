"""One series: what is exceeded once in so many observations, and can the fit be believed?

python examples/return_levels.py                                  Google's daily losses, which Matplotlib ships
python examples/return_levels.py rain.csv --threshold 30 --unit mm --per 365.25 --years 100
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from evtkit import demo, fit_tail, plot


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="a CSV file whose last column is the series")
    parser.add_argument("--threshold", type=float, help="default: the 90 %% quantile")
    parser.add_argument("--unit", default="%")
    parser.add_argument("--per", type=float, default=252.0, help="observations a year")
    parser.add_argument("--years", type=float, default=10.0, help="return period")
    parser.add_argument("--output", type=Path, default=Path("return_levels.png"))
    args = parser.parse_args(argv)

    if args.file is None:
        _, x = demo.daily_losses()
    else:
        x = np.loadtxt(args.file, delimiter=",", skiprows=1, usecols=-1)
    where = {"quantile": 0.9} if args.threshold is None else {"threshold": args.threshold}
    tail = fit_tail(x, **where)
    shape = tail.xi_interval()
    level = tail.return_level(args.years * args.per, interval=0.95)
    print(tail)
    print(f"shape ξ: {shape.estimate:.3f}, between {shape.lower:.3f} and {shape.upper:.3f}")
    print(
        f"{args.years:g}-year level: {level.estimate:.1f} {args.unit}, "
        f"between {level.lower:.1f} and {level.upper:.1f} {args.unit}"
    )
    plot.diagnostics(tail, unit=args.unit, per=args.per, period_unit="years").savefig(args.output, dpi=120)
    print(f"picture: {args.output}")


if __name__ == "__main__":
    main()
