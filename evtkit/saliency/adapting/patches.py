"""Patches: units zeroed or tuned for a while, restored bit for bit, and exported as a repair."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.adapting.lanes import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from evtkit.saliency.adapting.network import Network
    from evtkit.saliency.adapting.plan import Plan

__all__ = ["NetworkGradient", "Patches", "step_size", "write_repair"]

Slices = dict[str, list[Index]]
"""For every parameter, the indices of some of its lanes."""


@dataclass(frozen=True, eq=False)
class NetworkGradient:
    """Signed gradient of selected units at the weights at which it was taken.

    Parameters
    ----------
    selection : ndarray of int, shape (selected,)
        Positions of the units.
    norms : ndarray of float, shape (selected,)
        Euclidean length of each unit's gradient.
    parameters : mapping of str to array
        Gradient of every parameter that holds one of them.
    """

    selection: NDArray[np.intp]
    norms: NDArray[np.float64]
    parameters: Mapping[str, Any]

    def norms_of(self, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Lengths of chosen units' gradients.

        Raises
        ------
        ValueError
            If one is not in the selection.
        """
        position = {unit: i for i, unit in enumerate(self.selection.tolist())}
        missing = [unit for unit in chosen.tolist() if unit not in position]
        if missing:
            raise ValueError(f"gradient must have all selected units, got one without {missing[:3]}")
        return self.norms[[position[unit] for unit in chosen.tolist()]]


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
        self._saved: list[dict[str, list[tuple[Index, Any]]]] = []

    def slices(self, selection: NDArray[np.intp]) -> Slices:
        """Slices of weights that selected units consist of."""
        found: Slices = {}
        for unit in selection.tolist():
            for lanes, lane in self._plan.pieces[unit]:
                index = lanes.index(lane, self._network.shape(lanes.parameter))
                found.setdefault(lanes.parameter, []).append(index)
        return found

    def norms(self, selection: NDArray[np.intp], of: Mapping[str, Any] | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights, or of its part of arrays shaped like the parameters."""
        squares = np.zeros(len(self._plan.units))
        chosen = np.isin(np.arange(len(squares)), selection)
        for lanes in self._plan.lanes:
            if chosen[lanes.units].any():
                array = self._network.read(lanes.parameter) if of is None else of[lanes.parameter]
                rows = lanes.matrix(self._network.arrays.numpy(array).astype(np.float64))
                np.add.at(squares, lanes.units, np.square(rows).sum(1))
        return np.sqrt(squares[selection])

    def following(self, chosen: NDArray[np.intp], followers: Mapping[str, set[str]]) -> Slices:
        """Scales and shifts of the batch norms that chosen filters go straight into.

        Raises
        ------
        ValueError
            If a unit is no filter, or its batch norm has no scale.
        """
        found: Slices = {}
        for unit in chosen.tolist():
            for lanes, lane in self._plan.pieces[unit]:
                for follower in followers.get(lanes.parameter, ()):
                    own = self._network.scale_and_shift(follower)
                    if not own or self._plan.units.kind[unit] != "filters":
                        name = self._plan.units.names[unit]
                        raise ValueError(f"bn='zero' must be for a filter before a batch norm with a scale, got {name}")
                    for name in own:
                        found.setdefault(name, []).append((lane,))
        return found

    @contextmanager
    def changed(self, slices: Slices, change: Callable[[str, Index, Any], Any]) -> Iterator[None]:
        """Context in which slices hold what ``change(name, index, weights)`` makes of them.

        On leaving they are what they were on entering, bit for bit, also after an exception.
        """
        whole = {name: deepcopy(self._network.read(name)) for name in slices}
        saved = {name: [(index, whole[name][index]) for index in own] for name, own in slices.items()}
        self._saved.append(saved)
        try:
            for name, own in saved.items():
                self._network.write(name, [(index, change(name, index, weights)) for index, weights in own])
            yield
        finally:
            for name, own in saved.items():
                self._network.write(name, own)
            self._saved = [other for other in self._saved if other is not saved]

    def shift(self, slices: Slices, by: Callable[[str, Index], Any]) -> None:
        """Add to slices in place; inside `changed` of the same, which restores them.

        A weight that several units share is shifted once: slices are written, not added up.
        """
        for name, own in slices.items():
            whole = deepcopy(self._network.read(name))
            self._network.write(name, [(index, whole[index] + by(name, index)) for index in own])

    def __len__(self) -> int:
        """How many changes are in force."""
        return len(self._saved)

    def export(self, outer: int = 0) -> dict[str, Any]:
        """All changes in force but the outermost so many, as a flat dictionary; see `NetworkModel.export`."""
        inner = self._saved[outer:]
        if not inner:
            raise ValueError(
                "a call must be inside `with net.pruned(...)` or `with net.tuned(...)`, got no patch in force"
            )
        network, numpy = self._network, self._network.arrays.numpy
        repair: dict[str, Any] = {}
        for name in dict.fromkeys(name for saved in inner for name in saved):
            new = network.read(name)
            old = deepcopy(new)
            for saved in reversed(inner):
                for index, weights in saved.get(name, ()):
                    old[index] = weights
            old, new = (network.arrays.reshape(x, (-1,)) for x in (old, new))
            changed = np.flatnonzero(numpy(old) != numpy(new))
            parts = {"index": changed, "before": old[changed], "after": new[changed]}
            repair |= {f"{name}.{part}": network.stored(values) for part, values in parts.items()}
        return repair


def write_repair(network: Network, repair: Mapping[str, Any], revert: bool = False) -> None:
    """Write an exported repair into a network, for good.

    Parameters
    ----------
    network : Network
        With the weights the repair was made for.
    repair : mapping of str to array
        What `NetworkModel.export` returned.
    revert : bool
        Undo the repair instead.

    Raises
    ------
    ValueError
        If the repair names no parameter of the network, or its weights are not those it was made for; nothing is
        changed then.
    """
    known = set(network.names())
    names = [key.removesuffix(".index") for key in repair if key.endswith(".index")]
    unknown = [name for name in names if name not in known]
    if not names or unknown:
        raise ValueError(f"a repair must be of parameters of {network.title}, got {unknown or list(repair)[:3]}")
    arrays = network.arrays
    old, new = ("after", "before") if revert else ("before", "after")
    changed: dict[str, Any] = {}
    for name in names:
        shape = network.shape(name)
        flat = arrays.reshape(deepcopy(network.read(name)), (-1,))
        index = np.asarray(repair[f"{name}.index"])
        if index.size and int(index.max()) >= flat.shape[0]:
            raise ValueError(
                f"an index of {name} must be less than its {flat.shape[0]} weights, got {int(index.max())}"
            )
        before = arrays.like(repair[f"{name}.{old}"], flat)
        if not np.array_equal(arrays.numpy(flat[index]), arrays.numpy(before)):
            raise ValueError(f"weights must be those that the repair was made for, got others in {name}")
        flat[index] = arrays.like(repair[f"{name}.{new}"], flat)
        changed[name] = arrays.reshape(flat, shape)
    for name, weights in changed.items():
        network.write(name, [((slice(None),) * len(weights.shape), weights)])


def step_size(norms: NDArray[np.float64], step: float, length: float | None) -> float:
    """The multiple of a gradient that is subtracted: `step`, or what makes the whole update `length` long.

    Parameters
    ----------
    norms : ndarray of float, shape (selected,)
        Euclidean length of each selected unit's gradient.
    step : float
        The multiple, if `length` is None.
    length : float or None
        Euclidean length of the update over the whole selection; a gradient of zero stays one.
    """
    if length is None:
        return step
    whole = float(np.linalg.norm(norms))
    return length / whole if whole > 0.0 else 0.0
