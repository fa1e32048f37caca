"""Normalisation layers: the scale's gradient is Σ_q g·x̂, with x̂ the normalised input before scale and shift.

Letters: n sample, c channel (or feature), q position. Every scale is a group of its own, with one row and k = 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from evtkit.saliency.adapting import Block
from evtkit_torch.rules.registry import Use, register

if TYPE_CHECKING:
    from torch import Tensor

BATCH_NORM = "input running_mean running_var weight bias training momentum eps"


@register(functional.batch_norm, arguments=BATCH_NORM, outputs="channels")
def batch_norm(use: Use) -> tuple[Block, ...]:
    """Normalise by the running statistics."""
    mean, var = use.options["running_mean"], use.options["running_var"]
    return _channels(use, functional.batch_norm(use.a, mean.to(use.a), var.to(use.a), eps=use.options.get("eps", 1e-5)))


@register(functional.instance_norm, outputs="channels")
def instance_norm(use: Use) -> tuple[Block, ...]:
    """Normalise each channel of each sample, or by running statistics where the layer keeps them."""
    own = use.options.get("use_input_stats", True)
    statistics = {} if own else {name: use.options[name].to(use.a) for name in ("running_mean", "running_var")}
    eps = use.options.get("eps", 1e-5)
    return _channels(use, functional.instance_norm(use.a, **statistics, use_input_stats=own, eps=eps))


@register(functional.group_norm, outputs="channels")
def group_norm(use: Use) -> tuple[Block, ...]:
    """Normalise groups of channels."""
    return _channels(use, functional.group_norm(use.a, use.options["num_groups"], eps=use.options.get("eps", 1e-5)))


@register(functional.layer_norm, channels_last=True, outputs="features")
def layer_norm(use: Use) -> tuple[Block, ...]:
    """Normalise the last axes."""
    shape = tuple(use.options["normalized_shape"])
    return _features(use, functional.layer_norm(use.a, shape, eps=use.options.get("eps", 1e-5)))


@register(functional.rms_norm, channels_last=True, outputs="features")
def rms_norm(use: Use) -> tuple[Block, ...]:
    """Divide the last axes by their root mean square."""
    eps = use.options.get("eps")
    return _features(use, functional.rms_norm(use.a, tuple(use.weight.shape), eps=eps))


def _channels(use: Use, normalised: Tensor) -> tuple[Block, ...]:
    g, x = use.g.unsqueeze(-1).flatten(2), normalised.unsqueeze(-1).flatten(2)  # (n, c, q)
    return (Block(g.unsqueeze(2), x.unsqueeze(3), use.weight.reshape(-1, 1, 1)),)


def _features(use: Use, normalised: Tensor) -> tuple[Block, ...]:
    c = use.weight.numel()
    g, x = (t.reshape(len(t), -1, c).transpose(1, 2) for t in (use.g, normalised))  # (n, c, q)
    return (Block(g.unsqueeze(2), x.unsqueeze(3), use.weight.reshape(-1, 1, 1)),)
