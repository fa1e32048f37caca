"""Profiles of Keras architectures against a loop of single samples, in float64, random weights, all reductions.

    python benchmarks/keras_architectures.py [--only NAME]

The networks of `keras.applications` at their smallest size, nothing downloaded, and networks of odd data flow. For each:
whether all three reductions equal the loop to 1e-9 of the largest entry, how many of the covered weights needed one
sample at a time, and how much of the network its units cover.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from _verdicts import verdict
from evtkit_keras import KerasModel
from keras import layers, ops

from evtkit.saliency.adapting import reduce_gradient

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("filters", "rows", "channels", "heads", "cells")
N, CLASSES, WIDTH = 3, 4, 12
Built = tuple[keras.Model, Any]

SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75, "NASNetMobile": 32}
APPLICATIONS = [
    "VGG16", "ResNet50", "ResNet50V2", "MobileNet", "MobileNetV2", "MobileNetV3Small", "DenseNet121", "NASNetMobile",
    "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny", "Xception", "InceptionV3",
]  # fmt: skip


def application(name: str) -> Built:
    size = SIZES.get(name, 32)
    options: dict[str, Any] = {"include_preprocessing": False} if name in ("ConvNeXtTiny", "MobileNetV3Small") else {}
    if name == "MobileNetV3Small":
        options["minimalistic"] = False
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None, **options
    )
    return model, np.random.default_rng(0).normal(size=(2, size, size, 3))


def tokens(length: int = 7) -> Any:
    return np.random.default_rng(0).integers(3, 40, (N, length))


def rows() -> Any:
    return np.random.default_rng(0).normal(size=(N, 6, WIDTH))


def images(size: int = 12) -> Any:
    return np.random.default_rng(0).normal(size=(N, size, size, 3))


class Of(keras.Model):
    """Layers by name, and a function of them."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, layer in parts.items():
            setattr(self, name, layer)

    def call(self, x: Any) -> Any:
        return self.run(self, x)


def dense(units: int = WIDTH, **options: Any) -> Any:
    return layers.Dense(units, **options)


def standard(**more: Any) -> dict[str, Any]:
    return {"a": dense(), "b": dense(), "head": dense(CLASSES)} | more


def sequence(*parts: Any) -> keras.Model:
    return keras.Sequential([*parts, dense(CLASSES)])


def hard_router(m: Any, x: Any) -> Any:
    on = x[..., 0] > 0
    yes, no = tf.where(on), tf.where(~on)
    out = tf.scatter_nd(yes, m.a(tf.boolean_mask(x, on)), tf.shape(x, tf.int64))
    out += tf.scatter_nd(no, m.b(tf.boolean_mask(x, ~on)), tf.shape(x, tf.int64))
    return m.head(ops.mean(ops.tanh(out), 1))


def tied(m: Any, x: Any) -> Any:
    y = ops.mean(ops.tanh(m.a(m.words(x))), 1)
    return ops.matmul(y, ops.transpose(m.words.embeddings))[:, :CLASSES]


def transposed(m: Any, x: Any) -> Any:
    y = ops.matmul(ops.tanh(m.a(x)), ops.transpose(m.a.kernel))
    return m.head(ops.mean(ops.tanh(y), 1))


def siamese(m: Any, x: Any) -> Any:
    both = ops.tanh(m.a(ops.concatenate([x[:, :3], x[:, 3:]])))
    one, other = ops.split(both, 2)
    return m.head(ops.mean(ops.abs(one - m.b(other)), 1))


def positions_first(m: Any, x: Any) -> Any:
    return m.head(ops.mean(ops.tanh(m.a(ops.transpose(x, (1, 0, 2)))), 0))


def shared(m: Any, x: Any) -> Any:
    for _ in range(3):
        x = x + ops.tanh(m.a(m.norm(x)))
    return m.head(ops.mean(x, 1))


def residual(m: Any, x: Any) -> Any:
    y = m.conv(x)
    y = ops.relu(m.bn(y) + m.other(x))
    return m.head(ops.mean(y, (1, 2)))


def einsums(m: Any, x: Any) -> Any:
    if not m.a.built:
        m.a.build(x.shape)
    return m.head(ops.mean(ops.tanh(ops.einsum("nlf,fo->nlo", x, m.a.kernel) + m.b(x)), 1))


