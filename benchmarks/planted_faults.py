"""Planted faults: one filter of a CIFAR-10 ResNet is damaged; does its ranking find it, from one mistake or from many?

The filter's weights are shuffled, doubled and turned around; the mistakes are images that the network got right before.
The reference is of the undamaged network. Printed for each ranking and each way of combining the mistakes: the mean
reciprocal rank of the damaged filter (1: always first), its median place, and how often it is among the first 10.

    python benchmarks/planted_faults.py --data DIR [--depth 20] [--faults 30] [--normalize]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from evtkit_torch import TorchModel

from evtkit.saliency import Batches, calibrate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import networks

FEWEST, MOST = 12, 48  # mistakes that a fault must cause to count, and that are looked at


def images(data: Path, name: str, count: int) -> tuple[torch.Tensor, np.ndarray]:
    with np.load(data / "images" / f"{name}.npz") as file:
        return networks.standardise_cifar(torch.from_numpy(file["x"][:count])), file["y"][:count].astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with weights/ and images/")
    parser.add_argument("--depth", type=int, choices=(20, 56), default=20)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--normalize", action="store_true", help="divide each profile by its mean over the filters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    weights = options.data / "weights" / f"cifar10_resnet{options.depth}.safetensors"
    network = networks.load(networks.cifar_resnet(options.depth), weights)
    net = TorchModel(network, micro_batch=250)
    usual = Batches(*images(options.data, "cifar10_train10k", options.calibration), 100)
    reference = calibrate(net, usual, normalize="sample" if options.normalize else None)
    x, y = images(options.data, "cifar10_test", 1500)
    right = net.predict(x).argmax(1) == y
    x, y = x[right], y[right]

    rng = np.random.default_rng(options.seed)
    found: dict[tuple[str, str], list[float]] = {}
    faults = 0
    for unit in rng.permutation(np.flatnonzero(reference.tail.is_fitted)):
        filters = network.get_submodule(str(net.units.module[unit])).weight.detach()
        kept = filters[net.units.index[unit]].clone()
        damaged = -2.0 * rng.permutation(kept.numpy().ravel()).reshape(kept.shape)
        filters[net.units.index[unit]] = torch.from_numpy(damaged)
        wrong = np.flatnonzero(net.predict(x).argmax(1) != y)
        if len(wrong) >= FEWEST:
            faults += 1
            profiles = net.profile(x[wrong[:MOST]], y[wrong[:MOST]])
            for by in ("pot", "zscore", "excess", "gradient"):
                each = reference.rank(profiles, by, combine="each").order
                found.setdefault((by, "single"), []).append(np.mean(1.0 / (1 + np.argmax(each == unit, axis=1))))
                ways = ("mean-rank", "fisher", "harmonic", "cauchy", "exceedance") if by == "pot" else ("mean-rank",)
                for combine in ways:
                    order = reference.rank(profiles, by, combine=combine).order
                    found.setdefault((by, combine), []).append(1.0 / (1 + int(np.argmax(order == unit))))
        filters[net.units.index[unit]] = kept
        if faults == options.faults:
            break

    print(f"{reference}\n{faults} damaged filters of ResNet-{options.depth}, up to {MOST} mistakes each\n")
    print(f"{'ranking':10}{'mistakes':12}{'mean reciprocal rank':>21}{'median place':>14}{'in first 10':>13}")
    for (by, combine), values in found.items():
        place = 1.0 / np.array(values)
        print(f"{by:10}{combine:12}{np.mean(values):21.3f}{np.median(place):14.0f}{np.mean(place <= 10):13.2f}")


if __name__ == "__main__":
    main()
