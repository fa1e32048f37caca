"""A network calibrates itself and reports when its training ends; the command takes it; pixels are found."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from evtkit_keras import KerasModel, SaliencyCallback
from evtkit_keras.input_saliency import input_saliency

from evtkit.cli.saliency import saliency
from evtkit.saliency import Batches, calibrate

layers = keras.layers
X = np.random.default_rng(0).normal(size=(160, 6, 6, 1)).astype(np.float32)
Y = (X.mean((1, 2, 3)) > 0).astype(int) + (X.std((1, 2, 3)) > 1)


def small(activation="softmax"):
    keras.config.set_dtype_policy("float32")
    parts = [layers.Conv2D(4, 3, activation="tanh", name="conv"), layers.BatchNormalization(), layers.Flatten()]
    return keras.Sequential([keras.Input((6, 6, 1)), *parts, layers.Dense(3, activation=activation, name="head")])


@pytest.mark.parametrize("form", ["arrays", "dataset", "one-hot"])
def test_calibrates_ranks_and_reports_after_fit(form, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    model = small()
    y = np.eye(3)[Y] if form == "one-hot" else Y
    usual, test = (X[:100], y[:100]), (X[100:], y[100:])
    if form == "dataset":
        usual, test = (tf.data.Dataset.from_tensor_slices(data).batch(50) for data in (usual, test))
    page = tmp_path / "report.html" if form == "dataset" else None
    callback = SaliencyCallback(usual, test, report=page, k=3, batch_size=50, progress=False)
    loss = "categorical_crossentropy" if form == "one-hot" else "sparse_categorical_crossentropy"
    model.compile("sgd", loss)
    model.fit(X[:100], y[:100], epochs=2, verbose=0, callbacks=[callback])
    net = KerasModel(model)
    want = calibrate(net, Batches(X[:100], Y[:100], 50), progress=False)
    np.testing.assert_allclose(callback.reference.tail.mean, want.tail.mean, rtol=1e-5)
    right = net.predict(X[100:]).argmax(1) == Y[100:]
    assert callback.accuracy == right.mean()
    assert callback.ranking.n_samples == (~right).sum()
    assert (callback.net.reduction, callback.reference.normalize, callback.ranking.by) == (
        "taylor", "sample", "impact, mean",
    )  # fmt: skip
    if page is not None:
        assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_published_protocol_can_be_asked_for():
    model = small()
    callback = SaliencyCallback(
        (X[:100], Y[:100]), (X[100:], Y[100:]), reduction="mean-abs", normalize=None, by="pot", batch_size=50,
        progress=False,
    )  # fmt: skip
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X[:100], Y[:100], verbose=0, callbacks=[callback])
    assert (callback.net.reduction, callback.reference.normalize, callback.ranking.by) == (
        "mean-abs", None, "pot, mean-rank",
    )  # fmt: skip


def test_data_that_will_not_do_are_refused_before_training():
    with pytest.raises(ValueError, match=r"data must be .* got int"):
        SaliencyCallback(3)
    with pytest.raises(ValueError, match="max_mistakes must be at least 1, got 0"):
        SaliencyCallback((X, Y), max_mistakes=0)


def dense():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    parts = [layers.Flatten(), layers.Dense(4, activation="tanh", name="a"), layers.Dense(3, name="b")]
    model = keras.Sequential([keras.Input((6, 6, 1)), *parts])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(5.0), loss)  # far too fast, so that an early epoch is the best
    return model


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "rows"}, r"options must .*got \['unit'\]"),
        ({"units": "rowz"}, "units must .*'rowz'"),
        ({"by": "impactt"}, "by must .*'impactt'"),
        ({"combine": "each"}, "combine must .*'each'"),
        ({"quantile": 1.5}, "quantile must .*1.5"),
        ({"quantile": 0.9999}, "quantile must leave samples above it of 160"),
        ({"report": "/no/such/page.html"}, "report must be a file in a folder that exists"),
        ({"report": "/"}, "report must be a file"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"reduction": "tailor"}, "reduction must .*'tailor'"),
        ({"calibration": (X, Y + 0.5)}, "labels must be integers"),
        ({"calibration": (X, np.append(Y[:-1], 3))}, r"labels must lie in \[0, 2\], got 0 to 3"),
        ({"calibration": (X[:, :3], Y)}, "incompatible"),
        ({"samples": (X, Y + 0.5)}, "labels must be integers"),
        ({"wrong": 3}, "wrong must be a function"),
    ],
)
def test_everything_is_checked_before_the_first_epoch(wrong, message):
    model = dense()
    before = [weight.numpy() for weight in model.weights]
    options = {"calibration": (X, Y), "samples": (X, Y), "units": "rows", "progress": False} | wrong
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0, callbacks=[SaliencyCallback(**options)])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # Keras, of its own
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (3, 0, 2, 1)])
def test_the_numbers_are_of_the_weights_that_are_left(order, tmp_path):
    model, test = dense(), (X[100:], Y[100:])
    own = SaliencyCallback((X[:100], Y[:100]), test, units="rows", progress=False)
    others = [
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "net.keras"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    callbacks = [[own, *others][i] for i in order]
    model.fit(X[:100], Y[:100], epochs=6, verbose=0, validation_data=test, callbacks=callbacks)
    want = calibrate(KerasModel(model, units="rows"), Batches(X[:100], Y[:100]), progress=False)
    np.testing.assert_allclose(own.reference.tail.mean, want.tail.mean, rtol=1e-5, atol=1e-7)


def test_a_failure_at_the_end_leaves_the_training():
    model = dense()
    late = tf.data.Dataset.from_tensor_slices((X, np.append(Y[:-1], 3))).batch(40)  # seen when all is over
    with pytest.warns(RuntimeWarning, match=r"the training is kept, .*labels must lie in \[0, 2\]"):
        history = model.fit(X, Y, verbose=0, callbacks=[SaliencyCallback(late, units="rows", progress=False)])
    assert len(history.history["loss"]) == 1


class Parts(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        some = slice(40 * index, 40 * index + 40)
        return X[some], Y[some], np.ones(40)


def test_any_of_keras_own_data_will_do():
    unknown = tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda x, y: y < 2).batch(32)
    for data, count in ((Parts(), 160), (unknown, (Y < 2).sum()), ((X, Y, np.ones(160)), 160)):
        model, callback = dense(), SaliencyCallback(data, data, units="rows", progress=False)
        model.fit(X, Y, verbose=0, callbacks=[callback])
        assert callback.reference.n_seen == count
    with pytest.raises(ValueError, match=r"take.* must bound"):
        SaliencyCallback(unknown.repeat())
    with pytest.raises(ValueError, match="n_samples must be at least 2, got 1"):
        SaliencyCallback(unknown, n_samples=1)


MODULE = """
import keras
from evtkit_keras import KerasModel
def load():
    return KerasModel(keras.models.load_model("net.keras"))
