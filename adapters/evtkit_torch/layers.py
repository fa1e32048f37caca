"""Layers: which module types hold which units."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from evtkit.saliency.adapting import Holders, Lanes, lanes_along, single

__all__ = ["HOLDERS", "holds", "register_heads"]

HOLDERS = Holders(nn.Linear, "weight", outputs=0)
"""What is known so far; parameters are named relative to the module."""

holds, register_heads = HOLDERS.holds, HOLDERS.register_heads

holds(nn.Conv1d, nn.Conv2d, nn.Conv3d, kind="filters")(single("weight", (0,)))
holds(nn.Linear, kind="rows")(single("weight", (0,)))
holds(
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    kind="channels",  # _NormBase: batch and instance
)(single("weight", None))


@holds(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, kind="filters")
def transposed_filters(layer: Any) -> dict[str, list[Lanes]]:
    """Output channels, group by group: the weight is (inputs, outputs / groups, ...)."""
    return {"": lanes_along(layer, "weight", (1,), int(layer.groups))}


@holds(nn.MultiheadAttention, kind="heads")
def attention_heads(attention: Any) -> dict[str, list[Lanes]]:
    """Rows of q, k and v and columns of the output projection, head by head."""
    head = np.repeat(np.arange(attention.num_heads), attention.head_dim)
    if attention.in_proj_weight is not None:
        projections = [Lanes("in_proj_weight", np.tile(head, 3))]
    else:
        projections = [Lanes(f"{name}_proj_weight", head) for name in "qkv"]
    return {"": [*projections, Lanes("out_proj.weight", head, (1,))]}
