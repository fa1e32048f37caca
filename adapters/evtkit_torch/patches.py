"""Patches: units zeroed or tuned for a while, restored bit for bit, and exported as a repair."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from evtkit_torch.plan import Plan

__all__ = ["Patches", "TorchUnitGradient", "apply_repair"]

Block = tuple[str, tuple[int | slice, ...]]
"""A parameter's name and the index of a lane in it."""


@dataclass(frozen=True, eq=False)
class TorchUnitGradient:
    """Signed gradient of selected units at the weights at which it was taken.

    Parameters
    ----------
    selection : ndarray of int, shape (selected,)
        Positions of the units.
    norms : ndarray of float, shape (selected,)
        Euclidean length of each unit's gradient.
    parameters : mapping of str to Tensor
        Gradient of every parameter that holds one of them.
    """

    selection: NDArray[np.intp]
    norms: NDArray[np.float64]
    parameters: Mapping[str, Tensor]


class Patches:
    """Changes of a network's weights that are in force, innermost last.

    Parameters
    ----------
    model : nn.Module
        The network.
    plan : Plan
        Its units.
    """

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self._model = model
        self._plan = plan
        self._saved: list[list[tuple[Block, Tensor]]] = []

    def blocks(self, selection: Sequence[int] | NDArray[np.intp]) -> list[Block]:
        """Blocks of weights that selected units consist of."""
        return [
            (lanes.parameter, lanes.block(lane, tuple(self._model.get_parameter(lanes.parameter).shape)))
            for unit in np.asarray(selection).tolist()
            for lanes, lane in self._plan.pieces[unit]
        ]

    def view(self, block: Block) -> Tensor:
        """Weights of a block, sharing the parameter's memory."""
        name, index = block
        return self._model.get_parameter(name).detach()[index]

    def norms(self, selection: NDArray[np.intp], of: Mapping[str, Tensor] | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights, or of its part of tensors shaped like the parameters."""
        squares = np.zeros(len(self._plan.units))
        chosen = np.zeros(len(squares), dtype=bool)
        chosen[selection] = True
        for lanes in self._plan.lanes:
            if chosen[lanes.units].any():
                tensor = self._model.get_parameter(lanes.parameter).detach() if of is None else of[lanes.parameter]
                lengths = lanes.matrix(tensor).double().square().sum(1).cpu().numpy()
                np.add.at(squares, lanes.units, lengths)
        return np.sqrt(squares[selection])

    def following(self, chosen: NDArray[np.intp], followers: Mapping[str, set[str]]) -> list[Block]:
        """Scales and shifts of the batch norms that chosen filters go straight into.

        Raises
        ------
        RuntimeError
            If it is not known yet which batch norms follow.
        ValueError
            If a unit is no filter, or its batch norm has no scale.
        """
        if not followers and any(isinstance(module, _BatchNorm) for module in self._model.modules()):
            raise RuntimeError("got bn='zero' before any profile, wanted one first: it shows what follows")
        blocks: dict[Block, None] = {}
        for unit in chosen.tolist():
            for lanes, lane in self._plan.pieces[unit]:
                for scale in followers.get(lanes.parameter, ()):
                    if not scale or self._plan.units.kind[unit] != "filters":
                        name = self._plan.units.names[unit]
                        raise ValueError(f"got bn='zero' for {name}, wanted a filter before a batch norm with a scale")
                    owner = scale.rpartition(".")[0]
                    own = self._model.get_submodule(owner).named_parameters(recurse=False)
                    blocks |= {(f"{owner}.{name}".strip("."), (lane,)): None for name, _ in own}
        return list(blocks)

    @contextmanager
    def restoring(self, blocks: Sequence[Block]) -> Iterator[None]:
        """Context on leaving which these weights are what they were on entering, bit for bit."""
        saved = [(block, self.view(block).clone()) for block in blocks]
        self._saved.append(saved)
        try:
            yield
        finally:
            for block, weights in reversed(saved):
                self.view(block).copy_(weights)
            self._saved = [other for other in self._saved if other is not saved]

    def export(self) -> dict[str, Tensor]:
        """All changes in force, as a flat dictionary of tensors; see `TorchModel.export`."""
        if not self._saved:
            raise ValueError(
                "got no patch in force, wanted a call inside `with net.pruned(...)` or `with net.tuned(...)`"
            )
        before: dict[str, Tensor] = {}
        for saved in reversed(self._saved):
            for (name, index), weights in reversed(saved):
                if name not in before:
                    before[name] = self._model.get_parameter(name).detach().clone()
                before[name][index] = weights
        delta: dict[str, Tensor] = {}
        for name, old in before.items():
            new = self._model.get_parameter(name).detach()
            changed = torch.nonzero((old != new).flatten()).flatten()
            parts = {"index": changed, "before": old.flatten()[changed], "after": new.flatten()[changed]}
            delta |= {f"{name}.{part}": value.cpu() for part, value in parts.items()}
        return delta


def apply_repair(model: nn.Module, repair: Mapping[str, Tensor], *, revert: bool = False) -> None:
    """Write an exported repair into a network, for good.

    Parameters
    ----------
    model : nn.Module
        A network with the weights the repair was made for.
    repair : mapping of str to Tensor
        What `TorchModel.export` returned, for instance through `torch.save` or safetensors.
    revert : bool
        Undo the repair instead.

    Raises
    ------
    ValueError
        If the repair names no parameter of the network, or its weights are not those it was made for; nothing is
        changed then.
    """
    parameters = dict(model.named_parameters())
    names = [key.removesuffix(".index") for key in repair if key.endswith(".index")]
    unknown = [name for name in names if name not in parameters]
    if not names or unknown:
        raise ValueError(f"got a repair of {unknown or list(repair)[:3]}, wanted parameters of {type(model).__name__}")
    old, new = ("after", "before") if revert else ("before", "after")
    changed: dict[str, Tensor] = {}
    for name in names:
        parameter = parameters[name].detach()
        index = repair[f"{name}.index"].to(parameter.device)
        flat = parameter.flatten().clone()
        if index.numel() and int(index.max()) >= flat.numel():
            raise ValueError(f"got an index {int(index.max())} for {name}, wanted less than its {flat.numel()} weights")
        if not torch.equal(flat[index], repair[f"{name}.{old}"].to(flat)):
            raise ValueError(f"got other weights in {name} than the repair was made for, wanted the same")
        flat[index] = repair[f"{name}.{new}"].to(flat)
        changed[name] = flat.view(parameter.shape)
    for name, weights in changed.items():
        parameters[name].detach().copy_(weights)
