"""Layers: which module types hold which units."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from evtkit.saliency.adapting import Holders, Lanes, lanes_along, resolve, single
from evtkit_torch.state import direct_parameters

__all__ = ["HOLDERS", "holds", "register_heads"]

HOLDERS = Holders(nn.Linear, "weight", outputs=0)
"""What is known so far; parameters are named relative to the module."""

holds, register_heads = HOLDERS.holds, HOLDERS.register_heads

holds(nn.Conv1d, nn.Conv2d, nn.Conv3d, kind="filters")(single("weight", (0,)))
holds(nn.Linear, nn.Bilinear, kind="rows")(single("weight", (0,)))
holds(nn.Embedding, kind="words")(single("weight", (0,)))
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


@holds(nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell, kind="cells")
def recurrent_cells(layer: Any) -> dict[str, list[Lanes]]:
    """A cell's rows in every gate, of the inputs' weights and of the state's; layers and directions one by one."""
    lanes, first = [], 0
    weights = [name for name in direct_parameters(layer) if name.startswith("weight_ih")]
    for name in weights:
        cells = np.arange(layer.hidden_size)
        for prefix in ("weight_ih", "weight_hh"):
            weight = getattr(layer, own := name.replace("weight_ih", prefix))
            gates = len(weight) // len(cells)
            lanes.append(Lanes(own, first + np.tile(cells, gates)))
        projection = name.replace("weight_ih", "weight_hr")
        if hasattr(layer, projection):
            lanes.append(Lanes(projection, first + cells, (1,)))
        first += len(cells)
    return {"": lanes}


def _is_transposed_linear(layer: Any) -> bool:
    """Whether it is the linear layer of GPT-2, which Transformers calls Conv1D: its weight is (inputs, outputs)."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf") and getattr(layer.weight, "ndim", 0) == 2


HOLDERS.recognises(_is_transposed_linear, kind="rows")(single("weight", (1,)))


@HOLDERS.recognises(
    lambda layer: type(layer).__name__.endswith(("RMSNorm", "LayerNorm")) and resolve(layer, "weight") is not None,
    kind="channels",
)
def norm_scales(layer: Any) -> dict[str, list[Lanes]]:
    """Scales of a normalisation layer of one's own, by its name."""
    return {"": lanes_along(layer, "weight", None)}


_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("q", "k", "v"),
    ("self.query", "self.key", "self.value"),
    ("attention.query", "attention.key", "attention.value"),
)
_OUTPUTS = ("out_proj", "o_proj", "out_lin", "to_out.0", "to_out", "o", "dense", "output.dense", "proj")
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "self.num_attention_heads",
           "attention.num_attention_heads", "config.num_attention_heads", "config.n_heads")  # fmt: skip


def _projections(layer: Any) -> tuple[str, ...]:
    """Names of the linear layers of queries, keys and values inside an attention layer, if it has all three."""
    for names in _PROJECTIONS:
        if all(isinstance(resolve(layer, name), nn.Linear) for name in names):
            return names
    return ()


def _heads(layer: Any) -> int:
    found = (resolve(layer, name) for name in _COUNTS)
    return next((count for count in found if isinstance(count, int)), 0)


@HOLDERS.recognises(lambda layer: _heads(layer) and _projections(layer), kind="heads")
def separate_heads(attention: Any) -> dict[str, list[Lanes]]:
    """Heads of separate projections; then the fewer heads of keys and values, if several query heads share them."""
    q, k, v = _projections(attention)
    heads, outputs = _heads(attention), resolve(attention, q).out_features
    width = outputs // heads
    if outputs % heads or any(resolve(attention, name).out_features % width for name in (k, v)):
        return {"": []}
    lanes, own = [], np.repeat(np.arange(heads), width)
    for name in (q, k, v):
        count = resolve(attention, name).out_features
        shared = count != outputs
        lanes.append(Lanes(f"{name}.weight", np.arange(count) // width + heads * shared))
    for name in _OUTPUTS:
        output = resolve(attention, name)
        if isinstance(output, nn.Linear) and output.in_features == outputs and name not in (q, k, v):
            lanes.append(Lanes(f"{name}.weight", own, (1,)))
            break
    return {"": lanes}


@HOLDERS.recognises(lambda layer: _is_transposed_linear(resolve(layer, "c_attn")) and _heads(layer), kind="heads")
def transposed_fused_heads(attention: Any) -> dict[str, list[Lanes]]:
    """Heads of GPT-2's attention: columns of one matrix for queries, keys and values, rows of the output's."""
    heads = _heads(attention)
    outputs = attention.c_attn.nf
    if outputs % (3 * heads):
        return {"": []}
    head = np.repeat(np.arange(heads), outputs // (3 * heads))
    lanes = [Lanes("c_attn.weight", np.tile(head, 3), (1,))]
    if _is_transposed_linear(resolve(attention, "c_proj")):
        lanes.append(Lanes("c_proj.weight", head, (0,)))
    return {"": lanes}
