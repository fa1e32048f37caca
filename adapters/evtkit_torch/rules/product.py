"""Products with a weight that is not a layer's: matrix products, and element by element as scales do.

Letters: n sample, t position, o output feature, i input feature, c number of the scale, q everything else.
"""

from __future__ import annotations

import torch

from evtkit.saliency.adapting import Block
from evtkit_torch.rules.linear import linear
from evtkit_torch.rules.registry import Use, register

__all__ = ["MATRIX_PRODUCTS", "SCALES"]

MATRIX_PRODUCTS = (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.__matmul__)
SCALES = (torch.mul, torch.multiply, torch.Tensor.mul, torch.Tensor.multiply, torch.Tensor.__mul__)


@register(*MATRIX_PRODUCTS, arguments="input weight", channels_last=True, outputs="features", features=1, along=1)
@register(torch.addmm, torch.Tensor.addmm, arguments="bias input weight", channels_last=True, outputs="features",
          features=1, along=1)  # fmt: skip
def matrix_product(use: Use) -> tuple[Block, ...]:
    """As of a linear layer, with the weight's axes exchanged: (i, o)."""
    axes = tuple(1 - axis % 2 for axis in use.axes)
    return linear(Use(use.weight.T, use.a, use.g, use.options, axes))


@register(*SCALES, arguments="input weight", channels_last=True, outputs="scales")
def scale(use: Use) -> tuple[Block, ...]:
    """One number a scale: its gradient is Σ_q g · a."""
    span = use.options["span"]
    rank = use.g.ndim
    kept = [rank - len(span) + axis for axis, size in enumerate(span) if size > 1]
    rest = [axis for axis in range(1, rank) if axis not in kept]
    g, a = (x.permute(0, *kept, *rest).reshape(len(x), use.weight.numel(), -1) for x in (use.g, use.a))  # (n, c, q)
    return (Block(g.unsqueeze(2), a.unsqueeze(3), use.weight.reshape(-1, 1, 1)),)
