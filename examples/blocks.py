"""More data than fit in memory, on several machines: fill a sketch each, merge them, fit once.

python examples/blocks.py
"""

from __future__ import annotations

import argparse

import numpy as np

from evtkit import TailSketch, fit_tail


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=50)
    args = parser.parse_args(argv)

    # The tail of 2 % of all rows is wanted: that many, and the threshold itself, must be kept.
    capacity = args.blocks * args.rows // 50 + 2
    workers = [TailSketch(args.channels, capacity) for _ in range(2)]
    everything = []
    for i in range(args.blocks):
        block = np.random.default_rng(i).standard_t(df=4, size=(args.rows, args.channels))
        workers[i % 2].update(block)
        everything.append(block)  # only to compare with, below

    first, second = workers
    first.merge(second)
    tail = first.fit(quantile=0.98)
    print(tail)
    whole = fit_tail(np.concatenate(everything), quantile=0.98)
    print(f"the same as all data at once, to the last bit: {np.array_equal(tail.xi, whole.xi)}")


if __name__ == "__main__":
    main()
