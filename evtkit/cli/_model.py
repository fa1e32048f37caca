"""Tails of named columns: fitted, with return levels, saved and loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._files import read_arrays, write_arrays
from evtkit.sketch import TailSketch
from evtkit.tail import Tail

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]

_KIND = "ColumnTails"


@dataclass(frozen=True, eq=False)
class ColumnTails:
    """A tail with one channel a column, and the columns' names."""

    columns: tuple[str, ...]
    tail: Tail

    @classmethod
    def fit(
        cls, values: Float, columns: Sequence[str], *, side: str = "upper", method: str = "mle", **rule: Any
    ) -> ColumnTails:
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
        return cls(
            tuple(columns),
            replace(tail, threshold=sign * tail.threshold, mean=sign * tail.mean, largest=sketch.largest(), side=side),
        )

    def return_level(self, period: float, confidence: float) -> tuple[Float, Float, Float]:
        """The level exceeded once in `period` observations, with its profile-likelihood limits, a column.

        Limits are NaN where there are none: a level below the threshold is an observation, and only maximum-likelihood
        fits have a profile.
        """
        from evtkit.intervals import return_level_interval

        tail, limits = self.tail, np.full((2, len(self.columns)), np.nan)
        rate = tail.n_excess / tail.n
        bounded = tail.is_fitted & (rate * period > 1.0) & (tail.method == "mle")
        if bounded.any():
            interval = return_level_interval(tail.excesses[:, bounded], period, rate=rate[bounded], level=confidence)
            reach, u = np.array([interval.lower, interval.upper]), tail.threshold[bounded]
            limits[:, bounded] = u + reach if tail.side == "upper" else (u - reach)[::-1]
        return tail.return_level(period), limits[0], limits[1]

    def take(self, columns: Sequence[str]) -> ColumnTails:
        """Some of the columns, in this order."""
        if unknown := [name for name in columns if name not in self.columns]:
            raise ValueError(f"no tail of column {unknown[0]!r}; there is one of {', '.join(map(repr, self.columns))}")
        places = [self.columns.index(name) for name in columns]
        picked: dict[str, Any] = {name: array[places] for name, array in _arrays(self.tail).items()}
        return ColumnTails(tuple(columns), replace(self.tail, **picked))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an .npz file, atomically."""
        attributes = {"side": self.tail.side, "method": self.tail.method, "columns": self.columns}
        write_arrays(path, _KIND, _arrays(self.tail), attributes)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ColumnTails:
        """Read what `save` wrote."""
        arrays, attributes = read_arrays(path, _KIND)
        return cls(tuple(attributes.pop("columns")), Tail(**arrays, **attributes))


def _arrays(tail: Tail) -> dict[str, NDArray[Any]]:
    """The tail's arrays by field, channels first."""
    values = {f.name: getattr(tail, f.name) for f in fields(Tail)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
