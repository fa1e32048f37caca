"""Products: Taylor saliency from a layer's own output.

What a layer adds to its bias, y − b, is linear in its weight. So the sum of w · ∂L/∂w over the weights of one output
channel is the sum of (y − b) · ∂L/∂y over its positions: no patches, and no matrix product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evtkit.saliency.adapting import one_pass

if TYPE_CHECKING:
    from evtkit_torch.reduce import Workspace

__all__ = ["channel_products", "row_products"]

_LARGE = 1 << 15  # below, calling costs more than is saved
_COMPILED = (torch.float32, torch.float64)


def channel_products(y: Tensor, g: Tensor, bias: Tensor | None, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Sum of (y − b) · g, and of its absolute value, over all axes but the first two; both (m, channels)."""
    view = (1, -1, *[1] * (y.ndim - 2))
    return _products(y, g, None if bias is None else bias.reshape(view), tuple(range(2, y.ndim)), workspace)


def row_products(
    y: Tensor, g: Tensor, bias: Tensor | None, features: int, workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """The same over all axes between the first and the last ones, which are features: (m, features)."""
    over = tuple(range(1, y.ndim - features))
    return tuple(part.flatten(1) for part in _products(y, g, bias, over, workspace))  # type: ignore[return-value]


def _products(
    y: Tensor, g: Tensor, bias: Tensor | None, over: tuple[int, ...], workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """Some samples at a time, so that what is made stays within the workspace, and on a CPU within its caches."""
    found = _in_one_pass(y, g, bias, over)
    if found is not None:
        return found
    dtype = torch.float64 if g.dtype == torch.float64 else torch.float32
    size = g.shape[0]
    step = max(1, workspace.factor_bytes(g.device) * size // max(1, g.numel() * dtype.itemsize))
    own = None if bias is None else bias.detach().to(dtype)
    if step >= size and over:  # as few calls as can be: each costs more than its work
        product = (y.to(dtype) if own is None else y.to(dtype) - own) * g
        if g.device.type != "cpu":
            return product.sum(over), torch.linalg.vector_norm(product, 1, over)
        return product.sum(over), product.abs_().sum(over)
    kept = [size for axis, size in enumerate(y.shape) if axis not in over]
    sums, sizes = (torch.empty(kept, dtype=dtype, device=g.device) for _ in range(2))
    for start in range(0, size, step):
        some = slice(start, start + step)
        part = y[some].to(dtype)
        product = part * g[some] if own is None else (part - own).mul_(g[some])
        if over:
            torch.sum(product, over, out=sums[some])
            torch.sum(product.abs_(), over, out=sizes[some])
        else:
            sums[some] = product
            sizes[some] = product.abs_()
    return sums, sizes


def _in_one_pass(y: Tensor, g: Tensor, bias: Tensor | None, over: tuple[int, ...]) -> tuple[Tensor, Tensor] | None:
    """The same by a compiled function, for large arrays on a CPU."""
    if y.numel() < _LARGE or not over or y.device.type != "cpu" or y.dtype != g.dtype or y.dtype not in _COMPILED:
        return None
    if over[0] == 2 and y.ndim == 4 and not y.is_contiguous():  # channels may lie innermost
        y, g, over = y.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1), (1, 2)
    kept = tuple(size for axis, size in enumerate(y.shape) if axis not in over)
    sums = one_pass("channels" if over[0] == 2 else "features")
    if sums is None or not y.is_contiguous():
        return None
    shape = (y.shape[0], y.shape[1], -1) if over[0] == 2 else (y.shape[0], -1, math.prod(kept[1:]))
    y = y.detach() if y.requires_grad else y
    found = sums(
        y.numpy().reshape(shape),
        g.contiguous().numpy().reshape(shape),
        None if bias is None else bias.detach().numpy().reshape(-1),
    )
    return torch.from_numpy(found[0].reshape(kept)), torch.from_numpy(found[1].reshape(kept))
