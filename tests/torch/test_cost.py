"""A profile asks autograd for nothing but what it needs, and holds nothing longer than it must."""

import gc
import weakref

import networks
import numpy as np
import oracles
import pytest
import torch
import torch.utils.checkpoint
from evtkit_torch import TorchModel
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Writes down convolutions, forward and backward."""

    def __init__(self):
        super().__init__()
        self.forward = 0
        self.masks = []
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket
        self.names.append(str(name))
        self.forward += name is torch.ops.aten.convolution
        if name is torch.ops.aten.convolution_backward:
            self.masks.append(tuple(args[-1]))
        return func(*args, **(kwargs or {}))


def test_one_forward_one_backward_and_no_weight_gradient():
    net = TorchModel(networks.cifar_resnet(8), verify=False)
    net.profile(torch.randn(3, 3, 8, 8), [0, 1, 2])  # shows where the samples are
    with Operations() as seen:
        net.profile(torch.randn(3, 3, 8, 8), [0, 1, 2])
    layers = len(set(net.units.module))
    assert seen.forward == layers
    assert seen.masks == [(True, False, False)] * (layers - 1)  # the first layer's input needs no gradient


def test_frozen_and_trainable_networks_are_alike():
    model = networks.cifar_resnet(8)
    x, y = torch.randn(3, 3, 8, 8), [0, 1, 2]
    want = TorchModel(model).profile(x, y)
    assert (TorchModel(model.requires_grad_(False)).profile(x, y) == want).all()
    assert not any(p.requires_grad for p in model.parameters())


def test_layers_are_reduced_and_freed_inside_the_backward_pass():
    alive, inputs = [], []

    class Watch(nn.Module):
        def forward(self, x):
            y = x * 1
            inputs.append(weakref.ref(y))
            if y.requires_grad:
                y.register_hook(lambda g: alive.append(sum(ref() is not None for ref in inputs)))
            return y

    layers = [layer for _ in range(4) for layer in (nn.Conv2d(2, 2, 1), Watch())]
    net = TorchModel(nn.Sequential(*layers, nn.Conv2d(2, 2, 1), nn.Flatten()).eval(), verify=False)
    net.profile(torch.randn(2, 2, 1, 1), [0, 1])  # shows where the samples are
    alive.clear()
    inputs.clear()
    net.profile(torch.randn(2, 2, 1, 1), [0, 1])
    assert alive == [3, 2, 1, 0]  # by the time its own gradient is known, a layer's input has been let go
    gc.collect()
    assert all(ref() is None for ref in inputs)


class Conditional(nn.Module):
    """A batch norm whose scale is made from the sample, or kept; and a checkpoint around it or none."""

    def __init__(self, made, checkpointed):
        super().__init__()
        self.made, self.checkpointed = made, checkpointed
        self.conv, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm, self.gate, self.head = nn.BatchNorm2d(4), nn.Linear(2, 4), nn.Linear(4, 3)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.1, 2)
            self.norm.weight.normal_()

    def forward(self, x):
        return self.head(self.second(self.block(x)).mean((2, 3)))

    def block(self, x):
        if self.checkpointed:
            return torch.utils.checkpoint.checkpoint(self.inside, x, use_reentrant=False)
        return self.inside(x)

    def inside(self, x):
        if not self.made:
            return torch.relu_(self.norm(self.conv(x)))
        norm = self.norm
        scale = self.gate(x.mean((2, 3))).exp().mean(0) if len(x) == 1 else None
        if scale is None:
            return torch.cat([self.inside(one[None]) for one in x])
        return torch.relu(nn.functional.batch_norm(self.conv(x), norm.running_mean, norm.running_var, scale, norm.bias))


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("made", [False, True])
def test_a_batch_norms_slope_is_one_product_and_exact(made, checkpointed):
    model = Conditional(made, checkpointed).double().eval()
    x, y = torch.randn(3, 2, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 2])
    net = TorchModel(model, units=("filters", "rows", "channels"))
    with pytest.warns(UserWarning, match=f"has used {'norm' if made else 'gate'}.weight"):  # so far
        got = net.profile(x, y)
    right = oracles.reduce(model, net.units, list(oracles.loop_gradients(model, x, y)), "taylor")
    np.testing.assert_allclose(got, right, rtol=1e-10, atol=1e-12)
    if not made and not checkpointed:
        with Operations() as seen:
            net.profile(x, y)
        assert not [name for name in seen.names if "batch_norm_backward" in name]
