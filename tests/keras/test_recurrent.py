"""Recurrent layers, embeddings and routed tokens: exact, if need be one sample at a time, against a loop of samples."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import KerasModel
from keras_oracles import loop_gradients

layers, ops = keras.layers, keras.ops
N, T, CLASSES = 3, 3, 3
Y = np.array([0, 2, 1])
REDUCE = {
    "taylor": lambda g, w: (g * w).sum(),
    "mean-abs": lambda g, w: np.abs(g).mean(),
    "l2": lambda g, w: np.linalg.norm(g),
}


def assert_exact(model, x, units, pieces, reductions=REDUCE, **options):
    """The profile equals the loop; a unit's pieces are (variable, what of it)."""
    slopes = list(loop_gradients(model, x, Y[: len(x)]))
    for reduction in reductions:
        net = KerasModel(model, units=units, reduction=reduction, verify=False, **options)
        assert len(net.units) == len(pieces)
        want = np.array([
            [REDUCE[reduction](*(np.concatenate([of(v)[index].ravel() for v, index in unit])
                                 for of in (lambda v, own=own: own[id(v)], lambda v: v.numpy()))) for unit in pieces]
            for own in slopes
        ])  # fmt: skip
        np.testing.assert_allclose(net.profile(x, Y[: len(x)]), want, rtol=1e-9, atol=1e-11 * np.abs(want).max())
    return net


def cells(cell):
    return [
        [(kernel, (slice(None), slice(i, None, cell.units))) for kernel in (cell.kernel, cell.recurrent_kernel)]
        for i in range(cell.units)
    ]


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU])
def test_recurrent_layers_and_embeddings(make):
    words, recurrent = layers.Embedding(5, 4), make(4)
    inputs = keras.Input((T,), dtype="int32")
    model = keras.Model(inputs, layers.Dense(CLASSES)(recurrent(words(inputs))))
    x = np.array([[0, 1, 1], [4, 2, 3], [3, 3, 0]], "int32")
    pieces = [[(words.embeddings, i)] for i in range(5)] + cells(recurrent.cell)
    net = assert_exact(model, x, ("words", "cells"), pieces, ["taylor"])
    assert len(net.coverage.slow) == 3
    assert net.coverage.covered == words.count_params() + 2 * 4 * recurrent.cell.kernel.shape[1]


class Routed(keras.Model):
    """Tokens are sorted, or go to one of two layers, by the sign of a feature."""

    def __init__(self, how):
        super().__init__()
        self.how, self.one, self.two, self.head = how, layers.Dense(5), layers.Dense(5), layers.Dense(CLASSES)

    def call(self, x):
        n, t, width = x.shape
        flat = ops.reshape(x, (n * t, width))
        if self.how == "sorted":  # every shape is a constant, and tells nothing
            order = tf.argsort(flat[:, 0])
            out = tf.gather(ops.tanh(self.two(ops.tanh(self.one(tf.gather(flat, order))))), tf.argsort(order))
        else:
            on = tf.cast(flat[:, 0] > 0, tf.int32)
            off, on_ = tf.dynamic_partition(flat, on, 2)
            places = tf.dynamic_partition(tf.range(n * t), on, 2)
            out = tf.dynamic_stitch(places, [ops.tanh(self.one(off)), ops.tanh(self.two(on_))])
        return self.head(ops.mean(tf.reshape(out, (n, t, 5)), 1))


@pytest.mark.parametrize("how", ["sorted", "two ways"])
def test_routed_tokens(how):
    keras.utils.set_random_seed(0)
    model = Routed(how)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 6, 5))
    x[..., 0] = np.abs(x[..., 0])
    for sample, tokens in enumerate((3, 2, 4)):  # 9 of 18: as many as 3 of each sample
        x[sample, tokens:, 0] *= -1
    model(x)
    pieces = [[(layer.kernel, (slice(None), i))] for layer in (model.one, model.two, model.head)
              for i in range(layer.units)]  # fmt: skip
    net = assert_exact(model, x, "rows", pieces, ["taylor"])
    net.profile(x[::-1], Y)
    slow = {part.parameter for part in net.coverage.slow}
    assert slow == {name for name in net.profiler.plan.parameters if "dense" in name} - {
        next(n for n, v in net.profiler.network.variables.items() if v is model.head.kernel)
    }


def test_sums_that_cancel_raise_no_alarm():
    """Filters before a norm of each channel have sums that are nothing but rounding."""
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    model = keras.Sequential([
        keras.Input((9, 9, 3)), layers.Conv2D(8, 3, use_bias=False), layers.GroupNormalization(groups=-1),
        layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES),
    ])  # fmt: skip
    x = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3)).astype("float32")
    net = KerasModel(model, units=("filters", "rows"))
    got = net.profile(x, Y)
    assert not got[:, :8].any()
    assert got[:, 8:].any()
    assert set(range(8)) <= set(net.noise)
    assert not net.coverage.slow
