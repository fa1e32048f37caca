"""Samples: labelled batches from arrays or a `tf.data.Dataset`, with their number, which calibration must know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from evtkit.saliency.batches import Batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DatasetBatches", "batches"]


class DatasetBatches:
    """The batches of a dataset, with an upper bound of how many samples they hold.

    Parameters
    ----------
    dataset : tf.data.Dataset
        Of batches ``(x, y)``.
    n_samples : int
        How many samples there are, or an upper bound.
    """

    def __init__(self, dataset: Any, n_samples: int) -> None:
        self.dataset, self.n_samples = dataset, n_samples

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        yield from self.dataset


def batches(data: Any, batch_size: int = 64, n_samples: int | None = None) -> Iterable[tuple[Any, Any]]:
    """Batches for `evtkit.saliency.calibrate`, with a number of samples.

    Parameters
    ----------
    data : (x, y), or tf.data.Dataset
        Arrays, which are cut into batches; or a dataset that already yields batches ``(x, y)``.
    batch_size : int
        For arrays.
    n_samples : int, optional
        How many samples a dataset holds, or an upper bound. By default worked out from its number of batches and the
        size of the first one.

    Returns
    -------
    iterable of (x, y)
        With an attribute ``n_samples``.

    Raises
    ------
    ValueError
        If the data are neither, or a dataset does not know how many batches it has, or is empty.

    Examples
    --------
    >>> data = tf.data.Dataset.from_tensor_slices((np.zeros((10, 3)), np.zeros(10, int))).batch(4)
    >>> found = batches(data)
    >>> found.n_samples, [len(y) for _, y in found]
    (12, [4, 4, 2])
    """
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        if not isinstance(spec, tuple) or len(spec) != 2:
            raise ValueError(f"a dataset must have batches (x, y), got {spec}")
        return DatasetBatches(data, _count(data) if n_samples is None else n_samples)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        x, y = data
        return Batches(x, y, batch_size)
    raise ValueError(f"data must be (x, y), or a tf.data.Dataset of batches, got {type(data).__name__}")


def _count(dataset: Any) -> int:
    count = int(dataset.cardinality())
    if count < 0:
        raise ValueError(
            "n_samples= or take(...) must say how many batches a dataset has that does not know it, got neither"
        )
    first = next(iter(dataset.take(1)), None)
    if first is None:
        raise ValueError("a dataset must have at least one batch, got none")
    return count * len(np.asarray(first[1]))
