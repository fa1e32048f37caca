"""Published weights: they load, reach their accuracy, and their profiles are exact."""

import csv

import networks
import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from oracles import assert_profile_exact
from rounding import lost

pytest.importorskip("safetensors")


def cifar(data, count):
    with np.load(data / "images" / "cifar10_test.npz") as file:
        return networks.standardise_cifar(torch.from_numpy(file["x"][:count])), file["y"][:count].astype(np.int64)


@pytest.mark.parametrize(("depth", "accuracy"), [(20, 0.9173), (56, 0.9339)])
def test_cifar_networks_reach_their_accuracy(data, depth, accuracy):
    model = networks.load(networks.cifar_resnet(depth), data / "weights" / f"cifar10_resnet{depth}.safetensors")
    x, y = cifar(data, 1000)
    got = (TorchModel(model, micro_batch=250).predict(x).argmax(1) == y).mean()
    assert abs(got - accuracy) < 0.025  # three standard errors of 1,000 images


@pytest.mark.parametrize("depth", [20, 56])
def test_cifar_profiles_equal_the_loop(data, depth):
    network = networks.load(networks.cifar_resnet(depth), data / "weights" / f"cifar10_resnet{depth}.safetensors")
    model = network.double()
    x, y = cifar(data, 3)
    assert_profile_exact(TorchModel(model), model, x.double(), torch.from_numpy(y), rtol=1e-9)


@pytest.mark.parametrize("reduction", ["taylor", "mean-abs"])
def test_float32_loses_no_more_than_rounding_takes(data, reduction):
    model = networks.load(networks.cifar_resnet(20), data / "weights" / "cifar10_resnet20.safetensors")
    x, y = cifar(data, 3)
    got = TorchModel(model, reduction=reduction).profile(x, y)
    net = TorchModel(model.double(), reduction=reduction, verify=False)
    bound = lost(net.model, lambda: net.profile(x.double(), y))
    want = net.profile(x.double(), y)
    assert np.linalg.norm(got - want) <= bound < 0.05 * np.linalg.norm(want)


def test_imagenet_resnet50_loads_and_knows_its_images(data):
    image = pytest.importorskip("PIL.Image")
    model = networks.load(networks.resnet50(), data / "weights" / "imagenet_resnet50_v1.safetensors")
    net = TorchModel(model, micro_batch=8)
    assert len(net.units) == 26560
    folder = data / "images" / "imagenet_val650"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:40]
    pixels = np.stack([np.asarray(image.open(folder / row["file"]).convert("RGB"))[1:225, 1:225] for row in rows])
    x, y = networks.standardise_imagenet(torch.from_numpy(pixels)), np.array([int(row["class_index"]) for row in rows])
    assert (net.predict(x).argmax(1) == y).mean() > 0.6  # about 0.81 on all 650
    profile = net.profile(x[:2], y[:2])  # the first profile is checked against ordinary gradients
    assert profile.shape == (2, 26560)
    assert (profile != 0).mean() > 0.95
