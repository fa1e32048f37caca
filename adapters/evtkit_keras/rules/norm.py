"""Normalisation layers: the scale's gradient is Σ_q g·x̂, with x̂ the normalised input before scale and shift.

Letters: n sample, q position, c channel (or feature). Every scale is a lane of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from evtkit_keras.rules.registry import Diagonal, Use, rule_for

if TYPE_CHECKING:
    from collections.abc import Sequence

layers = keras.layers


@rule_for(layers.BatchNormalization, parameter="gamma")
def batch_norm(use: Use) -> tuple[Diagonal, ...]:
    """Normalise by the moving statistics."""
    layer, x = use.layer, use.a
    shape = [1] * len(x.shape)
    shape[layer.axis] = -1
    mean, variance = (
        tf.cast(tf.reshape(statistic.value, shape), x.dtype) for statistic in (layer.moving_mean, layer.moving_variance)
    )
    return _scales(use, (x - mean) * tf.math.rsqrt(variance + layer.epsilon), [layer.axis])


@rule_for(layers.GroupNormalization, parameter="gamma")
def group_norm(use: Use) -> tuple[Diagonal, ...]:
    """Normalise groups of channels by each sample's own statistics."""
    layer, x = use.layer, use.a
    axis = layer.axis % len(x.shape)
    shape = list(x.shape)
    shape[axis : axis + 1] = [layer.groups, shape[axis] // layer.groups]
    grouped = tf.reshape(x, shape)
    over = [i for i in range(1, len(shape)) if i != axis]
    mean, variance = tf.nn.moments(grouped, over, keepdims=True)
    normalised = tf.reshape((grouped - mean) * tf.math.rsqrt(variance + layer.epsilon), x.shape)
    return _scales(use, normalised, [axis])


@rule_for(layers.LayerNormalization, parameter="gamma")
def layer_norm(use: Use) -> tuple[Diagonal, ...]:
    """Normalise the layer's axes by their mean and variance, or by the variance alone."""
    layer, x = use.layer, use.a
    mean, variance = tf.nn.moments(x, list(layer.axis), keepdims=True)
    centred = x if layer.rms_scaling else x - mean
    return _scales(use, centred * tf.math.rsqrt(variance + layer.epsilon), layer.axis)


@rule_for(layers.RMSNormalization, parameter="scale")
def rms_norm(use: Use) -> tuple[Diagonal, ...]:
    """Divide the layer's axes by their root mean square."""
    square = tf.reduce_mean(tf.square(use.a), list(use.layer.axis), keepdims=True)
    return _scales(use, use.a * tf.math.rsqrt(square + use.layer.epsilon), use.layer.axis)


def _scales(use: Use, normalised: Any, axes: Sequence[int]) -> tuple[Diagonal, ...]:
    """Sum over all but the axes that have scales of their own."""
    rank = len(normalised.shape)
    own = sorted(axis % rank for axis in axes)
    rest = [axis for axis in range(1, rank) if axis not in own]
    shape = (normalised.shape[0], math.prod(normalised.shape[axis] for axis in rest), math.prod(use.weight))
    left, right = (tf.reshape(tf.transpose(x, (0, *rest, *own)), shape) for x in (use.g, normalised))
    (own,) = use.arranged((1, math.prod(use.weight)), (0, 1))
    return (Diagonal(left, right, own),)
