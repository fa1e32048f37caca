"""Contexts that change a network's state for a while and put it back exactly, whatever happens in between."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Parts",
    "RefusedError",
    "check_no_mixing",
    "direct_parameters",
    "eager",
    "evaluation",
    "every_parameter",
    "frozen",
    "unwrap",
    "walked",
]


class RefusedError(RuntimeError):
    """What no other way would make right."""


def direct_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """A module's own parameters, without those of modules inside it.

    They are those of its table: a network may list others in `parameters` and `named_parameters`, for its optimiser.
    """
    return {name: parameter for name, parameter in module._parameters.items() if parameter is not None}


def every_parameter(model: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of every module, one after the other."""
    return (parameter for _, module in walked(model) for parameter in direct_parameters(module).values())


def walked(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, by its first name, as `nn.Module.named_modules`, which hands each through all above it."""
    if type(model).named_modules is not nn.Module.named_modules:
        yield from model.named_modules()
        return
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        dot = name + "." if name else ""
        waiting += [(dot + own, part) for own, part in reversed(module._modules.items()) if part is not None]


class Parts:
    """A network's modules, parameters and buffers, listed once: to walk through the network costs much for one batch.

    What counts is what its modules hold, whatever the network's own `named_parameters` makes of it.

    Parameters
    ----------
    model : nn.Module
        The network.
    """

    def __init__(self, model: nn.Module) -> None:
        named = list(walked(model))
        self._modules = [module for _, module in named]
        self._parameters: dict[str, nn.Parameter] = {}
        self._buffers: list[Tensor] = []
        seen = set()
        for prefix, module in named:
            dot = prefix + "." if prefix else ""
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    self._parameters[dot + name] = parameter
            self._buffers += [buffer for buffer in module._buffers.values() if buffer is not None]

    def modules(self) -> list[nn.Module]:
        """Every module, as `nn.Module.modules`."""
        return self._modules

    def parameters(self) -> Iterable[nn.Parameter]:
        """Every parameter, once."""
        return self._parameters.values()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter once, by its first name."""
        return self._parameters

    def buffers(self) -> list[Tensor]:
        """Every buffer."""
        return self._buffers


def check_no_mixing(model: nn.Module) -> None:
    """Refuse batch norms that would normalise by the batch, for then a sample's gradient is not its own.

    Raises
    ------
    ValueError
        If one is in training mode, or keeps no running statistics.
    """
    for name, module in walked(model):
        if isinstance(module, _BatchNorm):
            if module.training:
                raise ValueError(
                    f"model.eval() must be called before, got {name or 'the model'} ({type(module).__name__}) in "
                    "training mode: batch statistics mix samples"
                )
            if module.running_mean is None:
                raise ValueError(
                    f"batch norms must have track_running_stats=True, got {name or 'the model'} "
                    f"({type(module).__name__}) without running statistics: batch statistics mix samples"
                )


@contextmanager
def evaluation(model: nn.Module | Parts) -> Iterator[None]:
    """Every module in evaluation mode; each module's own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def frozen(model: nn.Module | Parts, thaw: Iterable[Tensor] = ()) -> Iterator[None]:
    """No parameter asks for a gradient, except those given; each parameter's own flag and gradient afterwards."""
    among = every_parameter(model) if isinstance(model, nn.Module) else model.parameters()
    states = [(parameter, parameter.requires_grad, parameter.grad) for parameter in among]
    thawed = {id(parameter) for parameter in thaw}
    try:
        for parameter, flag, gradient in states:
            if flag != (id(parameter) in thawed):
                parameter.requires_grad_(not flag)
            if gradient is not None:
                parameter.grad = None
        yield
    finally:
        for parameter, flag, gradient in states:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
            if parameter.grad is not gradient:
                parameter.grad = gradient


def eager() -> AbstractContextManager[Any]:
    """Run compiled parts of a network uncompiled: what is captured must be seen by Python."""
    if "torch._dynamo" not in sys.modules:  # nothing has been compiled, and importing it takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]  # torch gives it no type


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside a compiled or data-parallel one.

    Raises
    ------
    ValueError
        If it is no module, or runs as TorchScript, where nothing can be captured.
    """
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = inner.module
    if not isinstance(inner, nn.Module) or isinstance(inner, torch.jit.ScriptModule):
        raise ValueError(f"model must be an nn.Module that Python runs, got {type(model).__name__}")
    return inner
