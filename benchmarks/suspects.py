"""Suspects: how long finding the units at fault takes, as a multiple of profiling the same mistakes.

    python benchmarks/suspects.py [--network resnet50] [--size 64] [--mistakes 10]

Processor seconds of one process. Weights are random, those of the last layer fifty times as large, so that the network
is sure of what it says; that is the truth. "A fault": one filter is damaged, and the mistakes are samples that go wrong
by that. "No fault": labels are wrong, and nothing accounts for them, which takes the most trials.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
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
    network = MAKERS[options.network]().eval()
    with torch.no_grad():
        [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1].weight *= 50.0
    net = TorchModel(network)
    x = torch.randn(options.usual + options.mistakes, 3, options.size, options.size)
    truth = net.predict(x).argmax(axis=1)
    y = (truth + np.arange(len(x)) % 2) % 10
    usual = calibrate(net, Batches(x[: options.usual], y[: options.usual], 20), progress=False)
    own = x[options.usual :], truth[options.usual :]
    middle = int(np.flatnonzero(net.units.module == net.units.module[len(net.units) // 3])[0])
    name, index = str(net.units.module[middle]), int(net.units.index[middle])
    for what in ("a fault", "no fault"):
        if what == "a fault":
            weight, sound = net.model.get_submodule(name).weight, net.model.get_submodule(name).weight.detach().clone()
            with torch.no_grad():
                weight[index] *= 200.0
        else:
            with torch.no_grad():
                weight.copy_(sound)
            own = own[0], (own[1] + 1 + np.arange(len(own[1])) % 8) % 10
        found = suspects(net, usual, own)
        ratios = []
        for _ in range(3):
            profile = seconds(partial(net.profile, *own))
            ratios.append(seconds(partial(suspects, net, usual, own)) / profile)
        names = ", ".join(found.units.names[found.found[:3]]) or "none"
        print(f"{what}: {names} named; {found.n_mistakes} mistakes, profile {profile:.2f} s, suspects "
              f"{', '.join(f'{ratio:.1f}' for ratio in ratios)} x", flush=True)  # fmt: skip
