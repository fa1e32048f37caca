"""Which extremes of a calibration sample stand apart from the rest of its tail, and had better be left out?

Two tests, of two strengths. `isolated` looks for holes that a tail would hardly leave, in data that are contaminated by
nature: training rows, scores. `gross_outliers` is what `evtkit.fit_tail` asks of all data unless it is told otherwise:
it finds only what no tail explains, and clean samples of any distribution with a tail index pass it.
"""

from __future__ import annotations

from evtkit.cleaning.gross import gross_outliers
from evtkit.cleaning.holes import fit_censored, isolated

__all__ = ["fit_censored", "gross_outliers", "isolated"]
