"""The one primitive: a batched matrix product, absolute value (or square, or times the weight), sum over each row.

The product is never whole at once.

This is the seam at which a fused kernel would go: `row_sums` is all that it would have to compute.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evtkit.saliency.adapting import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evtkit.saliency.adapting import Reduction
    from evtkit_torch.rules import Rule, Use

__all__ = ["Workspace", "lane_sums"]

_CACHE_BYTES = 1 << 20  # a block of the product that stays in a core's second-level cache while it is summed
_FACTOR_BYTES = 1 << 22  # factors (patches) made at a time on a CPU; measured flat from 2 to 8 MiB


class Workspace:
    """Memory that a reduction may use beyond the activations.

    Parameters
    ----------
    mib : float
        Bound in MiB. Half is for factors (patches, casts), half for blocks of the product. A CPU stays far below it,
        within its caches; one sample's factors and one row of one sample's product are the least that is ever made.
    """

    def __init__(self, mib: float) -> None:
        self.bound = int(mib * 2**20)
        self.held: dict[Any, int] = {}  # bytes of one sample's factors, by what they are made from
        self._buffer: Tensor | None = None

    def factor_bytes(self, device: torch.device) -> int:
        """Bytes for factors at a time."""
        return min(self.bound // 2, _FACTOR_BYTES) if device.type == "cpu" else self.bound // 2

    def block_bytes(self, device: torch.device) -> int:
        """Bytes for a block of the product."""
        return min(self.bound // 2, _CACHE_BYTES) if device.type == "cpu" else self.bound // 2

    def block(self, shape: tuple[int, int, int], like: Tensor) -> Tensor:
        """Uninitialised block, the same memory every time."""
        size = shape[0] * shape[1] * shape[2]
        kept = self._buffer
        if kept is None or kept.numel() < size or (kept.dtype, kept.device) != (like.dtype, like.device):
            kept = self._buffer = None  # freed before the new one is made
            kept = self._buffer = torch.empty(size, dtype=like.dtype, device=like.device)
        return kept[:size].view(shape)


def lane_sums(
    rules: Sequence[Rule], uses: Sequence[Use], samples: int, lanes: int, reduction: Reduction, workspace: Workspace
) -> Tensor:
    """Every lane's sum of absolute values (or squares, or products with the weight), shape (samples, lanes).

    Of all uses of one weight, each with its rule: their gradients are added before the absolute value is taken. The
    result is in the dtype that the products accumulate in.
    """
    dtype = torch.float64 if uses[0].g.dtype == torch.float64 else torch.float32
    result = torch.empty(samples, lanes, dtype=dtype, device=uses[0].g.device)
    pairs = list(zip(rules, uses, strict=True))
    key = tuple((rule, use.weight.shape, *map(_kind, (use.a, use.g)), use.axes) for rule, use in pairs)
    start, held = 0, workspace.held.get((samples, *key))
    with _as_given(uses):
        while start < samples:
            count = 1  # the first sample alone shows how large the factors are, once
            if held is not None:
                count = (
                    max(1, workspace.factor_bytes(result.device) // (2 * held)) if held else samples
                )  # padding, casts
            stop = min(samples, start + count)
            blocks = [_blocks(rule, use, start, stop, samples, dtype) for rule, use in pairs]
            rows = row_sums(blocks, reduction, workspace)
            result[start:stop] = rows.view(stop - start, lanes, -1).sum(-1)
            if held is None:
                held = sum(_new_bytes(made, use) for made, use in zip(blocks, uses, strict=True))
                workspace.held[samples, *key] = held
            start = stop
    return result


def _kind(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype, x.device


@contextmanager
def _as_given(uses: Sequence[Use]) -> Iterator[None]:
    """Let a GPU take products with 10 bits (TF32) where both factors have no more, or the layer's own gradient does so.

    Of numbers that come from 16 bits such a product is exact.
    """
    allowed = torch.backends.cuda.matmul
    on = uses[0].g.device.type == "cuda" and not allowed.allow_tf32 and all(map(_has_few_bits, uses))
    if on:
        allowed.allow_tf32 = True
    try:
        yield
    finally:
        if on:
            allowed.allow_tf32 = False


def _has_few_bits(use: Use) -> bool:
    narrow = use.a.dtype.itemsize == use.g.dtype.itemsize == 2
    return narrow or (use.weight.ndim > 2 and use.g.dtype == torch.float32 and torch.backends.cudnn.allow_tf32)


def row_sums(uses: Sequence[tuple[Block, ...]], reduction: Reduction, workspace: Workspace) -> Tensor:
    """Σ_k |Σ_use left @ right| (or its square, or w · it) for every sample, group and row; shape (n, groups · rows).

    Letters: n sample, G group, r row, q position, k column.
    """
    parts = list(zip(*uses, strict=True))  # for every block of the weight, its uses
    left, right, _ = parts[0][0]
    if reduction == "taylor":
        return torch.stack([_along_weight(block, workspace) for blocks in parts for block in blocks]).sum(0)
    if len(uses) == 1 and left.shape[3] == 1:  # rank one: |g| · Σ|a|
        return torch.stack([_rank_one(block, reduction) for (block,) in parts]).sum(0)
    if left.shape[2] == right.shape[3] == 1:  # one number a group, as the scales of a normalisation
        return torch.stack([_scales(blocks, reduction) for blocks in parts]).sum(0)
    n, groups, rows, _ = left.shape
    columns = right.shape[3]
    flat = [[(block.left.flatten(0, 1), block.right.flatten(0, 1)) for block in blocks] for blocks in parts]
    sums = torch.zeros(n * groups, rows, dtype=left.dtype, device=left.device)
    row_bytes = columns * left.element_size()
    room = max(1, workspace.block_bytes(left.device) // row_bytes)  # rows of the product at a time
    tall = min(rows, room)
    wide = min(n * groups, max(1, room // tall))
    for i in range(0, n * groups, wide):
        for r in range(0, rows, tall):
            here = sums[i : i + wide, r : r + tall]
            product = workspace.block((*here.shape, columns), left)
            for blocks in flat:
                for use, (lh, rh) in enumerate(blocks):
                    lh, rh = lh[i : i + wide, r : r + tall], rh[i : i + wide]
                    torch.baddbmm(product, lh, rh, beta=int(use > 0), out=product)
                here += _measured_(product, reduction).sum(-1)
    return sums.view(n, groups * rows)


def _along_weight(block: Block, workspace: Workspace) -> Tensor:
    """Σ_kq left · right · w, without an absolute value, so by way of the positions: Σ_q left · (w @ rightᵀ)."""
    left, right, weight = block
    if weight is None:
        raise RuntimeError(
            "a rule must have the weight in its blocks, Block(left, right, weight), for 'taylor', got none; or take "
            "another reduction"
        )
    n, groups, rows, positions = left.shape
    weight = weight.detach().to(left.dtype)
    sums = torch.empty(n, groups, rows, dtype=left.dtype, device=left.device)
    tall = max(1, workspace.block_bytes(left.device) // (groups * positions * left.element_size()))
    wide = max(1, tall // rows)
    for i in range(0, n, wide):
        for r in range(0, rows, tall):
            output = torch.matmul(weight[:, r : r + tall], right[i : i + wide].transpose(2, 3))
            sums[i : i + wide, :, r : r + tall] = output.mul_(left[i : i + wide, :, r : r + tall]).sum(-1)
    return sums.flatten(1)


def _rank_one(block: Block, reduction: Reduction) -> Tensor:
    left, right, _ = block
    return (_measured_(left.clone(), reduction) * _measured_(right.clone(), reduction).sum(3, keepdim=True)).flatten(1)


def _scales(blocks: Sequence[Block], reduction: Reduction) -> Tensor:
    whole = torch.stack([(left[:, :, 0, :] * right[:, :, :, 0]).sum(-1) for left, right, _ in blocks]).sum(0)
    return _measured_(whole, reduction)


def _measured_(x: Tensor, reduction: Reduction) -> Tensor:
    return x.abs_() if reduction == "mean-abs" else x.square_()


def _blocks(rule: Rule, use: Use, start: int, stop: int, samples: int, dtype: torch.dtype) -> tuple[Block, ...]:
    """Blocks of some samples; a sequence folded into the batch becomes further positions."""
    fold = len(use.g) // samples
    some = slice(start * fold, stop * fold)
    a, g = use.a[some], use.g[some].to(dtype)
    blocks = rule(use.with_tensors(a.to(dtype) if a.is_floating_point() else a, g))
    return blocks if fold == 1 else tuple(_unfolded(block, stop - start) for block in blocks)


def _unfolded(block: Block, n: int) -> Block:
    left, right = (torch.unflatten(part, 0, (n, -1)) for part in block[:2])  # (n, t, G, ...)
    return Block(left.permute(0, 2, 3, 1, 4).flatten(3), right.transpose(1, 2).flatten(2, 3), block.weight)


def _new_bytes(blocks: tuple[Block, ...], use: Use) -> int:
    """Bytes that factors hold beyond the tensors they were made from."""
    given = {use.a.untyped_storage().data_ptr(), use.g.untyped_storage().data_ptr()}
    storages = [part.untyped_storage() for block in blocks for part in block[:2]]
    made = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for pointer, size in made.items() if pointer not in given)
