"""The one primitive: a batched matrix product, absolute value (or square), sum over each row, never whole at once.

This is the seam at which a fused kernel would go: `row_sums` is all that it would have to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from evtkit_torch.rules import Factors, Rule, Use

__all__ = ["Power", "Workspace", "lane_sums"]

Power = Literal[1, 2]

_CACHE_BYTES = 1 << 20  # a block of the product that stays in a core's second-level cache while it is summed
_FACTOR_BYTES = 1 << 22  # factors (patches) made at a time on a CPU; measured flat from 2 to 8 MiB


class Workspace:
    """Memory that a reduction may use beyond the activations.

    Parameters
    ----------
    mib : float
        Bound in MiB. Half is for factors (patches, casts), half for blocks of the product. A CPU stays far below it, within its
        caches; one sample's factors and one row of one sample's product are the least that is ever made.
    """

    def __init__(self, mib: float) -> None:
        self.bound = int(mib * 2**20)
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
        if self._buffer is None or self._buffer.numel() < size or self._buffer.dtype != like.dtype:
            self._buffer = None
            self._buffer = torch.empty(size, dtype=like.dtype, device=like.device)
        return self._buffer[:size].view(shape)


def lane_sums(
    rules: Sequence[Rule], uses: Sequence[Use], samples: int, lanes: int, power: Power, workspace: Workspace
) -> Tensor:
    """Sum of absolute values (or squares) of every lane's per-sample gradient.

    Parameters
    ----------
    rules, uses : sequences of Rule, of Use
        All uses of one weight, each with its rule; their gradients are added before the absolute value.
    samples, lanes : int
        Shape of the result.
    power : {1, 2}
        1 for absolute values, 2 for squares.
    workspace : Workspace
        Bounds what is held at a time.

    Returns
    -------
    Tensor, shape (samples, lanes)
        In the dtype that the products accumulate in.
    """
    dtype = torch.float64 if uses[0].g.dtype == torch.float64 else torch.float32
    result = torch.empty(samples, lanes, dtype=dtype, device=uses[0].g.device)
    start, count = 0, 1  # the first sample alone shows how large the factors are
    while start < samples:
        stop = min(samples, start + count)
        factors = [_factors(rule, use, start, stop, samples, dtype) for rule, use in zip(rules, uses, strict=True)]
        rows = row_sums(factors, power, workspace)
        result[start:stop] = rows.view(stop - start, lanes, -1).sum(-1)
        if start == 0:
            held = sum(_new_bytes(part, use) for part, use in zip(factors, uses, strict=True))
            count = max(1, workspace.factor_bytes(result.device) // max(1, held)) if held else samples
        start = stop
    return result


def row_sums(factors: Sequence[Factors], power: Power, workspace: Workspace) -> Tensor:
    """Σ_k |Σ left @ right| (or its square) for every sample, group and row; shape (n, groups · rows).

    Letters: n sample, G group, r row, q position, k column.
    """
    left, right = factors[0]
    if len(factors) == 1 and left.shape[3] == 1:  # rank one: |g| · Σ|a|
        return (_power(left, power) * _power(right, power).sum(3, keepdim=True)).flatten(1)
    if left.shape[2] == right.shape[3] == 1:  # a scale: one number a group
        whole = sum((lh[:, :, 0, :] * rh[:, :, :, 0]).sum(-1) for lh, rh in factors)
        return _power(whole, power)  # type: ignore[arg-type]
    n, groups, rows, _ = left.shape
    columns = right.shape[3]
    pairs = [(lh.flatten(0, 1), rh.flatten(0, 1)) for lh, rh in factors]
    sums = torch.empty(n * groups, rows, dtype=left.dtype, device=left.device)
    room = max(
        1, workspace.block_bytes(left.device) // (columns * left.element_size())
    )  # rows of the product in a block
    tall = min(rows, room)
    wide = max(1, room // tall)
    for i in range(0, n * groups, wide):
        for r in range(0, rows, tall):
            here, these = slice(i, i + wide), slice(r, r + tall)
            block = workspace.block((len(sums[here]), sums[:, these].shape[1], columns), left)
            for position, (lh, rh) in enumerate(pairs):
                if position == 0:
                    torch.bmm(lh[here, these], rh[here], out=block)
                else:
                    block.baddbmm_(lh[here, these], rh[here])
            torch.sum(block.abs_() if power == 1 else block.square_(), -1, out=sums[here, these])
    return sums.view(n, groups * rows)


def _power(x: Tensor, power: Power) -> Tensor:
    return x.abs() if power == 1 else x.square()


def _factors(rule: Rule, use: Use, start: int, stop: int, samples: int, dtype: torch.dtype) -> Factors:
    """Factors of some samples; a sequence folded into the batch becomes further positions."""
    fold = len(use.g) // samples
    some = slice(start * fold, stop * fold)
    a, g = use.a[some], use.g[some].to(dtype)
    left, right = rule(use.with_tensors(a.to(dtype) if a.is_floating_point() else a, g))
    if fold > 1:
        left = left.unflatten(0, (stop - start, fold)).permute(0, 2, 3, 1, 4).flatten(3)
        right = right.unflatten(0, (stop - start, fold)).transpose(1, 2).flatten(2, 3)
    return Factors(left, right)


def _new_bytes(factors: Factors, use: Use) -> int:
    """Bytes that factors hold beyond the tensors they were made from."""
    given = {use.a.untyped_storage().data_ptr(), use.g.untyped_storage().data_ptr()}
    made = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in factors}
    return sum(size for pointer, size in made.items() if pointer not in given)
