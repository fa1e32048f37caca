"""Contexts that change a network's state for a while and put it back exactly, whatever happens in between."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "RefusedError",
    "SoundBatchNorms",
    "check_no_mixing",
    "eager",
    "evaluation",
    "frozen",
    "sound_batch_norm",
    "unwrap",
]


class RefusedError(RuntimeError):
    """What no other way would make right."""


def check_no_mixing(model: nn.Module) -> None:
    """Refuse batch norms that would normalise by the batch, for then a sample's gradient is not its own.

    Raises
    ------
    ValueError
        If one is in training mode, or keeps no running statistics.
    """
    for name, module in model.named_modules():
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
def evaluation(model: nn.Module) -> Iterator[None]:
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
def frozen(model: nn.Module, thaw: Iterable[Tensor] = ()) -> Iterator[None]:
    """No parameter asks for a gradient, except those given; each parameter's own flag and gradient afterwards."""
    states = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
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


def sound_batch_norm(source: Tensor, output: Tensor) -> None:
    """Make a batch norm's output gradient contiguous.

    PyTorch's kernel for the CPU, in evaluation, misreads one of a single sample whose channels lie innermost.
    """
    if output.requires_grad and output.ndim > 2:
        last = source.ndim == 4 and not source.is_contiguous()
        last = last and source.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        output.register_hook(lambda g: g.contiguous(memory_format=layout))


class SoundBatchNorms(TorchFunctionMode):
    """Context in which every batch norm's gradient is right, see `sound_batch_norm`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow `torch.nn.functional.batch_norm`."""
        output = func(*args, **(kwargs or {}))
        if func is functional.batch_norm or func is torch.batch_norm:
            sound_batch_norm(args[0] if args else kwargs["input"], output)
        return output
