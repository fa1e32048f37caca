"""Rows: which sample each row of a gradient belongs to, found by a second backward pass and never by a shape alone.

With the losses weighted by w_i, the gradient at a row of sample i is w_i times that of the unweighted sum. Powers of
two make the factor exact, so a row's ratio names its owner, and a ratio that is none of the weights shows a row in
which samples mix. Rows whose gradient is zero belong to nobody, and add nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evtkit.saliency.adapting import BASE, HALF_BASE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["AXIS", "FOLDED", "SCATTERED", "Layout", "MixedError", "base_of", "find_layout", "measure"]

AXIS, FOLDED, SCATTERED = "axis", "folded", "scattered"

_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}
_HALF_TOLERANCE = 0.1  # of a ratio; the next one is twice as large
_NOBODY = -1


class MixedError(Exception):
    """A row holds several samples' gradient."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the samples are among the leading axes of a tensor.

    Parameters
    ----------
    form : {"axis", "folded", "scattered"}
        Along one axis; or along the first one with each sample's rows in succession; or anyhow.
    axis : int
        Which, for "axis".
    owners : Tensor of int, or None
        For "scattered": the sample of each row, all leading axes flattened; -1 for a row without a gradient.
    settled : bool
        Whether the same shapes may be trusted to have the same layout.
    """

    form: str
    axis: int = 0
    owners: Tensor | None = None
    settled: bool = True


def base_of(dtype: torch.dtype) -> int:
    """How many exponents the weights of the losses may have."""
    return HALF_BASE if dtype == torch.float16 else BASE


def measure(g: Tensor, leading: int) -> tuple[Tensor, Tensor]:
    """Two numbers a row: the sum of absolute values, and one with random weights, which sees what they cannot."""
    wide = g.detach().to(torch.float64 if g.dtype == torch.float64 else torch.float32)
    rows = wide.reshape(*g.shape[:leading], math.prod(g.shape[leading:]))
    weights = torch.rand(rows.shape[-1], generator=torch.Generator().manual_seed(rows.shape[-1]), dtype=torch.float64)
    return rows.abs().sum(-1), rows @ (weights - 0.5).to(rows)


def find_layout(
    found: tuple[Tensor, Tensor],
    weighted: Sequence[tuple[Tensor, Tensor]],
    weights: Sequence[Tensor],
    dtype: torch.dtype,
) -> Layout | None:
    """Where the samples are, from what `measure` says of the plain pass and of the weighted ones.

    None where the whole gradient is zero.

    Raises
    ------
    MixedError
        If a row belongs to no single sample.
    """
    sizes, sums = found
    if not bool((sizes > 0).any()):
        return None if bool((sizes == 0).all()) else Layout(AXIS, settled=False)  # not finite, which is seen later
    samples = len(weights[0])
    tolerance = _TOLERANCE.get(dtype, _HALF_TOLERANCE)
    base = base_of(dtype)
    alive = sizes > torch.finfo(dtype).tiny * 2.0 ** (base // 2)  # below, a weight may have rounded it to zero
    code = torch.zeros_like(sizes, dtype=torch.long)
    rank = torch.zeros(samples, dtype=torch.long, device=sizes.device)
    for digit, (own, (size, total)) in enumerate(zip(weights, weighted, strict=True)):
        ratio = torch.where(alive, size / sizes, torch.ones_like(sizes))
        exponent = torch.log2(ratio).round().clamp(-base // 2, base - 1 - base // 2)
        power = torch.exp2(exponent)
        wrong = ((ratio / power - 1).abs() > tolerance) | ((total - power * sums).abs() > tolerance * power * sizes)
        if bool((wrong & alive).any()):
            raise MixedError
        code += (exponent.long() + base // 2) * base**digit
        rank += (torch.log2(own.float()).round().long() + base // 2) * base**digit
    sample_of = torch.full((base ** len(weights),), _NOBODY, dtype=torch.long, device=sizes.device)
    sample_of[rank] = torch.arange(samples, device=sizes.device)
    owners = torch.where(alive, sample_of[code], torch.full_like(code, _NOBODY))
    if bool((alive & (owners == _NOBODY)).any()):
        raise MixedError
    fitting = [layout for layout, pattern in _patterns(owners, samples) if bool(((owners == pattern) | ~alive).all())]
    if fitting:
        chosen = fitting[0]
        return Layout(chosen.form, chosen.axis, settled=len(fitting) == 1)
    if bool(((sizes > 0) & ~alive).any()):
        raise MixedError  # too small to tell, and yet not nothing
    return Layout(SCATTERED, owners=owners.flatten(), settled=bool(alive.all()))


def _patterns(owners: Tensor, samples: int) -> Iterator[tuple[Layout, Tensor]]:
    """Every regular layout that a shape allows, with the owners it would give."""
    each = torch.arange(samples, device=owners.device)
    for axis in range(owners.ndim):
        if owners.shape[axis] == samples:
            view = [1] * owners.ndim
            view[axis] = -1
            yield Layout(AXIS, axis), each.view(view).expand(owners.shape)
    first = owners.shape[0] if owners.ndim else 1
    if first > samples and first % samples == 0:
        rows = each.repeat_interleave(first // samples)
        yield Layout(FOLDED), rows.view(-1, *[1] * (owners.ndim - 1)).expand(owners.shape)
