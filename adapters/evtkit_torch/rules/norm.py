"""Normalisation layers: the scale's gradient is Σ_q g·x̂, with x̂ the normalised input before scale and shift.

Letters: n sample, c channel (or feature), q position. Every scale is a group of its own, with one row and k = 1.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from evtkit_torch.rules.registry import Block, Use, register

BATCH_NORM = "input running_mean running_var weight bias training momentum eps"


@register(F.batch_norm, arguments=BATCH_NORM)
def batch_norm(use: Use) -> tuple[Block, ...]:
    """Normalise by the running statistics."""
    mean, var = use.options["running_mean"], use.options["running_var"]
    return _channels(use, F.batch_norm(use.a, mean.to(use.a), var.to(use.a), eps=use.options.get("eps", 1e-5)))


@register(F.instance_norm)
def instance_norm(use: Use) -> tuple[Block, ...]:
    """Normalise each channel of each sample, or by running statistics where the layer keeps them."""
    own = use.options.get("use_input_stats", True)
    mean, var = use.options.get("running_mean"), use.options.get("running_var")
    statistics = {} if own or mean is None else {"running_mean": mean.to(use.a), "running_var": var.to(use.a)}
    return _channels(use, F.instance_norm(use.a, **statistics, use_input_stats=own, eps=use.options.get("eps", 1e-5)))


@register(F.group_norm)
def group_norm(use: Use) -> tuple[Block, ...]:
    """Normalise groups of channels."""
    return _channels(use, F.group_norm(use.a, use.options["num_groups"], eps=use.options.get("eps", 1e-5)))


@register(F.layer_norm, channels_last=True)
def layer_norm(use: Use) -> tuple[Block, ...]:
    """Normalise the last axes."""
    shape = tuple(use.options["normalized_shape"])
    return _features(use, F.layer_norm(use.a, shape, eps=use.options.get("eps", 1e-5)))


@register(F.rms_norm, channels_last=True)
def rms_norm(use: Use) -> tuple[Block, ...]:
    """Divide the last axes by their root mean square."""
    eps = use.options.get("eps")
    return _features(use, F.rms_norm(use.a, tuple(use.weight.shape), eps=eps))


def _channels(use: Use, normalised: Tensor) -> tuple[Block, ...]:
    g, x = use.g.unsqueeze(-1).flatten(2), normalised.unsqueeze(-1).flatten(2)  # (n, c, q)
    return (Block(g.unsqueeze(2), x.unsqueeze(3)),)


def _features(use: Use, normalised: Tensor) -> tuple[Block, ...]:
    c = use.weight.numel()
    g, x = (t.reshape(len(t), -1, c).transpose(1, 2) for t in (use.g, normalised))  # (n, c, q)
    return (Block(g.unsqueeze(2), x.unsqueeze(3)),)
