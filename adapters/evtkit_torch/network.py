"""The network: a module's parameters by name, and the layers that could give units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from evtkit.saliency.adapting import Arrays, Candidate, Lanes, Network
from evtkit_torch.layers import HOLDERS
from evtkit_torch.state import Parts, direct_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from evtkit.saliency.adapting.lanes import Index

__all__ = ["TorchNetwork"]


class _Tensors(Arrays):
    """Arithmetic on tensors, on their device."""

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return torch.reshape(x, tuple(shape))

    def transpose(self, x: Any, order: Sequence[int]) -> Any:
        return torch.permute(x, tuple(order))

    def cast(self, x: Any, dtype: np.dtype[Any]) -> Any:
        return x.to(torch.float64 if dtype == np.float64 else torch.float32)

    def total(self, x: Any) -> Any:
        return torch.sum(x)

    def sums(self, rows: Any, groups: NDArray[np.intp], count: int) -> Any:
        return rows.new_zeros(count).index_add(0, torch.from_numpy(groups).to(rows.device), rows.sum(1))

    def like(self, values: Any, x: Any) -> Any:
        return torch.as_tensor(np.array(values) if isinstance(values, np.ndarray) else values).to(x)

    def numpy(self, x: Any) -> NDArray[Any]:
        x = x.detach()
        array: NDArray[Any] = (x if x.dtype == torch.float64 else x.float()).cpu().numpy()
        return array


class TorchNetwork(Network):
    """A module's parameters and layers, in the order of ``named_modules()``.

    Parameters
    ----------
    model : nn.Module
        The network.

    Raises
    ------
    ValueError
        If a layer has not been initialised yet.
    """

    arrays = _Tensors()

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        for name, module in model.named_modules():
            if HOLDERS.find(module) and any(map(nn.parameter.is_lazy, direct_parameters(module).values())):
                raise ValueError(
                    f"layers must be initialised by one forward pass, got {name or type(module).__name__!r}"
                )

    @property
    def kinds(self) -> Sequence[str]:
        """Every kind of unit declared so far."""
        return HOLDERS.kinds()

    def names(self) -> Iterable[str]:
        """Full names of all parameters."""
        return list(Parts(self.model).named_parameters())

    def candidates(self) -> Iterator[Candidate]:
        """Modules of the declared types."""
        names = {id(parameter): name for name, parameter in Parts(self.model).named_parameters().items()}
        for prefix, module in self.model.named_modules():
            kind, holder = HOLDERS.find(module) or ("", None)
            for part in [] if holder is None else holder(module).values():
                reasons: dict[str, str] = {}
                yield Candidate(prefix, kind, module, list(_named(module, part, names, reasons, prefix)), reasons)

    def read(self, name: str) -> Tensor:
        """A parameter's tensor, sharing its memory."""
        return self.model.get_parameter(name).detach()  # type: ignore[no-any-return]  # model is Any in the base

    def write(self, name: str, changes: Iterable[tuple[Index, Any]]) -> None:
        """Put values at some indices of a parameter."""
        weights = self.read(name)
        for index, values in changes:
            weights[index] = values

    def stored(self, values: Any) -> Tensor:
        """Values as a tensor on the CPU."""
        return torch.as_tensor(values).cpu()

    def no_units(self, name: str) -> str:
        """Why no unit would hold a parameter."""
        owner = self.model.get_submodule(name.rpartition(".")[0])
        return "bias" if name.endswith("bias") else f"in {type(owner).__name__}, for which no units are defined"

    def has_batch_norm(self) -> bool:
        """Whether there is a batch norm."""
        return any(isinstance(module, _BatchNorm) for module in self.model.modules())

    def scale_and_shift(self, follower: str) -> list[str]:
        """Parameters of the batch norm whose scale has this name; "" stands for one without a scale."""
        owner = follower.rpartition(".")[0]
        own = direct_parameters(self.model.get_submodule(owner)) if follower else ()
        return [f"{owner}.{name}".strip(".") for name in own]


def _named(
    module: nn.Module, local: Iterable[Lanes], names: dict[int, str], reasons: dict[str, str], prefix: str
) -> Iterator[Lanes]:
    """Lanes under their parameters' full names, without those whose parameter is no parameter of its own."""
    for lanes in local:
        path, _, leaf = lanes.parameter.rpartition(".")
        owner = module.get_submodule(path)
        parameter = getattr(owner, leaf)
        if parametrize.is_parametrized(owner, leaf) or id(parameter) not in names:
            for name in Parts(owner).named_parameters():
                name = ".".join(part for part in (prefix, path, name) if part)
                if not name.endswith("bias"):
                    reasons.setdefault(name, "the weight is recomputed from it (parametrized)")
            continue
        yield replace(lanes, parameter=names[id(parameter)])
