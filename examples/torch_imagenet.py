"""ResNet-50 on ImageNet photographs: accuracy, calibration of 26,560 filters, the filters behind mistakes, a repair.

    python examples/torch_imagenet.py --data DIR [--calibration 200] [--mistakes 10]

DIR holds weights/imagenet_resnet50_v1.safetensors (ResNet-50 v1, torchvision's key names) and images/imagenet_val650
with labels.csv (file, class_index).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import networks
import numpy as np
import torch
from evtkit_torch import TorchModel
from PIL import Image

from evtkit.saliency import Batches, calibrate


def photographs(folder: Path) -> tuple[torch.Tensor, np.ndarray]:
    """The middle 224 × 224 pixels of each image, (n, 224, 224, 3) of uint8, and labels."""
    with (folder / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    images = [np.asarray(Image.open(folder / row["file"]).convert("RGB"))[1:225, 1:225] for row in rows]
    return torch.from_numpy(np.stack(images)), np.array([int(row["class_index"]) for row in rows])


def main(data: Path, calibration: int, mistakes: int) -> None:
    net = TorchModel(networks.load(networks.resnet50(), data / "weights/imagenet_resnet50_v1.safetensors"))
    x, y = photographs(data / "images/imagenet_val650")
    x = networks.standardise_imagenet(x)
    print(net)
    predicted = np.concatenate([net.predict(x[i : i + 32]).argmax(axis=1) for i in range(0, len(x), 32)])
    print(f"accuracy on {len(x)} photographs: {(predicted == y).mean():.3f}")

    right, wrong = np.flatnonzero(predicted == y)[:calibration], np.flatnonzero(predicted != y)[:mistakes]
    reference = calibrate(net, Batches(x[right], y[right], 16))
    print(reference)
    profiles = np.concatenate([net.profile(x[i : i + 1], y[i : i + 1]) for i in wrong])
    ranking = reference.rank(profiles)
    print(ranking.table(10))
    print(ranking.enrichment(25))

    corrected = 0
    for i, profile in zip(wrong, profiles, strict=True):
        top = reference.rank(profile).top(25)
        with net.tuned(top, x[i : i + 1], y[i : i + 1], step=1e-3):
            corrected += int(net.predict(x[i : i + 1]).argmax() == y[i])
    print(f"one step of 25 filters corrects {corrected} of {len(wrong)} mistakes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=200)
    parser.add_argument("--mistakes", type=int, default=10)
    options = parser.parse_args()
    torch.manual_seed(0)
    main(options.data, options.calibration, options.mistakes)
