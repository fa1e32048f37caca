"""Whole architectures, and published weights: exact against the loop of single samples, and equal to PyTorch's."""

import csv

import keras
import keras_networks
import networks
import numpy as np
import pytest
import torch
from evtkit_keras import KerasModel
from evtkit_torch import TorchModel
from keras.src.applications.convnext import ConvNeXt
from keras_oracles import assert_profile_exact
from rounding import lost
from torch import nn

from evtkit.saliency import Batches, calibrate

pytest.importorskip("safetensors")


@pytest.mark.parametrize(
    ("name", "size", "filters"),
    # one narrow block a stage of ConvNeXt; ResNet-50 is below, others in benchmarks/keras_architectures.py
    [("MobileNetV2", 32, 17056), ("ConvNeXt", 32, 360)],
)
def test_architectures_equal_the_loop(name, size, filters):
    options = {"input_shape": (size, size, 3), "weights": None, "classes": 5, "classifier_activation": None}
    if name == "ConvNeXt":
        model = ConvNeXt((1, 1, 1, 1), (12, 24, 48, 96), include_preprocessing=False, **options)
    else:
        model = getattr(keras.applications, name)(**options)
    rng = np.random.default_rng(0)
    for variable in model.variables:  # scales of 1e-6, as one of them begins with, would hide what is behind them
        if variable.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            shift = variable.name in ("beta", "moving_mean")
            variable.assign(rng.normal(0, 0.1, variable.shape) if shift else rng.uniform(0.5, 1.5, variable.shape))
    net = KerasModel(model, units=("filters", "channels", "rows"), verify=False, run_eagerly=True)
    assert (net.units.kind == "filters").sum() == filters
    assert net.coverage.total == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    x = rng.normal(size=(2, size, size, 3))
    y = (net.predict(x).argmax(1) + 1) % 5  # of the class that is sure, no gradient would be left
    assert_profile_exact(net, x, y, rtol=1e-9)


