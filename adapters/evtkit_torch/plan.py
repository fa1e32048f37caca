"""The plan: a network's chosen units, the lanes they are made of, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn
from torch.nn.utils import parametrize

from evtkit.saliency.units import Coverage, LeftOut, Units, stage_of
from evtkit_torch.layers import find_holder, kinds

if TYPE_CHECKING:
    from evtkit_torch.lanes import Lanes

__all__ = ["Chooser", "Plan", "make_plan"]

Chooser = str | Callable[[str, nn.Module], bool]
"""A kind, a glob over module names, or a predicate of name and module."""


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
    def pieces(self) -> tuple[tuple[tuple[Lanes, int], ...], ...]:
        """For every unit, the lanes it consists of."""
        pieces: list[list[tuple[Lanes, int]]] = [[] for _ in range(len(self.units))]
        for lanes in self.lanes:
            for lane, unit in enumerate(lanes.units.tolist()):
                pieces[unit].append((lanes, lane))
        return tuple(tuple(piece) for piece in pieces)


def make_plan(model: nn.Module, choose: Chooser | Sequence[Chooser], stage: Callable[[str], str] = stage_of) -> Plan:
    """Choose units by layer type, in the order of ``model.named_modules()``, then by output index.

    Parameters
    ----------
    model : nn.Module
        The network.
    choose : str, callable, or sequence of them
        Kinds, globs or predicates; a layer is taken when any of them matches.
    stage : callable
        From a module's name to its stage.

    Raises
    ------
    ValueError
        If nothing matches, or a matching layer has not been initialised yet.
    """
    choosers = [choose] if isinstance(choose, str) or callable(choose) else list(choose)
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    columns: list[tuple[str, str, int, int, str]] = []
    plan: list[Lanes] = []
    reasons: dict[str, str] = {}
    for name, module in model.named_modules():
        found = find_holder(module)
        if found is None:
            continue
        kind, holder = found
        if any(nn.parameter.is_lazy(parameter) for parameter in module.parameters(recurse=False)):
            raise ValueError(f"got {name or type(module).__name__!r} uninitialised, wanted one forward pass before")
        local = list(_parameters_of(module, holder(module), parameters, reasons, name))
        if not _matches(choosers, kind, name, module):
            for lanes in local:
                reasons.setdefault(lanes.parameter, f"{kind} not selected")
            continue
        local = [
            lanes for lanes in local if not any(_same(lanes, other) for other in plan)
        ]  # tied: the first name counts
        if not local:
            continue
        sizes = np.zeros(1 + max(int(lanes.units.max()) for lanes in local), dtype=np.int64)
        for lanes in local:
            weights = parameter_of(model, lanes.parameter).numel() // len(lanes.units)
            np.add.at(sizes, lanes.units, weights)
            plan.append(replace(lanes, units=lanes.units + len(columns)))
        columns += [(name, kind, index, int(size), stage(name)) for index, size in enumerate(sizes)]
    if not columns:
        raise ValueError(
            f"got no units: {choose!r} matches no layer of {type(model).__name__}, wanted one of the kinds "
            f"{', '.join(kinds())}, a glob over module names, or a predicate of (name, module)"
        )
    units = Units(*zip(*columns, strict=True))  # type: ignore[arg-type]  # five columns
    return Plan(units, tuple(plan), _coverage(model, plan, reasons))


def parameter_of(model: nn.Module, name: str) -> Tensor:
    """The parameter of that full name."""
    return model.get_parameter(name)


def _parameters_of(
    module: nn.Module, local: Iterable[Lanes], parameters: dict[int, str], reasons: dict[str, str], prefix: str
) -> Iterable[Lanes]:
    """Lanes under their parameters' full names, without those whose parameter is no parameter of its own."""
    for lanes in local:
        path, _, leaf = lanes.parameter.rpartition(".")
        owner = module.get_submodule(path)
        parameter = getattr(owner, leaf)
        if parametrize.is_parametrized(owner, leaf) or id(parameter) not in parameters:
            for name, _ in owner.named_parameters(prefix=f"{prefix}.{path}".strip(".")):
                if not name.endswith("bias"):
                    reasons.setdefault(name, "the weight is recomputed from it (parametrized)")
            continue
        yield replace(lanes, parameter=parameters[id(parameter)])


def _same(lanes: Lanes, other: Lanes) -> bool:
    """Whether both split the same parameter the same way, whatever their units' numbers."""
    alike = lanes.parameter == other.parameter and lanes.layout == other.layout
    return alike and np.array_equal(lanes.units - lanes.units.min(), other.units - other.units.min())


def _matches(choosers: Sequence[Chooser], kind: str, name: str, module: nn.Module) -> bool:
    known = kinds()
    for chooser in choosers:
        if callable(chooser):
            if chooser(name, module):
                return True
        elif kind == chooser or (chooser not in known and fnmatchcase(name, chooser)):
            return True
    return False


def _coverage(model: nn.Module, plan: Sequence[Lanes], reasons: dict[str, str]) -> Coverage:
    held = {lanes.parameter for lanes in plan}
    covered, left_out = 0, []
    for name, parameter in model.named_parameters():
        if name in held:
            covered += parameter.numel()
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        default = "bias" if name.endswith("bias") else f"in {type(owner).__name__}, for which no units are defined"
        left_out.append(LeftOut(name, parameter.numel(), reasons.get(name, default)))
    return Coverage(covered, tuple(left_out))
