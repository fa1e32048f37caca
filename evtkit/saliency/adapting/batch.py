"""Batches: a network's input as a framework's tensors, cut into samples; and targets, one a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Batch", "make_batch", "make_targets", "some_of"]


@dataclass(frozen=True)
class Batch:
    """A network's input in whatever structure it takes: tensors with samples along axis 0, and how many samples."""

    inputs: Any
    size: int
    is_tensor: Callable[[Any], bool]

    def parts(self, micro_batch: int | None, target: Any = None) -> Iterator[tuple[Batch, Any]]:
        """Consecutive parts of at most ``micro_batch`` samples, with their targets."""
        step = micro_batch or self.size
        for start in range(0, self.size, step):
            some = slice(start, min(self.size, start + step))
            yield self[some], some_of(target, some)

    def map(self, change: Callable[[Any], Any]) -> Batch:
        """Every tensor with an axis changed."""
        return Batch(_mapped(lambda x: change(x) if self._batched(x) else x, self.inputs), self.size, self.is_tensor)

    def __getitem__(self, some: slice | list[int]) -> Batch:
        size = len(some) if isinstance(some, list) else len(range(self.size)[some])
        return Batch(self.map(lambda x: x[some]).inputs, size, self.is_tensor)

    def _batched(self, x: Any) -> bool:
        return self.is_tensor(x) and len(x.shape) > 0


def make_batch(x: Any, place: Callable[[Any], Any], is_tensor: Callable[[Any], bool]) -> Batch:
    """A network's input as tensors.

    Parameters
    ----------
    x : array, tensor, or tuple, list or dict of them
        What the network is called with. Everything with an axis has samples along axis 0.
    place : callable
        From an array or tensor to a tensor where the network is; anything else is left as it is.
    is_tensor : callable
        Whether something is a tensor of the framework.

    Raises
    ------
    ValueError
        If there is no array, no sample, or the arrays disagree on their number.
    """
    inputs = _mapped(place, x)
    sizes = [int(leaf.shape[0]) for leaf in _leaves(inputs) if is_tensor(leaf) and len(leaf.shape) > 0]
    if not sizes:
        raise ValueError(f"x must be an array, a tensor, a tuple or a dict of them, got {type(x).__name__} without any")
    if min(sizes) == 0 or len(set(sizes)) > 1:
        raise ValueError(f"inputs must have one number of samples above 0 along axis 0, got {sizes}")
    return Batch(inputs, sizes[0], is_tensor)


def make_targets(y: Any, size: int, place: Callable[[Any], Any], is_tensor: Callable[[Any], bool]) -> Any:
    """Targets as tensors or arrays, alone or in a tuple or mapping; None and "predicted" are left as they are.

    Raises
    ------
    ValueError
        If there is not one target a sample.
    """
    if y is None or (isinstance(y, str) and y == "predicted"):
        return y
    if isinstance(y, str):
        raise ValueError(f"y must be an array with one target a sample, or 'predicted', got {y!r}")
    if isinstance(y, (Mapping, tuple)):  # a list is an array
        parts = y.items() if isinstance(y, Mapping) else enumerate(y)
        found = {key: make_targets(part, size, place, is_tensor) for key, part in parts}
        return found if isinstance(y, Mapping) else tuple(found.values())
    array = y if is_tensor(y) else np.array(y)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biufV":  # V: bfloat16 and the like
        raise ValueError(f"y must be an array of numbers, or 'predicted', got dtype {array.dtype}")
    target = place(array)
    target = target[None] if len(target.shape) == 0 else target
    if target.shape[0] != size:
        raise ValueError(f"targets must be {size}, one a sample, got {target.shape[0]}")
    return target


def some_of(target: Any, some: slice) -> Any:
    """Targets of some samples, in whatever structure; None and "predicted" are left as they are."""
    if target is None or isinstance(target, str):
        return target
    return _mapped(lambda one: one[some], target)


def _mapped(change: Callable[[Any], Any], x: Any) -> Any:
    if isinstance(x, Mapping):
        return {key: _mapped(change, value) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        parts = [_mapped(change, value) for value in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return change(x)


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, (Mapping, tuple, list)):
        for value in x.values() if isinstance(x, Mapping) else x:
            yield from _leaves(value)
    else:
        yield x
