"""Convolutions: windows of the padded input times the output gradient.

Letters: m sample (or frame), G group, o output channel of a group, c input channel of a group, q output position (all
axes), i kernel position along the first spatial axis, j along the others. Per-sample gradient, a block for every i:
W[m, G, o, (c j)] = Σ_q g[m, G, o, q] · U_i[m, G, q, (c j)].

Windows along the first axis are never copied: where rows of the other axes' windows lie one after another in memory,
the windows at all positions of the first axis are one stretch of it, and i only says where it begins. A 3×3
convolution copies 3 times its input instead of 9.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from evtkit.saliency.adapting import Block
from evtkit_torch.rules.registry import Use, register

if TYPE_CHECKING:
    from collections.abc import Sequence

CONVOLUTION = "input weight bias stride padding dilation groups"
TRANSPOSED = "input weight bias stride padding output_padding groups dilation"


@register(functional.conv1d, functional.conv2d, functional.conv3d, arguments=CONVOLUTION, outputs="channels")
def convolution(use: Use) -> tuple[Block, ...]:
    """Factor a convolution's gradient; layers with other padding modes pad first and convolve without padding."""
    groups = int(use.options.get("groups", 1))
    windows = _windows(use, use.a, _padding(use), use.g.shape[2:])
    g = _grouped(use.g.flatten(2), groups)
    own = torch.unflatten(use.weight, 0, (groups, -1))  # (G, o, c, i, …)
    return tuple(
        Block(g, _grouped(u, groups).flatten(2, 3).transpose(2, 3), own[:, :, :, i].flatten(2))
        for i, u in enumerate(windows)
    )


@register(
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
    arguments=TRANSPOSED,
    outputs="channels",
)
def transposed_convolution(use: Use) -> tuple[Block, ...]:
    """Exchange the roles: windows of the padded output gradient, one row for every (o j), times the input."""
    groups = int(use.options.get("groups", 1))
    windows = _windows(use, use.g, [(p, p) for p in _each(use, "padding", 0)], use.a.shape[2:])
    a = _grouped(use.a.flatten(2), groups).transpose(2, 3)
    own = torch.unflatten(use.weight, 0, (groups, -1))  # (G, c, o, i, …)
    return tuple(
        Block(_grouped(u, groups).flatten(2, 3), a, own[:, :, :, i].flatten(2).transpose(1, 2))
        for i, u in enumerate(windows)
    )


def _windows(use: Use, x: Tensor, padding: Sequence[tuple[int, int]], positions: Sequence[int]) -> list[Tensor]:
    """Windows of x, one tensor (m, channels, j, q) for every i; they share their memory."""
    kernel, dims = use.weight.shape[2:], use.weight.ndim - 2
    stride, dilation = _each(use, "stride", 1), _each(use, "dilation", 1)
    # The first axis is cut into (row, phase), position = row · stride + phase, so that a stride is a step of one row.
    rows = positions[0] + dilation[0] * (kernel[0] - 1) // stride[0]
    widths = [width for pair in reversed(padding) for width in pair]
    widths[-1] += rows * stride[0] - (x.shape[2] + sum(padding[0]))  # negative: the last positions are in no window
    if any(widths):
        x = functional.pad(x, widths)
    for axis in range(1, dims):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        x = x.unfold(2 + axis, span, stride[axis]).narrow(2 + axis, 0, positions[axis])[..., :: dilation[axis]]
    x = torch.unflatten(x, 2, (rows, stride[0]))
    # (m, channels, row, phase, q of the others, j of the others) → (m, channels, j, phase, q)
    x = x.permute(0, 1, *range(3 + dims, 2 + 2 * dims), 3, 2, *range(4, 3 + dims))
    inner = math.prod(positions[1:])
    x = x.reshape(x.shape[0], x.shape[1], -1, stride[0], rows * inner)
    starts = [divmod(dilation[0] * i, stride[0]) for i in range(kernel[0])]
    return [x[:, :, :, phase, row * inner : (row + positions[0]) * inner] for row, phase in starts]


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Split the channels (axis 1) into groups."""
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _padding(use: Use) -> list[tuple[int, int]]:
    padding = use.options.get("padding", 0)
    if padding == "valid":
        return [(0, 0)] * (use.weight.ndim - 2)
    if padding == "same":  # an odd total puts the larger part at the end
        totals = [d * (k - 1) for d, k in zip(_each(use, "dilation", 1), use.weight.shape[2:], strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in _each(use, "padding", 0)]


def _each(use: Use, name: str, default: int) -> list[int]:
    """Return an option's value along each spatial axis."""
    value = use.options.get(name, default)
    dims = use.weight.ndim - 2
    values = [int(value)] * dims if isinstance(value, int) else [int(v) for v in value]
    return values * dims if len(values) == 1 else values
