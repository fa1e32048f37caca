"""Planted faults: one filter of a trained network is damaged, so that it gets wrong what it got right. Which one was it?

    python examples/evidence/faults.py --data DIR --output DIR --setting cifar_resnet56 --faults 60

Stages are drawn evenly, then filters within a stage. Kinds of damage, by turns: noise (three times the filter's own
size), flip (−w), scale (5 w), zero, stuck (every weight is the filter's largest). A fault counts if it makes at least 5
mistakes among the samples that were right before, and at least one among the first quarter of them. Up to 50 mistakes,
at random, are kept: their profiles in the damaged network, of mean absolute gradients and of Taylor saliency. One file
a fault, so it resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from settings import NAMES, REDUCTIONS, Setting

if TYPE_CHECKING:
    from evtkit_torch import TorchModel

KINDS = ("noise", "flip", "scale", "zero", "stuck")
FEWEST, MOST = 5, 50


def damaged(weight: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A filter's weights after the damage."""
    if kind == "noise":
        return weight + 3.0 * np.sqrt(np.mean(weight**2)) * rng.standard_normal(weight.shape)
    if kind == "stuck":
        return np.full_like(weight, np.abs(weight).max())
    return {"flip": -1.0, "scale": 5.0, "zero": 0.0}[kind] * weight


def draw(net: TorchModel, number: int) -> tuple[int, str, np.random.Generator]:
    """The unit and the kind of damage of a fault."""
    rng = np.random.default_rng([2, number])
    stages = list(net.units.stages)
    units = np.flatnonzero(net.units.stage == stages[rng.integers(len(stages))])
    return int(rng.choice(units)), KINDS[number % len(KINDS)], rng


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
        filters = setting.network.get_submodule(str(net.units.module[unit])).weight.detach()
        place = int(net.units.index[unit])
        kept = filters[place].clone()
        filters[place] = torch.from_numpy(damaged(kept.numpy(), kind, rng))
        quarter = len(y) // 4
        wrong = np.flatnonzero(setting.predicted(x[:quarter]) != y[:quarter])
        if len(wrong):
            wrong = np.concatenate([wrong, quarter + np.flatnonzero(setting.predicted(x[quarter:]) != y[quarter:])])
        n_wrong = len(wrong)
        found: dict[str, np.ndarray] = {}
        if n_wrong >= FEWEST:
            wrong = rng.permutation(wrong)[:MOST]
            found = {how: setting.profiles(x[wrong], y[wrong], how) for how in REDUCTIONS}
        filters[place] = kept
        part = path.with_suffix(".part.npz")
        np.savez(part, unit=unit, kind=kind, n_wrong=n_wrong, **found)
        part.rename(path)
        print(f"{setting.name} {number}: {net.units.names[unit]} {kind}: {n_wrong} of {len(y)}", flush=True)
    return sum(int(np.load(path)["n_wrong"]) >= FEWEST for path in folder.glob("[0-9]*.npz"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--setting", choices=(*NAMES, "mnist_vit"), required=True)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--pool", type=int, default=1000, help="right samples among which mistakes are looked for")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(collect(Setting(options.setting, options.data, options.output), options.faults, options.pool))
