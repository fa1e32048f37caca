"""Varying: each sample of a batch sees other units changed, by what those units' layers put out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from evtkit_torch.state import direct_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from evtkit.saliency import Units

__all__ = ["can_vary", "varied"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_OWN = {"filters": _CONVOLUTIONS, "rows": (nn.Linear,), "channels": _NORMS}
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)  # features are the last axis, and samples perhaps not the first


def can_vary(model: nn.Module, units: Units, chosen: NDArray[np.intp]) -> bool:
    """Whether the chosen units' weights are used by their own layer alone, which is linear in them."""
    modules = dict(model.named_modules())
    owners: dict[int, int] = {}
    for module in modules.values():
        for parameter in direct_parameters(module).values():
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    pairs = set(zip(units.module[chosen].tolist(), units.kind[chosen].tolist(), strict=True))
    return all(
        kind in _OWN and name in modules and _is_plain(modules[name], _OWN[kind], owners) for name, kind in pairs
    )


def _is_plain(layer: nn.Module, among: Sequence[type[nn.Module]], owners: Mapping[int, int]) -> bool:
    """Whether a layer does what its type does, with a weight that is a parameter of its own and of no other layer."""
    own = [kind for kind in among if isinstance(layer, kind)]
    weight = direct_parameters(layer).get("weight")
    if not own or weight is None or parametrize.is_parametrized(layer) or owners[id(weight)] > 1:
        return False
    same = all(
        getattr(type(layer), name, None) is getattr(own[0], name, None) and name not in vars(layer)
        for name in ("forward", "_conv_forward", "__call__")
    )
    hooked = bool(layer._forward_hooks or layer._forward_pre_hooks)
    return same and not hooked and (weight.ndim == 1 or not isinstance(layer, _NORMS))


@contextmanager
def varied(
    model: nn.Module,
    units: Units,
    chosen: Sequence[NDArray[np.intp]],
    factors: NDArray[np.float64],
    gradient: Mapping[str, Tensor] | None = None,
) -> Iterator[Callable[[], bool]]:
    """Context in which the i-th sample sees the weights of units ``chosen[i]`` changed.

    Multiplied by ``factors[i]`` or, with a gradient, less that multiple of it. What a layer puts out is its bias and a
    sum that is linear in the unit's weights, so it is that sum that changes. It gives a function that says whether
    every layer was called exactly once, with as many samples.
    """
    modules = dict(model.named_modules())
    calls: dict[str, list[int]] = {}
    hooks = []
    sample = np.repeat(np.arange(len(chosen)), [len(some) for some in chosen])
    unit = np.concatenate(chosen)
    names = units.module[unit]
    coefficients = factors - 1.0 if gradient is None else -factors
    for name in dict.fromkeys(names.tolist()):
        here = names == name
        own, place = np.unique(units.index[unit[here]], return_inverse=True)
        share = np.zeros((len(chosen), len(own)))
        share[sample[here], place] = coefficients[sample[here]]
        slope = None if gradient is None else gradient[f"{name}.weight".strip(".")]
        calls[name] = []
        change = _Change(own, share, slope, calls[name])
        hooks.append(modules[name].register_forward_hook(change))
    try:
        yield lambda: all(sizes == [len(chosen)] for sizes in calls.values())
    finally:
        for hook in hooks:
            hook.remove()


class _Change:
    """What changes in one layer's output: the share of some of its units' sums, or of their slopes, for each sample."""

    def __init__(
        self, own: NDArray[np.intp], share: NDArray[np.float64], slope: Tensor | None, calls: list[int]
    ) -> None:
        self._own, self._share, self._slope, self._calls = torch.as_tensor(own), share, slope, calls
        self._busy = False

    def __call__(self, layer: Any, args: tuple[Any, ...], y: Any) -> Any:
        """Change the output."""
        if self._busy:  # the layer itself, run with the slope for a weight
            return y
        last = isinstance(layer, _LAST)
        among = y.shape[1:-1] if last else ()
        folded = isinstance(layer, _ConvNd) and y.dim() != layer.weight.dim()  # one image alone
        if not args or y.dim() < 2 or len(self._share) in among or folded:
            self._calls.append(-1)  # which axis has the samples is not sure
            return y
        self._calls.append(len(y))
        if len(y) != len(self._share):
            return y
        own = self._own.to(y.device)
        y = y.clone()
        view = y.movedim(-1, 1) if last else y
        plain = [1] * (y.dim() - 2)
        if self._slope is None:
            change = view[:, own]
            if getattr(layer, "bias", None) is not None:
                change = change - layer.bias[own].reshape(-1, *plain)
        else:
            change = self._sloped(layer, args, own)
            change = change.movedim(-1, 1) if last else change
        share = torch.as_tensor(self._share, dtype=y.dtype, device=y.device).reshape(*self._share.shape, *plain)
        view[:, own] += share * change
        return y

    def _sloped(self, layer: Any, args: tuple[Any, ...], own: Tensor) -> Tensor:
        """What the layer would put out with the slope for its weight, and no bias."""
        assert self._slope is not None
        if isinstance(layer, nn.Linear):
            return nn.functional.linear(args[0], self._slope[own])
        if isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd) and layer.groups == 1:
            return layer._conv_forward(args[0], self._slope[own], None)
        weights = {"weight": self._slope}
        if getattr(layer, "bias", None) is not None:
            weights["bias"] = torch.zeros_like(layer.bias)
        self._busy = True
        try:
            y: Tensor = torch.func.functional_call(layer, weights, args)
        finally:
            self._busy = False
        return y[..., own] if isinstance(layer, _LAST) else y[:, own]
