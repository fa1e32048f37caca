"""Many channels: which of them is out of the ordinary, though each has its own scale and its own tail?

python examples/many_channels.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from evtkit import fit_tail, gpd, plot


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("many_channels.png"))
    args = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    shape = rng.uniform(-0.2, 0.5, args.channels)
    scale = 10.0 ** rng.uniform(-3.0, 3.0, args.channels)
    usual = gpd.rvs(shape, scale, size=(args.samples, args.channels), rng=rng)
    query = gpd.rvs(shape, scale, rng=rng)
    odd = [3, 7]  # two channels show what each exceeds once in a million observations
    query[odd] = gpd.isf(1e-6, shape[odd], scale[odd])

    tail = fit_tail(usual, quantile=0.9)
    ranking = tail.rank(query)
    print(tail)
    print(ranking)
    print(f"channels that survive a false-discovery rate of 5 %: {ranking.select(fdr=0.05).tolist()}")
    by_value = np.argsort(-query, kind="stable")
    print(f"by their value alone the odd ones stand at {np.flatnonzero(np.isin(by_value, odd)) + 1}")
    plot.ranking(ranking, k=15).figure.savefig(args.output, dpi=120)
    print(f"picture: {args.output}")


if __name__ == "__main__":
    main()
