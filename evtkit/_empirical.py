"""The body of a tail's distribution, up to the threshold: shares of observations, and order statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["order_statistics", "share_above"]

_WORTH_SORTING = 16  # levels a channel: beyond that, sorting the sample beats counting in it


def share_above(tail: Tail, levels: Float) -> Float:
    """The share of observations above each level, or 1 where it is unknown."""
    from evtkit._kernels.largest import count_above

    tops = np.ascontiguousarray(np.atleast_2d(tail.largest))
    samples = np.empty((tops.shape[0], 0), tops.dtype) if tail.sample is None else np.atleast_2d(tail.sample)
    queries = np.ascontiguousarray(levels.reshape(-1, tops.shape[0]))
    if tail.sample is not None and queries.shape[0] > _WORTH_SORTING:
        tops, samples = np.sort(samples, axis=1), samples[:, :0]
    counts = np.empty(queries.shape, dtype=np.int64)
    count_above(tops, np.ascontiguousarray(samples), queries, counts)
    share = counts / np.atleast_1d(tail.n)
    if tail.sample is None:
        share[counts >= np.count_nonzero(~np.isnan(tops), axis=1)] = 1.0
    return share.reshape(levels.shape)


def order_statistics(tail: Tail, prob: Float, wanted: NDArray[np.bool_]) -> Float:
    """The observations at the ranks that the wanted probabilities, all above N_u/n, ask for."""
    known = np.atleast_2d(tail.largest if tail.sample is None else tail.sample)
    n = np.atleast_1d(tail.n)
    ordered: dict[int, Float] = {}
    channels = np.broadcast_to(np.arange(known.shape[0]) if tail.threshold.ndim else 0, prob.shape)[wanted]
    out = np.empty(channels.shape)
    for i, (channel, p) in enumerate(zip(channels.tolist(), prob[wanted].tolist(), strict=True)):
        if channel not in ordered:
            values = np.sort(known[channel].astype(np.float64))
            ordered[channel] = values[~np.isnan(values)]
        values = ordered[channel]
        above = min(int(p * n[channel]), int(n[channel]) - 1)
        if above >= values.size:
            raise ValueError(f"p = {p} asks for values that were not kept; wanted p < {values.size / n[channel]:.6g}")
        out[i] = values[values.size - 1 - above]
    return out
