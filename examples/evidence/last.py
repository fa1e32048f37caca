"""Last: the last layer alone, fitted anew, beside other ways to change it, over many draws of samples under shift.

    python examples/evidence/last.py --data DIR --output DIR --setting fashion_vgg [--shifts contrast jpeg] [--draws 8]

Samples are those of mended.py: 60 mistakes of a shift, 300 right samples, split alike for all; judged on up to 300 more
mistakes and 800 right samples. All that counts is what enters the layer, so a draw takes seconds. Ways: ours
(`evtkit.saliency.readouts`), Arachne, and fine-tuning of the layer by Adam with early stopping, see peers.py. For each
the shares corrected and lost, and what is corrected by as much of its largest change as loses at most 1 % of those who
judge: parts of the way in twentieths.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import causes
import command
import numpy as np
import peers
import torch
from mended import BUDGET, JUDGES, KEPT
from tables import band, write
from torch import nn

from evtkit.saliency.readouts import Seen, best_refits, refitted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from settings import Setting

    from evtkit.saliency.readouts import Refit

WAYS = ("ours", "arachne", "tuned")
MISTAKES, MOST = 60, 700


def entering(setting: Setting, what: str, x: torch.Tensor) -> np.ndarray:
    """What enters the last layer, from its file or made now."""
    _, layer = peers.last_layer(setting.network)
    return setting.kept(f"{what}-last", lambda: peers.features(setting.network, layer, x).numpy().astype(np.float32))


def ours(layer: nn.Linear, own: peers.Pair, keep: peers.Pair) -> tuple[np.ndarray, np.ndarray]:
    """The change that `repair` would take of those of the last layer alone, and the largest of its frontier."""
    parts = [seen(layer, pair) for pair in peers.parts(own, keep)]
    learn, choose, rehearse, size = parts
    nothing = np.zeros((layer.out_features, layer.in_features + 1))
    kept = (rehearse, size)
    found = best_refits((learn, choose), kept, BUDGET)

    def key(fit: Refit) -> tuple[float, float]:
        shares = [float(np.mean(part.margins(fit.step) > 0.0)) for part in (learn, choose)]
        return 0.5 * sum(shares), -float(np.mean(size.margins(fit.step) < 0.0))

    inside = [fit for fit in found if fit.fits and -key(fit)[1] <= BUDGET]
    if not inside:
        return nothing, found[-1].step if found else nothing
    best = max(inside, key=key)
    more = refitted(best, learn.joined(choose), kept, BUDGET)
    if more is not None and key(more) > key(best):
        best = more
    return best.step, found[-1].step


def peer(
    way: Callable[..., None], layer: nn.Linear, own: peers.Pair, keep: peers.Pair
) -> tuple[np.ndarray, np.ndarray]:
    """The change that a peer makes, which is the largest too."""
    before = weights(layer)
    with peers.restored(layer):
        way(nn.Sequential(layer), own, keep)
        change = weights(layer) - before
    return change, change


def weights(layer: nn.Linear) -> np.ndarray:
    return np.hstack([layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()[:, None]])


def seen(layer: nn.Linear, pair: peers.Pair) -> Seen:
    x = pair[0].double().numpy()
    whole = Seen.of(x, np.zeros((len(x), layer.out_features)), pair[1], bias=True)
    return Seen(whole.features, whole.features @ weights(layer).T, whole.labels)


def judged(change: np.ndarray, largest: np.ndarray, unseen: Seen, others: Seen) -> list[float]:
    """Shares corrected and lost; and corrected by the largest part of the largest change that is within the budget."""

    def shares(step: np.ndarray) -> tuple[float, float]:
        return float(np.mean(unseen.margins(step) > 0.0)), float(np.mean(others.margins(step) < 0.0))

    parts = (shares(part * largest) for part in np.arange(20, -1, -1) / 20)
    return [*shares(change), next(corrected for corrected, lost in parts if lost <= BUDGET)]


def compared(setting: Setting, shift: str, draws: int, path: Path) -> None:
    x, y = setting.mistakes(shift)
    bad, labels = torch.from_numpy(entering(setting, shift, x[:MOST])), y[:MOST]
    right = setting.right()
    good, truth = torch.from_numpy(entering(setting, "right", setting.own[0][right])), setting.own[1][right]
    _, layer = peers.last_layer(setting.network)
    ways: dict[str, Any] = {
        "ours": ours,
        "arachne": partial(peer, peers.arachne),
        "tuned": partial(peer, partial(peers.tuned, budget=BUDGET)),
    }
    done = {line["draw"] for line in causes.lines(path) if line["shift"] == shift}
    for number in sorted(set(range(draws)) - done):
        rng = np.random.default_rng([7, number])
        some, kept = rng.permutation(len(labels)), rng.permutation(len(truth))
        rows = some[:MISTAKES], some[MISTAKES : MISTAKES + 300], kept[:KEPT], kept[KEPT : KEPT + JUDGES]
        own, unseen = ((bad[part], labels[part]) for part in rows[:2])
        keep, others = ((good[part], truth[part]) for part in rows[2:])
        out: dict[str, Any] = {"shift": shift, "draw": number}
        for name, way in ways.items():
            out[name] = judged(*way(layer, own, keep), seen(layer, unseen), seen(layer, others))
        causes.append(path, out)


def summary(setting: Setting, path: Path) -> None:
    """Means with bands over draws."""
    rows: list[tuple[Any, ...]] = []
    lines = causes.lines(path)
    for shift in dict.fromkeys(line["shift"] for line in lines):
        own = [line for line in lines if line["shift"] == shift]
        for way in WAYS:
            each = np.array([line[way] for line in own]).T
            rows.append((setting.name, shift, len(own), way, *(value for part in each for value in band(part))))
    ends = [f"{name}{end}" for name in ("corrected", "lost", "at_budget") for end in ("", "_low", "_high")]
    write(path.with_suffix(".csv"), ("setting", "shift", "draws", "way", *ends), rows)
    for row in rows:
        print(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row), flush=True)


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--shifts", nargs="*", help="by default all")
    parser.add_argument("--draws", type=int, default=8)
    options = command.parsed(parser)
    chosen = command.chosen(options)
    target = chosen.output / "causes" / f"{chosen.name}-last.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    for shift in options.shifts or chosen.shifts:
        compared(chosen, shift, options.draws, target)
    summary(chosen, target)
