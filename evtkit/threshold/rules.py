"""Where a tail begins: how many of the largest observations are excesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array, whole_number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int

__all__ = ["ALIKE", "Thresholds", "default_excesses", "how_many", "lowest", "only_largest", "ties_together"]

ALIKE = 5
"""Times as many excesses as are asked for by default, at most, where the values beyond the threshold are all equal."""

_MOST = 2  # the same, where they are not


def default_excesses(n: Int) -> Int:
    """How many excesses to fit where nobody says: a tenth of n observations, but at most 50 or √n, whichever is more.

    Far enough out for the generalised Pareto distribution to hold for most data; what few excesses do not say, the
    predictive law allows for. Of fewer than 100 observations it is 10, or a quarter of them.
    """
    share = np.minimum(0.1 * n, np.maximum(50.0, np.sqrt(n))).astype(np.int64)
    return np.asarray(np.maximum(share, np.maximum(np.minimum(10, n // 4), 1)))


@dataclass(frozen=True)
class Thresholds:
    """Thresholds that were given, as they are: () or (channels,)."""

    levels: Float


def how_many(
    n: Int, n_channels: int, quantile: float | None, threshold: ArrayLike | None, n_excess: int | None, ndim: int
) -> Int | Thresholds:
    """How many of the largest of n values a channel to keep (the threshold first among them), or the thresholds given.

    A channel that has too few is left with what it has; ValueError only where all have too few.
    """
    given = [name for name, value in (("quantile", quantile), ("threshold", threshold), ("n_excess", n_excess))
             if value is not None]  # fmt: skip
    if len(given) > 1:
        raise ValueError(f"give one of quantile, threshold, n_excess; got {' and '.join(given)}")
    most = int(n.max())
    if not given:
        if most < 2:
            raise ValueError(f"x must hold two observations, for a threshold and an excess, got {most}")
        return np.minimum(default_excesses(n) + 1, n)
    if quantile is not None:
        if not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile must lie strictly between 0 and 1, got {quantile}")
        if most - int(quantile * most) < 2:
            raise ValueError(
                f"quantile {quantile} of {most} observations leaves no excess; wanted a lower one or more data"
            )
        return n - (quantile * n).astype(np.int64)
    if n_excess is not None:
        return np.minimum(whole_number(n_excess, f"n_excess of {most} observations", 1, most - 1) + 1, n)
    levels = real_array(threshold if threshold is not None else np.nan, "threshold").astype(np.float64)
    if levels.ndim > 1 or (levels.ndim == 1 and (ndim == 1 or levels.size != n_channels)):
        raise ValueError(f"threshold must be one number or one a channel ({n_channels}), got shape {levels.shape}")
    if not np.all(np.isfinite(levels)):
        raise ValueError("threshold must be finite, got NaN or inf")
    return Thresholds(levels)


def ties_together(largest: NDArray[Any], kept: Int) -> Int:
    """How many to keep where values equal the threshold: all of those are excesses, or none.

    Whichever gives a number that is nearer, as a ratio, to the one asked for, and at most twice that (`ALIKE` times,
    where those above are all equal). Of counts and rounded data the largest hundred may be four values; without
    those that equal the threshold, a handful of excesses could be left.

    Parameters
    ----------
    largest : ndarray, shape (channels, width)
        The largest values, ascending, more than are kept; NaN in front where a channel has fewer.
    kept : ndarray of int64, shape (channels,)
        How many of them to keep, the threshold among them.
    """
    out, width = kept.copy(), largest.shape[1]
    rows, first = np.arange(len(largest)), np.minimum(width - kept, width - 1)
    tied = largest[rows, first] == largest[rows, np.minimum(first + 1, width - 1)]
    for channel in np.flatnonzero(tied & (kept > 1)):
        row, asked = largest[channel], float(kept[channel] - 1)
        value = row[width - int(kept[channel])]
        above, at_least = int(np.count_nonzero(row > value)), int(np.count_nonzero(row >= value))
        below = width - at_least - 1
        most = min(_MOST * asked, asked * asked / (above or 1))
        if above and row[width - above] == row[-1]:  # of equal excesses there is no tail
            most = ALIKE * asked
        if below >= 0 and not np.isnan(row[below]) and at_least <= most:
            out[channel] = at_least + 1
    return out


def lowest(largest: NDArray[Any], kept: Int) -> Float:
    """The smallest of so many of the largest values of each channel, ascending: its threshold."""
    at = np.minimum(largest.shape[1] - kept, largest.shape[1] - 1)
    return np.asarray(largest[np.arange(len(largest)), at].astype(np.float64))


def only_largest(largest: NDArray[Any], kept: Int) -> NDArray[Any]:
    """Only so many of the largest values of each channel; NaN in front where others have more."""
    width = int(kept.max())
    if largest.shape[1] == width and np.all(kept == width):
        return largest
    out = np.ascontiguousarray(largest[:, largest.shape[1] - width :])
    out[np.arange(width) < (width - kept)[:, None]] = np.nan
    return out
