"""Replaying: what layers put out is kept, and put out again as long as nothing before them has changed."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Record", "recorded", "replayed"]

_MOST = 1 << 29  # bytes kept


@dataclass
class Record:
    """What layers put out for some samples, made by `recorded`.

    Attributes
    ----------
    order : list of str
        Layers that were called once a pass, in the order of their calls.
    outputs : dict of str to Tensor
        What they put out, samples along axis 0; of the first of them, as far as memory goes.
    """

    order: list[str] = field(default_factory=list)
    outputs: dict[str, Tensor] = field(default_factory=dict)

    def before(self, layers: Iterable[str]) -> list[str]:
        """Layers kept that are called before the first of some; none if the place of one is not known."""
        first = min((self.order.index(name) if name in self.order else 0 for name in layers), default=0)
        return [name for name in self.order[:first] if name in self.outputs]


@contextmanager
def recorded(model: nn.Module) -> Iterator[Record]:
    """Context in which forward passes, each of other samples, are kept; when it ends the record is made.

    Kept are PyTorch's own layers that have no others inside and no hooks, which do nothing but compute.
    """
    record, room, passes = Record(), _MOST, 0
    calls: dict[str, list[Tensor | None]] = {}

    def begun(_: nn.Module, __: Any) -> None:
        nonlocal passes
        passes += 1

    hooks = [model.register_forward_pre_hook(begun)]
    for name, layer in model.named_modules():
        if layer is model or not _only_computes(layer):
            continue

        def seen(_: nn.Module, __: Any, y: Any, name: str = name) -> None:
            nonlocal room
            room -= y.numel() * y.element_size() if isinstance(y, Tensor) else 0
            kept = isinstance(y, Tensor) and y.dim() > 0 and room >= 0
            calls.setdefault(name, []).append(y.detach().clone() if kept else None)  # the next layer may work in place

        hooks.append(layer.register_forward_hook(seen))
    try:
        yield record
    finally:
        for hook in hooks:
            hook.remove()
    record.order += [name for name, found in calls.items() if len(found) == passes]
    for name in record.order:
        parts = [part for part in calls.pop(name) if part is not None]
        if len(parts) == passes and len({part.shape[1:] for part in parts}) == 1:
            record.outputs[name] = torch.cat(parts) if passes > 1 else parts[0]


@contextmanager
def replayed(model: nn.Module, record: Record, rows: Any, layers: Iterable[str]) -> Iterator[Callable[[], bool]]:
    """Context in which layers before some others put out what they did for chosen samples, without computing it.

    It gives a function that says whether each was called just once.
    """
    chosen, counts = torch.as_tensor(rows), dict[str, int]()
    with ExitStack() as stack:
        for name in record.before(layers):
            layer, kept = model.get_submodule(name), record.outputs[name]
            if not _only_computes(layer) or len(kept) <= int(chosen.max()):
                continue
            counts[name] = 0

            def again(*_: Any, name: str = name, kept: Tensor = kept, **__: Any) -> Tensor:
                counts[name] += 1
                return kept[chosen.to(kept.device)]

            vars(layer)["forward"] = again
            stack.callback(vars(layer).pop, "forward")
        yield lambda: all(count == 1 for count in counts.values())


def _only_computes(layer: nn.Module) -> bool:
    own = type(layer).__module__.startswith("torch.nn.modules.") and next(layer.children(), None) is None
    free = not (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))
    return own and free and not parametrize.is_parametrized(layer)
