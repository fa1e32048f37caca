"""Convolutions: windows of the padded input times the output gradient.

Letters: m sample (or frame), G group, o output channel of a group, c input channel of a group, q output position (all
axes), i kernel position along the first spatial axis, j along the others. Per-sample gradient, a block for every i:
W[m, G, o, (j c)] = Σ_q g[m, G, o, q] · U_i[m, G, q, (j c)].

Windows along all axes but the first are gathered once, and those along the first are stretches of that: a 3×3
convolution copies its input 3 times at a time, not 9. Padding is worked out here, so that the windows are those of the
layer whatever its mode.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from evtkit.saliency.adapting import Block
from evtkit_keras.rules.registry import Diagonal, Use, Whole, compute, rule_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evtkit_keras.rules.registry import Factors

layers = keras.layers


@rule_for(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(use: Use) -> tuple[Block, ...]:
    """Factor a convolution's gradient, group by group."""
    a, g = _channels_last(use.a, use.layer), _channels_last(use.g, use.layer)
    groups = int(use.layer.groups)
    left = _flat(g)
    left = tf.transpose(tf.reshape(left, (*left.shape[:2], groups, -1)), (0, 2, 3, 1))  # (m, G, o, q)
    i, j = _kernel_extents(use)
    own = use.arranged((i, j * use.weight[-2], groups, use.weight[-1] // groups), (0, 2, 3, 1))
    blocks = []
    for windows, weight in zip(_windows(a, use, g.shape[1:-1]), own, strict=True):
        m, q, j, c = windows.shape
        grouped = tf.reshape(windows, (m, q, j, groups, c // groups))
        right = tf.transpose(grouped, (0, 3, 1, 2, 4)) if groups > 1 else grouped
        blocks.append(Block(left, tf.reshape(right, (m, groups, q, j * c // groups)), weight))
    return tuple(blocks)


@rule_for(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed_convolution(use: Use) -> tuple[Block, ...]:
    """Exchange the roles: windows of the padded output gradient, one row for every (o j), times the input."""
    a, g = _channels_last(use.a, use.layer), _channels_last(use.g, use.layer)
    right = _flat(a)[:, None]  # (m, 1, q, c)
    i, j = _kernel_extents(use)
    o, c = use.weight[-2:]
    own = use.arranged((i, j, o, c), (0, 2, 1, 3), (i, 1, o * j, c))
    blocks = []
    for windows, weight in zip(_windows(g, use, a.shape[1:-1]), own, strict=True):
        m, q = windows.shape[:2]
        blocks.append(Block(tf.reshape(tf.transpose(windows, (0, 3, 2, 1)), (m, 1, o * j, q)), right, weight))
    return tuple(blocks)


@rule_for(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
@rule_for(layers.SeparableConv1D, layers.SeparableConv2D, parameter="depthwise_kernel")
def depthwise_convolution(use: Use) -> tuple[Factors, ...]:
    """Ask TensorFlow for the filters' gradient, one sample at a time, or else multiply windows channel by channel.

    TensorFlow has no such gradient for dilated kernels, nor for strides that differ. The lanes are (input channel,
    multiplier).
    """
    a, g = _channels_last(use.a, use.layer), _channels_last(use.g, use.layer)
    strides, dilation = (_each(value, len(use.weight) - 2) for value in (use.layer.strides, use.layer.dilation_rate))
    left, multiplier = _flat(g), use.weight[-1]
    positions, lanes = math.prod(use.weight[:-2]), math.prod(use.weight[-2:])
    if len(set(strides)) == 1 and max(dilation) == 1:
        (own,) = use.arranged((1, positions, lanes), (0, 2, 1))
        return (Whole(_depthwise_gradient(_padded(a, use, g.shape[1:-1]), g, use.weight, strides[0]), own),)
    views = (view for windows in _windows(a, use, g.shape[1:-1]) for view in tf.unstack(windows, axis=2))
    return tuple(
        Diagonal(left, tf.repeat(x, multiplier, axis=-1) if multiplier > 1 else x, own)
        for x, own in zip(views, use.arranged((positions, lanes), (0, 1)), strict=True)
    )


def _depthwise_gradient(x: Any, g: Any, weight: tuple[int, ...], stride: int) -> Any:
    """Gradient of a depthwise kernel (m, lanes, i j); along a single axis as of one with a first axis of length 1."""
    if len(weight) == 3:
        x, g, weight = x[:, None], g[:, None], (1, *weight)

    def one(pair: tuple[Any, Any]) -> Any:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=pair[0][None],
            filter_sizes=weight,
            out_backprop=pair[1][None],
            strides=[1, stride, stride, 1],
            padding="VALID",
        )

    slopes = tf.map_fn(one, (x, g), fn_output_signature=tf.TensorSpec(weight, x.dtype), parallel_iterations=1)
    lanes = weight[2] * weight[3]
    return tf.transpose(tf.reshape(slopes, (x.shape[0], weight[0] * weight[1], lanes)), (0, 2, 1))


@rule_for(layers.SeparableConv1D, layers.SeparableConv2D, parameter="pointwise_kernel")
def pointwise_convolution(use: Use) -> tuple[Block, ...]:
    """Multiply the depthwise output and the gradient, position by position."""
    a, g = (_flat(_channels_last(x, use.layer)) for x in (use.a, use.g))
    (own,) = use.arranged((1, 1, *use.weight[-2:]), (0, 1, 3, 2))
    return (Block(tf.transpose(g, (0, 2, 1))[:, None], a[:, None], own),)


@compute(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(layer: Any, follow: Any, inputs: Any) -> Any:
    """Compute a separable convolution in its two steps."""
    ops, form = keras.ops, layer.data_format
    inner = ops.depthwise_conv(inputs, layer.depthwise_kernel, layer.strides, layer.padding, form, layer.dilation_rate)
    follow("depthwise_kernel", inputs, inner)
    last = _channels_last(inner, layer)  # channels first has no gradient on a CPU
    output = ops.conv(last, layer.pointwise_kernel, 1, "valid", "channels_last")
    if layer.use_bias:
        output += layer.bias
    if form == "channels_first":
        output = tf.transpose(output, (0, layer.rank + 1, *range(1, layer.rank + 1)))
    follow("pointwise_kernel", inner, output)
    return output if layer.activation is None else layer.activation(output)


def _windows(x: Any, use: Use, positions: Sequence[int]) -> Iterator[Any]:
    """For every i, the windows (m, q, j, channels) of x that the kernel positions (i, j) see."""
    kernel = use.weight[:-2]
    strides, dilation = (_each(value, len(kernel)) for value in (use.layer.strides, use.layer.dilation_rate))
    x = _padded(x, use, positions)
    first = 0 if len(kernel) == 1 else 1  # a kernel along one axis has no i
    for axis in reversed(range(first, len(kernel))):  # (m, axes, channels) → (m, axes, q, j, q, j, …, channels)
        seen = np.arange(positions[axis])[:, None] * strides[axis] + np.arange(kernel[axis]) * dilation[axis]
        if kernel[axis] > 1 or strides[axis] > 1:
            x = tf.gather(x, seen.ravel(), axis=1 + axis)
        x = tf.reshape(x, (*x.shape[: 1 + axis], *seen.shape, *x.shape[2 + axis :]))
    pairs = range(1 + first, len(x.shape) - 1)
    x = tf.transpose(x, (*range(1 + first), *pairs[::2], *pairs[1::2], len(x.shape) - 1)) if len(pairs) > 2 else x
    shape = (x.shape[0], math.prod(positions), math.prod(kernel[first:]), x.shape[-1])
    if not first:
        yield tf.reshape(x, shape)
        return
    reach = (positions[0] - 1) * strides[0] + 1
    for i in range(kernel[0]):
        start = i * dilation[0]
        yield tf.reshape(x[:, start : start + reach : strides[0]] if x.shape[1] > 1 else x, shape)


def _kernel_extents(use: Use) -> tuple[int, int]:
    """How many i and j there are."""
    kernel = use.weight[:-2]
    i = 1 if len(kernel) == 1 else kernel[0]  # a kernel along one axis has no i
    return i, math.prod(kernel) // i


def _padded(x: Any, use: Use, positions: Sequence[int]) -> Any:
    """Pad x as the layer does, and cut off what no window reaches."""
    layer, kernel = use.layer, use.weight[:-2]
    strides, dilation = (_each(value, len(kernel)) for value in (layer.strides, layer.dilation_rate))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    reaches = [(q - 1) * s + span for q, s, span in zip(positions, strides, spans, strict=True)]
    if layer.padding == "same":  # an odd total puts the larger part at the end
        totals = [max(0, reach - n) for reach, n in zip(reaches, x.shape[1:-1], strict=True)]
        pads = [(total // 2, total - total // 2) for total in totals]
    elif layer.padding == "causal":
        pads = [(span - 1, 0) for span in spans]
    else:
        pads = [(0, 0)] * len(spans)
    if any(sum(pad) for pad in pads):
        x = tf.pad(x, [(0, 0), *pads, (0, 0)])
    if tuple(x.shape[1:-1]) == tuple(reaches):
        return x
    return x[(slice(None), *(slice(0, reach) for reach in reaches))]


def _channels_last(x: Any, layer: Any) -> Any:
    if layer.data_format == "channels_last":
        return x
    return tf.transpose(x, (0, *range(2, len(x.shape)), 1))


def _flat(x: Any) -> Any:
    """Return x as (m, positions, channels)."""
    return tf.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))


def _each(value: Any, count: int) -> tuple[int, ...]:
    return (int(value),) * count if isinstance(value, int) else tuple(int(v) for v in value)
