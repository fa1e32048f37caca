"""A video of moving digits, watched filter by filter: events at the stated rate, and one where a disturbance starts.

A small network reads digits that move over a field. It is watched without labels: what it takes a frame for will do.

    python examples/moving_digits.py --output output

Needs: pip install 'evtkit[torch,plot]' scikit-learn
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from evtkit_torch import TorchModel
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from evtkit.saliency import watch

SIZE = 16  # of the field
LENGTH = 12  # frames for which a digit is seen


def video(images: np.ndarray, labels: np.ndarray, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (n, 1, 16, 16): digits that move along smooth paths and turn, in light that changes slowly; and labels."""
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(images), size=-(-n // LENGTH)).repeat(LENGTH)[:n]
    kernel = np.hanning(25)
    noise = rng.standard_normal((5, n + len(kernel) - 1))
    right, down, turn, zoom, light = (np.convolve(path, kernel / np.linalg.norm(kernel), "valid") for path in noise)
    turn, zoom = np.deg2rad(8.0) * turn, 1.6 * np.exp(0.08 * zoom)
    places = [
        [np.cos(turn) * zoom, np.sin(turn) * zoom, 0.2 * right],
        [-np.sin(turn) * zoom, np.cos(turn) * zoom, 0.2 * down],
    ]
    grid = functional.affine_grid(torch.tensor(np.moveaxis(np.array(places), 2, 0)).float(), [n, 1, SIZE, SIZE], False)
    seen = functional.grid_sample(torch.from_numpy(images[picked]).float()[:, None], grid, align_corners=False)
    bright = torch.from_numpy(np.clip(0.9 + 0.08 * light, 0.5, 1.0)).float().reshape(-1, 1, 1, 1)
    return seen * bright, torch.from_numpy(labels[picked])


def trained(x: torch.Tensor, y: torch.Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(96, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[part]), y[part]).backward()
            optimizer.step()
    return net.eval()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--usual", type=int, default=8000, help="frames to calibrate on")
    parser.add_argument("--frames", type=int, default=10000, help="undisturbed frames to watch")
    parser.add_argument("--risk", type=float, default=1e-3, help="that an undisturbed frame begins an event")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # threads only wait for each other in a network this small

    digits = load_digits()
    images, labels = digits.images / 16, digits.target.astype(np.int64)
    x, y = video(images[:800], labels[:800], 6000, seed=0)
    net = TorchModel(trained(x, y, options.epochs))
    seen, truth = video(images[800:], labels[800:], 3000, seed=1)
    print(f"right in frames of other digits: {(net.predict(seen).argmax(1) == truth.numpy()).mean():.3f}")

    # What a filter adds to the scores: unlike the cross-entropy's, these slopes do not vanish where it is sure.
    net = TorchModel(net.model, lambda output, target: -output.logsumexp(1))
    usual, _ = video(images[800:], labels[800:], options.usual, seed=2)
    watched = watch(net, usual, risk=options.risk)
    print(watched)

    quiet, _ = video(images[800:], labels[800:], options.frames, seed=3)
    begun = [event for event in watched.feed(quiet) if not event.is_over]
    print(
        f"undisturbed: {len(begun)} events in {options.frames:,} frames, {options.risk * options.frames:.1f} expected"
    )

    # From frame 150 to 209 a line of the camera is stuck.
    spoilt, _ = video(images[800:], labels[800:], 400, seed=4)
    spoilt[150:210, :, 7:9] = 1.0
    first = watched.frame
    surprise = watched.surprise(spoilt)
    for event in watched.feed(spoilt):
        if event.is_over:
            names, when = ", ".join(event.channels[:3]), f"{event.start - first} to {event.end - first}"
            print(f"disturbed: frames {when}, {len(event.channels)} filters: {names}, …")

    ax = Figure(figsize=(7.0, 3.0), layout="constrained").add_subplot()
    ax.axvspan(150, 210, color="#d9822b", alpha=0.25, linewidth=0, label="a line is stuck")
    ax.plot(surprise, color="#2f86c8", linewidth=1.0, label="$-\\log P$ of a frame")
    ax.axhline(watched.level, color="0.4", linewidth=0.8, label=f"exceeded by one frame in {1 / options.risk:,.0f}")
    ax.set(xlabel="frame", ylabel="surprise", yscale="symlog", xlim=(0, 400))
    ax.legend(frameon=False, fontsize="small")
    ax.figure.savefig(options.output / "moving_digits.png", dpi=150)


if __name__ == "__main__":
    main()
