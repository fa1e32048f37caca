"""Residual networks (He et al. 2015, arXiv 1512.03385) as the examples, tests and benchmarks use them.

Module names follow the weight files at hand: torchvision's for the ImageNet networks, ``linear`` for the head of the
CIFAR ones.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cifar_resnet", "load", "resnet18", "resnet50", "standardise_cifar", "standardise_imagenet"]


class SubsampleAndPad(nn.Module):
    """Shortcut A of §3.3: take every second position, pad channels with zeros; no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        missing = self.channels - x.shape[1]
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, missing // 2, missing - missing // 2))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(y)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a shortcut; version 1 has the stride in the first."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        return functional.relu(self.bn3(self.conv3(y)) + shortcut, inplace=True)


def _stages(
    block: type[BasicBlock | Bottleneck], widths: list[int], depths: list[int], padded: bool
) -> dict[str, nn.Module]:
    inputs, stages = widths[0], {}
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        blocks = []
        for place in range(depth):
            stride = 2 if place == 0 and number > 1 else 1
            outputs = width * block.expansion
            shortcut: nn.Module | None = None
            if stride > 1 or inputs != outputs:
                projection = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
                shortcut = SubsampleAndPad(outputs) if padded else nn.Sequential(*projection)
            blocks.append(block(inputs, width, stride, shortcut))
            inputs = outputs
        stages[f"layer{number}"] = nn.Sequential(*blocks)
    return stages


def cifar_resnet(depth: int = 20, classes: int = 10) -> nn.Sequential:
    """ResNet of 6n + 2 layers for 32×32 images (§4.2), shortcut A; depth 20 has 688 filters, depth 56 has 2,032."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"got depth={depth}, wanted 6n + 2")
    parts: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False), "bn1": nn.BatchNorm2d(16)}
    parts |= {"relu": nn.ReLU(inplace=True)} | _stages(BasicBlock, [16, 32, 64], [n] * 3, padded=True)
    parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(64, classes)}
    return nn.Sequential(OrderedDict(parts)).eval()


def resnet18(classes: int = 10, small: bool = True, width: int = 64) -> nn.Sequential:
    """ResNet-18: 4,800 filters. ``small`` images (32×32) get a 3×3 first convolution and no pooling after it."""
    return _imagenet_resnet(BasicBlock, [2, 2, 2, 2], classes, small, width)


def resnet50(classes: int = 1000) -> nn.Sequential:
    """ResNet-50, version 1: 26,560 filters."""
    return _imagenet_resnet(Bottleneck, [3, 4, 6, 3], classes, small=False)


def _imagenet_resnet(
    block: type[BasicBlock | Bottleneck], depths: list[int], classes: int, small: bool, width: int = 64
) -> nn.Sequential:
    widths = [width, 2 * width, 4 * width, 8 * width]
    first = nn.Conv2d(3, width, 3, 1, 1, bias=False) if small else nn.Conv2d(3, width, 7, 2, 3, bias=False)
    parts: dict[str, nn.Module] = {"conv1": first, "bn1": nn.BatchNorm2d(width), "relu": nn.ReLU(inplace=True)}
    if not small:
        parts["maxpool"] = nn.MaxPool2d(3, 2, 1)
    parts |= _stages(block, widths, depths, padded=False)
    parts |= {
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(widths[-1] * block.expansion, classes),
    }
    return nn.Sequential(OrderedDict(parts)).eval()


def load(network: nn.Module, path: Path) -> nn.Module:
    """Read weights from a safetensors file, in the network's own precision."""
    from safetensors.torch import load_file

    state = network.state_dict()
    weights = {
        name: tensor.to(state[name].dtype) if name in state else tensor for name, tensor in load_file(path).items()
    }
    missing = network.load_state_dict(weights, strict=False).missing_keys
    if unfilled := [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise ValueError(f"got no weights for {unfilled[:3]}, wanted all")
    return network


def standardise_cifar(images: Tensor) -> Tensor:
    """From uint8 images (n, 32, 32, 3) to the network's input (n, 3, 32, 32)."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def standardise_imagenet(images: Tensor) -> Tensor:
    """From uint8 images (n, h, w, 3) to the network's input (n, 3, h, w): RGB minus the mean, on the scale 0 to 255."""
    return (images.float() - torch.tensor([123.68, 116.779, 103.939])).permute(0, 3, 1, 2).contiguous()
