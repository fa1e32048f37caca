"""The body of a tail's distribution, up to the threshold: shares and ranks of observations, and order statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.threads import blocks, for_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["Ranks", "log_rank", "order_statistics", "share_above"]

_WORTH_SORTING = 16  # levels a channel: beyond that, sorting the sample beats counting in it


def share_above(tail: Tail, levels: Float) -> Float:
    """The share of observations above each level (rows, channels), or 1 where it is unknown."""
    counts, known = _count_above(tail, levels)
    return np.where(known, counts / np.atleast_1d(tail.n), 1.0)


def log_rank(tail: Tail, levels: Float) -> Float:
    """log of (1 + number of observations at or above the level)/(n + 1) for levels (rows, channels); 0 if unknown."""
    counts, known = _count_above(tail, np.nextafter(levels, -np.inf))
    return np.where(known, np.log((counts + 1.0) / (np.atleast_1d(tail.n) + 1.0)), 0.0)


def order_statistics(tail: Tail, larger: NDArray[np.int64], wanted: NDArray[np.bool_]) -> Float:
    """The observations, ascending in −rank, that so many others (rows, channels) precede, where they are wanted."""
    known = np.atleast_2d(tail.largest if tail.sample is None else tail.sample)
    n = np.atleast_1d(tail.n)
    ordered: dict[int, Float] = {}
    rows, channels = np.nonzero(wanted)
    out = np.empty(channels.shape)
    for i, (channel, above) in enumerate(zip(channels.tolist(), larger[rows, channels].tolist(), strict=True)):
        if channel not in ordered:
            values = np.sort(known[channel].astype(np.float64))
            ordered[channel] = values[~np.isnan(values)]
        values = ordered[channel]
        place = min(above, int(n[channel]) - 1)
        if place >= values.size:
            raise ValueError(
                f"p asks for values that were not kept: the observation that {place} exceed, of the {values.size} "
                f"largest; wanted p < {values.size / n[channel]:.6g}"
            )
        out[i] = values[values.size - 1 - place]
    return out


def _count_above(tail: Tail, levels: Float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How many observations lie above each level (rows, channels), and whether that is known."""
    if tail.sample is None:
        tops = np.atleast_2d(tail.largest)
        counts = _counts(tops, levels)
        return counts, counts < np.count_nonzero(~np.isnan(tops), axis=1)
    if levels.shape[0] > _WORTH_SORTING:
        return _counts(tail._ordered_sample, levels), np.ones(levels.shape, dtype=bool)
    return _counts(np.atleast_2d(tail.largest), levels, np.atleast_2d(tail.sample)), np.ones(levels.shape, dtype=bool)


def _counts(ordered: NDArray[Any], levels: Float, sample: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """How many of a channel's ascending values lie above its levels (rows, channels): of its sample, if all do."""
    from evtkit._kernels.largest import count_above

    tops = np.ascontiguousarray(ordered)
    others = np.empty((len(tops), 0), tops.dtype) if sample is None else np.ascontiguousarray(sample)
    counts = np.empty(levels.shape, dtype=np.int64)

    def work(part: tuple[slice, slice]) -> None:
        rows, piece = part
        found = np.empty(levels[rows, piece].shape, dtype=np.int64)
        count_above(tops[piece], others[piece], np.ascontiguousarray(levels[rows, piece]), found)
        counts[rows, piece] = found

    for_each(work, blocks(*levels.shape, None, 1 + others.shape[1] // 8), None)
    return counts


class Ranks:
    """The body by rank, from a few thousand order statistics: in a detector that is kept, all would be too many.

    Parameters
    ----------
    sample : ndarray, shape (channels, n)
        All observations.
    most : int
        Order statistics kept a channel; with more observations, ranks are known to within 1/most, and rounded up.
    """

    def __init__(self, sample: NDArray[Any], most: int) -> None:
        n = sample.shape[1]
        kept = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
        self._levels = np.ascontiguousarray(np.sort(sample, axis=1)[:, kept])
        # x lies above some of the levels kept: all observations up to the last of those are smaller
        self._log_rank = np.log(np.concatenate([[n + 1.0], n - kept]) / (n + 1.0))

    def log_p(self, levels: Float) -> Float:
        """log of (1 + number of observations at or above the level)/(n + 1), or hardly more, (rows, channels)."""
        return self._log_rank[self._levels.shape[1] - _counts(self._levels, np.nextafter(levels, -np.inf))]
