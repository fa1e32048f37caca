"""The last layer is the dense one that puts out the scores, or there is none; changes of it are what was asked for."""

import keras
import numpy as np
import pytest
from evtkit_keras import KerasModel

LAYERS = keras.layers


def made(*last):
    return keras.Sequential([
        LAYERS.Input((6, 6, 3)), LAYERS.Conv2D(5, 3, activation="relu"), LAYERS.GlobalAveragePooling2D(), *last,
    ])  # fmt: skip


@pytest.mark.parametrize(
    "last",
    [
        (lambda: [LAYERS.Dense(4)], True),
        (lambda: [LAYERS.Dense(4, "softmax", use_bias=False)], False),
        (lambda: [LAYERS.Dense(4, activation="relu"), LAYERS.Dense(3), LAYERS.Softmax()], True),
        (lambda: [LAYERS.Dense(1, "sigmoid")], True),
    ],
    ids=["logits", "softmax without a bias", "softmax apart", "one row"],
)
def test_scores_are_what_the_layer_makes_of_its_features(last):
    layers, bias = last
    net = KerasModel(made(*layers()))
    x = np.random.default_rng(0).random((5, 6, 6, 3))
    found = net.last_layer(x)
    assert found.axis == 1
    assert (found.bias is not None) == bias
    before = net.logits(x)
    step = np.random.default_rng(0).normal(size=(before.shape[1], found.features.shape[1] + 1))
    wanted = before + np.hstack([found.features, np.full((5, 1), float(bias))]) @ step.T
    with net.shifted(found.changes(net.profiler.network, step)):
        after = net.logits(x)
    np.testing.assert_allclose(after - after[:, :1], wanted - wanted[:, :1], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(net.logits(x), before)


def test_where_there_is_none_it_says_so():
    x = np.random.default_rng(0).random((3, 6, 6, 3))
    assert KerasModel(made(LAYERS.Dense(4), LAYERS.Rescaling(2.0))).last_layer(x) is None
    assert KerasModel(made()).last_layer(x) is None
