"""What is known to make per-sample gradients silently wrong, one test each: exact, or refused, never silent."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from evtkit_torch import Block, TorchModel, register
from oracles import assert_profile_exact, cross_entropy, loop_gradients, reduce
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

X = torch.randn(4, 2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
Y = torch.tensor([0, 1, 2, 1])


class Small(nn.Module):
    """Two convolutions and a head; subclasses say what happens between them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def body(self, x):
        return self.second(torch.tanh(self.first(x)))

    def forward(self, x):
        return self.head(self.body(x).square().mean((2, 3)))


def exact(model, units=("filters", "rows"), x=X, **options):
    model = model.double().eval()
    vmap = options.pop("vmap", True)
    net = TorchModel(model, units=units, **options)
    assert_profile_exact(net, model, x, Y, vmap=vmap)
    return net


def test_1_a_layer_used_twice():
    class Twice(Small):
        def body(self, x):
            y = torch.tanh(self.first(x))
            return self.second(torch.tanh(self.second(functional.max_pool2d(y, 2))) * 2)  # and at another size

    exact(Twice())
    exact(Twice(), reduction="l2", max_workspace_mib=1e-3)


def test_1_tied_weights_of_one_kind_and_of_two():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(3, 6, padding_idx=0)
            self.inner, self.again, self.head = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 3)
            self.again.weight = self.inner.weight
            self.head.weight = self.words.weight

        def forward(self, x):
            y = torch.tanh(self.again(torch.tanh(self.inner(self.words(x)))))
            return self.head(y).mean(1)

    model = Tied().double().eval()
    net = TorchModel(model, units="rows", reduction="mean-abs")
    x = torch.randint(0, 3, (4, 5))
    got = net.profile(x, Y)
    gradients = list(loop_gradients(model, x, Y))
    for layer, weight in (("inner", "inner.weight"), ("head", "words.weight")):
        want = np.array([sample[weight].abs().mean(1).tolist() for sample in gradients])
        np.testing.assert_allclose(got[:, net.units.module == layer], want, rtol=1e-10)


def test_2_functional_use_of_a_weight_is_seen():
    class Functional(Small):
        def body(self, x):
            y = functional.conv2d(x, self.first.weight, padding=1)
            return self.second(torch.tanh(y + self.first(x)))

    exact(Functional())


def test_2_a_forward_that_pads_by_itself_is_seen():
    class SamePadding(nn.Conv2d):
        def forward(self, x):
            return functional.conv2d(functional.pad(x, (0, 1, 0, 1), value=1.0), self.weight, self.bias, 2)

    model = Small()
    model.second = SamePadding(4, 4, 3)
    exact(model)


@pytest.mark.parametrize("use", [lambda w: w - w.mean(), lambda w: w.flip(0), lambda w: torch.cat([w, w])[:4]])
def test_2_any_other_use_of_a_weight_is_taken_one_sample_at_a_time(use):
    class Standardised(Small):
        def body(self, x):
            return functional.conv2d(torch.tanh(self.first(x)), use(self.second.weight))

    for reduction in ("taylor", "mean-abs", "l2"):
        net = exact(Standardised(), reduction=reduction, verify=False)
        (slow,) = net.coverage.slow
        assert slow.parameter == "second.weight"
        assert re.match(r"enters torch\.(Tensor\.)?(mean|sub|flip|cat)", slow.reason)
    assert "one sample at a time" in repr(net)
    assert net.coverage.cost > 1


def test_2_weights_standardised_by_a_batch_norm_mix_no_samples():
    class Standardised(Small):
        def body(self, x):
            w = self.second.weight
            w = functional.batch_norm(w.reshape(1, 4, -1), None, None, training=True).reshape_as(w)
            return functional.conv2d(torch.tanh(self.first(x)), w)

    exact(Standardised())


def test_2_a_weight_read_without_a_gradient_is_no_use():
    class Reads(Small):
        def body(self, x):
            with torch.no_grad():
                scale = self.second.weight.norm()
            return super().body(x) / (scale + self.second.weight.detach().mean() + self.first.weight.data.sum())

    exact(Reads(), vmap=False)


