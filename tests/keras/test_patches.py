"""Pruning and tuning are temporary to the bit, nest, and can be kept as a repair."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import KerasModel, apply_repair
from keras_oracles import cross_entropy
from rounding import additions, assert_close

layers = keras.layers
X = np.random.default_rng(3).normal(size=(4, 6, 6, 2)).astype(np.float32)
Y = np.array([0, 1, 2, 1])
KINDS = ("filters", "heads", "rows", "channels")
POSITIONS = 64  # of the largest map, over which gradients are summed


def build():
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 2))
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same", name="conv")(x)))
    y = layers.Reshape((64, 4))(layers.Conv2DTranspose(4, 3, name="up")(y))
    y = layers.MultiHeadAttention(2, 2, name="attention")(y, y)
    model = keras.Model(x, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D()(y)))
    rng = np.random.default_rng(0)
    for variable in model.get_layer("norm").variables:
        variable.assign(np.abs(rng.normal(size=6)))
    return model


@pytest.fixture
def net():
    keras.config.set_dtype_policy("float32")
    return KerasModel(build(), units=KINDS)


def terms(model):
    return additions(*(v.shape for v in model.trainable_variables), (POSITIONS, 1))


def bits(model):
    return {v.path: v.numpy().view(np.uint32).copy() for v in model.variables if v.dtype == "float32"}


@pytest.fixture
def unchanged(net):
    before = bits(net.model)
    yield
    for name, weights in bits(net.model).items():
        np.testing.assert_array_equal(weights, before[name], err_msg=name)


def weight(net, layer):
    return net.model.get_layer(layer).kernel.numpy()


@pytest.mark.usefixtures("unchanged")
def test_pruned_units_are_zero_and_nothing_else_is_touched(net):
    total = net.unit_norms()
    chosen = [1, 7, 12, 16, 20]
    with net.pruned(chosen) as same:
        assert same is net
        norms = net.unit_norms()
        assert not norms[chosen].any()
    assert set(net.units.kind[chosen]) == set(KINDS)
    # Rows of the attention's projections cross its heads; every other unit is as it was.
    apart = [i for i in range(len(total)) if i not in chosen and not net.units.module[i].startswith("attention")]
    np.testing.assert_array_equal(norms[apart], total[apart])


def test_unit_norms_are_lengths_of_the_weights(net):
    up = weight(net, "up").astype(np.float64)
    want = [np.linalg.norm(up[:, :, i]) for i in range(4)]
    np.testing.assert_allclose(net.unit_norms([f"up[{i}]" for i in range(4)]), want, rtol=1e-12)
    assert len(net.unit_norms([])) == 0


@pytest.mark.usefixtures("unchanged")
def test_a_pruned_channel_is_the_batch_norms_shift_or_nothing(net):
    after_norm = keras.Model(net.model.input, net.model.get_layer("norm").output)
    with pytest.raises(RuntimeError, match="must come after a profile"), net.pruned([2], bn="zero"):
        pass
    net.profile(X, Y)
    norm, conv = net.model.get_layer("norm"), net.model.get_layer("conv")
    scale = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    constant = norm.beta.numpy() + (conv.bias.numpy() - norm.moving_mean.numpy()) * scale
    with net.pruned([2]):
        assert_close(after_norm(X).numpy()[..., 2], np.full((4, 6, 6), constant[2]), terms(after_norm))
    with net.pruned([2], bn="zero"):
        after = after_norm(X).numpy()
        assert not after[..., 2].any()
        assert after[..., [0, 1, 3, 4, 5]].any()
    with pytest.raises(ValueError, match="must be 'keep' or 'zero'"), net.pruned([2], bn="drop"):
        pass


@pytest.mark.usefixtures("unchanged")
def test_tuning_subtracts_the_step_times_the_mean_losss_gradient(net):
    model = net.model
    kernels = [model.get_layer(name).kernel.value for name in ("conv", "up")]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(Y, model(X, training=False)))
    slopes = [slope.numpy() for slope in tape.gradient(loss, kernels)]
    before = {name: weight(net, name) for name in ("conv", "up")}
    bias = model.get_layer("head").bias.numpy()
    with net.tuned(["conv[1]", "up[2]"], X, Y, step=0.5):
        want = before["conv"].copy()
        want[..., 1] -= 0.5 * slopes[0][..., 1]
        assert_close(weight(net, "conv"), want, terms(model))
        want = before["up"].copy()
        want[:, :, 2] -= 0.5 * slopes[1][:, :, 2]
        assert_close(weight(net, "up"), want, terms(model))
        np.testing.assert_array_equal(model.get_layer("head").bias.numpy(), bias)


@pytest.mark.usefixtures("unchanged")
def test_a_small_step_lowers_the_loss(net):
    before = tf.reduce_mean(cross_entropy(Y, net.logits(X)))
    with net.tuned(np.arange(len(net.units)), X, Y, step=1e-2):
        assert tf.reduce_mean(cross_entropy(Y, net.logits(X))) < before


@pytest.mark.usefixtures("unchanged")
def test_a_sweep_from_one_gradient_equals_single_steps(net):
    order = np.random.default_rng(0).permutation(len(net.units))
    gradient = net.gradient(X, Y, order[:8])
    assert list(gradient.selection) == list(order[:8])
    for k in (1, 4, 8):
        with net.tuned(order[:k], X, Y, step=0.1):
            alone = net.predict(X)
        with net.tuned(order[:k], gradient=gradient, step=0.1):
            assert_close(net.predict(X), alone, terms(net.model))
    with (
        pytest.raises(ValueError, match="gradient must have all selected units"),
        net.tuned(order[:9], gradient=gradient),
    ):
        pass
    with pytest.raises(ValueError, match="both or neither"), net.tuned(order[:1]):
        pass
    with pytest.raises(ValueError, match="both or neither"), net.tuned(order[:1], X, Y, gradient=gradient):
        pass


@pytest.mark.usefixtures("unchanged")
def test_an_update_of_given_length(net):
    filters = [f"conv[{i}]" for i in range(6)]
    before = weight(net, "conv")
    with net.tuned(filters, X, Y, length=0.25):
        assert np.linalg.norm(weight(net, "conv") - before) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.usefixtures("unchanged")
def test_patches_nest_and_unwind(net):
    with net.tuned([0, 1], X, Y, step=0.1):
        outer = net.predict(X)
        with net.pruned([1, 2]):
            assert not net.unit_norms([1, 2]).any()
            with net.tuned([1], X, Y, step=1.0):
                pass
            assert not net.unit_norms([1, 2]).any()
        assert_close(net.predict(X), outer, terms(net.model))


def test_other_weights_may_change_meanwhile(net):
    bias = net.model.get_layer("conv").bias
    with net.pruned([0]):
        bias.assign(np.arange(6))
        kernel = weight(net, "conv")
        kernel[..., 5] = 1
        net.model.get_layer("conv").kernel.assign(kernel)
    np.testing.assert_array_equal(bias.numpy(), np.arange(6))
    assert (weight(net, "conv")[..., 5] == 1).all()
    assert weight(net, "conv")[..., 0].all()


def test_odd_bits_are_restored(net):
    odd = weight(net, "conv")
    odd[0, 0, 0, :4] = [-0.0, np.inf, 1e-42, 0.0]
    odd.view(np.int32)[0, 0, 1, 0] = 0x7FC12345  # a NaN with a payload
    net.model.get_layer("conv").kernel.assign(odd)
    before = weight(net, "conv").view(np.int32)
    with net.pruned([0, 1]):
        assert not weight(net, "conv")[..., :2].any()
    np.testing.assert_array_equal(weight(net, "conv").view(np.int32), before)


@pytest.mark.usefixtures("unchanged")
def test_a_repair_is_saved_applied_and_undone(net):
    with net.tuned([0, 7], X, Y, step=0.1), net.pruned([3, 16]):
        want = net.predict(X)
        repair = net.export()
    file = io.BytesIO()
    np.savez(file, **repair)
    file.seek(0)
    with np.load(file) as repair:
        other = keras.models.clone_model(net.model)
        other.set_weights(net.model.get_weights())
        apply_repair(other, repair)
        assert_close(KerasModel(other).predict(X), want, terms(other))
        with pytest.raises(ValueError, match="weights must be those that the repair was made for"):
            apply_repair(other, repair)
        apply_repair(other, repair, revert=True)
    for a, b in zip(other.get_weights(), net.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("unchanged")
def test_a_repair_of_another_network_is_refused_before_anything_changes(net):
    with net.pruned([0, 16]):
        repair = net.export()
    with pytest.raises(ValueError, match="a repair must be of"):
        apply_repair(keras.Sequential([keras.Input((2,)), layers.Dense(2)]), repair)
    with pytest.raises(ValueError, match="a repair must be of"):
        apply_repair(net.model, {})
    last = [key for key in repair if key.endswith(".before")][-1]
    repair[last] = repair[last] + 1
    with pytest.raises(ValueError, match="weights must be those that the repair was made for"):
        apply_repair(net.model, repair)
    with pytest.raises(ValueError, match="got no patch in force"):
        net.export()


@pytest.mark.usefixtures("unchanged")
def test_scaled_units_are_multiples_and_steps_are_those_of_tuning(net):
    chosen, factor = [1, 7], -2.0
    norms = net.unit_norms(chosen)
    with net.scaled(chosen, factor):
        np.testing.assert_allclose(net.unit_norms(chosen), 2.0 * norms, rtol=1e-6)
    gradient = net.gradient(X, Y, chosen)
    with net.tuned(chosen, gradient=gradient, step=0.02):
        twice = net.predict(X)
    with net.stepping(chosen) as step:
        step(gradient, 0.01)
        step(gradient, 0.01)
        np.testing.assert_allclose(net.predict(X), twice, rtol=1e-5)
        delta = net.export()
    net.apply(delta)
    np.testing.assert_allclose(net.predict(X), twice, rtol=1e-5)
    net.apply(delta, revert=True)
