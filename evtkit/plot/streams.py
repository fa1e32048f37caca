"""A stream with its moving alarm levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from evtkit._common.checks import real_array
from evtkit.dated import Dates
from evtkit.dated.reading import as_times, dates_of
from evtkit.plot._axes import BAND, MARK, MODEL, along_dates, axes, ink, literal, long_line, quantity, quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.spot import Event, Trace

__all__ = ["stream"]

_FEW = 400  # observations that are drawn as discs too
_MANY = 100  # alarms whose discs are smaller
_REACH = 2.0  # the picture goes on beyond ordinary values by so many times their range, at the most


def stream(
    x: ArrayLike,
    trace: Trace,
    ax: Axes | None = None,
    *,
    calibration: ArrayLike = (),
    events: Iterable[Event] = (),
    time: ArrayLike | None = None,
    label: str = "value",
    unit: str = "",
    time_label: str = "time",
) -> Axes:
    """A stream, the alarm levels that it was judged by, and its alarms; the calibration sample before it is shaded.

    A long stream is drawn by the smallest and the largest value of each of 1,000 parts; alarms are drawn one by one. A
    level that is not known (no fit) leaves a gap, as a missing value does. Alarms so far out that the others could not
    be told apart are arrows at the edge.

    Parameters
    ----------
    x : array_like, shape (n,)
        The observations; NaN is missing.
    trace : Trace
        What `evtkit.Spot.trace` said of them, for one stream.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    calibration : array_like, shape (m,)
        The observations before, by which the detector was fitted.
    events : iterable of Event
        Events to be shaded, with rows counted as those of x, from 0; of those told twice the latest state counts.
    time : array_like, shape (m + n,), optional
        When: numbers, or dates, also of pandas and polars and with a time zone, whose clock is shown. By default those
        of x if it has some, else the observations are counted.
    label, unit : str
        Name and unit of the observations.
    time_label : str
        What `time` is.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the trace is of several streams.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot, plot
    >>> x = np.random.default_rng(0).standard_normal(3000)
    >>> x[2500] = 6.0
    >>> spot = Spot(risk=1e-3, side="both").fit(x[:1000])
    >>> ax = plot.stream(x[1000:], spot.trace(x[1000:]), calibration=x[:1000], label="level", unit="m")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['observed', 'alarm level', '1 alarm', 'calibration']
    """
    before, after = real_array(calibration, "calibration").astype(np.float64), real_array(x, "x").astype(np.float64)
    levels = np.asarray(trace.alarm_threshold, dtype=np.float64)
    if before.ndim != 1 or after.ndim != 1 or not after.size:
        raise ValueError(f"a picture shows one stream, shape (n,), got {after.shape} after {before.shape}")
    if trace.label.shape != after.shape or levels.shape not in ((after.size,), (after.size, 2)):
        raise ValueError(f"the trace must be of these {after.size} observations of one stream, got {levels.shape}")
    if time is None and (dates := dates_of(x)) is not None and not before.size:
        time = dates.local()
    when = np.arange(before.size + after.size) if time is None else _times(time)
    if when.shape != (before.size + after.size,):
        raise ValueError(f"time must have shape ({before.size + after.size},), got {when.shape}")
    ax, values = axes(ax, 9.6, 4.0), np.concatenate([before, after])
    if time is None:
        ax.xaxis.set_major_formatter("{x:,.0f}")
    elif np.issubdtype(when.dtype, np.datetime64):
        along_dates(ax)
    if before.size:
        end = when[before.size - 1] + (when[before.size] - when[before.size - 1]) / 2
        ax.axvspan(when[0], end, color=ink(ax), alpha=0.3 * BAND, linewidth=0)
    alarmed = before.size + np.flatnonzero(trace.label == 2)
    ordinary = values.copy()
    ordinary[alarmed] = np.nan
    long_line(ax, when, values, color=ink(ax), alpha=0.75, linewidth=0.7)
    if values.size <= _FEW:
        ax.plot(when, values, "o", color=ink(ax), markersize=2.5, markeredgewidth=0, alpha=0.65)
    sides = levels.reshape(after.size, -1).T
    for level in sides:
        long_line(ax, when[before.size :], level, color=MODEL, linewidth=1.5)
    for event in {event.id: event for event in events}.values():
        first, last = (min(before.size + row, values.size - 1) for row in (event.start, event.end))
        ax.axvspan(when[first], when[last], color=MARK, alpha=BAND, linewidth=1.0)
    low, high = _limits(ordinary, sides, values[alarmed])
    _name_hidden(ax, sides, low, high)
    _alarms(ax, when[alarmed], values[alarmed], low, high)
    ax.set(xlim=(when[0], when[-1]), ylim=(low, high), ylabel=quantity(label, unit))
    ax.set_title("Alarm levels of a stream", loc="left")
    ax.set_xlabel(literal(time_label) if time is not None else "observation")
    quiet(ax)
    _legend(ax, alarmed.size, bool(before.size))
    return ax


def _times(time: ArrayLike) -> NDArray[Any]:
    """Numbers as they are, and dates as a clock in their time zone shows them."""
    plain = np.asarray(time) if isinstance(time, np.ndarray | list | tuple | range) else None
    if plain is not None and plain.dtype.kind in "iuf":
        return plain
    return Dates(*as_times(time)).local()


def _name_hidden(ax: Axes, levels: Float, low: float, high: float) -> None:
    """Say which levels lie outside the picture, all the time."""
    for level in levels:
        finite = level[np.isfinite(level)]
        if not finite.size or (finite.max() >= low and finite.min() <= high):
            continue
        above = finite.min() > high
        text = f"alarm level {finite.min() if above else finite.max():.4g}, outside the picture"
        ax.annotate(text, (0.99, 0.98 if above else 0.02), xycoords="axes fraction", ha="right",
                    va="top" if above else "bottom", color=MODEL, fontsize="small")  # fmt: skip


def _limits(ordinary: Float, levels: Float, alarms: Float) -> tuple[float, float]:
    """What the picture must show: ordinary values, and levels and alarms that are not too far from them."""
    finite = [part[np.isfinite(part)] for part in (ordinary, alarms)]
    core = finite[0] if finite[0].size else finite[1] if finite[1].size else np.zeros(1)
    low, high = float(core.min()), float(core.max())
    for others in (levels[np.isfinite(levels)], finite[1]):
        reach = _REACH * (high - low)
        near = others[(others >= low - reach) & (others <= high + reach)]
        low, high = float(near.min(initial=low)), float(near.max(initial=high))
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


def _alarms(ax: Axes, when: NDArray[Any], y: Float, low: float, high: float) -> None:
    """Discs, and arrows at the edge for what lies beyond it."""
    style: dict[str, Any] = {"color": MARK, "linestyle": "", "zorder": 3, "clip_on": False}
    size = 5 if y.size <= _MANY else 2.5
    for shown, at, marker in ((y > high, high, "^"), (y < low, low, "v")):
        if np.any(shown):
            ax.plot(when[shown], np.full(np.count_nonzero(shown), at), marker=marker, markersize=7, **style)
    inside = (y >= low) & (y <= high)
    ax.plot(when[inside], y[inside], marker="o", markersize=size, markeredgewidth=0, **style)


def _legend(ax: Axes, alarms: int, calibrated: bool) -> None:
    count = f"{alarms:,} alarm{'s' * (alarms != 1)}"
    entries = [
        Line2D([], [], color=ink(ax), linewidth=0.9, alpha=0.75, label="observed"),
        Line2D([], [], color=MODEL, linewidth=1.5, label="alarm level"),
        Line2D([], [], color=MARK, marker="o", linestyle="", markersize=5, label=count),
    ]  # fmt: skip
    if calibrated:
        entries.append(Line2D([], [], color=ink(ax), alpha=0.3 * BAND, linewidth=7, label="calibration"))
    ax.legend(handles=entries, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, borderaxespad=0.2,
              columnspacing=1.2, handlelength=1.4)  # fmt: skip
