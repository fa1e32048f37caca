"""Patches: units zeroed or tuned for a while, restored bit for bit, and exported as a repair."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from evtkit_keras.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from evtkit_keras.plan import Plan

__all__ = ["KerasUnitGradient", "Patches", "apply_repair"]

Block = tuple[str, tuple[int | slice, ...]]
"""A weight's name and the index of a lane in it."""


@dataclass(frozen=True, eq=False)
class KerasUnitGradient:
    """Signed gradient of selected units at the weights at which it was taken.

    Parameters
    ----------
    selection : ndarray of int, shape (selected,)
        Positions of the units.
    norms : ndarray of float, shape (selected,)
        Euclidean length of each unit's gradient.
    parameters : mapping of str to ndarray
        Gradient of every weight that holds one of them.
    """

    selection: NDArray[np.intp]
    norms: NDArray[np.float64]
    parameters: Mapping[str, NDArray[Any]]


class Patches:
    """Changes of a network's weights that are in force, innermost last.

    Parameters
    ----------
    network : Network
        The network.
    plan : Plan
        Its units.
    """

    def __init__(self, network: Network, plan: Plan) -> None:
        self._network = network
        self._plan = plan
        self._saved: list[list[tuple[Block, NDArray[Any]]]] = []

    def blocks(self, selection: NDArray[np.intp]) -> list[Block]:
        """Blocks of weights that selected units consist of."""
        return [
            (lanes.parameter, lanes.block(lane, tuple(self._network.weights[lanes.parameter].shape)))
            for unit in selection.tolist()
            for lanes, lane in self._plan.pieces[unit]
        ]

    def norms(self, selection: NDArray[np.intp], of: Mapping[str, NDArray[Any]] | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights, or of its part of arrays shaped like the weights."""
        squares = np.zeros(len(self._plan.units))
        chosen = np.zeros(len(squares), dtype=bool)
        chosen[selection] = True
        for lanes in self._plan.lanes:
            if chosen[lanes.units].any():
                array = self._network.weights[lanes.parameter].value.numpy() if of is None else of[lanes.parameter]
                np.add.at(squares, lanes.units, np.square(lanes.matrix(array).astype(np.float64)).sum(1))
        return np.sqrt(squares[selection])

    def following(self, chosen: NDArray[np.intp], followers: Mapping[str, set[str]] | None) -> list[Block]:
        """Scales and shifts of the batch norms that chosen filters go straight into; None: no profile has shown them.

        Raises
        ------
        RuntimeError
            If it is not known yet which batch norms follow.
        ValueError
            If a unit is no filter, or its batch norm has no scale.
        """
        norms = (layer for layer in self._network.layers.values() if isinstance(layer, keras.layers.BatchNormalization))
        if followers is None and any(True for _ in norms):
            raise RuntimeError("got bn='zero' before any profile, wanted one first: it shows what follows")
        blocks: dict[Block, None] = {}
        for unit in chosen.tolist():
            for lanes, lane in self._plan.pieces[unit]:
                for follower in (followers or {}).get(lanes.parameter, ()):
                    layer = self._network.layers[follower]
                    if not layer.scale or self._plan.units.kind[unit] != "filters":
                        name = self._plan.units.names[unit]
                        raise ValueError(f"got bn='zero' for {name}, wanted a filter before a batch norm with a scale")
                    own = [self._network.name_of(variable) for variable in layer._trainable_variables]
                    blocks |= {(name, (lane,)): None for name in own if name is not None}
        return list(blocks)

    @contextmanager
    def changed(
        self, blocks: Sequence[Block], change: Callable[[str, tuple[int | slice, ...], NDArray[Any]], Any]
    ) -> Iterator[None]:
        """Context in which blocks hold what ``change(name, index, weights)`` makes of them.

        On leaving they are what they were on entering, bit for bit, also after an exception.
        """
        saved = [(block, self._network.weights[block[0]].value.numpy()[block[1]].copy()) for block in _once(blocks)]
        self._saved.append(saved)
        try:
            self._write([(block, change(*block, weights)) for block, weights in saved])
            yield
        finally:
            self._write(saved)
            self._saved = [other for other in self._saved if other is not saved]

    def _write(self, values: Sequence[tuple[Block, Any]]) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        for (name, index), value in values:
            if name not in arrays:
                arrays[name] = self._network.weights[name].value.numpy().copy()
            arrays[name][index] = value
        for name, array in arrays.items():
            self._network.weights[name].assign(array)

    def export(self) -> dict[str, NDArray[Any]]:
        """All changes in force, as a flat dictionary of arrays; see `KerasModel.export`."""
        if not self._saved:
            raise ValueError(
                "got no patch in force, wanted a call inside `with net.pruned(...)` or `with net.tuned(...)`"
            )
        before: dict[str, NDArray[Any]] = {}
        for saved in reversed(self._saved):
            for (name, index), weights in reversed(saved):
                if name not in before:
                    before[name] = self._network.weights[name].value.numpy().copy()
                before[name][index] = weights
        repair: dict[str, NDArray[Any]] = {}
        for name, old in before.items():
            new = self._network.weights[name].value.numpy()
            index = np.flatnonzero(old != new)
            parts = {"index": index, "before": old.ravel()[index], "after": new.ravel()[index]}
            repair |= {f"{name}.{part}": value for part, value in parts.items()}
        return repair


def apply_repair(model: Any, repair: Mapping[str, NDArray[Any]], *, revert: bool = False) -> None:
    """Write an exported repair into a network, for good.

    Parameters
    ----------
    model : keras.Model
        A network with the weights the repair was made for, and the same names of layers.
    repair : mapping of str to ndarray
        What `KerasModel.export` returned, for instance through `numpy.savez` or safetensors.
    revert : bool
        Undo the repair instead.

    Raises
    ------
    ValueError
        If the repair names no weight of the network, or its weights are not those it was made for; nothing is changed
        then.
    """
    network = Network.of(model)
    names = [key.removesuffix(".index") for key in repair if key.endswith(".index")]
    unknown = [name for name in names if name not in network.weights]
    if not names or unknown:
        raise ValueError(f"got a repair of {unknown or list(repair)[:3]}, wanted weights of {model.name!r}")
    old, new = ("after", "before") if revert else ("before", "after")
    changed: dict[str, NDArray[Any]] = {}
    for name in names:
        array = network.weights[name].value.numpy()
        index, flat = np.asarray(repair[f"{name}.index"]), array.ravel().copy()
        if index.size and int(index.max()) >= flat.size:
            raise ValueError(f"got an index {int(index.max())} for {name}, wanted less than its {flat.size} weights")
        if not np.array_equal(flat[index], np.asarray(repair[f"{name}.{old}"]).astype(flat.dtype)):
            raise ValueError(f"got other weights in {name} than the repair was made for, wanted the same")
        flat[index] = np.asarray(repair[f"{name}.{new}"]).astype(flat.dtype)
        changed[name] = flat.reshape(array.shape)
    for name, array in changed.items():
        network.weights[name].assign(array)


def _once(blocks: Sequence[Block]) -> list[Block]:
    """Each block once; blocks of one unit may cross those of another, which does no harm."""
    return list({(name, str(index)): (name, index) for name, index in blocks}.values())
