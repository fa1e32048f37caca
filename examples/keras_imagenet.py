"""The ImageNet ResNet-50 in both frameworks: the same weights, the same profiles, the same order of 26,560 filters.

    python examples/keras_imagenet.py --data DIR [--images 2] [--dtype float64] [--save resnet50.keras]

DIR holds weights/imagenet_resnet50_v1.safetensors (ResNet-50 v1, torchvision's key names) and images/imagenet_val650
with labels.csv (file, class_index). The Keras network is built under the same names and gets the PyTorch one's weights;
``--save`` keeps it. In float32 the two round differently, and where a ReLU's input rounds to the other side of zero, a
few filters' numbers differ by more than that; float64 shows that nothing else does.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import keras
import keras_networks
import networks
import numpy as np
import torch
from evtkit_keras import KerasModel
from evtkit_torch import TorchModel
from PIL import Image


def photographs(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle 224 × 224 pixels of the first images, (n, 224, 224, 3) of uint8, and labels."""
    with (folder / "labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))[:count]
    images = [np.asarray(Image.open(folder / row["file"]).convert("RGB"))[1:225, 1:225] for row in rows]
    return np.stack(images), np.array([int(row["class_index"]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--save", type=Path, help="write the Keras network here")
    options = parser.parse_args()
    keras.config.set_floatx(options.dtype)

    network = networks.load(networks.resnet50(), options.data / "weights/imagenet_resnet50_v1.safetensors")
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    model = keras_networks.load_torch(keras_networks.resnet50(size=224), weights)
    if options.save is not None:
        model.save(options.save)
    ours, theirs = KerasModel(model), TorchModel(network.to(getattr(torch, options.dtype)))
    print(ours, theirs, sep="\n")
    print(f"the same units under the same names: {ours.units == theirs.units}")

    pixels, labels = photographs(options.data / "images/imagenet_val650", options.images)
    x, moved = keras_networks.standardise_imagenet(pixels), networks.standardise_imagenet(torch.from_numpy(pixels))
    confidence = ours.predict(x), theirs.predict(moved)
    print(f"right: {(confidence[0].argmax(1) == labels).mean():.2f}; "
          f"confidences differ by {np.abs(confidence[0] - confidence[1]).max():.1e} at most")  # fmt: skip
    other = (labels + 1) % 1000  # as mistakes: where the network is sure and right, gradients are rounding errors
    got, want = ours.profile(x, other), theirs.profile(moved, other)
    for i in range(len(x)):
        error = np.linalg.norm(got[i] - want[i]) / np.linalg.norm(want[i])
        orders = [np.argsort(-profile[i], kind="stable") for profile in (got, want)]
        differ = np.flatnonzero(orders[0] != orders[1])
        same = f"all {len(orders[0]):,}" if not differ.size else f"the first {differ[0]:,}"
        print(f"image {i}: relative error of the profile {error:.1e}, the same order of {same} filters")


if __name__ == "__main__":
    main()
