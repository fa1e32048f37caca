"""The body of a distribution, up to a threshold: shares and ranks of observations, and order statistics."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.threads import blocks, for_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int

__all__ = ["Body", "Ranks"]

_WORTH_SORTING = 16  # levels a channel: beyond that, sorting the sample beats counting in it


class Body:
    """What is known of the observations of many channels, extremes large whichever side is meant.

    Parameters
    ----------
    largest : ndarray, shape (channels, kept)
        The most extreme observations, ascending, NaN in front where a channel has fewer.
    sample : ndarray, shape (channels, rows), or None
        All observations, NaN where one is missing.
    n : ndarray of int64, shape (channels,)
        How many there were.
    """

    def __init__(self, largest: NDArray[Any], sample: NDArray[Any] | None, n: Int) -> None:
        self._largest, self._sample, self._n = largest, sample, n

    def share_above(self, levels: Float) -> Float:
        """The share of observations above each level (rows, channels), or 1 where it is unknown."""
        counts, known = self._count_above(levels)
        return np.where(known & (self._n > 0), counts / np.maximum(self._n, 1), 1.0)

    def log_rank(self, levels: Float) -> Float:
        """log of (1 + number of observations at or above the level)/(n + 1), levels (rows, channels); 0 if unknown."""
        counts, known = self._count_above(np.nextafter(levels, -np.inf))
        return np.where(known, np.log((counts + 1.0) / (self._n + 1.0)), 0.0)

    def order_statistics(self, larger: Int, wanted: Bool) -> Float:
        """The observations that so many others (rows, channels) exceed, one each where they are wanted."""
        known = self._largest if self._sample is None else self._sample
        ordered: dict[int, Float] = {}
        rows, channels = np.nonzero(wanted)
        out = np.empty(channels.shape)
        for i, (c, above) in enumerate(zip(channels.tolist(), larger[rows, channels].tolist(), strict=True)):
            if c not in ordered:
                values = np.sort(known[c].astype(np.float64))
                ordered[c] = values[~np.isnan(values)]
            values, n = ordered[c], int(self._n[c])
            if min(above, n - 1) >= values.size:
                raise ValueError(
                    f"p asks for values that were not kept: for the one that {above} exceed, of the {values.size} "
                    f"largest; wanted p < {values.size / n:.6g}"
                )
            out[i] = values[values.size - 1 - min(above, n - 1)] if n else np.nan
        return out

    @cached_property
    def _ordered(self) -> NDArray[Any]:
        """The sample ascending, −inf in the place of what is missing."""
        sample = self._largest if self._sample is None else self._sample
        return np.sort(np.where(np.isnan(sample), sample.dtype.type(-np.inf), sample), axis=1)

    def _count_above(self, levels: Float) -> tuple[Int, Bool]:
        """How many observations lie above each level, and whether that is known."""
        if self._sample is None:
            counts = _count_above(self._largest, levels)
            return counts, counts < np.count_nonzero(~np.isnan(self._largest), axis=1)
        known = np.ones(levels.shape, dtype=bool)
        if levels.shape[0] > _WORTH_SORTING:
            return _count_above(self._ordered, levels), known
        return _count_above(self._largest, levels, self._sample), known


class Ranks:
    """The body by rank, from a few thousand order statistics: in a detector that is kept, all would be too many.

    Parameters
    ----------
    sample : ndarray, shape (channels, rows)
        All observations, NaN where one is missing.
    most : int
        Order statistics kept a channel; with more observations, ranks are known to within 1/most, and rounded up.
    """

    def __init__(self, sample: NDArray[Any], most: int) -> None:
        rows = sample.shape[1]
        kept = np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.int64))
        absent = np.isnan(sample)
        self._levels = np.ascontiguousarray(np.sort(np.where(absent, -np.inf, sample), axis=1)[:, kept])
        # x lies above some of the levels kept: all observations up to the last of those are smaller
        share = (rows - kept) / (1.0 + rows - np.count_nonzero(absent, axis=1))[:, None]
        self._log_rank = np.log(np.minimum(np.insert(share, 0, 1.0, axis=1), 1.0))

    def log_rank(self, levels: Float) -> Float:
        """As `Body.log_rank`, or hardly more."""
        below = self._levels.shape[1] - _count_above(self._levels, np.nextafter(levels, -np.inf))
        return np.asarray(self._log_rank[np.arange(levels.shape[1]), below])


def _count_above(ordered: NDArray[Any], levels: Float, sample: NDArray[Any] | None = None) -> Int:
    """How many of a channel's ascending values lie above its levels (rows, channels); of its sample, if all do."""
    from evtkit._kernels.largest import count_above  # deferred: compiled

    top = np.ascontiguousarray(ordered)
    others = np.empty((len(top), 0), top.dtype) if sample is None else np.ascontiguousarray(sample)
    counts = np.empty(levels.shape, dtype=np.int64)

    def work(part: tuple[slice, slice]) -> None:
        rows, piece = part
        found = np.empty(levels[rows, piece].shape, dtype=np.int64)
        count_above(top[piece], others[piece], np.ascontiguousarray(levels[rows, piece]), found)
        counts[rows, piece] = found

    for_each(work, blocks(levels.shape[0], levels.shape[1], None, 1 + others.shape[1] // 8), None)
    return counts
