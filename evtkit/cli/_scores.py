"""The values of a table, each with its probability."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.tables import Table
    from evtkit.tail import Tail


class Scores:
    """Probabilities of all values of a table from row `first` on, numbered row by row.

    Parameters
    ----------
    tail : Tail
        A channel for each of the table's columns.
    table : Table
        The values.
    first : int
        The first row that is scored, from 0.
    """

    def __init__(self, tail: Tail, table: Table, first: int) -> None:
        self._tail, self._columns, self._labels, self._first = tail, table.columns, table.labels, first
        self._values = table.values[first:]
        absent = np.isnan(self._values)
        self._log_sf = self._tail.logsf(np.where(absent, self._tail.threshold, self._values))
        self._log_sf[absent] = np.nan
        sign = 1.0 if self._tail.side == "upper" else -1.0
        self._excess = sign * (self._values - self._tail.threshold)
        counts = np.count_nonzero(absent, axis=0).tolist()
        self.missing_in = {name: m for name, m in zip(table.columns, counts, strict=True) if m}
        self.missing = sum(counts)
        self.unfitted = int(np.count_nonzero(~absent & ~self._tail.is_fitted))

    @cached_property
    def scored(self) -> NDArray[np.int64]:
        """The values that have a probability, row by row."""
        return np.flatnonzero(~np.isnan(self._log_sf))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The same, most improbable first."""
        return self.scored[np.argsort(self._log_sf.ravel()[self.scored], kind="stable")]

    def alarms(self, p: float) -> int:
        """How many values are more improbable than p."""
        return int(np.count_nonzero(self._log_sf.ravel()[self.scored] < math.log(p)))

    def record(self, index: int) -> dict[str, Any]:
        """One value, as in the JSON document."""
        row, channel = divmod(int(index), len(self._columns))
        log_sf = float(self._log_sf[row, channel])
        return {
            "row": self._first + row + 1,
            "label": None if self._labels is None else self._labels[self._first + row],
            "column": self._columns[channel],
            "value": float(self._values[row, channel]),
            "p": math.exp(log_sf),
            "log_p": log_sf,
            "return_period": math.exp(-log_sf) if log_sf > -700.0 else math.inf,
            "in_tail": bool(self._excess[row, channel] > 0.0),
        }
