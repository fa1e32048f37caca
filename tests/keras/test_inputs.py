"""What goes in: arrays, tensors, datasets, tuples, dicts; labels and losses; what comes out; and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import KerasModel, batches
from keras_oracles import cross_entropy, loop_gradients, reduce

from evtkit.saliency import Batches, calibrate, evaluate

layers, ops = keras.layers, keras.ops
RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 6))
Y = np.array([0, 1, 2, 1, 0])
HOT = np.eye(3)[Y]


def network(output="logits", left="left", right="right"):
    """Two inputs, two dense layers, and an output of one form or another."""
    keras.utils.set_random_seed(0)
    a, b = keras.Input((6,), name=left), keras.Input((6,), name=right)
    z = layers.Dense(4, activation="tanh", name="inner")(layers.Add()([a, b]))
    if output == "softmax":
        y = layers.Dense(3, activation="softmax", name="head")(z)
    else:
        y = layers.Dense(1 if "binary" in output else 3, name="head")(z)
        after = {
            "layer": layers.Softmax(name="after"),
            "activation": layers.Activation("softmax", name="after"),
            "lambda": layers.Lambda(tf.nn.softmax, name="after"),
            "sigmoid": layers.Activation("sigmoid", name="after"),
            "binary-sigmoid": layers.Activation("sigmoid", name="after"),
        }.get(output)
        y = y if after is None else after(y)
    return keras.Model({left: a, right: b}, {"logits": y, "other": z} if output == "dict" else y)


def halves(x=X):
    return {"left": x / 2, "right": x / 2}


def of(output="logits", **options):
    return KerasModel(network(output), units="rows", **options)


@pytest.fixture
def net():
    return of()


def test_arrays_tensors_lists_and_dicts_are_one(net):
    want = net.profile(halves(), Y)
    assert want.shape == (5, 7)
    assert want.dtype == np.float64
    listed = KerasModel(keras.Model([*net.model.inputs], net.model.outputs[0]), units="rows")
    half = X / 2
    for x in ([half, half], (half, half), (tf.constant(half), half), [half.astype(np.float32), half]):
        np.testing.assert_allclose(listed.profile(x, Y), want, rtol=1e-6)
    for y in (
        Y.tolist(),
        tf.constant(Y),
        Y.astype(np.uint8),
        Y[:, None],
        Y[:, None].astype(float),
        HOT,
        HOT.astype(int),
    ):
        np.testing.assert_array_equal(net.profile(halves(), y), want)


def test_sequential_functional_and_subclassed_networks_are_one():
    class Sub(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.head = layers.Dense(4, activation="tanh", name="inner"), layers.Dense(3, name="head")

        def call(self, x):
            return self.head(self.inner(x))

    sequential = keras.Sequential([keras.Input((6,)), *(layers.Dense(n, a, name=m) for n, a, m in
                                                        ((4, "tanh", "inner"), (3, None, "head")))])  # fmt: skip
    functional = keras.Model(sequential.inputs, sequential.outputs)
    subclassed = Sub()
    subclassed(X)
    subclassed.set_weights(sequential.get_weights())
    nested = keras.Sequential([keras.Input((6,)), functional], name="around")
    profiles = [KerasModel(m, units="rows").profile(X, Y) for m in (sequential, functional, subclassed, nested)]
    for profile in profiles[1:]:
        np.testing.assert_allclose(profile, profiles[0], rtol=1e-12)
    assert KerasModel(nested, units="rows").units.module[0].endswith("/inner")
    assert set(KerasModel(nested, units="rows").units.stages) == {"functional/inner", "functional/head"}


@pytest.mark.parametrize("micro_batch", [1, 2, 99])
def test_micro_batches_change_nothing(net, micro_batch):
    part = KerasModel(net.model, units="rows", micro_batch=micro_batch)
    np.testing.assert_allclose(part.profile(halves(), Y), net.profile(halves(), Y), rtol=1e-10)
    np.testing.assert_allclose(part.predict(halves()), net.predict(halves()), rtol=1e-10)
    np.testing.assert_allclose(part.gradient(halves(), Y).norms, net.gradient(halves(), Y).norms, rtol=1e-10)


@pytest.mark.parametrize("output", ["softmax", "layer", "activation", "lambda", "dict"])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_logits_softmax_outputs_and_dicts_are_one(net, output, run_eagerly):
    other = of(output, run_eagerly=run_eagerly)
    np.testing.assert_allclose(other.profile(halves(), Y), net.profile(halves(), Y), rtol=1e-9)
    np.testing.assert_allclose(other.predict(halves()), net.predict(halves()), rtol=1e-12)
    shift = other.logits(halves()) - net.logits(halves())
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-12)


def test_a_softmax_that_rounds_to_one_keeps_its_gradient():
    plain, soft = of(), of("softmax")
    for net in (plain, soft):
        net.model.get_layer("head").kernel.assign(1e3 * net.model.get_layer("head").kernel)
    assert soft.predict(halves()).max() == 1.0
    np.testing.assert_allclose(soft.profile(halves(), Y), plain.profile(halves(), Y), rtol=1e-10)


def test_one_sigmoid_or_logit_is_a_classifier_of_two_classes():
    sigmoid, logit = of("binary-sigmoid"), of("binary", from_logits=True)
    y = Y % 2

    def loss(y_true, y_pred):
        return ops.binary_crossentropy(ops.cast(y_true[:, None], "float64"), y_pred, from_logits=True)[:, 0]

    want = reduce(logit.model, logit.units, loop_gradients(logit.model, halves(), y, loss))
    for net in (sigmoid, logit):
        np.testing.assert_allclose(net.profile(halves(), y), want, rtol=1e-6)
        assert net.predict(halves()).shape == (5, 2)
        np.testing.assert_allclose(net.predict(halves()).sum(1), 1)
    with pytest.raises(ValueError, match="from_logits must be True or False"):
        of("binary").profile(halves(), y)
    with pytest.raises(ValueError, match=r"task must be 'labels' .* 3 sigmoids"):
        of("sigmoid").profile(halves(), Y)
    with pytest.raises(ValueError, match="an output that a softmax made"):
        of("softmax", from_logits=True).predict(halves())


def test_predictions_are_the_softmax_of_logits(net):
    want = net.model(halves()).numpy()
    np.testing.assert_allclose(net.logits(halves()), want, rtol=1e-12)
    np.testing.assert_allclose(net.predict(halves()), tf.nn.softmax(want).numpy(), rtol=1e-12)


def test_the_predicted_label(net):
    want = net.profile(halves(), net.predict(halves()).argmax(1))
    np.testing.assert_array_equal(net.profile(halves(), "predicted"), want)


def test_losses_of_ones_own_by_name_and_of_keras(net):
    want = net.profile(halves(), Y)
    for loss in (
        cross_entropy,
        lambda t, p: ops.sparse_categorical_crossentropy(t, p, from_logits=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ):
        np.testing.assert_allclose(KerasModel(net.model, loss, "rows").profile(halves(), Y), want, rtol=1e-9)
    soft = network("softmax")
    for loss, y in (("sparse_categorical_crossentropy", Y), ("categorical_crossentropy", HOT)):
        np.testing.assert_allclose(KerasModel(soft, loss, "rows").profile(halves(), y), want, rtol=1e-9)
    targets = RNG.normal(size=(5, 3))
    regression = KerasModel(net.model, "mean_squared_error", "rows")
    squared = reduce(
        net.model, net.units, loop_gradients(net.model, halves(), targets, keras.losses.mean_squared_error)
    )
    np.testing.assert_allclose(regression.profile(halves(), targets), squared, rtol=1e-9)
    assert KerasModel(net.model, lambda _, p: ops.logsumexp(p, 1), "rows").profile(halves()).shape == (5, 7)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (halves(), Y + 1, "labels must lie in .*got 1 to 3"),
        (halves(), Y - 1, "got -1 to 1"),
        (halves(), Y[:3], "targets must be 5.* got 3"),
        (halves(), Y + 0.5, "must be integers"),
        (halves(), HOT * 0.9, "must be integers"),
        (halves(), np.eye(4)[Y], "one-hot rows of 3"),
        (halves(), None, "y must be .*got None"),
        (halves(), "true", "or 'predicted'"),
        (halves(), (Y, Y), "y must be .*got tuple"),
        (halves(X[:0]), Y[:0], "must have one number of samples above 0"),
        ({"left": X, "right": X[:3]}, Y, "got \\[5, 3\\]"),
        ("x", Y, "x must be an array, a tensor"),
        (halves(X * np.nan), Y, "losses must be finite, got others for samples"),
    ],
)
def test_bad_input_is_refused(net, x, y, message):
    with pytest.raises(ValueError, match=message):
        net.profile(x, y)


def test_outputs_that_are_no_class_scores_are_refused(net):
    model = keras.Model(net.model.inputs, [net.model.outputs[0], net.model.outputs[0]])
    with pytest.raises(ValueError, match="must be a tensor or a dict with 'logits'"):
        KerasModel(model, units="rows").profile([X, X], Y)
    model = keras.Model(net.model.inputs, net.model.outputs[0][:, None])
    with pytest.raises(ValueError, match="one a position, 2 axes, got shape \\(5,\\)"):
        KerasModel(model, units="rows").profile([X, X], Y)


@pytest.fixture
def single():
    keras.utils.set_random_seed(0)
    parts = [layers.Dense(8, activation="relu", name="inner"), layers.Dense(3, activation="softmax", name="head")]
    return KerasModel(keras.Sequential([keras.Input((6,)), *parts]), units="rows")


def test_calibration_takes_datasets_arrays_and_one_hot_labels(single):
    x, y = RNG.normal(size=(100, 6)), RNG.integers(0, 3, 100)
    want = calibrate(single, Batches(x, y, 32), which="correct", progress=False)
    hot = np.eye(3, dtype=np.float32)[y]
    for labels in (y, hot):
        dataset = tf.data.Dataset.from_tensor_slices((x, labels)).batch(32)
        assert batches(dataset).n_samples == 128
        for data in (dataset, batches(dataset), batches((x, labels), 32)):
            got = calibrate(single, data, which="correct", progress=False)
            np.testing.assert_array_equal(got.tail.mean, want.tail.mean)
    got = calibrate(single, dataset, which="correct", n_samples=100, progress=False)
    np.testing.assert_array_equal(got.tail.threshold, want.tail.threshold)


def test_evaluation_takes_one_hot_labels(single):
    x, y = RNG.normal(size=(100, 6)), RNG.integers(0, 3, 100)
    reference = calibrate(single, batches((x, y), 50), progress=False)
    options = {"by": ("pot", "random"), "prune": (2,), "tune": (2,), "progress": False, "n_boot": 5}
    want, got = (evaluate(single, reference, (x[:9], labels[:9]), **options) for labels in (y, np.eye(3)[y]))
    assert repr(got) == repr(want)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tf.data.Dataset.range(9).batch(3), "must have batches \\(x, y\\)"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).repeat(), "must bound a dataset that repeats for ever"),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).take(0), "must have at least one batch"),
        (np.zeros(3), "data must be .*got ndarray"),
    ],
)
def test_bad_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        batches(data)
