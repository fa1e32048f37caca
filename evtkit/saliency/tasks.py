"""Tasks: what a sample's loss is, and which samples a network gets wrong, whatever the task calls wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import labels_of, plain, size_of, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel

    Wrong = Callable[[NDArray[Any], Any], Any]

__all__ = [
    "as_pair", "as_targets", "cross_entropy", "is_plain", "judged", "losses", "mistaken", "mistaken_among",
    "mistaken_with_losses",
]  # fmt: skip


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
    return judged(model, np.asarray(model.predict(x)), y, wrong)


def judged(model: SaliencyModel, predictions: NDArray[Any], y: Any, wrong: Wrong | None = None) -> NDArray[np.bool_]:
    """`mistaken`, of predictions that have been made."""
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
    try:
        labels = labels_of(y)
    except ValueError:
        if is_plain(model):
            raise
        raise ValueError(
            "wrong= must be given, a function of (predictions, y), where the loss is your own and targets are no "
            f"classes, got None and targets {plain(y).dtype}"
        ) from None
    return np.asarray(np.argmax(predictions, axis=1) != labels)


def mistaken_among(
    model: SaliencyModel, x: Any, y: Any, wrong: Wrong | None = None, batch_size: int = 64
) -> NDArray[np.bool_]:
    """`mistaken` of any number of samples, so many at a time."""
    parts = _parts(size_of(y), batch_size)
    return np.concatenate([mistaken(model, take(x, rows), take(y, rows), wrong) for rows in parts])


def mistaken_with_losses(
    model: SaliencyModel, x: Any, y: Any, wrong: Wrong | None = None, batch_size: int = 64
) -> tuple[NDArray[np.bool_], Float | None]:
    """`mistaken_among`, and the losses too if the same predictions tell them."""
    plain_classes = is_plain(model) and np.ndim(y) == 1
    flags, parts = [], []
    for rows in _parts(size_of(y), batch_size):
        predictions, target = np.asarray(model.predict(take(x, rows))), take(y, rows)
        flags.append(judged(model, predictions, target, wrong))
        if plain_classes:
            parts.append(cross_entropy(predictions, target))
    return np.concatenate(flags), np.concatenate(parts) if plain_classes else None


def losses(model: SaliencyModel, x: Any, y: Any, batch_size: int = 64) -> Float:
    """Loss of each sample, shape (n,): the cross-entropy to the class, or what else the model's loss is."""
    plain_classes = is_plain(model) and np.ndim(y) == 1
    own = None if plain_classes else getattr(model, "losses", None)
    parts = []
    for rows in _parts(size_of(y), batch_size):
        part, target = take(x, rows), take(y, rows)
        parts.append(cross_entropy(model.predict(part), target) if own is None else own(part, target))
    return np.concatenate(parts).astype(np.float64)


def cross_entropy(probabilities: Any, y: Any) -> Float:
    """Cross-entropy of each sample to its class, shape (n,); a probability of 0 counts as 1e-12.

    Examples
    --------
    >>> cross_entropy([[0.25, 0.75], [1.0, 0.0]], [1, 1]).round(2)
    array([ 0.29, 27.63])
    """
    p = np.asarray(probabilities, dtype=np.float64)
    labels = p.argmax(axis=1) if isinstance(y, str) else labels_of(y)
    outside = labels[(labels < 0) | (labels >= p.shape[1])]
    if outside.size:
        raise ValueError(f"labels must lie in [0, {p.shape[1]}), the classes that the network knows, got {outside[0]}")
    return np.asarray(-np.log(np.maximum(p[np.arange(len(p)), labels], 1e-12)))


def as_pair(samples: Any, name: str) -> tuple[Any, Any]:
    """Samples and their labels.

    Raises
    ------
    ValueError
        If they are not a pair.
    """
    if not isinstance(samples, (tuple, list)) or len(samples) != 2:
        raise ValueError(f"{name} must be a pair (x, y) of samples and their labels, got {type(samples).__name__}")
    return samples[0], samples[1]


def as_targets(model: SaliencyModel, x: Any, y: Any, name: str) -> Any:
    """Targets that can be cut: integers where they are classes, one a sample; else as they are.

    Raises
    ------
    ValueError
        If they are not one a sample, or there are none.
    """
    targets = y
    if is_plain(model):
        try:
            targets = labels_of(y)
        except ValueError:  # a label a position
            targets = np.asarray(y) if isinstance(y, list) else y
    elif isinstance(y, list):
        targets = np.asarray(y)
    if not size_of(targets) or size_of(x) != size_of(targets):
        raise ValueError(f"{name} must have a label a sample, got {size_of(x)} samples and {size_of(targets)} labels")
    return targets


def is_plain(model: SaliencyModel) -> bool:
    """Whether it tells classes apart, by their cross-entropy."""
    return getattr(model, "task", "classes") == "classes" and getattr(model, "loss", None) is None


def _parts(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
