"""From the largest values that a sketch kept to a Tail: what both kinds of sketches share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evtkit._moments import mean_and_variance
from evtkit.peaks import Thresholds, how_many, tail_from_largest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.tail import Tail

__all__ = ["Kept", "fit_kept"]


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
) -> Tail:
    """The tail of every channel, as `fit_tail` of all its observations would have made it."""
    count, channels = sketch.count, len(sketch.count)
    limit = count if sketch.capacity is None else np.minimum(count, sketch.capacity)
    rule = how_many(count, channels, quantile, threshold, n_excess, 2)
    if isinstance(rule, Thresholds):
        levels = np.array(np.broadcast_to(rule.levels, channels))
        lowest = sketch._lowest()
        with np.errstate(invalid="ignore"):
            short = (count > limit) & (lowest > levels)
        kept = sketch._above(levels)
        if np.any(short):
            raise ValueError(
                f"threshold must be at least {float(lowest[short].max()):.6g}, the smallest value kept, in "
                f"{np.count_nonzero(short)} channels; a larger capacity reaches lower"
            )
        if not np.any(kept):
            largest = float(np.nanmax(sketch._top(1)))
            raise ValueError(f"threshold {np.asarray(threshold)} leaves no excess; the largest is {largest}")
        top = sketch._top(max(1, int(kept.max())))
    else:
        kept = rule
        if np.any(kept > limit):
            raise ValueError(
                f"capacity must be at least {int(kept.max())} for this fit of {int(count.max())} "
                f"observations, got {sketch.capacity}"
            )
        top = sketch._top(max(1, int(kept.max())))
        position = np.minimum(top.shape[1] - kept, top.shape[1] - 1)
        levels = top[np.arange(channels), position].astype(np.float64)
    mean, variance = mean_and_variance(moments, count)
    return tail_from_largest(
        top, levels, count, mean, variance, sample=None, side="upper", method=method, resolution=resolution,
        scalar=False, n_threads=sketch.n_threads, names=names,
    )  # fmt: skip
