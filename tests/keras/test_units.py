"""Units are chosen by layer type, in the network's order, and what they leave out is said."""

import os
import subprocess
import sys

import keras
import keras_networks
import numpy as np
import pytest
from evtkit_keras import KerasModel, register_heads

from evtkit.saliency.protocol import SaliencyModel, UnitGradient

layers = keras.layers


def small():
    parts = [layers.Conv1D(3, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.Flatten()]
    return keras.Sequential([keras.Input((5, 2)), *parts, layers.Dense(4, name="inner"), layers.Dense(2, name="head")])


@pytest.mark.parametrize(("build", "filters"), [("resnet18", 4800), ("resnet50", 26560), ("resnet8", 336)])
def test_residual_networks_have_the_published_number_of_filters(build, filters):
    assert len(KerasModel(getattr(keras_networks, build)()).units) == filters


def test_order_is_that_of_the_layers_then_the_output_index():
    model = keras_networks.resnet18()
    units = KerasModel(model).units
    convolutions = [layer.name for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert list(dict.fromkeys(units.module.tolist())) == convolutions
    assert list(units.names[:65]) == [f"conv1[{i}]" for i in range(64)] + ["layer1.0.conv1[0]"]
    assert units.size[0] == 27
    assert list(units.stages) == ["conv1", "layer1", "layer2", "layer3", "layer4"]


def test_kinds_globs_and_predicates_choose_layers():
    model = small()
    assert len(KerasModel(model, units=("filters", "rows")).units) == 3 + 4 + 2
    assert len(KerasModel(model, units=["channels", "head"]).units) == 3 + 2
    assert len(KerasModel(model, units=lambda name, layer: isinstance(layer, layers.Dense) and name < "i").units) == 2
    assert len(KerasModel(model, units="[cn]*").units) == 3 + 3
    with pytest.raises(ValueError, match=r"units must .*got 'heads'"):
        KerasModel(model, units="heads")


def test_coverage_accounts_for_every_parameter():
    x = keras.Input((5, 2))
    y = layers.BatchNormalization(scale=False, center=False)(layers.BatchNormalization(name="norm")(x))
    y = layers.GRU(2, name="gru")(layers.Conv1D(3, 3, name="conv")(y))
    model = keras.Model(x, layers.Dense(2, name="dense")(y))
    coverage = KerasModel(model).coverage
    assert coverage.total == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert coverage.covered == 18
    reasons = {part.parameter: part.reason for part in coverage.left_out}
    assert reasons["conv/bias"] == "bias"
    assert reasons["norm/gamma"] == "channels not selected"
    assert reasons["dense/kernel"] == "rows not selected"
    assert reasons["gru/gru_cell/kernel"] == "cells not selected"
    model.trainable = False
    assert KerasModel(model).coverage == coverage


def test_layers_with_one_name_are_told_apart():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(2, name="pair"), layers.Dense(2, name="pair")

        def call(self, x):
            return self.two(self.one(x))

    model = Two()
    model(np.zeros((1, 3)))
    units = KerasModel(model, units="rows").units
    assert list(units.names) == ["pair[0]", "pair[1]", "pair#2[0]", "pair#2[1]"]


def test_separable_convolutions_have_two_parts():
    x = keras.Input((8, 8, 3))
    y = layers.SeparableConv2D(4, 3, depth_multiplier=2, name="sep")(x)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
    units = KerasModel(model).units
    assert list(dict.fromkeys(units.module.tolist())) == ["sep/depthwise", "sep/pointwise"]
    assert units.size.tolist() == [9] * 6 + [6] * 4


def test_heads_of_every_attention_style():
    class Fused(layers.Layer):
        def __init__(self, heads="num_heads", **options):
            super().__init__(**options)
            setattr(self, heads, 2)
            self.qkv, self.proj = layers.Dense(24, name="qkv"), layers.Dense(8, name="proj")

        def call(self, x):
            return self.proj(self.qkv(x)[..., :8])

    class Other(Fused):
        def __init__(self, **options):
            super().__init__("h", **options)

    register_heads(Other, num_heads="h", interleaved=True)
    x = keras.Input((5, 8))
    y = Other(name="other")(Fused(name="fused")(layers.MultiHeadAttention(4, 2, name="attention")(x, x)))
    units = KerasModel(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))), units="heads").units
    assert list(units.module) == ["attention"] * 4 + ["fused"] * 2 + ["other"] * 2
    assert list(units.size) == [4 * 8 * 2] * 4 + [4 * 8 * 4] * 4


def test_unbuilt_networks_and_others_are_refused():
    with pytest.raises(ValueError, match="got an unbuilt Sequential"):
        KerasModel(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(ValueError, match=r"model must be .*got function"):
        KerasModel(lambda x: x)
    with pytest.raises(ValueError, match=r"loss must be .*got 3"):
        KerasModel(small(), 3)


def test_another_backend_is_refused():
    code = (
        "import keras, evtkit_keras\n"
        "net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\n"
        "try:\n    evtkit_keras.KerasModel(net, units='rows')\n"
        "except ValueError as error:\n    print(error)"
    )
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "Keras must run on 'tensorflow'" in run.stdout, run.stderr
    assert "evtkit supports Keras 3 on TensorFlow" in run.stdout


@pytest.mark.parametrize(
    "wrong", [{"reduction": "max"}, {"max_workspace_mib": 0}, {"micro_batch": 0}, {"loss_scale": float("inf")}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        KerasModel(small(), units="rows", **wrong)


def test_it_is_a_saliency_model():
    net = KerasModel(small(), units="rows", stage=lambda name: "all")
    assert isinstance(net, SaliencyModel)
    assert isinstance(net.gradient(np.ones((1, 5, 2)), [0]), UnitGradient)
    assert set(net.units.stage) == {"all"}
