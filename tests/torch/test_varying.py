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
    net.varied = lambda *_: None
    other = Trials(net, x, y, 64, 32).halved(every)
    assert [unit for unit, *_ in one] == [unit for unit, *_ in other]
    np.testing.assert_allclose([e for _, e, _ in one], [e for _, e, _ in other], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_what_lies_before_is_replayed_and_nothing_else(net, factor):
    x, y = torch.randn(6, 3, 7, 7), np.arange(6) % 3
    with net.recorded() as record:
        losses(net, x, y, 4)  # in two passes
    once = {"conv", "groups", "up", "tied", "other", "rows", "head"}
    assert once == set(record.order) == set(record.outputs)
    torch.testing.assert_close(record.outputs["conv"], net.model.conv(x))
    rows = np.array([5, 0, 3])
    for layer, before in (("conv", []), ("up", ["conv", "groups"]), ("head", ["conv", "groups", "up", "rows"])):
        units = np.flatnonzero(net.units.module == layer)[[0, 0, 1]]
        hooks = [net.model.get_submodule(name)._parameters for name in before]
        kept = [own["weight"] for own in hooks]
        for own in hooks:
            own["weight"] = None  # it cannot be computed
        try:
            with net.varied(units, factor, record, rows) as happened:
                found = losses(net, x[rows], y[rows], 3)
                assert happened()
        finally:
            for own, weight in zip(hooks, kept, strict=True):
                own["weight"] = weight
        with net.varied(units, factor) as happened:
            wanted = losses(net, x[rows], y[rows], 3)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not any("forward" in vars(module) for module in net.model.modules())


def test_a_layer_that_does_more_than_compute_is_not_replayed(net):
    net.model.groups.register_forward_hook(lambda _, __, y: 2.0 * y)
    with net.recorded() as record:
        losses(net, torch.randn(3, 3, 7, 7), np.array([0, 1, 2]))
    assert "groups" not in record.order


def test_trials_are_the_same_without_a_record(net):
    x, y = torch.randn(10, 3, 7, 7), np.arange(10) % 3
    every = list(range(len(net.units)))
    one = Trials(net, x, y, 64, 32).halved(every)
    blind = Trials(net, x, y, 64, 32)
    assert blind._record.outputs
    blind._record = None
    np.testing.assert_allclose(np.array(one), np.array(blind.halved(every)), rtol=1e-3, atol=1e-5)


def test_layers_that_work_in_place_spoil_no_record():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.SELU(inplace=True), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(36, 3)
    )
    net = TorchModel(network.eval(), units=["filters", "rows"])
    x, y, units = torch.randn(3, 3, 7, 7), np.array([0, 1, 2]), [8, 9, 10]
    with net.recorded() as record:
        losses(net, x, y)
    with net.varied(units, 0.0, record, [2, 1, 0]) as happened:
        found = losses(net, x.flip(0), y[::-1].copy())
        assert happened()
    with net.varied(units, 0.0):
        np.testing.assert_allclose(found, losses(net, x.flip(0), y[::-1].copy()), rtol=1e-5)
