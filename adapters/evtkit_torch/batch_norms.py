"""Batch norms in evaluation: a gradient that is right, and quick, through the convolution before them too.

A batch norm that normalises by what it remembers is y = s · x + t for every channel. Its gradient is s times what comes
back to it; and where x is what a convolution has just put out, the convolution's own input has the gradient of one
with weights s · w, so that nothing need be written in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Convolution", "SoundBatchNorms", "convolution_of", "joined", "scaled", "slope_of", "sound_batch_norm"]


def sound_batch_norm(source: Tensor, output: Tensor) -> None:
    """Make a batch norm's output gradient contiguous.

    PyTorch's kernel for the CPU, in evaluation, misreads one of a single sample whose channels lie innermost.
    """
    if output.requires_grad and output.ndim > 2 and output.device.type == "cpu":
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


def slope_of(source: Tensor, options: Mapping[str, Any]) -> Tensor | None:
    """What a batch norm multiplies each channel with, γ / √(σ² + ε); None if its own backward pass must be taken.

    PyTorch's kernel for the CPU sums the slopes of scale and shift too, asked for or not, and takes up to ten times as
    long as a product.
    """
    variance = options.get("running_var")
    moving = (options.get(name) for name in ("running_mean", "running_var", "weight", "bias"))
    alone = source.requires_grad and not any(isinstance(x, Tensor) and x.requires_grad for x in moving)
    if source.device.type != "cpu" or not alone or variance is None or options.get("training", False):
        return None
    if _keeps_its_own_tensors():
        return None
    wide = torch.float64 if variance.dtype == torch.float64 else torch.float32
    with torch.no_grad():
        slope = torch.rsqrt(variance.to(wide) + options.get("eps", 1e-5))
        return slope if options.get("weight") is None else slope * options["weight"].to(wide)


def _keeps_its_own_tensors() -> bool:
    """Whether what the backward pass needs is kept in another way, as under checkpointing, which runs a layer twice."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None


@dataclass(frozen=True, eq=False)
class Convolution:
    """What the gradient of a convolution's input is computed from.

    Parameters
    ----------
    weight : Tensor
        Its weight, which asks for no gradient.
    shape, strides : tuple of int
        Of its input.
    stride, padding, dilation : list of int
        Along each axis.
    groups : int
        How many.
    """

    weight: Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def slope(self, g: Tensor, slope: Tensor) -> Tensor:
        """Gradient of the input, from that of what is ``slope`` times the output."""
        weight = self.weight
        if weight.numel() <= g.numel():
            weight = weight * slope.view(-1, *[1] * (weight.ndim - 1))
        else:
            g = g * slope.view(1, -1, *[1] * (g.ndim - 2))
        like = torch.empty_strided(self.shape, self.strides, dtype=g.dtype)  # only its shape is read
        found: Tensor = torch.ops.aten.convolution_backward(
            g, like, weight, None, self.stride, self.padding, self.dilation, False,
            [0] * len(self.stride), self.groups, [True, False, False],
        )[0]  # fmt: skip
        return found


def convolution_of(x: Tensor, weight: Tensor | None, options: Mapping[str, Any], output: Tensor) -> Convolution | None:
    """The convolution of ``x``, if nothing but ``x`` asks for its gradient, and numbers are as wide as they seem."""
    bias = options.get("bias")
    dims = output.ndim - 2
    each = [_each(options.get(name, default), dims) for name, default in _NUMBERS]
    if weight is None or weight.requires_grad or (isinstance(bias, Tensor) and bias.requires_grad) or None in each:
        return None
    same = x.ndim == weight.ndim == output.ndim and x.dtype == weight.dtype == output.dtype
    if not same or output.dtype not in (torch.float32, torch.float64) or x.layout != torch.strided:
        return None
    stride, padding, dilation = each
    return Convolution(
        weight, tuple(x.shape), x.stride(), stride, padding, dilation, int(options.get("groups", 1))  # type: ignore[arg-type]  # None is not in them
    )  # fmt: skip


_NUMBERS = (("stride", 1), ("padding", 0), ("dilation", 1))


def _each(value: Any, dims: int) -> list[int] | None:
    """An option's value along each axis; None for a word."""
    if isinstance(value, int):
        return [value] * dims
    if isinstance(value, (tuple, list)) and all(isinstance(v, int) for v in value):
        return [*value] * (dims if len(value) == 1 else 1)
    return None


def scaled(source: Tensor, output: Tensor, slope: Tensor) -> Tensor:
    """A batch norm's output with a backward pass that is one product."""
    return _Scaled.apply(source, output.detach(), slope.view(1, -1, *[1] * (source.ndim - 2)))  # type: ignore[no-any-return]


def joined(x: Tensor, output: Tensor, slope: Tensor, convolution: Convolution) -> Tensor:
    """The same with one that is the convolution's of ``x`` before it, too."""
    return _Joined.apply(x, output.detach(), slope.to(x.dtype), convolution)  # type: ignore[no-any-return]


class _Scaled(torch.autograd.Function):
    """A value computed elsewhere, with a given slope along its input."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, output: Tensor, slope: Tensor) -> Tensor:
        ctx.slope, ctx.dtype = slope, source.dtype
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return (gradients[0] * ctx.slope).to(ctx.dtype), None, None


class _Joined(torch.autograd.Function):
    """A value computed elsewhere, with the slope of a convolution and of a batch norm along its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor, slope: Tensor, convolution: Convolution) -> Tensor:
        ctx.slope, ctx.convolution = slope, convolution
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.convolution.slope(gradients[0], ctx.slope), None, None, None
