"""The plan: a network's chosen units, the lanes they are made of, and what they leave out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.utils import parametrize

from evtkit.saliency import adapting
from evtkit.saliency.adapting import Candidate, Weight
from evtkit.saliency.units import stage_of
from evtkit_torch.lanes import Lanes
from evtkit_torch.layers import find_holder, kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from evtkit.saliency.adapting import Chooser

__all__ = ["Plan", "make_plan"]

Plan = adapting.Plan[Lanes]


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
        If nothing matches, or a layer has not been initialised yet.
    """
    reasons: dict[str, str] = {}
    candidates = list(_candidates(model, reasons))
    weights = [Weight(name, parameter.numel(), _default(model, name)) for name, parameter in model.named_parameters()]
    owner = type(model).__name__
    return adapting.make_plan(candidates, weights, choose, kinds(), stage=stage, owner=owner, reasons=reasons)


def parameter_of(model: nn.Module, name: str) -> Tensor:
    """The parameter of that full name."""
    return model.get_parameter(name)


def _candidates(model: nn.Module, reasons: dict[str, str]) -> Iterator[Candidate[Lanes]]:
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, module in model.named_modules():
        found = find_holder(module)
        if found is None:
            continue
        kind, holder = found
        if any(nn.parameter.is_lazy(parameter) for parameter in module.parameters(recurse=False)):
            raise ValueError(f"got {name or type(module).__name__!r} uninitialised, wanted one forward pass before")
        yield Candidate(name, kind, module, list(_parameters_of(module, holder(module), parameters, reasons, name)))


def _parameters_of(
    module: nn.Module, local: Iterable[Lanes], parameters: dict[int, str], reasons: dict[str, str], prefix: str
) -> Iterator[Lanes]:
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


def _default(model: nn.Module, name: str) -> str:
    owner = model.get_submodule(name.rpartition(".")[0])
    return "bias" if name.endswith("bias") else f"in {type(owner).__name__}, for which no units are defined"
