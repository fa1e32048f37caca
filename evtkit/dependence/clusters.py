"""Declustering: exceedances that belong together, and the peak of each cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit.dated.dates import duration
from evtkit.dated.reading import dated_values
from evtkit.dependence.exceedances import exceedance_times, streams_of
from evtkit.dependence.index import check_run_length, intervals_run_length

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.dated import Dates

__all__ = ["Clusters", "decluster"]


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
        Index of the most extreme value of each, the first of equal ones.
    peak_value : ndarray of float64
        That value.
    threshold : float
        Threshold u.
    run_length : int
        Clusters are separated by at least so many consecutive values that are not beyond u; 0 where every exceedance
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
    side : str
        "upper", or "lower" where exceedances are values below u.

    See Also
    --------
    decluster : makes it.
    evtkit.fit_tail : takes clusters of a dated series for its events.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.dependence import decluster
    >>> x = np.random.default_rng(0).gumbel(size=5002)
    >>> x = np.lib.stride_tricks.sliding_window_view(x, 3).max(axis=1)  # each surge lasts three days
    >>> clusters = decluster(x, 5.0, run_length=2)
    >>> clusters
    Clusters(32 of 98 exceedances of 5 among 5,000 observations)
    >>> clusters.peak[:3], clusters.size[:3]
    (array([  9, 194, 267]), array([3, 3, 3]))
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
    side: str = "upper"

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
        what = "exceedances of" if self.side == "upper" else "values below"
        return (
            f"Clusters({len(self)} of {self.size.sum():,} {what} {self.threshold:.6g} among {self.n:,} "
            f"observations{often})"
        )


def decluster(
    x: ArrayLike,
    threshold: float,
    *,
    run_length: int | None = None,
    span: Any = None,
    time: str | Dates | ArrayLike | None = None,
    column: str | None = None,
    side: str = "upper",
) -> Clusters:
    """Group the exceedances of a stream into clusters, and find each cluster's peak.

    Parameters
    ----------
    x : array_like, (n,), or data frame
        A stationary stream in order of time. NaN is a gap in the record, in which time goes on: two exceedances on
        either side of it are of one cluster only if fewer than `run_length` places, NaN among them, lie between. Of a
        data frame with several columns the others are companions: their values at the time of each peak.
    threshold : float
        Threshold u; exceedances are x > u, on the lower side x < u.
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
    side : {"upper", "lower"}
        Which exceedances: "lower" gathers low values, and a peak is the lowest of its cluster.

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
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
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
    values = streams_of(values)
    signed = values if side == "upper" else -values
    found = exceedance_times(signed, threshold if side == "upper" else -threshold)
    times, gaps = found.times, np.diff(found.times)
    if span is not None:
        if dates is None or run_length is not None:
            raise ValueError(f"span needs {'dates' if dates is None else 'no run_length'}; got span={span!r}")
        gaps, longest = np.diff(dates.beat[times].astype(np.int64)), duration(span)
        run_length = 0
    elif run_length is None:
        run_length = longest = intervals_run_length(found.seen)
    else:
        check_run_length(run_length)
        longest = run_length
    present = values[~np.isnan(values)]
    mean = float(present.mean()) if present.size else math.nan
    first = np.concatenate([[0], np.flatnonzero(gaps > longest) + 1]) if times.size else np.empty(0, dtype=np.int64)
    last = np.append(first[1:], times.size) if times.size else first
    peak = np.array([times[a + np.argmax(signed[times[a:b]])] for a, b in zip(first, last, strict=True)], np.int64)
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
        side=side,
    )
