"""A profile asks autograd for nothing but what it needs, and holds nothing longer than it must."""

import gc
import weakref

import networks
import torch
from evtkit_torch import TorchModel
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Writes down convolutions, forward and backward."""

    def __init__(self):
        super().__init__()
        self.forward = 0
        self.masks = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket
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
