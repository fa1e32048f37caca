"""NetworkModel: a classifier of any framework as saliency sees it; what users call, on top of an adapter's hooks."""

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from evtkit.saliency.adapting.batch import some_of
from evtkit.saliency.adapting.patches import NetworkGradient, Patches, step_size, write_repair
from evtkit.saliency.adapting.profiler import TASKS
from evtkit.saliency.adapting.reduction import REDUCTIONS, Reduction
from evtkit.saliency.adapting.verification import SAMPLES, verify
from evtkit.saliency.units import LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.adapting.batch import Batch
    from evtkit.saliency.adapting.lanes import Index
    from evtkit.saliency.adapting.last import LastLayer
    from evtkit.saliency.adapting.profiler import Profiler
    from evtkit.saliency.protocol import UnitGradient
    from evtkit.saliency.units import Coverage, Units

__all__ = ["NetworkModel", "check_options"]

_LOST = 0.1
"""A larger share of a step lost to rounding is told."""


class NetworkModel:
    """A network's units, their per-sample saliency, and temporary changes to them.

    The profile of a labelled sample holds one number a unit: by default by how much the loss would fall, to first
    order, if the unit's weights were zero, Σ w · ∂L/∂w. The network runs in inference mode and is left as it was.

    Parameters
    ----------
    profiler : Profiler
        The adapter's hooks: the network, its units, and what is run through it.
    micro_batch : int, optional
        Process this many samples at a time. By default a whole batch; where memory is not enough for that, which is
        warned of, half of it, and so on.
    verify : bool
        Check the first two samples ever profiled against ordinary gradients, once.

    Attributes
    ----------
    profiler : Profiler
        The hooks, for functions such as `input_saliency`.

    Examples
    --------
    :doc:`/frameworks` builds one for a network in NumPy.
    """

    gradient_type: ClassVar[type[NetworkGradient]] = NetworkGradient

    def __init__(self, profiler: Profiler, *, micro_batch: int | None = None, verify: bool = True) -> None:
        self.profiler = profiler
        self._patches = Patches(profiler.network, profiler.plan)
        self._micro_batch = micro_batch
        self._verified = 0 if verify else SAMPLES
        self._warned = self._told = False
        self._noise, self._signal = (np.zeros(len(profiler.plan.units), dtype=bool) for _ in range(2))

    @property
    def model(self) -> Any:
        """The network itself."""
        return self.profiler.network.model

    @property
    def units(self) -> Units:
        """Ordered table of the units: the framework's own order of layers, then output index."""
        return self.profiler.plan.units

    @property
    def coverage(self) -> Coverage:
        """Which parameters belong to no unit, and why; and which ones cost a pass a sample, as known so far."""
        slow = tuple(
            LeftOut(name, math.prod(self.profiler.network.shape(name)), reason)
            for name, reason in self.profiler.slow.items()
        )
        return replace(self.profiler.plan.coverage, slow=slow, cost=self.profiler.cost)

    @property
    def noise(self) -> NDArray[np.intp]:
        """Units whose Taylor saliency has been rounding, and so reported as 0, for every sample so far.

        The filters in front of a per-channel norm, for instance: their size makes no difference, so that their sum
        cancels.
        """
        return np.flatnonzero(self._noise & ~self._signal)

    @property
    def reduction(self) -> Reduction:
        """How a unit's gradient becomes one number."""
        return self.profiler.reduction

    @property
    def task(self) -> str:
        """What the network says: "classes", one of several; "labels", each true or not; or "values"."""
        return self.profiler.task

    @property
    def loss(self) -> Any:
        """The user's own loss; None for what the task has."""
        return getattr(self.profiler, "loss", None)

    @property
    def unused(self) -> tuple[str, ...]:
        """Parameters with units that no profile's forward pass has used so far: a profile warns, and is zero there."""
        return tuple(name for name in self.profiler.plan.parameters if name not in self.profiler.used)

    def __repr__(self) -> str:
        plan = self.profiler.plan
        return f"{type(self).__name__}({self.profiler.network.title}: {replace(plan, coverage=self.coverage)})"

    def profile(self, x: Any, y: Any = None) -> NDArray[np.floating[Any]]:
        """Saliency of every unit for every sample.

        Parameters
        ----------
        x : array, tensor, or tuple, list or dict of them
            What the network is called with, samples along axis 0.
        y : array of int, or "predicted"
            Labels, one a sample (whatever the loss takes, if it is one's own). "predicted" stands for the class that
            the network ranks first.

        Returns
        -------
        ndarray, shape (batch, units)
            float64 for a float64 network, else float32. In the loss's units; with "mean-abs" and "l2", per unit of
            weight.

        Raises
        ------
        ValueError
            If the input or labels are malformed, a normalisation would mix the samples, or the loss is not one finite
            number a sample.
        RuntimeError
            If a weight is used in a way without a rule, gradients are not finite, or the first samples' profiles
            differ from ordinary gradients.
        """

        def profiled(part: Batch, own: Any, before: int) -> NDArray[np.floating[Any]]:
            profile = self._checked(part, own, before)
            while self._verified < min(SAMPLES, part.size):
                if verify(self.profiler, part, own, profile):
                    self._verified = min(SAMPLES, part.size)
                else:
                    profile = self._checked(part, own, before)
            self._quieten(profile)
            return profile

        profiles = self._run(profiled, *self._batch(x, y))
        if self.unused and not self._warned:
            self._warned = True
            warnings.warn(
                f"no forward pass has used {', '.join(self.unused[:5])} yet: the profile is zero there", stacklevel=2
            )
        return profiles

    def logits(self, x: Any) -> NDArray[np.floating[Any]]:
        """Class scores, shape (batch, classes), in inference mode and without a gradient."""
        return self._run(lambda part, own, before: self.profiler.logits(part), self.profiler.batch(x))

    def predict(self, x: Any) -> NDArray[np.floating[Any]]:
        """What the network says, in inference mode.

        Class probabilities, shape (batch, classes), of which a single score gives two; with ``task="labels"`` each
        label's probability; with ``task="values"`` the output.
        """
        return self._run(lambda part, own, before: self.profiler.probabilities(part), self.profiler.batch(x))

    def losses(self, x: Any, y: Any = None) -> NDArray[np.floating[Any]]:
        """Loss of each sample, shape (batch,), in inference mode; `x` and `y` as in `profile`."""
        return self._run(lambda part, own, before: self.profiler.sample_losses(part, own), *self._batch(x, y))

    @property
    def has_activations(self) -> bool:
        """Whether `activations` says anything."""
        return self.profiler.has_activations

    def activations(self, x: Any) -> NDArray[np.floating[Any]]:
        """Mean and mean size of what each unit puts out for a sample over its positions, in inference mode.

        Parameters
        ----------
        x : array, tensor, or tuple, list or dict of them
            As in `profile`.

        Returns
        -------
        ndarray, shape (batch, units, 2)
            Before any activation function. NaN for a unit that has no output of its own, such as a head.
        """
        return self._run(lambda part, own, before: self.profiler.activations(part), self.profiler.batch(x))

    def varied(
        self, units: Sequence[ArrayLike], factor: ArrayLike, *, gradient: UnitGradient | None = None
    ) -> AbstractContextManager[Callable[[], bool]] | None:
        """Context in which each sample of the next batch sees the weights of units of its own changed.

        Many trials go into one batch so.

        Parameters
        ----------
        units : sequence of int, or of arrays of int; length (batch,)
            Positions of each sample's units.
        factor : float, or array_like, shape (batch,)
            What their weights are multiplied by: 0 removes the units, −1 turns their sign.
        gradient : NetworkGradient, optional
            From `gradient`; then the factor is the multiple of it that is subtracted from the weights.

        Returns
        -------
        context manager or None
            It gives a function that says afterwards whether that has happened; what was computed does not count
            otherwise. None if the adapter cannot do that for these units, which `scaled` and `pruned` can, one by one.
        """
        chosen = [np.atleast_1d(np.asarray(some, dtype=np.intp)) for some in units]
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), (len(chosen),))
        return self.profiler.varied(chosen, factors, None if gradient is None else self._own(gradient).parameters)

    def last_layer(self, x: Any) -> LastLayer | None:
        """The linear layer whose output is the class scores, and some samples as it sees them, in inference mode.

        Parameters
        ----------
        x : array, tensor, or tuple, list or dict of them
            As in `profile`.

        Returns
        -------
        LastLayer or None
            None where no layer puts out the scores in its only call, and for other tasks than classes.
        """
        found: list[LastLayer | None] = []

        def once(part: Batch, own: Any, before: int) -> NDArray[np.floating[Any]]:
            found.append(self.profiler.last_layer(part) if self.task == "classes" else None)
            return np.empty(0)

        self._run(once, self.profiler.batch(x))
        parts = [one for one in found if one is not None]
        if len(parts) < len(found) or len({(one.weight, one.bias, one.axis) for one in parts}) > 1:
            return None
        features, scores = (np.concatenate([getattr(one, what) for one in parts]) for what in ("features", "scores"))
        whole = replace(parts[0], features=features, scores=scores)
        return whole if whole.holds(self.profiler.network) else None

    @contextmanager
    def shifted(self, changes: Mapping[str, NDArray[Any]]) -> Iterator[Self]:
        """Context in which arrays are added to parameters.

        Parameters
        ----------
        changes : mapping of str to ndarray
            What to add, by the full name of a parameter and of its shape.

        Yields
        ------
        NetworkModel
            This object. On leaving, weights are restored bit for bit, also after an exception.

        Raises
        ------
        ValueError
            If a name or a shape is not the network's.
        """
        network = self.profiler.network
        known = set(network.names())
        for name, change in changes.items():
            shape = network.shape(name) if name in known else None
            if shape != np.shape(change):
                raise ValueError(f"changes must have a parameter's name and shape, got {name!r}: {np.shape(change)}")
        slices: dict[str, list[Index]] = {name: [(slice(None),) * np.ndim(by)] for name, by in changes.items()}
        arrays = network.arrays
        with self._patches.changed(slices, lambda name, index, weights: weights + arrays.like(changes[name], weights)):
            yield self

    def unit_norms(self, selection: ArrayLike | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights (all by default), shape (selected,)."""
        return self._patches.norms(self._resolve(selection))

    def gradient(self, x: Any, y: Any = None, selection: ArrayLike | None = None) -> NetworkGradient:
        """Gradient of the mean loss with respect to selected units, at the present weights.

        Take it once, at the original weights, and every `tuned` of a sweep from it.

        Parameters
        ----------
        x, y
            As in `profile`. The loss is averaged over the batch, so that a step does not grow with it.
        selection : array_like, optional
            Units, as in `Units.resolve`. By default all.

        Returns
        -------
        NetworkGradient
            With ``selection`` and the ``norms`` of its units.
        """
        chosen = self._resolve(selection)
        pieces = (piece for unit in chosen.tolist() for piece in self.profiler.plan.pieces[unit])
        names = list(dict.fromkeys(lanes.parameter for lanes, _ in pieces))
        batch, target = self._batch(x, y)
        total: dict[str, Any] = {}
        for part, own in batch.parts(self._micro_batch, target):
            for name, slope in self.profiler.gradient(part, own, names).items():
                total[name] = total[name] + slope if name in total else slope
        mean = {name: slope / batch.size for name, slope in total.items()}
        return self.gradient_type(chosen, self._patches.norms(chosen, mean), mean)

    @contextmanager
    def pruned(self, selection: ArrayLike, *, bn: Literal["keep", "zero"] = "keep") -> Iterator[Self]:
        """Context in which the selected units' weights are zero.

        Parameters
        ----------
        selection : array_like
            Units, as in `Units.resolve`.
        bn : {"keep", "zero"}
            What becomes of the batch norm that a filter's output goes straight into. ``"keep"``, the published
            protocol, changes the filter's weights only: the batch norm still adds its shift, so the channel becomes a
            constant. ``"zero"`` also zeroes that channel's scale and shift, so that nothing is left. Which batch norm
            follows is learned from a profile, so one must have been taken.

        Yields
        ------
        NetworkModel
            This object. On leaving, weights are restored bit for bit, also after an exception.
        """
        if bn not in ("keep", "zero"):
            raise ValueError(f"bn must be 'keep' or 'zero', got {bn!r}")
        chosen = self._resolve(selection)
        slices = self._patches.slices(chosen)
        if bn == "zero":
            if not self.profiler.used and self.profiler.network.has_batch_norm():
                raise RuntimeError(
                    "bn='zero' must come after a profile, which shows what follows a filter, got none yet"
                )
            for name, found in self._patches.following(chosen, self.profiler.followers).items():
                slices.setdefault(name, []).extend(found)
        with self._patches.changed(slices, lambda name, index, weights: 0):
            yield self

    @contextmanager
    def scaled(self, selection: ArrayLike, factor: float) -> Iterator[Self]:
        """Context in which the selected units' weights are multiplied by a factor.

        Parameters
        ----------
        selection : array_like
            Units, as in `Units.resolve`.
        factor : float
            −1 turns their sign.

        Yields
        ------
        NetworkModel
            This object. On leaving, weights are restored bit for bit, also after an exception.
        """
        if not np.isfinite(factor):
            raise ValueError(f"factor must be finite, got {factor}")
        slices = self._patches.slices(self._resolve(selection))
        with self._patches.changed(slices, lambda name, index, weights: weights * factor):
            yield self

    @contextmanager
    def tuned(
        self,
        selection: ArrayLike,
        x: Any = None,
        y: Any = None,
        step: float = 1e-3,
        *,
        gradient: UnitGradient | None = None,
        length: float | None = None,
    ) -> Iterator[Self]:
        """Context in which the selected units have taken one gradient step.

        Parameters
        ----------
        selection : array_like
            Units, as in `Units.resolve`.
        x, y
            Samples whose mean loss is to fall; not with ``gradient``.
        step : float
            Multiple of the gradient that is subtracted.
        gradient : NetworkGradient, optional
            A gradient that `gradient` returned, for sweeps at fixed weights.
        length : float, optional
            Scale the update to this Euclidean length over the whole selection instead of by ``step``.

        Yields
        ------
        NetworkModel
            This object. On leaving, weights are restored bit for bit, also after an exception.

        Raises
        ------
        ValueError
            If neither or both of samples and gradient are given, or the gradient lacks a selected unit.

        Warns
        -----
        UserWarning
            Once, if more than a tenth of the weights in float16 or bfloat16 stay as they are, for the step is less
            than their rounding.
        """
        chosen = self._resolve(selection)
        if (x is None) == (gradient is None):
            raise ValueError("give one of x and gradient, got both or neither")
        taken = self._own(self.gradient(x, y, chosen) if gradient is None else gradient)
        multiple = step_size(taken.norms_of(chosen), step, length)

        arrays = self.profiler.network.arrays
        asked = lost = 0

        def lowered(name: str, index: Index, weights: Any) -> Any:
            nonlocal asked, lost
            slope = taken.parameters[name][index]
            moved = weights - multiple * slope
            if str(weights.dtype).endswith("float16"):  # bfloat16 too: its numbers near 1 are 1/128 apart
                due = arrays.numpy(slope) != 0
                asked += int(np.count_nonzero(due))
                lost += int(
                    np.count_nonzero(due & (arrays.numpy(arrays.like(moved, weights)) == arrays.numpy(weights)))
                )
            return moved

        with self._patches.changed(self._patches.slices(chosen), lowered):
            if lost > _LOST * asked and not self._told:
                self._told = True
                warnings.warn(
                    f"the step is lost to rounding in {lost:,} of the {asked:,} weights that it would change: take a "
                    "larger step, or the network in float32",
                    stacklevel=3,
                )
            yield self

    def _own(self, gradient: UnitGradient) -> NetworkGradient:
        """A gradient of this kind of network."""
        if not isinstance(gradient, self.gradient_type):
            own = type(self).__name__
            raise ValueError(f"gradient must come from {own}.gradient, got {type(gradient).__name__}")
        return gradient

    @contextmanager
    def stepping(self, selection: ArrayLike) -> Iterator[Callable[[UnitGradient, float], None]]:
        """Context in which the selected units can take any number of steps.

        Parameters
        ----------
        selection : array_like
            Units, as in `Units.resolve`.

        Yields
        ------
        callable
            ``step(gradient, multiple)`` subtracts a multiple of a gradient of these units, in place. On leaving,
            weights are restored bit for bit, also after an exception.
        """
        chosen = self._resolve(selection)
        slices = self._patches.slices(chosen)

        def step(gradient: UnitGradient, multiple: float) -> None:
            own = self._own(gradient)
            own.norms_of(chosen)
            self._patches.shift(slices, lambda name, index: -multiple * own.parameters[name][index])

        with self._patches.changed(slices, lambda name, index, weights: weights):
            yield step

    def apply(self, repair: Mapping[str, Any], *, revert: bool = False) -> None:
        """Write an exported repair into the network, for good.

        Parameters
        ----------
        repair : mapping of str to array
            What `export` returned.
        revert : bool
            Undo the repair instead.

        Raises
        ------
        ValueError
            If the repair is not of this network, or its weights are not those it was made for; nothing is changed then.
        """
        write_repair(self.profiler.network, repair, revert)

    @property
    def in_force(self) -> int:
        """How many of the contexts that change weights are entered."""
        return len(self._patches)

    def export(self, outer: int = 0) -> dict[str, Any]:
        """Return the patches in force as a repair to keep.

        Parameters
        ----------
        outer : int
            So many of the outermost contexts are left out.

        Returns
        -------
        dict of str to array
            For every changed parameter ``<name>.index`` (flat positions), ``<name>.before`` and ``<name>.after``:
            small, and savable by `numpy.savez`, `torch.save` or safetensors. The adapter's ``apply_repair`` writes it
            into a network, and checks that it fits.

        Raises
        ------
        ValueError
            Outside `pruned`, `scaled`, `stepping` and `tuned`.
        """
        return self._patches.export(outer)

    def _run(
        self, once: Callable[[Batch, Any, int], Any], batch: Batch, target: Any = None
    ) -> NDArray[np.floating[Any]]:
        """What a batch gives, in parts of `micro_batch` samples, which is halved where memory is not enough."""
        found, start = [], 0
        while start < batch.size:
            some = slice(start, min(batch.size, start + (self._micro_batch or batch.size)))
            part = batch[some] if some.stop - start < batch.size else batch
            try:
                found.append(once(part, some_of(target, some), start))
            except Exception as error:  # each framework has an error of its own for it
                if part.size == 1 or not self.profiler.ran_out(error):
                    raise
                self._micro_batch = part.size // 2
            else:
                start = some.stop
                continue
            warnings.warn(
                f"memory is not enough for {part.size} samples at a time: {self._micro_batch} from now on",
                stacklevel=3,
            )
        whole: NDArray[np.floating[Any]] = np.concatenate(found)
        return whole

    def _checked(self, part: Batch, own: Any, before: int) -> NDArray[np.floating[Any]]:
        profile = self.profiler.profile(part, own)
        _check_finite(profile, before)
        return profile

    def _quieten(self, profile: NDArray[np.floating[Any]]) -> None:
        noise, signal = self.profiler.quieten(profile)
        self._noise |= noise
        self._signal |= signal

    def _resolve(self, selection: ArrayLike | None) -> NDArray[np.intp]:
        return np.arange(len(self.units)) if selection is None else self.units.resolve(selection)

    def _batch(self, x: Any, y: Any) -> tuple[Batch, Any]:
        batch = self.profiler.batch(x)
        return batch, self.profiler.targets(y, batch.size)


def check_options(
    reduction: str, max_workspace_mib: float, micro_batch: int | None, loss_scale: float, task: str = "classes"
) -> None:
    """Refuse options out of their range, which are the same for every adapter.

    Raises
    ------
    ValueError
        If one is.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    if not max_workspace_mib > 0:
        raise ValueError(f"max_workspace_mib must be more than 0, got {max_workspace_mib}")
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch must be at least 1, or None, got {micro_batch}")
    if not 0 < loss_scale < float("inf"):
        raise ValueError(f"loss_scale must be finite and above 0, got {loss_scale}")


def _check_finite(profile: NDArray[np.floating[Any]], before: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(profile.sum()):  # as nearly always, and quicker
            return
    bad = before + np.flatnonzero(~np.isfinite(profile).all(axis=1))
    if bad.size:
        raise RuntimeError(
            f"gradients must be finite, got others for samples {bad[:5].tolist()} of the batch "
            "(float16 may want another loss_scale)"
        )
