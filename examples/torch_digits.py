"""A small PyTorch network meets turned digits: which filters are behind its mistakes, and what does changing them do?

Needs PyTorch, scikit-learn, Matplotlib and Jinja; runs in well under a minute:

    python examples/torch_digits.py --output output
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from evtkit_torch import TorchModel
from evtkit_torch.input_saliency import input_saliency
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from torch import nn

from evtkit import plot
from evtkit.saliency import Batches, calibrate, evaluate, held_out_split, report


def small_cnn() -> nn.Sequential:
    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *layer(1, 12), *layer(12, 12), nn.MaxPool2d(2), *layer(12, 24), *layer(24, 48),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip


def train(network: nn.Module, x: np.ndarray, y: np.ndarray, epochs: int = 12) -> nn.Module:
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(epochs):
        for some in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[some]), labels[some]).backward()
            optimizer.step()
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--angle", type=float, default=20.0, help="degrees by which the digits are turned")
    parser.add_argument("--repairs", type=int, default=20, help="mistakes to repair one by one")
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # threads only wait for each other in a network this small
    torch.manual_seed(0)

    # Three parts that do not overlap: to train, to learn what is usual, and to make mistakes on.
    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32)[:, None], digits.target.astype(np.int64)
    training, rest = held_out_split(y, 0.6, seed=0)
    usual, test = (rest[part] for part in held_out_split(y[rest], 0.5, seed=1))
    upright, labels = x[test], y[test]
    turned = rotate(upright, options.angle, axes=(2, 3), reshape=False, order=1)

    net = TorchModel(train(small_cnn(), x[training], y[training]))
    wrong = np.flatnonzero(net.predict(turned).argmax(1) != labels)
    print(net)
    print(f"right on upright digits: {(net.predict(upright).argmax(1) == labels).mean():.3f}, "
          f"turned by {options.angle:g} degrees: {1 - len(wrong) / len(labels):.3f}\n")  # fmt: skip

    # What is usual: how much of a sample's loss each filter accounts for.
    reference = calibrate(net, Batches(x[usual], y[usual]))
    print(reference)

    # One ranking for half of the mistakes; the other half will judge it.
    seen, unseen = wrong[::2], wrong[1::2]
    ranking = reference.rank(net.profile(turned[seen], labels[seen]))
    print(f"\n{ranking.table(10)}\n\n{ranking.enrichment(25, by='module')}\n")

    # One repair for all: a gradient step of the first 25 filters.
    with net.tuned(ranking.top(25), turned[seen], labels[seen], step=1e-3):
        for name, images, truth in (
            ("mistakes it was made from", turned[seen], labels[seen]),
            ("other mistakes", turned[unseen], labels[unseen]),
            ("upright digits", upright, labels),
        ):
            right = (net.predict(images).argmax(1) == truth).mean()
            print(f"after one step of 25 filters, right on {name}: {right:.3f}")

    # Each mistake for itself, by every ranking, and what that costs on upright digits.
    some = seen[: options.repairs]
    results = evaluate(
        net, reference, (turned[some], labels[some]), held_out=(upright[:200], labels[:200]), prune=(1, 5, 10, 25, 50),
        tune=(1, 5, 10, 25), equal_norm=True, collateral_k=(5, 25),
    )  # fmt: skip
    print(f"\n{results.table((5, 25))}")

    one = seen[:1]
    heat = input_saliency(net, turned[one], labels[one], reference, units=ranking.top(10))
    picture = plot.input_saliency(1 - turned[one][0, 0], heat[0])
    pictures = [(picture, "A mistake, and the pixels its filters look at.")]
    page = report(options.output / "digits.html", reference, ranking=ranking, results=results,
                  families=reference.compare_families(), pictures=pictures)  # fmt: skip
    print(f"\n{page}")


if __name__ == "__main__":
    main()
