"""Inputs and labels: from what a user has to what a network takes, checked before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from evtkit.saliency.batches import labels_of
from evtkit_keras.outputs import IGNORED

__all__ = ["class_labels", "placed"]


def placed(value: Any, dtype: str) -> Any:
    """An array or tensor as a tensor, floating numbers in a dtype; anything else as it is."""
    if isinstance(value, tf.SparseTensor):
        raise ValueError("inputs must be dense, as tf.sparse.to_dense makes them, got a SparseTensor")
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value)
    elif not tf.is_tensor(value):
        return value
    number = np.dtype(value.dtype.as_numpy_dtype if tf.is_tensor(value) else value.dtype)
    floats = number.kind == "f" or number.name == "bfloat16"
    return tf.cast(value, dtype) if floats else tf.convert_to_tensor(value)


def class_labels(target: Any, classes: int, rank: int = 2) -> Any:
    """Labels for the default cross-entropy, as an integer array: given as integers, one a sample, or one-hot.

    Parameters
    ----------
    target : array or tensor
        Labels.
    classes : int
        How many classes there are.
    rank : int
        Axes of the output. More than two have positions between samples and classes, a label each, of which those that
        are -100 are left out, and are -1 here.

    Raises
    ------
    ValueError
        If they are anything else, or out of range.
    """
    if target is None or isinstance(target, (dict, tuple)):
        got = None if target is None else type(target).__name__
        raise ValueError(f"y must be one label a sample, or 'predicted', without a loss of your own, got {got}")
    if rank > 2:
        labels = _position_labels(np.asarray(target), classes, rank)
    else:
        if len(target.shape) == 2 and target.shape[1] not in (1, classes):
            raise ValueError(f"labels must be integers, or one-hot rows of {classes}, got shape {tuple(target.shape)}")
        labels = labels_of(target)
    counted = labels[labels != IGNORED] if rank > 2 else labels
    if counted.size and (counted.min() < 0 or counted.max() >= classes):
        raise ValueError(f"labels must lie in [0, {classes - 1}], got {int(counted.min())} to {int(counted.max())}")
    return np.maximum(labels, -1)


def _position_labels(labels: Any, classes: int, rank: int) -> Any:
    if labels.ndim == rank and labels.shape[-1] == 1:
        labels = labels[..., 0]
    elif labels.ndim == rank and labels.shape[-1] == classes and np.all(np.sort(labels, -1)[..., :-1] == 0):
        labels = labels.argmax(-1)
    if labels.ndim != rank - 1 or not np.all(labels % 1 == 0):
        raise ValueError(f"labels must be integers, one a position, {rank - 1} axes, got shape {labels.shape}")
    return labels.astype(np.int64)
