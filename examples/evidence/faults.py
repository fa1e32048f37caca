"""Planted faults: one filter of a trained network is damaged, so that it gets wrong what it got right. Which was it?

    python examples/evidence/faults.py --data DIR --output DIR --setting cifar_resnet56 --faults 60

Stages are drawn evenly, then filters within a stage. Kinds of damage, by turns: noise (three times the filter's own
size), flip (−w), scale (5 w), zero, stuck (every weight is the filter's largest). A fault counts if it makes at least 5
mistakes among the samples that were right before, and at least one among the first quarter of them. Up to 50 mistakes,
at random, are kept: their profiles in the damaged network, of mean absolute gradients and of Taylor saliency. One file
a fault, so it resumes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import command
import numpy as np
import torch
from settings import REDUCTIONS, Setting
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evtkit_torch import TorchModel

    from evtkit.saliency import Units

KINDS = ("noise", "flip", "scale", "zero", "stuck")
FEWEST, MOST = 5, 50


def damaged(weight: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A filter's weights after the damage."""
    if kind == "noise":
        return weight + 3.0 * np.sqrt(np.mean(weight**2)) * rng.standard_normal(weight.shape)
    if kind == "stuck":
        return np.full_like(weight, np.abs(weight).max())
    return {"flip": -1.0, "scale": 5.0, "zero": 0.0}[kind] * weight


def weights_of(network: nn.Module, units: Units, unit: int) -> list[Tensor]:
    """A unit's weights, in the network's own memory: a layer's filter or row, or the parts of an attention head."""
    module, index = network.get_submodule(str(units.module[unit])), int(units.index[unit])
    if isinstance(module, nn.MultiheadAttention):
        own = slice(index * module.head_dim, (index + 1) * module.head_dim)
        inner = module.in_proj_weight.detach().split(module.embed_dim)
        return [*(part[own] for part in inner), module.out_proj.weight.detach()[:, own]]
    return [module.weight.detach()[index]]


@contextmanager
def damage(parts: list[Tensor], kind: str, rng: np.random.Generator) -> Iterator[None]:
    """Context in which the weights are damaged."""
    kept = [part.clone() for part in parts]
    flat = damaged(np.concatenate([part.numpy().ravel() for part in kept]), kind, rng)
    try:
        for part, values in zip(parts, np.split(flat, np.cumsum([p.numel() for p in parts])[:-1]), strict=True):
            part.copy_(torch.from_numpy(values).view(part.shape))
        yield
    finally:
        for part, before in zip(parts, kept, strict=True):
            part.copy_(before)


def draw(net: TorchModel, number: int) -> tuple[int, str, np.random.Generator]:
    """The unit and the kind of damage of a fault."""
    rng = np.random.default_rng([2, number])
    stages = list(net.units.stages)
    units = np.flatnonzero(net.units.stage == stages[rng.integers(len(stages))])
    return int(rng.choice(units)), KINDS[number % len(KINDS)], rng


def mistakes(setting: Setting, x: Tensor, y: np.ndarray) -> np.ndarray:
    """Places of the samples that the network gets wrong; none if it gets the first quarter right."""
    quarter = len(y) // 4
    first = np.flatnonzero(setting.predicted(x[:quarter]) != y[:quarter])
    if not len(first):
        return first
    return np.concatenate([first, quarter + np.flatnonzero(setting.predicted(x[quarter:]) != y[quarter:])])


def collect(setting: Setting, faults: int, pool: int) -> int:
    """Make every fault's file; returns how many count."""
    folder = setting.output / "faults" / setting.name
    folder.mkdir(parents=True, exist_ok=True)
    net = setting.net
    right = setting.right()[:pool]
    x, y = setting.own[0][right], setting.own[1][right]
    for number in range(faults):
        path = folder / f"{number:04}.npz"
        if path.exists():
            continue
        unit, kind, rng = draw(net, number)
        with damage(weights_of(setting.network, net.units, unit), kind, rng):
            wrong = mistakes(setting, x, y)
            found: dict[str, np.ndarray] = {}
            if len(wrong) >= FEWEST:
                some = rng.permutation(wrong)[:MOST]
                found = {how: setting.profiles(x[some], y[some], how) for how in REDUCTIONS}
        part = path.with_suffix(".part.npz")
        np.savez(part, unit=unit, kind=kind, n_wrong=len(wrong), **found)
        part.rename(path)
        print(f"{setting.name} {number}: {net.units.names[unit]} {kind}: {len(wrong)} of {len(y)}", flush=True)
    return sum(int(np.load(path)["n_wrong"]) >= FEWEST for path in folder.glob("[0-9]*[0-9].npz"))


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--pool", type=int, default=1000, help="right samples among which mistakes are looked for")
    options = command.parsed(parser)
    print(collect(command.chosen(options), options.faults, options.pool))
