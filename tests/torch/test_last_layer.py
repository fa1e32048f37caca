"""The last layer is the linear one that puts out the scores, or there is none; changes of it are what was asked for."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from torch import nn


class Classifier(nn.Module):
    """A filter, its mean over places, and what is made of it."""

    def __init__(self, head, twice=False, after=None):
        super().__init__()
        self.conv, self.head, self.twice, self.after = nn.Conv2d(3, 6, 3), head, twice, after

    def forward(self, x):
        x = self.conv(x).relu().mean((2, 3))
        if self.twice:
            self.head(x)
        y = self.head(x)
        return y if self.after is None else self.after(y)


class Output(dict):
    """As libraries of language models return it."""


@pytest.mark.parametrize("rows", [4, 1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("after", [None, lambda y: Output(logits=y)])
def test_scores_are_what_the_layer_makes_of_its_features(rows, bias, after):
    torch.manual_seed(0)
    net = TorchModel(Classifier(nn.Linear(6, rows, bias=bias), after=after).eval(), micro_batch=2)
    x = torch.randn(5, 3, 6, 6)
    last = net.last_layer(x)
    assert (last.weight, last.bias, last.axis) == ("head.weight", "head.bias" if bias else None, 0)
    np.testing.assert_allclose(last.scores, net.logits(x), rtol=1e-6)
    step = np.random.default_rng(0).normal(size=(max(2, rows), 7))
    changes = last.changes(net.profiler.network, step)
    ones = np.full((5, 1), float(bias))
    wanted = net.logits(x) + np.hstack([last.features, ones]) @ step.T
    before = [p.clone() for p in net.model.parameters()]
    with net.shifted(changes):
        found = net.logits(x)
        delta = net.export()
    # of two classes scored by one row only the difference counts
    np.testing.assert_allclose(found - found[:, :1], wanted - wanted[:, :1], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(before, net.model.parameters(), strict=True))
    net.apply(delta)
    np.testing.assert_array_equal(net.logits(x), found)
    net.apply(delta, revert=True)
    assert not net.model.head._forward_hooks


@pytest.mark.parametrize(
    "network",
    [
        Classifier(nn.Linear(6, 4), twice=True),
        Classifier(nn.Linear(6, 4), after=lambda y: 2.0 * y),
        Classifier(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["used twice", "scaled", "computed", "no linear layer"],
)
def test_where_there_is_none_it_says_so(network):
    assert TorchModel(network.eval()).last_layer(torch.randn(2, 3, 6, 6)) is None


def test_a_tied_weight_is_not_taken():
    network = Classifier(nn.Linear(6, 6))
    network.other = nn.Linear(6, 6)
    network.other.weight = network.head.weight
    assert TorchModel(network.eval()).last_layer(torch.randn(2, 3, 6, 6)) is None


def test_other_tasks_have_none():
    network = Classifier(nn.Linear(6, 4)).eval()
    assert TorchModel(network, task="labels").last_layer(torch.randn(2, 3, 6, 6)) is None


def test_a_change_must_fit():
    net = TorchModel(Classifier(nn.Linear(6, 4)).eval())
    with pytest.raises(ValueError, match="name and shape"), net.shifted({"head.weight": np.zeros((4, 5))}):
        pass
    with pytest.raises(ValueError, match="name and shape"), net.shifted({"no": np.zeros(4)}):
        pass
