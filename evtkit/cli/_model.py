"""Tails of named columns: fitted where values are missing, with return levels, and loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.dated import Dates
from evtkit.peaks import fit_tail
from evtkit.tail import Tail

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from evtkit._common.tables import Table
    from evtkit._common.types import Float

__all__ = ["dates_of", "fit_columns", "load", "return_level"]


def fit_columns(
    values: Float, columns: Sequence[str], dates: Dates | None = None, /, *, side: str = "upper", method: str = "mle",
    **how: Any,
) -> Tail:  # fmt: skip
    """Fit every column of (rows, columns) to the values it has: NaN is missing. `how` is as in `fit_tail`."""
    if len(values) == 0:
        raise ValueError("there are no rows to fit")
    for name, column in zip(columns, values.T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"column {name!r} has no values, all {len(values)} are missing")
    if len(values) == 1:
        raise ValueError("a tail needs two rows at least, for a threshold and an excess, got 1")
    tail = fit_tail(values, side=side, method=method, missing="drop", time=dates, **how)
    return replace(tail, names=np.array(columns, dtype=np.str_))


def dates_of(table: Table) -> Dates | None:
    """The dates of a table's rows, in their order."""
    return None if table.time is None else Dates(table.time, table.zone)


def return_level(tail: Tail, period: float, confidence: float, per: str | float = 1.0) -> tuple[Float, Float, Float]:
    """The level exceeded once in `period` times `per`, with its profile-likelihood limits, a column.

    Limits are NaN where there are none: a level below the threshold is an observation, and only maximum-likelihood fits
    have a profile.
    """
    if tail.method != "mle":
        none = np.full(len(tail), np.nan)
        return tail.return_level(period, per=per), none, none
    found = tail.return_level(period, interval=confidence, per=per)
    return found.estimate, found.lower, found.upper


def load(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> Tail:
    """A saved tail of named columns, of all or of these in this order."""
    tail = Tail.load(path)
    if tail.names is None or not tail.names.ndim:
        raise ValueError(f"{path} has no names of columns; fit a data frame, or use `evtkit fit --save`")
    return tail[list(columns)] if columns else tail
