"""From the largest values that a sketch kept to a Tail: what both kinds of sketches share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evtkit._moments import empty_state, mean_and_variance, right_bins, take_away
from evtkit.cleaning.gross import count_gross, looked_at
from evtkit.peaks import tail_from_largest
from evtkit.threshold.rules import ALIKE, Thresholds, how_many, lowest, ties_together

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.tail import Tail

__all__ = ["Kept", "capacity_for", "fit_kept"]

_LOOKED_AT = 10_000  # largest values that gross outliers are looked for among, at most, where only so many are kept


def capacity_for(count: Int, quantile: float | None = None, n_excess: int | None = None) -> int:
    """How many of the largest of so many observations to keep for a fit: of the channel that needs most."""
    found = how_many(count, len(count), quantile, None, n_excess, 2)
    assert not isinstance(found, Thresholds)
    if quantile is None and n_excess is None:  # ties need more, and what stands apart does so from more than that
        found = np.maximum(ALIKE * found, np.minimum(looked_at(count) + 1, _LOOKED_AT))
    return max(2, int(found.max()))


class Kept(Protocol):
    """A sketch, as far as a fit looks at it."""

    capacity: int | None
    n_threads: int | None

    @property
    def count(self) -> Int:
        """Observations of each channel."""

    def _top(self, width: int) -> NDArray[Any]:
        """The largest values, shape (channels, width), ascending, NaN in front of fewer."""

    def _above(self, levels: Float) -> Int:
        """How many of the kept values lie above each channel's level."""

    def _lowest(self) -> Float:
        """The smallest value that is kept of each channel."""


def fit_kept(
    sketch: Kept,
    moments: Int,
    names: NDArray[np.str_] | None,
    quantile: float | None,
    threshold: ArrayLike | None,
    n_excess: int | None,
    method: str,
    resolution: float | None,
    clean: bool | None,
) -> Tail:
    """The tail of every channel, as `fit_tail` of all its observations would have made it."""
    if clean:
        raise ValueError("clean=True looks at all observations, which a sketch does not keep; use fit_tail")
    count, channels = sketch.count, len(sketch.count)
    limit = count if sketch.capacity is None else np.minimum(count, sketch.capacity)
    left_out = np.zeros(channels, dtype=np.int64)
    if quantile is None and threshold is None and n_excess is None:
        top = sketch._top(max(1, int(limit.max())))
        if clean is None:
            left_out = count_gross(top, count)
            top, moments = _without(top, moments, left_out)
            count, limit = count - left_out, limit - left_out
        rule = how_many(count, channels, quantile, threshold, n_excess, 2)
        assert not isinstance(rule, Thresholds)
        _check_capacity(rule, limit, left_out, count, sketch.capacity)
        kept = ties_together(top, rule)
        levels = lowest(top, kept)
        top = np.ascontiguousarray(top[:, top.shape[1] - max(1, int(kept.max())) :])
    elif isinstance(rule := how_many(count, channels, quantile, threshold, n_excess, 2), Thresholds):
        levels = np.array(np.broadcast_to(rule.levels, channels))
        least = sketch._lowest()
        with np.errstate(invalid="ignore"):
            short = (count > limit) & (least > levels)
        kept = sketch._above(levels)
        if np.any(short):
            raise ValueError(
                f"threshold must be at least {float(least[short].max()):.6g}, the smallest value kept, in "
                f"{np.count_nonzero(short)} channels; a larger capacity reaches lower"
            )
        if not np.any(kept):
            largest = float(np.nanmax(sketch._top(1)))
            raise ValueError(f"threshold {np.asarray(threshold)} leaves no excess; the largest is {largest}")
        top = sketch._top(max(1, int(kept.max())))
    else:
        kept = rule
        _check_capacity(kept, limit, left_out, count, sketch.capacity)
        top = sketch._top(max(1, int(kept.max())))
        levels = lowest(top, kept)
    mean, variance = mean_and_variance(moments, count)
    return tail_from_largest(
        top, levels, count, mean, variance, sample=None, side="upper", method=method, resolution=resolution,
        scalar=False, n_threads=sketch.n_threads, names=names, left_out=left_out,
    )  # fmt: skip


def _check_capacity(kept: Int, limit: Int, left_out: Int, count: Int, capacity: int | None) -> None:
    if np.any(kept > limit):
        raise ValueError(
            f"capacity must be at least {int((kept + left_out).max())} for this fit of "
            f"{int((count + left_out).max())} observations, got {capacity}"
        )


def _without(top: NDArray[Any], moments: Int, left_out: Int) -> tuple[NDArray[Any], Int]:
    """The largest values, and the moments, without so many of the largest of each channel."""
    from evtkit._kernels.binned import add_values  # deferred: compiled

    if not np.any(left_out):
        return top, moments
    top, moments = top.copy(), moments.copy()
    for channel in np.flatnonzero(left_out):
        row, count = top[channel].copy(), int(left_out[channel])
        gross = empty_state(1)
        add_values(row[-count:].copy(), count, int(right_bins(np.abs(row[-count:]).max(keepdims=True))[0]), gross[0])
        moments[channel] = take_away(moments[channel : channel + 1], gross)[0]
        top[channel, :count], top[channel, count:] = np.nan, row[:-count]
    return top, moments
