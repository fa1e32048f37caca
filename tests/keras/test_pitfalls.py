"""What is known to make per-sample gradients silently wrong: exact, or refused, never silent."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import Diagonal, KerasModel, register
from keras_oracles import assert_profile_exact, cross_entropy, loop_gradients, reduce

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(3).normal(size=(4, 7, 7, 2))
Y = np.array([0, 1, 2, 1])


class Small(keras.Model):
    """Two convolutions and a head; subclasses say what happens between them."""

    def __init__(self, first=None, second=None):
        super().__init__(name="small")
        self.first = first or layers.Conv2D(4, 3, padding="same", activation="tanh", name="first")
        self.second = second or layers.Conv2D(4, 3, padding="same", name="second")
        self.head = layers.Dense(3, name="head")

    def body(self, x):
        return self.second(self.first(x))

    def call(self, x):
        return self.head(ops.mean(ops.square(self.body(x)), (1, 2)))


def built(model):
    model(X[:3])
    return model


def exact(model, units=("filters", "rows"), x=X, **options):
    net = KerasModel(built(model), units=units, **options)
    assert_profile_exact(net, x, Y)
    return net


def test_1_a_layer_used_twice():
    class Twice(Small):
        def body(self, x):
            y = self.second(ops.max_pool(self.first(x), 2))
            return self.second(ops.tanh(y) * 2)  # and at another size

    exact(Twice())
    exact(Twice(), reduction="l2", max_workspace_mib=1e-3)


def test_1_shared_layers_of_a_functional_model_and_a_nested_model_used_twice():
    inner_x = keras.Input((7, 7, 2))
    inner = keras.Model(inner_x, layers.Conv2D(4, 3, activation="tanh", name="conv")(inner_x), name="inner")
    conv = layers.Conv2D(3, 3, activation="relu", name="shared")
    x = keras.Input((7, 7, 2))
    y = ops.concatenate([conv(inner(x)), conv(inner(ops.flip(x, 1)))], -1)
    model = keras.Model(x, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(y)))
    net = exact(model)
    assert list(dict.fromkeys(net.units.module.tolist())) == ["inner/conv", "shared", "head"]


def test_1_tied_weights():
    class Again(layers.Dense):
        def build(self, shape):
            self._kernel, self.bias = model.inner.kernel, None

    class Tied(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.again = layers.Dense(6, name="inner"), Again(6, name="again")
            self.head = layers.Dense(3, name="head")

        def call(self, x):
            return self.head(ops.tanh(self.again(ops.tanh(self.inner(x)))))

    model = Tied()
    x = np.random.default_rng(0).normal(size=(4, 6))
    model(x)
    net = KerasModel(model, units="rows")
    assert list(dict.fromkeys(net.units.module.tolist())) == ["inner", "head"]
    assert_profile_exact(net, x, Y)


def test_2_weights_used_without_their_layer_are_taken_one_sample_at_a_time():
    class Functional(Small):
        def body(self, x):
            y = self.first(x)
            return self.second(y) + ops.conv(y, self.second.kernel, padding="same")

    net = exact(Functional())
    (slow,) = net.coverage.slow
    assert (slow.parameter, slow.reason) == ("second/kernel", "used outside its layer's own computation")
    assert not exact(Functional(), units="first").coverage.slow


def test_2_a_weight_read_without_a_gradient_is_no_use():
    class Reads(Small):
        def body(self, x):
            return super().body(x) / (2 + ops.stop_gradient(ops.mean(self.second.kernel)))

    exact(Reads())


def test_2_a_subclass_that_pads_by_itself_is_seen():
    class Padded(layers.Conv2D):
        def call(self, x):
            return 2 * super().call(ops.pad(x, [(0, 0), (1, 0), (0, 1), (0, 0)], constant_values=1.0))

    exact(Small(second=Padded(4, 3, activation="tanh", name="second")))


def test_2_what_python_cannot_see_is_found_by_the_probe():
    class Hidden(Small):
        def body(self, x):
            @tf.custom_gradient
            def twice(y):
                return y, lambda g: 2 * g

            return twice(super().body(x)) * 1.0

    class Mixes(Small):
        def body(self, x):
            y = super().body(x)
            return y - ops.mean(y, 0)

    exact(Hidden())  # a gradient of its own is the network's gradient
    for verify in (True, False):
        with pytest.raises(RuntimeError, match="samples influence each other"):
            KerasModel(built(Mixes()), verify=verify).profile(X, Y)


def test_2_an_unused_layer_has_profile_zero_and_is_named():
    class Spare(Small):
        def __init__(self):
            super().__init__()
            self.spare = layers.Conv2D(2, 1, name="spare")
            self.spare.build((None, 7, 7, 1))

    net = KerasModel(built(Spare()))
    with pytest.warns(UserWarning, match="has used spare/kernel yet"):
        profile = net.profile(X, Y)
    net.profile(X, Y)  # once is enough
    assert net.unused == ("spare/kernel",)
    assert not profile[:, net.units.module == "spare"].any()
    assert profile[:, net.units.module != "spare"].all()


def test_2_an_unbuilt_layer_is_left_out_and_said_so():
    model = built(Small())
    model._tracker.unlock()
    model.spare = layers.Conv2D(2, 1, name="spare")
    with pytest.warns(UserWarning, match=r"spare \(Conv2D\) is unbuilt and has no units"):
        net = KerasModel(model)
    assert_profile_exact(net, X, Y)


def test_3_activations_inside_layers_of_every_kind():
    class Leaky(layers.Layer):
        def call(self, x):
            return ops.where(x > 0, x, 0.1 * x)

    for activation in ("relu", "softmax", layers.LeakyReLU(0.2), Leaky(), lambda x: x * ops.sigmoid(x)):
        model = Small(layers.Conv2D(4, 3, activation=activation, name="first"))
        net = exact(model)
        assert model.first.activation is activation or isinstance(activation, str)
        assert "call" not in vars(layers.Conv2D)
        assert len(net.units) == 11


def test_3_an_activation_called_twice_is_taken_one_sample_at_a_time():
    class Gated(layers.Conv2D):
        def call(self, x):
            y = super().call(x)
            return y + self.activation(y)  # outside Keras's own computation: this one is no part of the rule

    class Twice(layers.Layer):
        def build(self, shape):
            self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
            self.activation = ops.tanh

        def call(self, x):
            return self.activation(self.activation(x * self.gamma))

    @register(Twice, kind="twice", parameter="gamma")
    def twice(use):
        return (Diagonal(flat(use.g), flat(use.a), use.value),)

    exact(Small(second=Gated(4, 3, activation="tanh", name="second")))
    net = KerasModel(built(Small(second=Twice(name="second"))), units="twice", verify=False)
    want = reduce(net.model, net.units, loop_gradients(net.model, X, Y))
    np.testing.assert_allclose(net.profile(X, Y), want, rtol=1e-10)
    assert "activation more than once" in repr(net)


def test_4_the_loss_is_summed_so_the_batch_size_does_not_matter():
    net = KerasModel(built(Small()))
    whole = net.profile(X, Y)
    for i in range(len(Y)):
        np.testing.assert_allclose(net.profile(X[i : i + 1], Y[i : i + 1])[0], whole[i], rtol=1e-10)


@pytest.mark.parametrize("change", [ops.mean, lambda losses: losses[:, None]])
def test_4_a_loss_that_is_not_one_number_a_sample_is_refused(change):
    net = KerasModel(built(Small()), lambda t, p: change(cross_entropy(t, p)))
    with pytest.raises(ValueError, match=r"the loss must have shape \(4,\)"):
        net.profile(X, Y)


class Normed(Small):
    training = False

    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization(name="norm")

    def body(self, x):
        return self.norm(super().body(x), training=self.training)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_5_batch_statistics_are_refused_and_moving_ones_stay(run_eagerly):
    model = built(Normed())
    model.training = True
    before = [v.numpy() for v in model.norm.variables]
    with pytest.raises(RuntimeError, match="got norm called with training=True"):
        KerasModel(model, run_eagerly=run_eagerly, verify=False).profile(X, Y)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.norm.variables, strict=True))
    model.norm.trainable = False  # then Keras itself normalises by the moving statistics
    KerasModel(model, units="filters").profile(X, Y)


def test_5_dropout_and_noise_are_off():
    parts = [layers.Dropout(0.5), layers.Conv2D(4, 3, name="second"), layers.GaussianNoise(0.5)]
    exact(Small(second=keras.Sequential(parts, name="noisy")))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_8_mixed_precision_accumulates_in_float32(policy):
    def network(dtype):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(dtype)
        parts = [layers.Conv2D(8, 3, activation="relu"), layers.BatchNormalization(), layers.Conv2D(8, 3, name="b")]
        head = [layers.Flatten(), layers.Dense(3), layers.Activation("softmax", dtype="float32")]
        return keras.Sequential([keras.Input((7, 7, 2), dtype="float32"), *parts, *head])

    units = ("filters", "rows", "channels")
    want = KerasModel(network("float32"), units=units).profile(X, Y)
    net = KerasModel(network(policy), units=units, loss_scale=2.0**8)
    got = net.profile(X, Y)
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=0.03 * want.max())
    # The gradients are rounded to a half, their sums are not: a half has at most 2^11 values between two powers of two.
    # (Behind a ReLU a filter's sum and that of the norm after it are equal, so each kind is looked at by itself.)
    for kind in units:
        some = np.frexp(got[:, net.units.kind == kind])[0]
        assert len(np.unique(some)) > 0.85 * some.size


def test_8_a_half_precision_network():
    keras.config.set_dtype_policy("float32")
    model = built(Small())
    want = KerasModel(model).profile(X, Y)
    keras.config.set_dtype_policy("bfloat16")
    half = built(Small())
    half.set_weights(model.get_weights())
    got = KerasModel(half).profile(X, Y)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=0.1 * want.max())


def test_8_an_overflowing_gradient_is_an_error():
    def infinite(y_true, y_pred):
        total = ops.sum(y_pred, 1)
        return ops.sqrt(ops.abs(total - ops.stop_gradient(total)))

    with pytest.raises(RuntimeError, match="must be finite, got others for samples \\[0, 1, 2, 3\\]"):
        KerasModel(built(Small()), infinite).profile(X, Y)


def test_9_traced_functions_inside_a_network():
    class Traced(Small):
        @tf.function
        def body(self, x):
            return super().body(x)

    model = built(Traced())
    model(X)  # traced already: Python does not run again
    exact(model)
    exact(model, run_eagerly=True)
    assert not tf.config.functions_run_eagerly()


def test_9_layers_inside_a_loop_are_exact_and_slow_in_a_graph():
    class Loop(Small):
        def body(self, x):
            y = self.first(x)
            return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, ops.tanh(self.second(y))), (0, y))[1]

    model = built(Loop())
    (slow,) = exact(model).coverage.slow
    assert (slow.parameter, slow.reason) == ("second/kernel", "in a loop or a branch of TensorFlow")
    exact(model, run_eagerly=True)
    exact(model, units="first")


def test_9_rematerialised_layers_are_found_by_the_probe():
    with keras.RematScope(mode="full"):
        model = Small()
    net = KerasModel(built(model), run_eagerly=True)  # in a graph Keras itself fails
    with pytest.warns(UserWarning, match="differ from ordinary gradients"):
        got = net.profile(X, Y)
    np.testing.assert_allclose(got, reduce(model, net.units, loop_gradients(model, X, Y)), rtol=1e-9, atol=1e-12)


def test_9_one_trace_a_shape():
    traces = []

    class Counts(Small):
        def body(self, x):
            traces.append(tuple(x.shape))
            return super().body(x)

    net = KerasModel(built(Counts()), verify=False)
    net.profile(X, Y)
    net.predict(X)
    traces.clear()
    with net.pruned([0, 1]):
        net.profile(X, Y)
    net.predict(X.astype(np.float32))
    assert traces == []
    for _ in range(3):  # filled up to the shape that is there, until it turns out to be a habit
        net.profile(X[:3], Y[:3].astype(np.int32))
    assert traces == []
    net.profile(X[:3], Y[:3].astype(np.int32))
    assert traces == [(3, 7, 7, 2)]


class Scale(layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="gamma")

    def call(self, x):
        return x * self.gamma


def flat(x):
    return ops.reshape(x, (x.shape[0], -1, x.shape[-1]))


def test_10_a_layer_of_ones_own_needs_a_rule():
    model = Small(second=Scale(name="second"))
    assert "in Scale, for which no units are defined" in repr(KerasModel(built(model)))

    @register(Scale, kind="scales", parameter="gamma")
    def scale(use):
        return (Diagonal(flat(use.g), flat(use.a), use.value),)

    net = KerasModel(model, units=("filters", "scales"))
    want = reduce(model, net.units, loop_gradients(model, X, Y))
    np.testing.assert_allclose(net.profile(X, Y), want, rtol=1e-10)
    assert Scale.call.__name__ == "call"
    assert not hasattr(Scale.call, "__wrapped__")


def test_10_a_wrong_rule_is_found_by_the_probe():
    class Wrong(Scale):
        pass

    @register(Wrong, kind="wrong", parameter="gamma")
    def wrong(use):
        return (Diagonal(flat(use.g), 2 * flat(use.a), use.value),)

    net = KerasModel(built(Small(second=Wrong(name="second"))), units="wrong")
    with pytest.warns(UserWarning, match="differ from ordinary gradients in second"):
        got = net.profile(X, Y)
    np.testing.assert_allclose(got, reduce(net.model, net.units, loop_gradients(net.model, X, Y)), rtol=1e-10)


def test_10_weights_behind_lora_are_left_out_and_said_so():
    model = built(Small())
    model.head.enable_lora(2)
    net = KerasModel(model)
    assert net.coverage.reasons["the weight is recomputed from it (LoRA, quantization)"] == 12 + 8 + 6
    with pytest.raises(ValueError, match=r"units must .*got 'rows'"):
        KerasModel(model, units="rows")
