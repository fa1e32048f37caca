"""The extremal index by counting and by times between exceedances, its limits, and declustering."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array, whole_number
from evtkit._common.results import Result
from evtkit.dated.dates import duration
from evtkit.dated.reading import dated_values
from evtkit.fit import FitStatus
from evtkit.intervals import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.dated import Dates

__all__ = [
    "Clusters",
    "Times",
    "bootstrap_index",
    "decluster",
    "exceedance_times",
    "extremal_index",
    "extremal_index_interval",
    "streams_and_levels",
]


@dataclass(frozen=True, eq=False)
class Clusters(Result):
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
        is a cluster of its own, or where they are separated by time.
    n : int
        Observations of the stream.
    mean, variance : float
        Of them, with ddof = 1.
    dates : Dates, or None
        When they were made.
    companions : dict of str to ndarray, shape (clusters,)
        The other columns of the data frame at the time of the peaks.
    name : str, or None
        The name of the stream.
    """

    start: Int
    stop: Int
    size: Int
    peak: Int
    peak_value: Float
    threshold: float
    run_length: int
    n: int = 0
    mean: float = math.nan
    variance: float = math.nan
    dates: Dates | None = None
    companions: dict[str, NDArray[Any]] = field(default_factory=dict)
    name: str | None = None

    @property
    def time(self) -> NDArray[np.datetime64]:
        """When the peaks were, shape (clusters,); as a clock in the time zone shows it. ValueError without dates."""
        if self.dates is None:
            raise ValueError("clusters have no dates; decluster a series with dates, or give time=")
        return self.dates.local()[self.peak]

    @property
    def per_year(self) -> float:
        """Clusters a year; ValueError without dates."""
        if self.dates is None:
            raise ValueError("clusters have no dates; decluster a series with dates, or give time=")
        return len(self) / self.n * self.dates.per_year

    def _table(self) -> dict[str, Any]:
        """Clusters with their peaks, when those were, and what was beside them."""
        table: dict[str, Any] = {}
        if self.dates is not None:
            clock = self.dates.local()
            table = {"time": self.time, "begin": clock[self.start], "end": clock[self.stop - 1]}
        table |= {self.name or "peak_value": self.peak_value, "size": self.size, "peak": self.peak,
                  "start": self.start, "stop": self.stop}  # fmt: skip
        return table | {name if name not in table else f"{name}_beside": v for name, v in self.companions.items()}

    def __len__(self) -> int:
        return len(self.peak)

    def __repr__(self) -> str:
        often = "" if self.dates is None else f", {self.per_year:.3g} a year"
        return (
            f"Clusters({len(self)} of {self.size.sum():,} exceedances of {self.threshold:.6g} among {self.n:,} "
            f"observations{often})"
        )


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
        _check_run_length(run_length)
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


def decluster(
    x: ArrayLike,
    threshold: float,
    *,
    run_length: int | None = None,
    span: Any = None,
    time: str | Dates | ArrayLike | None = None,
    column: str | None = None,
) -> Clusters:
    """Group the exceedances of a stream into clusters, and find each cluster's peak.

    Parameters
    ----------
    x : array_like, (n,), or data frame
        A stationary stream in order of time. NaN is a gap in the record, in which time goes on: two exceedances on
        either side of it are of one cluster only if fewer than `run_length` places, NaN among them, lie between. Of a
        data frame with several columns the others are companions: their values at the time of each peak.
    threshold : float
        Threshold u; exceedances are x > u.
    run_length : int, optional
        Runs declustering with this run length. Without it, intervals declustering (Ferro & Segers 2003, section 4):
        with the intervals estimator θ and N exceedances, the ⌊θN⌋ largest times between exceedances separate clusters,
        and fewer where the next one equals the last of them.
    span : str or timedelta, optional
        Instead of a run length, a length of time such as "48h": exceedances that follow each other by at most so much
        are one cluster. It needs dates, and takes their gaps for what they are.
    time : str or array_like, optional
        The column of dates, or the dates, as in `evtkit.fit_tail`.
    column : str, optional
        The column of a data frame with several.

    Returns
    -------
    Clusters
        `evtkit.fit_tail` fits them as events, at their rate.

    Raises
    ------
    ValueError
        As `extremal_index`; also where x is not one stream, or a span is given without dates or with a run length.

    Examples
    --------
    >>> clusters = decluster([0, 5, 6, 0, 0, 0, 7, 0, 0, 4], threshold=3, run_length=2)
    >>> clusters.peak_value
    array([6., 7., 4.])
    >>> clusters.size
    array([2, 1, 1])
    >>> days = np.arange("2001-01-01", "2001-01-11", dtype="datetime64[D]")
    >>> decluster([0, 5, 6, 0, 0, 0, 7, 0, 0, 4], threshold=3, span="48h", time=days).peak_value
    array([6., 7., 4.])
    """
    if np.isnan(threshold):
        raise ValueError("threshold must be a number, got nan")
    values, dates, labels = dated_values(x, time, nulls=True)
    name, companions = None if labels is None else labels.name, {}
    if labels is not None and labels.columns is not None:
        if column is None and len(labels.columns) == 1:
            column = labels.columns[0]
        if column not in labels.columns:
            raise ValueError(f"column must be one of {', '.join(map(repr, labels.columns[:12]))}, got {column!r}")
        name, beside = column, dict(zip(labels.columns, values.T, strict=True))
        values = beside.pop(column)
        companions = beside
    if values.ndim != 1:
        raise ValueError(f"x must be one stream of shape (n,), got shape {values.shape}")
    values = _streams(values)
    found = exceedance_times(values, threshold)
    times, gaps = found.times, np.diff(found.times)
    if span is not None:
        if dates is None or run_length is not None:
            raise ValueError(f"span needs {'dates' if dates is None else 'no run_length'}; got span={span!r}")
        gaps, longest = np.diff(dates.time[times].astype(np.int64)), duration(span)
        run_length = 0
    elif run_length is None:
        run_length = longest = _intervals_run_length(found.seen)
    else:
        _check_run_length(run_length)
        longest = run_length
    present = values[~np.isnan(values)]
    mean = float(present.mean()) if present.size else math.nan
    first = np.concatenate([[0], np.flatnonzero(gaps > longest) + 1]) if times.size else np.empty(0, dtype=np.int64)
    last = np.append(first[1:], times.size) if times.size else first
    peak = np.array([times[a + np.argmax(values[times[a:b]])] for a, b in zip(first, last, strict=True)], np.int64)
    return Clusters(
        start=times[first],
        stop=times[last - 1] + 1,
        size=last - first,
        peak=peak,
        peak_value=values[peak],
        threshold=float(threshold),
        run_length=run_length,
        n=present.size,
        mean=mean,
        variance=float(present.var(ddof=1)) if present.size > 1 else 0.0,
        dates=dates,
        companions={other: column[peak] for other, column in companions.items()},
        name=name,
    )


