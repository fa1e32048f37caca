"""Tails of named columns: fitted where values are missing, with return levels, and loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.sketch import TailSketch
from evtkit.tail import Tail

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from evtkit._common.types import Float

__all__ = ["fit_columns", "load", "return_level"]


def fit_columns(
    values: Float, columns: Sequence[str], *, side: str = "upper", method: str = "mle", **rule: Any
) -> Tail:
    """Fit every column of (rows, columns) to the values it has: NaN is missing. `rule` is as in `evtkit.fit_tail`.

    All values are kept in order, so probabilities are known below the threshold too.
    """
    if len(values) == 0:
        raise ValueError("there are no rows to fit")
    for name, column in zip(columns, values.T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"column {name!r} has no values, all {len(values)} are missing")
    sketch = TailSketch(len(columns), len(values), nonfinite="count")
    sign = 1.0 if side == "upper" else -1.0
    sketch.update(sign * values)
    if rule.get("threshold") is not None:
        rule["threshold"] = sign * rule["threshold"]
    tail = sketch.fit(method=method, **rule)
    return replace(
        tail, threshold=sign * tail.threshold, mean=sign * tail.mean, largest=sketch.largest(), side=side,
        names=np.array(columns, dtype=np.str_),
    )  # fmt: skip


def return_level(tail: Tail, period: float, confidence: float) -> tuple[Float, Float, Float]:
    """The level exceeded once in `period` observations, with its profile-likelihood limits, a column.

    Limits are NaN where there are none: a level below the threshold is an observation, and only maximum-likelihood fits
    have a profile.
    """
    from evtkit.intervals import return_level_interval

    limits = np.full((2, len(tail)), np.nan)
    rate = tail.n_excess / tail.n
    bounded = tail.is_fitted & (rate * period > 1.0) & (tail.method == "mle")
    if bounded.any():
        interval = return_level_interval(tail.excesses[:, bounded], period, rate=rate[bounded], level=confidence)
        reach, u = np.array([interval.lower, interval.upper]), tail.threshold[bounded]
        limits[:, bounded] = u + reach if tail.side == "upper" else (u - reach)[::-1]
    return tail.return_level(period), limits[0], limits[1]


def load(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> Tail:
    """A saved tail of named columns, of all or of these in this order."""
    tail = Tail.load(path)
    if tail.names is None or not tail.names.ndim:
        raise ValueError(f"{path} has no names of columns; fit a data frame, or use `evtkit fit --save`")
    return tail[list(columns)] if columns else tail
