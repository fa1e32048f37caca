"""Networks: a Keras model's layers and weights under full names, in Keras's own order.

A layer is called by its own name, with those of the models and layers around it in front: ``encoder/attention/query``.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from evtkit.saliency.adapting import Arrays, Candidate, Chooser, Lanes, Network, Plan, Weight, make_plan, resolve
from evtkit_keras.layers import HOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from evtkit.saliency.adapting.lanes import Index

__all__ = ["KerasNetwork", "stage_of"]


def stage_of(layer: str) -> str:
    """Group a layer belongs to: its name up to the first part that ends in a digit.

    Keras's names have slashes between a model and the layers inside it, and underscores, or dots, within a name.

    Parameters
    ----------
    layer : str
        Full name of a layer.

    Returns
    -------
    str
        The stage; the whole name of a layer that has no number in it.

    Examples
    --------
    >>> [stage_of(name) for name in ("conv2_block1_1_conv", "block_3_expand", "encoder/layer_7/query", "dense")]
    ['conv2', 'block_3', 'encoder/layer_7', 'dense']
    """
    numbered = re.match(r".*?[0-9](?=[/_.]|$)", layer)
    return numbered[0] if numbered else layer


class _Tensors(Arrays):
    """Arithmetic on tensors, through which gradients flow; weights and repairs are NumPy arrays."""

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return tf.reshape(x, shape) if tf.is_tensor(x) else super().reshape(x, shape)

    def transpose(self, x: Any, order: Sequence[int]) -> Any:
        return tf.transpose(x, order) if tf.is_tensor(x) else super().transpose(x, order)

    def cast(self, x: Any, dtype: np.dtype[Any]) -> Any:
        return tf.cast(x, dtype)

    def total(self, x: Any) -> Any:
        return tf.reduce_sum(x)

    def sums(self, rows: Any, groups: NDArray[np.intp], count: int) -> Any:
        return tf.math.unsorted_segment_sum(tf.reduce_sum(rows, 1), tf.constant(groups), count)

    def like(self, values: Any, x: Any) -> Any:
        return tf.cast(tf.constant(values), x.dtype) if tf.is_tensor(x) else super().like(values, x)


class KerasNetwork(Network):
    """A model's layers and weights by full name.

    Parameters
    ----------
    model : keras.Model
        The model.

    Attributes
    ----------
    layers : dict of str to Layer
        Every layer once, the model itself first (""), each layer before the layers inside it. Names that Keras makes up
        are counted within the network, so that the same network built twice has the same.
    quantised : list of Weight
        Integer kernels, which have no gradient and so no units.
    variables : dict of str to Variable
        The weights that training could change, frozen or not, each once under its first name. Moving averages and the
        states of random generators are none.

    Raises
    ------
    ValueError
        If it is no Keras 3 model, Keras does not run on TensorFlow, or the model is unbuilt.
    """

    arrays = _Tensors()

    def __init__(self, model: Any) -> None:
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                f"Keras must run on 'tensorflow' (KERAS_BACKEND=tensorflow, set before Keras is imported), got "
                f"{keras.backend.backend()!r}: evtkit supports Keras 3 on TensorFlow, and PyTorch's own modules by "
                "evtkit_torch"
            )
        if not isinstance(model, keras.Model):
            raise ValueError(f"model must be a keras.Model of Keras 3, got {type(model).__name__}")
        if not model.built:
            raise ValueError(f"model must have been called on data before, got an unbuilt {type(model).__name__}")
        self.model = model
        walked = list(_walk(model))
        self.layers = {name: layer for name, _, layer in walked}
        self._own = {name: own for name, own, _ in walked}
        self.quantised = list(_quantised(self.layers))
        self.variables: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._owners: dict[str, Any] = {}
        for name, layer in self.layers.items():
            for variable in layer._trainable_variables:  # its own, and also where the layer is frozen
                if id(variable) not in self._names:
                    full = _unique(f"{name}/{variable.name}".lstrip("/"), self.variables)
                    self.variables[full], self._owners[full], self._names[id(variable)] = variable, layer, full

    @property
    def kinds(self) -> Sequence[str]:
        """Every kind of unit declared so far."""
        return HOLDERS.kinds()

    def names(self) -> Iterable[str]:
        """Full names of all weights."""
        return self.variables

    def candidates(self) -> Iterator[Candidate]:
        """Layers of the declared types, or their parts."""
        for name, layer in self.layers.items():
            kind, holder = HOLDERS.find(layer) or ("", None)
            if holder is None:
                continue
            if not layer.built:  # a layer that no call has used has no weights yet
                warnings.warn(
                    f"{name} ({type(layer).__name__}) is unbuilt and has no units: nothing has used it", stacklevel=5
                )
                continue
            for part, local in holder(layer).items():
                reasons: dict[str, str] = {}
                lanes = list(self._named(layer, local, reasons))
                yield Candidate(f"{name}/{part}" if part else name, kind, layer, lanes, reasons)

    def read(self, name: str) -> NDArray[Any]:
        """A weight's value as an array."""
        value: NDArray[Any] = self.variables[name].value.numpy()
        return value

    def write(self, name: str, changes: Iterable[tuple[Index, Any]]) -> None:
        """Put values at some indices of a weight."""
        weights = self.read(name).copy()
        for index, values in changes:
            weights[index] = values
        self.variables[name].assign(weights)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a weight."""
        return tuple(self.variables[name].shape)

    def dense(self) -> dict[str, str | None]:
        """Names of the kernels of dense layers, each with that of its bias."""
        found: dict[str, str | None] = {}
        for layer in self.layers.values():
            if isinstance(layer, keras.layers.Dense) and layer.built:
                kernel, bias = (self._names.get(id(getattr(layer, own, None))) for own in ("kernel", "bias"))
                if kernel is not None and (bias is not None or not layer.use_bias):
                    found[kernel] = bias
        return found

    def no_units(self, name: str) -> str:
        """Why no unit would hold a weight."""
        bias = name.rpartition("/")[2].partition("#")[0] in ("bias", "beta")
        return "bias" if bias else f"in {type(self._owners[name]).__name__}, for which no units are defined"

    def has_batch_norm(self) -> bool:
        """Whether there is a batch norm."""
        return any(isinstance(layer, keras.layers.BatchNormalization) for layer in self.layers.values())

    def scale_and_shift(self, follower: str) -> list[str]:
        """Weights of the batch norm of this name, if it has a scale."""
        layer = self.layers[follower]
        return [self._names[id(variable)] for variable in layer._trainable_variables] if layer.scale else []

    def plan(self, choose: Chooser | Sequence[Chooser], stage: Callable[[str], str] = stage_of) -> Plan:
        """Choose units; stages are named without the nested models that all units share."""
        weights = [Weight(name, math.prod(self.shape(name)), self.no_units(name)) for name in self.names()]
        candidates = list(self.candidates())
        try:
            plan = make_plan(
                candidates, [*weights, *self.quantised], self._by_own_names(choose, candidates), self.kinds,
                stage=stage, owner=self.title,
            )  # fmt: skip
        except ValueError as error:
            if not self.quantised:
                raise
            names = ", ".join(weight.name for weight in self.quantised[:3])
            raise ValueError(f"{error}; {len(self.quantised)} quantised kernels have no units: {names}, …") from None
        prefix = _common(self, plan.units.module.tolist())
        stages = [prefix + stage(name[len(prefix) :]) for name in plan.units.module.tolist()]
        return replace(plan, units=replace(plan.units, stage=np.array(stages))) if prefix else plan

    def _by_own_names(
        self, choose: Chooser | Sequence[Chooser], candidates: Sequence[Candidate]
    ) -> Chooser | Sequence[Chooser]:
        """Choosers, of which globs that fit names as the user's layers have them stand for those layers."""
        choosers = [choose] if isinstance(choose, str) or callable(choose) else list(choose)
        own: dict[str, str] = {}
        for candidate in candidates:
            name, part = candidate.name, ""
            while name not in self._own:
                name, _, last = name.rpartition("/")
                part = f"/{last}{part}"
            own[candidate.name] = self._own[name] + part
        found: list[Chooser] = []
        for chooser in choosers:
            fits = [] if callable(chooser) else [name for name in own if fnmatchcase(own[name], chooser)]
            found += fits if fits and chooser not in self.kinds else [chooser]
        return choose if found == choosers else found

    def _named(self, layer: Any, local: Sequence[Lanes], reasons: dict[str, str]) -> Iterator[Lanes]:
        """Lanes under their weights' full names, without those whose weight is recomputed from others."""
        for lanes in local:
            name = self._names.get(id(resolve(layer, lanes.parameter)))
            if name is not None:
                yield replace(lanes, parameter=name)
                continue
            owner = resolve(layer, lanes.parameter.rpartition(".")[0]) if "." in lanes.parameter else layer
            for own in owner._trainable_variables:
                if (known := self._names.get(id(own))) and not known.endswith("bias"):
                    reasons.setdefault(known, "the weight is recomputed from it (LoRA, quantization)")


