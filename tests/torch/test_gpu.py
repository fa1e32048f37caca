"""On an accelerator: the same numbers as on the processor. Skipped where there is none."""

import networks
import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from torch import nn

from evtkit.saliency import Batches, calibrate, repair, suspects

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator: torch.cuda.is_available() is False"),
]
UNITS = ("filters", "rows", "channels", "heads")


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(self.words(x)).mean(1))


def built(name):
    torch.manual_seed(0)
    if name == "resnet":
        return networks.resnet18().eval(), torch.randn(6, 3, 32, 32)
    return Attentive().eval(), torch.randint(0, 9, (6, 5))


@pytest.mark.parametrize("reduction", ["taylor", "mean-abs", "l2"])
@pytest.mark.parametrize("name", ["resnet", "attention"])
def test_the_same_as_on_the_processor(name, reduction):
    model, x = built(name)
    y = torch.arange(6) % 3
    model.double()
    x = x.double() if x.is_floating_point() else x
    want = TorchModel(model, units=UNITS, reduction=reduction).profile(x, y)
    model.cuda()
    for given in ((x, y), (x.cuda(), y.cuda()), (x.numpy(), y.numpy())):
        got = TorchModel(model, units=UNITS, reduction=reduction).profile(*given)
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("name", ["resnet", "attention"])
def test_the_same_numbers_twice(name):
    model, x = built(name)
    net = TorchModel(model.cuda(), units=UNITS)
    y = torch.arange(6) % 3
    net.profile(x, y)
    torch.backends.cudnn.deterministic = True
    try:
        assert np.array_equal(net.profile(x, y), net.profile(x, y))
    finally:
        torch.backends.cudnn.deterministic = False


def test_mixed_precision():
    model, x = built("resnet")
    y = torch.arange(6) % 3
    want = TorchModel(model.cuda()).profile(x, y)
    got = TorchModel(model, autocast=torch.bfloat16).profile(x, y)
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_labels_out_of_range_are_a_message_and_no_fault_of_the_device():
    model, x = built("resnet")
    net = TorchModel(model.cuda())
    y = torch.arange(6) % 3
    net.profile(x, y)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 9\], got 0 to 12"):
        net.profile(x, y * 6)
    assert np.isfinite(net.profile(x, y)).all()


def test_calibration():
    model, _ = built("resnet")
    x, y = torch.randn(40, 3, 32, 32), torch.arange(40) % 10
    reference = calibrate(TorchModel(model.cuda()), Batches(x, y, 8), progress=False)
    assert len(reference.units) == 4800
    assert np.isfinite(reference.tail.mean).all()


def test_a_batch_that_memory_does_not_hold_is_halved():
    model, x = built("resnet")
    net = TorchModel(model.cuda())
    x, y = x.repeat(64, 1, 1, 1).cuda(), torch.arange(384) % 10
    want = np.concatenate([net.profile(part, own) for part, own in zip(x.split(48), y.split(48), strict=True)])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    net.profile(x[:96], y[:96])
    bound = torch.cuda.max_memory_allocated() * 1.5 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(bound)
    try:
        with pytest.warns(UserWarning, match=r"memory is not enough for \d+ samples at a time"):
            got = net.profile(x, y)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(got, want, rtol=2e-2, atol=1e-3 * np.abs(want).max())  # convolutions in TF32


def test_causes_and_repairs_as_on_the_processor():
    def story(device):
        torch.manual_seed(1)
        model = networks.cifar_resnet(8).eval().double()
        x = torch.randn(300, 3, 32, 32, dtype=torch.float64)
        with torch.no_grad():
            model.linear.bias -= model(x).mean(0)
            y = model(x).argmax(1)
        net = TorchModel(model.to(device))
        reference = calibrate(net, Batches(x, y, 50), progress=False)
        with torch.no_grad():
            model.get_parameter("layer2.0.conv2.weight")[3] *= -2
        missed = net.predict(x).argmax(1) != y.numpy()
        mistakes, kept = (x[missed], y[missed]), (x[~missed], y[~missed])
        found = suspects(net, reference, mistakes)
        mended = repair(net, reference, mistakes, kept, budget=0.1)
        return int(missed.sum()), found.table(), mended.chosen

    assert story("cuda") == story("cpu")


def test_calibration_from_pinned_memory_is_that_of_plain_memory():
    model, _ = built("resnet")
    x, y = torch.randn(40, 3, 32, 32), torch.arange(40) % 10
    net = TorchModel(model.cuda())
    torch.backends.cudnn.deterministic = True
    try:
        plain, pinned = (
            calibrate(net, torch.utils.data.DataLoader(list(zip(x, y, strict=True)), 8, pin_memory=pin), progress=False)
            for pin in (False, True)
        )
    finally:
        torch.backends.cudnn.deterministic = False
    assert np.array_equal(plain.tail.sigma, pinned.tail.sigma, equal_nan=True)
