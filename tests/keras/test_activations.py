"""Activations are what layers put out before their own activation function."""

import keras
import numpy as np
from evtkit_keras import KerasModel


def test_activations_are_the_layers_outputs():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential([
        layers.Input((8, 8, 3)), layers.Conv2D(5, 3, activation="relu"), layers.DepthwiseConv2D(3),
        layers.Conv2DTranspose(4, 2), layers.BatchNormalization(), layers.Flatten(), layers.Dense(4, "softmax"),
    ])  # fmt: skip
    net = KerasModel(network, units=["filters", "rows", "channels"])
    x = np.random.default_rng(0).random((6, 8, 8, 3)).astype("float32")
    found = net.activations(x)
    values, kept = x, {}
    for layer in network.layers:
        own = getattr(layer, "activation", None)
        if own is not None:
            layer.activation = keras.activations.linear
        kept[layer.name] = keras.ops.convert_to_numpy(layer(values))
        if own is not None:
            layer.activation = own
        values = layer(values)
    for name, y in kept.items():
        rows = np.flatnonzero(net.units.module == name)
        if len(rows):
            places = y.reshape(len(y), -1, y.shape[-1])
            np.testing.assert_allclose(found[:, rows, 0], places.mean(1), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found[:, rows, 1], np.abs(places).mean(1), rtol=1e-4, atol=1e-5)
