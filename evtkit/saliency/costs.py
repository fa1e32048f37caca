"""Costs: what a change that was chosen on some samples will lose of others like them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import labels_of, size_of, take
from evtkit.saliency.tasks import judged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.tasks import Wrong

__all__ = ["Sizing", "expected_loss"]

_SURE = 2.0  # times the smoother share, as the least of many is too low here too
_NEAREST = 5  # samples; with many more, what moves a sample by far because it is far from any boundary counts as lost
_LEAST = 1e-45  # of a probability; the smallest number of float32 is not below


def expected_loss(lost: int, before: Float | None, after: Float | None, n: int) -> float:
    """Share that a change will lose of others than those n samples that it was chosen by.

    The larger of two. Of n samples and another one like them, each is as likely to be the one that was not looked at:
    so a change that is made smaller until (lost + 1) / (n + 1) is within a budget loses no more of others, in the mean
    (conformal risk control, Angelopoulos et al. 2024). That is for one change of any size. The least of many that are
    tried is too low, and hardly tells them apart if the samples are few. So a smoother share is looked at, too, which
    knows how near to being lost the others came, twice: see ``near_below``.

    Parameters
    ----------
    lost : int
        How many of the n samples are lost.
    before, after : ndarray of float64, shape (n,), or None
        By how much each is on the right side; None where that is not known.
    n : int
        Samples looked at.

    Returns
    -------
    float

    Examples
    --------
    >>> round(expected_loss(0, None, None, 99), 3)
    0.01
    >>> expected_loss(0, np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.8, 0.8, 3.0, 4.0]), 4)
    0.2
    """
    counted = (lost + 1.0) / (n + 1.0)
    if before is None or after is None:
        return counted
    return max(counted, _SURE * near_below(before, after - before))


def near_below(margins: Float, changes: Float) -> float:
    """Share of pairs whose sum is below 0, of a margin and the change of a sample with nearly the same margin.

    Each is paired with the five next to it by their margins, itself among them.

    Examples
    --------
    >>> near_below(np.array([1.0, 2.0, 3.0, 4.0]), np.array([-1.5, 0.0, 0.0, 0.0]))
    0.0625
    """
    n = len(margins)
    k = min(n, _NEAREST)
    order = np.argsort(margins, kind="stable")
    first = np.clip(np.arange(n) - k // 2, 0, n - k)
    near = changes[order][first[:, None] + np.arange(k)]
    return float(np.mean(margins[order][:, None] + near < 0.0))


class Sizing:
    """The samples that size a change, as the network sees them before it.

    Parameters
    ----------
    model : SaliencyModel
        The network as it is now.
    samples : (x, y)
        Samples that it gets right.
    batch_size : int
        Samples predicted at a time.
    how : callable or None
        What is a mistake, as in `evaluate`.
    """

    def __init__(self, model: SaliencyModel, samples: tuple[Any, Any], batch_size: int, how: Wrong | None) -> None:
        self._model, self._samples, self._batch, self._how = model, samples, batch_size, how
        self._n = size_of(samples[1])
        self._before = self._seen()[1]

    def now(self) -> tuple[int, float]:
        """How many of the samples the network as it is now loses, and the share that it will lose of others."""
        wrong, margins = self._seen()
        lost = int(np.count_nonzero(wrong))
        return lost, expected_loss(lost, self._before, margins, self._n)

    def _seen(self) -> tuple[NDArray[np.bool_], Float | None]:
        x, y = self._samples
        flags, parts = [], []
        for start in range(0, self._n, self._batch):
            rows = slice(start, min(start + self._batch, self._n))
            predictions, target = np.asarray(self._model.predict(take(x, rows))), take(y, rows)
            flags.append(judged(self._model, predictions, target, self._how))
            parts.append(self._margins(predictions, target))
        known = [part for part in parts if part is not None]
        return np.concatenate(flags), np.concatenate(known) if len(known) == len(parts) else None

    def _margins(self, predictions: NDArray[Any], y: Any) -> Float | None:
        """By how much the true class is ahead of all others, or each label on its side; None by another's judgement."""
        task = getattr(self._model, "task", "classes")
        if self._how is not None or task not in ("classes", "labels"):
            return None
        p = np.asarray(predictions, dtype=np.float64)
        log = np.log(np.maximum(p, _LEAST))
        if task == "labels":
            logit = log - np.log(np.maximum(1.0 - p, _LEAST))
            sides = np.where(np.asarray(y) > 0.5, logit, -logit)
            return np.asarray(sides.reshape(len(p), -1).min(axis=1))
        rows, labels = np.arange(len(p)), labels_of(y)
        own = log[rows, labels].copy()
        log[rows, labels] = -np.inf
        return np.asarray(own - log.max(axis=1))
