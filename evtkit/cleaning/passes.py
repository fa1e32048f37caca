"""Contaminated data cleaned again and again: what lies beside a group stands apart only once that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.cleaning.gross import gross_outliers
from evtkit.cleaning.holes import FROM, isolated

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["standing_apart"]

_ALPHAS = 0.005, 0.0005, 0.0005  # of the passes: the first as `isolated` has it, the others surer


def standing_apart(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the observations (n,), extremes large and none missing, stand apart by either test of this package."""
    left = np.arange(len(x))
    for alpha in _ALPHAS:
        apart = isolated(x[left], quantile=FROM, alpha=alpha) | gross_outliers(x[left])
        left = left[~apart]
        if not np.any(apart):
            break
    out = np.ones(len(x), dtype=bool)
    out[left] = False
    return out
