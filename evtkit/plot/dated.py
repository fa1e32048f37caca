"""A series over time: its observations, those beyond the threshold, the gaps; and how many came in each year."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import pdtrik

from evtkit.dated.reading import dated_values
from evtkit.plot._axes import BAND, MARK, MODEL, along_dates, axes, ink, literal, long_line, quantity, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Int
    from evtkit.dated import Dates

__all__ = ["counts", "series"]


def series(
    x: ArrayLike,
    threshold: float,
    ax: Axes | None = None,
    *,
    marked: Int | None = None,
    side: str = "upper",
    time: str | Dates | ArrayLike | None = None,
    label: str = "value",
    unit: str = "",
) -> Axes:
    """A series with its threshold; what is beyond it is marked, and gaps of the dates are shaded.

    Parameters
    ----------
    x : array_like, shape (n,)
        Observations; NaN is missing.
    threshold : float
        In the units of the data.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    marked : array of int, optional
        Which observations to mark, such as `Clusters.peak`; by default those beyond the threshold.
    side : {"upper", "lower"}
        Which side of the threshold is beyond it.
    time : str or array_like, optional
        The dates, as in `evtkit.fit_tail`; without any the observations are counted.
    label, unit : str
        Name and unit of the observations.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If x is not one series.

    Examples
    --------
    >>> from evtkit import plot
    >>> days = np.arange("2001-01-01", "2003-01-01", dtype="datetime64[D]")
    >>> x = np.random.default_rng(0).exponential(size=days.size)
    >>> plot.series(x, 4.0, time=days, label="rain", unit="mm").get_ylabel()
    'rain [mm]'
    """
    values, dates, _ = dated_values(x, time, nulls=True)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    values = values.astype(np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"x must be one series of shape (n,), got shape {values.shape}")
    ax = axes(ax, 9.6, 3.6)
    when: NDArray[np.generic] = np.arange(values.size)
    if dates is None:
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.set_xlabel("observation")
    else:
        when = dates.local()
        along_dates(ax)
        for start, stop, _ in dates.gaps[:50]:
            ax.axvspan(start, stop, color=ink(ax), alpha=0.5 * BAND, linewidth=0)  # type: ignore[arg-type]
    if marked is None:
        with np.errstate(invalid="ignore"):
            marked = np.flatnonzero(values > threshold if side == "upper" else values < threshold)
    shown, y = when, values
    if dates is not None and dates.rhythm.is_regular:  # no line through what is not there
        steps = np.diff(dates.time.astype(np.int64)).astype(np.float64)
        holes = np.flatnonzero(steps > 1.5 * max(dates.rhythm.step, float(np.median(steps)))) + 1
        shown, y = np.insert(when, holes, when[holes]), np.insert(y, holes, np.nan)
    long_line(ax, shown, y, color=ink(ax), alpha=0.6, linewidth=0.6)
    ax.axhline(threshold, color=MODEL, linewidth=1.2)
    ax.plot(when[marked], values[marked], "o", color=MARK, markersize=3, markeredgewidth=0)
    ax.set(ylabel=quantity(label, unit), xlim=(when[0], when[-1]))
    quiet(ax)
    return ax


def counts(expected: ArrayLike, found: ArrayLike, names: ArrayLike, ax: Axes | None = None) -> Axes:
    """How many extremes came in each year or month, and between which numbers chance keeps 95 % of them.

    Parameters
    ----------
    expected, found : array_like, shape (n,)
        How many are expected at a constant rate, and how many there were.
    names : array_like, shape (n,)
        Of the years or months; numbers are drawn to scale.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> from evtkit import plot
    >>> plot.counts([3, 3, 3], [2, 5, 1], [2001, 2002, 2003]).get_ylabel()
    'extremes'
    """
    mean, bars = np.asarray(expected, dtype=np.float64), np.asarray(found)
    ax = axes(ax, 9.6, 2.6)
    at = np.asarray(names)
    places = at if at.dtype.kind in "iuf" else np.arange(at.size)
    known = np.maximum(mean, 1e-9)
    low, high = (np.maximum(np.ceil(pdtrik(p, known)), 0.0) for p in (0.025, 0.975))
    ax.bar(places, bars, color=MODEL, width=0.75, alpha=0.85)
    edges = np.concatenate([places - 0.5, places[-1:] + 0.5])
    ax.stairs(high + 0.5, edges, baseline=np.maximum(low - 0.5, 0.0), fill=True, color=ink(ax), alpha=0.6 * BAND)
    ax.stairs(mean, edges, baseline=None, color=ink(ax), linewidth=1.0)
    if places is not at:
        ax.set_xticks(places, [literal(str(name)) for name in at])
    elif at.dtype.kind in "iu":
        ax.locator_params(axis="x", integer=True)
    ax.set(ylabel="extremes", xlim=(edges[0], edges[-1]))
    quiet(ax)
    return ax
