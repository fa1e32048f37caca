"""Outputs: class scores and losses from what a network returns, logits or probabilities, and which of them it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

__all__ = ["IGNORED", "Head", "Loss", "loss_of", "per_sample_losses", "scores_in"]

Loss = Callable[[Any, Any], Any]
"""From ``(y_true, y_pred)`` to one loss a sample, shape (batch,)."""

Task = Literal["classes", "labels", "values"]

IGNORED = -100
"""A label that is left out of a sample's mean over its positions, as PyTorch and the Transformers have it."""

Form = Literal["logits", "softmax", "probabilities", "sigmoid", "binary-logits", "binary-probabilities", "values"]


class Head:
    """What a network's output is, found out from a few samples when it is first needed.

    An output that Keras's softmax made carries its logits along, so nothing is lost where a probability rounds to 0 or
    1. Other rows that are not negative and add up to 1 are probabilities. A single column is that of a classifier of
    two classes, whose second one it scores. Classes are along the last axis, behind any number of positions.

    Parameters
    ----------
    from_logits : bool or None
        Whether the output holds logits. None: find out.
    task : {"classes", "labels", "values"}
        One class of several; several labels, each true or not; or numbers, as in regression.
    name : str, optional
        Which of several outputs, by its key in a dict or, as a number, its place.
    """

    def __init__(self, from_logits: bool | None, task: Task = "classes", name: str | int | None = None) -> None:
        self._from_logits = from_logits
        self.task, self.name = task, name
        self._form: Form | None = "values" if task == "values" else None
        self._classes = 0
        self.rank = 2

    @property
    def known(self) -> bool:
        """Whether an output has been looked at."""
        return self._form is not None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._classes

    def scores(self, output: Any) -> Any:
        """Return the tensor of scores in an output, with an axis of classes."""
        scores = scores_in(output, self.name)
        if len(scores.shape) != 1:
            return scores
        column = tf.expand_dims(scores, 1)
        if hasattr(scores, "_keras_logits"):
            column._keras_logits = tf.expand_dims(scores._keras_logits, 1)
        return column

    def learn(self, output: Any) -> None:
        """Look at the output for a few samples.

        Raises
        ------
        ValueError
            If it is no row of class scores, or cannot be told.
        """
        scores = self.scores(output)
        if len(scores.shape) < 2:
            raise ValueError(
                f"the output must have shape (batch, classes) without a loss of your own, got {tuple(scores.shape)}"
            )
        self.rank = len(scores.shape)
        self._classes = max(2, scores.shape[-1])
        self._form = _form(scores, self._from_logits, self.task)

    def logits(self, output: Any) -> Any:
        """Scores, float32 at least, whose softmax along the last axis, or sigmoid for labels, are the probabilities."""
        scores = self.scores(output)
        if self._form in ("softmax", "sigmoid"):
            scores = scores._keras_logits
        scores = _wide(scores)
        if self.task == "labels":
            tiny = np.finfo(scores.dtype.name).tiny
            if self._form == "probabilities":
                return tf.math.log(tf.maximum(scores, tiny)) - tf.math.log(tf.maximum(1 - scores, tiny))
            return scores
        if self._form in ("sigmoid", "binary-logits"):
            return tf.concat([tf.zeros_like(scores), scores], -1)
        if self._form == "binary-probabilities":
            scores = tf.concat([1 - scores, scores], -1)
        if self._form in ("probabilities", "binary-probabilities"):
            return tf.math.log(tf.maximum(scores, np.finfo(scores.dtype.name).tiny))
        return scores

    def probabilities(self, output: Any) -> Any:
        """Probabilities, classes along the last axis; the output itself where it has them, or where it has values."""
        if self._form in ("softmax", "probabilities", "values") or (self.task == "labels" and self._form == "sigmoid"):
            return _wide(self.scores(output))
        return tf.nn.sigmoid(self.logits(output)) if self.task == "labels" else tf.nn.softmax(self.logits(output))


def scores_in(output: Any, name: str | int | None = None) -> Any:
    """Return the tensor of class scores in a network's output: itself, its ``logits``, or the one that is named.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name is not None:
        try:
            output = output[name]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"output must name one of the network's outputs, {_kinds(output)}, got {name!r}") from None
    elif isinstance(output, Mapping):
        output = output.get("logits", output)
    if isinstance(output, Mapping) and len(output) == 1:
        output = next(iter(output.values()))
    if isinstance(output, (list, tuple)) and len(output) == 1:
        output = output[0]
    if not tf.is_tensor(output):
        raise ValueError(
            f"the output must be a tensor or a dict with 'logits', or output= name one, got {_kinds(output)}"
        )
    return output


def _kinds(output: Any) -> str:
    """What an output is, and what there is in it."""
    inside = list(output) if isinstance(output, Mapping) else list(range(len(output))) if _is_row(output) else ""
    return f"{type(output).__name__} {inside}".strip()


def _is_row(output: Any) -> bool:
    return isinstance(output, (list, tuple))


def loss_of(loss: Any) -> Loss | None:
    """A per-sample loss from a function, a name that Keras knows, or a `keras.losses.Loss` without its reduction.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if isinstance(loss, str):
        named = keras.losses.get(loss)

        def by_name(target: Any, output: Any) -> Any:
            column = len(output.shape) == 2 and output.shape[1] == 1 and len(target.shape) == 1
            return named(tf.expand_dims(target, 1) if column else target, output)

        return by_name
    if isinstance(loss, keras.losses.Loss):
        return loss.call  # type: ignore[no-any-return]  # Keras has no types
    if loss is not None and not callable(loss):
        raise ValueError(
            f"loss must be a function of (y_true, y_pred), the name of a Keras loss, or None, got {loss!r}"
        )
    return loss  # type: ignore[no-any-return]  # a function, as was just checked


