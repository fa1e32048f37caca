"""Activations: what layers put out on a forward pass, a mean and a mean size for every unit and sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.saliency import Units

__all__ = ["unit_activations"]

_KINDS = ("filters", "rows", "channels")


def unit_activations(model: nn.Module, units: Units, forward: Callable[[], Any], size: int) -> np.ndarray[Any, Any]:
    """Run `forward` and return (samples, units, 2): NaN for units whose layer was not called with so many samples.

    A layer that is called more than once counts by its mean.
    """
    modules = dict(model.named_modules())
    total = np.zeros((size, len(units), 2))
    calls = np.zeros(len(units))
    hooks = []
    for name in dict.fromkeys(units.module.tolist()):
        rows = np.flatnonzero((units.module == name) & np.isin(units.kind, _KINDS))
        layer = modules.get(name)
        owner = modules.get(name.rpartition(".")[0])
        if isinstance(owner, nn.MultiheadAttention) and layer is owner.out_proj:
            layer = owner  # which does not call the layer, but puts out what it would
        if layer is None or not len(rows):
            continue

        def seen(layer: nn.Module, _: Any, y: Any, rows: Any = rows) -> None:
            if isinstance(layer, nn.MultiheadAttention):
                y = y[0] if layer.batch_first or y[0].dim() < 3 else y[0].transpose(0, 1)
            if not isinstance(y, Tensor) or y.dim() < 2 or len(y) != size:
                return
            axis = _axis(layer, y)
            if y.shape[axis] <= int(units.index[rows].max()):
                return
            places = y.detach().to(torch.float32).movedim(axis, 1).flatten(2) if y.dim() > 2 else y.detach()[:, :, None]
            both = torch.stack([places.mean(2), places.abs().mean(2)], 2).cpu().numpy()
            total[:, rows] += both[:, units.index[rows]]
            calls[rows] += 1

        hooks.append(layer.register_forward_hook(seen))
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    with np.errstate(invalid="ignore"):
        out: np.ndarray[Any, Any] = total / np.where(calls, calls, np.nan)[:, None]
    return out


def _axis(layer: nn.Module, y: Tensor) -> int:
    """The axis of a layer's output that has its units."""
    channels_first = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
    return 1 if isinstance(layer, channels_first) else y.dim() - 1
