"""Candidates for a threshold, and the fits over them; of one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array
from evtkit.fit import GpdFit, fit_gpd, rounding_steps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["candidate_thresholds", "fits_above", "mid_cells", "one_channel", "ranked_thresholds"]

_GRID = 50
_FEWEST = 10  # excesses above the highest threshold of a default grid that is looked at,
_FEWEST_TESTED = 30  # and of one that is tested


def one_channel(x: ArrayLike) -> Float:
    """One channel in ascending order, without NaN."""
    values = real_array(x, "x").astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"x must be one channel of shape (n,), got shape {values.shape}")
    values = np.sort(values[~np.isnan(values)])
    if not values.size or np.isinf(values[[0, -1]]).any():
        raise ValueError(f"x must hold finite numbers, got {values[[0, -1]] if values.size else 'none'}")
    return values


def candidate_thresholds(ordered: Float, thresholds: ArrayLike | None) -> Float:
    """The thresholds given, ascending, or a grid from the median to the largest that leaves 10 excesses."""
    if thresholds is None:
        return np.linspace(
            ordered[len(ordered) // 2], ordered[max(len(ordered) // 2, len(ordered) - 1 - _FEWEST)], _GRID
        )
    u = np.unique(real_array(thresholds, "thresholds").astype(np.float64))
    if not u.size or not np.all(np.isfinite(u)):
        raise ValueError(f"thresholds must be finite numbers, got {thresholds}")
    return u


def ranked_thresholds(ordered: Float, size: int = _GRID) -> Float:
    """Order statistics from the median on, the number of larger values in geometric progression."""
    most = max(len(ordered) - 1 - len(ordered) // 2, 1)
    counts = np.geomspace(most, min(most, _FEWEST_TESTED), size)
    ranks = len(ordered) - 1 - np.minimum(np.rint(counts).astype(np.int64), len(ordered) - 1)
    return np.take(ordered, ranks)


def mid_cells(ordered: Float, u: Float, resolution: float | None) -> tuple[Float, float]:
    """Thresholds in the middle between two points of the data's lattice, if they have one, and its step."""
    from evtkit._kernels.grouped import mid_cell, rounding  # deferred: compiled

    above = ordered[np.searchsorted(ordered, u[0], side="right") :].copy()
    step = 0.0 if resolution is None else rounding_steps(resolution, 1)[0]
    if resolution is None and above.size:
        step = rounding(above, above.size, above.mean() - u[0])
    if not step > 0.0:
        return u, 0.0
    places = np.searchsorted(ordered, u, side="right")
    inside = places < ordered.size
    middles = [
        mid_cell(level, smallest, step) for level, smallest in zip(u[inside], ordered[places[inside]], strict=True)
    ]
    _, first = np.unique(places[inside], return_index=True)
    return np.array(middles)[first], step


def fits_above(ordered: Float, u: Float, resolution: float = 0.0) -> tuple[Float, GpdFit]:
    """Excesses over every threshold, one a column, and their fits."""
    largest = ordered[np.searchsorted(ordered, u[0], side="right") :]
    excesses = largest[:, None] - u
    excesses[~(largest[:, None] > u)] = np.nan
    return excesses, fit_gpd(excesses, resolution=resolution)
