"""Which rows belong to which sample: known, or the slow exact way, never guessed from a shape."""

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel
from evtkit_torch.rows import AXIS, FOLDED, SCATTERED, MixedError, base_of, find_layout, measure
from oracles import loop_gradients, reduce
from torch import nn
from torch.nn import functional

from evtkit.saliency.adapting import loss_weights

REDUCTIONS = ("taylor", "mean-abs", "l2")


def want(model, net, x, y):
    return reduce(model, net.units, list(loop_gradients(model, x, y)), net.reduction)


def assert_exact(model, x, y, units=("filters", "rows", "channels"), rtol=1e-10, **options):
    for reduction in REDUCTIONS:
        net = TorchModel(model, units=units, reduction=reduction, **options)
        right = want(model, net, x, y)
        for _ in range(2):  # found out, and then known
            got = net.profile(x, y)
            np.testing.assert_allclose(got, right, rtol=rtol, atol=rtol * np.abs(right).max())
    return net


class Routed(nn.Module):
    """Tokens go to one of several experts, by a sign or the largest of some features."""

    def __init__(self, experts, width, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        out = torch.zeros_like(x)
        chosen = x[..., : len(self.experts)].argmax(-1)
        for number, expert in enumerate(self.experts):
            here = chosen == number
            out[here] = torch.tanh(expert(x[here]))
        return self.head(out.mean(1))


@pytest.mark.parametrize("seed", range(6))
def test_token_routed_experts(seed):
    rng = np.random.default_rng(seed)
    for round_ in range(20):
        n, tokens, width, experts = (int(rng.integers(*limits)) for limits in ((2, 7), (2, 8), (4, 7), (2, 4)))
        model = Routed(experts, width, 100 * seed + round_).double().eval()
        x = torch.from_numpy(rng.normal(size=(n, tokens, width)))
        y = torch.from_numpy(rng.integers(0, 3, n))
        reduction = REDUCTIONS[round_ % 3]
        net = TorchModel(model, units="rows", reduction=reduction, verify=bool(round_ % 2))
        for batch in (x, x.flip(0), torch.from_numpy(rng.normal(size=x.shape))):  # the same shape, other routes
            right = want(model, net, batch, y)
            np.testing.assert_allclose(net.profile(batch, y), right, rtol=1e-9, atol=1e-11 * np.abs(right).max())
        assert not net.coverage.slow


def test_a_quarter_of_the_tokens_is_a_multiple_of_the_samples():
    """As many tokens as a sequence folded into the batch would have, but not in its order."""
    model = Routed(2, 5, 0).double().eval()
    x = torch.randn(4, 6, 5, dtype=torch.float64)
    x[..., :2] = 0.0
    for sample, tokens in enumerate((3, 3, 5, 1)):
        x[sample, :tokens, 0] = 1.0
        x[sample, tokens:, 1] = 1.0
    assert_exact(model, x, torch.tensor([0, 1, 2, 0]), verify=False)


class Sequence(nn.Module):
    def __init__(self, how, width=5):
        super().__init__()
        torch.manual_seed(1)
        self.how, self.one, self.two, self.head = (
            how,
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(width, 3),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        n, t, width = x.shape
        if self.how == "time first":
            y = torch.tanh(self.two(self.norm(torch.tanh(self.one(x.transpose(0, 1)))))).transpose(0, 1)
        elif self.how == "time first, folded":
            flat = x.transpose(0, 1).reshape(n * t, width)
            y = torch.tanh(self.two(self.norm(torch.tanh(self.one(flat))))).view(t, n, width).transpose(0, 1)
        elif self.how == "folded":
            y = torch.tanh(self.two(self.norm(torch.tanh(self.one(x.reshape(n * t, width)))))).view(n, t, width)
        elif self.how == "one by one":
            y = torch.stack([torch.tanh(self.two(self.norm(torch.tanh(self.one(row))))) for row in x])
        elif self.how == "token by token":
            steps = [self.two(self.norm(torch.tanh(self.one(x[i, j])))) for i in range(n) for j in range(t)]
            y = torch.stack(steps).view(n, t, width)
        elif self.how == "first token":
            y = torch.tanh(self.two(self.norm(torch.tanh(self.one(x)))))[:, :1]
        return self.head(y.mean(1))


@pytest.mark.parametrize("how", ["time first", "time first, folded", "folded", "one by one", "token by token",
                                 "first token"])  # fmt: skip
@pytest.mark.parametrize("shape", [(4, 4), (4, 8), (6, 2), (2, 2), (1, 3)])
def test_samples_along_any_axis_and_squares(how, shape):
    model = Sequence(how).double().eval()
    x, y = torch.randn(*shape, 5, dtype=torch.float64), torch.arange(shape[0]) % 3
    assert not assert_exact(model, x, y, verify=False).coverage.slow


def test_a_batch_of_as_many_samples_as_a_window_has_positions():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.head = nn.Linear(2, 4), nn.Linear(4, 3)

        def forward(self, x):  # (n, 2, 6, 6) → 9 windows of 4 positions, windows first
            parts = x.unfold(2, 2, 2).unfold(3, 2, 2).permute(2, 3, 0, 4, 5, 1).reshape(9, -1, 4, 2)
            return self.head(torch.tanh(self.inside(parts)).mean((0, 2)))

    for n in (2, 4, 9):
        x, y = torch.randn(n, 2, 6, 6, dtype=torch.float64), torch.arange(n) % 3
        assert_exact(Windows().double().eval(), x, y, verify=False)


def test_images_one_by_one_without_a_batch_axis():
    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 4, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(torch.stack([torch.tanh(self.second(self.first(one))).mean((1, 2)) for one in x]))

    assert_exact(OneByOne().double().eval(), torch.randn(4, 2, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0]))


def test_a_layer_that_all_samples_share_is_taken_one_sample_at_a_time():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.position, self.inside, self.head = nn.Linear(2, 5), nn.Linear(5, 5), nn.Linear(5, 3)
            self.register_buffer("grid", torch.randn(6, 2))

        def forward(self, x):
            return self.head(torch.tanh(self.inside(x + self.position(self.grid))).mean(1))

    x = torch.randn(4, 6, 5, dtype=torch.float64)
    net = assert_exact(Shared().double().eval(), x, torch.tensor([0, 1, 2, 0]))
    assert [part.parameter for part in net.coverage.slow] == ["position.weight"]


def test_the_check_changes_nothing():
    model = Sequence("time first").double().eval()
    for n, t in ((4, 4), (7, 7), (3, 6)):
        x, y = torch.randn(n, t, 5, dtype=torch.float64), torch.arange(n) % 3
        got = [TorchModel(model, units="rows", verify=verify).profile(x, y) for verify in (True, False)]
        assert np.array_equal(*got)


def test_a_layout_found_once_is_checked_again():
    model = Sequence("folded").double().eval()
    net = TorchModel(model, units="rows", verify=False)
    x, y = torch.randn(4, 8, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    for _ in range(3):
        net.profile(x, y)
    model.how = "time first, folded"  # other code, the same shapes
    right = want(model, net, x, y)
    errors = [np.abs(net.profile(x, y) - right).max() for _ in range(6)]
    assert errors[0] > 1e-3 * np.abs(right).max()  # nothing has told of it
    assert errors[-1] < 1e-10 * np.abs(right).max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("samples", [2, 9, 70])
def test_owners_are_read_off_the_ratio(dtype, samples):
    weights = [torch.from_numpy(w) for w in loss_weights(samples, base_of(dtype), 3)]
    generator = torch.Generator().manual_seed(0)
    owners = torch.randint(0, samples, (40, 3), generator=generator)
    g = torch.randn(40, 3, 6, generator=generator).to(dtype)
    g[5:9] = 0
    weighted = [measure(g * w.to(dtype)[owners][..., None], 2) for w in weights]
    layout = find_layout(measure(g, 2), weighted, weights, dtype)
    alive = (g != 0).any(-1).flatten()
    assert layout.form == SCATTERED
    assert not layout.settled
    assert torch.equal(layout.owners[alive], owners.flatten()[alive])
    assert (layout.owners[~alive] == -1).all()
    for form, pattern in ((AXIS, torch.arange(samples)), (FOLDED, torch.arange(samples).repeat_interleave(2))):
        g = torch.randn(len(pattern), 6, generator=generator).to(dtype)
        weighted = [measure(g * w.to(dtype)[pattern][:, None], 1) for w in weights]
        assert find_layout(measure(g, 1), weighted, weights, dtype).form == form
    both = [
        measure(g * w.to(dtype)[pattern][:, None] + g.flip(0) * w.to(dtype)[pattern.flip(0)][:, None], 1)
        for w in weights
    ]
    with pytest.raises(MixedError):
        find_layout(measure(g + g.flip(0), 1), both, weights, dtype)


def test_zeroing_a_batch_norm_leaves_the_one_behind_a_sum_alone():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.after, self.head = (
                nn.Conv2d(2, 2, 3, padding=1),
                nn.BatchNorm2d(2),
                nn.BatchNorm2d(2),
                nn.Linear(2, 3),
            )
            self.direct = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            out = self.norm(self.conv(x))
            out += x
            out = self.direct(self.after(out))
            out += x
            return self.head(self.after(out).mean((2, 3)))

    model = Residual().double().eval()
    net = TorchModel(model)
    x, y = torch.randn(3, 2, 5, 5, dtype=torch.float64), torch.tensor([0, 1, 2])
    net.profile(x, y)
    assert net.profiler.followers == {"conv.weight": {"norm.weight"}}
    with net.pruned([0], bn="zero"):
        assert (model.after.weight != 0).all()
        assert model.norm.weight[0] == 0


@pytest.mark.parametrize("trainable", [True, False])
def test_the_slope_behind_a_batch_norm_of_one_sample(trainable):
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(torch.tanh(self.norm(self.conv(x)).flatten(2).transpose(1, 2)).mean(1))

    torch.manual_seed(0)
    model = Patches().double().eval().requires_grad_(trainable)
    model.norm.running_mean.normal_()
    x, y = torch.randn(1, 2, 6, 6, dtype=torch.float64), torch.tensor([1])
    two = torch.cat([x, x])  # of two samples the kernel makes no mistake
    weight = model.conv.weight.detach().clone().requires_grad_(True)
    output = torch.func.functional_call(model, {"conv.weight": weight}, (two,))
    functional.cross_entropy(output, y.repeat(2)).backward()
    right = (weight.grad * weight).sum((1, 2, 3)).detach()
    for reduction, value in (("taylor", right), ("mean-abs", weight.grad.abs().mean((1, 2, 3)))):
        net = TorchModel(model, reduction=reduction)
        np.testing.assert_allclose(net.profile(x, y)[0], value, rtol=1e-10)
    np.testing.assert_allclose(net.gradient(x, y).parameters["conv.weight"], weight.grad, rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_sums_that_cancel_are_reported_as_nothing(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.InstanceNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    x, y = 255 * torch.rand(6, 3, 10, 10), torch.arange(6) % 3
    net = TorchModel(model)
    got = net.profile(x, y)
    assert not got[:, :8].any()
    assert got[:, 8:].any()
    assert set(range(8)) <= set(net.noise)
    from evtkit.saliency import Batches, calibrate

    reference = calibrate(net, Batches(255 * torch.rand(60, 3, 10, 10), torch.arange(60) % 3), progress=False)
    for by in ("impact", "pot", "zscore"):
        assert reference.rank(got[0], by).top(1) >= 8


def test_a_scale_whose_positions_cancel_raises_no_alarm():
    """The gradient of a scale is one number, which does not show what has cancelled in it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.Conv2d(4, 3, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3),
    ).eval()  # fmt: skip
    x, y = 255 * torch.rand(3, 2, 12, 12), torch.arange(3)
    net = TorchModel(model, units=("filters", "channels"))
    net.profile(x, y)
    assert not net.coverage.slow


class Counted(nn.Module):
    """Picks by what never changes, by what the samples hold, or by both."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.register_buffer("kinds", torch.arange(8) % 2)
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))
        self.how = how

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.head(torch.tanh(self.second(self.how(self, x))).mean(1))


def _through_a_view(net, x):
    empty = torch.zeros(len(x), 4, 6, dtype=x.dtype)
    empty.view(len(x), 4, 6).copy_(x)
    return empty[x[:, 0, 0].argsort()][x[:, 0, 0].argsort().argsort()]


PICKS = {
    "a table's rows": (lambda n, x: x + n.kinds.expand(len(x), -1).gather(1, n.order.expand(len(x), -1))[..., None], 1),
    "fixed order": (lambda n, x: x[:, n.order], 1),
    "whether a mask is full": (lambda n, x: x if bool((n.kinds >= 0).all()) else -x, 1),
    "places counted here": (lambda n, x: x[torch.arange(len(x)).flip(0)].flip(0), 1),
    "sorted samples": (lambda n, x: x[x[:, 0, 0].argsort()][x[:, 0, 0].argsort().argsort()], 2),
    "written through a view": (_through_a_view, 2),
    "sorted tokens": (lambda n, x: x.gather(1, x[..., :1].argsort(1).expand_as(x)), 2),
}


@pytest.mark.parametrize("how", PICKS)
def test_only_what_samples_hold_can_move_rows(how, monkeypatch):
    pick, passes = PICKS[how]
    model = Counted(pick).double().eval()
    net = TorchModel(model, units="rows")
    for seed in range(3):
        x, y = (
            torch.randn(5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)),
            torch.arange(5) % 3,
        )
        right = want(model, net, x, y)
        seen = []
        monkeypatch.setattr(torch.Tensor, "backward", _counting(torch.Tensor.backward, seen))
        got = net.profile(x, y)
        monkeypatch.undo()
        np.testing.assert_allclose(got, right, rtol=1e-10, atol=1e-10 * np.abs(right).max())
    assert len(seen) == passes
    assert not net.coverage.slow


def _counting(backward, seen):
    def counted(*args, **options):
        seen.append(1)
        return backward(*args, **options)

    return counted
