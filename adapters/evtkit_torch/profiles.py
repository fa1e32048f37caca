"""Profiles: a forward and a backward pass, each weight's gradient reduced to a number a unit and sample on the way."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from evtkit.saliency.adapting import (
    NOISE,
    SAMPLES,
    Batch,
    Lanes,
    LastLayer,
    Profiler,
    finish,
    loss_weights,
    unit_totals,
)
from evtkit_torch.activations import unit_activations
from evtkit_torch.batch_norms import SoundBatchNorms
from evtkit_torch.capture import Capture, root
from evtkit_torch.input_saliency import input_slope
from evtkit_torch.inputs import Loss, chosen, per_sample_losses, placed, scores_of
from evtkit_torch.last import last_layer
from evtkit_torch.network import TorchNetwork
from evtkit_torch.reduce import Workspace
from evtkit_torch.reducer import Layouts, Reducer
from evtkit_torch.rows import base_of
from evtkit_torch.state import (
    Parts,
    RefusedError,
    check_no_mixing,
    eager,
    evaluation,
    every_parameter,
    frozen,
)
from evtkit_torch.varying import can_vary, varied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

__all__ = ["TorchProfiler"]


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32, in convolutions or in products of matrices."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@dataclass(eq=False, repr=False, kw_only=True)
class TorchProfiler(Profiler):
    """Everything that stays the same from one batch to the next.

    Parameters
    ----------
    network, plan, reduction
        As in `Profiler`.
    loss : callable or None
        Per-sample loss; None for cross-entropy.
    output : str, int or None
        Which of several outputs.
    workspace_mib : float
        Bound of the memory used beyond the activations.
    autocast : dtype or None
        Run the forward pass in mixed precision.
    loss_scale : float
        The losses are multiplied by it and the profile divided, so that float16 gradients do not underflow.

    Attributes
    ----------
    layouts : Layouts
        Where each weight's gradient has its samples, found out and checked again by further backward passes.
    grad_inputs : bool
        Whether the network's input must ask for a gradient, which costs one and is needed under checkpointing only.
    joins : bool
        Whether a convolution and its batch norm may be one step of the backward pass: not in a network that looks at
        gradients itself, by hooks on tensors.
    """

    channel_axis = 1
    has_activations = True

    loss: Loss | None
    output: str | int | None = None
    workspace_mib: float
    autocast: torch.dtype | None = None
    loss_scale: float = 1.0
    layouts: Layouts = field(default_factory=Layouts)
    grad_inputs: bool = False
    joins: bool = True

    def __post_init__(self) -> None:
        self.workspace = Workspace(self.workspace_mib)
        self._units: dict[int, tuple[slice, Tensor | None]] = {}
        self._lost = torch.empty(0)
        self._axis = 1
        self._reducer: Reducer | None = None
        self._counts: Tensor | None = None
        self._quiet: NDArray[np.bool_] | None = None
        self._pinned: Tensor | None = None
        self._uses: dict[str, int] = {}

    def units_of(self, lanes: Lanes, like: Tensor) -> tuple[slice, Tensor | None]:
        """The units that lanes belong to, as a slice, and which lane is in which of them unless it is one each."""
        found = self._units.get(id(lanes))
        if found is None or (found[1] is not None and (found[1].dtype, found[1].device) != (like.dtype, like.device)):
            first, last = int(lanes.units.min()), int(lanes.units.max()) + 1
            share = None
            if not np.array_equal(lanes.units, np.arange(first, last)):
                share = torch.as_tensor(lanes.units[:, None] == np.arange(first, last)).to(like)
            found = self._units[id(lanes)] = slice(first, last), share
        return found

    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self.network.model  # type: ignore[no-any-return]  # Any in the base

    @property
    def _some_parameter(self) -> Tensor:
        return next(every_parameter(self.model))

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
        if target.is_floating_point():
            target = target.to(torch.float64 if self._some_parameter.dtype == torch.float64 else torch.float32)
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
            scores, self._axis = scores_of(self.forward(batch), self.task)
        return self.network.arrays.numpy(scores)

    def probabilities(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class probabilities, labels' probabilities, or values, as the network lays them out."""
        scores = torch.from_numpy(self.logits(batch))
        if self.task == "values":
            return scores.numpy()
        return (scores.softmax(self._axis) if self.task == "classes" else scores.sigmoid()).numpy()

    def activations(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Mean and mean size of what each unit puts out, without a gradient."""
        with torch.no_grad(), eager(), evaluation(self.model):
            found = unit_activations(self.model, self.plan.units, lambda: self.forward(batch), batch.size)
        return found.astype(self.dtype)

    def last_layer(self, batch: Batch) -> LastLayer | None:
        """The linear layer whose output is the class scores, and what enters it, without a gradient."""
        with torch.no_grad(), eager(), evaluation(self.model):
            return last_layer(
                self.model, lambda: scores_of(self.forward(batch), self.task)[0], self.network.arrays.numpy
            )

    def varied(
        self,
        chosen: Sequence[NDArray[np.intp]],
        factors: NDArray[np.float64],
        gradient: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[Callable[[], bool]] | None:
        """Context in which each sample sees other units changed."""
        if self.narrowest not in (torch.float32, torch.float64) and not self._takes_liberties:
            return None  # a weight that is changed is rounded, a sum is not
        found = np.unique(np.concatenate(chosen))
        held = {lanes.parameter for unit in found.tolist() for lanes, _ in self.plan.pieces[unit]}
        elsewhere = any(name in self.slow or self._uses.get(name, 1) > 1 for name in held)
        if elsewhere or not can_vary(self.model, self.plan.units, found):
            return None
        return varied(self.model, self.plan.units, chosen, factors, gradient)

    def move(self, device: Any) -> None:
        """Bring the network to a device."""
        self.network.model = self.model.to(device)

    def use_loss(self, loss: Callable[[Any, Any], Any]) -> None:
        """Take another loss, ``loss(output, target) -> (batch,)``."""
        self.loss = loss

    def ran_out(self, error: BaseException) -> bool:
        """Whether memory was not enough; what PyTorch keeps for reuse is given back."""
        out = super().ran_out(error)
        if out and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return out

    def sample_losses(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Loss of each sample, without a gradient."""
        with torch.no_grad(), eager(), evaluation(self.model):
            return self.network.arrays.numpy(self.losses(batch, target))

    def forward(self, batch: Batch) -> Any:
        """Run the network on a batch."""
        device, given = self._some_parameter.device, batch.inputs
        mixed = torch.autocast(device.type, self.autocast) if self.autocast is not None else nullcontext()
        with mixed:
            if isinstance(given, Mapping):
                output = self.model(**given)
            else:
                output = self.model(*given) if isinstance(given, (tuple, list)) else self.model(given)
        return chosen(output, self.output)

    def losses(self, batch: Batch, target: Any) -> Tensor:
        """Return checked losses, one a sample, of a forward pass."""
        return per_sample_losses(self.loss, self.forward(batch), target, batch.size, task=self.task)

    @torch.inference_mode(False)
    def profile(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Profile of a batch that fits in memory, shape (batch, units)."""
        self._quiet = None
        sums, sizes = self._checkpointed(batch, target)
        if sizes is None or sums.device.type == "cpu":
            self.sizes = None if sizes is None else sizes.cpu().numpy()
        else:  # what `quieten` does, there, where it takes no time
            quiet = (sums.abs() <= NOISE * torch.finfo(sums.dtype).eps * sizes) & sizes.isfinite()
            both = torch.stack([(quiet & (sizes > 0)).any(0), (~quiet & (sums != 0)).any(0)])
            sums = sums.masked_fill_(quiet, 0)
            self._quiet, self.sizes = both.cpu().numpy(), sizes[:SAMPLES].cpu().numpy()
        return self._fetched(sums)

    def _fetched(self, x: Tensor) -> NDArray[np.floating[Any]]:
        """A tensor's numbers, by way of memory that a GPU reaches at full speed."""
        if x.device.type != "cuda":
            return x.cpu().numpy()
        if self._pinned is None or self._pinned.shape != x.shape or self._pinned.dtype != x.dtype:
            self._pinned = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        self._pinned.copy_(x)
        return self._pinned.numpy().copy()

    def quieten(self, profile: NDArray[np.floating[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Put 0 for sums that have cancelled to rounding, and say which units had one, and which had another."""
        return super().quieten(profile) if self._quiet is None else (self._quiet[0], self._quiet[1])

    @torch.inference_mode(False)
    def gradient(self, batch: Batch, target: Any, names: Iterable[str]) -> dict[str, Tensor]:
        """Gradient of the batch's summed loss with respect to some parameters, the ordinary way."""
        wanted = {name: self.model.get_parameter(name) for name in names}
        with torch.enable_grad(), eager(), evaluation(self.model), frozen(self.model, wanted.values()):
            with SoundBatchNorms():
                losses = self.losses(batch, target)
            self._lost = losses.detach()
            if losses.requires_grad:
                losses.sum().backward()
            return {name: p.new_zeros(p.shape) if p.grad is None else p.grad.to_dense() for name, p in wanted.items()}

    def input_slope(self, batch: Batch, target: Any, measure: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Slope of a measure of one sample's ordinary gradient along the input."""
        parameters = {name: self.model.get_parameter(name) for name in self.plan.parameters}
        return input_slope(self.model, batch, lambda one: self.losses(one, target), parameters, measure)

    def fall_back(self, parameters: Iterable[str], reason: str, batch: Batch, target: Any) -> bool:
        """Take some parameters' profiles one sample at a time from now on, if a sample's loss is its own."""
        with torch.no_grad(), eager(), evaluation(self.model):
            self._check_alone(batch, target, self.losses(batch, target))
        self.slow.update(dict.fromkeys(parameters, reason))
        return True

    @property
    def _takes_liberties(self) -> bool:
        """Whether products of float32 may be taken with 10 bits, as GPUs do (TF32)."""
        allowed = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
        return self._some_parameter.device.type == "cuda" and allowed

    def exactly(self) -> AbstractContextManager[Any] | None:
        """A context without TF32."""
        return _full_precision() if self._takes_liberties and self.computes_in() == ["float32"] else None

    def doubled(self) -> TorchProfiler | None:
        """The same with a copy of the network in float64."""
        if self.computes_in() != ["float32"] or self._some_parameter.device.type == "mps":
            return None
        try:
            network = TorchNetwork(deepcopy(self.model).double())
        except Exception:  # what a network's parts do when they are copied is their own choice
            return None
        return replace(
            self, network=network, used=set(), slow=dict(self.slow), followers={}, layouts=Layouts(), sizes=None
        )

    def _checkpointed(self, batch: Batch, target: Any) -> tuple[Tensor, Tensor | None]:
        while True:
            try:
                found = self._profile(batch, target)
            except CheckpointError:
                if self.grad_inputs:
                    raise
                # The first layers are recomputed in the backward pass, where nothing can be put after them.
                self.grad_inputs = True
                continue
            except Exception as error:  # whatever following a network's own code may lead to
                self._leave(batch, target, error)
                continue
            if found is not None:
                return found

    def _profile(self, batch: Batch, target: Any) -> tuple[Tensor, Tensor | None] | None:
        """Profile of a batch, and for Taylor saliency its sizes, shape (batch, units).

        None where the pass has shown that it must be taken in another way, now known.
        """
        parts = Parts(self.model)
        parameters = parts.named_parameters()
        tracked = {name: parameters[name] for name in self.plan.parameters if name not in self.slow}
        place = self.layouts.at(batch)
        reducer = self._reducer = Reducer(self, batch.size, parameters, place)
        lost: Tensor | None = None
        checks: list[Callable[[], None]] = []
        start = time.perf_counter()
        if tracked:
            taylor = self.reduction == "taylor"
            with torch.enable_grad(), eager(), evaluation(parts), frozen(parts):
                joins = taylor and self.joins
                capture = Capture(parts, tracked, reducer.take, additive=taylor, outputs=taylor, joins=joins)
                inputs = batch
                if self.grad_inputs:
                    inputs = batch.map(lambda x: root(x, capture.anchor) if x.is_floating_point() else x)
                with capture.following():
                    output = self.forward(inputs)
                    by_data = capture.moves_rows
                    losses = per_sample_losses(self.loss, output, target, batch.size, checks, self.task)
                lost = losses.detach()
                if joins and not capture.joins:
                    self.joins = False
                    return None
                if capture.mixes:
                    self._check_alone(batch, target, lost)
                if capture.foreign:
                    self.slow.update({name: f"enters {where}" for name, where in capture.foreign.items()})
                    return None
                total = losses.sum() * self.loss_scale
                capture.check(total)
                if batch.size > 1 and place.next(by_data):
                    self._run(checks)
                    place.unsettled = False  # unless it turns out otherwise
                    found = loss_weights(batch.size, base_of(self.narrowest), place.count)
                    reducer.weights = [torch.from_numpy(weights).to(losses) for weights in found]
                    for weights in reducer.weights:
                        capture.weigh((losses * weights).sum() * self.loss_scale)
                capture.backward(total)
            self._run(checks)  # behind the backward pass, which a device may still be busy with
            for weight, scales in capture.followers.items():
                self.followers.setdefault(weight, set()).update(scales)
            self.used |= capture.used
            self._uses |= capture.uses
            if reducer.again:
                return None
        sums, *sizes = reducer.totals()
        if self.loss_scale != 1.0:
            sums = sums / self.loss_scale ** (2 if self.reduction == "l2" else 1)
            sizes = [part / self.loss_scale for part in sizes]
        fast = time.perf_counter()
        if self.slow:
            sums = sums + self._one_by_one(batch, target, lost).to(sums)
            self.cost = (time.perf_counter() - start) / max(fast - start, 1e-9)
        if self.reduction == "taylor":
            return sums, sizes[0]
        if self._counts is None or (self._counts.dtype, self._counts.device) != (sums.dtype, sums.device):
            self._counts = self.network.arrays.like(self.plan.units.size, sums)
        return finish(sums, self.reduction, self._counts), None

    def _leave(self, batch: Batch, target: Any, error: Exception) -> None:
        """Take everything one sample at a time, where a pass fails because it is followed and only then."""
        followed = [name for name in self.plan.parameters if name not in self.slow]
        final = isinstance(error, (RefusedError, MemoryError, torch.OutOfMemoryError))
        if not followed or final or (self._reducer is not None and error is self._reducer.error):
            raise error
        with torch.no_grad(), eager(), evaluation(self.model):
            self.losses(batch, target)  # the network's own errors, and those of labels, end here
        self.gradient(*next(batch.parts(1, target)), followed)
        self.slow.update(dict.fromkeys(followed, f"cannot be followed: {type(error).__name__}"))
        said = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"the network cannot be followed ({type(error).__name__}: {said[:200]}): profiles are taken one sample at "
            "a time from now on, see coverage",
            stacklevel=6,
        )

    @staticmethod
    def _run(checks: list[Callable[[], None]]) -> None:
        while checks:
            checks.pop()()

    @property
    def narrowest(self) -> torch.dtype:
        """The dtype with the fewest bits that gradients are computed in; bfloat16 stands for TF32, too."""
        dtypes = [p.dtype for p in every_parameter(self.model)] + ([self.autocast] if self.autocast else [])
        device = self._some_parameter.device.type
        if torch.is_autocast_enabled(device):
            dtypes.append(torch.get_autocast_dtype(device))
        if self._takes_liberties:
            dtypes = [torch.bfloat16 if dtype == torch.float32 else dtype for dtype in dtypes]
        return min(dtypes, key=lambda dtype: (torch.finfo(dtype).bits, dtype != torch.float16))

    def _one_by_one(self, batch: Batch, target: Any, lost: Tensor | None) -> Tensor:
        """Sums of the units' lanes that have no faster way, from ordinary gradients of one sample at a time."""
        arrays = self.network.arrays
        dtype = np.dtype(np.float64)
        weights = {name: self.network.read(name) for name in self.slow}
        rows, alone = [], []
        for one, own in batch.parts(1, target):
            gradient = self.gradient(one, own, self.slow)
            alone.append(self._lost)
            rows.append(unit_totals(self.plan, self.reduction, gradient, weights, dtype, arrays))
        if lost is None:
            with torch.no_grad(), eager(), evaluation(self.model):
                lost = self.losses(batch, target)
        self._check_same(torch.cat(alone), lost)
        self.used |= set(self.slow)
        return torch.stack(rows)

    def _check_alone(self, batch: Batch, target: Any, lost: Tensor) -> None:
        """Refuse a network whose loss for a sample depends on what else is in the batch, or on chance."""
        alone = []
        with torch.no_grad(), eager(), evaluation(self.model):
            for one, own in islice(batch.parts(1, target), 2):
                try:
                    alone.append(self.losses(one, own))
                except ValueError:  # a single value has no variance
                    alone.append(lost[:1] + float("inf"))
        self._check_same(torch.cat(alone), lost)

    def _check_same(self, alone: Tensor, lost: Tensor) -> None:
        tolerance = {torch.float64: 1e-8, torch.float32: 1e-3}.get(self.narrowest, 0.2)
        if bool(((alone - lost[: len(alone)]).abs() > tolerance * (1 + lost[: len(alone)].abs())).any()):
            raise RefusedError(
                "losses must be the same in a batch and of its samples alone, got others: samples influence each other "
                "(samples would mix), or the forward pass is random"
            )