def attention(m: Any, x: Any) -> Any:
    y = m.words(x)
    mask = ops.not_equal(x % 5, 0)[:, None, :]
    return m.head(ops.mean(y + m.attend(m.norm(y), m.norm(y), attention_mask=mask), 1))


def gated(m: Any, x: Any) -> Any:
    a, b = ops.split(m.wide(x), 2, axis=-1)
    return m.head(ops.mean(a * ops.sigmoid(b) + m.b(x), 1))


class Scaled(layers.Layer):
    """A weight of its own that multiplies, and one that is added."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:
        return x * self.scale


def recurrent(layer: Any) -> Built:
    return keras.Sequential([layers.Embedding(40, 8), layer, dense(CLASSES)]), tokens()


def unet() -> Built:
    inputs = keras.Input((12, 12, 3))
    down = layers.Conv2D(6, 3, 2, "same", activation="silu")(inputs)
    up = layers.Conv2DTranspose(6, 2, 2)(layers.SeparableConv2D(6, 3, padding="same")(down))
    out = layers.Conv2D(CLASSES, 1)(layers.Concatenate()([inputs, up]))
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(out)), images()


def nested() -> Built:
    inner = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()], name="inner")
    middle = keras.Sequential([inner, layers.Conv2D(4, 3), inner.layers[2]], name="middle")
    return keras.Sequential([middle, layers.GlobalMaxPooling2D(), dense(CLASSES)]), images()


def low_rank() -> Built:
    model = sequence(dense(name="wide"), layers.Activation("tanh"), layers.GlobalAveragePooling1D())
    model(rows())
    model.layers[0].enable_lora(2)
    return model, rows()


ODD: dict[str, Callable[[], Built]] = {
    "hard router": lambda: (Of(hard_router, **standard()), rows()),
    "tied embedding": lambda: (Of(tied, a=dense(), words=layers.Embedding(40, WIDTH)), tokens()),
    "tied, transposed": lambda: (Of(transposed, **standard()), rows()),
    "siamese": lambda: (Of(siamese, **standard()), rows()),
    "positions first": lambda: (Of(positions_first, **standard()), rows()),
    "shared layer": lambda: (Of(shared, **standard(norm=layers.LayerNormalization())), rows()),
    "residual": lambda: (
        Of(residual, conv=layers.Conv2D(4, 3, padding="same", use_bias=False), bn=layers.BatchNormalization(),
           other=layers.Conv2D(4, 1), head=dense(CLASSES)), images()),
    "einsums of kernels": lambda: (Of(einsums, **standard()), rows()),
    "attention, padding": lambda: (
        Of(attention, words=layers.Embedding(40, WIDTH), norm=layers.RMSNormalization(),
           attend=layers.MultiHeadAttention(2, 6), head=dense(CLASSES)), tokens()),
    "grouped queries": lambda: (
        Of(lambda m, x: m.head(ops.mean(x + m.attend(x, x), 1)), attend=layers.GroupQueryAttention(3, 4, 2),
           head=dense(CLASSES)), rows()),
    "gated": lambda: (Of(gated, **standard(wide=dense(2 * WIDTH))), rows()),
    "scale of its own": lambda: (sequence(dense(), Scaled(), layers.Activation("tanh"), layers.GlobalAveragePooling1D()), rows()),
    "spectral norm": lambda: (sequence(layers.SpectralNormalization(layers.Conv2D(6, 3)), layers.ReLU(), layers.GlobalAveragePooling2D()), images()),
    "low-rank": low_rank,
    "U-Net": unet,
    "nested": nested,
    "LSTM, both ways": lambda: recurrent(layers.Bidirectional(layers.LSTM(5))),
    "GRU": lambda: recurrent(layers.GRU(5, reset_after=False)),
    "SimpleRNN": lambda: recurrent(layers.SimpleRNN(5)),
    "stacked cells": lambda: recurrent(layers.RNN([layers.LSTMCell(5), layers.GRUCell(4)])),
    "ConvLSTM": lambda: (
        keras.Sequential([layers.ConvLSTM2D(4, 3), layers.GlobalAveragePooling2D(), dense(CLASSES)]),
        np.random.default_rng(0).normal(size=(N, 3, 6, 6, 2))),
    "time-distributed": lambda: (
        sequence(layers.TimeDistributed(layers.Conv1D(5, 3, activation="relu")), layers.Flatten()),
        np.random.default_rng(0).normal(size=(N, 4, 6, 3))),
    "EinsumDense": lambda: (sequence(layers.EinsumDense("abc,cde->abde", (6, 3, 4)), layers.Flatten()), rows()),
    "depthwise, grouped, dilated": lambda: (
        sequence(layers.DepthwiseConv2D(3, depth_multiplier=2), layers.GroupNormalization(2), layers.ReLU(),
                 layers.Conv2D(6, 3, groups=2), layers.Conv2D(6, 2, dilation_rate=2), layers.Flatten()), images()),
    "volumes": lambda: (
        sequence(layers.Conv3D(4, 2), layers.PReLU(), layers.Conv3DTranspose(3, 2), layers.GlobalAveragePooling3D()),
        np.random.default_rng(0).normal(size=(N, 4, 4, 4, 2))),
    "channels of batch norm first": lambda: (
        sequence(layers.BatchNormalization(), layers.Conv2D(5, 3), layers.UnitNormalization(), layers.Flatten()), images()),
}  # fmt: skip


def loop(net: KerasModel, x: Any, y: Any) -> dict[str, np.ndarray]:
    """Every reduction from ordinary gradients of one sample at a time."""
    plan, network = net.profiler.plan, net.profiler.network
    named = {name: network.variables[name] for name in plan.parameters}
    weights = {name: v.value.numpy() for name, v in named.items()}
    found: dict[str, list[np.ndarray]] = {how: [] for how in ("taylor", "mean-abs", "l2")}
    for i in range(len(y)):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            values = [v.value for v in named.values()]
            tape.watch(values)
            logits = net.model(tf.convert_to_tensor(x[i : i + 1]), training=False)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y[i : i + 1], logits=logits))
        slopes = tape.gradient(loss, values, unconnected_gradients="zero")
        own = {name: tf.convert_to_tensor(slope).numpy() for name, slope in zip(named, slopes, strict=True)}
        for how, into in found.items():
            into.append(reduce_gradient(plan, how, own, weights))
    return {how: np.stack(into) for how, into in found.items()}


def examine(model: keras.Model, x: Any, eager: bool) -> str:
    model(x)
    rng = np.random.default_rng(0)
    for variable in model.variables:  # scales of 1e-6, as some networks begin with, would hide what is behind them
        if variable.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            shift = variable.name in ("beta", "moving_mean")
            variable.assign(rng.normal(0, 0.1, variable.shape) if shift else rng.uniform(0.5, 1.5, variable.shape))
    y = np.arange(len(x)) % CLASSES
    worst, slow, want, net = 0.0, 0, {}, None
    for how in ("taylor", "mean-abs", "l2"):
        net = KerasModel(model, units=KINDS, reduction=how, run_eagerly=eager, from_logits=True)
        try:
            want = want or loop(net, x, y)
        except Exception as error:
            return f"LOOP FAILS too: {type(error).__name__}: {str(error)[:100]}"
        got = net.profile(x, y)
        worst = max(worst, float(np.abs(got - want[how]).max() / np.abs(want[how]).max()))
        slow = max(slow, sum(part.size for part in net.coverage.slow))
    assert net is not None
    return verdict(net, worst, slow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    warnings.filterwarnings("ignore")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    cases = ODD | {name: lambda name=name: application(name) for name in APPLICATIONS}
    counts: dict[str, int] = {}
    for name, build in cases.items():
        if options.only and not any(part in name for part in options.only.split(",")):
            continue
        keras.utils.set_random_seed(0)
        start = time.perf_counter()
        try:
            line = examine(*build(), eager=True)
        except Exception as error:  # what users would see
            line = f"REFUSED   {type(error).__name__}: {str(error)[:150]}"
        counts[line.split()[0]] = counts.get(line.split()[0], 0) + 1
        print(f"{name:30s} {line}   {time.perf_counter() - start:.1f} s", flush=True)
    print(counts)


if __name__ == "__main__":
    main()
