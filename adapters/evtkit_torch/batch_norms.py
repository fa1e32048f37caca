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
    from collections.abc import Mapping, Sequence

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
    if variance is None or options.get("training", False) or source.device.type != "cpu" or not source.requires_grad:
        return None
    for name in ("running_mean", "running_var", "weight", "bias"):
        moving = options.get(name)
        if moving is not None and moving.requires_grad:
            return None
    if _keeps_its_own_tensors():
        return None
    if variance.dtype not in (torch.float32, torch.float64):
        variance = variance.float()
    slope = torch.rsqrt(variance + options.get("eps", 1e-5))
    weight = options.get("weight")
    return slope if weight is None else slope * weight  # in the wider of the two


def _keeps_its_own_tensors() -> bool:
    """Whether what the backward pass needs is kept in another way, as under checkpointing, which runs a layer twice."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is None or hooks(False) is not None


@dataclass(frozen=True, eq=False)
class Convolution:
    """What the gradient of a convolution's input is computed from.

    Parameters
    ----------
    input : Tensor
        Its input, of which only the shape is read.
    weight : Tensor
        Its weight, which asks for no gradient.
    stride, padding, dilation : sequence of int
        Along each axis.
    groups : int
        How many.
    """

    input: Tensor
    weight: Tensor
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int

    def slope(self, g: Tensor, slope: Tensor) -> Tensor:
        """Gradient of the input, from that of what is ``slope`` times the output."""
        weight = self.weight
        if weight.numel() <= g.numel():
            weight = weight * slope.view(-1, *[1] * (weight.ndim - 1))
        else:
            g = g * slope.view(1, -1, *[1] * (g.ndim - 2))
        if self._is_a_product:  # run forwards it takes half to three quarters of the time
            turned = weight.transpose(0, 1).contiguous()
            dims = len(self.stride)
            return torch.convolution(g, turned, None, [1] * dims, [0] * dims, [1] * dims, False, [0] * dims, 1)
        found: Tensor = torch.ops.aten.convolution_backward(
            g, self.input, weight, None, self.stride, self.padding, self.dilation, False,
            [0] * len(self.stride), self.groups, [True, False, False],
        )[0]  # fmt: skip
        return found

    @property
    def _is_a_product(self) -> bool:
        """Whether it is a matrix product at every position."""
        kernel = self.weight.shape[2:]
        return self.groups == 1 and {*kernel, *self.stride} == {1} and not any(self.padding)


def convolution_of(x: Tensor, weight: Tensor | None, options: Mapping[str, Any], output: Tensor) -> Convolution | None:
    """The convolution of ``x``, if nothing but ``x`` asks for its gradient, and numbers are as wide as they seem."""
    bias, dtype, dims = options.get("bias"), output.dtype, output.ndim
    padding = options.get("padding", 0)
    if weight is None or weight.requires_grad or (bias is not None and bias.requires_grad) or isinstance(padding, str):
        return None
    same = x.ndim == dims and weight.ndim == dims and x.dtype == dtype and weight.dtype == dtype
    if not same or dtype not in (torch.float32, torch.float64) or x.layout != torch.strided:
        return None
    numbers = options.get("stride", 1), padding, options.get("dilation", 1)
    stride, padding, dilation = (_each(value, dims - 2) for value in numbers)
    return Convolution(x.detach(), weight, stride, padding, dilation, options.get("groups", 1))


def _each(value: int | Sequence[int], dims: int) -> Sequence[int]:
    """An option's value along each axis."""
    if isinstance(value, int):
        return [value] * dims
    return value if len(value) == dims else [*value] * dims


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
