"""The body of a distribution, up to a threshold: shares of observations, and order statistics.

`largest` (channels, kept) are the most extreme observations of each channel, ascending, NaN in front where a channel
has fewer; `sample` (channels, rows) are all observations, NaN where one is missing, or None; `n` (channels,) says how
many there were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int

__all__ = ["order_statistics", "share_above"]

_WORTH_SORTING = 16  # levels a channel: beyond that, sorting the sample beats counting in it


def share_above(levels: Float, largest: NDArray[Any], sample: NDArray[Any] | None, n: Int) -> Float:
    """The share of observations above each level (…, channels), or 1 where it is unknown."""
    from evtkit._kernels.largest import count_above  # deferred: compiled

    top = np.ascontiguousarray(largest)
    samples = np.empty((top.shape[0], 0), top.dtype) if sample is None else sample
    queries = np.ascontiguousarray(levels.reshape(-1, top.shape[0]))
    if sample is not None and queries.shape[0] > _WORTH_SORTING:
        top, samples = np.ascontiguousarray(-np.sort(-sample, axis=1)[:, ::-1]), samples[:, :0]  # NaN in front
    counts = np.empty(queries.shape, dtype=np.int64)
    count_above(top, np.ascontiguousarray(samples), queries, counts)
    share = np.where(n > 0, counts / np.maximum(n, 1), 1.0)
    if sample is None:
        share[counts >= np.count_nonzero(~np.isnan(top), axis=1)] = 1.0
    return share.reshape(levels.shape)


def order_statistics(prob: Float, wanted: Bool, channel: Int, known: NDArray[Any], n: Int) -> Float:
    """The observations at the ranks that the wanted probabilities ask for.

    `prob`, `wanted` and `channel`, the channel of each probability, are of one shape; `known` (channels, kept) are the
    observations at hand.
    """
    ordered: dict[int, Float] = {}
    chosen = channel[wanted]
    out = np.empty(chosen.shape)
    for i, (c, p) in enumerate(zip(chosen.tolist(), prob[wanted].tolist(), strict=True)):
        if c not in ordered:
            values = np.sort(known[c].astype(np.float64))
            ordered[c] = values[~np.isnan(values)]
        values = ordered[c]
        above = min(int(p * n[c]), int(n[c]) - 1)
        if above >= values.size:
            raise ValueError(f"p = {p} asks for values that were not kept; wanted p < {values.size / n[c]:.6g}")
        out[i] = values[values.size - 1 - above]
    return out
