"""Products: Taylor saliency from a layer's own output.

What a layer adds to its bias, y − b, is linear in its weight. So the sum of w · ∂L/∂w over the weights of one output
channel is the sum of (y − b) · ∂L/∂y over its positions: no patches, and no matrix product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from evtkit_torch.reduce import Workspace

__all__ = ["channel_products", "row_products"]


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
    dtype = torch.float64 if g.dtype == torch.float64 else torch.float32
    kept = [size for axis, size in enumerate(y.shape) if axis not in over]
    sums, sizes = (torch.empty(kept, dtype=dtype, device=g.device) for _ in range(2))
    step = max(1, workspace.factor_bytes(g.device) // max(1, g[:1].numel() * dtype.itemsize))
    own = None if bias is None else bias.detach().to(dtype)
    for start in range(0, len(g), step):
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
