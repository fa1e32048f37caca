"""Ranks: the processes that a calibration is spread over, each with its share of the samples.

No transport of our own: objects go through torch.distributed, or through whatever has the same few methods. A library
that is not loaded cannot have made a group, so it is looked up among the modules there are.
"""

from __future__ import annotations

import glob
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "Alone",
    "Ranks",
    "Share",
    "agree",
    "check_shares",
    "path_of_rank",
    "paths_of_others",
    "ranks_of",
    "share_of",
]


class Ranks(Protocol):
    """What `calibrate` asks of its group: for other transports than torch.distributed, write a class with these.

    Attributes
    ----------
    rank, size : int
        This process' number from 0, and how many there are.
    """

    rank: int
    size: int

    def all_gather(self, one: Any) -> list[Any]:
        """The objects of all ranks, in their order, on every rank."""

    def broadcast(self, one: Any, source: int) -> Any:
        """The object that rank `source` gives, on every rank; what others give is not looked at."""


class Alone:
    """One process."""

    rank, size = 0, 1

    def all_gather(self, one: Any) -> list[Any]:
        """Its own object."""
        return [one]

    def broadcast(self, one: Any, source: int) -> Any:
        """Its own object."""
        return one


class _TorchRanks:
    """A process group of torch.distributed; objects are pickled, and with NCCL go by the current device."""

    def __init__(self, group: Any, distributed: Any) -> None:
        self._group, self._distributed = group, distributed
        self.rank, self.size = int(group.rank()), int(group.size())

    def all_gather(self, one: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        self._distributed.all_gather_object(found, one, group=self._group)
        return found

    def broadcast(self, one: Any, source: int) -> Any:
        box = [one if self.rank == source else None]
        source = self._distributed.get_global_rank(self._group, source)
        self._distributed.broadcast_object_list(box, src=source, group=self._group)
        return box[0]


def ranks_of(group: Any) -> Ranks:
    """The ranks of a group: of torch.distributed, or an object as `Ranks` describes; None is one process alone.

    Raises
    ------
    ValueError
        If it is anything else, or this process does not belong to it.

    See Also
    --------
    evtkit.saliency.calibrate : takes a group.

    Examples
    --------
    >>> from evtkit.saliency.ranks import ranks_of
    >>> ranks_of(None).size
    1
    """
    if group is None:
        return Alone()
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and isinstance(group, getattr(distributed, "ProcessGroup", ())):
        ranks: Ranks = _TorchRanks(group, distributed)
    elif all(hasattr(group, name) for name in ("rank", "size", "all_gather", "broadcast")):
        ranks = group
    else:
        raise ValueError(
            "group must be a process group of torch.distributed, such as torch.distributed.group.WORLD, or an object "
            f"with rank, size, all_gather and broadcast, got {type(group).__name__}"
        )
    if not 0 <= ranks.rank < ranks.size:
        raise ValueError(f"this process must be one of the group, got rank {ranks.rank} of {ranks.size}")
    return ranks


def agree(ranks: Ranks, error: Exception | None) -> None:
    """Raise on every rank where one has failed, lest the others wait for it: its own error, or another's in words."""
    if ranks.size == 1:
        if error is not None:
            raise error
        return
    found = ranks.all_gather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, text in enumerate(found):
        if text is not None:
            raise ValueError(f"rank {rank} of {ranks.size} failed: {text}")


@dataclass(frozen=True)
class Share:
    """A rank's part of all samples.

    Parameters
    ----------
    bound : int
        How many samples all ranks have together, at most.
    own : int
        How many of this rank's samples count, at most: a sampler may repeat some, to give all ranks as many.
    first, step : int
        Numbers of its samples among all: first, first + step, …
    repeats : bool
        Whether samples beyond its own are others again, to be left out, and not too many.
    """

    bound: int
    own: int
    first: int = 0
    step: int = 1
    repeats: bool = False

    def numbers(self, start: int, n: int) -> NDArray[np.int64]:
        """The numbers of n of its samples."""
        return self.first + self.step * np.arange(start, start + n, dtype=np.int64)


def share_of(ranks: Ranks, batches: Any, n_samples: int | None, count: Callable[[Any, int | None], int]) -> Share:
    """Which of all samples are this rank's; every rank must ask.

    A sampler that deals samples out in turn and repeats the first ones at the end, as PyTorch's `DistributedSampler`
    does, is known by its attributes; what it repeats is left out. Else each rank has its own samples.

    Raises
    ------
    ValueError
        If their number cannot be known, or the sampler is one of another number of ranks.
    """
    if ranks.size == 1:
        bound = count(batches, n_samples)
        return Share(bound, bound)
    sampler = _dealer(batches)
    mine: Any
    try:
        if sampler is not None:
            _check_dealer(sampler, ranks)
            mine = len(sampler.dataset)
        else:
            mine = count(batches, n_samples)
    except ValueError as error:
        mine = error
    counts = ranks.all_gather(mine)
    for one in counts:
        if isinstance(one, ValueError):
            raise one
    if sampler is not None:
        own = min(int(sampler.num_samples), len(range(sampler.rank, mine, sampler.num_replicas)))
        return Share(mine, own, int(sampler.rank), ranks.size, repeats=True)
    if n_samples is not None:
        return Share(n_samples, n_samples, ranks.rank, ranks.size)
    return Share(sum(counts), mine, sum(counts[: ranks.rank]))


def check_shares(ranks: Ranks, batches: Any, seen: int, content: bytes) -> None:
    """Refuse ranks that had samples of each other: every rank must ask, with what it has seen and a digest of it."""
    if ranks.size == 1:
        return
    try:
        of = len(batches.dataset) if _dealer(batches) is None else None
    except (AttributeError, TypeError):
        of = None
    found = ranks.all_gather((seen, content, of))
    total, whole = sum(n for n, _, _ in found), found[0][2]
    if seen and len({one for _, one, _ in found}) == 1:
        raise ValueError(
            f"each rank must have its own share of the samples, got the same {seen} on all {ranks.size}; use a "
            "DistributedSampler, or a part of the data set"
        )
    same = whole is not None and all(one == whole for _, _, one in found)
    if same and whole < total < whole * ranks.size:
        raise ValueError(
            f"ranks must have each sample once, got {total:,} samples of a data set of {whole:,}: a sampler that "
            "repeats some to give all ranks as many; take one that does not (Accelerate: even_batches=False)"
        )


def _dealer(batches: Any) -> Any:
    """The sampler of a loader that deals samples out to ranks in turn, if it has one."""
    for owner in (batches, getattr(batches, "batch_sampler", None)):
        sampler = getattr(owner, "sampler", None)
        if all(hasattr(sampler, name) for name in ("num_replicas", "rank", "num_samples", "total_size", "dataset")):
            return sampler
    return None


def _check_dealer(sampler: Any, ranks: Ranks) -> None:
    if (sampler.num_replicas, sampler.rank) != (ranks.size, ranks.rank):
        raise ValueError(
            f"the sampler must be that of rank {ranks.rank} of {ranks.size}, got one of rank {sampler.rank} of "
            f"{sampler.num_replicas}"
        )


def path_of_rank(path: str | os.PathLike[str] | None, ranks: Ranks) -> str | os.PathLike[str] | None:
    """A checkpoint's file for this rank: ``calibration.npz`` becomes ``calibration.1of4.npz``, and so on."""
    if path is None or ranks.size == 1:
        return path
    given = Path(path)
    return given.with_name(f"{given.stem}.{ranks.rank + 1}of{ranks.size}{given.suffix}")


def paths_of_others(path: str | os.PathLike[str], size: int) -> list[list[Path]]:
    """The checkpoints of runs with another number of ranks than `size`: a list for each such number."""
    given = Path(path)
    found: dict[int, list[Path]] = {1: [given]} if size > 1 and given.exists() else {}
    for one in sorted(given.parent.glob(f"{glob.escape(given.stem)}.*of*{glob.escape(given.suffix)}")):
        middle = one.name[len(given.stem) + 1 : len(one.name) - len(given.suffix)]
        number, _, of = middle.partition("of")
        if number.isdigit() and of.isdigit() and int(of) != size:
            found.setdefault(int(of), []).append(one)
    return [found[of] for of in sorted(found)]