def _walk(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Every layer once, before those inside it: a name of its own, that from Keras's names, and the layer."""
    taken: dict[str, Any] = {"": model}
    seen = {id(model)}
    counts: dict[str, int] = {}

    def below(prefix: str, own: str, layer: Any) -> Iterator[tuple[str, str, Any]]:
        for part in layer._flatten_layers(include_self=False, recursive=False):
            if id(part) in seen:
                continue
            seen.add(id(part))
            name = _unique(f"{prefix}{_counted(part, counts)}", taken)
            taken[name] = part
            yield name, own + part.name, part
            yield from below(f"{name}/", f"{own}{part.name}/", part)

    yield "", "", model
    yield from below("", "", model)


def _counted(layer: Any, counts: dict[str, int]) -> str:
    """A layer's name or, where it is its type's with a number, with its number within the network."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
    if not re.fullmatch(rf"{re.escape(kind)}(_[0-9]+)?", layer.name):
        return str(layer.name)
    number = counts[kind] = counts.get(kind, -1) + 1
    return f"{kind}_{number}" if number else kind


def _quantised(layers: Mapping[str, Any]) -> Iterator[Weight]:
    for name, layer in layers.items():
        mode = getattr(layer, "quantization_mode", None)
        for variable in layer._non_trainable_variables if mode else ():
            if "int" in str(variable.dtype) and variable.name.endswith(("kernel", "embeddings")):
                size = math.prod(variable.shape) * (2 if mode == "int4" else 1)  # two of them in a byte
                yield Weight(f"{name}/{variable.name}", size, f"quantised to {mode}, without a gradient")


def _unique(name: str, taken: dict[str, Any]) -> str:
    """The name, or with a number behind it if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}#{number}"
    return unique


def _common(network: KerasNetwork, names: Sequence[str]) -> str:
    """Name of the nested model that all units are in, with its slash: as a stage it would tell none from another."""
    prefix = ""
    while True:
        head, slash, _ = names[0][len(prefix) :].partition("/")
        inner = f"{prefix}{head}{slash}"
        nested = isinstance(network.layers.get(inner.rstrip("/")), keras.Model)
        if not slash or not nested or not all(name.startswith(inner) for name in names):
            return prefix
        prefix = inner
