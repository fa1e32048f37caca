"""The extremal index by counting and by times between exceedances, and its limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import whole_number
from evtkit.dependence.exceedances import exceedance_times, streams_and_levels
from evtkit.fit import FitStatus
from evtkit.intervals import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = ["bootstrap_index", "check_run_length", "extremal_index", "extremal_index_interval", "intervals_run_length"]


def extremal_index(x: ArrayLike, threshold: ArrayLike, *, run_length: int | None = None) -> Float:
    """Extremal index θ: the reciprocal of the mean size of a cluster of exceedances.

    Parameters
    ----------
    x : array_like, (n,) or (n, channels)
        Stationary streams, in order of time. NaN is a gap in the record, in which time stops for the intervals
        estimator (times between clusters have no memory, so their two parts make a whole one) and goes on for the runs
        estimator.
    threshold : array_like
        Threshold u, exceedances are x > u; one, or one a channel.
    run_length : int, optional
        Without it, the intervals estimator (Ferro & Segers 2003, equations 5 and 6), which needs no such choice. With
        it, the runs estimator: the number of clusters over the number of exceedances, clusters being separated by at
        least `run_length` consecutive values that do not exceed u (Smith & Weissman 1994).

    Returns
    -------
    ndarray of float64
        One entry a channel, in (0, 1]; NaN with fewer than two exceedances (runs estimator: with none).

    Raises
    ------
    ValueError
        Where x is infinite or not numbers, shapes do not match, or run_length is not at least 1.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> z = -1 / np.log(rng.random(100_001))
    >>> moving_maximum = np.maximum(z[1:], z[:-1])  # θ = 1/2
    >>> print(extremal_index(moving_maximum, np.quantile(moving_maximum, 0.99)).round(2))
    0.5
    """
    if run_length is not None:
        check_run_length(run_length)
    values, levels = streams_and_levels(x, threshold)
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    theta = np.empty(columns.shape[1])
    for channel, u in enumerate(levels):
        found = exceedance_times(columns[:, channel], u)
        theta[channel] = _intervals(found.seen) if run_length is None else _runs(found.times, run_length)
    return theta.reshape(values.shape[1:])


def extremal_index_interval(
    x: ArrayLike,
    threshold: ArrayLike,
    *,
    run_length: int | None = None,
    level: float = 0.95,
    n_boot: int = 1000,
    rng: np.random.Generator | int | None = None,
) -> Interval:
    """Confidence interval of the extremal index, by a bootstrap of clusters (Ferro & Segers 2003, section 4).

    Intervals declustering parts the times between exceedances into those between clusters and those within. Both are
    drawn anew, whole clusters at a time, the index is estimated from each such row of times, and its quantiles are the
    limits. For a likelihood, and limits from it, see `evtkit.dependence.fit_k_gaps`.

    Parameters
    ----------
    x, threshold, run_length
        As in `extremal_index`.
    level : float
        Confidence level in (0, 1).
    n_boot : int
        Number of bootstrap samples.
    rng : numpy.random.Generator or int, optional
        Generator of the bootstrap, or its seed; 0 by default, so that an answer can be had again.

    Returns
    -------
    Interval
        One entry a channel; limits are NaN where there are fewer than two clusters.

    Raises
    ------
    ValueError
        As `extremal_index`; also for a level outside (0, 1) or n_boot < 1.

    Examples
    --------
    >>> z = -1 / np.log(np.random.default_rng(1).random(20_001))
    >>> moving_maximum = np.maximum(z[1:], z[:-1])  # θ = 1/2
    >>> extremal_index_interval(moving_maximum, np.quantile(moving_maximum, 0.98), rng=1)
    Interval(...)
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    n_boot = whole_number(n_boot, "n_boot", 1)
    estimate = extremal_index(x, threshold, run_length=run_length)
    values, levels = streams_and_levels(x, threshold)
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    draws = np.random.default_rng(0 if rng is None else rng)
    limits = np.full((columns.shape[1], 2), np.nan)
    for channel, u in enumerate(levels):
        again = bootstrap_index(exceedance_times(columns[:, channel], u).seen, run_length, n_boot, draws)
        if again.size:
            limits[channel] = np.quantile(again, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    low, high = limits.T.reshape(2, *values.shape[1:])
    status = np.where(np.isnan(estimate), int(FitStatus.TOO_FEW), int(FitStatus.OK))
    return Interval(estimate, low, high, level, "bootstrap", status)


def bootstrap_index(gaps: Int, run_length: int | None, n_boot: int, rng: np.random.Generator) -> Float:
    """Extremal indices of times that are drawn anew, cluster by cluster; none where there is one cluster only."""
    length = intervals_run_length(gaps) if run_length is None else run_length
    between = np.flatnonzero(gaps > length)
    if between.size < 2:
        return np.empty(0)
    pieces = np.split(gaps, np.sort(np.concatenate([between, between + 1])))
    within = [piece for piece in pieces if not (piece.size == 1 and piece[0] > length)]
    sizes = np.array([piece.size for piece in within])
    ends = np.cumsum(sizes)
    sums = np.stack([np.concatenate([[0.0], np.cumsum(f)])[ends] - np.concatenate([[0.0], np.cumsum(f)])[ends - sizes]
                     for f in _powers(np.concatenate(within))])  # fmt: skip
    largest = max((int(piece.max()) for piece in within if piece.size), default=0)
    away = _powers(gaps[between])
    theta = np.empty(n_boot)
    for b in range(n_boot):
        inside, outside = rng.integers(len(within), size=len(within)), rng.integers(between.size, size=between.size)
        count, total, squares = sums[:, inside].sum(axis=1) + away[:, outside].sum(axis=1)
        if run_length is None:
            theta[b] = _moments_index(count, total, squares, max(largest, int(gaps[between][outside].max())))
        else:
            theta[b] = min(1.0, (1.0 + between.size) / (count + 1.0))
    return theta


def _powers(gaps: Int) -> Float:
    """1, T and T² of every time."""
    t = gaps.astype(np.float64)
    return np.stack([np.ones_like(t), t, t * t])


def check_run_length(run_length: int) -> None:
    """Refuse a run length that is none."""
    if run_length != int(run_length) or run_length < 1:
        raise ValueError(f"run_length must be an integer of at least 1, got {run_length}")


def _runs(times: Int, run_length: int) -> float:
    if not times.size:
        return math.nan
    return float((1 + np.count_nonzero(np.diff(times) > run_length)) / times.size)


def _intervals(gaps: Int) -> float:
    """Ferro & Segers (2003), equations 5 (where no gap exceeds 2) and 6."""
    if not gaps.size:
        return math.nan
    count, total, squares = _powers(gaps).sum(axis=1)
    return _moments_index(float(count), float(total), float(squares), int(gaps.max()))


def _moments_index(count: float, total: float, squares: float, largest: int) -> float:
    """The index from Σ 1, Σ T and Σ T², which are whole numbers.

    Where no gap exceeds 2 it is 2 (ΣT)²/(N ΣT²), at least 16/9 for gaps of 1 and 2, and so 1.
    """
    if largest <= 2:
        return 1.0
    return min(1.0, 2.0 * (total - count) ** 2 / (count * (squares - 3.0 * total + 2.0 * count)))


def intervals_run_length(gaps: Int) -> int:
    """The run length that at most ⌊θN⌋ gaps exceed, fewer where gaps tie, so that equal gaps are treated alike."""
    if not gaps.size:
        return 1
    between = math.floor(_intervals(gaps) * (gaps.size + 1))
    return 0 if between >= gaps.size else int(np.sort(gaps)[::-1][between])
