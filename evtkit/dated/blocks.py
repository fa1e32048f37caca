"""Block maxima: the largest value of each year, month or other block of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit.dated.dates import Dates, duration, shown
from evtkit.dated.reading import dated_values
from evtkit.dated.rhythm import DAY, MONTHS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float, Int

__all__ = ["BlockMaxima", "block_maxima"]

_LENGTHS = {"Y": 12, "YS": 12, "YE": 12, "A": 12, "AS": 12, "Q": 3, "QS": 3, "QE": 3, "M": 1, "MS": 1, "ME": 1}
_LISTED = 5


@dataclass(frozen=True, eq=False)
class BlockMaxima(Result):
    """Maxima of the blocks that are complete enough, in order of time.

    Attributes
    ----------
    start, stop : ndarray of datetime64[us], shape (blocks,)
        When each block begins, and when the next one does. All times are as the clock of the time zone shows them, if
        there is one.
    value : ndarray of float64, shape (blocks,)
        The largest observation; with ``side="lower"`` the smallest.
    time : ndarray of datetime64[us], shape (blocks,)
        When it was made.
    n : ndarray of int64, shape (blocks,)
        Observations in the block.
    share : ndarray of float64, shape (blocks,)
        Their share of what there should be. Of a record without a rhythm the share of the block that it covers.
    block : str
        The blocks' length, as it was asked for.
    left_out : tuple of str
        The blocks that were left out, and why.

    See Also
    --------
    block_maxima : makes it.
    evtkit.gev.fit_gev : fits them.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.dated import block_maxima
    >>> days = np.arange("2001-01-01", "2011-01-01", dtype="datetime64[D]")
    >>> level = np.random.default_rng(0).gumbel(size=len(days))
    >>> block_maxima(level, "YS", time=days)
    BlockMaxima(10 blocks of 'YS', 0 left out)
    """

    start: NDArray[np.datetime64]
    stop: NDArray[np.datetime64]
    value: Float
    time: NDArray[np.datetime64]
    n: Int
    share: Float
    block: str
    left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a line each."""
        more = len(self.left_out) - _LISTED
        return (*self.left_out[:_LISTED], *([f"and {more:,} blocks more"] if more > 0 else []))

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        head = f"BlockMaxima({len(self)} blocks of {self.block!r}, {len(self.left_out)} left out)"
        return "\n".join([head, *(f"  note: {line}" for line in self.notes)])


def block_maxima(
    x: Any, block: str = "YS", *, time: Any = None, complete: float = 0.9, side: str = "upper"
) -> BlockMaxima:
    """The largest observation of each block of time.

    A block that lacks observations has a maximum that may be too small, so it is left out, and said. What a block
    should have follows from the rhythm of the record: in a record of winters, a year is complete with its winter.

    Parameters
    ----------
    x : data frame, series, or array_like, shape (n,)
        Dated observations of one channel; NaN is missing.
    block : str
        "YS" for years, "YS-OCT" for years that begin in October, "QS" for quarters, "MS" for months, each as pandas
        has them; or a length of time such as "7d", counted from the midnight before the first observation.
    time : str or array_like, optional
        The column of dates, or the dates, as in `evtkit.fit_tail`.
    complete : float in [0, 1]
        The share of its observations that a block must have.
    side : {"upper", "lower"}
        Maxima or minima.

    Returns
    -------
    BlockMaxima
        `evtkit.gev.fit_gev` fits its `value`.

    Raises
    ------
    ValueError
        If there are no dates or several channels, an argument is none of these, or no block is complete.

    Examples
    --------
    >>> days = np.arange("1990-03-01", "1999-01-01", dtype="datetime64[D]")
    >>> block_maxima(np.random.default_rng(0).gumbel(size=days.size), "YS", time=days)
    BlockMaxima(8 blocks of 'YS', 1 left out)
      note: 1990-01-01 left out: 306 of 365 observations
    """
    values, dates, _ = dated_values(x, time, nulls=True)
    if dates is None:
        raise ValueError("x must have dates: a series or data frame with them, or time=")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not values.size:
        raise ValueError(f"x must be one series of shape (n,), got shape {values.shape}")
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
    if not 0.0 <= complete <= 1.0:
        raise ValueError(f"complete must lie in [0, 1], got {complete}")
    if np.any(np.isinf(values)):
        raise ValueError("x must be finite, got an infinite value")
    clock = dates.local()
    edges = _edges(block, clock)
    place = np.searchsorted(edges, clock, side="right") - 1
    there = ~np.isnan(values)
    sign = 1.0 if side == "upper" else -1.0
    n = np.bincount(place[there], minlength=len(edges) - 1)
    share = _shares(Dates(np.sort(clock)), edges, n)
    order = np.lexsort((-np.arange(values.size), sign * np.nan_to_num(values, nan=-sign * np.inf), place))
    last = np.searchsorted(place[order], np.arange(len(edges) - 1), side="right") - 1
    kept = np.flatnonzero((share >= complete) & (n > 0))
    peak = order[last[kept]]
    left_out = tuple(
        f"{shown(edges[i])} left out: {_said(n[i], share[i])}" for i in range(len(n)) if i not in set(kept.tolist())
    )
    if not kept.size:
        raise ValueError(f"no block of {block!r} is complete: {left_out[0]}; lower `complete` to keep it")
    return BlockMaxima(
        start=edges[kept], stop=edges[kept + 1], value=values[peak].astype(np.float64), time=clock[peak], n=n[kept],
        share=share[kept], block=block, left_out=left_out,
    )  # fmt: skip


def _said(n: int, share: float) -> str:
    return f"{n:,} of {n / share:,.0f} observations" if share > 0.0 else "no observation"


def _edges(block: str, clock: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The beginnings of all blocks, and the end of the last."""
    first, last = clock.min(), clock.max()
    if match := re.fullmatch(r"(\d*)([A-Z]+)(?:-([A-Z]{3}))?", block.upper()):
        names = [name.upper() for name in MONTHS]
        length = int(match[1] or 1) * _LENGTHS.get(match[2], 0)
        if length and (match[3] is None or match[3] in names):
            anchor = names.index(match[3]) if match[3] else 0
            if match[3] and match[2].endswith("E"):  # the last month of a block
                anchor += 1
            begin, end = (t.astype("M8[M]").astype(np.int64) - anchor for t in (first, last))
            months = np.arange(begin // length * length, end // length * length + 2 * length, length) + anchor
            return np.asarray(months.astype("M8[M]").astype("M8[us]"))
    step = duration(block, "block")
    begin, end = first.astype(np.int64) // DAY * DAY, last.astype(np.int64)
    return np.asarray(np.arange(begin, end + 1 + step, step).astype("M8[us]"))


def _shares(clock: Dates, edges: NDArray[np.datetime64], n: Int) -> Float:
    """The share of its observations that each block has."""
    at, r = edges.astype(np.int64), clock.rhythm
    if not r.is_regular:
        first, last = clock.time[[0, -1]].astype(np.int64)
        return np.asarray(np.clip((np.minimum(at[1:], last) - np.maximum(at[:-1], first)) / np.diff(at), 0.0, 1.0))
    phase = int(clock.time[0].astype(np.int64))
    expected = np.array([r.expected(int(a), int(b), phase) for a, b in pairwise(at)])
    return np.where(expected > 0.0, np.minimum(n / np.maximum(expected, 1.0), 1.0), (n > 0).astype(np.float64))
