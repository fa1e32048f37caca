"""Whatever fails, wherever: no layer type stays patched, no weight or activation changes, the next profile is right."""

from contextlib import ExitStack

import keras
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import Diagonal, KerasModel, register
from keras_oracles import cross_entropy

layers, ops = keras.layers, keras.ops
X, Y = np.random.default_rng(3).normal(size=(4, 6, 6, 2)), np.array([0, 1, 2, 1])


class Stop(Exception):  # noqa: N818 (it is no error)
    """What the tests inject."""


class Fuse(layers.Layer):
    """Passes its input on, until armed."""

    where = None

    def call(self, x):
        if self.where == "forward":
            raise Stop
        if self.where == "backward":
            return _fused(x)
        return x


@tf.custom_gradient
def _fused(x):
    def backward(g):
        raise Stop

    return tf.identity(x), backward


class Scale(layers.Layer):
    broken = None

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="random_normal", name="gamma")

    def call(self, x):
        if Scale.broken == "forward":
            raise Stop
        return x * self.gamma


@register(Scale, kind="scales", parameter="gamma")
def scale(use):
    if Scale.broken == "rule":
        raise Stop
    return (Diagonal(*(ops.reshape(x, (x.shape[0], -1, x.shape[-1])) for x in (use.g, use.a)), use.value),)


class Activation:
    broken = False

    def __call__(self, x):
        if self.broken:
            raise Stop
        return ops.tanh(x)


class Loss:
    broken = None

    def __call__(self, y_true, y_pred):
        if self.broken == "raises":
            raise Stop
        losses = cross_entropy(y_true, y_pred)
        return losses * np.nan if self.broken == "nan" else ops.mean(losses) if self.broken == "mean" else losses


def network():
    keras.utils.set_random_seed(0)
    inside = Activation()
    parts = [Fuse(name="f0"), layers.Conv2D(4, 3, activation=inside, name="conv"), Fuse(name="f1")]
    parts += [layers.BatchNormalization(name="norm"), Scale(name="scale"), Fuse(name="f2"), layers.Conv2D(4, 3)]
    model = keras.Sequential([keras.Input((6, 6, 2)), *parts, layers.Dropout(0.5), layers.Flatten(), layers.Dense(3)])
    return model, inside


def points(net, inside):
    """Name of the point of failure, how to break it, and what to call."""
    model, loss = net.model, net.profiler.loss

    def arm(name, where):
        return lambda: setattr(model.get_layer(name), "where", where)

    def profile():
        return net.profile(X, Y)

    yield "forward of the first layer", arm("f0", "forward"), profile
    yield "forward after layers were captured", arm("f2", "forward"), profile
    yield "forward of a patched layer", lambda: setattr(Scale, "broken", "forward"), profile
    yield "activation inside a layer", lambda: setattr(inside, "broken", True), profile
    yield "loss that raises", lambda: setattr(loss, "broken", "raises"), profile
    yield "loss that is NaN", lambda: setattr(loss, "broken", "nan"), profile
    yield "loss that is a mean", lambda: setattr(loss, "broken", "mean"), profile
    yield "too few labels", lambda: None, lambda: net.profile(X, Y[:2])
    yield "rule", lambda: setattr(Scale, "broken", "rule"), profile
    yield "backward", arm("f1", "backward"), profile
    yield "prediction", arm("f2", "forward"), lambda: net.predict(X)
    yield "gradient", arm("f1", "backward"), lambda: net.gradient(X, Y)

    def inside_of(*contexts):
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            raise Stop

    yield "inside pruned", lambda: None, lambda: inside_of(net.pruned([0, 5]))
    yield "inside tuned", lambda: None, lambda: inside_of(net.tuned([0, 5], X, Y, step=1.0))
    yield "inside both", lambda: None, lambda: inside_of(net.pruned([0, 5]), net.tuned([0, 5], X, Y, step=1.0))

    def entering():
        with net.pruned([0, 5]), net.tuned([0], X, Y):
            pytest.fail("reached the body")

    yield "entering tuned inside pruned", lambda: setattr(loss, "broken", "raises"), entering


def state(model):
    return [v.numpy() for v in model.variables], [vars(layer).get("activation") for layer in model.layers]


COUNT = 16
PATCHED = (layers.Conv2D, layers.Dense, layers.BatchNormalization, Scale)


@pytest.mark.parametrize("place", range(COUNT))
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_nothing_stays_behind(place, run_eagerly, monkeypatch):
    monkeypatch.setattr(Scale, "broken", None)
    model, inside = network()
    units = ("filters", "scales", "rows")
    want = KerasModel(model, cross_entropy, units, verify=False, run_eagerly=run_eagerly).profile(X, Y)
    net = KerasModel(model, Loss(), units, verify=False, run_eagerly=run_eagerly)
    model.get_layer("conv").trainable = False
    (weights, activations), calls = state(model), [vars(layer_type).get("call") for layer_type in PATCHED]
    found = list(points(net, inside))
    assert len(found) == COUNT
    _, break_it, call = found[place]
    break_it()

    with pytest.raises((Stop, ValueError, RuntimeError)):  # Keras passes some exceptions on as others
        call()

    after, now = state(model)
    assert all(np.array_equal(a, b) for a, b in zip(weights, after, strict=True))
    assert all(a is b for a, b in zip(activations, now, strict=True))
    assert [vars(layer_type).get("call") for layer_type in PATCHED] == calls
    assert not model.get_layer("conv").trainable
    assert not tf.config.functions_run_eagerly()

    monkeypatch.setattr(Scale, "broken", None)
    inside.broken, net.profiler.loss.broken = False, None
    for name in ("f0", "f1", "f2"):
        model.get_layer(name).where = None
    again = KerasModel(model, cross_entropy, units, verify=False, run_eagerly=run_eagerly)
    np.testing.assert_allclose(again.profile(X, Y), want, rtol=1e-12)
