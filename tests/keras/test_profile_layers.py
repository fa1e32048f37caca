"""Profiles equal a loop of single samples, in float64, layer by layer."""

import re

import keras
import numpy as np
import pytest
from evtkit_keras import KerasModel
from keras_oracles import assert_profile_exact

layers, ops = keras.layers, keras.ops
CONV = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
EXTENT = {1: (11,), 2: (9, 7), 3: (6, 5, 7)}


def sandwich(layer, dims, channels=4, before="tanh"):
    """A layer between two others, so that its input and its output both have a history."""
    x = keras.Input((*EXTENT[dims], 2))
    y = layer(CONV[dims](channels, 1, activation=before, name="before")(x))
    y = ops.reshape(ops.tanh(y), (-1, int(np.prod(y.shape[1:-1])), y.shape[-1]))
    return keras.Model(x, layers.Dense(3, name="head")(ops.mean(ops.square(y), 1)))


def check(layer, dims, channels=4, n=3, units="filters", **options):
    model = sandwich(layer, dims, channels)
    x = np.random.default_rng(1).normal(size=(n, *EXTENT[dims], 2))
    options = {"run_eagerly": dims != 2, **options}  # graphs cost their tracing: two axes will do for them
    net = KerasModel(model, units=units, verify=False, **options)
    kind = re.sub(r"_\d+$", "", layer.name)  # automatic names are counted anew in each network
    assert any(name.startswith(kind) for name in net.units.module)
    return assert_profile_exact(net, x, np.arange(n) % 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "activation": "tanh"},
        {"kernel_size": 3, "padding": "same", "use_bias": False, "activation": "relu"},
        {"kernel_size": 3, "padding": "same", "strides": 2},
        {"kernel_size": 2, "strides": 3},
        {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
        {"kernel_size": 2, "dilation_rate": 3, "use_bias": False},
        {"kernel_size": 3, "groups": 2, "padding": "same", "activation": "gelu"},
        {"kernel_size": 2, "groups": 4},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 1, "strides": 2},
    ],
    ids=str,
)
def test_convolutions(dims, options):
    check(CONV[dims](8, **options), dims)


@pytest.mark.parametrize(
    "options", [{}, {"dilation_rate": 2}, {"strides": 2}, {"groups": 2, "activation": "elu"}], ids=str
)
def test_causal_convolutions(options):
    check(layers.Conv1D(8, 3, padding="causal", **options), 1)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same", "strides": 2},
        {"activation": "tanh", "use_bias": False},
        {"dilation_rate": 2, "padding": "same"},
        {"dilation_rate": 2, "strides": 2},
    ],
    ids=str,
)
def test_depthwise_and_separable_convolutions(dims, multiplier, options):
    depthwise = {1: layers.DepthwiseConv1D, 2: layers.DepthwiseConv2D}[dims]
    separable = {1: layers.SeparableConv1D, 2: layers.SeparableConv2D}[dims]
    check(depthwise(3, depth_multiplier=multiplier, **options), dims)
    check(separable(5, 3, depth_multiplier=multiplier, **options), dims)


def test_options_that_differ_along_the_axes():
    check(layers.Conv2D(6, (3, 2), strides=(1, 2), padding="same"), 2)
    check(layers.Conv2D(6, (3, 2), dilation_rate=(2, 1), padding="same"), 2)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": "same", "activation": "tanh"},
        {"kernel_size": 3, "strides": 2, "output_padding": 1},
        {"kernel_size": 2, "strides": 3, "padding": "same"},
        {"kernel_size": 4, "strides": 2, "padding": "same", "use_bias": False},
    ],
    ids=str,
)
def test_transposed_convolutions(dims, options):
    check(TRANSPOSED[dims](8, **options), dims)


def test_euclidean_reduction():
    for layer in (layers.Conv2D(6, 3, groups=2), layers.Conv2D(6, (9, 7)), layers.Conv2DTranspose(5, 3)):
        check(layer, 2, reduction="l2")


def test_channels_first():
    x = keras.Input((2, 8, 7))
    y = layers.DepthwiseConv2D(3, padding="same", data_format="channels_first", name="deep")(x)
    y = layers.SeparableConv2D(4, 3, data_format="channels_first", activation="tanh", name="separable")(y)
    y = layers.BatchNormalization(axis=1, name="norm")(y)
    y = layers.GroupNormalization(2, axis=1, name="group")(y)
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)))
    net = KerasModel(model, units=("filters", "channels", "rows"))
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, 2, 8, 7)), np.arange(3))


NORMS = [
    layers.BatchNormalization(),
    layers.BatchNormalization(axis=1),
    layers.BatchNormalization(center=False),
    layers.GroupNormalization(2),
    layers.GroupNormalization(-1, epsilon=0.1),
    layers.LayerNormalization(),
    layers.LayerNormalization(axis=[1, 2]),
    layers.LayerNormalization(axis=(-3, -1), center=False),
    layers.RMSNormalization(),
    layers.RMSNormalization(axis=[2, 3]),
]


