"""Layers: what is known of a framework's layer types. Types decide, never the shape of a parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from evtkit.saliency.adapting.lanes import Lanes, count_lanes

__all__ = ["Holder", "Holders", "LayerTypes", "lanes_along", "resolve", "single"]

T = TypeVar("T")

Holder = Callable[[Any], Mapping[str, Sequence[Lanes]]]
"""From a layer to its parts' lanes. Most layers have one part, ""; a separable convolution has two. Parameters are
named as attributes of the layer; units count from 0 within each part."""


class LayerTypes(Generic[T]):
    """One entry a layer type; subclasses share it unless they have their own."""

    def __init__(self) -> None:
        self._entries: dict[type, T] = {}

    def declare(self, types: Iterable[type], entry: T) -> None:
        """Give types an entry, in place of an earlier one."""
        self._entries.update(dict.fromkeys(types, entry))

    def own(self, layer_type: type) -> T | None:
        """Entry of exactly this type, or None."""
        return self._entries.get(layer_type)

    def find(self, layer: Any) -> T | None:
        """Entry of a layer's nearest declared type, or None."""
        return next((self._entries[t] for t in type(layer).__mro__ if t in self._entries), None)

    def entries(self) -> tuple[T, ...]:
        """Every type's entry."""
        return tuple(self._entries.values())


class Holders(LayerTypes[tuple[str, Holder]]):
    """The units that layers of each type hold, and the kind of them.

    Parameters
    ----------
    linear : type
        The framework's linear layer.
    weight : str
        Name of its weight.
    outputs : {0, 1}
        Axis of the weight that its outputs are along.
    """

    def __init__(self, linear: type, weight: str, outputs: int) -> None:
        super().__init__()
        self._linear, self._weight, self._outputs = linear, weight, outputs
        self._recognised: list[tuple[Callable[[Any], Any], str, Holder]] = []

    def holds(self, *types: type, kind: str) -> Callable[[Holder], Holder]:
        """Decorate a function from a layer to the `Lanes` of its parts: layers of these types hold units of a kind."""

        def decorate(holder: Holder) -> Holder:
            self.declare(types, (kind, holder))
            return holder

        return decorate

    def recognises(self, test: Callable[[Any], Any], kind: str) -> Callable[[Holder], Holder]:
        """Decorate a holder for layers that a test knows by what they have, if no type of theirs is declared."""

        def decorate(holder: Holder) -> Holder:
            self._recognised.append((test, kind, holder))
            return holder

        return decorate

    def kinds(self) -> tuple[str, ...]:
        """Every kind of unit declared so far."""
        declared = [kind for kind, _ in self.entries()] + [kind for _, kind, _ in self._recognised]
        return tuple(dict.fromkeys(declared))

    def find(self, layer: Any) -> tuple[str, Holder] | None:
        """Kind and holder of a layer's nearest declared type, or None; fused attention is known by its attributes."""
        fused = isinstance(getattr(layer, "qkv", None), self._linear) and isinstance(
            getattr(layer, "num_heads", None), int
        )
        found = super().find(layer) or (("heads", self._fused_heads()) if fused else None)
        return found or next(((kind, holder) for test, kind, holder in self._recognised if test(layer)), None)

    def register_heads(
        self,
        attention: type,
        *,
        qkv: str = "qkv",
        proj: str | None = "proj",
        num_heads: str = "num_heads",
        interleaved: bool = False,
    ) -> None:
        """Declare the heads of an attention layer of one's own with a fused q-k-v projection.

        Layers with an integer ``num_heads`` and linear layers ``qkv`` and ``proj`` are recognised without this.

        Parameters
        ----------
        attention : type
            The attention layer's type.
        qkv, proj : str, str or None
            Names of the attributes with its linear layers, dots allowed; ``proj=None`` where there is no output
            projection.
        num_heads : str
            Name of the attribute that counts the heads.
        interleaved : bool
            Whether the outputs of ``qkv`` run head by head (q, k, v of head 0, then of head 1) rather than all of q,
            all of k, all of v.
        """
        self.declare([attention], ("heads", self._fused_heads(qkv, proj, num_heads, interleaved)))

    def _fused_heads(
        self, qkv: str = "qkv", proj: str | None = "proj", num_heads: str = "num_heads", interleaved: bool = False
    ) -> Holder:
        def holder(attention: Any) -> dict[str, list[Lanes]]:
            heads = int(getattr(attention, num_heads))
            outputs = int(getattr(resolve(attention, qkv), self._weight).shape[self._outputs])
            if outputs % (3 * heads):
                raise ValueError(
                    f"{qkv!r} of {type(attention).__name__} must have a multiple of 3 × {heads} heads "
                    f"as outputs, got {outputs}"
                )
            width = outputs // (3 * heads)
            head = np.arange(heads)
            units = np.repeat(head, 3 * width) if interleaved else np.tile(np.repeat(head, width), 3)
            lanes = [Lanes(f"{qkv}.{self._weight}", units, (self._outputs,))]
            if proj is not None and isinstance(resolve(attention, proj), self._linear):
                lanes.append(Lanes(f"{proj}.{self._weight}", np.repeat(head, width), (1 - self._outputs,)))
            return {"": lanes}

        return holder


def resolve(layer: Any, attributes: str) -> Any:
    """What a dotted attribute of a layer is, or None."""
    found = layer
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    return found


def lanes_along(layer: Any, parameter: str, axes: Sequence[int] | None, groups: int = 1) -> list[Lanes]:
    """Lanes of one parameter of a layer, each a unit; every weight is one where axes is None."""
    weight = resolve(layer, parameter)
    if weight is None:  # no scale, no gate and the like
        return []
    rank = len(weight.shape)
    chosen = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    return [Lanes(parameter, np.arange(count_lanes(weight.shape, chosen, groups)), chosen, groups)]


def single(parameter: str, axes: Sequence[int] | None) -> Holder:
    """Build a holder whose units are the lanes of one parameter; every weight is one where axes is None."""

    def holder(layer: Any) -> dict[str, list[Lanes]]:
        return {"": lanes_along(layer, parameter, axes)}

    return holder
