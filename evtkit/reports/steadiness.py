"""Do extremes come evenly over time? Counts a year, by the month, and tests of a constant rate and size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, ndtr

from evtkit._common.results import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int
    from evtkit.dated import Dates

__all__ = ["Steadiness", "steadiness"]

_PARTS = 10  # of a series without dates
_FEWEST = 5.0  # extremes expected in a part, at least, for the test of dispersion


@dataclass(frozen=True, eq=False, repr=False)
class Steadiness(Result):
    """How extremes are spread over time; one row a year, or a tenth of the series where it has no dates.

    Attributes
    ----------
    part : ndarray of int64
        Years, or tenths of the series from 1.
    found : ndarray of int64
        Extremes in each.
    expected : ndarray of float64
        At a constant rate an observation.
    p_trend : float
        Probability of extremes so early or so late, on average, at a constant rate: a normal test of their mean place
        among the observations.
    p_spread : float
        Probability of counts so uneven at a constant rate of independent extremes (χ² of parts in which at least 5 are
        expected, neighbours joined); NaN with fewer than two.
    p_size : float
        Probability of so large a rank correlation of size and time (Kendall 1938), if there is none; NaN with fewer
        than 5 extremes.
    p_season : float
        As `p_spread`, of the months of the year; NaN without dates.
    by_month : ndarray of int64, shape (12,), or None
        Extremes in each month of the year, if there are dates.
    expected_by_month : ndarray of float64, shape (12,), or None
        At a constant rate an observation.
    """

    part: Int
    found: Int
    expected: Float
    p_trend: float
    p_spread: float
    p_size: float
    p_season: float = math.nan
    by_month: Int | None = None
    expected_by_month: Float | None = None


def steadiness(extreme: Bool, present: Bool, size: Float, dates: Dates | None = None) -> Steadiness:
    """How extremes are spread over the observations of a series.

    Parameters
    ----------
    extreme, present : ndarray of bool, shape (n,)
        Which observations are extremes, and which are there at all.
    size : ndarray of float64, shape (n,)
        The observations.
    dates : Dates, optional
        When they were made.

    Returns
    -------
    Steadiness

    Examples
    --------
    >>> x = np.random.default_rng(0).exponential(size=5000)
    >>> found = steadiness(x > 4.0, x > 0.0, x)
    >>> print(f"{found.found.sum()} extremes, p = {found.p_trend:.2f}")
    110 extremes, p = 0.45
    """
    extreme, size = extreme[present], size[present]
    n, many = extreme.size, int(np.count_nonzero(extreme))
    clock = None if dates is None else dates.local()[present]
    if clock is None:
        part = np.minimum(np.arange(n) * _PARTS // max(n, 1), _PARTS - 1) + 1
    else:
        part = clock.astype("M8[Y]").astype(np.int64) + 1970
    names, place = np.unique(part, return_inverse=True)
    found, expected = _counts(place, extreme, names.size)
    at = np.flatnonzero(extreme)
    p_trend = p_size = math.nan
    if many:
        z = (np.mean(at + 0.5) / n - 0.5) * math.sqrt(12.0 * many)
        p_trend = float(2.0 * ndtr(-abs(z)))
    if many >= _FEWEST:
        from scipy.stats import kendalltau  # deferred, for importing it takes long

        p_size = float(kendalltau(at, size[extreme]).pvalue)
    spread = _spread(found, expected)
    if clock is None:
        return Steadiness(names, found, expected, p_trend, spread, p_size)
    months = _counts(clock.astype("M8[M]").astype(np.int64) % 12, extreme, 12)
    return Steadiness(names, found, expected, p_trend, spread, p_size, _spread(*months), *months)


def _counts(place: NDArray[np.int64], extreme: Bool, parts: int) -> tuple[Int, Float]:
    there = np.bincount(place, minlength=parts)
    found = np.bincount(place[extreme], minlength=parts)
    return found, there * found.sum() / max(there.sum(), 1)


def _spread(found: Int, expected: Float) -> float:
    """χ² over parts joined until each has enough."""
    total, cells = [0.0, 0.0], []
    for f, e in zip(found, expected, strict=True):
        total = [total[0] + f, total[1] + e]
        if total[1] >= _FEWEST:
            cells.append(total)
            total = [0.0, 0.0]
    if len(cells) < 2:
        return math.nan
    cells[-1] = [cells[-1][0] + total[0], cells[-1][1] + total[1]]
    f, e = np.array(cells).T
    return float(chdtrc(len(cells) - 1, ((f - e) ** 2 / e).sum()))
