"""Taylor profiles: what they promise of a loss, and what a rule must say for them."""

import keras
import numpy as np
import pytest
from evtkit_keras import Diagonal, KerasModel, register
from keras_oracles import loop_gradients, reduce

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(4, 7, 7, 2))
Y = np.array([0, 1, 2, 1])
EVERY = ("filters", "rows", "channels", "scales")


class Scale(layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="random_normal", name="gamma")

    def call(self, x):
        return x * self.gamma


def flat(x):
    return ops.reshape(x, (x.shape[0], -1, x.shape[-1]))


@register(Scale, kind="scales", parameter="gamma")
def scale(use):
    return (Diagonal(flat(use.g), flat(use.a), use.value),)


def network(layer=None):
    parts = [
        layers.Conv2D(4, 3, activation="tanh", name="conv"),
        layers.BatchNormalization(name="norm"),
        layer or Scale(name="scale"),
        layers.SeparableConv2D(5, 3, activation="tanh", name="separable"),
        layers.Conv2DTranspose(3, 2, name="up"),
    ]
    return keras.Sequential([keras.Input((7, 7, 2)), *parts, layers.Flatten(), layers.Dense(3, name="head")])


def test_a_profile_is_taylors_unless_it_is_said():
    model = network()
    net = KerasModel(model)
    assert net.reduction == "taylor"
    np.testing.assert_array_equal(net.profile(X, Y), KerasModel(model, reduction="taylor").profile(X, Y))


def test_a_loss_linear_in_a_unit_falls_by_its_profile_when_it_is_pruned():
    def score(y_true, y_pred):
        return ops.take_along_axis(y_pred, ops.expand_dims(y_true, 1), 1)[:, 0]

    net = KerasModel(network(), score, units=("up", "head"), reduction="taylor")
    profile, before = net.profile(X, Y), net.logits(X)[np.arange(4), Y]
    assert (profile < 0).any()
    assert (profile > 0).any()
    for unit in range(len(net.units)):
        with net.pruned([unit]):
            fall = before - net.logits(X)[np.arange(4), Y]
        np.testing.assert_allclose(fall, profile[:, unit], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_the_weights_are_those_of_the_moment(run_eagerly):
    net = KerasModel(network(), units=EVERY, reduction="taylor", run_eagerly=run_eagerly)

    def check():
        want = reduce(net.model, net.units, loop_gradients(net.model, X, Y), "taylor")
        got = net.profile(X, Y)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
        return got

    first = check()
    with net.pruned([0, 5]):
        assert not check()[:, [0, 5]].any()
    with net.tuned([1, 7], X, Y, length=1.0):
        assert np.abs(check() - first).max() > 1e-3
    for variable in net.model.trainable_variables:
        variable.assign(1.5 * variable)
    assert np.abs(check() - first).max() > 1e-3


def test_a_rule_without_a_weight_serves_the_other_reductions_only():
    class Silent(Scale):
        pass

    @register(Silent, kind="silent", parameter="gamma")
    def silent(use):
        return (Diagonal(flat(use.g), flat(use.a)),)

    model = network(Silent(name="scale"))
    for reduction in ("mean-abs", "l2"):
        KerasModel(model, units="silent", reduction=reduction).profile(X, Y)
    with pytest.raises(RuntimeError, match=r"a rule must have the weight in its factors, Diagonal\(\.\.\., wei"):
        KerasModel(model, units="silent", reduction="taylor").profile(X, Y)


def test_a_rule_with_a_wrong_weight_is_found_by_the_probe():
    class Twice(Scale):
        pass

    @register(Twice, kind="twice", parameter="gamma")
    def twice(use):
        return (Diagonal(flat(use.g), flat(use.a), None if use.value is None else 2 * use.value),)

    model = network(Twice(name="scale"))
    KerasModel(model, units="twice", reduction="mean-abs").profile(X, Y)
    net = KerasModel(model, units="twice", reduction="taylor")
    with pytest.warns(UserWarning, match="differ from ordinary gradients in scale"):
        got = net.profile(X, Y)
    np.testing.assert_allclose(got, reduce(model, net.units, loop_gradients(model, X, Y), "taylor"), rtol=1e-9)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    def profile(dtype, **options):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(dtype)
        parts = [layers.Conv2D(8, 3, activation="tanh"), layers.BatchNormalization(), layers.Conv2D(8, 3)]
        head = [layers.Flatten(), layers.Dense(3), layers.Activation("softmax", dtype="float32")]
        model = keras.Sequential([keras.Input((7, 7, 2), dtype="float32"), *parts, *head])
        return KerasModel(model, units=EVERY[:3], reduction="taylor", **options).profile(X, Y)

    want, got = profile("float32"), profile(policy, loss_scale=2.0**8)
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=0.03 * np.abs(want).max())
