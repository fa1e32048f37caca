"""Capture: every use of a tracked weight in one forward pass, and the outputs whose gradients belong to them.

While it runs, the layer types that hold tracked weights compute through here. What is taken is the layer's input and
its output before the activation: the layer's activation is replaced, for the length of the call, by one that first
shows its argument to the tape.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from evtkit_keras.patching import patched
from evtkit_keras.rules import ENTRIES, Entry, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from evtkit_keras.network import KerasNetwork

__all__ = ["Call", "Capture", "HiddenError"]


class HiddenError(Exception):
    """Layers ran inside a graph of their own, where their tensors cannot be reached.

    Parameters
    ----------
    names : iterable of str
        Their weights.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__(", ".join(names))
        self.names = list(names)


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a weight: the layer's input, and its output before the activation."""

    parameter: str
    rule: Rule
    layer: Any
    input: Any
    output: Any


class Capture:
    """Follow tracked weights through a forward pass under a tape.

    Parameters
    ----------
    network : KerasNetwork
        The network.
    tracked : mapping of str to Variable
        Weights to follow, by name.
    tape : tf.GradientTape
        Watches nothing by itself.

    Attributes
    ----------
    calls : list of Call
        All uses, in the order of the forward pass.
    followers : dict of str to set of str
        For a weight, the batch norms its output goes straight into, by the name of their layer.
    """

    def __init__(self, network: KerasNetwork, tracked: Mapping[str, Any], tape: Any) -> None:
        self.calls: list[Call] = []
        self.followers: dict[str, set[str]] = {}
        self._network = network
        self._names = {id(variable): name for name, variable in tracked.items()}
        self._handles = {name: variable.value.handle for name, variable in tracked.items()}  # before any autocast
        self._tape = tape
        self._graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        self._layer_names = {id(layer): name for name, layer in network.layers.items()}
        self._entries: dict[int, tuple[Entry, dict[str, str]]] = {}
        self._sources: dict[int, tuple[Any, str]] = {}
        self._own_reads = {name: self._reads(name) for name in tracked}  # of an earlier attempt, in the same graph
        self._hidden: list[str] = []
        self._twice: list[str] = []
        for layer in network.layers.values():
            entry = ENTRIES.find(layer)
            if entry is None:
                continue
            held = {attribute: self._names.get(id(getattr(layer, attribute, None))) for attribute in entry.rules}
            names = {attribute: name for attribute, name in held.items() if name is not None}
            if names or entry.type is keras.layers.BatchNormalization:
                self._entries[id(layer)] = entry, names

    @property
    def used(self) -> set[str]:
        """Tracked weights that a layer has used."""
        return {call.parameter for call in self.calls}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow within this context; the layer types compute as ever when it ends."""
        with ExitStack() as stack:
            for layer_type in {entry.type for entry, _ in self._entries.values()}:
                stack.enter_context(patched(layer_type, functools.partial(self._compute, layer_type)))
            yield

    def check(self, total: Any) -> dict[str, str]:
        """Weights whose profile would be wrong by what has been seen of them, and why.

        Raises
        ------
        HiddenError
            If a layer ran in a graph of its own.
        """
        foreign = {name: found for name in self._handles if (found := self._reads(name) - self._own_reads[name])}
        inside = [name for name, found in foreign.items() if any(self._is_function(read) for read in found)]
        if self._hidden or inside:
            raise HiddenError(dict.fromkeys([*self._hidden, *inside]))
        wrong = dict.fromkeys(self._twice, "its layer calls its activation more than once")
        for name, reads in foreign.items():
            if self._reaches(total, reads):
                wrong[name] = "used outside its layer's own computation"
        return wrong

    def _compute(self, layer_type: type, original: Callable[..., Any], layer: Any, args: Any, kwargs: Any) -> Any:
        entry, names = self._entries.get(id(layer), (None, {}))
        if entry is None or entry.type is not layer_type:
            return original(layer, *args, **kwargs)
        if isinstance(layer, keras.layers.BatchNormalization):
            self._note_batch_norm(layer, args, kwargs)
        before = {name: self._reads(name) for name in names.values()}
        if entry.compute is not None:
            output = entry.compute(layer, functools.partial(self._follow, entry, names, layer), *args, **kwargs)
        else:
            output = self._call(entry, names, original, layer, args, kwargs)
        for name, reads in before.items():
            self._own_reads[name] |= self._reads(name) - reads
        return output

    def _call(
        self, entry: Entry, names: dict[str, str], original: Any, layer: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """The layer's own computation, with its activation's argument shown to the tape, or else its output."""
        (attribute,) = names or ("",)
        source = args[0] if args else next(iter(kwargs.values()))
        shown: list[Any] = []
        own = vars(layer)
        activation = own.get("activation")

        def tapped(x: Any, *more: Any, **options: Any) -> Any:
            shown.append(x)
            self._follow(entry, names, layer, attribute, source, x)
            return activation(x, *more, **options)

        if callable(activation) and attribute:
            own["activation"] = tapped  # not by setattr: Keras would track it
        try:
            output = original(layer, *args, **kwargs)
        finally:
            if own.get("activation") is tapped:
                own["activation"] = activation
        if not shown and attribute:
            self._follow(entry, names, layer, attribute, source, output)
        if len(shown) > 1:
            self._twice += names.values()
        return output

    def _follow(
        self, entry: Entry, names: dict[str, str], layer: Any, attribute: str, source: Any, output: Any
    ) -> None:
        """Show an output to the tape, and remember the use of the weight behind it."""
        if self._graph is not None and getattr(output, "graph", None) is not self._graph:
            self._hidden += names.values()
            return
        self._tape.watch(output)
        if attribute in names:
            name = names[attribute]
            self.calls.append(Call(name, entry.rules[attribute], layer, source, output))
            self._sources[id(output)] = output, name

    def _note_batch_norm(self, layer: Any, args: Any, kwargs: Any) -> None:
        """Remember which weight's output goes straight into it."""
        source = args[0] if args else kwargs.get("inputs")
        if id(source) in self._sources:
            self.followers.setdefault(self._sources[id(source)][1], set()).add(self._layer_names[id(layer)])

    def _reads(self, name: str) -> set[str]:
        """Names of the graph's operations that read a weight; none are known outside a graph."""
        if self._graph is None:
            return set()
        inner = [placed for outer, placed in self._graph.captures if outer is self._handles[name]]
        return {operation.name for placed in inner for operation in placed.consumers()}

    def _reaches(self, total: Any, reads: set[str]) -> bool:
        """Whether a gradient flows from the loss to what these operations read."""
        assert self._graph is not None
        outputs = [out for name in reads for out in self._graph.get_operation_by_name(name).outputs]
        return any(slope is not None for slope in tf.gradients(total, outputs))

    def _is_function(self, operation: str) -> bool:
        """Whether an operation passes what it reads on to a graph of its own: a traced function, a loop, a branch."""
        assert self._graph is not None
        return any(
            attribute.HasField("func")
            for attribute in self._graph.get_operation_by_name(operation).node_def.attr.values()
        )
