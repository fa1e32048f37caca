"""Profiles: one forward and one backward pass, then each weight's gradient reduced to a number a unit and sample.

All of it is one graph, traced once for every shape of the input. The reductions wait for one another, the last layer
first, so that the memory of one at a time is in use beside the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from evtkit.saliency.adapting import Batch, Profiler, finish
from evtkit_keras.capture import Call, Capture, HiddenError
from evtkit_keras.input_saliency import input_slope
from evtkit_keras.inputs import class_labels, placed
from evtkit_keras.network import KerasNetwork  # noqa: TC001 (a field of a dataclass)
from evtkit_keras.outputs import Head, Loss, per_sample_losses
from evtkit_keras.patching import inference
from evtkit_keras.reduce import Workspace, lane_sums
from evtkit_keras.rules import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["KerasProfiler"]

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

    network: KerasNetwork
    loss: Loss | None
    head: Head
    workspace_mib: float
    loss_scale: float = 1.0
    run_eagerly: bool = False

    def __post_init__(self) -> None:
        functions: list[Callable[..., Any]] = [self._profile, self._gradient, self._logits, self._probabilities]
        runs = functions if self.run_eagerly else [_traced(function) for function in functions]
        self._run_profile, self._run_gradient, self._run_logits, self._run_probabilities = runs

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

    def computes_in(self) -> set[str]:
        """The dtypes that layers with weights compute in."""
        return {layer.compute_dtype for layer in self.network.layers.values() if layer._trainable_variables}

    def logits(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class scores; of a softmax, what went into it."""
        self._look(batch)
        scores: NDArray[np.floating[Any]] = self._run_logits(batch.inputs).numpy()
        return scores

    def probabilities(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class probabilities; the output itself where it has them."""
        self._look(batch)
        shares: NDArray[np.floating[Any]] = self._run_probabilities(batch.inputs).numpy()
        return shares

    def profile(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Profile of a batch that fits in memory, shape (batch, units)."""
        parts, losses = self._run_profile(batch.inputs, self._target(batch, target))
        self._check_losses(losses)
        sums = np.zeros((len(self.plan.units), batch.size), self.dtype)
        for lanes, part in zip(self.plan.lanes, parts, strict=True):
            np.add.at(sums, lanes.units, part.numpy().T)
        profile = finish(sums.T, self.reduction, self.plan.units.size.astype(self.dtype))
        return np.ascontiguousarray(profile / self.dtype.type(self.loss_scale))

    def gradient(self, batch: Batch, target: Any, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Gradient of the batch's summed loss with respect to some weights, the ordinary way."""
        gradients, losses = self._run_gradient(batch.inputs, self._target(batch, target))
        self._check_losses(losses)
        found = dict(zip(self.plan.parameters, gradients, strict=True))
        return {name: found[name].numpy() for name in names}

    def input_slope(self, batch: Batch, target: Any, measure: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Absolute slope of a measure of one sample's ordinary gradient along the input."""
        weights = {name: self.network.variables[name].value for name in self.plan.parameters}
        label = self._target(batch, target)
        return input_slope(batch, lambda one: self.losses(one.inputs, label), weights, measure)

    def _target(self, batch: Batch, target: Any) -> Any:
        """Targets as the loss takes them, checked: integer labels for the default loss."""
        if isinstance(target, str):
            target = self.logits(batch).argmax(1)
        if self.loss is not None:
            return target
        self._look(batch)
        return class_labels(target, self.head.classes)

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
            raise ValueError(f"got a loss that is not finite for samples {bad[:5]} of the batch, wanted finite numbers")

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

    def _profile(self, inputs: Any, target: Any) -> tuple[list[Any], Any]:
        try:
            return self._profile_seen(inputs, target)
        except HiddenError as hidden:
            where = str(hidden)
        eagerly = tf.config.functions_run_eagerly()
        try:
            tf.config.run_functions_eagerly(True)  # traced functions inside the network become part of this graph
            return self._profile_seen(inputs, target, again=True)
        except HiddenError:
            raise RuntimeError(
                f"got {where} inside a loop or a branch of TensorFlow (tf.while_loop, tf.cond, tf.map_fn), wanted the "
                "layer called outside, run_eagerly=True, or a choice of units that leaves it out"
            ) from None
        finally:
            tf.config.run_functions_eagerly(eagerly)

    def _profile_seen(self, inputs: Any, target: Any, again: bool = False) -> tuple[list[Any], Any]:
        tracked = {name: self.network.variables[name] for name in self.plan.parameters}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            capture = Capture(self.network, tracked, tape)
            with capture.following():
                losses = self.losses(inputs, target)
            total = tf.reduce_sum(losses) * self.loss_scale
        capture.check(total)
        if tf.executing_eagerly() and not again and len(capture.used) < len(tracked):
            raise HiddenError("")  # it may be used inside a traced function, where Python does not run
        slopes = tape.gradient(total, [call.output for call in capture.calls])
        for weight, followers in capture.followers.items():
            self.followers.setdefault(weight, set()).update(followers)
        self.used |= capture.used
        found = [
            (call, tf.convert_to_tensor(slope))  # an embedding's slope is a list of rows
            for call, slope in zip(capture.calls, slopes, strict=True)
            if slope is not None  # no path to the loss: the gradient is zero
        ]
        return self._reduced(found, losses.shape[0]), losses

    def _reduced(self, found: Sequence[tuple[Call, Any]], samples: int) -> list[Any]:
        """One tensor (samples, lanes) for each of the plan's lanes."""
        last = {call.parameter: place for place, (call, _) in enumerate(found)}
        order = sorted(range(len(self.plan.lanes)), key=lambda i: -last.get(self.plan.lanes[i].parameter, -1))
        workspace = Workspace(self.workspace_mib)
        parts: list[Any] = [None] * len(order)
        before: list[Any] = []
        for place in order:
            lanes = self.plan.lanes[place]
            weight = self.network.variables[lanes.parameter]
            shape, value = (
                tuple(weight.shape),
                tf.convert_to_tensor(weight.value) if self.reduction == "taylor" else None,
            )
            mine = [(call, slope) for call, slope in found if call.parameter == lanes.parameter]
            uses = [Use(shape, *_batched(call, slope, samples), call.layer, lanes.axes, value) for call, slope in mine]
            rules = [call.rule for call, _ in mine]
            with tf.control_dependencies(before):
                if uses:
                    part = lane_sums(rules, uses, samples, len(lanes.units), self.reduction, workspace)
                else:
                    part = tf.zeros((samples, len(lanes.units)), tf.float32)
            parts[place] = part
            before = [] if tf.executing_eagerly() else [part]
        return parts


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function as a graph, traced once for every shape, of which a plain call would warn."""
    graphs = tf.function(function, autograph=False)

    def run(*arguments: Any) -> Any:
        given = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x) if isinstance(x, np.ndarray) else x, arguments)
        return graphs.get_concrete_function(*given)(*given)

    return run


def _batched(call: Call, slope: Any, samples: int) -> tuple[Any, Any]:
    """Input and gradient with the samples in front, or a sequence folded into them.

    Raises
    ------
    RuntimeError
        If the samples are not along axis 0.
    """
    for x in (call.input, slope):
        if x.shape[0] is None or x.shape[0] % samples:
            raise RuntimeError(
                f"got an input of shape {tuple(call.input.shape)} where {call.parameter} is used, wanted {samples} "
                "samples along axis 0, or a multiple of them"
            )
    return call.input, slope
