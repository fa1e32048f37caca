"""A batch norm and the convolution before it are one step of the backward pass, exact whatever else happens there."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from oracles import assert_profile_exact
from test_cost import Operations
from torch import nn
from torch.nn import functional

X = torch.randn(4, 2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
Y = torch.tensor([0, 1, 2, 1])
UNITS = ("filters", "rows", "channels")


class Net(nn.Module):
    """Two convolutions, each with its batch norm; what happens between them is given."""

    def __init__(self, between, dims=2, **options):
        super().__init__()
        conv, norm = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[dims - 1]
        self.between = between
        self.first, self.one = conv(2, 4, 3, padding=1), norm(4)
        self.second, self.two = conv(4, 4, **{"kernel_size": 3, "padding": 1, **options}), norm(4)
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            for each in (self.one, self.two):
                each.running_mean.normal_()
                each.running_var.uniform_(0.1, 2)
                each.weight.normal_()
                each.bias.normal_()

    def forward(self, x):
        y = self.between(self, torch.tanh(self.one(self.first(x))))
        return self.head(y.square().flatten(2).mean(2))


def plain(m, x):
    return m.two(m.second(x))


def dead(m, x):
    return functional.batch_norm(m.second(x), m.two.running_mean, m.two.running_var, m.two.weight * 0, m.two.bias) + x


def used_elsewhere(m, x):
    y = m.second(x)
    return torch.relu(m.two(y)) + y.tanh() + m.one(y)


def changed_before(m, x):
    y = m.second(x)
    y += x
    return m.two(y)


def rectified_before(m, x):
    return torch.relu_(m.two(torch.relu_(m.second(x))))


def output_rectified(m, x):
    return torch.relu_(m.two(m.second(x))) + x


def output_added_to(m, x):
    y = m.two(m.second(x))
    y += x
    return y


def detached_between(m, x):
    return m.two(m.second(x).detach()) + m.second(x)


def hooked_before(m, x):
    y = m.second(x)
    if y.requires_grad:
        y.register_hook(lambda g: -3 * g)
    return m.two(y)


def hooked_after(m, x):
    y = m.second(x)
    z = m.two(y)
    if y.requires_grad:
        y.register_hook(lambda g: g * 0.5)
    return z


def made_bias(m, x):
    bias = m.head.weight.sum(0)  # a weight that is followed, in a place where nothing is known of it
    return m.two(functional.conv2d(x, m.second.weight, bias, padding=1))


def data_changed_before(m, x):
    y = m.second(x)
    y.data.mul_(2)
    return m.two(y)


def one_after_the_other(m, x):
    return m.two(m.one(m.second(x)))


def twice(m, x):
    return m.two(m.second(torch.tanh(m.two(m.second(x)))))


def channels_last(m, x):
    return m.two(m.second(x.contiguous(memory_format=torch.channels_last)))


def spread(m, x):
    return m.two(m.second(x[:, :, :1, :1].expand(x.shape)))


def samples_folded(m, x):
    y = m.two(m.second(x.unflatten(0, (-1, 1)).expand(-1, 2, -1, -1, -1).flatten(0, 1)))
    return y.unflatten(0, (-1, 2)).sum(1)


BETWEEN = [plain, dead, used_elsewhere, changed_before, rectified_before, output_rectified, output_added_to,
           detached_between, data_changed_before, hooked_before, hooked_after, made_bias,
           one_after_the_other, twice, channels_last, spread, samples_folded]  # fmt: skip


@pytest.mark.parametrize("between", BETWEEN, ids=lambda f: f.__name__)
def test_whatever_happens_between_them(between):
    model = Net(between).double().eval()
    net = TorchModel(model, units=UNITS, verify=False)
    assert_profile_exact(net, model, X, Y, vmap=False, rtol=1e-11)
    more = torch.cat([X, X.flip(0)])
    np.testing.assert_allclose(net.profile(more, Y.repeat(2))[:4], net.profile(X, Y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [
    {"groups": 4}, {"groups": 2, "bias": False}, {"stride": 2}, {"stride": (2, 1), "padding": (0, 2)},
    {"dilation": 2, "padding": 2}, {"padding": "same"}, {"padding": "valid"}, {"padding_mode": "circular"},
    {"kernel_size": 1, "padding": 0}, {"kernel_size": (1, 3), "padding": 0},
])  # fmt: skip
def test_every_kind_of_convolution(options):
    model = Net(plain, **options).double().eval()
    assert_profile_exact(TorchModel(model, units=UNITS), model, X, Y, vmap=False, rtol=1e-11)


@pytest.mark.parametrize("dims", [1, 3])
def test_signals_and_volumes(dims):
    model = Net(plain, dims).double().eval()
    x = torch.randn(4, 2, *[5] * dims, dtype=torch.float64)
    assert_profile_exact(TorchModel(model, units=UNITS), model, x, Y, vmap=False, rtol=1e-11)


@pytest.mark.parametrize("units", ["filters", "channels", "rows"])
def test_some_of_the_units(units):
    model = Net(plain).double().eval()
    assert_profile_exact(TorchModel(model, units=units), model, X, Y, vmap=False, rtol=1e-11)


def test_nothing_is_written_between_them():
    model = Net(plain).double().eval()
    net = TorchModel(model, units=UNITS)
    net.profile(X, Y)
    with Operations() as seen:
        net.profile(X, Y)
    assert seen.masks == [(True, False, False)]  # the first layer's input needs no gradient
    assert not [name for name in seen.names if "batch_norm_backward" in name]


def test_small_scales_are_no_rounding():
    """Nothing is taken from a batch norm's output: beside its shift the sum of a small scale would be rounding."""
    model = Net(plain).eval()
    with torch.no_grad():
        model.two.weight.copy_(torch.tensor([1e-9, 1.0, 1e-5, 0.0]))
        model.two.bias.fill_(1.0)
    got = TorchModel(model, units=UNITS).profile(X.float(), Y)
    want = TorchModel(model.double(), units=UNITS).profile(X, Y)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-14)


def test_a_forward_pass_with_a_backward_pass_inside_goes_one_sample_at_a_time():
    def gradient_inside(m, x):
        with torch.enable_grad():
            y = m.second(x)
            y = y if y.requires_grad else y.requires_grad_()
            z = m.two(y)
            (slope,) = torch.autograd.grad(z.square().sum(), y, create_graph=True)
        return z + slope.tanh()

    model = Net(gradient_inside).double().eval()
    net = TorchModel(model, units=UNITS, verify=False)
    with pytest.warns(UserWarning, match="one sample at a time"):
        net.profile(X, Y)
    assert_profile_exact(net, model, X, Y, vmap=False, rtol=1e-11)
