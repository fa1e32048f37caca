"""Candidates for a threshold, and the fits over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array
from evtkit.fit import FitStatus, GpdFit, fit_gpd, rounding_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = [
    "CANDIDATES", "Channel", "candidate_thresholds", "channels_of", "fits_above", "joined", "mid_cells", "one_channel",
    "ranked_thresholds",
]  # fmt: skip

CANDIDATES = {"forward-stop": 50, "score": 20, "discrepancy": 30, "increments": 20}
"""How many a method looks at by default, at most; see `ranked_thresholds`."""

_STEP = 1.12  # between the numbers of excesses of two candidates, at least: closer ones say the same twice
_GRID = 50
_BLOCK = 1 << 20  # excesses over all candidates that are held at a time
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


def ranked_thresholds(ordered: Float, size: int | None, most: int) -> Float:
    """Order statistics from the median on, the number of larger values in geometric progression.

    So many, or as many as differ by an eighth in the number of larger values, but at most `most`.
    """
    return ordered[_ranks(len(ordered), size, most)]


@lru_cache(256)
def _ranks(n: int, size: int | None, most: int) -> Int:
    first = max(n - 1 - n // 2, 1)
    last = min(first, _FEWEST_TESTED)
    if size is None:
        size = min(most, 1 + math.ceil(math.log(first / last) / math.log(_STEP)))
    counts = np.geomspace(first, last, size)
    ranks: Int = n - 1 - np.minimum(np.rint(counts).astype(np.int64), n - 1)
    return ranks


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


@dataclass
class Channel:
    """One channel, its candidates that can be tested, and the fits over them.

    Attributes
    ----------
    ordered : ndarray of float64
        The observations, ascending.
    u : ndarray of float64
        The candidates, ascending, up to the first over which there is no fit inside ξ > −1.
    excesses : ndarray of float64, shape (candidates, n)
        Over each; NaN in front.
    step : float
        That the data are rounded to; 0 for none.
    fit : GpdFit
        Over each candidate.
    """

    ordered: Float
    u: Float
    excesses: Float
    step: float
    fit: GpdFit

    @property
    def xi(self) -> Float:
        """Shapes."""
        return self.fit.xi

    @property
    def sigma(self) -> Float:
        """Scales."""
        return self.fit.sigma

    @property
    def n_excess(self) -> Int:
        """Numbers of excesses."""
        return self.fit.n


def channels_of(
    channels: Iterable[Float],
    thresholds: ArrayLike | None,
    resolution: float | None,
    most: int,
    size: int | None = None,
) -> Iterator[list[Channel]]:
    """Channels with their candidates and fits, some at a time: what many have in common is done at once."""
    waiting: list[tuple[Float, Float, float, Float]] = []
    held = 0
    for ordered in channels:
        given = ranked_thresholds(ordered, size, most) if thresholds is None else thresholds
        u, step = mid_cells(ordered, candidate_thresholds(ordered, given), resolution)
        largest = ordered[np.searchsorted(ordered, u[0], side="right") :]
        if waiting and (held + u.size * largest.size > _BLOCK or step != waiting[0][2]):
            yield _fitted(waiting)
            waiting, held = [], 0
        waiting.append((ordered, u, step, largest))
        held += u.size * largest.size
    if waiting:
        yield _fitted(waiting)


def _fitted(some: list[tuple[Float, Float, float, Float]]) -> list[Channel]:
    """Channels of equal step, all their fits found in one call."""
    width = max(1, *(largest.size for *_, largest in some)) if len(some) > 1 else max(1, some[0][3].size)
    ends = np.cumsum([0, *(u.size for _, u, _, _ in some)])
    rows = np.full((ends[-1], width), np.nan)
    for (_, u, _, largest), first in zip(some, ends, strict=False):
        if largest.size:
            np.subtract(largest, u[:, None], out=rows[first : first + u.size, width - largest.size :])
    rows[~(rows > 0.0)] = np.nan
    fit = fit_gpd(rows, axis=1, resolution=some[0][2])
    fine = fit.status == FitStatus.OK
    found = []
    for (ordered, u, step, largest), first in zip(some, ends, strict=False):
        own = fine[first : first + u.size]
        tested = int(np.argmin(own)) if not own.all() else u.size
        span = slice(first, first + tested)
        found.append(Channel(ordered, u[:tested], rows[span, width - max(1, largest.size) :], step, _part(fit, span)))
    return found


def joined(fits: list[GpdFit]) -> GpdFit:
    """The fits of all channels as one."""

    def whole(name: str) -> Any:
        return np.concatenate([getattr(fit, name) for fit in fits])

    return GpdFit(
        xi=whole("xi"), sigma=whole("sigma"), loglik=whole("loglik"), n=whole("n"), status=whole("status"),
        se_xi=whole("se_xi"), se_sigma=whole("se_sigma"), cov=whole("cov"), method=fits[0].method,
        resolution=whole("resolution"),
    )  # fmt: skip


def _part(fit: GpdFit, span: slice) -> GpdFit:
    """Some of many fits."""
    return GpdFit(
        xi=fit.xi[span], sigma=fit.sigma[span], loglik=fit.loglik[span], n=fit.n[span], status=fit.status[span],
        se_xi=fit.se_xi[span], se_sigma=fit.se_sigma[span], cov=fit.cov[span], method=fit.method,
        resolution=None if fit.resolution is None else fit.resolution[span],
    )  # fmt: skip
