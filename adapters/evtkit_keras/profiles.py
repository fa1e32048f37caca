"""Profiles: one forward and one backward pass, then each weight's gradient reduced to a number a unit and sample.

All of it is one graph, traced once for every shape of the input. The reductions wait for one another, the last layer
first, so that the memory of one at a time is in use beside the backward pass.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from evtkit.saliency.adapting import BASE, HALF_BASE, Batch, Due, LastLayer, Profiler, finish, loss_weights, unit_totals
from evtkit.saliency.batches import size_of
from evtkit_keras.activations import unit_activations
from evtkit_keras.capture import Call, Capture, HiddenError
from evtkit_keras.input_saliency import input_slope
from evtkit_keras.inputs import class_labels, placed
from evtkit_keras.network import KerasNetwork  # noqa: TC001 (a field of a dataclass)
from evtkit_keras.outputs import Head, Loss, loss_of, per_sample_losses
from evtkit_keras.patching import inference
from evtkit_keras.products import moves_rows, output_axes, output_sums
from evtkit_keras.reduce import Workspace, lane_sums
from evtkit_keras.rules import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["KerasProfiler"]

_PATIENCE = 3  # so often a batch of a new size is filled up rather than a graph made for its size
_PROBED = 2  # samples by which an output is recognised


@dataclass(eq=False, repr=False, kw_only=True)
class KerasProfiler(Profiler):
    """Everything that stays the same from one batch to the next.

    Parameters
    ----------
    network, plan, reduction
        As in `Profiler`.
    loss : callable or None
        Per-sample loss; None for cross-entropy.
    head : Head
        What the network's output is.
    workspace_mib : float
        Bound of the memory used beyond the activations.
    loss_scale : float
        The losses are multiplied by it and the profile divided, so that float16 gradients do not underflow.
    run_eagerly : bool
        Run without a graph.
    """

    has_activations = True

    network: KerasNetwork
    loss: Loss | None
    head: Head
    workspace_mib: float
    loss_scale: float = 1.0
    run_eagerly: bool = False

    def __post_init__(self) -> None:
        self._by_data = False
        self._due: dict[tuple[Any, ...], Due] = {}
        self._asked: dict[Any, dict[int, int]] = {}
        self._make_graphs()

    def _make_graphs(self) -> None:
        self._graphs: dict[Any, set[int]] = {}
        functions: list[Callable[..., Any]] = [
            self._profile, self._gradient, self._logits, self._probabilities, self.losses,
        ]  # fmt: skip
        runs = functions if self.run_eagerly else [_traced(function) for function in functions]
        self._run_profile, self._run_gradient, self._run_logits, self._run_probabilities, self._run_losses = runs

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a profile: float64 if a weight with units is, else float32."""
        wide = any(self.network.variables[name].dtype == "float64" for name in self.plan.parameters)
        return np.dtype(np.float64 if wide else np.float32)

    def forward(self, inputs: Any) -> Any:
        """Run the network in inference mode."""
        with inference(self.network):
            return self.network.model(inputs, training=False)

    def is_tensor(self, x: Any) -> bool:
        """Whether something is a tensor."""
        return bool(tf.is_tensor(x))

    def place(self, x: Any) -> Any:
        """Return an array or tensor as a tensor, floating numbers in the weights' dtype."""
        return placed(x, self.network.variables[self.plan.parameters[0]].dtype)

    def place_target(self, y: Any) -> Any:
        """Return targets as a tensor, floating numbers as wide as a loss is."""
        return placed(y, "float64" if self.dtype == np.float64 else "float32")

    def computes_in(self) -> set[str]:
        """The dtypes that layers with weights compute in."""
        return {layer.compute_dtype for layer in self.network.layers.values() if layer._trainable_variables}

    def logits(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class scores; of a softmax, what went into it."""
        self._look(batch)
        whole = self._filled(batch, None, "logits")[0]
        scores: NDArray[np.floating[Any]] = self._run_logits(whole.inputs).numpy()
        return scores[: batch.size]

    def probabilities(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class probabilities; the output itself where it has them."""
        self._look(batch)
        whole = self._filled(batch, None, "probabilities")[0]
        shares: NDArray[np.floating[Any]] = self._run_probabilities(whole.inputs).numpy()
        return shares[: batch.size]

    def activations(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Mean and mean size of what each unit puts out, before its layer's activation."""
        tracked = {name: self.network.variables[name] for name in self.plan.parameters}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            capture = Capture(self.network, tracked, tape)
            with capture.following():
                self.forward(batch.inputs)
        return unit_activations(capture.calls, self.plan, batch.size).astype(self.dtype)

    def last_layer(self, batch: Batch) -> LastLayer | None:
        """The dense layer whose output is the class scores, and what enters it."""
        dense = self.network.dense()
        tracked = {name: self.network.variables[name] for name in dense}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            capture = Capture(self.network, tracked, tape)
            with capture.following():
                output = self.forward(batch.inputs)
        self._look(batch)
        scores = self.head.logits(output).numpy()
        if not capture.calls or scores.ndim != 2:
            return None
        last = capture.calls[-1]
        alone = sum(call.parameter == last.parameter for call in capture.calls) == 1
        if not alone or not hasattr(last.input, "numpy") or len(last.input.shape) != 2:
            return None
        return LastLayer(last.parameter, dense[last.parameter], 1, tf.cast(last.input, scores.dtype).numpy(), scores)

    def use_loss(self, loss: Callable[[Any, Any], Any]) -> None:
        """Take another loss, ``loss(y_true, y_pred) -> (batch,)``."""
        self.loss = loss_of(loss)
        self._make_graphs()

    def sample_losses(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Loss of each sample, without a gradient."""
        whole, label = self._filled(batch, self._target(batch, target), "losses")
        losses = self._run_losses(whole.inputs, label)
        self._check_losses(losses)
        found: NDArray[np.floating[Any]] = losses.numpy()[: batch.size]
        return found

    def profile(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Profile of a batch that fits in memory, shape (batch, units)."""
        whole, label = self._filled(batch, self._target(batch, target), "profile")
        start = time.perf_counter()
        while True:
            try:
                sums, sizes, lost = (found[: batch.size] for found in self._fast(whole, label))
                break
            except _SlowError as found:  # while tracing: known now, and traced again without
                self.slow.update(found.reasons)
        fast = time.perf_counter()
        if self.slow:
            sums += self._one_by_one(batch, target, lost)
            self.cost = (time.perf_counter() - start) / max(fast - start, 1e-9)
        scale = self.loss_scale ** (2 if self.reduction == "l2" else 1)
        self.sizes = sizes / self.dtype.type(self.loss_scale) if self.reduction == "taylor" else None
        profile = finish(sums / self.dtype.type(scale), self.reduction, self.plan.units.size.astype(self.dtype))
        return np.ascontiguousarray(profile)

    def _filled(self, batch: Batch, target: Any, use: str) -> tuple[Batch, Any]:
        """A batch and its targets, filled up by repeated samples to a size that there is a graph for already.

        A graph costs seconds, further rows little. A size that keeps coming, as single samples do, gets its own.
        """
        shapes = _signature(batch)
        if self.run_eagerly or any(own and None in own[0] for own in shapes):
            return batch, target
        key = use, tuple(own and (own[0][1:], own[1]) for own in shapes)
        asked = self._asked.setdefault(key, {})
        asked[batch.size] = asked.get(batch.size, 0) + 1
        larger = [size for size in self._graphs.get(key, ()) if size >= batch.size]
        if larger and (min(larger) == batch.size or asked[batch.size] <= _PATIENCE):
            extra = min(larger) - batch.size
            inputs = batch.map(lambda x: _longer(x, extra)).inputs
            filled = None if target is None else tf.nest.map_structure(lambda part: _longer(part, extra), target)
            return Batch(inputs, min(larger), batch.is_tensor), filled
        self._graphs.setdefault(key, set()).add(batch.size)
        return batch, target

    def fall_back(self, parameters: Iterable[str], reason: str, batch: Batch, target: Any) -> bool:
        """Take some weights' profiles one sample at a time from now on, if a sample's loss is its own."""
        parts = [batch, *(one for one, _ in islice(batch.parts(1), 2))]
        labels = [target, *(own for _, own in islice(batch.parts(1, target), 2))]
        lost, *alone = [
            self._run_gradient(part.inputs, self._target(part, label))[1].numpy()
            for part, label in zip(parts, labels, strict=True)
        ]
        self._check_same(np.concatenate(alone), lost)
        self.slow.update(dict.fromkeys(parameters, reason))
        return True

    def _fast(self, batch: Batch, label: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Sums and sizes of all units without the slow ones' lanes, both (batch, units), and the losses."""
        if set(self.slow) >= set(self.plan.parameters):
            losses = self._run_gradient(batch.inputs, label)[1]
            self._check_losses(losses)
            empty = np.zeros((batch.size, len(self.plan.units)), self.dtype)
            return empty, empty, losses.numpy()
        sums, sizes, losses = self._weighted(batch, label, np.ones(batch.size))
        due = self._due.setdefault(_signature(batch), Due())
        if batch.size > 1 and due.next(self._by_data):
            self._check_owners(batch, label, sums, sizes, due.count)
        return sums, sizes, losses.numpy()

    def _weighted(self, batch: Batch, label: Any, weights: Any) -> tuple[NDArray[Any], NDArray[Any], Any]:
        parts, losses = self._run_profile(batch.inputs, label, weights, tuple(sorted(self.slow)))
        self._check_losses(losses)
        sums, sizes = (np.zeros((len(self.plan.units), batch.size), self.dtype) for _ in range(2))
        for lanes, (part, size) in zip(self.plan.lanes, parts, strict=True):
            np.add.at(sums, lanes.units, part.numpy().T)
            np.add.at(sizes, lanes.units, size.numpy().T)
        return sums.T, sizes.T, losses

    def _check_owners(self, batch: Batch, label: Any, sums: Any, sizes: Any, seed: int) -> None:
        """Find weights of whose gradient some rows were given to another sample, see `loss_weights`."""
        half = "float16" in self.computes_in()
        power = 2 if self.reduction == "l2" else 1
        judged = sizes if self.reduction == "taylor" else np.abs(sums)
        wrong = np.zeros(len(self.plan.units), dtype=bool)
        for weights in loss_weights(batch.size, HALF_BASE if half else BASE, seed):
            again, size, _ = self._weighted(batch, label, weights)
            scale = (weights**power)[:, None]
            judged_again = size / scale if self.reduction == "taylor" else np.abs(again) / scale
            known = np.maximum(judged, judged_again)
            known = np.where(known > 0, known, np.abs(sums))  # a rule gives no size
            wrong |= (np.abs(again / scale - sums) > self._tolerance * known + np.finfo(self.dtype).tiny).any(axis=0)
        if not wrong.any():
            return
        found = {lanes.parameter for lanes in self.plan.lanes if wrong[lanes.units].any()} - set(self.slow)
        raise _SlowError(dict.fromkeys(found, "a row of its gradient belongs to another sample, or to several"))

    @property
    def _tolerance(self) -> float:
        return max({"float64": 1e-8, "float32": 1e-3}.get(name, 0.1) for name in self.computes_in())

    def _one_by_one(self, batch: Batch, target: Any, lost: NDArray[Any]) -> NDArray[Any]:
        """Sums of the lanes that have no faster way, from ordinary gradients of one sample at a time."""
        weights = {name: self.network.read(name) for name in self.slow}
        rows, alone = [], []
        for one, own in batch.parts(1, target):
            gradients, losses = self._run_gradient(one.inputs, self._target(one, own))
            found = dict(zip(self.plan.parameters, gradients, strict=True))
            alone.append(losses.numpy())
            rows.append(unit_totals(self.plan, self.reduction, {n: found[n].numpy() for n in self.slow}, weights))
        self._check_same(np.concatenate(alone), lost)
        self.used |= set(self.slow)
        scale = self.dtype.type(self.loss_scale ** (2 if self.reduction == "l2" else 1))
        return np.asarray(np.stack(rows).astype(self.dtype) * scale)

    def _check_same(self, alone: NDArray[Any], lost: NDArray[Any]) -> None:
        """Refuse a network whose loss for a sample depends on what else is in the batch, or on chance."""
        here = lost[: len(alone)]
        if np.any(np.abs(alone - here) > self._tolerance * (1 + np.abs(here))):
            raise RuntimeError(
                "losses must be the same in a batch and of its samples alone, got others: samples influence each "
                "other, or the forward pass is random"
            )

    def gradient(self, batch: Batch, target: Any, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Gradient of the batch's summed loss with respect to some weights, the ordinary way."""
        gradients, losses = self._run_gradient(batch.inputs, self._target(batch, target))
        self._check_losses(losses)
        found = dict(zip(self.plan.parameters, gradients, strict=True))
        return {name: found[name].numpy() for name in names}

    def input_slope(self, batch: Batch, target: Any, measure: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Slope of a measure of one sample's ordinary gradient along the input."""
        weights = {name: self.network.variables[name].value for name in self.plan.parameters}
        label = self._target(batch, target)
        return input_slope(batch, lambda one: self.losses(one.inputs, label), weights, measure)

    def _target(self, batch: Batch, target: Any) -> Any:
        """Targets as the loss takes them, checked: integer labels for the default loss."""
        if isinstance(target, str):
            target = self._predicted(batch)
        if self.loss is not None or self.task != "classes":
            return target
        self._look(batch)
        return class_labels(target, self.head.classes, self.head.rank)

    def _predicted(self, batch: Batch) -> Any:
        if self.task == "values":
            raise ValueError("y must be the true values, got 'predicted', whose loss would be 0")
        scores = self.logits(batch)
        return scores.argmax(-1) if self.task == "classes" else (scores > 0).astype(np.float32)

    def check_targets(self, y: Any) -> None:
        """Refuse targets that the default loss cannot take; for a network that has been run."""
        if self.loss is None and self.task == "classes":
            class_labels(self.targets(y, size_of(y)), self.head.classes, self.head.rank)

    def losses(self, inputs: Any, target: Any) -> Any:
        """One loss a sample."""
        output = self.forward(inputs)
        size = next(x.shape[0] for x in tf.nest.flatten(inputs) if tf.is_tensor(x) and len(x.shape))
        return per_sample_losses(self.loss, self.head, output, target, size)

    def _look(self, batch: Batch) -> None:
        if not self.head.known:
            self.head.learn(self.forward(batch[:_PROBED].inputs))

    def _check_losses(self, losses: Any) -> None:
        bad = np.flatnonzero(~np.isfinite(losses.numpy())).tolist()
        if bad:
            raise ValueError(f"losses must be finite, got others for samples {bad[:5]} of the batch")

    def _logits(self, inputs: Any) -> Any:
        return self.head.logits(self.forward(inputs))

    def _probabilities(self, inputs: Any) -> Any:
        return self.head.probabilities(self.forward(inputs))

    def _gradient(self, inputs: Any, target: Any) -> tuple[list[Any], Any]:
        weights = [self.network.variables[name].value for name in self.plan.parameters]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for weight in weights:
                tape.watch(weight)
            losses = self.losses(inputs, target)
            total = tf.reduce_sum(losses)
        slopes = tape.gradient(total, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(slope) for slope in slopes], losses

    def _profile(self, inputs: Any, target: Any, weights: Any, slow: tuple[str, ...]) -> tuple[list[Any], Any]:
        try:
            return self._profile_seen(inputs, target, weights, slow)
        except HiddenError:
            pass
        eagerly = tf.config.functions_run_eagerly()
        try:
            tf.config.run_functions_eagerly(True)  # traced functions inside the network become part of this graph
            return self._profile_seen(inputs, target, weights, slow, again=True)
        except HiddenError as hidden:
            raise _SlowError(dict.fromkeys(hidden.names, "in a loop or a branch of TensorFlow")) from None
        finally:
            tf.config.run_functions_eagerly(eagerly)

    def _profile_seen(
        self, inputs: Any, target: Any, weights: Any, slow: tuple[str, ...], again: bool = False
    ) -> tuple[list[Any], Any]:
        tracked = {name: self.network.variables[name] for name in self.plan.parameters if name not in slow}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            capture = Capture(self.network, tracked, tape)
            with capture.following():
                losses = self.losses(inputs, target)
            total = tf.reduce_sum(losses * tf.cast(weights, losses.dtype)) * self.loss_scale
        self._by_data = self._by_data or tf.executing_eagerly() or moves_rows()
        wrong = capture.check(total)
        if wrong:
            raise _SlowError(wrong)
        if tf.executing_eagerly() and not again and len(capture.used) < len(tracked):
            raise HiddenError  # it may be used inside a traced function, where Python does not run
        slopes = tape.gradient(total, [call.output for call in capture.calls])
        for weight, followers in capture.followers.items():
            self.followers.setdefault(weight, set()).update(followers)
        self.used |= capture.used
        found = [
            (call, tf.convert_to_tensor(slope))  # an embedding's slope is a list of rows
            for call, slope in zip(capture.calls, slopes, strict=True)
            if slope is not None  # no path to the loss: the gradient is zero
        ]
        samples = losses.shape[0]
        apart = {call.parameter for call, slope in found for x in (call.input, slope) if _unknown(x, samples)}
        if apart:
            raise _SlowError(dict.fromkeys(apart, "its input has no axis of samples"))
        return self._reduced(found, samples), losses

    def _reduced(self, found: Sequence[tuple[Call, Any]], samples: int) -> list[Any]:
        """Two tensors (samples, lanes) for each of the plan's lanes: sums, and what they are to be judged against."""
        last = {call.parameter: place for place, (call, _) in enumerate(found)}
        order = sorted(range(len(self.plan.lanes)), key=lambda i: -last.get(self.plan.lanes[i].parameter, -1))
        workspace = Workspace(self.workspace_mib)
        parts: list[Any] = [None] * len(order)
        before: list[Any] = []
        for place in order:
            lanes = self.plan.lanes[place]
            mine = [(call, slope) for call, slope in found if call.parameter == lanes.parameter]
            with tf.control_dependencies(before):
                parts[place] = self._lane_sums(lanes, mine, samples, workspace)
            before = [] if tf.executing_eagerly() else [parts[place][0]]
        return parts

    def _lane_sums(self, lanes: Any, mine: Sequence[tuple[Call, Any]], samples: int, workspace: Workspace) -> Any:
        weight = self.network.variables[lanes.parameter]
        dtype = tf.float64 if any(slope.dtype == tf.float64 for _, slope in mine) else tf.float32
        sums, sizes = (tf.zeros((samples, len(lanes.units)), dtype) for _ in range(2))
        rest = []
        for call, slope in mine:
            axes = output_axes(call, lanes.axes) if self.reduction == "taylor" else None
            if axes is None:
                rest.append((call, slope))
                continue
            own, size = output_sums(call, slope, axes, samples, dtype)
            sums, sizes = sums + own, sizes + size
        if rest:
            value = tf.convert_to_tensor(weight.value) if self.reduction == "taylor" else None
            uses = [Use(tuple(weight.shape), call.input, slope, call.layer, lanes.axes, value) for call, slope in rest]
            rules = [call.rule for call, _ in rest]
            sums += lane_sums(rules, uses, samples, len(lanes.units), self.reduction, workspace)
        return sums, sizes


class _SlowError(Exception):
    """Some weights have turned out to need one sample at a time."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function as a graph, traced once for every shape, of which a plain call would warn."""
    graphs = tf.function(function, autograph=False)

    def run(*arguments: Any) -> Any:
        given = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x) if isinstance(x, np.ndarray) else x, arguments)
        return graphs.get_concrete_function(*given)(*given)

    return run


def _longer(x: Any, extra: int) -> Any:
    """A tensor or array with its last sample repeated."""
    if not extra:
        return x
    x = tf.convert_to_tensor(x)
    return tf.concat([x, tf.repeat(x[-1:], extra, axis=0)], 0)


def _unknown(x: Any, samples: int) -> bool:
    """Whether axis 0 can hold neither the samples nor their rows."""
    return x.shape.rank == 0 or any(size is None for size in x.shape) or x.shape[0] == 0 or x.shape[0] % samples != 0


def _signature(batch: Batch) -> tuple[Any, ...]:
    return tuple((tuple(x.shape), x.dtype.name) if tf.is_tensor(x) else None for x in tf.nest.flatten(batch.inputs))
