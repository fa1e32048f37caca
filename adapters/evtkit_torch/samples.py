"""Samples: labelled batches from arrays, datasets and loaders, and how many samples there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch  # noqa: F401  # for the example
from torch.utils.data import DataLoader, Dataset, IterableDataset

from evtkit.saliency.batches import Batches, pair, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["LoadedBatches", "batches"]


class LoadedBatches:
    """The batches of a loader, with an upper bound of how many samples they hold.

    Parameters
    ----------
    loader : iterable
        Of batches ``(x, y)``, ``(x, y, weights)``, or dicts with ``"labels"``.
    n_samples : int
        How many samples there are, or an upper bound.
    """

    def __init__(self, loader: Any, n_samples: int) -> None:
        self.loader, self.n_samples = loader, n_samples

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for number, batch in enumerate(self.loader, start=1):
            yield pair(batch, number)


def batches(
    data: Any,
    batch_size: int = 64,
    n_samples: int | None = None,
    collate: Callable[[Any], Any] | None = None,
) -> Iterable[tuple[Any, Any]]:
    """Batches for `evtkit.saliency.calibrate`, with a number of samples.

    Parameters
    ----------
    data : (x, y), dict with "labels", Dataset, DataLoader, or iterable of batches
        Arrays or tensors, and datasets that know their length, are cut into batches. A batch is ``(x, y)``, or ``(x, y,
        weights)``, whose weights are not used, or a dict with ``"labels"``.
    batch_size : int
        For arrays and datasets.
    n_samples : int, optional
        How many samples there are, or an upper bound. By default counted, where that takes no pass over the data.
    collate : callable, optional
        From a list of a dataset's samples to a batch, as a DataLoader takes it.

    Returns
    -------
    iterable of (x, y)
        With an attribute ``n_samples``.

    Raises
    ------
    ValueError
        If the data are none of these, or their number is not known.

    Examples
    --------
    >>> from torch.utils.data import TensorDataset
    >>> found = batches(TensorDataset(torch.zeros(10, 3), torch.zeros(10, dtype=int)), batch_size=4)
    >>> found.n_samples, [len(y) for _, y in found]
    (10, [4, 4, 2])
    """
    if n_samples is not None and n_samples < 2:
        raise ValueError(f"n_samples must be at least 2, got {n_samples}")
    if isinstance(data, tuple) and len(data) in (2, 3):
        return Batches(data[0], data[1], batch_size)
    if isinstance(data, Mapping) and "labels" in data:
        return Batches(*pair(data), batch_size)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (list, str, Mapping)):
        data = DataLoader(data, batch_size, shuffle=False, collate_fn=collate)
    elif isinstance(data, Dataset) and isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size, collate_fn=collate)
    if not hasattr(data, "__iter__") or isinstance(data, (str, Mapping)) or hasattr(data, "__next__"):
        raise ValueError(
            "data must be (x, y), a dict with 'labels', a Dataset, a DataLoader or a list of batches, "
            f"got {type(data).__name__}"
        )
    return LoadedBatches(data, _count(data) if n_samples is None else n_samples)


def _count(loader: Any) -> int:
    """How many samples a loader or a list of batches holds at most."""
    if isinstance(loader, (list, tuple)):
        count = sum(size_of(pair(batch, number)[1]) for number, batch in enumerate(loader, start=1))
    else:
        count = _length(loader)
    if not count:
        raise ValueError("data must have at least one batch, got none")
    return count


def _length(loader: Any) -> int:
    # a sampler may draw samples again; one that draws whole batches is not asked how many samples it draws
    owner = loader if getattr(loader, "batch_size", 0) is not None else None
    for name in ("sampler", "dataset"):
        try:
            return len(getattr(owner, name))
        except (AttributeError, TypeError, NotImplementedError):
            continue
    raise ValueError(
        f"n_samples= must be given, their number or an upper bound, for data of unknown length, got "
        f"{type(loader).__name__}"
    )
