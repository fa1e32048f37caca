"""The same weights in both frameworks: the same profile, and the same order, layer by layer and as a whole."""

import keras
import numpy as np
import pytest
import torch
from evtkit_keras import KerasModel
from evtkit_torch import TorchModel
from keras_oracles import with_reduction
from torch import nn

from evtkit.saliency import Batches, calibrate

layers, ops = keras.layers, keras.ops
RTOL = {"float64": 1e-10, "float32": 1e-4}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=RTOL)
def dtype(request):
    keras.config.set_floatx(request.param)
    keras.config.set_dtype_policy(request.param)
    return request.param


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def channels_first(x):
    """(n, axes, channels) → (n, channels, axes)."""
    return tensor(np.moveaxis(x, -1, 1))


def give(module, layer):
    """Copy a Keras layer's weights into a PyTorch module of the same kind."""
    dims = len(layer.kernel.shape) - 2 if hasattr(layer, "kernel") else 0
    names = {"gamma": "weight", "beta": "bias", "scale": "weight", "moving_mean": "running_mean",
             "moving_variance": "running_var", "kernel": "weight", "bias": "bias"}  # fmt: skip
    for variable in layer.weights:
        array = variable.numpy()
        if variable.name == "kernel" and isinstance(layer, layers.DepthwiseConv2D):
            array = np.moveaxis(array.reshape(*array.shape[:2], -1), -1, 0)[:, None]
        elif variable.name == "kernel":
            array = np.moveaxis(array, (-1, -2), (0, 1)) if dims else array.T
        getattr(module, names[variable.name]).data = tensor(array)
    return module.eval()


def randomise(layer):
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        noise = rng.normal(size=variable.shape)
        variable.assign(np.abs(noise) + 0.3 if variable.name in ("gamma", "scale", "moving_variance") else noise)


def agree(ours, theirs, x, y, rtol, moved=None):
    """Profiles equal to rounding, relative to each layer's largest entry, and so in the same order. Both kinds."""
    moved = channels_first(x) if moved is None else moved
    own = theirs.reduction
    for reduction in (own, *({"mean-abs", "taylor"} - {own})):
        net = ours if reduction == own else with_reduction(ours, reduction)
        try:
            theirs.profiler.reduction = reduction
            got, want = net.profile(x, y), theirs.profile(moved, y)
        finally:
            theirs.profiler.reduction = own
        assert got.shape == want.shape
        for name in dict.fromkeys(ours.units.module.tolist()):
            here = ours.units.module == name
            atol = rtol * np.abs(want[:, here]).max()
            np.testing.assert_allclose(got[:, here], want[:, here], rtol=rtol, atol=atol)


EXTENT = {1: (11,), 2: (8, 7), 3: (5, 6, 4)}
CONV = {1: (layers.Conv1D, nn.Conv1d), 2: (layers.Conv2D, nn.Conv2d), 3: (layers.Conv3D, nn.Conv3d)}
UP = {
    1: (layers.Conv1DTranspose, nn.ConvTranspose1d),
    2: (layers.Conv2DTranspose, nn.ConvTranspose2d),
    3: (layers.Conv3DTranspose, nn.ConvTranspose3d),
}
GRID = [
    ("conv", {"kernel_size": 3}, {}),
    ("conv", {"kernel_size": 2, "strides": 2}, {"stride": 2}),
    ("conv", {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}, {"dilation": 2, "padding": 2}),
    ("conv", {"kernel_size": 3, "groups": 2}, {"groups": 2}),
    ("conv", {"kernel_size": 1}, {}),
    ("up", {"kernel_size": 3}, {}),
    ("up", {"kernel_size": 3, "strides": 2}, {"stride": 2}),
]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("kind", "own", "other"), GRID, ids=str)
def test_convolutions(dims, kind, own, other, dtype):
    made, twin = (CONV if kind == "conv" else UP)[dims]
    x = keras.Input((*EXTENT[dims], 4))
    layer = made(6, name="1", **own)
    y = layers.Activation("tanh")(layer(layers.Activation("tanh")(x)))
    y = ops.mean(ops.square(y), tuple(range(1, dims + 1)))
    head = layers.Dense(3, name="4")
    model = keras.Model(x, head(y))
    randomise(layer)

    class Mean(nn.Module):
        def forward(self, z):
            return z.flatten(2).square().mean(2)

    options = {"kernel_size": own["kernel_size"], **other}
    net = nn.Sequential(nn.Tanh(), give(twin(4, 6, **options), layer), nn.Tanh(), Mean(), give(nn.Linear(6, 3), head))
    data = np.random.default_rng(0).normal(size=(3, *EXTENT[dims], 4)).astype(dtype)
    units = ("filters", "rows")
    ours = KerasModel(model, units=units, verify=False, run_eagerly=dims != 2)
    agree(ours, TorchModel(net, units=units, verify=False), data, np.arange(3), RTOL[dtype])


