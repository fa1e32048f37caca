"""Inputs, labels and losses: from what a user has to what a network takes, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Batch", "Loss", "labels_of", "logits_of", "make_batch", "per_sample_losses"]

Loss = Callable[[Tensor, Any], Tensor]
"""From output and target to one loss a sample, shape (batch,)."""


@dataclass(frozen=True)
class Batch:
    """A network's arguments: tensors with samples along axis 0."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    size: int

    def parts(self, micro_batch: int | None, target: Any = None) -> Iterator[tuple[Batch, Any]]:
        """Consecutive parts of at most ``micro_batch`` samples, with their targets."""
        step = micro_batch or self.size
        for start in range(0, self.size, step):
            some = slice(start, start + step)
            yield self[some], target[some] if isinstance(target, Tensor) else target

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Every tensor changed."""
        args = tuple(change(value) if isinstance(value, Tensor) else value for value in self.args)
        kwargs = {key: change(value) if isinstance(value, Tensor) else value for key, value in self.kwargs.items()}
        return Batch(args, kwargs, self.size)

    def __getitem__(self, some: slice | list[int]) -> Batch:
        cut = [value[some] if _is_batched(value) else value for value in self.args]
        named = {key: value[some] if _is_batched(value) else value for key, value in self.kwargs.items()}
        return Batch(tuple(cut), named, len(some) if isinstance(some, list) else len(range(self.size)[some]))


def make_batch(x: Any, device: torch.device, dtype: torch.dtype) -> Batch:
    """Arguments for the network, on its device; floating numbers in its dtype.

    Parameters
    ----------
    x : tensor, array, tuple or dict
        A tuple becomes positional arguments, a dict keyword arguments. Everything with an axis has samples along axis
        0.
    device, dtype
        The network's.

    Raises
    ------
    ValueError
        If there is no tensor, no sample, or the tensors disagree on their number.
    """
    place = _Placer(device, dtype)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(x, Mapping):
        kwargs = {str(key): place(value) for key, value in x.items()}
    else:
        args = tuple(place(value) for value in (x if isinstance(x, (tuple, list)) else (x,)))
    sizes = [len(value) for value in (*args, *kwargs.values()) if _is_batched(value)]
    if not sizes:
        raise ValueError(
            f"got x of type {type(x).__name__} without an array, wanted a tensor, an array, a tuple or a dict of them"
        )
    if min(sizes) == 0 or len(set(sizes)) > 1:
        raise ValueError(f"got {sizes} samples along axis 0 of the inputs, wanted one number above 0 for all")
    return Batch(args, kwargs, sizes[0])


@dataclass(frozen=True)
class _Placer:
    device: torch.device
    dtype: torch.dtype

    def __call__(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.array(value))  # a copy: NumPy's memory may be read-only
        if not isinstance(value, Tensor):
            return value
        value = value.detach().to(self.device)
        if value.is_floating_point() and value.dtype != self.dtype:
            value = value.to(self.dtype)
        return value.clone() if value.is_inference() else value


def _is_batched(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def logits_of(output: Any) -> Tensor:
    """Return the tensor of class scores in a network's output: itself, or its ``logits``.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(output, Mapping):
        output = output.get("logits", output)
    output = getattr(output, "logits", output)
    if not isinstance(output, Tensor):
        raise ValueError(f"got an output of type {type(output).__name__}, wanted a tensor or an object with `logits`")
    return output


def labels_of(y: Any, size: int, device: torch.device) -> Any:
    """Targets on the network's device; None and "predicted" are left as they are.

    Raises
    ------
    ValueError
        If there is not one target a sample.
    """
    if y is None or (isinstance(y, str) and y == "predicted"):
        return y
    if isinstance(y, (Mapping, tuple, str)):
        raise ValueError(f"got y of type {type(y).__name__}, wanted an array with one target a sample, or 'predicted'")
    target = y.detach().to(device) if isinstance(y, Tensor) else torch.as_tensor(np.array(y), device=device)
    target = target.reshape(1) if target.ndim == 0 else target
    if len(target) != size:
        raise ValueError(f"got {len(target)} targets, wanted {size}: one a sample")
    return target


def per_sample_losses(loss: Loss | None, output: Any, target: Any, size: int) -> Tensor:
    """One finite loss a sample.

    Parameters
    ----------
    loss : callable or None
        None for the cross-entropy to the target.
    output : Any
        What the network returned.
    target : Tensor, None or "predicted"
        Labels; "predicted" stands for the class the network itself ranks first.
    size : int
        Number of samples.

    Raises
    ------
    ValueError
        If labels are out of range, the loss is not one number a sample, or it is not finite.
    """
    if isinstance(target, str):
        target = logits_of(output).detach().argmax(1)
    losses = _cross_entropy(logits_of(output), target) if loss is None else loss(output, target)
    if not isinstance(losses, Tensor) or losses.shape != (size,):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"got a loss of shape {got}, wanted ({size},): one number a sample, so reduction='none'")
    bad = torch.nonzero(~torch.isfinite(losses.detach())).flatten().tolist()
    if bad:
        raise ValueError(f"got a loss that is not finite for samples {bad[:5]} of the batch, wanted finite numbers")
    return losses


def _cross_entropy(logits: Tensor, target: Any) -> Tensor:
    if logits.ndim != 2:
        raise ValueError(
            f"got an output of shape {tuple(logits.shape)}, wanted (batch, classes), or a loss of your own"
        )
    if not isinstance(target, Tensor):
        raise ValueError("got no labels, wanted one a sample, or y='predicted'")
    if target.is_floating_point() or target.dtype == torch.bool or target.ndim != 1:
        raise ValueError(
            f"got labels of dtype {target.dtype} and shape {tuple(target.shape)}, wanted integers, one a sample"
        )
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"got labels from {low} to {high}, wanted 0 to {logits.shape[1] - 1}")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return functional.cross_entropy(wide, target.long(), reduction="none")


def stack_numpy(parts: Iterable[Tensor]) -> np.ndarray[Any, np.dtype[Any]]:
    """Concatenate along the samples, on the CPU, as an array."""
    return torch.cat([part.detach().cpu() for part in parts]).numpy()
