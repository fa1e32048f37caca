"""Architectures of the evidence beside the residual networks of the other examples."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import networks
import samples

__all__ = ["NamesBert", "SmallMobile", "SmallVGG", "SmallViT", "networks"]


class Block(nn.Module):
    """Attention and a perceptron, each after a normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class SmallViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) for 32×32 images; the mean of the last tokens is classified."""

    def __init__(self, classes: int = 10, width: int = 64, depth: int = 4, heads: int = 4, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, (32 // patch) ** 2, width))
        for number in range(1, depth + 1):
            self.add_module(f"block{number}", Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"block{number}")(x)
        return self.head(self.norm(x).mean(dim=1))


class SmallVGG(nn.Sequential):
    """Convolutions in a row without shortcuts (Simonyan & Zisserman 2015), with batch norms, for 32×32 images."""

    def __init__(self, classes: int = 10, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        inputs = 3
        for stage, width in enumerate(widths, 1):
            for number in (1, 2):
                self.add_module(f"conv{stage}_{number}", nn.Conv2d(inputs, width, 3, padding=1, bias=False))
                self.add_module(f"bn{stage}_{number}", nn.BatchNorm2d(width))
                self.add_module(f"relu{stage}_{number}", nn.ReLU())
                inputs = width
            self.add_module(f"pool{stage}", nn.MaxPool2d(2))
        self.add_module("mean", nn.AdaptiveAvgPool2d(1))
        self.add_module("flat", nn.Flatten())
        self.add_module("head", nn.Linear(inputs, classes))


class Inverted(nn.Module):
    """An inverted residual with ReLU6 (Sandler et al. 2018)."""

    def __init__(self, inputs: int, width: int, stride: int, expansion: int = 4) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.project, self.bn3 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        relu6 = nn.functional.relu6
        y = self.bn3(self.project(relu6(self.bn2(self.depthwise(relu6(self.bn1(self.expand(x))))))))
        return x + y if self.shortcut else y


class SmallMobile(nn.Sequential):
    """A small MobileNetV2 (Sandler et al. 2018) for 32×32 images: depthwise convolutions and ReLU6."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.add_module("stem", nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()))
        inputs = 16
        for number, (width, stride) in enumerate(((16, 1), (24, 2), (24, 1), (32, 2), (32, 1)), 1):
            self.add_module(f"block{number}", Inverted(inputs, width, stride))
            inputs = width
        self.add_module("last", nn.Sequential(nn.Conv2d(32, 96, 1, bias=False), nn.BatchNorm2d(96), nn.ReLU6()))
        self.add_module("mean", nn.AdaptiveAvgPool2d(1))
        self.add_module("flat", nn.Flatten())
        self.add_module("head", nn.Linear(96, classes))


class NamesBert(nn.Module):
    """A small Bert (Devlin et al. 2019) of `transformers` that reads names letter by letter; 0 is no letter."""

    def __init__(self, width: int = 48, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel  # only this network needs it

        self.bert = BertModel(
            BertConfig(
                vocab_size=len(samples.LETTERS) + 2, hidden_size=width, num_hidden_layers=depth,
                num_attention_heads=heads, intermediate_size=2 * width, max_position_embeddings=samples.LONGEST,
            )
        )  # fmt: skip
        self.head = nn.Linear(width, len(samples.LANGUAGES))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bert(input_ids=x, attention_mask=(x > 0).long()).pooler_output)
