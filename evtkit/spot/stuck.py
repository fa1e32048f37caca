"""Streams that repeat one value for longer than they are used to: a sensor that hangs tells nothing by its levels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from evtkit._common.schema import MANY, integer, keys, numbers, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

__all__ = ["Repeat", "Stuck"]

_LEAST = 20  # repetitions in succession that are worth a word
_LONGER = 3  # times the longest run that was usual


class Repeat(NamedTuple):
    """One value, again and again.

    See Also
    --------
    Stuck : tells it.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.spot import Stuck
    >>> x = np.random.default_rng(0).standard_normal(2000).round(2)
    >>> x[1500:1600] = 0.5
    >>> Stuck(x[:1000]).feed(x[1000:])[0]
    Repeat(channel='0', value=0.5, start=500, rows=20, is_over=False)
    """

    channel: str
    value: float
    start: int
    """Row of the first of them."""
    rows: int
    is_over: bool
    """Another value has come."""


class Stuck:
    """Runs of one value, in one stream or many, told when they are too long and when they are over.

    Let q be the share of the calibration's values that repeat the one before. A run is too long once q to the power of
    its repetitions is below the risk, and it has 20 rows and three times as many as the longest run of the calibration.
    A stream that was constant then may stay so.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, channels)
        The calibration sample; NaN is passed over.
    channels : sequence of str, optional
        Names; the default names are "0", "1", …
    risk : float
        Of a run.
    first_row : int
        Number of the first row after the calibration.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.spot import Stuck
    >>> x = np.random.default_rng(0).standard_normal(1000)
    >>> stuck, y = Stuck(x[:900], risk=1e-4), x[900:]
    >>> y[30:60] = 0.5
    >>> for repeat in stuck.feed(y):
    ...     print(repeat)
    Repeat(channel='0', value=0.5, start=30, rows=20, is_over=False)
    Repeat(channel='0', value=0.5, start=30, rows=30, is_over=True)
    """

    def __init__(
        self, x: ArrayLike, channels: Sequence[str] | None = None, *, risk: float = 1e-4, first_row: int = 0
    ) -> None:
        values = np.asarray(x, dtype=np.float64)
        values = values.reshape(len(values), values.shape[1] if values.ndim == 2 else 1)
        self.channels = tuple(map(str, range(values.shape[1]) if channels is None else channels))
        self.row = int(first_row)
        self.least = np.array([_too_long(column[~np.isnan(column)], risk) for column in values.T], dtype=np.int64)
        self._value, self._start = np.full(len(self.channels), np.nan), np.zeros(len(self.channels), np.int64)
        self._rows = np.zeros(len(self.channels), np.int64)

    def feed(self, x: ArrayLike, rows: ArrayLike | None = None) -> list[Repeat]:
        """Take in the next rows: the runs that are too long now, and those of them that are over, in order of time.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, channels)
            The values; NaN is passed over.
        rows : array_like of int, shape (n,), optional
            Their numbers; default: they go on where the last ones ended.

        Returns
        -------
        list of Repeat
            With the row count of a run that is not over being what it takes to tell.
        """
        values = np.asarray(x, dtype=np.float64)
        values = values.reshape(len(values), len(self.channels))
        if not len(values):
            return []
        numbers = np.arange(self.row, self.row + len(values)) if rows is None else np.asarray(rows, dtype=np.int64)
        self.row = int(numbers[-1]) + 1
        told: list[tuple[int, Repeat]] = []
        if len(values) <= len(self.channels):
            return [
                repeat
                for row, number in zip(values, numbers.tolist(), strict=True)
                for repeat in self._step(row, number)
            ]
        for c in range(len(self.channels)):
            told += self._feed_one(c, values[:, c], numbers)
        return [repeat for _, repeat in sorted(told, key=lambda pair: pair[0])]

    def _step(self, x: Any, number: int) -> list[Repeat]:
        """One row of all channels."""
        same = x == self._value
        new = ~(same | np.isnan(x))
        told = [self._repeat(c, is_over=True) for c in np.flatnonzero(new & (self._rows >= self.least)).tolist()]
        self._value[new], self._start[new], self._rows[new] = x[new], number, 1
        self._rows[same] += 1
        return told + [
            self._repeat(c, is_over=False) for c in np.flatnonzero(same & (self._rows == self.least)).tolist()
        ]

    def _feed_one(self, c: int, x: Any, numbers: Any) -> list[tuple[int, Repeat]]:
        if np.isnan(x).any():
            numbers, x = numbers[~np.isnan(x)], x[~np.isnan(x)]
        if not len(x):
            return []
        told = []
        changes = np.flatnonzero(x[1:] != x[:-1]) + 1
        first = 0 if x[0] == self._value[c] else 1  # the first run goes on, or begins here
        least = int(self.least[c])
        starts = np.concatenate([[0], changes])
        lengths = np.diff(np.append(starts, len(x)))
        if first and self._rows[c] >= least:
            told.append((int(numbers[0]), self._repeat(c, is_over=True)))
        for k in self._notable(lengths, least, goes_on=not first):
            before = int(self._rows[c]) if k == 0 and not first else 0
            if before == 0:
                self._value[c], self._start[c] = x[starts[k]], numbers[starts[k]]
            self._rows[c] = before + lengths[k]
            if before < least <= self._rows[c]:
                at = int(numbers[starts[k] + least - before - 1])
                told.append((at, self._repeat(c, is_over=False)._replace(rows=least)))
            if k < len(starts) - 1 and self._rows[c] >= least:
                told.append((int(numbers[starts[k + 1]]), self._repeat(c, is_over=True)))
        return told

    @staticmethod
    def _notable(lengths: Any, least: int, *, goes_on: bool) -> list[int]:
        """Which runs of a batch need a look: the first if it goes on, those that are long, and the last."""
        chosen = set(np.flatnonzero(lengths >= least).tolist()) | {len(lengths) - 1}
        return sorted(chosen | {0} if goes_on else chosen)

    def _repeat(self, c: int, *, is_over: bool) -> Repeat:
        return Repeat(self.channels[c], float(self._value[c]), int(self._start[c]), int(self._rows[c]), is_over)

    def to_dict(self) -> dict[str, Any]:
        """All that it knows, of numbers, strings and lists."""
        value = [v if math.isfinite(v) else None for v in self._value.tolist()]
        return {"channels": list(self.channels), "row": self.row, "least": self.least.tolist(), "value": value,
                "start": self._start.tolist(), "rows": self._rows.tolist()}  # fmt: skip

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """What `to_dict` described; ValueError if it is anything else."""
        channels = texts(keys(content, {"channels", "row", "least", "value", "start", "rows"})["channels"], "channels")
        self = cls(np.zeros((0, len(channels))), channels, first_row=integer(content["row"], "row"))
        whole = [
            numbers(content[name], name, len(channels), 0, MANY, whole=True) for name in ("least", "start", "rows")
        ]
        self.least, self._start, self._rows = (np.array(part, dtype=np.int64) for part in whole)
        if type(content["value"]) is not list:
            raise ValueError(f"value must be a list, got {content['value']!r:.60}")
        given = [0.0 if v is None else v for v in content["value"]]
        self._value = np.array(numbers(given, "value", len(channels)), dtype=np.float64)
        self._value[[v is None for v in content["value"]]] = np.nan
        return self


def _too_long(x: Any, risk: float) -> int:
    """How many rows make a run too long, by a calibration sample."""
    if len(x) < 2:
        return MANY
    changes = np.flatnonzero(x[1:] != x[:-1])
    if not len(changes):
        return MANY
    longest = int(np.diff(np.concatenate([[-1], changes, [len(x) - 1]])).max())
    share = 1.0 - len(changes) / (len(x) - 1)
    by_chance = 1 + math.ceil(math.log(risk) / math.log(max(share, 1.0 / len(x)))) if share < 1.0 else MANY
    return max(_LEAST, _LONGER * longest, by_chance)
