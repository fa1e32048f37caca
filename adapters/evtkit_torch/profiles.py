"""Profiles: a forward and a backward pass, each weight's gradient reduced to a number a unit and sample on the way."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from evtkit_torch.capture import Call, Capture, root
from evtkit_torch.inputs import Batch, Loss, per_sample_losses
from evtkit_torch.reduce import Power, Workspace, lane_sums
from evtkit_torch.rules import Use
from evtkit_torch.state import eager, evaluation, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evtkit.saliency.adapting import Reduction
    from evtkit_torch.plan import Plan

__all__ = ["Profiler", "ordinary_gradient"]

POWER: dict[str, Power] = {"mean-abs": 1, "l2": 2, "taylor": 0}
_FOLDED = -1  # (samples · positions, ...), each sample's positions in succession


@dataclass(eq=False)
class Profiler:
    """Everything that stays the same from one batch to the next.

    Parameters
    ----------
    model : nn.Module
        The network.
    plan : Plan
        Its units.
    loss : callable or None
        Per-sample loss; None for cross-entropy.
    reduction : {"mean-abs", "l2", "taylor"}
        As in `evtkit_torch.TorchModel`.
    workspace_mib : float
        Bound of the memory used beyond the activations.
    autocast : dtype or None
        Run the forward pass in mixed precision.
    loss_scale : float
        The losses are multiplied by it and the profile divided, so that float16 gradients do not underflow.

    Attributes
    ----------
    batch_axes : dict
        Where each weight's input has its samples, found at first use.
    followers : dict
        For each weight, the batch-norm scales its output goes straight into.
    used : set
        Weights that have entered an operation in some pass.
    grad_inputs : bool
        Whether the network's input must ask for a gradient, which costs one and is needed under checkpointing only.
    """

    model: nn.Module
    plan: Plan
    loss: Loss | None
    reduction: Reduction
    workspace_mib: float
    autocast: torch.dtype | None = None
    loss_scale: float = 1.0
    batch_axes: dict[str, int] = field(default_factory=dict)
    followers: dict[str, set[str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    grad_inputs: bool = False

    def forward(self, batch: Batch) -> Any:
        """Run the network on a batch."""
        device = next(self.model.parameters()).device
        mixed = torch.autocast(device.type, self.autocast) if self.autocast is not None else nullcontext()
        with mixed:
            return self.model(*batch.args, **batch.kwargs)

    def losses(self, batch: Batch, target: Any) -> Tensor:
        """Return checked losses, one a sample, of a forward pass."""
        return per_sample_losses(self.loss, self.forward(batch), target, batch.size)

    def profile(self, batch: Batch, target: Any) -> Tensor:
        """Return the profile of a batch that fits in memory, shape (batch, units), on the network's device."""
        try:
            return self._profile(batch, target)
        except CheckpointError:
            if self.grad_inputs:
                raise
            # The first layers are recomputed in the backward pass, where nothing can be put after them.
            self.grad_inputs = True
            return self._profile(batch, target)

    def _profile(self, batch: Batch, target: Any) -> Tensor:
        parameters = dict(self.model.named_parameters())
        tracked = {name: parameters[name] for name in self.plan.parameters}
        reducer = _Reducer(self, batch.size, tracked)
        with torch.inference_mode(False), torch.enable_grad(), eager(), evaluation(self.model), frozen(self.model):
            capture = Capture(self.model, tracked, reducer.take)
            if self.grad_inputs:
                batch = batch.map(lambda x: root(x, capture.anchor) if x.is_floating_point() else x)
            with capture.following():
                losses = self.losses(batch, target)
            capture.backward(losses.sum() * self.loss_scale)
        for weight, scales in capture.followers.items():
            self.followers.setdefault(weight, set()).update(scales)
        self.used |= capture.used
        return reducer.finish()


def ordinary_gradient(profiler: Profiler, batch: Batch, target: Any, names: Sequence[str]) -> dict[str, Tensor]:
    """Gradient of the batch's summed loss with respect to some parameters, the ordinary way."""
    parameters = dict(profiler.model.named_parameters())
    wanted = {name: parameters[name] for name in names}
    model = profiler.model
    with torch.inference_mode(False), torch.enable_grad(), eager(), evaluation(model), frozen(model, wanted.values()):
        losses = profiler.losses(batch, target)
        if losses.requires_grad:
            losses.sum().backward()
        return {name: p.new_zeros(p.shape) if p.grad is None else p.grad for name, p in wanted.items()}


class _Reducer:
    """Adds up lanes to units as the backward pass delivers them."""

    def __init__(self, profiler: Profiler, samples: int, tracked: Mapping[str, Tensor]) -> None:
        self._profiler = profiler
        self._samples = samples
        self._tracked = tracked
        self._workspace = Workspace(profiler.workspace_mib)
        any_parameter = next(iter(tracked.values()))
        wide = any(parameter.dtype == torch.float64 for parameter in tracked.values())
        self._sums = torch.zeros(
            samples,
            len(profiler.plan.units),
            dtype=torch.float64 if wide else torch.float32,
            device=any_parameter.device,
        )

    def take(self, name: str, calls: Sequence[Call]) -> None:
        for lanes in self._profiler.plan.lanes:
            if lanes.parameter != name:
                continue
            uses = [self._use(call, lanes.layout) for call in calls]
            power = POWER[self._profiler.reduction]
            rules = [call.rule for call in calls]  # they may differ: a linear layer tied to an embedding
            sums = lane_sums(rules, uses, self._samples, len(lanes.units), power, self._workspace)
            units = torch.from_numpy(lanes.units).to(self._sums.device)
            self._sums.index_add_(1, units, sums.to(self._sums))

    def finish(self) -> Tensor:
        sizes = torch.from_numpy(np.array(self._profiler.plan.units.size)).to(self._sums)
        scale = self._profiler.loss_scale
        if self._profiler.reduction == "l2":
            return self._sums.sqrt() / scale
        return (self._sums / sizes if self._profiler.reduction == "mean-abs" else self._sums) / scale

    def _use(self, call: Call, layout: Any) -> Use:
        a, g = call.input, call.gradient
        assert g is not None
        axis = self._batch_axis(call, a)
        if axis:
            a, g = a.movedim(axis, 0), g.movedim(axis, 0)
        return Use(self._tracked[call.parameter], a, g, call.options, layout)

    def _batch_axis(self, call: Call, a: Tensor) -> int:
        """Axis of the samples, remembered where only one was possible; 0 where a sequence is folded into the batch."""
        n, known = self._samples, self._profiler.batch_axes.get(call.parameter)
        leading = (a.ndim - a.is_floating_point()) if call.channels_last else 1
        possible = [axis for axis in range(leading) if a.shape[axis] == n]
        if a.shape[0] % n == 0 and (known == _FOLDED or not possible):
            self._profiler.batch_axes[call.parameter] = _FOLDED
            return 0
        if not possible:
            raise RuntimeError(
                f"got an input of shape {tuple(a.shape)} where {call.parameter} is used, wanted an axis of {n} samples"
            )
        if known in possible:
            return known
        if len(possible) == 1:
            self._profiler.batch_axes[call.parameter] = possible[0]
        return possible[0]
