"""Pruning and tuning are temporary to the bit, nest, and can be kept as a repair."""

import io

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel, apply_repair
from oracles import cross_entropy
from rounding import additions, assert_close
from torch import nn

X = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(3))
Y = np.array([0, 1, 2, 1])
POSITIONS = 64  # of the largest map, over which gradients are summed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 3, groups=2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        y = torch.relu(self.norm(self.conv(x)))
        y = self.up(y).flatten(2).transpose(1, 2)
        return self.head(self.attention(y, y, y)[0].mean(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = Net().eval()
    nn.init.normal_(model.norm.bias)
    model.norm.running_mean.normal_()
    return TorchModel(model, units=("filters", "heads", "rows", "channels"))


def terms(model):
    return additions(*(p.shape for p in model.parameters()), (POSITIONS, 1))


@pytest.fixture
def unchanged(net):
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}

    def check():
        for name, tensor in net.model.state_dict().items():
            assert torch.equal(tensor.flatten().view(torch.uint8), before[name].flatten().view(torch.uint8)), name

    yield check
    check()


def test_pruned_units_are_zero_and_nothing_else_is_touched(net, unchanged):
    total = net.unit_norms()
    chosen = [1, 7, 12, 16, 22]
    with net.pruned(chosen) as same:
        assert same is net
        norms = net.unit_norms()
        assert not norms[chosen].any()
    kinds = net.units.kind[chosen]
    assert set(kinds) == {"filters", "heads", "rows", "channels"}
    # Rows of the attention's output projection cross its heads; every other unit is as it was.
    apart = [i for i in range(len(total)) if i not in chosen and net.units.module[i] != "attention.out_proj"]
    np.testing.assert_array_equal(norms[apart], total[apart])


def test_unit_norms_are_lengths_of_the_weights(net):
    weights = net.model.up.weight.detach().double()
    want = [weights[:3, 0], weights[:3, 1], weights[3:, 0], weights[3:, 1]]
    np.testing.assert_allclose(net.unit_norms([f"up[{i}]" for i in range(4)]), [w.norm() for w in want], rtol=1e-12)
    assert len(net.unit_norms([])) == 0


def test_a_pruned_channel_is_the_batch_norms_shift_or_nothing(net, unchanged):
    model = net.model
    with pytest.raises(RuntimeError, match="must come after a profile"), net.pruned([2], bn="zero"):
        pass
    net.profile(X, Y)
    scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    constant = model.norm.bias - model.norm.running_mean * scale
    with net.pruned([2]), torch.no_grad():
        assert_close(model.norm(model.conv(X))[:, 2], constant[2].detach().expand(4, 6, 6), terms(model))
    with net.pruned([2], bn="zero"), torch.no_grad():
        after = model.norm(model.conv(X))
        assert not after[:, 2].any()
        assert after[:, [0, 1, 3, 4, 5]].any()
    with pytest.raises(ValueError, match="must be 'keep' or 'zero'"), net.pruned([2], bn="drop"):
        pass


def test_tuning_subtracts_the_step_times_the_mean_losss_gradient(net, unchanged):
    model, chosen = net.model, [1, 7, 12, 16, 22]
    cross_entropy(model(X), torch.from_numpy(Y)).mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.zero_grad()
    with net.tuned(chosen, X, Y, step=0.5):
        want = before["conv.weight"][1] - 0.5 * gradients["conv.weight"][1]
        assert_close(model.conv.weight[1].detach(), want, terms(model))
        assert torch.equal(model.conv.weight[[0, 2, 3, 4, 5]], before["conv.weight"][[0, 2, 3, 4, 5]])
        want = before["up.weight"].clone()
        want[:3, 0] -= 0.5 * gradients["up.weight"][:3, 0]
        assert_close(model.up.weight.detach(), want, terms(model))
        assert torch.equal(model.head.bias, before["head.bias"])
        assert torch.equal(model.up.bias, before["up.bias"])


def test_a_weight_of_two_units_takes_one_step(net, unchanged):
    """Columns of the attention's output projection, which are its heads', cross the projection's rows."""
    before = {name: p.detach().clone() for name, p in net.model.named_parameters()}
    gradient = net.gradient(X, Y)
    with net.tuned(np.arange(len(net.units)), gradient=gradient, step=0.5):
        for name, weights in net.model.named_parameters():
            want = before[name] - 0.5 * gradient.parameters.get(name, torch.zeros(()))
            torch.testing.assert_close(weights.detach(), want)


def test_a_small_step_lowers_the_loss(net, unchanged):
    y = torch.from_numpy(Y)
    before = cross_entropy(torch.from_numpy(net.logits(X)), y).mean()
    with net.tuned(np.arange(len(net.units)), X, Y, step=1e-2):
        assert cross_entropy(torch.from_numpy(net.logits(X)), y).mean() < before


def test_a_sweep_from_one_gradient_equals_single_steps(net, unchanged):
    order = np.random.default_rng(0).permutation(len(net.units))
    gradient = net.gradient(X, Y, order[:8])
    assert list(gradient.selection) == list(order[:8])
    for k in (1, 4, 8):
        with net.tuned(order[:k], X, Y, step=0.1):
            alone = net.predict(X)
        with net.tuned(order[:k], gradient=gradient, step=0.1):
            assert_close(net.predict(X), alone, terms(net.model))
    with (
        pytest.raises(ValueError, match="gradient must have all selected units"),
        net.tuned(order[:9], gradient=gradient),
    ):
        pass
    with pytest.raises(ValueError, match="both or neither"), net.tuned(order[:1]):
        pass
    with pytest.raises(ValueError, match="both or neither"), net.tuned(order[:1], X, Y, gradient=gradient):
        pass


def test_the_gradient_does_not_depend_on_micro_batches(net):
    whole = net.gradient(X, Y)
    parts = TorchModel(net.model, units=("filters", "heads", "rows", "channels"), micro_batch=3).gradient(X, Y)
    assert_close(parts.norms.astype(np.float32), whole.norms.astype(np.float32), terms(net.model))


def test_an_update_of_given_length(net, unchanged):
    filters = np.flatnonzero(net.units.kind == "filters")[:6]
    before = net.model.conv.weight.detach().clone()
    with net.tuned(filters, X, Y, length=0.25):
        assert float((net.model.conv.weight.detach() - before).norm()) == pytest.approx(0.25, rel=1e-4)


def test_patches_nest_and_unwind(net, unchanged):
    with net.tuned([0, 1], X, Y, step=0.1):
        outer = net.predict(X)
        with net.pruned([1, 2]):
            assert not net.unit_norms([1, 2]).any()
            with net.tuned([1], X, Y, step=1.0):
                pass
            assert not net.unit_norms([1, 2]).any()
        assert_close(net.predict(X), outer, terms(net.model))


def test_odd_bits_are_restored(net):
    weight = net.model.conv.weight
    with torch.no_grad():
        weight.view(-1)[:4] = torch.tensor([-0.0, float("inf"), 1e-42, 0.0])
        weight.view(-1).view(torch.int32)[4] = 0x7FC12345  # a NaN with a payload
    before = weight.detach().clone().view(torch.int32)
    with net.pruned([0, 1]):
        assert not weight[:2].any()
    assert torch.equal(weight.detach().view(torch.int32), before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_repair_is_saved_applied_and_undone(net, unchanged, layout):
    net.model.to(memory_format=layout)
    with net.tuned([0, 7], X, Y, step=0.1), net.pruned([3, 15]):
        scores = net.predict(X)
        want = [parameter.detach().clone() for parameter in net.model.parameters()]
        repair = net.export()
    file = io.BytesIO()
    torch.save(repair, file)
    file.seek(0)
    repair = torch.load(file, weights_only=True)
    other = Net().eval()
    other.load_state_dict(net.model.state_dict())
    apply_repair(other, repair)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), want, strict=True))
    assert_close(TorchModel(other).predict(X), scores, terms(other))  # the other one has another memory layout
    with pytest.raises(ValueError, match="weights must be those that the repair was made for"):
        apply_repair(other, repair)
    apply_repair(other, repair, revert=True)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), net.model.parameters(), strict=True))


