"""The last layer: the linear one whose output is the class scores, found by what the layers put out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from evtkit.saliency.adapting import LastLayer

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["last_layer"]


def last_layer(
    model: nn.Module, scores_of: Callable[[], Tensor], numpy: Callable[[Tensor], np.ndarray[Any, Any]]
) -> LastLayer | None:
    """Run the network, and return the linear layer whose only call gave the scores; None if there is none.

    Its weight must be its own: not computed from others, not shared with another layer.
    """
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and not parametrize.is_parametrized(layer):

            def seen(_: nn.Module, inputs: Any, y: Any, name: str = name) -> None:
                if inputs and isinstance(inputs[0], Tensor) and isinstance(y, Tensor):
                    # of scores nothing more is kept than they are, of anything else that it was called
                    calls.setdefault(name, []).append(
                        (inputs[0].detach(), y.detach()) if y.dim() == 2 else (y[:0], y[:0])
                    )

            hooks.append(layer.register_forward_hook(seen))
    try:
        scores = scores_of()
    finally:
        for hook in hooks:
            hook.remove()
    if scores.dim() != 2:
        return None
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for name, own in reversed(calls.items()):
        layer = model.get_submodule(name)
        parameters = [p for p in (layer.weight, layer.bias) if p is not None]
        (x, y), *more = own
        if more or any(len(names.get(id(p), ())) != 1 for p in parameters) or x.dim() != 2:
            continue
        if torch.equal(y, scores) or (y.shape[1] == 1 and scores.shape[1] == 2 and torch.equal(y, scores[:, 1:])):
            weight, *bias = (names[id(p)][0] for p in parameters)
            return LastLayer(weight, bias[0] if bias else None, 0, numpy(x), numpy(scores))
    return None
