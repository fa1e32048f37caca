"""Extremes that come in clusters: the extremal index θ, and declustering.

In a dependent stream exceedances of a high threshold arrive in clusters of mean size 1/θ; θ = 1 is independence. The
excesses of all exceedances still follow a GPD, but standard errors, tests and return levels assume independent ones, so
keep one value a cluster, its peak, or account for θ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = ["Clusters", "decluster", "extremal_index"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of exceedances of one stream, in order of time.

    Attributes
    ----------
    start, stop : ndarray of int64
        Index of the first exceedance of each cluster, and one past that of its last.
    size : ndarray of int64
        Number of exceedances in each.
    peak : ndarray of int64
        Index of the largest value of each, the first of equal ones.
    peak_value : ndarray of float64
        That value.
    threshold : float
        Threshold u.
    run_length : int
        Clusters are separated by at least so many consecutive values that do not exceed u; 0 where every exceedance
        is a cluster of its own.
    """

    start: Int
    stop: Int
    size: Int
    peak: Int
    peak_value: Float
    threshold: float
    run_length: int


def extremal_index(x: ArrayLike, threshold: ArrayLike, *, run_length: int | None = None) -> Float:
    """Extremal index θ: the reciprocal of the mean size of a cluster of exceedances.

    Parameters
    ----------
    x : array_like, (n,) or (n, channels)
        Stationary streams, in order of time; no NaN, because a gap would distort the times between exceedances.
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
        Where x holds NaN or is not numbers, shapes do not match, or run_length is not at least 1.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> z = -1 / np.log(rng.random(100_001))
    >>> moving_maximum = np.maximum(z[1:], z[:-1])  # θ = 1/2
    >>> print(extremal_index(moving_maximum, np.quantile(moving_maximum, 0.99)).round(2))
    0.5
    """
    values = _streams(x)
    if run_length is not None:
        _check_run_length(run_length)
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    levels = real_array(threshold, "threshold").astype(np.float64)
    try:
        levels = np.broadcast_to(levels, values.shape[1:]).ravel()
    except ValueError:
        raise ValueError(
            f"threshold must be one number or one a channel, {values.shape[1:]}; got shape {levels.shape}"
        ) from None
    theta = np.empty(columns.shape[1])
    for channel, u in enumerate(levels):
        times = np.flatnonzero(columns[:, channel] > u)
        theta[channel] = _intervals(times) if run_length is None else _runs(times, run_length)
    return theta.reshape(values.shape[1:])


def decluster(x: ArrayLike, threshold: float, *, run_length: int | None = None) -> Clusters:
    """Group the exceedances of a stream into clusters, and find each cluster's peak.

    Parameters
    ----------
    x : array_like, (n,)
        A stationary stream in order of time, without NaN.
    threshold : float
        Threshold u; exceedances are x > u.
    run_length : int, optional
        Runs declustering with this run length. Without it, intervals declustering (Ferro & Segers 2003, section 4):
        with the intervals estimator θ and N exceedances, the ⌊θN⌋ largest times between exceedances separate clusters,
        and fewer where the next one equals the last of them.

    Returns
    -------
    Clusters

    Raises
    ------
    ValueError
        As `extremal_index`; also where x is not one stream.

    Examples
    --------
    >>> clusters = decluster([0, 5, 6, 0, 0, 0, 7, 0, 0, 4], threshold=3, run_length=2)
    >>> clusters.peak_value
    array([6., 7., 4.])
    >>> clusters.size
    array([2, 1, 1])
    """
    values = _streams(x)
    if values.ndim != 1:
        raise ValueError(f"x must be one stream of shape (n,), got shape {values.shape}")
    times = np.flatnonzero(values > threshold)
    gaps = np.diff(times)
    if run_length is None:
        run_length = _intervals_run_length(times, gaps)
    else:
        _check_run_length(run_length)
    if not times.size:
        none = np.empty(0, dtype=np.int64)
        return Clusters(none, none, none, none, np.empty(0), float(threshold), run_length)
    first = np.concatenate([[0], np.flatnonzero(gaps > run_length) + 1])
    last = np.append(first[1:], times.size)
    peak = np.array([times[a + np.argmax(values[times[a:b]])] for a, b in zip(first, last, strict=True)])
    return Clusters(
        start=times[first],
        stop=times[last - 1] + 1,
        size=last - first,
        peak=peak,
        peak_value=values[peak],
        threshold=float(threshold),
        run_length=run_length,
    )


def _streams(x: ArrayLike) -> Float:
    values = real_array(x, "x").astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"x must have shape (n,) or (n, channels), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"x must be complete streams, got {np.count_nonzero(np.isnan(values))} NaN")
    return values


def _check_run_length(run_length: int) -> None:
    if run_length != int(run_length) or run_length < 1:
        raise ValueError(f"run_length must be an integer of at least 1, got {run_length}")


def _runs(times: Int, run_length: int) -> float:
    if not times.size:
        return math.nan
    return float((1 + np.count_nonzero(np.diff(times) > run_length)) / times.size)


def _intervals(times: Int) -> float:
    """Ferro & Segers (2003), equations 5 (where no gap exceeds 2) and 6."""
    if times.size < 2:
        return math.nan
    gaps = np.diff(times).astype(np.float64)
    if gaps.max() <= 2.0:
        theta = 2.0 * gaps.sum() ** 2 / (gaps.size * (gaps @ gaps))
    else:
        theta = 2.0 * (gaps - 1.0).sum() ** 2 / (gaps.size * ((gaps - 1.0) @ (gaps - 2.0)))
    return float(min(1.0, theta))


def _intervals_run_length(times: Int, gaps: Int) -> int:
    """The run length that at most ⌊θN⌋ gaps exceed, fewer where gaps tie, so that equal gaps are treated alike."""
    if times.size < 2:
        return 1
    between = math.floor(_intervals(times) * times.size)
    return 0 if between >= gaps.size else int(np.sort(gaps)[::-1][between])
