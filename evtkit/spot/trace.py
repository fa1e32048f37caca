"""Trace: what a stream looked like to its detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit._common.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.dated import Dates

__all__ = ["Trace"]


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Result):
    """What a stream looked like to its detector, one row an observation; see `Spot.trace`.

    Attributes
    ----------
    label : ndarray of int8, shape (n,) or (n, streams)
        As `Spot.update` returns it.
    alarm_threshold : ndarray of float64
        The alarm level by which the observation was judged, shaped as `Spot.alarm_threshold` with time in front.
    log_probability : ndarray of float64, shape (n,) or (n, streams)
        Logarithm of `Spot.probability` of the observation, by the same model.
    names : ndarray of str, or None
        Of the streams, shape (streams,) or ().
    dates : Dates, or None
        Of the observations, if they had dates.

    See Also
    --------
    evtkit.Spot.trace : makes it.
    evtkit.plot.stream : the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot
    >>> x = np.random.default_rng(0).standard_normal(3000)
    >>> x[2000:2005] = 9.0
    >>> spot = Spot(risk=1e-4).fit(x[:1500])
    >>> trace = spot.trace(x[1500:])
    >>> trace
    Trace(1,500 observations, 5 alarms)
    >>> np.flatnonzero(trace.label == 2)
    array([500, 501, 502, 503, 504])
    """

    label: NDArray[np.int8]
    alarm_threshold: Float
    log_probability: Float
    names: NDArray[np.str_] | None = None
    dates: Dates | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Labels, levels and probabilities: ``labels, levels, log_p = spot.trace(x)``."""
        return iter((self.label, self.alarm_threshold, self.log_probability))

    def _table(self) -> dict[str, Any]:
        """A row an observation of each stream."""
        n, streams = len(self.label), self.label[:1].size if len(self.label) else 1
        when = np.arange(n) if self.dates is None else self.dates.local()
        table: dict[str, Any] = {"row" if self.dates is None else "time": np.repeat(when, streams)}
        if streams > 1 or self.names is not None:
            table["stream"] = np.tile(np.arange(streams) if self.names is None else np.atleast_1d(self.names), n)
        levels = self.alarm_threshold.reshape(n * streams, -1)
        sides = ("alarm_threshold",) if levels.shape[1] == 1 else ("lower_alarm_threshold", "upper_alarm_threshold")
        table |= {"label": self.label.ravel(), **dict(zip(sides, levels.T, strict=True))}
        return table | {"log_probability": self.log_probability.ravel()}

    def _head(self) -> str:
        """How many alarms there were."""
        alarms = int(np.count_nonzero(self.label == 2))
        return f"Trace({counted(len(self.label), 'observation')}, {counted(alarms, 'alarm')})"
