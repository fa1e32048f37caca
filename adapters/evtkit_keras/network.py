"""Networks: a Keras model's layers and weights under full names, in Keras's own order.

A layer is called by its own name, with those of the models and layers around it in front: ``encoder/attention/query``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Network"]


@dataclass(frozen=True, eq=False)
class Network:
    """A model's layers and weights by full name.

    Parameters
    ----------
    model : keras.Model
        The model.
    layers : dict of str to Layer
        Every layer once, the model itself first (""), each layer before the layers inside it.
    weights : dict of str to Variable
        The weights that training could change, frozen or not, each once under its first name. Moving averages and the
        states of random generators are none.
    owners : dict of str to Layer
        The layer each weight belongs to.
    """

    model: Any
    layers: dict[str, Any]
    weights: dict[str, Any]
    owners: dict[str, Any]

    @classmethod
    def of(cls, model: Any) -> Network:
        """Read a model.

        Raises
        ------
        ValueError
            If it is no Keras 3 model, Keras does not run on TensorFlow, or the model is unbuilt.
        """
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                f"got Keras on {keras.backend.backend()!r}, wanted 'tensorflow' (KERAS_BACKEND=tensorflow, set before "
                "Keras is imported): evtkit supports Keras 3 on TensorFlow, and PyTorch's own modules by evtkit_torch"
            )
        if not isinstance(model, keras.Model):
            raise ValueError(f"got a model of type {type(model).__name__}, wanted a keras.Model of Keras 3")
        if not model.built:
            raise ValueError(f"got an unbuilt model ({type(model).__name__}), wanted one call on data before")
        layers = dict(_walk(model))
        weights: dict[str, Any] = {}
        owners: dict[str, Any] = {}
        seen: set[int] = set()
        for name, layer in layers.items():
            for variable in layer._trainable_variables:  # its own, and also where the layer is frozen
                if id(variable) not in seen:
                    seen.add(id(variable))
                    full = _unique(f"{name}/{variable.name}".lstrip("/"), weights)
                    weights[full], owners[full] = variable, layer
        return cls(model, layers, weights, owners)

    def name_of(self, variable: Any) -> str | None:
        """Full name of a weight, or None for anything else."""
        name: str | None = self._names.get(id(variable))
        return name

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", {id(variable): name for name, variable in self.weights.items()})

    _names: Any = None


def _walk(model: Any) -> Iterator[tuple[str, Any]]:
    """Every layer once, before those inside it, under a name of its own."""
    taken: dict[str, Any] = {"": model}
    seen = {id(model)}

    def below(prefix: str, layer: Any) -> Iterator[tuple[str, Any]]:
        for part in layer._flatten_layers(include_self=False, recursive=False):
            if id(part) in seen:
                continue
            seen.add(id(part))
            name = _unique(f"{prefix}{part.name}", taken)
            taken[name] = part
            yield name, part
            yield from below(f"{name}/", part)

    yield "", model
    yield from below("", model)


def _unique(name: str, taken: dict[str, Any]) -> str:
    """The name, or with a number behind it if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}#{number}"
    return unique
