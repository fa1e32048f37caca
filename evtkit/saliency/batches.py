"""Batches: labelled samples cut into pieces, and split so that what is judged was not calibrated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Batches", "held_out_split", "labels_of", "pair", "plain", "size_of", "take"]


def pair(batch: Any, number: int = 1) -> tuple[Any, Any]:
    """Samples and targets of a batch: ``(x, y)``, ``(x, y, weights)``, or a dict with ``labels``.

    Weights are left out: a sample's saliency is that of its own loss.

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> pair({"input_ids": [[1, 2]], "labels": [0]})
    ({'input_ids': [[1, 2]]}, [0])
    """
    if isinstance(batch, Mapping) and "labels" in batch:
        return {key: value for key, value in batch.items() if key != "labels"}, batch["labels"]
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise ValueError(
            f"a batch must be a pair (samples, labels), or a dict with 'labels', got {type(batch).__name__} "
            f"for batch {number}"
        )
    return batch[0], batch[1]


def plain(y: Any) -> NDArray[Any]:
    """Whichever framework's array or tensor, on whichever device, as an array."""
    if hasattr(y, "detach"):
        y = y.detach().cpu()
        y = y.float() if str(y.dtype) == "torch.bfloat16" else y
    return np.asarray(y)


def take(x: Any, rows: slice) -> Any:
    """Samples `rows` of an input: of an array or tensor, or of every one in a tuple, list or mapping."""
    if isinstance(x, Mapping):
        return {key: take(value, rows) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(take(value, rows) for value in x)
    return x[rows]


def size_of(x: Any) -> int:
    """Number of samples in an input."""
    if isinstance(x, Mapping):
        x = next(iter(x.values()), ())
    elif isinstance(x, (tuple, list)):
        x = x[0] if x else ()
    return len(x)


def labels_of(y: Any) -> NDArray[np.int64]:
    """Labels as an integer array (n,), whichever framework or device they come from.

    Parameters
    ----------
    y : array or tensor
        Integers, whole floats or booleans, one a sample, shape (n,) or (n, 1); or one-hot rows (n, classes).

    Raises
    ------
    ValueError
        If they are anything else.

    Examples
    --------
    >>> labels_of([[0.0, 1.0], [1.0, 0.0]])
    array([1, 0])
    """
    array = plain(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1 and (array.dtype.kind == "b" or (array.dtype.kind == "f" and bool(np.all(array % 1 == 0)))):
        array = array.astype(np.int64)
    elif array.ndim == 2 and np.all((array == 0) | (array == 1)) and np.all(np.count_nonzero(array, axis=1) == 1):
        array = np.argmax(array, axis=1)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, one a sample, got shape {array.shape} and dtype {array.dtype}")
    return array.astype(np.int64)


class Batches(Sequence[tuple[Any, Any]]):
    """Labelled samples in memory as a sequence of batches, in order.

    Parameters
    ----------
    x : array, tensor, or tuple or mapping of them
        Inputs, samples along axis 0.
    y : array or tensor of int, shape (n,), or whatever the loss takes
        Labels. Tuples and mappings are cut like inputs.
    size : int
        Samples a batch; the last may have fewer.

    Raises
    ------
    ValueError
        If x and y differ in length, or there is nothing in them, or size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> batches = Batches(np.arange(10.0), np.arange(10), size=4)
    >>> len(batches), batches.n_samples, batches[2]
    (3, 10, (array([8., 9.]), array([8, 9])))
    """

    def __init__(self, x: Any, y: Any, size: int = 64) -> None:
        self.x, self.y, self.size = x, y, size
        self.n_samples = size_of(y)
        if size < 1:
            raise ValueError(f"batch size must be at least 1, got {size}")
        if self.n_samples == 0 or size_of(x) != self.n_samples:
            raise ValueError(
                f"inputs and labels must be as many, and at least one, got {size_of(x)} and {self.n_samples}"
            )

    def __len__(self) -> int:
        return -(-self.n_samples // self.size)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, Any]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, Any] | list[tuple[Any, Any]]:
        """One batch, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch must lie in [0, {len(self) - 1}], got {index}")
        start = (index % len(self)) * self.size
        rows = slice(start, min(start + self.size, self.n_samples))
        return take(self.x, rows), take(self.y, rows)


def held_out_split(
    labels: ArrayLike, share: float = 0.5, *, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split labelled samples into a calibration part and a held-out part, class by class.

    A sample that took part in calibration has, in a way, been seen: what is ranked or repaired should come from the
    other part.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        Labels; each class is split alike.
    share : float in (0, 1)
        Held-out share.
    seed : int
        Of the shuffle.

    Returns
    -------
    calibration, held_out : ndarray of int64
        Positions of the samples, ascending; every sample is in exactly one of the two.

    Raises
    ------
    ValueError
        If share is outside (0, 1), or a part would be empty.

    Examples
    --------
    >>> calibration, held_out = held_out_split([0, 0, 0, 0, 1, 1], share=0.5, seed=1)
    >>> calibration, held_out
    (array([0, 1, 4]), array([2, 3, 5]))
    """
    y = labels_of(labels)
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must lie strictly between 0 and 1, got {share}")
    shuffled = np.random.default_rng(seed).permutation(y.size)
    shuffled = shuffled[np.argsort(y[shuffled], kind="stable")]  # class by class, each in random order
    # every 1/share-th of the sorted row goes to the held-out part, so that each class is split alike to within one
    # sample
    turn = np.floor((np.arange(y.size) + 1) * share).astype(np.int64)
    held = np.diff(turn, prepend=0) > 0
    parts = np.sort(shuffled[~held]), np.sort(shuffled[held])
    if not parts[0].size or not parts[1].size:
        raise ValueError(f"each part must have at least one sample, got {y.size} samples and share {share}")
    return parts
