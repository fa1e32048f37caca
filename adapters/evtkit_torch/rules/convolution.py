"""Convolutions: patches of the padded input times the output gradient.

Letters: m sample (or frame), G group, o output channel of a group, c input channel of a group, q output position, k kernel
position. Per-sample gradient W[m, G, o, (c k)] = Σ_q g[m, G, o, q] · U[m, G, q, (c k)].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from evtkit_torch.rules.registry import Factors, Use, register

CONVOLUTION = "input weight bias stride padding dilation groups"
TRANSPOSED = "input weight bias stride padding output_padding groups dilation"


@register(F.conv1d, F.conv2d, F.conv3d, arguments=CONVOLUTION)
def convolution(use: Use) -> Factors:
    """Factor a convolution's gradient; layers with other padding modes pad first and convolve without padding."""
    kernel = use.weight.shape[2:]
    stride, dilation = _each(use, "stride", 1), _each(use, "dilation", 1)
    groups = int(use.options.get("groups", 1))
    a = _padded(use.a, _padding(use, kernel, dilation))
    windows = _windows(a, kernel, stride, dilation, use.g.shape[2:])
    return Factors(use.g.flatten(2).unflatten(1, (groups, -1)), _patches(windows, groups, use.shared))


@register(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, arguments=TRANSPOSED)
def transposed_convolution(use: Use) -> Factors:
    """Exchange the roles: patches of the padded output gradient, one row for every (o k), times the input."""
    kernel = use.weight.shape[2:]
    stride, dilation, padding = _each(use, "stride", 1), _each(use, "dilation", 1), _each(use, "padding", 0)
    groups = int(use.options.get("groups", 1))
    g = _padded(use.g, [(p, p) for p in padding])
    windows = _windows(g, kernel, stride, dilation, use.a.shape[2:])  # (m, G·o, k..., q...)
    rows = windows.flatten(2, 1 + len(kernel)).flatten(3).unflatten(1, (groups, -1)).flatten(2, 3)
    return Factors(rows, use.a.flatten(2).unflatten(1, (groups, -1)).transpose(2, 3))


def _windows(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], positions: Sequence[int]
) -> Tensor:
    """View of all windows, shape (m, channels, k..., q...); nothing is copied."""
    dims = len(kernel)
    for axis in range(dims):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        x = x.unfold(2 + axis, span, stride[axis]).narrow(2 + axis, 0, positions[axis])
        x = x[..., :: dilation[axis]]
    return x.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))


def _patches(windows: Tensor, groups: int, shared: bool) -> Tensor:
    """Windows as a matrix (m, G, q, (c k)), copied in whichever order has the longer contiguous runs."""
    dims = (windows.ndim - 2) // 2
    windows = windows.flatten(2, 1 + dims) if dims > 1 else windows  # (m, C, k, q...)
    pointwise = windows.shape[2] == 1
    channels = windows.shape[1] // groups
    inner_is_channel = windows.stride(1) == 1 if pointwise else channels > windows.shape[-1]
    if inner_is_channel and not shared:  # q, then k, then c
        split = windows.unflatten(1, (groups, -1))  # (m, G, c, k, q...)
        axes = (0, 1, *range(4, split.ndim), 3, 2)
        return split.permute(axes).flatten(-2).flatten(2, -2)
    return windows.flatten(3).unflatten(1, (groups, -1)).flatten(2, 3).transpose(2, 3)


def _padded(x: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
    if not any(left or right for left, right in padding):
        return x
    return F.pad(x, [width for pair in reversed(padding) for width in pair])


def _padding(use: Use, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    padding = use.options.get("padding", 0)
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":  # an even span puts the odd one at the end
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in _each(use, "padding", 0)]


def _each(use: Use, name: str, default: int) -> list[int]:
    value = use.options.get(name, default)
    dims = use.weight.ndim - 2
    values = [int(value)] * dims if isinstance(value, int) else [int(v) for v in value]
    return values * dims if len(values) == 1 else values
