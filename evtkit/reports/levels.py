"""Return levels of a report: with limits by several methods, and as levels that clusters reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit.reports.case import CLUSTERED, extremal_index_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit.reports.case import Case

__all__ = ["Level", "levels_of"]

_YEARS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_METHODS = ("bartlett", "profile", "delta")


@dataclass(frozen=True)
class Level:
    """The level of one return period.

    Attributes
    ----------
    period : float
        The period, in what the report counts.
    estimate : float
        The level that observations, or events, exceed once in it on average.
    limits : dict of str to (float, float)
        Its lower and upper limits by method: "bartlett", "profile" and "delta".
    predictive : float
        The level that the next one exceeds with the probability one over the period.
    event : (float, float, float), or None
        Where exceedances come in clusters and are not declustered: the level that clusters reach once in the period,
        with its limits.
    """

    period: float
    estimate: float
    limits: dict[str, tuple[float, float]]
    predictive: float
    event: tuple[float, float, float] | None = None

    @property
    def lower(self) -> float:
        """Lower limit by the corrected profile likelihood."""
        return self.limits["bartlett"][0]

    @property
    def upper(self) -> float:
        """Upper limit, likewise."""
        return self.limits["bartlett"][1]


def levels_of(case: Case, periods: Sequence[float] | None, per: str | float) -> list[Level]:
    """Levels of return periods, by default of those whose level lies beyond the threshold; none without a fit."""
    tail = case.tail
    unit = tail.observations_per(per)
    if periods is None:
        shortest = float(tail.n / max(int(tail.n_excess), 1)) / unit
        grid = _YEARS if isinstance(per, str) else [10.0**k for k in range(1, 1 + int(np.log10(10.0 * float(tail.n))))]
        periods = [m for m in grid if m > 1.01 * shortest]
    if not tail.is_fitted or not len(periods):
        return []
    theta = extremal_index_of(case)
    found = {name: tail.return_level(periods, interval=case.level, per=per, method=name) for name in _METHODS}
    nexts = np.asarray(tail.isf(1.0 / (np.asarray(periods, dtype=np.float64) * unit)))
    events: list[tuple[float, float, float] | None] = [None] * len(periods)
    if case.clusters is None and theta < CLUSTERED:
        by_event = tail.return_level(periods, interval=case.level, per=per, extremal_index=theta)
        columns = (by_event.estimate.tolist(), by_event.lower.tolist(), by_event.upper.tolist())
        events = list(zip(*columns, strict=True))
    estimates = found["bartlett"].estimate.tolist()
    return [
        Level(
            float(m), estimates[i], {name: (float(f.lower[i]), float(f.upper[i])) for name, f in found.items()},
            float(nexts[i]), events[i],
        )
        for i, m in enumerate(periods)
    ]  # fmt: skip
