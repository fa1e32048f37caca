"""Profiles: a forward and a backward pass, each weight's gradient reduced to a number a unit and sample on the way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from evtkit.saliency.adapting import Batch, Profiler, finish
from evtkit_torch.capture import Call, Capture, root
from evtkit_torch.input_saliency import input_slope
from evtkit_torch.inputs import Loss, logits_of, per_sample_losses, placed
from evtkit_torch.reduce import Workspace, lane_sums
from evtkit_torch.rules import Use
from evtkit_torch.state import check_no_mixing, eager, evaluation, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["TorchProfiler"]

_FOLDED = -1  # (samples · positions, ...), each sample's positions in succession


@dataclass(eq=False, repr=False, kw_only=True)
class TorchProfiler(Profiler):
    """Everything that stays the same from one batch to the next.

    Parameters
    ----------
    network, plan, reduction
        As in `Profiler`.
    loss : callable or None
        Per-sample loss; None for cross-entropy.
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
    grad_inputs : bool
        Whether the network's input must ask for a gradient, which costs one and is needed under checkpointing only.
    """

    loss: Loss | None
    workspace_mib: float
    autocast: torch.dtype | None = None
    loss_scale: float = 1.0
    batch_axes: dict[str, int] = field(default_factory=dict)
    grad_inputs: bool = False

    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self.network.model  # type: ignore[no-any-return]  # Any in the base

    @property
    def _some_parameter(self) -> Tensor:
        return next(self.model.parameters())

    def is_tensor(self, x: Any) -> bool:
        """Whether something is a tensor."""
        return isinstance(x, Tensor)

    def place(self, x: Any) -> Any:
        """Bring an array or tensor to the network's device and dtype."""
        return placed(x, self._some_parameter.device, self._some_parameter.dtype)

    @torch.inference_mode(False)
    def place_target(self, y: Any) -> Any:
        """Bring targets to the network's device."""
        target = (y.detach() if isinstance(y, Tensor) else torch.as_tensor(y)).to(self._some_parameter.device)
        return target.clone() if target.is_inference() else target

    @torch.inference_mode(False)  # what is made in inference mode has no gradient, ever
    def batch(self, x: Any) -> Batch:
        """A network's input, of a network that does not mix samples."""
        check_no_mixing(self.model)
        return super().batch(x)

    def computes_in(self) -> list[str]:
        """The dtypes of weights and of autocast."""
        parameter = self.network.read(self.plan.parameters[0])
        mixed = self.autocast is not None or torch.is_autocast_enabled(parameter.device.type)
        return ["mixed" if mixed else str(parameter.dtype).removeprefix("torch.")]

    def logits(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class scores, without a gradient."""
        with torch.no_grad(), eager(), evaluation(self.model):
            scores = logits_of(self.forward(batch))
        return self.network.arrays.numpy(scores)

    def forward(self, batch: Batch) -> Any:
        """Run the network on a batch."""
        device, given = self._some_parameter.device, batch.inputs
        mixed = torch.autocast(device.type, self.autocast) if self.autocast is not None else nullcontext()
        with mixed:
            if isinstance(given, Mapping):
                return self.model(**given)
            return self.model(*given) if isinstance(given, (tuple, list)) else self.model(given)

    def losses(self, batch: Batch, target: Any) -> Tensor:
        """Return checked losses, one a sample, of a forward pass."""
        return per_sample_losses(self.loss, self.forward(batch), target, batch.size)

    @torch.inference_mode(False)
    def locate(self, batch: Batch, target: Any) -> None:
        """Find the samples' axis of every weight's input: one of length 2 is hardly ever anything else."""
        two = [0, min(1, batch.size - 1)]
        self._checkpointed(batch[two], target[two] if isinstance(target, Tensor) else target)

    @torch.inference_mode(False)
    def profile(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Profile of a batch that fits in memory, shape (batch, units)."""
        profile: NDArray[np.floating[Any]] = self._checkpointed(batch, target).cpu().numpy()
        return profile

    @torch.inference_mode(False)
    def gradient(self, batch: Batch, target: Any, names: Iterable[str]) -> dict[str, Tensor]:
        """Gradient of the batch's summed loss with respect to some parameters, the ordinary way."""
        wanted = {name: self.model.get_parameter(name) for name in names}
        with torch.enable_grad(), eager(), evaluation(self.model), frozen(self.model, wanted.values()):
            losses = self.losses(batch, target)
            if losses.requires_grad:
                losses.sum().backward()
            return {name: p.new_zeros(p.shape) if p.grad is None else p.grad for name, p in wanted.items()}

    def input_slope(self, batch: Batch, target: Any, measure: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Absolute slope of a measure of one sample's ordinary gradient along the input."""
        parameters = {name: self.model.get_parameter(name) for name in self.plan.parameters}
        return input_slope(self.model, batch, lambda one: self.losses(one, target), parameters, measure)

    def _checkpointed(self, batch: Batch, target: Any) -> Tensor:
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
        with torch.enable_grad(), eager(), evaluation(self.model), frozen(self.model):
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


class _Reducer:
    """Adds up lanes to units as the backward pass delivers them."""

    def __init__(self, profiler: TorchProfiler, samples: int, tracked: Mapping[str, Tensor]) -> None:
        self._profiler = profiler
        self._samples = samples
        self._tracked = tracked
        self._workspace = Workspace(profiler.workspace_mib)
        some = next(iter(tracked.values()))
        dtype = torch.float64 if profiler.dtype == np.float64 else torch.float32
        self._sums = torch.zeros(samples, len(profiler.plan.units), dtype=dtype, device=some.device)

    def take(self, name: str, calls: Sequence[Call]) -> None:
        for lanes in self._profiler.plan.lanes:
            if lanes.parameter != name:
                continue
            uses = [self._use(call, lanes.axes) for call in calls]
            reduction = self._profiler.reduction
            rules = [call.rule for call in calls]  # they may differ: a linear layer tied to an embedding
            sums = lane_sums(rules, uses, self._samples, len(lanes.units), reduction, self._workspace)
            units = torch.from_numpy(lanes.units).to(self._sums.device)
            self._sums.index_add_(1, units, sums.to(self._sums))

    def finish(self) -> Tensor:
        sizes = self._profiler.network.arrays.like(self._profiler.plan.units.size, self._sums)
        finished: Tensor = finish(self._sums, self._profiler.reduction, sizes)
        return finished / self._profiler.loss_scale

    def _use(self, call: Call, lanes: tuple[int, ...]) -> Use:
        a, g = call.input, call.gradient
        assert g is not None
        axis = self._batch_axis(call, a)
        if axis:
            a, g = a.movedim(axis, 0), g.movedim(axis, 0)
        return Use(self._tracked[call.parameter], a, g, call.options, lanes)

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