OTHERS = {
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), lambda: nn.Conv2d(4, 8, 3, groups=4), 8),
    "batch norm": (lambda: layers.BatchNormalization(epsilon=1e-5), lambda: nn.BatchNorm2d(4), 4),
    "group norm": (lambda: layers.GroupNormalization(2, epsilon=1e-5), lambda: nn.GroupNorm(2, 4), 4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_depthwise_convolutions_and_normalisations_of_channels(name, dtype):
    build, twin, channels = OTHERS[name]
    x = keras.Input((8, 7, 4))
    layer = build()
    head = layers.Dense(3, name="head")
    model = keras.Model(x, head(ops.mean(ops.square(ops.tanh(layer(x))), (1, 2))))
    randomise(layer)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = give(twin(), layer), give(nn.Linear(channels, 3), head)

        def forward(self, z):
            return self.head(torch.tanh(self.layer(z)).square().mean((2, 3)))

    data = np.random.default_rng(0).normal(size=(3, 8, 7, 4)).astype(dtype)
    units = ("filters", "channels", "rows")
    ours = KerasModel(model, units=units, verify=False)
    agree(ours, TorchModel(Net().eval(), units=units, verify=False), data, np.arange(3), RTOL[dtype])


def test_attention_dense_layers_over_a_sequence_and_normalisations_of_features(dtype):
    x = keras.Input((5, 8))
    norm, rms = layers.LayerNormalization(epsilon=1e-5, name="norm"), layers.RMSNormalization(epsilon=1e-5, name="rms")
    attention, inner = layers.MultiHeadAttention(2, 4, name="attention"), layers.Dense(6, name="inner")
    head = layers.Dense(3, name="head")
    y = norm(x)
    model = keras.Model(x, head(ops.mean(ops.tanh(inner(rms(attention(y, y)))), 1)))
    for layer in (norm, rms):
        randomise(layer)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = give(nn.LayerNorm(8), norm)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            parts = [getattr(attention, f"_{part}_dense") for part in ("query", "key", "value")]
            weight = [part.kernel.numpy().reshape(8, 8).T for part in parts]
            self.attention.in_proj_weight.data = tensor(np.concatenate(weight))
            self.attention.in_proj_bias.data = tensor(np.concatenate([part.bias.numpy().ravel() for part in parts]))
            self.attention.out_proj.weight.data = tensor(attention._output_dense.kernel.numpy().reshape(8, 8).T)
            self.attention.out_proj.bias.data = tensor(attention._output_dense.bias.numpy())
            self.rms, self.inner = give(nn.RMSNorm(8, eps=1e-5), rms), give(nn.Linear(8, 6), inner)
            self.head = give(nn.Linear(6, 3), head)

        def forward(self, z):
            z = self.norm(z)
            return self.head(torch.tanh(self.inner(self.rms(self.attention(z, z, z)[0]))).mean(1))

    data = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(dtype)
    for units in (("heads", "channels"), ("channels", "inner", "head")):
        ours, theirs = KerasModel(model, units=units, verify=False), TorchModel(Net().eval(), units=units, verify=False)
        assert ours.units.names.tolist() == theirs.units.names.tolist()
        agree(ours, theirs, data, np.arange(3), RTOL[dtype], moved=tensor(data))


def cnns():
    """One small network in both frameworks, from the same weights, with the same names."""
    x = keras.Input((8, 8, 2))
    y = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name="1")(layers.Conv2D(8, 3, name="0")(x)))
    y = layers.MaxPooling2D(2)(layers.ReLU()(layers.Conv2D(12, 3, padding="same", name="3")(y)))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 1, activation="tanh", name="6")(y))
    model = keras.Model(x, layers.Dense(4, activation="softmax", name="10")(y))
    randomise(model.get_layer("1"))
    own = {name: model.get_layer(name) for name in ("0", "1", "3", "6", "10")}
    net = nn.Sequential(
        give(nn.Conv2d(2, 8, 3), own["0"]), give(nn.BatchNorm2d(8), own["1"]), nn.ReLU(),
        give(nn.Conv2d(8, 12, 3, padding=1), own["3"]), nn.ReLU(), nn.MaxPool2d(2),
        give(nn.Conv2d(12, 6, 1), own["6"]), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        give(nn.Linear(6, 4), own["10"]),
    )  # fmt: skip
    return model, net.eval()


def test_a_small_cnn_is_calibrated_and_ranked_alike(dtype):
    model, net = cnns()
    units = ("filters", "channels", "rows")
    ours, theirs = KerasModel(model, units=units), TorchModel(net, units=units)
    assert ours.units == theirs.units
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 8, 8, 2)).astype(dtype), rng.integers(0, 4, 200)
    references = [calibrate(m, Batches(d, y, 50), progress=False) for m, d in ((ours, x), (theirs, channels_first(x)))]
    np.testing.assert_allclose(references[0].tail.threshold, references[1].tail.threshold, rtol=RTOL[dtype])
    some, labels = rng.normal(size=(20, 8, 8, 2)).astype(dtype), rng.integers(0, 4, 20)
    agree(ours, theirs, some, labels, RTOL[dtype])
    if dtype == "float64":
        for by in ("pot", "zscore", "gradient", "impact"):
            orders = [
                r.rank(m.profile(d, labels), by).order
                for r, m, d in zip(references, (ours, theirs), (some, channels_first(some)), strict=True)
            ]
            np.testing.assert_array_equal(*orders)


def test_pruning_and_tuning_do_the_same_in_both(dtype):
    model, net = cnns()
    ours, theirs = KerasModel(model), TorchModel(net)
    x, y = np.random.default_rng(0).normal(size=(5, 8, 8, 2)).astype(dtype), np.arange(5) % 4
    moved = channels_first(x)
    np.testing.assert_allclose(ours.unit_norms(), theirs.unit_norms(), rtol=1e-12)
    np.testing.assert_allclose(ours.gradient(x, y).norms, theirs.gradient(moved, y).norms, rtol=RTOL[dtype])
    ours.profile(x, y), theirs.profile(moved, y)  # shows which batch norm follows
    for change in (
        lambda m, d: m.pruned([1, 9, 20]),
        lambda m, d: m.pruned([1, 3], bn="zero"),
        lambda m, d: m.tuned([1, 9, 20], d, y, step=0.5),
        lambda m, d: m.tuned([1, 9, 20], d, y, length=0.3),
    ):
        with change(ours, x), change(theirs, moved):
            np.testing.assert_allclose(ours.predict(x), theirs.predict(moved), rtol=RTOL[dtype])
