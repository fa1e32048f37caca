"""Tasks: which samples a network gets wrong, by class, by several labels, or by what a task calls wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import labels_of, plain, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evtkit.saliency.protocol import SaliencyModel

    Wrong = Callable[[NDArray[Any], Any], Any]

__all__ = ["mistaken"]


def mistaken(model: SaliencyModel, x: Any, y: Any, wrong: Wrong | None = None) -> NDArray[np.bool_]:
    """Whether each sample is a mistake.

    Parameters
    ----------
    model : SaliencyModel
        The network.
    x, y
        Samples and their targets.
    wrong : callable, optional
        ``wrong(predictions, y) -> (n,)``, of what `SaliencyModel.predict` returns. By default the most probable class
        is not the label or, with ``task="labels"``, some label is on the wrong side of a probability of 1/2.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        If it is not one answer a sample, or there is no default for such predictions.

    Examples
    --------
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(4)
    >>> mistaken(net, x, (y + [0, 1, 0, 1]) % 4)
    array([False,  True, False,  True])
    >>> mistaken(net, x, y, lambda predictions, y: predictions[:, 0] > 0.5).shape
    (4,)
    """
    predictions = np.asarray(model.predict(x))
    size = size_of(y)
    if wrong is not None:
        found = plain(wrong(predictions, y))
        if found.shape != (size,):
            raise ValueError(f"wrong must say for each of {size} samples whether it is a mistake, got {found.shape}")
        return found.astype(bool)
    task = getattr(model, "task", "classes")
    if task == "labels":
        truth = plain(y)
        if truth.shape != predictions.shape:
            raise ValueError(f"y must have shape {predictions.shape}, 0 or 1 a label, got {truth.shape}")
        return np.asarray(((predictions > 0.5) != (truth > 0.5)).reshape(size, -1).any(axis=1))
    if task != "classes" or predictions.ndim != 2:
        raise ValueError(
            f"wrong= must be given, a function of (predictions, y), for predictions of shape {predictions.shape} that "
            "are no classes' probabilities, got None"
        )
    return np.asarray(np.argmax(predictions, axis=1) != labels_of(y))