def test_2_a_weight_hidden_from_python_is_found_by_the_probe():
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x * weight.mean()

        @staticmethod
        def backward(ctx, g):
            x, weight = ctx.saved_tensors
            return g * weight.mean(), (g * x).sum() / weight.numel() * torch.ones_like(weight)

    class Uses(Small):
        def body(self, x):
            return Hidden.apply(super().body(x), self.second.weight)

    with pytest.warns(UserWarning, match="differ from ordinary gradients in second .* one sample at a time"):
        net = exact(Uses(), vmap=False)
    assert [part.parameter for part in net.coverage.slow] == ["second.weight"]


def test_2_an_unused_layer_has_profile_zero_and_is_named():
    class Spare(Small):
        def __init__(self):
            super().__init__()
            self.spare = nn.Conv2d(1, 2, 1)

    net = TorchModel(Spare().double().eval())
    with pytest.warns(UserWarning, match="has used spare.weight yet"):
        profile = net.profile(X, Y)
    net.profile(X, Y)  # once is enough
    assert net.unused == ("spare.weight",)
    assert not profile[:, net.units.module == "spare"].any()
    assert profile[:, net.units.module != "spare"].all()


@pytest.mark.parametrize("reduction", ["taylor", "mean-abs"])
def test_3_an_input_changed_in_place_after_its_use_is_refused(reduction):
    class Changes(Small):
        def body(self, x):
            y = torch.tanh(self.first(x))
            z = self.second(y)
            y.mul_(2)
            return y + z

    with pytest.raises(RuntimeError, match=r"modified by an inplace operation|second\.weight changed in place"):
        TorchModel(Changes().double().eval(), reduction=reduction, verify=False).profile(X, Y)


@pytest.mark.parametrize("change", [functional.relu_, partial(functional.relu6, inplace=True), lambda y: y.add_(1.0)])
def test_3_a_layers_output_changed_in_place_is_exact(change):
    class Changes(Small):
        def body(self, x):
            return change(self.second(change(self.first(x)))) + 1.0

    exact(Changes(), vmap=False, verify=False)


def test_3_in_place_activations_and_residual_additions_are_exact():
    class InPlace(Small):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(4)
            self.norm.running_mean.normal_()

        def body(self, x):
            y = functional.relu_(self.norm(self.first(x)))
            z = self.second(y)
            z += y
            return functional.leaky_relu_(z, 0.1)

    exact(InPlace(), units=("filters", "rows", "channels"))


def test_4_the_loss_is_summed_so_the_batch_size_does_not_matter():
    net = TorchModel(Small().double().eval())
    whole = net.profile(X, Y)
    for i in range(len(Y)):
        np.testing.assert_allclose(net.profile(X[i : i + 1], Y[i : i + 1])[0], whole[i], rtol=1e-10)


@pytest.mark.parametrize("loss", [lambda o, t: cross_entropy(o, t).mean(), lambda o, t: cross_entropy(o, t)[:, None]])
def test_4_a_loss_that_is_not_one_number_a_sample_is_refused(loss):
    with pytest.raises(ValueError, match=r"the loss must have shape \(4,\)"):
        TorchModel(Small().double().eval(), loss, verify=False).profile(X, Y)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)])
def test_5_batch_statistics_are_refused(norm):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.Flatten(), nn.Linear(100, 3)).double()
    if norm.track_running_stats:
        model.eval()
        norm.train()
    for ask in (lambda net: net.profile(X, Y), lambda net: net.predict(X), lambda net: net.gradient(X, Y)):
        with pytest.raises(ValueError, match="batch statistics mix samples"):
            ask(TorchModel(model))


def test_5_functional_batch_statistics_are_refused():
    class Mixes(Small):
        def body(self, x):
            return functional.batch_norm(super().body(x), None, None, training=True)

    with pytest.raises(RuntimeError, match="samples would mix"):
        TorchModel(Mixes().double().eval()).profile(X, Y)


def test_5_samples_that_influence_each_other_are_found_by_the_probe():
    class Mixes(Small):
        def body(self, x):
            y = super().body(x)
            return y - y.mean(0)

    for verify in (True, False):
        with pytest.raises(RuntimeError, match="samples influence each other"):
            TorchModel(Mixes().double().eval(), verify=verify).profile(X, Y)


