"""Activations are what layers put out, by ordinary hooks; what has no output of its own is NaN."""

import numpy as np
import torch
from evtkit_torch import TorchModel
from torch import nn


class Mixed(nn.Module):
    """Convolutions, one used twice, a transposed one, a norm, attention, a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 1)
        self.up = nn.ConvTranspose2d(4, 6, 2, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.never = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.twice(self.twice(self.conv(x)).relu())
        tokens = self.norm(self.up(x)).flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens)[0]).mean(1)


def test_activations_are_the_layers_outputs():
    torch.manual_seed(0)
    network = Mixed().eval()
    net = TorchModel(network, units=["filters", "rows", "channels", "heads"])
    x = torch.randn(5, 3, 6, 6)
    seen = {}
    for name, layer in network.named_modules():
        layer.register_forward_hook(lambda _, __, y, name=name: seen.setdefault(name, []).append(y))
    found = net.activations(x)
    assert found.shape == (5, len(net.units), 2)
    seen["attention.out_proj"] = [y[0] for y in seen["attention"]]
    for name in ("conv", "twice", "up", "norm", "attention.out_proj", "head"):
        rows = np.flatnonzero((net.units.module == name) & (net.units.kind != "heads"))
        calls = [y if "." in name or name == "head" else y.flatten(2).transpose(1, 2) for y in seen[name]]
        mean = np.mean([y.mean(1).detach().numpy() for y in calls], axis=0)
        size = np.mean([y.abs().mean(1).detach().numpy() for y in calls], axis=0)
        np.testing.assert_allclose(found[:, rows, 0], mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[:, rows, 1], size, rtol=1e-4, atol=1e-6)
    without = (net.units.kind == "heads") | (net.units.module == "never")
    assert np.isnan(found[:, without]).all()
    assert np.isfinite(found[:, ~without]).all()


def test_hooks_are_gone_afterwards_also_after_an_error():
    network = nn.Sequential(nn.Linear(4, 3))
    net = TorchModel(network, units="rows")
    net.activations(torch.zeros(2, 4))
    assert not network[0]._forward_hooks
    with np.testing.assert_raises(RuntimeError):
        net.activations(torch.zeros(2, 5))
    assert not network[0]._forward_hooks
