"""Activations: a z-score of what units put out, which needs neither labels nor gradients, as a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from settings import Setting

_SAMPLES = 300


@torch.no_grad()
def outputs(setting: Setting, x: Tensor) -> np.ndarray:
    """Mean and mean size of what every filter or row puts out over places, (n, units, 2); heads have none."""
    units = setting.net.units
    out = np.zeros((len(x), len(units), 2))
    modules = dict(setting.network.named_modules())
    hooks = []
    for name in dict.fromkeys(units.module):
        rows = np.flatnonzero((units.module == name) & (units.kind != "heads"))

        def hook(_: object, __: object, y: Tensor, rows: np.ndarray = rows) -> None:
            if isinstance(y, Tensor):
                places = y.flatten(2) if y.dim() == 4 else y.transpose(1, 2) if y.dim() == 3 else y[:, :, None]
                own = units.index[rows]
                out[:, rows, 0] = places.mean(2).numpy()[:, own]
                out[:, rows, 1] = places.abs().mean(2).numpy()[:, own]

        hooks.append(modules[name].register_forward_hook(hook))
    try:
        setting.network(x)
    finally:
        for one in hooks:
            one.remove()
    return out


def usual(setting: Setting) -> np.ndarray:
    """Mean and standard deviation of the sound network's outputs, (2, units, 2)."""

    def make() -> np.ndarray:
        x = setting.calibration[0][:_SAMPLES]
        each = np.concatenate([outputs(setting, part) for part in x.split(setting.batch)])
        return np.stack([each.mean(axis=0), each.std(axis=0, ddof=1)])

    return setting.kept("activations", make)


def scores(setting: Setting, x: Tensor, of: np.ndarray) -> np.ndarray:
    """Mean over the samples of the larger size of the two z-scores, (units,)."""
    mean, std = of
    z = np.abs(outputs(setting, x) - mean) / np.where(std > 1e-9, std, np.inf)
    return np.asarray(z.max(axis=2).mean(axis=0))