"""


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)  # Keras, of h5py's data
def test_the_command_takes_a_keras_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mykerasnet.py").write_text(MODULE)
    small().save("net.keras")
    for file, some in (("usual", slice(0, 100)), ("shifted", slice(100, 160))):
        np.savez(tmp_path / f"{file}.npz", x=X[some], y=Y[some])
    run = CliRunner().invoke(
        saliency, ["mykerasnet:load", "shifted.npz", "--calibration", "usual.npz", "--repair", "2", "--quiet"]
    )
    assert run.exit_code == 0, run.output
    assert "conv[" in run.output
    assert "2 mistakes, 0 left out" in run.output


@pytest.fixture(params=[(None, "mean-abs"), ("sample", "mean-abs"), (None, "taylor"), ("sample", "taylor")], ids=str)
def calibrated(request):
    normalize, reduction = request.param
    keras.utils.set_random_seed(0)
    parts = [
        layers.Conv2D(4, 3, activation="tanh"),
        layers.BatchNormalization(),
        layers.Conv2D(6, 3, activation="tanh"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 2)), *parts, layers.Flatten(), layers.Dense(3, activation="softmax")])
    net = KerasModel(model, reduction=reduction)
    x, y = np.random.default_rng(0).normal(size=(80, 8, 8, 2)), np.arange(80) % 3
    return net, x, y, calibrate(net, Batches(x, y, 20), normalize=normalize, progress=False)


def cosine(net, x, y, reference, units, fixed):
    profile = net.profile(x, y)[0]
    if reference.normalize:
        profile = profile / np.abs(profile).mean()
    z = (profile - reference.tail.mean) / reference.tail.std
    if fixed is None:
        fixed = z.copy()
        fixed[units] *= 100
    return z @ fixed / np.linalg.norm(z) / np.linalg.norm(fixed), fixed


def test_input_saliency_is_the_slope_of_the_cosine_similarity(calibrated):
    net, x, y, reference = calibrated
    units = [1, 5, 8]
    heat = input_saliency(net, x[:2], y[:2], reference, units=units)
    assert heat.shape == (2, 8, 8)
    _, fixed = cosine(net, x[:1], y[:1], reference, units, None)
    for row, column in ((0, 0), (3, 4), (7, 2)):
        slopes = []
        for channel in range(2):
            ends = []
            for h in (1e-5, -1e-5):
                moved = x[:1].copy()
                moved[0, row, column, channel] += h
                ends.append(cosine(net, moved, y[:1], reference, units, fixed)[0])
            slopes.append(abs(ends[0] - ends[1]) / 2e-5)
        assert heat[0, row, column] == pytest.approx(max(slopes), rel=1e-4, abs=1e-9)


def test_input_saliency_boosts_each_samples_own_units_and_refuses_what_it_cannot_do(calibrated):
    net, x, y, reference = calibrated
    own = input_saliency(net, x[:3], y[:3], reference, k=2)
    z = reference.rank(net.profile(x[:3], y[:3]), "zscore", combine="each").top(2)
    for i in range(3):
        one = input_saliency(net, x[i : i + 1], y[i : i + 1], reference, units=z[i])
        np.testing.assert_allclose(own[i], one[0], rtol=1e-9)
    with pytest.raises(ValueError, match=r"k must .*got 11"):
        input_saliency(net, x[:1], y[:1], reference, k=11)
    other = KerasModel(keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(3, 8), layers.Flatten()]))
    with pytest.raises(ValueError, match="reference must be for"):
        input_saliency(other, x[:1], y[:1], reference)
