"""Plans: the choice of units, the lanes they consist of, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.units import Coverage, LeftOut, Units

if TYPE_CHECKING:
    from evtkit.saliency.adapting.lanes import Lanes

__all__ = ["Candidate", "Chooser", "Plan", "Weight", "make_plan"]

Chooser = str | Callable[[str, Any], bool]
"""A kind, a glob over layer names, or a predicate of name and layer."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that could give units: its name, kind and lanes, whose units count from 0 within it.

    Parameters
    ----------
    name, kind : str
        Full name of the layer, and the kind of its units.
    layer : object
        The layer itself, for predicates.
    lanes : sequence of Lanes
        Under their parameters' full names.
    reasons : mapping of str to str
        For parameters of the layer that its lanes leave out, why.
    """

    name: str
    kind: str
    layer: Any
    lanes: Sequence[Lanes]
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Weight:
    """A parameter of the network, its number of weights, and why no unit would hold it if nothing else is known."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True, eq=False)
class Plan:
    """A network's units, the lanes of its parameters they consist of, and the coverage."""

    units: Units
    lanes: tuple[Lanes, ...]
    coverage: Coverage

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that hold units, each once."""
        return tuple(dict.fromkeys(lanes.parameter for lanes in self.lanes))

    @cached_property
    def lanes_of(self) -> Mapping[str, tuple[Lanes, ...]]:
        """Every parameter's lanes."""
        return {name: tuple(one for one in self.lanes if one.parameter == name) for name in self.parameters}

    @cached_property
    def pieces(self) -> tuple[tuple[tuple[Lanes, int], ...], ...]:
        """For every unit, the lanes it consists of."""
        pieces: list[list[tuple[Lanes, int]]] = [[] for _ in range(len(self.units))]
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
    candidates: Iterable[Candidate],
    weights: Sequence[Weight],
    choose: Chooser | Sequence[Chooser],
    kinds: Sequence[str],
    *,
    stage: Callable[[str], str],
    owner: str,
) -> Plan:
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
    ValueError: units must be one of the kinds filters, a glob over module names, or a predicate of (name, module), got
    'filters', which matches no layer of Net
    """
    choosers = [choose] if isinstance(choose, str) or callable(choose) else list(choose)
    sizes_of = {weight.name: weight.size for weight in weights}
    columns: list[tuple[str, str, int, int, str]] = []
    plan: list[Lanes] = []
    why: dict[str, str] = {}
    for candidate in candidates:
        for name, reason in candidate.reasons.items():
            why.setdefault(name, reason)
        if not _matches(choosers, kinds, candidate):
            for lanes in candidate.lanes:
                why.setdefault(lanes.parameter, f"{candidate.kind} not selected")
            continue
        local = [lanes for lanes in candidate.lanes if not any(lanes.alike(other) for other in plan)]
        if not local:
            continue
        sizes = np.zeros(1 + max(int(lanes.units.max()) for lanes in local), dtype=np.int64)
        for lanes in local:
            np.add.at(sizes, lanes.units, sizes_of[lanes.parameter] // len(lanes.units))
            plan.append(lanes.of_units(lanes.units + len(columns)))
        group = stage(candidate.name)
        columns += [(candidate.name, candidate.kind, index, int(size), group) for index, size in enumerate(sizes)]
    if not columns:
        raise ValueError(
            f"units must be one of the kinds {', '.join(kinds)}, a glob over module names, or a predicate of (name, "
            f"module), got {choose!r}, which matches no layer of {owner}"
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


def _matches(choosers: Sequence[Chooser], kinds: Sequence[str], candidate: Candidate) -> bool:
    for chooser in choosers:
        if callable(chooser):
            if chooser(candidate.name, candidate.layer):
                return True
        elif candidate.kind == chooser or (chooser not in kinds and fnmatchcase(candidate.name, chooser)):
            return True
    return False