@dataclass(frozen=True)
class Times:
    """When one stream exceeds a threshold.

    Attributes
    ----------
    times : ndarray of int64
        Places of the exceedances.
    seen : ndarray of int64
        Times between neighbouring exceedances, missing values not counted.
    known : ndarray of int64
        Times between neighbouring exceedances with nothing missing between.
    censored : ndarray of int64
        What is known of the other times between exceedances: the part before the first missing value, and the part
        after the last one.
    between : int
        Values seen between missing ones, in these times.
    rate : float
        Exceedances a value that is not missing.
    """

    times: Int
    seen: Int
    known: Int
    censored: Int
    between: int
    rate: float


def exceedance_times(x: Float, threshold: float) -> Times:
    """Times between the exceedances of one stream, with those apart that missing values interrupt."""
    times = np.flatnonzero(x > threshold)
    missing = np.flatnonzero(np.isnan(x))
    present = x.size - missing.size
    gaps = np.diff(times)
    rate = times.size / max(present, 1)
    if not missing.size or times.size < 2:
        return Times(times, gaps, gaps, np.empty(0, dtype=np.int64), 0, rate)
    first, last = np.searchsorted(missing, times[:-1]), np.searchsorted(missing, times[1:])
    cut = last > first
    before = missing[first[cut]] - times[:-1][cut]
    after = times[1:][cut] - missing[last[cut] - 1]
    between = missing[last[cut] - 1] - missing[first[cut]] + 1 - (last[cut] - first[cut])
    parts = np.concatenate([before, after])
    return Times(times, gaps - (last - first), gaps[~cut], parts, int(between.sum()), rate)


def bootstrap_index(gaps: Int, run_length: int | None, n_boot: int, rng: np.random.Generator) -> Float:
    """Extremal indices of times that are drawn anew, cluster by cluster; none where there is one cluster only."""
    length = _intervals_run_length(gaps) if run_length is None else run_length
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


def streams_and_levels(x: ArrayLike, threshold: ArrayLike) -> tuple[Float, Float]:
    """Streams as (n,) or (n, channels), and a threshold for each channel."""
    values = _streams(x)
    levels = real_array(threshold, "threshold").astype(np.float64)
    if np.isnan(levels).any():
        raise ValueError("threshold must be a number, got nan")
    try:
        return values, np.broadcast_to(levels, values.shape[1:]).ravel()
    except ValueError:
        raise ValueError(
            f"threshold must be one number or one a channel, {values.shape[1:]}; got shape {levels.shape}"
        ) from None


def _streams(x: ArrayLike) -> Float:
    values = real_array(x, "x").astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"x must have shape (n,) or (n, channels), got {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"x must be finite, or NaN where it is missing; got {values[np.isinf(values)][0]}")
    return values


def _check_run_length(run_length: int) -> None:
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


def _intervals_run_length(gaps: Int) -> int:
    """The run length that at most ⌊θN⌋ gaps exceed, fewer where gaps tie, so that equal gaps are treated alike."""
    if not gaps.size:
        return 1
    between = math.floor(_intervals(gaps) * (gaps.size + 1))
    return 0 if between >= gaps.size else int(np.sort(gaps)[::-1][between])
