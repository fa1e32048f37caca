"""Architectures of the evidence beside the residual networks of the other examples."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import networks

__all__ = ["SmallViT", "networks"]


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