@pytest.mark.parametrize("place", range(len(NORMS)))
@pytest.mark.parametrize("reduction", ["mean-abs", "l2"])
def test_normalisation_scales(place, reduction):
    layer = type(NORMS[place]).from_config({**NORMS[place].get_config(), "dtype": "float64", "name": "norm"})
    model = sandwich(layer, 2)
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(np.abs(rng.normal(size=variable.shape)) + 0.2)
    net = KerasModel(model, units=("channels", "filters"), reduction=reduction)
    assert set(net.units.kind) == {"channels", "filters"}
    assert_profile_exact(net, rng.normal(size=(3, 9, 7, 2)), np.arange(3))


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
def test_dense_rows_with_and_without_a_sequence(shape):
    x = keras.Input(shape)
    y = layers.Dense(4, activation="tanh", name="inner")(layers.RMSNormalization(name="rms")(x))
    y = layers.Dense(3, use_bias=False, name="head")(y)
    model = keras.Model(x, ops.mean(ops.reshape(y, (-1, int(np.prod(shape[:-1])), 3)), 1))
    net = KerasModel(model, units=("rows", "channels"))
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, *shape)), np.arange(3))


@pytest.mark.parametrize(
    ("equation", "shape", "output", "options"),
    [
        ("ab,bc->ac", (6,), (4,), {"activation": "tanh"}),
        ("...x,xy->...y", (5, 6), 4, {"bias_axes": "y"}),
        ("abc,cde->abde", (5, 6), (5, 2, 3), {"bias_axes": "de"}),
        ("abcd,cde->abe", (5, 2, 6), (5, 4), {"bias_axes": "e", "activation": "relu"}),
        ("abc,bcd->abd", (5, 6), (5, 4), {}),
        ("abc,cdb->adb", (5, 6), (4, 5), {}),
        ("abc,cd->ad", (5, 6), (4,), {}),
    ],
)
def test_einsum_dense_rows(equation, shape, output, options):
    x = keras.Input(shape)
    y = layers.EinsumDense(equation, output, name="einsum", **options)(
        layers.Dense(shape[-1], activation="tanh", name="first")(x)
    )
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(ops.square(y))))
    net = KerasModel(model, units="rows")
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, *shape)), np.arange(3))


@pytest.mark.parametrize(
    "options",
    [
        {"num_heads": 2, "key_dim": 4},
        {"num_heads": 2, "key_dim": 4, "value_dim": 3, "use_bias": False},
        {"num_heads": 3, "key_dim": 2, "output_shape": 5},
        {"num_heads": 2, "key_dim": 4, "attention_axes": (1, 2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("cross", [False, True])
def test_attention_heads(options, cross):
    x = keras.Input((3, 2, 8) if "attention_axes" in options else (5, 8))
    y = layers.Dense(8, activation="tanh", name="before")(x)
    memory = layers.Dense(6, activation="tanh", name="memory")(x) if cross else y
    masked = {"use_causal_mask": True} if not cross and "attention_axes" not in options else {}
    y = layers.MultiHeadAttention(name="attention", **options)(y, memory, **masked)
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)))
    net = KerasModel(model, units=("heads", "rows"))
    assert set(net.units.kind) == {"heads", "rows"}
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, *x.shape[1:])), np.arange(3))


def test_grouped_query_attention_heads():
    x = keras.Input((5, 8))
    y = layers.GroupQueryAttention(3, 4, 2, name="attention")(x, x)
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)))
    net = KerasModel(model, units="heads")
    assert len(net.units) == 6
    assert net.coverage.reasons == {"rows not selected": 120, "bias": net.coverage.reasons["bias"]}
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, 5, 8)), np.arange(3))


class Fused(layers.Layer):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, **options):
        super().__init__(**options)
        self.num_heads = 2
        self.qkv, self.proj = layers.Dense(24, use_bias=False, name="qkv"), layers.Dense(8, name="proj")

    def build(self, shape):
        self.qkv.build(shape)
        self.proj.build((*shape[:-1], 8))

    def call(self, x):
        q, k, v = ops.unstack(ops.transpose(ops.reshape(self.qkv(x), (-1, 5, 3, 2, 4)), (2, 0, 3, 1, 4)), 3)
        weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2)
        return self.proj(ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 5, 8)))


def test_fused_attention_heads():
    model = keras.Sequential([keras.Input((5, 8)), Fused(name="fused"), layers.Flatten(), layers.Dense(3, name="head")])
    net = KerasModel(model, units=("heads", "rows"))
    assert list(net.units.module[:2]) == ["fused", "fused"]
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, 5, 8)), np.arange(3))


def test_a_sequence_folded_into_the_batch():
    x = keras.Input((5, 6, 6, 2))
    y = ops.reshape(x, (-1, 6, 6, 2))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, activation="tanh", name="conv")(y))
    y = layers.Dense(3, name="inner")(ops.mean(ops.square(y), (1, 2)))
    model = keras.Model(x, ops.mean(ops.reshape(y, (-1, 5, 3)), 1))
    net = KerasModel(model, units=("filters", "channels", "rows"))
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, 5, 6, 6, 2)), np.arange(3))


def test_time_distributed_layers():
    x = keras.Input((4, 6, 6, 2))
    y = layers.TimeDistributed(layers.Conv2D(3, 3, activation="tanh", name="conv"), name="over_time")(x)
    y = layers.TimeDistributed(layers.Dense(2, activation="tanh", name="dense"), name="again")(
        layers.Flatten()(y)[:, None]
    )
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)))
    net = KerasModel(model, units=("filters", "rows"))
    assert list(dict.fromkeys(net.units.module.tolist())) == ["over_time/conv", "again/dense", "head"]
    assert_profile_exact(net, np.random.default_rng(0).normal(size=(3, 4, 6, 6, 2)), np.arange(3))
