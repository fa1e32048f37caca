"""Outputs: class scores and losses from what a network returns, logits or probabilities, and which of them it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

__all__ = ["Head", "Loss", "loss_of", "per_sample_losses", "scores_in"]

Loss = Callable[[Any, Any], Any]
"""From ``(y_true, y_pred)`` to one loss a sample, shape (batch,)."""

Form = Literal["logits", "softmax", "probabilities", "sigmoid", "binary-logits", "binary-probabilities"]


class Head:
    """What a network's output is, found out from a few samples when it is first needed.

    An output that Keras's softmax made carries its logits along, so nothing is lost where a probability rounds to 0 or
    1. Other rows that are not negative and add up to 1 are probabilities. A single column is that of a classifier of
    two classes, whose second one it scores.

    Parameters
    ----------
    from_logits : bool or None
        Whether the output holds logits. None: find out.
    """

    def __init__(self, from_logits: bool | None) -> None:
        self._from_logits = from_logits
        self._form: Form | None = None
        self._classes = 0

    @property
    def known(self) -> bool:
        """Whether an output has been looked at."""
        return self._form is not None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._classes

    def learn(self, output: Any) -> None:
        """Look at the output for a few samples.

        Raises
        ------
        ValueError
            If it is no row of class scores a sample, or cannot be told.
        """
        scores = scores_in(output)
        if len(scores.shape) != 2:
            raise ValueError(
                f"the output must have shape (batch, classes) without a loss of your own, got {tuple(scores.shape)}"
            )
        self._classes = max(2, scores.shape[1])
        self._form = _form(scores, self._from_logits)

    def logits(self, output: Any) -> Any:
        """Class scores whose softmax are the probabilities, shape (batch, classes), float32 at least."""
        scores = scores_in(output)
        if self._form in ("softmax", "sigmoid"):
            scores = scores._keras_logits
        scores = _wide(scores)
        if self._form in ("sigmoid", "binary-logits"):
            return tf.concat([tf.zeros_like(scores), scores], 1)
        if self._form == "binary-probabilities":
            scores = tf.concat([1 - scores, scores], 1)
        if self._form in ("probabilities", "binary-probabilities"):
            return tf.math.log(tf.maximum(scores, np.finfo(scores.dtype.name).tiny))
        return scores

    def probabilities(self, output: Any) -> Any:
        """Class probabilities, shape (batch, classes); the output itself where it has them."""
        if self._form in ("softmax", "probabilities"):
            return _wide(scores_in(output))
        return tf.nn.softmax(self.logits(output))


def scores_in(output: Any) -> Any:
    """Return the tensor of class scores in a network's output: itself, or its ``logits``.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(output, Mapping):
        output = output.get("logits", output)
    if isinstance(output, (list, tuple)) and len(output) == 1:
        output = output[0]
    if not tf.is_tensor(output):
        raise ValueError(f"the output must be a tensor or a dict with 'logits', got {type(output).__name__}")
    return output


def loss_of(loss: Any) -> Loss | None:
    """A per-sample loss from a function, a name that Keras knows, or a `keras.losses.Loss` without its reduction.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
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
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=head.logits(output))
    losses = loss(target, output)
    if not tf.is_tensor(losses) or losses.shape != (size,):
        got = tuple(losses.shape) if tf.is_tensor(losses) else type(losses).__name__
        raise ValueError(f"the loss must have shape ({size},), one number a sample, so without reduction, got {got}")
    return _wide(losses)


def _form(scores: Any, from_logits: bool | None) -> Form:
    logits = getattr(scores, "_keras_logits", None)
    binary = scores.shape[1] == 1
    made = "probabilities"
    if logits is not None:
        rows, inner = (np.asarray(_wide(x)) for x in (scores, logits))
        if not binary and np.allclose(rows, np.asarray(tf.nn.softmax(_wide(logits))), atol=1e-3):
            made = "softmax"
        elif np.allclose(rows, np.asarray(tf.nn.sigmoid(inner)), atol=1e-3):
            made = "sigmoid"
    if from_logits and made != "probabilities":
        raise ValueError(f"from_logits must be None or False for an output that a {made} made, got True")
    if made == "sigmoid" and not binary:
        raise ValueError(
            f"outputs must be logits or a softmax, or the loss your own, got {scores.shape[1]} independent sigmoids"
        )
    if made != "probabilities":
        return "softmax" if made == "softmax" else "sigmoid"
    if binary:
        if from_logits is None:
            raise ValueError(
                "from_logits must be True or False for one output a sample that no sigmoid of Keras made, got None"
            )
        return "binary-logits" if from_logits else "binary-probabilities"
    if from_logits is None:
        rows = np.asarray(_wide(scores))
        from_logits = not (bool((rows >= 0).all()) and bool(np.allclose(rows.sum(1), 1, atol=1e-2)))
    return "logits" if from_logits else "probabilities"


def _wide(x: Any) -> Any:
    """At least float32."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
