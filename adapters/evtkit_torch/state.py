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
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Parts",
    "RefusedError",
    "SoundBatchNorms",
    "check_no_mixing",
    "direct_parameters",
    "eager",
    "evaluation",
    "every_parameter",
    "frozen",
    "quick_batch_norm",
    "sound_batch_norm",
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


def walked(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module once, by its first name, as `nn.Module.named_modules`, which hands each through all above it."""
    if type(model).named_modules is not nn.Module.named_modules:
        return list(model.named_modules())
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        found.append((name, module))
        dot = name + "." if name else ""
        waiting += [(dot + own, part) for own, part in reversed(module._modules.items()) if part is not None]
    return found


class Parts:
    """A network's modules, parameters and buffers, listed once: to walk through the network costs much for one batch.

    What counts is what its modules hold, whatever the network's own `named_parameters` makes of it.

    Parameters
    ----------
    model : nn.Module
        The network.
    """

    def __init__(self, model: nn.Module) -> None:
        named = walked(model)
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


def sound_batch_norm(source: Tensor, output: Tensor) -> None:
    """Make a batch norm's output gradient contiguous.

    PyTorch's kernel for the CPU, in evaluation, misreads one of a single sample whose channels lie innermost.
    """
    if output.requires_grad and output.ndim > 2 and output.device.type == "cpu":
        last = source.ndim == 4 and not source.is_contiguous()
        last = last and source.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        output.register_hook(lambda g: g.contiguous(memory_format=layout))


def quick_batch_norm(source: Tensor, output: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Give a batch norm's output a backward pass that is one product, where it normalises by what it remembers.

    Its slope is then γ / √(σ² + ε). PyTorch's kernel for the CPU sums the slopes of scale and shift too, asked for
    or not, and takes up to ten times as long.
    """
    if source.device.type != "cpu":
        return output
    variance = options.get("running_var")
    moving = (options.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    alone = source.requires_grad and not any(isinstance(x, Tensor) and x.requires_grad for x in moving)
    if not alone or variance is None or options.get("training", False) or _keeps_its_own_tensors():
        sound_batch_norm(source, output)
        return output
    wide = torch.float64 if variance.dtype == torch.float64 else torch.float32
    with torch.no_grad():
        slope = torch.rsqrt(variance.to(wide) + options.get("eps", 1e-5))
        if options.get("weight") is not None:
            slope = slope * options["weight"].to(wide)
    return _Scaled.apply(source, output, slope.view(1, -1, *[1] * (source.ndim - 2)))  # type: ignore[no-any-return]


def _keeps_its_own_tensors() -> bool:
    """Whether what the backward pass needs is kept in another way, as under checkpointing, which runs a layer twice."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None


class _Scaled(torch.autograd.Function):
    """A value computed elsewhere, with a given slope along its input."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, output: Tensor, slope: Tensor) -> Tensor:
        ctx.slope, ctx.dtype = slope, source.dtype
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return (gradients[0] * ctx.slope).to(ctx.dtype), None, None


class SoundBatchNorms(TorchFunctionMode):
    """Context in which every batch norm's gradient is right, see `sound_batch_norm`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow `torch.nn.functional.batch_norm`."""
        output = func(*args, **(kwargs or {}))
        if func is functional.batch_norm or func is torch.batch_norm:
            sound_batch_norm(args[0] if args else kwargs["input"], output)
        return output