def test_5_dropout_is_off_and_every_mode_restored():
    model = Small()
    model.second = nn.Sequential(nn.Dropout(0.5), model.second, nn.Dropout2d(0.5))
    model = model.double().train()
    model.first.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    net = TorchModel(model)
    got = net.profile(X, Y)
    assert {name: module.training for name, module in model.named_modules()} == modes
    model.eval()
    np.testing.assert_allclose(got, reduce(model, net.units, loop_gradients(model, X, Y)), rtol=1e-10)


@pytest.mark.parametrize("mode", ["circular", "reflect"])
def test_6_padding_modes_and_an_even_same_kernel(mode):
    model = Small()
    model.second = nn.Conv2d(4, 4, 4, padding="same", padding_mode=mode)
    exact(model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_8_mixed_precision_accumulates_in_float32(dtype):
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)
    ).eval()
    want = TorchModel(model, units=("filters", "rows")).profile(X, Y)
    net = TorchModel(model, units=("filters", "rows"), autocast=dtype, loss_scale=2.0**8)
    got = net.profile(X, Y)
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=0.03 * want.max())
    # The gradients are rounded to a half, their sums are not: a half has at most 2^11 values between two powers of two.
    assert len(np.unique(np.frexp(got)[0])) > 0.9 * got.size


def test_8_mixed_precision_given_from_outside():
    model = Small().eval()
    inside = TorchModel(model, autocast=torch.bfloat16).profile(X, Y)
    net = TorchModel(model)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(net.profile(X, Y), inside, atol=0.03 * inside.max())  # as above: bfloat16 has 8 bits


def test_8_a_half_precision_network():
    model = Small().eval()
    want = TorchModel(model).profile(X, Y)
    got = TorchModel(model.bfloat16()).profile(X, Y)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=0.1 * want.max())


def test_8_an_overflowing_gradient_is_an_error():
    model = Small().double().eval()
    with pytest.raises(RuntimeError, match="must be finite, got others for samples \\[0, 1, 2, 3\\]"):
        TorchModel(model, loss=lambda o, t: (o.sum(1) - o.sum(1).detach()).abs().sqrt(), verify=False).profile(X, Y)


def test_9_channels_last():
    class Net(Small):
        def __init__(self):
            super().__init__()
            self.point = nn.Conv2d(4, 4, 1, groups=2)
            self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, groups=2)

        def body(self, x):
            return self.up(torch.tanh(self.point(super().body(x))))

    exact(Net().to(memory_format=torch.channels_last), x=X.to(memory_format=torch.channels_last))


def test_9_checkpointing():
    class Checkpointed(Small):
        reentrant = False

        def body(self, x):
            y = torch.tanh(self.first(x))
            return checkpoint(lambda z: self.second(torch.tanh(self.second(z))), y, use_reentrant=self.reentrant)

    model = Checkpointed().double().eval()
    got = TorchModel(model, units=("filters", "rows")).profile(X, Y)
    plain = Small().double().eval()
    plain.load_state_dict(model.state_dict())
    plain.body = lambda x: plain.second(torch.tanh(plain.second(torch.tanh(plain.first(x)))))
    np.testing.assert_allclose(got, TorchModel(plain, units=("filters", "rows")).profile(X, Y), rtol=1e-10)
    model.reentrant = True
    with pytest.raises(RuntimeError, match="must have use_reentrant=False"):
        TorchModel(model).profile(X, Y)


def test_9_a_checkpoint_around_everything():
    class Checkpointed(Small):
        reentrant = False

        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=self.reentrant)

    exact(Checkpointed(), vmap=False)
    model = Checkpointed().double().eval()
    model.reentrant = True
    with pytest.raises(RuntimeError, match="reentrant"), pytest.warns(UserWarning, match="None of the inputs"):
        TorchModel(model, verify=False).profile(X, Y)


