"""Varying: each sample of a batch sees another unit changed, by what that unit's layer puts out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from evtkit.saliency import Units

__all__ = ["can_vary", "varied"]

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


def can_vary(model: nn.Module, units: Units, chosen: NDArray[np.intp]) -> bool:
    """Whether the chosen units' weights are used by their own layer alone, which is linear in them."""
    modules = dict(model.named_modules())
    owners: dict[int, int] = {}
    for module in modules.values():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for name in dict.fromkeys(units.module[chosen].tolist()):
        layer = modules.get(name)
        if not isinstance(layer, _LAYERS) or parametrize.is_parametrized(layer) or owners[id(layer.weight)] > 1:
            return False
    return bool(np.isin(units.kind[chosen], ("filters", "rows")).all())


@contextmanager
def varied(model: nn.Module, units: Units, chosen: NDArray[np.intp], factor: float) -> Iterator[Callable[[], bool]]:
    """Context in which the i-th sample sees the weights of unit ``chosen[i]`` multiplied by the factor.

    What a layer puts out is its bias and a sum that is linear in the unit's weights, so that sum is multiplied. It
    gives a function that says whether every layer was called exactly once, with as many samples.
    """
    modules = dict(model.named_modules())
    calls: dict[str, list[int]] = {}
    hooks = []
    for name in dict.fromkeys(units.module[chosen].tolist()):
        rows = np.flatnonzero(units.module[chosen] == name)
        calls[name] = []

        def change(layer: Any, _: Any, y: Tensor, rows: Any = rows, name: str = name) -> Tensor:
            calls[name].append(len(y))
            if len(y) != len(chosen):
                return y
            own = torch.as_tensor(units.index[chosen[rows]], device=y.device)
            some = torch.as_tensor(rows, device=y.device)
            y = y.clone()
            view = y if isinstance(layer, nn.modules.conv._ConvNd) else y.movedim(-1, 1)
            bias = 0.0 if layer.bias is None else layer.bias[own].reshape(-1, *[1] * (y.dim() - 2)).to(y.dtype)
            view[some, own] = factor * (view[some, own] - bias) + bias
            return y

        hooks.append(modules[name].register_forward_hook(change))
    try:
        yield lambda: all(sizes == [len(chosen)] for sizes in calls.values())
    finally:
        for hook in hooks:
            hook.remove()
