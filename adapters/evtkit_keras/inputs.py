"""Inputs and labels: from what a user has to what a network takes, checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from evtkit.saliency.batches import labels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Batch", "class_labels", "make_batch", "targets_of"]


@dataclass(frozen=True)
class Batch:
    """A network's input, tensors with samples along axis 0 in whatever structure the network takes, and how many."""

    inputs: Any
    size: int

    def parts(self, micro_batch: int | None, target: Any = None) -> Iterator[tuple[Batch, Any]]:
        """Consecutive parts of at most ``micro_batch`` samples, with their targets."""
        step = micro_batch or self.size
        for start in range(0, self.size, step):
            some = slice(start, min(self.size, start + step))
            yield self[some], None if target is None else target[some]

    def map(self, change: Callable[[Any], Any]) -> Batch:
        """Every tensor changed."""
        return Batch(keras.tree.map_structure(lambda x: change(x) if _is_batched(x) else x, self.inputs), self.size)

    def __getitem__(self, some: slice) -> Batch:
        return Batch(self.map(lambda x: x[some]).inputs, len(range(self.size)[some]))


def make_batch(x: Any, dtype: str) -> Batch:
    """A network's input as tensors; floating numbers in its dtype.

    Parameters
    ----------
    x : array, tensor, or tuple, list or dict of them
        What the network is called with. Everything with an axis has samples along axis 0.
    dtype : str
        Of the network's weights.

    Raises
    ------
    ValueError
        If there is no array, no sample, or the arrays disagree on their number.
    """

    def place(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value)
        elif not tf.is_tensor(value):
            return value
        number = np.dtype(value.dtype.as_numpy_dtype if tf.is_tensor(value) else value.dtype)
        floats = number.kind == "f" or number.name == "bfloat16"
        return tf.cast(value, dtype) if floats else tf.convert_to_tensor(value)

    inputs = keras.tree.map_structure(place, x)
    sizes = [value.shape[0] for value in keras.tree.flatten(inputs) if _is_batched(value)]
    if not sizes:
        raise ValueError(
            f"got x of type {type(x).__name__} without an array, wanted an array, a tensor, a tuple or a dict of them"
        )
    if min(sizes) == 0 or len(set(sizes)) > 1:
        raise ValueError(f"got {sizes} samples along axis 0 of the inputs, wanted one number above 0 for all")
    return Batch(inputs, sizes[0])


def _is_batched(value: Any) -> bool:
    return bool(tf.is_tensor(value)) and len(value.shape) > 0


def targets_of(y: Any, size: int) -> Any:
    """Targets as an array or tensor; None and "predicted" are left as they are.

    Raises
    ------
    ValueError
        If there is not one target a sample.
    """
    if y is None or (isinstance(y, str) and y == "predicted"):
        return y
    if isinstance(y, (dict, tuple, str)):
        raise ValueError(f"got y of type {type(y).__name__}, wanted an array with one target a sample, or 'predicted'")
    target = y if tf.is_tensor(y) else np.asarray(y)
    if not tf.is_tensor(y) and target.dtype.kind not in "biufV":
        raise ValueError(f"got y of dtype {target.dtype}, wanted an array of numbers, or 'predicted'")
    target = target[None] if len(target.shape) == 0 else target
    if target.shape[0] != size:
        raise ValueError(f"got {target.shape[0]} targets, wanted {size}: one a sample")
    return target


def class_labels(target: Any, classes: int) -> Any:
    """Labels for the default cross-entropy, as an integer array: given as integers, one a sample, or one-hot.

    Raises
    ------
    ValueError
        If they are anything else, or out of range.
    """
    if target is None:
        raise ValueError("got no labels, wanted one a sample, or y='predicted'")
    if len(target.shape) == 2 and target.shape[1] not in (1, classes):
        raise ValueError(f"got labels of shape {tuple(target.shape)}, wanted integers, or one-hot rows of {classes}")
    labels = labels_of(target)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"got labels from {low} to {high}, wanted 0 to {classes - 1}")
    return labels