def test_a_repair_of_another_network_is_refused_before_anything_changes(net, unchanged):
    with net.pruned([0, 15]):
        repair = net.export()
    with pytest.raises(ValueError, match="a repair must be of"):
        apply_repair(nn.Linear(2, 2), repair)
    with pytest.raises(ValueError, match="a repair must be of"):
        apply_repair(net.model, {})
    last = [key for key in repair if key.endswith(".before")][-1]
    repair[last] = repair[last] + 1
    with pytest.raises(ValueError, match="weights must be those that the repair was made for"):
        apply_repair(net.model, repair)
    with pytest.raises(ValueError, match="got no patch in force"):
        net.export()


def test_scaled_units_are_multiples_and_steps_are_those_of_tuning(net, unchanged):
    chosen, factor = [1, 7], -2.0
    norms = net.unit_norms(chosen)
    with net.scaled(chosen, factor):
        np.testing.assert_allclose(net.unit_norms(chosen), 2.0 * norms, rtol=1e-6)
    with pytest.raises(ValueError, match="finite"), net.scaled(chosen, np.inf):
        pass
    gradient = net.gradient(X, Y, chosen)
    with net.tuned(chosen, gradient=gradient, step=0.02):
        twice = net.predict(X)
    with net.stepping(chosen) as step:
        step(gradient, 0.01)
        step(gradient, 0.01)
        np.testing.assert_allclose(net.predict(X), twice, rtol=1e-5)
        delta = net.export()
        outer = net.in_force
        with net.scaled([2], 3.0):
            inner = net.export(outer)
    assert outer == 1
    assert list(inner) == [f"conv.weight.{part}" for part in ("index", "before", "after")]
    net.apply(delta)
    np.testing.assert_allclose(net.predict(X), twice, rtol=1e-5)
    net.apply(delta, revert=True)
