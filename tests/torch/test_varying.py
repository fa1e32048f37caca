"""Many units tried in one batch give what changing them one by one gives, or it is not claimed."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from torch import nn
from torch.nn import functional

from evtkit.saliency import Batches, calibrate, evaluate
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
    net.profile(x, y)  # by which it is known beforehand
    assert net.varied(np.repeat(twice, 2), 0.0) is None


def test_trials_are_the_same_with_and_without(net):
    x, y = torch.randn(10, 3, 7, 7), np.arange(10) % 3
    every = list(range(len(net.units)))
    one = Trials(net, x, y, 64, 32).halved(every)
    net.varied = lambda units, factor: None
    other = Trials(net, x, y, 64, 32).halved(every)
    assert [unit for unit, *_ in one] == [unit for unit, *_ in other]
    np.testing.assert_allclose([e for _, e, _ in one], [e for _, e, _ in other], rtol=1e-3, atol=1e-5)


class Normed(nn.Module):
    """Norms of three kinds, a padded and a strided grouped convolution, rows over positions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
        self.bn = nn.BatchNorm2d(4)
        self.groups = nn.Conv2d(4, 8, 3, stride=2, groups=2)
        self.gn, self.up = nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 2, groups=2)
        self.rows, self.ln, self.head = nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.gn(self.groups(self.bn(self.conv(x)).relu_())).relu()
        return self.head(self.ln(self.rows(self.up(x).flatten(2).transpose(1, 2))).tanh().mean(1))


class Twice(Normed):
    """A layer's weights enter the network a second time, by another function."""

    def forward(self, x):
        return super().forward(x) + functional.linear(x.mean((2, 3)), self.rows.weight[:3, :3])


class Positions(nn.Module):
    """Positions, as many as trials in a batch, come before samples."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(3, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.first(x.flatten(2).permute(2, 0, 1)).tanh().mean(0))


def made(kind):
    torch.manual_seed(1)
    model = kind().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return TorchModel(model, units=["filters", "rows", "channels"])


def test_sets_of_units_and_steps_in_one_batch_are_the_changes_one_by_one():
    net, rng = made(Normed), np.random.default_rng(0)
    x, y = torch.randn(1, 3, 8, 8).double(), np.array([1])
    chosen = [rng.permutation(len(net.units))[: 1 + 3 * i] for i in range(6)]
    gradient, steps = net.gradient(x, y), rng.uniform(0.1, 2, 6)
    rows = x[[0] * 6]
    with net.varied(chosen, 0.0) as happened:
        removed = net.predict(rows)
        assert happened()
    with net.varied(chosen, steps, gradient=gradient) as happened:
        moved = net.predict(rows)
        assert happened()
    assert np.ptp(removed[:, 0]) > 1e-3 < np.ptp(moved[:, 0])
    for i, some in enumerate(chosen):
        with net.pruned(some):
            np.testing.assert_allclose(removed[i], net.predict(x)[0], rtol=1e-10)
        with net.tuned(some, gradient=gradient, step=steps[i]):
            np.testing.assert_allclose(moved[i], net.predict(x)[0], rtol=1e-10)


def test_weights_that_another_function_takes_too_are_not_claimed():
    net = made(Twice)
    net.profile(torch.randn(2, 3, 8, 8).double(), np.array([0, 1]))
    rows = np.flatnonzero(net.units.module == "rows")[:2]
    assert net.varied(rows, 0.0) is None
    assert net.varied(np.flatnonzero(net.units.module == "conv")[:2], 0.0) is not None


@pytest.mark.parametrize(("kind", "together"), [(Normed, True), (Twice, False), (Positions, False)])
def test_repairs_are_the_same_in_batches_and_one_by_one(kind, together):
    net = made(kind)
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(24, 3, 8, 8, generator=generator).double(), np.arange(24) % 3
    reference = calibrate(net, Batches(x, y), progress=False)
    predicted = []
    predict = net.profiler.logits
    net.profiler.logits = lambda batch: predicted.append(batch.size) or predict(batch)
    options = {"by": ("gradient", "random"), "prune": (1, 4, 9), "tune": (2, 5), "step": 0.3, "equal_norm": True}
    options |= {"progress": False, "n_boot": 10, "batch_size": 64}
    one = evaluate(net, reference, (x[:12], y[:12]), **options)
    passes = len(predicted)
    net.varied = lambda units, factor, gradient=None: None
    other = evaluate(net, reference, (x[:12], y[:12]), **options)
    assert len(predicted) - passes > 14 * len(one)
    assert (passes < 8 * len(one)) == together
    for repair, curves in one.curves.items():
        for metric in ("wrong", "true", "corrected"):
            np.testing.assert_allclose(
                getattr(curves, metric), getattr(other.curves[repair], metric), rtol=1e-8, atol=1e-12
            )
