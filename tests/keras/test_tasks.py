"""One logit, several labels, numbers, a label a position: each has its loss, its predictions and its mistakes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from evtkit_keras import KerasModel

from evtkit.saliency import Batches, calibrate, evaluate

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5)).astype(np.float32)
STEPS = RNG.normal(size=(40, 4, 5)).astype(np.float32)
TOKENS = np.where(RNG.random((40, 4)) < 0.3, -100, RNG.integers(0, 3, (40, 4)))


def network(units=1, activation=None, shape=(5,)):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    hidden = layers.Dense(4, activation="tanh", name="hidden")
    return keras.Sequential([keras.Input(shape), hidden, layers.Dense(units, activation=activation, name="out")])


def repaired(net, x, y, wrong=None):
    reference = calibrate(net, Batches(x, y, 20), progress=False)
    return evaluate(
        net, reference, (x[:8], y[:8]), held_out=(x[20:], y[20:]), by=("impact",), prune=(1,), tune=(), n_boot=5,
        collateral_k=(1,), progress=False, wrong=wrong,
    )  # fmt: skip


def test_a_single_logit_predicts_both_classes_of_float_and_bool_labels():
    truth = X[:, 0] > 0
    model = network()
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    net = KerasModel(model, units="rows")
    logit = model(X).numpy()[:, 0]
    np.testing.assert_allclose(net.predict(X)[:, 1], 1 / (1 + np.exp(-logit)), rtol=1e-5)
    want = net.profile(X[:20], truth[:20].astype(int))
    for labels in (truth, truth.astype(float), truth[:, None], np.eye(2)[truth.astype(int)]):
        np.testing.assert_array_equal(net.profile(X[:20], labels[:20]), want)
    results = repaired(net, X, truth)
    assert len(results) == np.count_nonzero((logit[:8] > 0) != truth[:8])


def test_several_labels_at_once_have_a_cross_entropy_each():
    truth = (RNG.random((40, 3)) > 0.5).astype(float)
    model = network(3, "sigmoid")
    with pytest.raises(ValueError, match="task must be 'labels' for outputs that are independent"):
        KerasModel(model, units="rows").predict(X)
    net = KerasModel(model, units="rows", task="labels")
    np.testing.assert_allclose(net.predict(X), model(X), rtol=1e-6)
    own = KerasModel(model, "binary_crossentropy", units="rows", task="labels")
    np.testing.assert_allclose(net.profile(X, truth), own.profile(X, truth), rtol=1e-3, atol=1e-6)
    assert len(repaired(net, X, truth)) == ((net.predict(X[:8]) > 0.5) != truth[:8]).any(1).sum()


def test_numbers_have_a_squared_error_and_a_wrong_of_their_own():
    model, truth = network(), X[:, 1].astype(float)
    net = KerasModel(model, units="rows", task="values")
    np.testing.assert_allclose(
        net.profile(X, truth), KerasModel(model, "mse", units="rows", task="values").profile(X, truth), rtol=1e-5
    )
    results = repaired(net, X, truth, lambda predicted, y: np.abs(predicted[:, 0] - y) > 0.5)
    assert len(results) == np.count_nonzero(np.abs(net.predict(X[:8])[:, 0] - truth[:8]) > 0.5)
    assert np.isnan(results.curves["prune"].wrong).all()
    assert set(np.unique(results.curves["prune"].corrected)) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="wrong= must be given"):
        repaired(net, X, truth)


def test_a_samples_loss_is_the_mean_over_the_positions_that_count():
    model = network(3, shape=(4, 5))
    net = KerasModel(model, units="rows")
    profile = net.profile(STEPS, TOKENS)
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    np.testing.assert_allclose(KerasModel(model, own, units="rows").profile(STEPS, TOKENS), profile, atol=1e-6)
    counted = np.flatnonzero(TOKENS[0] >= 0)
    alone = [net.profile(STEPS[:1, [i]], TOKENS[:1, [i]])[0] for i in counted]
    np.testing.assert_allclose(np.mean(alone, 0), profile[0], atol=1e-6)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\], got -1 to"):
        net.profile(STEPS, np.where(TOKENS < 0, -1, TOKENS))
    with pytest.raises(ValueError, match=r"labels must be integers, one a position, 2 axes, got shape \(40, 3\)"):
        net.profile(STEPS, TOKENS[:, 0][:, None].repeat(3, 1) * 0.5)


def test_targets_may_be_tuples_and_dicts():
    model, truth = network(2), (X[:, 0], X[:, 1])
    net = KerasModel(model, lambda y, out: (y[0] - out[:, 0]) ** 2 + (y[1] - out[:, 1]) ** 2, units="rows")
    named = KerasModel(model, lambda y, out: (y["a"] - out[:, 0]) ** 2 + (y["b"] - out[:, 1]) ** 2, units="rows")
    want = net.profile(X, truth)
    np.testing.assert_array_equal(named.profile(X, {"a": truth[0], "b": truth[1]}), want)
    parts = [net.profile(X[i : i + 1], tuple(y[i : i + 1] for y in truth)) for i in range(2)]
    np.testing.assert_allclose(np.concatenate(parts), want[:2], rtol=1e-4, atol=1e-6)
    assert calibrate(net, Batches(X, truth, 20), progress=False).n_seen == 40
    with pytest.raises(ValueError, match="y must be one label a sample"):
        KerasModel(model, units="rows").profile(X, truth)


def test_an_output_is_chosen_by_name():
    inputs = keras.Input((5,))
    hidden = layers.Dense(4)(inputs)
    model = keras.Model(inputs, {"a": layers.Dense(2, name="a")(hidden), "b": layers.Dense(3, name="b")(hidden)})
    alone = keras.Model(inputs, model.output["b"])
    net = KerasModel(model, units="rows", output="b")
    y = np.arange(40) % 3
    np.testing.assert_allclose(net.predict(X), KerasModel(alone, units="rows").predict(X), rtol=1e-6)
    assert not net.profile(X, y)[:, [name.startswith("a[") for name in net.units.names]].any()
    for wrong in ("c", None):
        with pytest.raises(ValueError, match=r"output.* dict \['a', 'b'\]"):
            KerasModel(model, units="rows", output=wrong).profile(X, y)


def test_a_last_batch_is_filled_up_to_a_graph_that_is_there(monkeypatch):
    net, y = KerasModel(network(3), units="rows"), np.arange(40) % 3
    net.profile(X[:16], y[:16])
    net.predict(X[:16])
    traced = []
    monkeypatch.setattr(type(net.profiler), "forward", lambda self, inputs: traced.append(inputs))
    rows, shares = net.profile(X[16:23], y[16:23]), net.predict(X[16:23])
    assert not traced
    monkeypatch.undo()
    other = KerasModel(net.model, units="rows")
    np.testing.assert_allclose(rows, other.profile(X[16:23], y[16:23]), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(shares, other.predict(X[16:23]), rtol=1e-5)
    assert rows.shape == (7, 7)


def test_text_goes_in_as_text():
    texts = np.array(["a b c", "b c d e", "d a", "c"] * 5, dtype=object)
    vectors = layers.TextVectorization(max_tokens=20, output_sequence_length=6)
    vectors.adapt(texts)
    keras.utils.set_random_seed(0)
    body = [layers.Embedding(20, 4), layers.GlobalAveragePooling1D(), layers.Dense(2, name="out")]
    model = keras.Sequential([keras.Input((1,), dtype="string"), vectors, *body])
    inner = keras.Sequential([keras.Input((6,), dtype="int64"), *body])
    net, y = KerasModel(model, units="rows"), np.arange(20) % 2
    tokens = vectors(tf.constant(texts)).numpy()
    want = KerasModel(inner, units="rows").profile(tokens, y)
    np.testing.assert_allclose(net.profile(tf.constant(texts)[:, None], y), want, rtol=1e-5, atol=1e-7)
    assert not net.coverage.slow


def test_a_sparse_tensor_is_refused_in_a_line():
    with pytest.raises(ValueError, match=r"inputs must be dense, as tf\.sparse\.to_dense makes them"):
        KerasModel(network(2), units="rows").profile(tf.sparse.from_dense(X), np.zeros(40, int))


def test_a_network_built_twice_has_the_same_names_and_layers_answer_to_keras_own():
    first, second = (
        keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(4), layers.LayerNormalization()])
        for _ in range(2)
    )
    one, other = (KerasModel(model, units=["rows", "channels"]).units for model in (first, second))
    assert one == other
    assert one.names[:5].tolist() == [*(f"dense[{i}]" for i in range(4)), "dense_1[0]"]
    assert first.layers[1].name != second.layers[1].name
    chosen = KerasModel(second, units=second.layers[1].name)
    assert set(chosen.units.module.tolist()) == {"dense_1"}


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # Keras, of its own
def test_quantised_kernels_are_counted_and_named():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(6, name="small"), layers.Dense(3, name="out")])
    model.layers[0].quantize("int8")
    net = KerasModel(model, units="rows")
    assert {left.parameter: (left.size, left.reason) for left in net.coverage.left_out}["small/kernel"] == (
        30, "quantised to int8, without a gradient",
    )  # fmt: skip
    assert f"{100 * 18 / 57:.1f} % of 57 parameters covered" in repr(net)
    model.layers[1].quantize("int8")
    with pytest.raises(ValueError, match="2 quantised kernels have no units: small/kernel, out/kernel"):
        KerasModel(model, units="rows")
