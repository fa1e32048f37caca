"""Layers: which module types hold which units. Types decide, never the shape of a parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from evtkit_torch.lanes import Lanes, Layout

__all__ = ["Holder", "find_holder", "holds", "kinds", "register_heads"]

Holder = Callable[[Any], Sequence[Lanes]]
"""From a module to its lanes: parameter names are relative to the module, units count from 0 within it."""

_HOLDERS: dict[type[nn.Module], tuple[str, Holder]] = {}


def holds(*types: type[nn.Module], kind: str) -> Callable[[Holder], Holder]:
    """Declare the units that layers of some types hold.

    Parameters
    ----------
    *types : type
        Module types; subclasses are included unless they are declared themselves.
    kind : str
        Name of the kind, for ``TorchModel(units=...)``.

    Returns
    -------
    callable
        Decorator for a function from a module to its `Lanes`.
    """

    def declare(holder: Holder) -> Holder:
        for module_type in types:
            _HOLDERS[module_type] = (kind, holder)
        return holder

    return declare


def kinds() -> tuple[str, ...]:
    """Every kind of unit declared so far."""
    return tuple(dict.fromkeys(kind for kind, _ in _HOLDERS.values()))


def find_holder(module: nn.Module) -> tuple[str, Holder] | None:
    """Kind and holder of a module's nearest declared type, or None."""
    for module_type in type(module).__mro__:
        if module_type in _HOLDERS:
            return _HOLDERS[module_type]
    if isinstance(getattr(module, "qkv", None), nn.Linear) and isinstance(getattr(module, "num_heads", None), int):
        return "heads", fused_heads()
    return None


def single(parameter: str, layout: Layout = "rows") -> Holder:
    """Build a holder whose units are the lanes of one parameter."""

    def holder(module: nn.Module) -> list[Lanes]:
        weight = getattr(module, parameter, None)
        if weight is None:  # affine=False, bias-free and the like
            return []
        if layout == "transposed":
            count = weight.shape[1] * module.groups
            return [Lanes(parameter, np.arange(count), layout, int(module.groups))]  # type: ignore[arg-type]  # a Conv
        count = {"rows": weight.shape[0], "columns": weight.shape[-1], "elements": weight.numel()}[layout]
        return [Lanes(parameter, np.arange(count), layout)]

    return holder


holds(nn.Conv1d, nn.Conv2d, nn.Conv3d, kind="filters")(single("weight"))
holds(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, kind="filters")(single("weight", "transposed"))
holds(nn.Linear, kind="rows")(single("weight"))
holds(
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    kind="channels",  # _NormBase: batch and instance
)(single("weight", "elements"))


@holds(nn.MultiheadAttention, kind="heads")
def attention_heads(attention: nn.MultiheadAttention) -> list[Lanes]:
    """Rows of q, k and v and columns of the output projection, head by head."""
    head = np.repeat(np.arange(attention.num_heads), attention.head_dim)
    if attention.in_proj_weight is not None:
        projections = [Lanes("in_proj_weight", np.tile(head, 3))]
    else:
        projections = [Lanes(f"{name}_proj_weight", head) for name in "qkv"]
    return [*projections, Lanes("out_proj.weight", head, "columns")]


def fused_heads(
    qkv: str = "qkv", proj: str | None = "proj", num_heads: str = "num_heads", interleaved: bool = False
) -> Holder:
    """Build a holder for attention with one fused linear projection.

    Parameters are those of `register_heads`.
    """

    def holder(attention: nn.Module) -> list[Lanes]:
        heads = int(getattr(attention, num_heads))
        rows = attention.get_submodule(qkv).weight.shape[0]  # type: ignore[index]  # a Linear
        if rows % (3 * heads):
            raise ValueError(
                f"got {rows} rows of {qkv!r} in {type(attention).__name__}, wanted a multiple of 3 × {heads} heads"
            )
        width = rows // (3 * heads)
        head = np.arange(heads)
        lanes = [
            Lanes(f"{qkv}.weight", np.repeat(head, 3 * width) if interleaved else np.tile(np.repeat(head, width), 3))
        ]
        if proj is not None and isinstance(dict(attention.named_modules()).get(proj), nn.Linear):
            lanes.append(Lanes(f"{proj}.weight", np.repeat(head, width), "columns"))
        return lanes

    return holder


def register_heads(
    attention: type[nn.Module],
    *,
    qkv: str = "qkv",
    proj: str | None = "proj",
    num_heads: str = "num_heads",
    interleaved: bool = False,
) -> None:
    """Declare the heads of an attention layer with a fused q-k-v projection.

    Modules with an integer ``num_heads`` and linear layers ``qkv`` and ``proj`` are recognised without this.

    Parameters
    ----------
    attention : type
        The attention module's type.
    qkv, proj : str, str or None
        Names of its linear layers, dots allowed; ``proj=None`` where there is no output projection.
    num_heads : str
        Name of the attribute that counts the heads.
    interleaved : bool
        Whether rows run head by head (q, k, v of head 0, then of head 1) rather than all of q, all of k, all of v.
    """
    holds(attention, kind="heads")(fused_heads(qkv, proj, num_heads, interleaved))
