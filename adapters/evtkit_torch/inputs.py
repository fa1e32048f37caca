"""Inputs, labels and losses: from what a user has to what a network takes, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["IGNORED", "Loss", "chosen", "logits_of", "per_sample_losses", "placed", "scores_of"]

IGNORED = -100
"""A label that is left out of a sample's mean over its positions, as PyTorch's losses have it."""


Loss = Callable[[Tensor, Any], Tensor]
"""From output and target to one loss a sample, shape (batch,)."""


def placed(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """An array or tensor on a device, floating numbers in a dtype; anything else as it is."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.array(value))  # a copy: NumPy's memory may be read-only
    if not isinstance(value, Tensor):
        return value
    value = value.detach().to(device)
    if value.is_floating_point() and value.dtype != dtype:
        value = value.to(dtype)
    return value.clone() if value.is_inference() else value


def chosen(output: Any, name: str | int | None) -> Any:
    """One of a network's several outputs, by its key, name or place; the whole of it without a name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name is None or name == "logits":  # found anyhow, and told by its place from a tensor that is all there is
        return output
    try:
        found = getattr(output, name, None) if isinstance(name, str) and hasattr(output, name) else output[name]
    except (KeyError, IndexError, TypeError):
        found = None
    if not isinstance(found, Tensor):
        inside = (
            list(output) if isinstance(output, Mapping) else len(output) if isinstance(output, (tuple, list)) else ""
        )
        raise ValueError(
            f"output must name one of the network's outputs, {type(output).__name__} {inside}".rstrip()
            + f", got {name!r}"
        )
    return found


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
        raise ValueError(
            "the output must be a tensor or an object with `logits`, or output= name one, got "
            f"{type(output).__name__}{f' {list(output)}' if isinstance(output, Mapping) else ''}"
        )
    return output


def scores_of(output: Any, task: str = "classes") -> tuple[Tensor, int]:
    """Class scores and their axis: a single score a sample is that of the second of two classes.

    Classes are along axis 1, as PyTorch's losses have it, or the last of three axes of an output's ``logits``, as the
    Transformers have it. Of other tasks than classes, the output itself.
    """
    scores = logits_of(output)
    if scores.ndim == 1:
        scores = scores.unsqueeze(1)
    axis = 2 if scores.ndim == 3 and scores is not output else 1
    if task == "classes" and scores.shape[axis] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], axis)
    return scores, axis


def per_sample_losses(
    loss: Loss | None,
    output: Any,
    target: Any,
    size: int,
    later: list[Callable[[], None]] | None = None,
    task: str = "classes",
) -> Tensor:
    """One finite loss a sample.

    Parameters
    ----------
    loss : callable or None
        None for the cross-entropy to the target, or what the task has instead.
    output : Any
        What the network returned.
    target : Tensor, tuple or dict of them, None or "predicted"
        Labels; "predicted" stands for the class the network itself ranks first.
    size : int
        Number of samples.
    later : list, optional
        Takes a function that checks labels and losses, to be called when the numbers are wanted anyhow: until they are
        looked at, an accelerator need not be waited for. Without it they are checked at once.
    task : {"classes", "labels", "values"}
        What the network says.

    Raises
    ------
    ValueError
        If labels are out of range, the loss is not one number a sample, or it is not finite.
    """
    if isinstance(target, str):
        target = _predicted(output, task)
    outside, classes, labels = None, 0, None
    if loss is not None:
        losses = _over_positions(loss(output, target), target, size)
    elif task == "classes":
        losses, outside, classes, labels = _cross_entropy(*scores_of(output), target)
    else:
        losses = _label_or_value_losses(scores_of(output, task)[0], target, task)
    if not isinstance(losses, Tensor) or losses.shape != (size,):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"the loss must have shape ({size},), one number a sample, so reduction='none', got {got}")
    wrong = ~torch.isfinite(losses.detach()) if outside is None else ~torch.isfinite(losses.detach()) | outside

    def check() -> None:
        bad = torch.nonzero(wrong).flatten().tolist()
        if not bad:
            return
        if outside is not None and labels is not None and bool(outside.any()):
            found = labels if labels.ndim == 1 else labels[labels != IGNORED]
            raise ValueError(f"labels must lie in [0, {classes - 1}], got {int(found.min())} to {int(found.max())}")
        raise ValueError(f"losses must be finite, got others for samples {bad[:5]} of the batch")

    if later is None:
        check()
    else:
        later.append(check)
    return losses


def _predicted(output: Any, task: str) -> Tensor:
    if task == "values":
        raise ValueError("y must be the true values, got 'predicted', whose loss would be 0")
    scores, axis = scores_of(output, task)
    return scores.detach().argmax(axis) if task == "classes" else (scores.detach() > 0).to(scores.dtype)


def _wide(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    """Mean over all axes but the first of what is counted; 0 where nothing is."""
    counted = counted.to(losses.dtype).flatten(1)
    return (losses.flatten(1) * counted).sum(1) / counted.sum(1).clamp(min=1)


def _over_positions(losses: Any, target: Any, size: int) -> Any:
    """A sample's loss of those of its positions, if a loss gives one for each target, without those left out."""
    if not isinstance(losses, Tensor) or not isinstance(target, Tensor) or losses.ndim < 2:
        return losses
    if losses.shape != target.shape or len(losses) != size:
        return losses
    whole = not target.is_floating_point() and target.dtype != torch.bool
    return _mean(losses, target != IGNORED if whole else torch.ones_like(losses))


