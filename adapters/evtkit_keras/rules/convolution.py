"""Convolutions: windows of the padded input times the output gradient.

Letters: m sample (or frame), G group, o output channel of a group, c input channel of a group, q output position (all
axes), i kernel position along the first spatial axis, j along the others. Per-sample gradient, a block for every i:
W[m, G, o, (j c)] = Σ_q g[m, G, o, q] · U_i[m, G, q, (j c)].

One i at a time, windows copy the input as often as there are j, not i · j times. Padding is worked out here, so that
the windows are those of the layer whatever its mode; a convolution along one axis is one of two, with a first of
length 1.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from evtkit_keras.rules.registry import Block, Diagonal, Use, compute, rule_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

layers = keras.layers


@rule_for(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(use: Use) -> tuple[Block, ...]:
    """Factor a convolution's gradient, group by group."""
    a, g = _channels_last(use.a, use.layer), _channels_last(use.g, use.layer)
    groups = int(use.layer.groups)
    left = tf.transpose(_split(_flat(g), groups), (0, 2, 3, 1))  # (m, G, o, q)
    blocks = []
    for views in _windows(a, use, g.shape[1:-1]):
        windows = [_split(_flat(view), groups) for view in views]  # J of (m, q, G, c)
        right = windows[0] if len(windows) == 1 else tf.concat(windows, -1)
        blocks.append(Block(left, tf.transpose(right, (0, 2, 1, 3)) if groups > 1 else right[:, None, :, 0]))
    return tuple(blocks)


@rule_for(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed_convolution(use: Use) -> tuple[Block, ...]:
    """Exchange the roles: windows of the padded output gradient, one row for every (o j), times the input."""
    a, g = _channels_last(use.a, use.layer), _channels_last(use.g, use.layer)
    right = _flat(a)[:, None]  # (m, 1, q, c)
    blocks = []
    for views in _windows(g, use, a.shape[1:-1]):
        stacked = tf.transpose(tf.stack([_flat(view) for view in views], 2), (0, 3, 2, 1))  # (m, o, j, q)
        blocks.append(Block(tf.reshape(stacked, (stacked.shape[0], 1, -1, stacked.shape[3])), right))
    return tuple(blocks)


@rule_for(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
@rule_for(layers.SeparableConv1D, layers.SeparableConv2D, parameter="depthwise_kernel")
def depthwise_convolution(use: Use) -> tuple[Diagonal, ...]:
    """Multiply window and gradient channel by channel; the lanes are (input channel, multiplier)."""
    a, g = _channels_last(use.a, use.layer), _channels_last(use.g, use.layer)
    left, multiplier = _flat(g), use.weight[-1]
    views = itertools.chain.from_iterable(_windows(a, use, g.shape[1:-1]))
    flat = (_flat(view) for view in views)
    return tuple(Diagonal(left, tf.repeat(x, multiplier, axis=-1) if multiplier > 1 else x) for x in flat)


@rule_for(layers.SeparableConv1D, layers.SeparableConv2D, parameter="pointwise_kernel")
def pointwise_convolution(use: Use) -> tuple[Block, ...]:
    """Multiply the depthwise output and the gradient, position by position."""
    a, g = (_flat(_channels_last(x, use.layer)) for x in (use.a, use.g))
    return (Block(tf.transpose(g, (0, 2, 1))[:, None], a[:, None]),)


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


def _windows(x: Any, use: Use, positions: Sequence[int]) -> Iterator[list[Any]]:
    """Views of the padded x (m, axes, channels) that kernel positions see: for every i, one for every j."""
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

    def view(place: tuple[int, ...]) -> Any:
        start = [i * d for i, d in zip(place, dilation, strict=True)]
        some = [slice(b, b + (q - 1) * s + 1, s) for b, q, s in zip(start, positions, strides, strict=True)]
        return x[(slice(None), *some)]

    heads, others = ([()], kernel) if len(kernel) == 1 else ([(i,) for i in range(kernel[0])], kernel[1:])
    for head in heads:
        yield [view((*head, *place)) for place in itertools.product(*map(range, others))]


def _channels_last(x: Any, layer: Any) -> Any:
    if layer.data_format == "channels_last":
        return x
    return tf.transpose(x, (0, *range(2, len(x.shape)), 1))


def _flat(x: Any) -> Any:
    """Return x as (m, positions, channels)."""
    return tf.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]))


def _split(x: Any, groups: int) -> Any:
    """Split the channels into groups: (m, q, G, channels of one)."""
    return tf.reshape(x, (*x.shape[:2], groups, x.shape[2] // groups))


def _each(value: Any, count: int) -> tuple[int, ...]:
    return (int(value),) * count if isinstance(value, int) else tuple(int(v) for v in value)
