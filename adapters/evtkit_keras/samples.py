"""Samples: labelled batches from arrays, a `tf.data.Dataset` or a PyDataset, and how many samples there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np  # noqa: F401  # for the example
import tensorflow as tf

from evtkit.saliency.batches import Batches, pair, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DatasetBatches", "batches"]


class DatasetBatches:
    """The batches of a dataset, with an upper bound of how many samples they hold.

    Parameters
    ----------
    dataset : tf.data.Dataset or keras.utils.PyDataset
        Of batches ``(x, y)``, ``(x, y, weights)``, or dicts with ``"labels"``.
    n_samples : int
        How many samples there are, or an upper bound.
    """

    def __init__(self, dataset: Any, n_samples: int) -> None:
        self.dataset, self.n_samples = dataset, n_samples

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        known = None if isinstance(self.dataset, tf.data.Dataset) else self.dataset.num_batches
        yield from map(pair, self.dataset if known is None else (self.dataset[i] for i in range(known)))


def batches(data: Any, batch_size: int = 64, n_samples: int | None = None) -> Iterable[tuple[Any, Any]]:
    """Batches for `evtkit.saliency.calibrate`, with a number of samples.

    Parameters
    ----------
    data : (x, y), tf.data.Dataset or keras.utils.PyDataset
        Arrays, which are cut into batches; or what already yields batches ``(x, y)``, or ``(x, y, weights)``, whose
        weights are not used.
    batch_size : int
        For arrays.
    n_samples : int, optional
        How many samples a dataset holds, or an upper bound. By default worked out from its number of batches and the
        size of the first one; a dataset that does not know its number of batches is run through once and counted.

    Returns
    -------
    iterable of (x, y)
        With an attribute ``n_samples``.

    Raises
    ------
    ValueError
        If the data are neither, or a dataset is infinite or empty.

    Examples
    --------
    >>> data = tf.data.Dataset.from_tensor_slices((np.zeros((10, 3)), np.zeros(10, int))).batch(4)
    >>> found = batches(data)
    >>> found.n_samples, [len(y) for _, y in found]
    (12, [4, 4, 2])
    >>> batches(data.filter(lambda x, y: True)).n_samples
    10
    """
    if n_samples is not None and n_samples < 2:
        raise ValueError(f"n_samples must be at least 2, got {n_samples}")
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        if not (isinstance(spec, tuple) and len(spec) in (2, 3)) and not (isinstance(spec, dict) and "labels" in spec):
            raise ValueError(f"a dataset must have batches (x, y), got {spec}")
        if any(isinstance(part, tf.SparseTensorSpec) for part in tf.nest.flatten(spec)):
            raise ValueError("inputs must be dense, as tf.sparse.to_dense makes them, got a dataset of SparseTensor")
        return DatasetBatches(data, _count(data, n_samples))
    if isinstance(data, keras.utils.PyDataset):
        if not data.num_batches:  # None, or 0
            raise ValueError(f"a PyDataset must know its number of batches, above 0, got {data.num_batches}")
        if n_samples is None:
            n_samples = sum(size_of(pair(data[i], i + 1)[1]) for i in range(data.num_batches))
        return DatasetBatches(data, n_samples)
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return Batches(data[0], data[1], batch_size)
    raise ValueError(f"data must be (x, y), a tf.data.Dataset of batches or a PyDataset, got {type(data).__name__}")


def _count(dataset: Any, given: int | None) -> int:
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY:
        raise ValueError("take(...) must bound a dataset that repeats for ever, got an infinite one")
    if given is not None:
        return given
    if count < 0:
        count, bound = 1, sum(size_of(pair(batch)[1]) for batch in dataset)
    else:
        first = next(iter(dataset.take(1)), None)
        bound = 0 if first is None else size_of(pair(first)[1])
    if not bound:
        raise ValueError("a dataset must have at least one batch, got none")
    return count * bound
