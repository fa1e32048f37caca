"""Products: Taylor saliency from a layer's own output.

What a layer adds to its bias, y − b, is linear in its weight. So the sum of w · ∂L/∂w over the weights of one output
channel is the sum of (y − b) · ∂L/∂y over its positions: no patches, and no matrix product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from evtkit_keras.layers import einsum_letters
from evtkit_keras.rules import convolution, dense, norm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evtkit_keras.capture import Call

__all__ = ["moves_rows", "output_axes", "output_sums"]

_MOVES = frozenset(
    [
        "Where",
        "TopKV2",
        "Unique",
        "UniqueV2",
        "DynamicPartition",
        "DynamicStitch",
        "ScatterNd",
        "TensorScatterUpdate",
        "TensorScatterAdd",
        "If",
        "StatelessIf",
        "While",
        "StatelessWhile",
        "Case",
        "StatelessCase",
        "GatherNd",
        "ArgMax",
        "ArgMin",
    ]
)


def moves_rows() -> bool:
    """Whether the graph being traced may move rows about by data, so that the next batch may have another layout."""
    for operation in tf.compat.v1.get_default_graph().get_operations():
        if operation.type in _MOVES:
            return True
        if operation.type == "GatherV2" and operation.inputs[1].op.type != "Const":
            return True
    return False


def output_axes(call: Call, lanes: Sequence[int]) -> tuple[int, ...] | None:
    """Axes of a layer's output along which these lanes lie, in their order; None where they do not.

    Nor where there is one position in half precision: the product of two rounded numbers has few values.
    """
    find = _AXES.get(call.rule)
    axes = None if find is None else find(call, tuple(lanes))
    shape = call.output.shape
    if (
        axes is not None
        and call.output.dtype.size < 4
        and all(a in axes or shape[a] == 1 for a in range(1, len(shape)))
    ):
        return None
    return axes


def output_sums(call: Call, slope: Any, axes: Sequence[int], samples: int, dtype: Any) -> tuple[Any, Any]:
    """Sums of (y − b) · slope over all axes but these, and of its absolute value, both (samples, lanes)."""
    y = tf.cast(call.output, dtype)
    bias = _bias(call, axes, len(y.shape))
    product = (y if bias is None else y - tf.cast(bias, dtype)) * tf.cast(slope, dtype)
    rank = len(product.shape)
    over = [axis for axis in range(1, rank) if axis not in axes]
    kept = sorted(axes)

    def summed(x: Any) -> Any:
        x = tf.reduce_sum(x, over)
        x = tf.transpose(x, (0, *(1 + kept.index(axis) for axis in axes)))
        x = tf.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        return x if x.shape[0] == samples else tf.reduce_sum(tf.reshape(x, (samples, -1, x.shape[1])), 1)

    return summed(product), summed(tf.abs(product))


def _bias(call: Call, axes: Sequence[int], rank: int) -> Any:
    """What the layer adds to what is linear in the weight, in a shape to subtract."""
    layer = call.layer
    if call.rule is convolution.depthwise_convolution and hasattr(layer, "pointwise_kernel"):
        return None  # the first of two steps has none
    bias = getattr(layer, "beta" if hasattr(layer, "gamma") else "bias", None)
    if bias is None:
        return None
    value = tf.convert_to_tensor(bias.value if hasattr(bias, "value") else bias)
    if isinstance(layer, keras.layers.EinsumDense):
        return value
    sizes = dict(zip(axes, value.shape, strict=True))
    return tf.reshape(value, [sizes.get(axis, 1) for axis in range(rank)])


def _channel(call: Call, lanes: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(call.output.shape)
    return (rank - 1 if call.layer.data_format == "channels_last" else 1,)


def _units(call: Call, lanes: tuple[int, ...]) -> tuple[int, ...] | None:
    return (len(call.output.shape) - 1,) if lanes == (1,) else None


def _scales(call: Call, lanes: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(call.output.shape)
    axes = call.layer.axis
    return tuple(axis % rank for axis in ((axes,) if isinstance(axes, int) else axes))


def _letters(call: Call, lanes: tuple[int, ...]) -> tuple[int, ...] | None:
    inputs, weight, output = einsum_letters(call.layer.equation)
    wanted = [weight[axis] for axis in lanes]
    if "..." in call.layer.equation or not inputs or any(letter not in output for letter in wanted):
        return None
    axes = tuple(output.index(letter) for letter in wanted)
    return None if 0 in axes or output[0] != inputs[0] else axes


_AXES: dict[Any, Callable[[Call, tuple[int, ...]], tuple[int, ...] | None]] = {
    convolution.convolution: _channel,
    convolution.transposed_convolution: _channel,
    convolution.depthwise_convolution: _channel,
    convolution.pointwise_convolution: _channel,
    dense.dense: _units,
    dense.einsum: _letters,
    norm.batch_norm: _scales,
    norm.group_norm: _scales,
    norm.layer_norm: _scales,
    norm.rms_norm: _scales,
}
"""For the rules of layers that are linear in their weight; a rule of one's own goes its own way."""
