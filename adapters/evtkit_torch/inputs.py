"""Inputs, labels and losses: from what a user has to what a network takes, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Loss", "logits_of", "per_sample_losses", "placed"]

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
        raise ValueError(f"the output must be a tensor or an object with `logits`, got {type(output).__name__}")
    return output


def per_sample_losses(
    loss: Loss | None, output: Any, target: Any, size: int, later: list[Callable[[], None]] | None = None
) -> Tensor:
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
    later : list, optional
        Takes a function that checks labels and losses, to be called when the numbers are wanted anyhow: until they are
        looked at, an accelerator need not be waited for. Without it they are checked at once.

    Raises
    ------
    ValueError
        If labels are out of range, the loss is not one number a sample, or it is not finite.
    """
    if isinstance(target, str):
        target = logits_of(output).detach().argmax(1)
    found = _cross_entropy(logits_of(output), target) if loss is None else (loss(output, target), None)
    losses, outside = found
    if not isinstance(losses, Tensor) or losses.shape != (size,):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"the loss must have shape ({size},), one number a sample, so reduction='none', got {got}")
    wrong = ~torch.isfinite(losses.detach()) if outside is None else ~torch.isfinite(losses.detach()) | outside

    def check() -> None:
        bad = torch.nonzero(wrong).flatten().tolist()
        if not bad:
            return
        if outside is not None and bool(outside.any()):
            classes, low, high = logits_of(output).shape[1], int(target.min()), int(target.max())
            raise ValueError(f"labels must lie in [0, {classes - 1}], got {low} to {high}")
        raise ValueError(f"losses must be finite, got others for samples {bad[:5]} of the batch")

    if later is None:
        check()
    else:
        later.append(check)
    return losses


def _cross_entropy(logits: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    """Losses, and which labels are out of their range, which a device would end in an error that nothing survives."""
    if logits.ndim != 2:
        raise ValueError(
            f"the output must have shape (batch, classes) without a loss of your own, got {tuple(logits.shape)}"
        )
    if not isinstance(target, Tensor):
        raise ValueError("y must be one label a sample, or 'predicted', got None")
    if target.is_floating_point() or target.dtype == torch.bool or target.ndim != 1:
        raise ValueError(
            f"labels must be integers, one a sample, got dtype {target.dtype} and shape {tuple(target.shape)}"
        )
    labels, last = target.long(), logits.shape[1] - 1
    outside = (labels < 0) | (labels > last)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return functional.cross_entropy(wide, labels.clamp(0, last), reduction="none"), outside