def per_sample_losses(loss: Loss | None, head: Head, output: Any, target: Any, size: int) -> Any:
    """One loss a sample, float32 at least.

    Parameters
    ----------
    loss : callable or None
        None for the cross-entropy to the target.
    head : Head
        What the output is.
    output : Any
        What the network returned.
    target : tensor or None
        Labels, or whatever the loss takes.
    size : int
        Number of samples.

    Raises
    ------
    ValueError
        If the loss is not one number a sample.
    """
    if loss is None:
        return _usual(head, output, target, size)
    losses = loss(target, output if head.name is None else scores_in(output, head.name))
    if tf.is_tensor(losses) and len(losses.shape) > 1 and tf.is_tensor(target):
        per_position = losses.shape == target.shape or (target.shape[-1:] == 1 and losses.shape == target.shape[:-1])
        if per_position and losses.shape[0] in (size, None):
            counted = tf.ones_like(losses)
            if target.dtype.is_integer:
                ignored = getattr(getattr(loss, "__self__", None), "ignore_class", None)
                labels = tf.reshape(target, tf.shape(losses))
                counted = tf.cast(
                    labels != tf.cast(IGNORED if ignored is None else ignored, target.dtype), losses.dtype
                )
            losses = _mean(losses, counted)
    if tf.is_tensor(losses) and losses.shape.rank == 1 and losses.shape[0] is None:
        losses = tf.ensure_shape(losses, (size,))
    if not tf.is_tensor(losses) or losses.shape != (size,):
        got = tuple(losses.shape) if tf.is_tensor(losses) else type(losses).__name__
        raise ValueError(f"the loss must have shape ({size},), one number a sample, so without reduction, got {got}")
    return _wide(losses)


def _usual(head: Head, output: Any, target: Any, size: int) -> Any:
    """Cross-entropy to the class or the labels, or squared error: a sample's is the mean over its positions."""
    logits = head.logits(output)
    shape = logits.shape if head.task != "classes" else logits.shape[:-1]
    if head.task != "classes":
        target = tf.cast(target, logits.dtype)
        if len(target.shape) == 1 and shape[1:] == (1,):
            target = tf.expand_dims(target, 1)
    if len(target.shape) != len(shape) or any(a != b for a, b in zip(target.shape, shape, strict=True) if a and b):
        raise ValueError(f"targets must have shape {tuple(shape)}, as the output has, got {tuple(target.shape)}")
    if head.task == "classes":
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(target, 0), logits=logits)
        if len(losses.shape) > 1:
            losses = _mean(losses, tf.cast(target >= 0, losses.dtype))
    else:
        known = tf.cast(tf.math.is_finite(target), logits.dtype)  # one left out is NaN
        target = tf.where(known > 0, target, tf.zeros_like(target))
        if head.task == "labels":
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
        else:
            losses = tf.math.squared_difference(logits, target)
        axes = list(range(1, len(losses.shape)))
        # not finite, and so refused, where none is known
        losses = tf.reduce_sum(losses * known, axes) / tf.reduce_sum(known, axes)
    return tf.ensure_shape(losses, (size,))


def _mean(losses: Any, counted: Any) -> Any:
    """Mean over all axes but the first of what is counted; 0 where nothing is."""
    axes = list(range(1, len(losses.shape)))
    return tf.reduce_sum(losses * counted, axes) / tf.maximum(tf.reduce_sum(counted, axes), 1)


def _form(scores: Any, from_logits: bool | None, task: Task) -> Form:
    logits = getattr(scores, "_keras_logits", None)
    binary = scores.shape[-1] == 1
    made = "probabilities"
    if logits is not None:
        rows, inner = (np.asarray(_wide(x)) for x in (scores, logits))
        if not binary and np.allclose(rows, np.asarray(tf.nn.softmax(_wide(logits))), atol=1e-3):
            made = "softmax"
        elif np.allclose(rows, np.asarray(tf.nn.sigmoid(inner)), atol=1e-3):
            made = "sigmoid"
    if from_logits and made != "probabilities":
        raise ValueError(f"from_logits must be None or False for an output that a {made} made, got True")
    if task == "labels":
        if made == "softmax":
            raise ValueError("task must be 'classes' for the output of a softmax, got 'labels'")
        if made != "sigmoid" and from_logits is None:
            raise ValueError("from_logits must be True or False for labels that no sigmoid of Keras made, got None")
        return "sigmoid" if made == "sigmoid" else "logits" if from_logits else "probabilities"
    if made == "sigmoid" and not binary:
        raise ValueError(
            f"task must be 'labels' for outputs that are independent, got 'classes' for {scores.shape[-1]} sigmoids"
        )
    if made != "probabilities":
        return "softmax" if made == "softmax" else "sigmoid"
    if binary:
        if from_logits is None:
            raise ValueError(
                "from_logits must be True or False for one output a sample that no sigmoid of Keras made, got None "
                "(or task must be 'values', for regression)"
            )
        return "binary-logits" if from_logits else "binary-probabilities"
    if from_logits is None:
        rows = np.asarray(_wide(scores))
        from_logits = not (bool((rows >= 0).all()) and bool(np.allclose(rows.sum(-1), 1, atol=1e-2)))
    return "logits" if from_logits else "probabilities"


def _wide(x: Any) -> Any:
    """At least float32."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
