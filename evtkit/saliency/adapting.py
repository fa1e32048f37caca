"""Adapting: what no adapter for a framework need write again: the choice of units, their coverage, common checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np

from evtkit.saliency.units import Coverage, LeftOut, Units

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

__all__ = [
    "Candidate",
    "Chooser",
    "Lanes",
    "Plan",
    "Reduction",
    "Weight",
    "check_options",
    "make_plan",
    "places",
    "step_size",
]

Reduction = Literal["mean-abs", "l2", "taylor"]

Chooser = str | Callable[[str, Any], bool]
"""A kind, a glob over layer names, or a predicate of name and layer."""


class Lanes(Protocol):
    """How one parameter falls into units: its slices, and the unit of each."""

    @property
    def parameter(self) -> str:
        """Full name of the parameter."""

    @property
    def units(self) -> NDArray[np.intp]:
        """Unit of every slice, shape (slices,)."""

    @property
    def split(self) -> object:
        """What the slices are, comparable: two lanes of one parameter with equal splits have the same slices."""

    def of_units(self, units: NDArray[np.intp]) -> Self:
        """Return the same slices, of other units."""


L = TypeVar("L", bound=Lanes)


@dataclass(frozen=True, eq=False)
class Candidate(Generic[L]):
    """A layer that could give units: its name, kind and lanes, whose units count from 0 within it."""

    name: str
    kind: str
    layer: Any
    lanes: Sequence[L]


@dataclass(frozen=True)
class Weight:
    """A parameter of the network, its number of weights, and why no unit would hold it if nothing else is known."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True, eq=False)
class Plan(Generic[L]):
    """A network's units, the lanes of its parameters they consist of, and the coverage."""

    units: Units
    lanes: tuple[L, ...]
    coverage: Coverage

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that hold units, each once."""
        return tuple(dict.fromkeys(lanes.parameter for lanes in self.lanes))

    @cached_property
    def pieces(self) -> tuple[tuple[tuple[L, int], ...], ...]:
        """For every unit, the lanes it consists of."""
        pieces: list[list[tuple[L, int]]] = [[] for _ in range(len(self.units))]
        for lanes in self.lanes:
            for lane, unit in enumerate(lanes.units.tolist()):
                pieces[unit].append((lanes, lane))
        return tuple(tuple(piece) for piece in pieces)

    def __str__(self) -> str:
        kinds: dict[str, int] = {}
        for kind in self.units.kind.tolist():
            kinds[kind] = kinds.get(kind, 0) + 1
        what = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
        return f"{what} in {len(set(self.units.module.tolist()))} layers; {self.coverage}"


def make_plan(
    candidates: Iterable[Candidate[L]],
    weights: Sequence[Weight],
    choose: Chooser | Sequence[Chooser],
    kinds: Sequence[str],
    *,
    stage: Callable[[str], str],
    owner: str,
    reasons: Mapping[str, str] | None = None,
) -> Plan[L]:
    """Choose units by kind, name or predicate, in the order of the candidates, then by output index.

    Parameters
    ----------
    candidates : iterable of Candidate
        Layers that could give units, in the framework's own order.
    weights : sequence of Weight
        All the network's parameters.
    choose : str, callable, or sequence of them
        Kinds, globs or predicates; a candidate is taken when any of them matches.
    kinds : sequence of str
        All kinds there are.
    stage : callable
        From a layer's name to its stage.
    owner : str
        What the network is called in messages.
    reasons : mapping of str to str, optional
        For parameters that no candidate has, why.

    Returns
    -------
    Plan
        A parameter that two candidates split alike counts once, under the first one's name.

    Raises
    ------
    ValueError
        If nothing matches.

    Examples
    --------
    >>> make_plan([], [], "filters", ["filters"], stage=str, owner="Net")
    Traceback (most recent call last):
    ...
    ValueError: got no units: 'filters' matches no layer of Net, wanted one of the kinds filters, a glob over module
    names, or a predicate of (name, module)
    """
    choosers = [choose] if isinstance(choose, str) or callable(choose) else list(choose)
    sizes_of = {weight.name: weight.size for weight in weights}
    columns: list[tuple[str, str, int, int, str]] = []
    plan: list[L] = []
    why = dict(reasons or {})
    for candidate in candidates:
        if not _matches(choosers, kinds, candidate):
            for lanes in candidate.lanes:
                why.setdefault(lanes.parameter, f"{candidate.kind} not selected")
            continue
        local = [lanes for lanes in candidate.lanes if not any(_same(lanes, other) for other in plan)]
        if not local:
            continue
        sizes = np.zeros(1 + max(int(lanes.units.max()) for lanes in local), dtype=np.int64)
        for lanes in local:
            np.add.at(sizes, lanes.units, sizes_of[lanes.parameter] // len(lanes.units))
            plan.append(lanes.of_units(lanes.units + len(columns)))
        named = (candidate.name, candidate.kind), stage(candidate.name)
        columns += [(*named[0], index, int(size), named[1]) for index, size in enumerate(sizes)]
    if not columns:
        raise ValueError(
            f"got no units: {choose!r} matches no layer of {owner}, wanted one of the kinds "
            f"{', '.join(kinds)}, a glob over module names, or a predicate of (name, module)"
        )
    held = {lanes.parameter for lanes in plan}
    covered = sum(weight.size for weight in weights if weight.name in held)
    left_out = [
        LeftOut(weight.name, weight.size, why.get(weight.name, weight.reason))
        for weight in weights
        if weight.name not in held
    ]
    units = Units(*zip(*columns, strict=True))  # type: ignore[arg-type]  # five columns
    return Plan(units, tuple(plan), Coverage(covered, tuple(left_out)))


def places(selection: NDArray[np.intp], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where chosen units are in a gradient's selection.

    Raises
    ------
    ValueError
        If one is not there.
    """
    place = {unit: position for position, unit in enumerate(selection.tolist())}
    missing = [unit for unit in chosen.tolist() if unit not in place]
    if missing:
        raise ValueError(f"got a gradient without units {missing[:3]}, wanted all selected units in it")
    return np.array([place[unit] for unit in chosen.tolist()], dtype=np.intp)


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


def check_options(reduction: str, max_workspace_mib: float, micro_batch: int | None, loss_scale: float) -> None:
    """Refuse options out of their range, which are the same for every adapter.

    Raises
    ------
    ValueError
        If one is.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"got reduction={reduction!r}, wanted one of {', '.join(get_args(Reduction))}")
    if not max_workspace_mib > 0:
        raise ValueError(f"got max_workspace_mib={max_workspace_mib}, wanted more than 0")
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"got micro_batch={micro_batch}, wanted at least 1, or None")
    if not 0 < loss_scale < float("inf"):
        raise ValueError(f"got loss_scale={loss_scale}, wanted a finite number above 0")


def _matches(choosers: Sequence[Chooser], kinds: Sequence[str], candidate: Candidate[Any]) -> bool:
    for chooser in choosers:
        if callable(chooser):
            if chooser(candidate.name, candidate.layer):
                return True
        elif candidate.kind == chooser or (chooser not in kinds and fnmatchcase(candidate.name, chooser)):
            return True
    return False


def _same(lanes: Lanes, other: Lanes) -> bool:
    """Whether both split the same parameter the same way, whatever their units' numbers."""
    alike = lanes.parameter == other.parameter and lanes.split == other.split
    return alike and np.array_equal(lanes.units - lanes.units.min(), other.units - other.units.min())