def test_9_compiled_networks_run_eagerly():
    model = Small().double().eval()
    want = TorchModel(model).profile(X, Y)
    compiled = torch.compile(model, backend="eager")
    compiled(X)
    np.testing.assert_allclose(TorchModel(compiled).profile(X, Y), want, rtol=1e-10)
    model.first.compile(backend="eager")
    compiled(X)
    np.testing.assert_allclose(TorchModel(nn.Sequential(compiled)).profile(X, Y), want, rtol=1e-10)


@pytest.mark.parametrize("listed", [(), ("head.weight",), ("second.weight", "head.bias")])
def test_9_parameters_that_a_network_lists_in_a_way_of_its_own(listed):
    class Own(Small):
        def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
            some = super().named_parameters(prefix, recurse, remove_duplicate)
            return ((f"net/{name}", p) for name, p in some if name in listed)

    model, plain = Own().double(), Small().double()
    plain.load_state_dict(model.state_dict())
    net, other = TorchModel(model, units=("filters", "rows")), TorchModel(plain, units=("filters", "rows"))
    assert net.units == other.units
    assert net.coverage == other.coverage
    np.testing.assert_array_equal(net.profile(X, Y), other.profile(X, Y))
    gradient = net.gradient(X, Y)
    np.testing.assert_array_equal(gradient.norms, other.gradient(X, Y).norms)
    assert all(
        p.grad is None and p.requires_grad
        for part in model.modules()
        for p in part._parameters.values()
        if p is not None
    )
    with net.pruned([0, 5]), other.pruned([0, 5]):
        np.testing.assert_array_equal(net.predict(X), other.predict(X))


def test_10_a_layer_of_ones_own_needs_a_rule():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, x):
            return x * self.weight[:, None, None]

    model = Small()
    model.second = Scale()
    assert "in Scale, for which no units are defined" in repr(TorchModel(model))

    @register(Scale, kind="scales")
    def scale(use):
        return (Block(use.g.flatten(2).unsqueeze(2), use.a.flatten(2).unsqueeze(3), use.weight.view(-1, 1, 1)),)

    model = model.double().eval()
    slopes = torch.stack([g["second.weight"] for g in loop_gradients(model, X, Y)])
    for how, want in (("taylor", slopes * model.second.weight), ("mean-abs", slopes.abs())):
        net = TorchModel(model, units=("filters", "scales"), reduction=how)
        got = net.profile(X, Y)
        np.testing.assert_allclose(got[:, net.units.kind == "scales"], want.detach(), rtol=1e-10)
    assert not model.second._forward_hooks
    assert not model.second._forward_pre_hooks


def test_10_a_wrong_rule_is_found_by_the_probe():
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4))

        def forward(self, x):
            return x * self.weight[:, None, None]

    @register(Wrong, kind="wrong")
    def wrong(use):
        return (Block(use.g.flatten(2).unsqueeze(2), 2 * use.a.flatten(2).unsqueeze(3), use.weight.view(-1, 1, 1)),)

    model = Small()
    model.second = Wrong()
    with pytest.warns(UserWarning, match="differ from ordinary gradients in second"):
        got = TorchModel(model.double().eval(), units="wrong").profile(X, Y)
    slopes = torch.stack([g["second.weight"] for g in loop_gradients(model, X, Y)])
    np.testing.assert_allclose(got, (slopes * model.second.weight).detach(), rtol=1e-10)


class TenBits(TorchDispatchMode):
    """Convolutions of numbers with ten bits, as a GPU takes them by default (TF32)."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        convolution, backward = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default
        rounded = {convolution: 2, backward: 3}.get(func, 0)
        args = (*(self.rounded(x) for x in args[:rounded]), *args[rounded:])
        return func(*args, **(kwargs or {}))

    @staticmethod
    def rounded(x):
        if x.dtype != torch.float32:
            return x
        return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def test_rounding_that_a_deep_network_magnifies_is_told_and_no_mistake():
    blocks = [(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(80)]
    for convolution, *_ in blocks:
        nn.init.kaiming_normal_(convolution.weight)
    layers = [layer for block in blocks for layer in block]
    net = TorchModel(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 3)).eval())
    with TenBits(), pytest.warns(UserWarning, match="rounding alone changes profiles by more than 5%"):
        net.profile(torch.randn(4, 8, 6, 6), torch.arange(4) % 3)
    assert not net.coverage.slow
