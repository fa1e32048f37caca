"""A segmentation U-Net with a damaged filter: first among the suspects for the pictures that it spoils, and repaired.

Each pixel has a label; a picture is wrong where what is found of its digit hardly overlaps what there is.

    python examples/torch_segmentation.py

Needs: pip install 'evtkit[torch]' scikit-learn
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from evtkit_torch import TorchModel
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from evtkit.saliency import Batches, calibrate, repair, suspects
from evtkit.saliency.tasks import mistaken_among

IGNORED = -100  # the label of a pixel that counts for nothing, as in PyTorch's losses


class UNet(nn.Module):
    """Down twice and up again, with a short way across at each size."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        self.inner, self.middle, self.bottom = (
            self.block(a, b) for a, b in ((1, width), (width, 2 * width), (2 * width, 2 * width))
        )
        self.up2, self.up1 = nn.ConvTranspose2d(2 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.outer2, self.outer1 = self.block(4 * width, 2 * width), self.block(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.inner(x)
        second = self.middle(functional.max_pool2d(first, 2))
        y = self.up2(self.bottom(functional.max_pool2d(second, 2)))
        y = self.up1(self.outer2(torch.cat([y, second], 1)))
        return self.head(self.outer1(torch.cat([y, first], 1)))


def pictures(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits somewhere in a noisy field of 16×16; 1 for their pixels, 0 elsewhere, nothing said of faint ones."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros((len(images), 1, 16, 16), np.float32), np.zeros((len(images), 16, 16), np.int64)
    for i, (image, (row, column)) in enumerate(zip(images, rng.integers(0, 9, (len(images), 2)), strict=True)):
        x[i, 0, row : row + 8, column : column + 8] = image
        faint = (image > 0.05) & (image < 0.3)
        y[i, row : row + 8, column : column + 8] = np.where(image >= 0.3, 1, np.where(faint, IGNORED, 0))
    return x + rng.normal(0.0, 0.3, x.shape).astype(np.float32), y


def missed(predictions: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether what is found and what there is have less than 70 % of their union in common."""
    found, there = (predictions.argmax(1) == 1) & (y != IGNORED), y == 1
    return (found & there).sum((1, 2)) < 0.7 * (found | there).sum((1, 2))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--filter", type=int, default=6, help="of the middle block, to damage")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # threads only wait for each other in a network this small
    torch.manual_seed(0)

    digits = load_digits()
    x, y = pictures(digits.images / 16, seed=0)
    model, images, truth = UNet(2), torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(options.epochs):
        for part in torch.randperm(1000).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[part]), truth[part], ignore_index=IGNORED).backward()
            optimizer.step()

    net = TorchModel(model.eval())
    reference = calibrate(net, Batches(x[1000:1400], y[1000:1400]), wrong=missed, progress=False)
    print(net)
    print(f"digits found: {1 - mistaken_among(net, x[1400:], y[1400:], missed).mean():.3f}")

    with torch.no_grad():
        model.middle[0].weight[options.filter] *= -4.0
    wrong = mistaken_among(net, x, y, missed)
    print(f"with middle.0[{options.filter}] damaged: {1 - wrong[1400:].mean():.3f}")
    some = np.flatnonzero(wrong)[:40]
    print(suspects(net, reference, (x[some], y[some]), wrong=missed))
    keep = np.flatnonzero(~wrong)[:300]
    mended = repair(net, reference, (x[some], y[some]), (x[keep], y[keep]), wrong=missed, steps=6, budget=0.05)
    print(mended)
    mended.apply(net)
    print(f"digits found after the repair: {1 - mistaken_among(net, x[1400:], y[1400:], missed).mean():.3f}")


if __name__ == "__main__":
    main()
