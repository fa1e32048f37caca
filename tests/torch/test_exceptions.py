"""Whatever fails, wherever: no hook stays, no weight, mode, flag or gradient changes, and the next profile is right."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from evtkit_torch import Block, TorchModel, register
from evtkit_torch.inputs import per_sample_losses
from rounding import additions, assert_close
from torch import nn
from torch.overrides import _get_current_function_mode_stack

X, Y = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(3)), np.array([0, 1, 2, 1])


class Stop(Exception):  # noqa: N818 (it is no error)
    """What the tests inject."""


class Fuse(nn.Module):
    """Passes its input on, until armed."""

    def __init__(self):
        super().__init__()
        self.where = None

    def forward(self, x):
        if self.where == "forward":
            raise Stop
        return _Fused.apply(x, self) if self.where == "backward" else x


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, fuse):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise Stop


class Scale(nn.Module):
    broken = None

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def forward(self, x):
        if Scale.broken == "forward":
            raise Stop
        return x * self.weight[:, None, None]


@register(Scale, kind="scales")
def scale(use):
    if Scale.broken == "rule":
        raise Stop
    return (Block(use.g.flatten(2).unsqueeze(2), use.a.flatten(2).unsqueeze(3), use.weight.view(-1, 1, 1)),)


class Loss:
    broken = None

    def __call__(self, output, target):
        if self.broken == "raises":
            raise Stop
        losses = per_sample_losses(None, output, target, len(target))
        return losses * float("nan") if self.broken == "nan" else losses.mean() if self.broken == "mean" else losses


def hooks(model):
    return [
        getattr(module, kind)
        for module in model.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    ]


def raise_stop():
    raise Stop


def points(net):
    """Name of the point of failure, how to break it, and what to call."""
    model, loss = net.model, net.profiler.loss

    def profile():
        return net.profile(X, Y)

    yield "forward of the first layer", lambda: setattr(model[0], "where", "forward"), profile
    yield "forward after layers were captured", lambda: setattr(model[5], "where", "forward"), profile
    yield "forward of a hooked layer", lambda: setattr(Scale, "broken", "forward"), profile
    yield "loss that raises", lambda: setattr(loss, "broken", "raises"), profile
    yield "loss that is NaN", lambda: setattr(loss, "broken", "nan"), profile
    yield "loss that is a mean", lambda: setattr(loss, "broken", "mean"), profile
    yield "label out of range", lambda: None, lambda: net.profile(X, Y + 1)
    yield "rule, inside the backward pass", lambda: setattr(Scale, "broken", "rule"), profile
    yield "backward after units were reduced", lambda: setattr(model[5], "where", "backward"), profile
    yield "backward of the first layer", lambda: setattr(model[2], "where", "backward"), profile
    yield "prediction", lambda: setattr(model[5], "where", "forward"), lambda: net.predict(X)
    yield "gradient", lambda: setattr(model[5], "where", "backward"), lambda: net.gradient(X, Y)

    def inside(*contexts):
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            raise_stop()

    yield "inside pruned", lambda: None, lambda: inside(net.pruned([0, 5]))
    yield "inside tuned", lambda: None, lambda: inside(net.tuned([0, 5], X, Y, step=1.0))
    yield "inside both", lambda: None, lambda: inside(net.pruned([0, 5]), net.tuned([0, 5], X, Y, step=1.0))

    def entering():
        with net.pruned([0, 5]), net.tuned([0], X, Y):
            pytest.fail("reached the body")

    yield "entering tuned inside pruned", lambda: setattr(loss, "broken", "raises"), entering


def network():
    torch.manual_seed(0)
    layers = [Fuse(), nn.Conv2d(2, 4, 3), Fuse(), nn.BatchNorm2d(4), Scale(), Fuse(), nn.Conv2d(4, 4, 3)]
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3)).eval()


NAMES = [name for name, _, _ in points(TorchModel(network(), Loss(), units=("filters", "scales")))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verify", [True, False])
def test_nothing_stays_behind(name, verify, monkeypatch):
    monkeypatch.setattr(Scale, "broken", None)
    model = network()
    net = TorchModel(model, Loss(), units=("filters", "scales"), verify=verify)
    want = TorchModel(model, units=("filters", "scales")).profile(X, Y)
    model[7].train()
    model[6].weight.requires_grad_(False)
    model[1].weight.grad = torch.ones_like(model[1].weight)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    gradient = model[1].weight.grad.clone()
    break_it, call = next((break_it, call) for point, break_it, call in points(net) if point == name)
    break_it()

    with pytest.raises((Stop, ValueError)):
        call()

    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert not any(hooks(model))
    after = [(p.requires_grad, p.grad) for p in model.parameters()]
    assert all(flag == now and g is then for (flag, g), (now, then) in zip(flags, after, strict=True))
    assert torch.equal(model[1].weight.grad, gradient)
    assert [module.training for module in model.modules()] == modes
    assert not _get_current_function_mode_stack()
    assert torch.is_grad_enabled()

    monkeypatch.setattr(Scale, "broken", None)
    net.profiler.loss.broken = None
    for fuse in (0, 2, 5):
        model[fuse].where = None
    assert_close(net.profile(X, Y), want, additions((4, 18), (4, 36), (3, 16), (16, 1)))


def test_success_leaves_nothing_behind_either():
    model = network()
    net = TorchModel(model, units=("filters", "scales"))
    net.profile(X, Y)
    assert not any(hooks(model))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert net.unused == ()