def _label_or_value_losses(scores: Tensor, target: Any, task: str) -> Tensor:
    """Mean cross-entropy of labels that are true or not, or mean squared error; a target of NaN is left out."""
    if not isinstance(target, Tensor):
        raise ValueError(f"y must be an array of targets without a loss of your own, got {type(target).__name__}")
    scores, target = _wide(scores), target.to(_wide(scores).dtype)
    if target.ndim == 1 and scores.shape[1:] == (1,):
        target = target.unsqueeze(1)
    if target.shape != scores.shape:
        raise ValueError(f"targets must have shape {tuple(scores.shape)}, as the output has, got {tuple(target.shape)}")
    known = torch.isfinite(target)
    target = torch.where(known, target, torch.zeros_like(target))
    if task == "labels":
        losses = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    else:
        losses = functional.mse_loss(scores, target, reduction="none")
    counted = known.to(losses.dtype).flatten(1)
    return (losses.flatten(1) * counted).sum(1) / counted.sum(1)  # not finite, and so refused, where none is known


def _cross_entropy(logits: Tensor, axis: int, target: Any) -> tuple[Tensor, Tensor, int, Tensor]:
    """Losses, which labels are out of their range, classes and labels.

    Labels out of range would end a device in an error that nothing survives.
    """
    if not isinstance(target, Tensor):
        got = type(target).__name__ if isinstance(target, (dict, tuple)) else target
        raise ValueError(f"y must be one label a sample, or 'predicted', without a loss of your own, got {got}")
    logits = _wide(logits.movedim(axis, 1))
    classes = logits.shape[1]
    labels = _labels(target, logits, axis)
    last = classes - 1
    outside = (labels < 0) | (labels > last)
    if labels.ndim > 1:
        outside &= labels != IGNORED
    losses = functional.cross_entropy(logits, labels.clamp(0, last), reduction="none")
    if losses.ndim > 1:
        losses, outside = _mean(losses, labels != IGNORED), outside.flatten(1).any(1)
    return losses, outside, classes, labels


def _labels(target: Tensor, logits: Tensor, axis: int) -> Tensor:
    """Integer labels of integers, whole floats or booleans, one a sample or position, or one-hot along the classes."""
    shape, classes = (len(logits), *logits.shape[2:]), logits.shape[1]
    whole = not target.is_floating_point() or bool((target % 1 == 0).all())
    if target.ndim == logits.ndim and target.shape[axis] == 1:
        target = target.squeeze(axis)
    if target.ndim == logits.ndim and target.shape[axis] == classes and whole:
        hot = target.movedim(axis, 1)
        if bool(((hot == 0) | (hot == 1)).all()) and bool((hot.sum(1) == 1).all()):
            target = hot.to(torch.uint8).argmax(1)
    if not whole or tuple(target.shape) != shape:
        raise ValueError(
            f"labels must be integers of shape {shape}, or one-hot along axis {axis} of the output's classes, got "
            f"dtype {target.dtype} and shape {tuple(target.shape)}"
        )
    return target.long()
