"""Suspects: how long finding the units at fault takes, as a multiple of profiling the same mistakes.

    python benchmarks/suspects.py [--network resnet50] [--size 64] [--mistakes 10]

Processor seconds of one process. Weights are random, with one filter damaged: every sample is a mistake of some sort,
and times do not depend on that.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from evtkit_torch import TorchModel

from evtkit.saliency import Batches, calibrate, suspects

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import networks

MAKERS = {"resnet50": networks.resnet50, "resnet18": networks.resnet18, "resnet20": lambda: networks.cifar_resnet(20)}


def seconds(do: object) -> float:
    start = time.process_time()
    do()  # type: ignore[operator]
    return time.process_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=MAKERS, default="resnet50")
    parser.add_argument("--size", type=int, default=64, help="of an image's side, in pixels")
    parser.add_argument("--mistakes", type=int, default=10)
    parser.add_argument("--usual", type=int, default=60, help="samples to calibrate on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = TorchModel(MAKERS[options.network]().eval())
    x = torch.randn(options.usual + options.mistakes, 3, options.size, options.size)
    y = (net.predict(x).argmax(axis=1) + np.arange(len(x)) % 2) % 10
    usual = calibrate(net, Batches(x[: options.usual], y[: options.usual], 20), progress=False)
    own = x[options.usual :], (net.predict(x[options.usual :]).argmax(axis=1) + 1) % 10
    middle = int(np.flatnonzero(net.units.module == net.units.module[len(net.units) // 3])[0])
    name, index = str(net.units.module[middle]), int(net.units.index[middle])
    with torch.no_grad():
        net.model.get_submodule(name).weight[index] *= 20.0
    suspects(net, usual, own)
    for _ in range(3):
        profile = seconds(lambda: net.profile(*own))
        ours = seconds(lambda: suspects(net, usual, own))
        print(f"profile {profile:.2f} s, suspects {ours / profile:.1f} x", flush=True)
