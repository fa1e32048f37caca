"""Linear layers and embeddings.

Letters: n sample, t position (all axes between batch and features), o output feature, i input feature.
Per-sample gradient W[n, o, i] = Σ_t g[n, t, o] a[n, t, i].
"""

from __future__ import annotations

import torch
from torch.nn import functional

from evtkit.saliency.adapting import Block
from evtkit_torch.rules.registry import NoRuleError, Use, register


@register(functional.linear, arguments="input weight bias", channels_last=True, outputs="features", features=1)
def linear(use: Use) -> tuple[Block, ...]:
    """Outer product of gradient and input, summed over positions; columns exchange the two."""
    a = use.a.unsqueeze(1).flatten(1, -2)  # (n, t, i)
    g = use.g.unsqueeze(1).flatten(1, -2)  # (n, t, o)
    weight = use.weight
    if use.axes == (1,):
        a, g, weight = g, a, weight.T
    return (Block(g.transpose(1, 2).unsqueeze(1), a.unsqueeze(1), weight.unsqueeze(0)),)


@register(functional.bilinear, torch.bilinear, arguments="input input2 weight bias", channels_last=True,
          outputs="features", features=1)  # fmt: skip
def bilinear(use: Use) -> tuple[Block, ...]:
    """Left to the slow way: its second input is not arranged as the first one is."""
    raise NoRuleError


@register(functional.embedding, channels_last=True, outputs="words", features=1)
def embedding(use: Use) -> tuple[Block, ...]:
    """Sum the output gradient over the positions that hold a word; for weights tied to a linear layer."""
    if use.options.get("scale_grad_by_freq") or use.options.get("max_norm") is not None:
        raise RuntimeError(
            "an embedding must have a gradient that a sample owns, got one with scale_grad_by_freq or max_norm"
        )
    words, vocabulary = use.a.long().flatten(1), use.weight.shape[0]
    g = use.g.reshape(len(words), -1, use.weight.shape[1])  # (n, t, i)
    hot = functional.one_hot(words, vocabulary).to(g.dtype)  # (n, t, o)
    padding = use.options.get("padding_idx")
    if padding is not None:
        hot[..., padding] = 0
    if use.axes == (1,):
        return (Block(g.transpose(1, 2).unsqueeze(1), hot.unsqueeze(1), use.weight.T.unsqueeze(0)),)
    return (Block(hot.transpose(1, 2).unsqueeze(1), g.unsqueeze(1), use.weight.unsqueeze(0)),)
