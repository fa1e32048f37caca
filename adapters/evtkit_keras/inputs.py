"""Inputs and labels: from what a user has to what a network takes, checked before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from evtkit.saliency.batches import labels_of

__all__ = ["class_labels", "placed"]


def placed(value: Any, dtype: str) -> Any:
    """An array or tensor as a tensor, floating numbers in a dtype; anything else as it is."""
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value)
    elif not tf.is_tensor(value):
        return value
    number = np.dtype(value.dtype.as_numpy_dtype if tf.is_tensor(value) else value.dtype)
    floats = number.kind == "f" or number.name == "bfloat16"
    return tf.cast(value, dtype) if floats else tf.convert_to_tensor(value)


def class_labels(target: Any, classes: int) -> Any:
    """Labels for the default cross-entropy, as an integer array: given as integers, one a sample, or one-hot.

    Raises
    ------
    ValueError
        If they are anything else, or out of range.
    """
    if target is None:
        raise ValueError("y must be one label a sample, or 'predicted', got None")
    if len(target.shape) == 2 and target.shape[1] not in (1, classes):
        raise ValueError(f"labels must be integers, or one-hot rows of {classes}, got shape {tuple(target.shape)}")
    labels = labels_of(target)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"labels must lie in [0, {classes - 1}], got {low} to {high}")
    return labels
