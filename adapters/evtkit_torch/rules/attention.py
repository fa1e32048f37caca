"""Attention: torch's fused function hides its projections, so they are taken out of it and made visible.

The projections become ordinary `linear` calls, samples first; what remains of attention (masks, heads, dropout,
averaged weights) is still torch's own function, called with identity projections, which change no bit of finite
numbers.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DECOMPOSITIONS"]

_ARGUMENTS = tuple(inspect.signature(functional.multi_head_attention_forward).parameters)


def multi_head_attention(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """Compute torch's multi-head attention with its four projections as visible linear calls."""
    call = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
    q, k, v = _project(call)
    width = call["embed_dim_to_check"]
    identity = torch.eye(width, dtype=q.dtype, device=q.device)
    projections = dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj_weight"), identity)
    biases = {"in_proj_weight": None, "in_proj_bias": None, "out_proj_bias": None, "use_separate_proj_weight": True}
    inner = {"query": q, "key": k, "value": v, **projections, **biases}
    mixed, weights = functional.multi_head_attention_forward(**{**call, **inner})
    return _linear(mixed, call["out_proj_weight"], call["out_proj_bias"]), weights


def _project(call: dict[str, Any]) -> list[Tensor]:
    query, key, value = call["query"], call["key"], call["value"]
    bias = call["in_proj_bias"]
    if call.get("use_separate_proj_weight"):
        biases = (None, None, None) if bias is None else bias.chunk(3)
        weights = (call["q_proj_weight"], call["k_proj_weight"], call["v_proj_weight"])
        return [_linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    weight = call["in_proj_weight"]
    packed: dict[int, tuple[Tensor, ...]] = {}  # one product for each distinct input, as self-attention has only one
    for x in (query, key, value):
        if id(x) not in packed:
            packed[id(x)] = _linear(x, weight, bias).chunk(3, dim=-1)
    return [packed[id(x)][part] for part, x in enumerate((query, key, value))]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear map to (position, sample, feature) with the samples in front, as rules take them."""
    if x.ndim == 2:
        return functional.linear(x, weight, bias)
    return functional.linear(x.transpose(0, 1), weight, bias).transpose(0, 1)


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {functional.multi_head_attention_forward: multi_head_attention}
"""Functions that hide weights, and the same computed from functions that have rules."""
