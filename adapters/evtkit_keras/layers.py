"""Layers: which layer types hold which units. Types decide, never the shape of a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from evtkit_keras.lanes import Lanes

__all__ = ["Holder", "einsum_letters", "find_holder", "holds", "kinds", "register_heads", "resolve", "single"]

Holder = Callable[[Any], Mapping[str, Sequence[Lanes]]]
"""From a layer to its parts' lanes. Most layers have one part, ""; a separable convolution has two. Weights are named
as attributes of the layer; units count from 0 within each part."""

_HOLDERS: dict[type, tuple[str, Holder]] = {}

layers = keras.layers


def holds(*types: type, kind: str) -> Callable[[Holder], Holder]:
    """Declare the units that layers of some types hold.

    Parameters
    ----------
    *types : type
        Layer types; subclasses are included unless they are declared themselves.
    kind : str
        Name of the kind, for ``KerasModel(units=...)``.

    Returns
    -------
    callable
        Decorator for a function from a layer to the `Lanes` of its parts.
    """

    def declare(holder: Holder) -> Holder:
        for layer_type in types:
            _HOLDERS[layer_type] = (kind, holder)
        return holder

    return declare


def kinds() -> tuple[str, ...]:
    """Every kind of unit declared so far."""
    return tuple(dict.fromkeys(kind for kind, _ in _HOLDERS.values()))


def find_holder(layer: Any) -> tuple[str, Holder] | None:
    """Kind and holder of a layer's nearest declared type, or None."""
    for layer_type in type(layer).__mro__:
        if layer_type in _HOLDERS:
            return _HOLDERS[layer_type]
    if isinstance(getattr(layer, "qkv", None), layers.Dense) and isinstance(getattr(layer, "num_heads", None), int):
        return "heads", fused_heads()
    return None


def resolve(layer: Any, attributes: str) -> Any:
    """What a dotted attribute of a layer is, or None."""
    found = layer
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    return found


def single(parameter: str = "kernel", axes: Sequence[int] | None = (-1,)) -> Holder:
    """Build a holder whose units are the lanes of one weight; every number is one where axes is None."""

    def holder(layer: Any) -> dict[str, list[Lanes]]:
        return {"": _lanes(layer, parameter, axes)}

    return holder


holds(layers.Conv1D, layers.Conv2D, layers.Conv3D, kind="filters")(single())
holds(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose, kind="filters")(single(axes=(-2,)))
holds(layers.DepthwiseConv1D, layers.DepthwiseConv2D, kind="filters")(single(axes=(-2, -1)))
holds(layers.Dense, kind="rows")(single())
holds(layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization, kind="channels")(
    single("gamma", None)
)
holds(layers.RMSNormalization, kind="channels")(single("scale", None))


@holds(layers.SeparableConv1D, layers.SeparableConv2D, kind="filters")
def separable(layer: Any) -> dict[str, list[Lanes]]:
    """Filters of the depthwise convolution, then of the pointwise one."""
    return {
        "depthwise": _lanes(layer, "depthwise_kernel", (-2, -1)),
        "pointwise": _lanes(layer, "pointwise_kernel", (-1,)),
    }


@holds(layers.EinsumDense, kind="rows")
def einsum_rows(layer: Any) -> dict[str, list[Lanes]]:
    """Slices along those axes of the kernel that the output has: those that the input has too, then the others."""
    inputs, weight, output = einsum_letters(layer.equation)
    letters = sorted((letter for letter in output if letter in weight), key=lambda letter: letter not in inputs)
    return {"": _lanes(layer, "kernel", [weight.index(letter) for letter in letters])}


@holds(layers.MultiHeadAttention, kind="heads")
def attention_heads(layer: Any) -> dict[str, list[Lanes]]:
    """Slices of the query, key, value and gate kernels and of the output's, head by head."""
    parts = [("_query_dense", 1), ("_key_dense", 1), ("_value_dense", 1), ("_gate_dense", 1), ("_output_dense", 0)]
    return {"": [lanes for part, axis in parts for lanes in _lanes(layer, f"{part}.kernel", (axis,))]}


@holds(layers.GroupQueryAttention, kind="heads")
def grouped_heads(layer: Any) -> dict[str, list[Lanes]]:
    """Query heads first, then the fewer heads of keys and values, which several query heads share."""
    own = [("_query_dense", 1), ("_gate_dense", 1), ("_output_dense", 0)]
    first = [lanes for part, axis in own for lanes in _lanes(layer, f"{part}.kernel", (axis,))]
    count = 1 + int(first[0].units.max())
    shared = [lanes for part in ("_key_dense", "_value_dense") for lanes in _lanes(layer, f"{part}.kernel", (1,))]
    return {"": [*first, *(lanes.of_units(lanes.units + count) for lanes in shared)]}


def fused_heads(
    qkv: str = "qkv", proj: str | None = "proj", num_heads: str = "num_heads", interleaved: bool = False
) -> Holder:
    """Build a holder for attention with one fused dense projection; parameters are those of `register_heads`."""

    def holder(layer: Any) -> dict[str, list[Lanes]]:
        heads = int(getattr(layer, num_heads))
        columns = int(resolve(layer, qkv).kernel.shape[1])
        if columns % (3 * heads):
            raise ValueError(
                f"got {columns} units of {qkv!r} in {type(layer).__name__}, wanted a multiple of 3 × {heads} heads"
            )
        width = columns // (3 * heads)
        head = np.arange(heads)
        units = np.repeat(head, 3 * width) if interleaved else np.tile(np.repeat(head, width), 3)
        lanes = [Lanes(f"{qkv}.kernel", units, (1,))]
        if proj is not None and isinstance(resolve(layer, proj), layers.Dense):
            lanes.append(Lanes(f"{proj}.kernel", np.repeat(head, width), (0,)))
        return {"": lanes}

    return holder


def register_heads(
    attention: type,
    *,
    qkv: str = "qkv",
    proj: str | None = "proj",
    num_heads: str = "num_heads",
    interleaved: bool = False,
) -> None:
    """Declare the heads of an attention layer of one's own with a fused q-k-v projection.

    Layers with an integer ``num_heads`` and dense layers ``qkv`` and ``proj`` are recognised without this.

    Parameters
    ----------
    attention : type
        The attention layer's type.
    qkv, proj : str, str or None
        Names of the attributes with its dense layers, dots allowed; ``proj=None`` where there is no output projection.
    num_heads : str
        Name of the attribute that counts the heads.
    interleaved : bool
        Whether the outputs of ``qkv`` run head by head (q, k, v of head 0, then of head 1) rather than all of q, all
        of k, all of v.
    """
    holds(attention, kind="heads")(fused_heads(qkv, proj, num_heads, interleaved))


def einsum_letters(equation: str) -> tuple[str, str, str]:
    """Letters of input, weight and output of an einsum equation, an ellipsis left out."""
    factors, _, output = equation.replace(" ", "").replace("...", "").partition("->")
    inputs, _, weight = factors.partition(",")
    return inputs, weight, output


def _lanes(layer: Any, parameter: str, axes: Sequence[int] | None) -> list[Lanes]:
    weight = resolve(layer, parameter)
    if weight is None:  # scale=False, no gate and the like
        return []
    rank = len(weight.shape)
    chosen = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    return [Lanes(parameter, np.arange(math.prod(weight.shape[axis] for axis in chosen)), chosen)]
