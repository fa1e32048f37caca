"""Layers: which layer types hold which units."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from evtkit.saliency.adapting import Holders, Lanes, lanes_along, single

__all__ = ["HOLDERS", "einsum_letters", "holds", "register_heads"]

layers = keras.layers

HOLDERS = Holders(layers.Dense, "kernel", outputs=1)
"""What is known so far; weights are named as attributes of the layer."""

holds, register_heads = HOLDERS.holds, HOLDERS.register_heads

holds(layers.Conv1D, layers.Conv2D, layers.Conv3D, kind="filters")(single("kernel", (-1,)))
holds(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose, kind="filters")(single("kernel", (-2,)))
holds(layers.DepthwiseConv1D, layers.DepthwiseConv2D, kind="filters")(single("kernel", (-2, -1)))
holds(layers.Dense, kind="rows")(single("kernel", (-1,)))
holds(layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization, kind="channels")(
    single("gamma", None)
)
holds(layers.RMSNormalization, kind="channels")(single("scale", None))
holds(layers.Embedding, kind="words")(single("embeddings", (0,)))


@holds(layers.SeparableConv1D, layers.SeparableConv2D, kind="filters")
def separable(layer: Any) -> dict[str, list[Lanes]]:
    """Filters of the depthwise convolution, then of the pointwise one."""
    return {
        "depthwise": lanes_along(layer, "depthwise_kernel", (-2, -1)),
        "pointwise": lanes_along(layer, "pointwise_kernel", (-1,)),
    }


@holds(layers.EinsumDense, kind="rows")
def einsum_rows(layer: Any) -> dict[str, list[Lanes]]:
    """Slices along those axes of the kernel that the output has: those that the input has too, then the others."""
    inputs, weight, output = einsum_letters(layer.equation)
    letters = sorted((letter for letter in output if letter in weight), key=lambda letter: letter not in inputs)
    return {"": lanes_along(layer, "kernel", [weight.index(letter) for letter in letters])}


@holds(layers.MultiHeadAttention, kind="heads")
def attention_heads(layer: Any) -> dict[str, list[Lanes]]:
    """Slices of the query, key, value and gate kernels and of the output's, head by head."""
    parts = [("_query_dense", 1), ("_key_dense", 1), ("_value_dense", 1), ("_gate_dense", 1), ("_output_dense", 0)]
    return {"": [lanes for part, axis in parts for lanes in lanes_along(layer, f"{part}.kernel", (axis,))]}


@holds(layers.GroupQueryAttention, kind="heads")
def grouped_heads(layer: Any) -> dict[str, list[Lanes]]:
    """Query heads first, then the fewer heads of keys and values, which several query heads share."""
    own = [("_query_dense", 1), ("_gate_dense", 1), ("_output_dense", 0)]
    first = [lanes for part, axis in own for lanes in lanes_along(layer, f"{part}.kernel", (axis,))]
    count = 1 + int(first[0].units.max())
    shared = [lanes for part in ("_key_dense", "_value_dense") for lanes in lanes_along(layer, f"{part}.kernel", (1,))]
    return {"": [*first, *(lanes.of_units(lanes.units + count) for lanes in shared)]}


@holds(layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell, kind="cells")
def recurrent_cells(cell: Any) -> dict[str, list[Lanes]]:
    """A cell's columns in every gate, of the inputs' kernel and of the state's."""
    lanes = []
    for name in ("kernel", "recurrent_kernel"):
        columns = int(getattr(cell, name).shape[1])
        lanes.append(Lanes(name, np.tile(np.arange(cell.units), columns // cell.units), (1,)))
    return {"": lanes}


def einsum_letters(equation: str) -> tuple[str, str, str]:
    """Letters of input, weight and output of an einsum equation, an ellipsis left out."""
    factors, _, output = equation.replace(" ", "").replace("...", "").partition("->")
    inputs, _, weight = factors.partition(",")
    return inputs, weight, output
