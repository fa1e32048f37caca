"""What a report is about: a series, its tail, and what both imply."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit.dependence import Clusters, extremal_index, extremal_index_interval
from evtkit.reports.steadiness import Steadiness, steadiness
from evtkit.reports.wording import number

if TYPE_CHECKING:
    from evtkit._common.types import Float
    from evtkit.dated import Dates
    from evtkit.tail import Tail

__all__ = [
    "CLUSTERED",
    "DOUBTFUL",
    "Case",
    "data_hash",
    "extremal_index_of",
    "limits_of_extremal_index",
    "steadiness_of",
]

DOUBTFUL = 0.05
"""p-values below which the text says so."""

CLUSTERED = 0.9
"""Extremal index below which exceedances are said to come together."""


@dataclass(frozen=True, eq=False)
class Case:
    """All that the sections tell of: the series, its tails before and after declustering, and how to speak of it."""

    values: Float
    dates: Dates | None
    tail: Tail
    every: Tail
    clusters: Clusters | None
    chosen: str
    label: str
    unit: str
    level: float

    @property
    def sign(self) -> float:
        """1 for an upper tail, −1 for a lower one."""
        return 1.0 if self.tail.side == "upper" else -1.0

    def quantity(self, value: float, digits: int = 4) -> str:
        """A value with its unit."""
        return f"{number(value, digits)} {self.unit}".rstrip()


def data_hash(case: Case) -> str:
    """SHA-256 of the values in order of time, and of their times in microseconds, little-endian."""
    digest = hashlib.sha256(np.ascontiguousarray(case.values, dtype="<f8").tobytes())
    if case.dates is not None:
        digest.update(np.ascontiguousarray(case.dates.time.astype(np.int64), dtype="<i8").tobytes())
    return digest.hexdigest()


def extremal_index_of(case: Case) -> float:
    """The extremal index of the exceedances; 1 where there are too few to say."""
    theta = float(extremal_index(case.sign * case.values, case.sign * float(case.every.threshold)))
    return 1.0 if math.isnan(theta) else theta


def limits_of_extremal_index(case: Case) -> tuple[float, float]:
    """Its limits, by a bootstrap of clusters; NaN where there are too few."""
    found = extremal_index_interval(
        case.sign * case.values, case.sign * float(case.every.threshold), level=case.level
    )  # fmt: skip
    return float(found.lower), float(found.upper)


def steadiness_of(case: Case) -> Steadiness:
    """How evenly the extremes come, or the peaks of their clusters."""
    present = ~np.isnan(case.values)
    extreme = np.zeros(case.values.size, dtype=bool)
    if case.clusters is not None:
        extreme[case.clusters.peak] = True
    else:
        extreme[present] = case.sign * (case.values[present] - float(case.tail.threshold)) > 0.0
    return steadiness(extreme, present, case.sign * case.values, case.dates)
