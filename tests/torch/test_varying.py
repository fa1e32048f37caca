"""Many units tried in one batch give what changing them one by one gives, or it is not claimed."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from torch import nn

from evtkit.saliency.tasks import losses
from evtkit.saliency.trials import Trials, changed


class Network(nn.Module):
    """Grouped and transposed convolutions, rows over positions, a layer used twice, tied weights."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.groups = nn.Conv2d(4, 4, 3, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(4, 6, 2)
        self.twice = nn.Linear(6, 6)
        self.tied, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.other.weight = self.tied.weight
        self.rows, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.up(self.groups(self.conv(x).relu()).relu()).flatten(2).transpose(1, 2)
        x = self.twice(self.twice(x).relu())
        x = self.other(self.tied(x).relu())
        return self.head(self.rows(x).relu().mean(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TorchModel(Network().eval(), units=["filters", "rows"])


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.5])
def test_a_varied_batch_is_the_changes_one_by_one(net, factor):
    x, y = torch.randn(3, 3, 7, 7), np.array([0, 1, 2])
    possible = [u for u in range(len(net.units)) if net.units.module[u] in ("conv", "groups", "up", "rows", "head")]
    rows = np.tile(np.arange(3), len(possible))
    with net.varied(np.repeat(possible, 3), factor) as happened:
        found = losses(net, x[rows], y[rows], len(rows))
        assert happened()
    for unit, own in zip(possible, found.reshape(-1, 3), strict=True):
        with changed(net, unit, factor):
            np.testing.assert_allclose(own, losses(net, x, y), rtol=1e-4)
    assert not any(module._forward_hooks for module in net.model.modules())


def test_what_another_call_or_layer_uses_too_is_not_claimed(net):
    x, y = torch.randn(2, 3, 7, 7), np.array([0, 1])
    twice, tied = (np.flatnonzero(net.units.module == name)[:1] for name in ("twice", "tied"))
    assert net.varied(np.repeat(tied, 2), 0.0) is None
    with net.varied(np.repeat(twice, 2), 0.0) as happened:
        losses(net, x, y)
        assert not happened()


def test_trials_are_the_same_with_and_without(net):
    x, y = torch.randn(10, 3, 7, 7), np.arange(10) % 3
    every = list(range(len(net.units)))
    one = Trials(net, x, y, 64, 32).halved(every)
    net.varied = lambda units, factor: None
    other = Trials(net, x, y, 64, 32).halved(every)
    assert [unit for unit, *_ in one] == [unit for unit, *_ in other]
    np.testing.assert_allclose([e for _, e, _ in one], [e for _, e, _ in other], rtol=1e-3, atol=1e-5)