class TorchResNet8(nn.Module):
    """The same network in PyTorch: where a stride leaves an odd number to pad, it is at the end."""

    def __init__(self, keras_model):
        super().__init__()
        for layer in keras_model.layers:
            if not layer.weights:
                continue
            kernel = layer.kernel.numpy() if hasattr(layer, "kernel") else None
            if isinstance(layer, keras.layers.Conv2D):
                own = nn.Conv2d(kernel.shape[2], kernel.shape[3], kernel.shape[0], layer.strides)
                own.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            elif kernel is not None:
                own = nn.Linear(*kernel.shape)
                own.weight.data = torch.from_numpy(kernel.T.copy())
            else:
                own = nn.BatchNorm2d(layer.gamma.shape[0], eps=layer.epsilon)
                own.weight.data = torch.from_numpy(layer.gamma.numpy())
                own.running_mean = torch.from_numpy(layer.moving_mean.numpy())
                own.running_var = torch.from_numpy(layer.moving_variance.numpy())
            bias = layer.beta if hasattr(layer, "beta") else layer.bias
            own.bias.data = torch.from_numpy(bias.numpy())
            self.add_module(layer.name, own)

    def forward(self, x):
        def conv(number, y):
            layer = getattr(self, f"conv2d_{number}" if number else "conv2d")
            if layer.kernel_size[0] > 1:
                y = nn.functional.pad(y, (0, 1, 0, 1) if layer.stride[0] > 1 else (1, 1, 1, 1))
            return layer(y)

        def norm(number, y):
            return getattr(self, f"batch_normalization_{number}" if number else "batch_normalization")(y)

        x = torch.relu(norm(0, conv(0, x)))
        y = norm(2, conv(2, torch.relu(norm(1, conv(1, x)))))
        x = torch.relu(x + y)
        y = norm(4, conv(4, torch.relu(norm(3, conv(3, x)))))
        x = torch.relu(conv(5, x) + y)
        y = norm(6, conv(7, torch.relu(norm(5, conv(6, x)))))
        x = torch.relu(conv(8, x) + y)
        return self.dense(x.mean((2, 3)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_published_resnet8_is_the_same_in_both_frameworks(data, dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    model = keras_networks.load_h5(keras_networks.resnet8(), data / "weights" / "cifar10_resnet8_keras.h5")
    twin = TorchResNet8(model).eval()
    with np.load(data / "images" / "cifar10_test.npz") as file:
        x, y = file["x"][:60].astype(dtype), file["y"][:60].astype(np.int64)
    net, other = KerasModel(model, verify=False), TorchModel(twin, verify=False)
    assert (net.predict(x).argmax(1) == y).mean() > 0.75  # about 0.88 on all 10,000
    moved = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    got, want = net.profile(x, y), other.profile(moved, y)
    # the two frameworks list the layers in different orders: units are compared by name
    place = {name: i for i, name in enumerate(other.units.names.tolist())}
    want = want[:, [place[name] for name in net.units.names.tolist()]]
    if dtype == "float32":
        both_lose_no_more_than_rounding_takes(net, other, got, want, moved, y)
    else:
        for layer in dict.fromkeys(net.units.module.tolist()):
            here = net.units.module == layer
            # a sample that the network is sure of has a gradient of rounding errors: relative to the layer's largest
            atol = 1e-10 * np.abs(want[:, here]).max()
            np.testing.assert_allclose(got[:, here], want[:, here], rtol=1e-10, atol=atol)
        tops = []
        for model, samples in ((net, x), (other, moved)):
            reference = calibrate(model, Batches(samples, y), progress=False)
            tops.append(model.units.names[reference.rank(model.profile(samples, y)).top(50)].tolist())
        assert tops[0] == tops[1]


def both_lose_no_more_than_rounding_takes(ours, theirs, got, want, moved, y):
    """Profiles in float32, ours and PyTorch's in the order of our units, of what float64 makes of the same weights."""
    exact = TorchModel(theirs.model.double(), reduction=theirs.reduction, verify=False)
    place = {name: i for i, name in enumerate(exact.units.names.tolist())}
    mine = [place[name] for name in ours.units.names.tolist()]

    def profile():
        return exact.profile(moved.double(), y)[:, mine]

    bound, true = lost(exact.model, profile), profile()
    assert bound < 0.05 * np.linalg.norm(true)
    for found in (got, want):
        assert np.linalg.norm(found - true) <= bound


def photographs(data, count):
    image = pytest.importorskip("PIL.Image")
    folder = data / "images" / "imagenet_val650"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:count]
    pixels = np.stack([np.asarray(image.open(folder / row["file"]).convert("RGB"))[1:225, 1:225] for row in rows])
    return pixels, np.array([int(row["class_index"]) for row in rows])


@pytest.mark.parametrize(("dtype", "reduction"), [("float64", "taylor"), ("float32", "mean-abs")])
def test_the_imagenet_resnet50_is_the_same_in_both_frameworks(data, dtype, reduction):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    twin = networks.load(networks.resnet50(), data / "weights" / "imagenet_resnet50_v1.safetensors")
    weights = {name: tensor.numpy() for name, tensor in twin.state_dict().items()}
    model = keras_networks.load_torch(keras_networks.resnet50(size=224), weights)
    net = KerasModel(model, reduction=reduction, verify=False)
    other = TorchModel(twin.to(getattr(torch, dtype)), reduction=reduction, verify=False)
    assert net.units == other.units
    assert len(net.units) == 26560
    pixels, y = photographs(data, 1)
    x = keras_networks.standardise_imagenet(pixels)
    moved = networks.standardise_imagenet(torch.from_numpy(pixels))
    y = (y + 1) % 1000  # as a mistake, with a gradient above rounding
    got, want = net.profile(x, y), other.profile(moved, y)
    if dtype == "float32":
        both_lose_no_more_than_rounding_takes(net, other, got, want, moved, y)
    else:
        assert np.linalg.norm(got - want) <= 1e-10 * np.linalg.norm(want)
        first = [np.argsort(-profile[0], kind="stable")[:100].tolist() for profile in (got, want)]
        assert first[0] == first[1]
