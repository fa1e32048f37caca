"""What is told of alarms: events, each once, however many alarms it has and on however many streams."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from evtkit._common.text import counted
from evtkit.spot.labels import ANOMALY
from evtkit.spot.rows import RowBudget
from evtkit.spot.stored import check_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.spot.trace import Trace

__all__ = ["Alarm", "Event", "Events"]

_BUDGET = ("rows", "inside", "beyond", "total")
_BACK = 4  # times `quiet`, after an event, in which a detector may be on its way back to where the stream is
_OPTIONS = ("risk", "side", "quiet", "cooldown", "need", "within", "memory")


class Alarm(NamedTuple):
    """A value beyond the alarm level.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot
    >>> x = np.random.default_rng(0).standard_normal(3000)
    >>> x[2000:2005] = 9.0
    >>> spot = Spot(risk=1e-4).fit(x[:1500])
    >>> peak = spot.events(x[1500:])[-1].peak
    >>> peak.row, peak.value, peak.side
    (500, 9.0, 'upper')
    """

    row: int
    """The observation's number, the first one after the calibration being 0 unless `Events` was told otherwise."""
    channel: str
    """The stream's name."""
    value: float
    threshold: float
    """The alarm level that it is beyond; infinite where the tail has no fit."""
    probability: float
    side: str
    """"upper" or "lower"."""


@dataclass(frozen=True)
class Event:
    """Alarms that belong together: on one stream after another, or on several at once.

    Attributes
    ----------
    first, peak : Alarm
        The first alarm, and the most improbable one.
    channels : tuple of str
        The streams that had alarms, in the order of their first ones.
    alarms : int
        How many there were, on all of them.
    last : int
        Row of the latest alarm.
    is_over : bool
        No alarm for as many rows as the event log's `quiet`.
    has_moved : bool
        When it was over, a stream was not back where its levels were when it began: it has moved, or the detector
        follows it.

    See Also
    --------
    evtkit.Spot.events : tells them.
    Events : with choices of your own.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot
    >>> x = np.random.default_rng(0).standard_normal(3000)
    >>> x[2000:2005] = 9.0
    >>> spot = Spot(risk=1e-4).fit(x[:1500])
    >>> told = spot.events(x[1500:])
    >>> told[-1]
    Event(0: rows 500 to 504, 5 alarms, peak 9, p 1.2e-08; over)
    >>> told[-1].peak.row, told[-1].rows, told[-1].is_over
    (500, 5, True)
    """

    first: Alarm
    peak: Alarm
    channels: tuple[str, ...]
    alarms: int = 1
    last: int = 0
    is_over: bool = False
    has_moved: bool = False

    @property
    def id(self) -> str:
        """A name that depends only on the stream: the first row and its channel."""
        return f"{self.first.row}-{self.first.channel}"

    @property
    def start(self) -> int:
        """Row of the first alarm."""
        return self.first.row

    @property
    def end(self) -> int:
        """Row of the last alarm."""
        return self.last

    @property
    def rows(self) -> int:
        """From the first alarm to the last, both included."""
        return self.last - self.first.row + 1

    @property
    def rate(self) -> float:
        """Alarms a row and channel since it began."""
        return self.alarms / self.rows / len(self.channels)

    def __repr__(self) -> str:
        state = ("moved" if self.has_moved else "over") if self.is_over else "going on"
        return (f"Event({', '.join(self.channels)}: rows {self.start} to {self.end}, {counted(self.alarms, 'alarm')}, "
                f"peak {self.peak.value:.6g}, p {self.peak.probability:.2g}; {state})")  # fmt: skip


@dataclass
class _Channel:
    """What is known of a stream between two rows."""

    event: int | None = None
    """The number of its event."""
    last: int = -1
    """Row of its latest alarm; −1 before any."""
    ended: int | None = None
    """Row at which its latest event was over."""
    band: tuple[float, float] = (-math.inf, math.inf)
    """The alarm levels when its latest event began."""
    moved: int | None = None
    """Row at which the stream was found to have moved away from the band."""
    recent: deque[int] = field(default_factory=deque)
    """Rows of the latest alarms that belong to no event."""


class Events:
    """Alarms gathered into events, for one stream or many.

    An event begins with an alarm and is over once its streams have been quiet, without an alarm, for `quiet` rows. It
    is returned when it begins and when it is over, and not in between, so that each incident is told once. Streams
    whose alarms begin within `quiet` rows of each other share an event.

    Many streams at one time are one question: the `risk` is that of a row. Of the alarms in a row those count whose
    probabilities pass the procedure of Benjamini & Hochberg (1995) over all streams, so an ordinary row begins an
    event with at most the probability `risk`, however many streams there are. How often rows pass it is learnt, and
    the level moved accordingly: m streams ask for probabilities m times smaller, where a fitted tail is less right.

    A detector that follows its stream (`evtkit.DSpot`) takes a new level for usual after a while. When the stream comes
    back to where it was, that is the end of the same incident and no other: alarms inside the levels that were in force
    when the latest event began are not told for `memory` rows; where it was back by the end of the event, for four
    times `quiet` rows, in which the detector comes back too.

    Parameters
    ----------
    channels : int or sequence of str
        How many streams, or their names; the default names are "0", "1", …
    risk : float, optional
        Of a row. Without it all alarms count.
    side : str
        As in `evtkit.Spot`.
    quiet : int
        Rows without an alarm after which an event is over.
    cooldown : int
        Rows after the end of an event in which a stream begins no other one.
    need, within : int
        An event begins with the `need`-th alarm within so many rows.
    memory : int
        Rows for which levels that the stream has left are remembered.
    first_row : int
        Number of the first row.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot
    >>> from evtkit.spot import Events
    >>> rng = np.random.default_rng(0)
    >>> spot, events = Spot(risk=1e-4).fit(rng.standard_normal(5000)), Events()
    >>> x = rng.standard_normal(1000)
    >>> x[300:320] = 9.0
    >>> for event in events.feed(x, spot.trace(x, alarms_only=True)):
    ...     print(event)
    Event(0: rows 300 to 300, 1 alarm, peak 9, p ...; going on)
    Event(0: rows 300 to 319, 20 alarms, peak 9, p ...; over)
    """

    def __init__(
        self, channels: int | Sequence[str] = 1, *, risk: float | None = None, side: str = "upper", quiet: int = 50,
        cooldown: int = 0, need: int = 1, within: int = 1, memory: int = 10_000, first_row: int = 0,
    ) -> None:  # fmt: skip
        for name, number, least in (
            ("quiet", quiet, 1), ("cooldown", cooldown, 0), ("need", need, 1), ("within", within, need),
            ("memory", memory, 0),
        ):  # fmt: skip
            if not isinstance(number, Real) or number != number // 1 or number < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {number!r}")
        if risk is not None and not 0.0 < risk < 1.0:
            raise ValueError(f"risk must lie between 0 and 1, got {risk!r}")
        if side not in ("upper", "lower", "both"):
            raise ValueError(f"side must be one of 'upper', 'lower', 'both', got {side!r}")
        names = [str(c) for c in range(channels)] if isinstance(channels, int) else [str(c) for c in channels]
        if not names:
            raise ValueError("channels must be at least one, got none")
        self.channels, self.risk, self.side, self.row = tuple(names), risk, side, int(first_row)
        self.quiet, self.cooldown, self.need, self.within = int(quiet), int(cooldown), int(need), int(within)
        self.memory = int(memory)
        self.total = 0
        self._streams = [_Channel() for _ in names]
        self._open: dict[int, Event] = {}
        self._active: set[int] = set()  # streams that have an event
        self._budget = RowBudget(risk, len(names)) if risk is not None and len(names) > 1 else None

    @property
    def going_on(self) -> list[Event]:
        """The events that are not over."""
        return list(self._open.values())

    def feed(
        self,
        x: ArrayLike,
        trace: Trace,
        rows: ArrayLike | None = None,
        *,
        shown: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> list[Event]:
        """Take in the next rows: what began and what was over in them, in order of time.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, channels)
            The observations.
        trace : Trace
            What the detector said of them; that of ``trace(x, alarms_only=True)`` is enough.
        rows : array_like of int, shape (n,), optional
            Their numbers, ascending; default: they go on where the last ones ended.
        shown : two array_like, optional
            Values and alarm levels that alarms are told with, where x is on another scale (`Seasonal`); shaped as x and
            the trace's levels.

        Returns
        -------
        list of Event
            An event twice at the most: when it begins, and when it is over.

        Raises
        ------
        ValueError
            If the shapes do not belong together.
        """
        labels = np.asarray(trace.label)
        values = np.asarray(x, dtype=np.float64)
        if labels.shape != values.shape or values.size != len(values) * len(self.channels):
            raise ValueError(
                f"x must have shape (n, {len(self.channels)}) and a label each, got {values.shape} and {labels.shape}"
            )
        shape = n, _ = len(values), len(self.channels)
        labels, values = labels.reshape(shape), values.reshape(shape)
        log_p = np.where(np.isinf(values), -np.inf, np.asarray(trace.log_probability).reshape(shape))
        levels = np.asarray(trace.alarm_threshold)
        if levels.size != values.size * (sides := 2 if self.side == "both" else 1):
            raise ValueError(f"the trace must have {sides} alarm levels a value, as side={self.side!r} says")
        levels = levels.reshape(*shape, sides)
        told_values, told_levels = values, levels
        if shown is not None:
            told_values = np.asarray(shown[0], dtype=np.float64).reshape(values.shape)
            told_levels = np.asarray(shown[1], dtype=np.float64).reshape(levels.shape)
        numbers = np.arange(self.row, self.row + n) if rows is None else np.asarray(rows, dtype=np.int64)
        if numbers.shape != (n,) or (n and (numbers[0] < self.row or np.any(np.diff(numbers) < 1))):
            raise ValueError(f"rows must be {n} ascending numbers from {self.row} on")
        told: list[Event] = []
        before = self._budget.rows if self._budget else 0
        for r in np.flatnonzero(np.any(labels == ANOMALY, axis=1)).tolist():
            row = int(numbers[r])
            self._end_until(row, values, numbers, told)
            if self._budget:
                self._budget.rows = before + r
            for c in self._counted(labels[r], log_p[r]):
                self._alarm(row, c, float(values[r, c]), levels[r, c], float(log_p[r, c]), told,
                            (float(told_values[r, c]), told_levels[r, c]))  # fmt: skip
        if self._budget:
            self._budget.rows = before + n
        if n:
            self.row = int(numbers[-1]) + 1
            self._end_until(self.row, values, numbers, told)
        return told

    # -- inside ------------------------------------------------------------------------------------------------------

    def _counted(self, labels: NDArray[np.int8], log_p: Float) -> list[int]:
        """The streams whose alarms in a row count among all of them, or belong to an event already."""
        found = np.flatnonzero(labels == ANOMALY)
        if self._budget is None:
            return found.tolist()
        order = found[np.argsort(log_p[found], kind="stable")]
        ranks = np.log(np.arange(1, len(order) + 1) / len(self.channels))
        passes = log_p[order] - ranks <= self._budget.log_level()
        most = int(np.flatnonzero(passes)[-1]) + 1 if passes.any() else 0
        new = np.array([c for c in order.tolist() if self._streams[c].event is None], dtype=np.intp)
        if new.size:
            self._budget.learn(float(np.min(log_p[new] - ranks[: new.size])))
        chosen = set(order[:most].tolist())
        return [c for c in found.tolist() if c in chosen or self._streams[c].event is not None]

    def _alarm(
        self, row: int, c: int, value: float, levels: Float, log_p: float, told: list[Event], shown: tuple[float, Float]
    ) -> None:  # fmt: skip
        stream = self._streams[c]
        is_near = stream.event is None and stream.ended is not None and row - stream.ended <= _BACK * self.quiet
        if stream.moved is not None and row - stream.moved > self.memory:
            stream.moved = None
        elif (stream.moved is not None or is_near) and stream.band[0] <= value <= stream.band[1]:
            return  # back where it was, or the detector is on its way back
        low = float(levels[0]) if self.side != "upper" else -math.inf
        high = float(levels[-1]) if self.side != "lower" else math.inf
        is_upper = self.side == "upper" or (self.side == "both" and _is_upper(value, low, high))
        alarm = Alarm(row, self.channels[c], shown[0], float(shown[1][-1 if is_upper else 0]),
                      math.exp(max(log_p, -800.0)), "upper" if is_upper else "lower")  # fmt: skip
        if stream.event is None:
            if stream.ended is not None and row - stream.ended <= self.cooldown:
                return
            stream.recent.append(row)
            while row - stream.recent[0] >= self.within:
                stream.recent.popleft()
            if len(stream.recent) < self.need:
                return
            stream.recent.clear()
            if is_upper and math.isinf(high):  # an alarm by rank is outside, and so is what lies farther out
                high = math.nextafter(value, -math.inf)
            elif not is_upper and math.isinf(low):
                low = math.nextafter(value, math.inf)
            stream.band, stream.moved = (low, high), None
            self._active.add(c)
            shared = [k for k, event in self._open.items() if row - event.start <= self.quiet]
            if shared:
                stream.event = shared[-1]
            else:
                stream.event = self.total
                self._open[self.total] = event = Event(alarm, alarm, (alarm.channel,), 1, row)
                self.total += 1
                told.append(event)
                stream.last = row
                return
        stream.last = row
        event = self._open[stream.event]
        worse = alarm.probability < event.peak.probability or (
            alarm.probability == event.peak.probability and _beyond(alarm) > _beyond(event.peak)
        )
        self._open[stream.event] = replace(
            event, alarms=event.alarms + 1, last=row, peak=alarm if worse else event.peak,
            channels=event.channels if alarm.channel in event.channels else (*event.channels, alarm.channel),
        )  # fmt: skip

    def _end_until(self, row: int, values: Float, numbers: NDArray[np.int64], told: list[Event]) -> None:
        """End what has been quiet for long enough before this row."""
        over = ((self._streams[c].last + self.quiet, c) for c in self._active)
        for at, c in sorted(pair for pair in over if pair[0] < row):
            stream = self._streams[c]
            number = stream.event
            assert number is not None
            latest = float(values[min(int(np.searchsorted(numbers, at)), len(values) - 1), c])
            moved = not (stream.band[0] <= latest <= stream.band[1] or math.isnan(latest))
            stream.event, stream.ended, stream.moved = None, at, at if moved else None
            event = replace(self._open[number], has_moved=self._open[number].has_moved or moved)
            self._open[number] = event
            self._active.remove(c)
            if all(self._streams[other].event != number for other in self._active):
                del self._open[number]
                told.append(replace(event, is_over=True))

    # -- as plain values -----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """All that it knows, of numbers, strings, lists and dicts."""
        return {
            "channels": list(self.channels), "row": self.row, "total": self.total,
            **{name: getattr(self, name) for name in _OPTIONS},
            "open": {str(k): _finite({**asdict(e), "first": e.first._asdict(), "peak": e.peak._asdict()})
                     for k, e in self._open.items()},
            "streams": [_finite({**asdict(s), "recent": list(s.recent)}) for s in self._streams],
            "budget": None if self._budget is None else [getattr(self._budget, name) for name in _BUDGET],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """What `to_dict` described; ValueError if it is anything else."""
        try:
            check_events(content)
            self = cls(content["channels"], **{name: content[name] for name in _OPTIONS}, first_row=content["row"])
            self._restore(content)
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"these are no events: {error}") from error
        return self

    def _restore(self, content: dict[str, Any]) -> None:
        self.total = int(content["total"])
        if (self._budget is None) != (content["budget"] is None):
            raise TypeError("a budget is for several streams with a risk")
        if self._budget is not None:
            for name, value in zip(_BUDGET, content["budget"], strict=True):
                setattr(self._budget, name, value)
        for number, plain in content["open"].items():
            event = _floats(plain)
            event["first"], event["peak"] = Alarm(**event["first"]), Alarm(**event["peak"])
            self._open[int(number)] = Event(**{**event, "channels": tuple(event["channels"])})
        self._streams = [
            _Channel(**{**s, "band": tuple(s["band"]), "recent": deque(s["recent"])})
            for s in map(_floats, content["streams"])
        ]
        self._active = {c for c, stream in enumerate(self._streams) if stream.event is not None}
        if len(self._streams) != len(self.channels) or {s.event for s in self._streams} - {None} != set(self._open):
            raise TypeError("streams and events do not belong together")


def _is_upper(value: float, low: float, high: float) -> bool:
    """Which side an alarm is on; one by rank has no level on its side."""
    if value > high or value < low:
        return value > high
    return math.isinf(high) or (not math.isinf(low) and value > 0.5 * (low + high))


def _beyond(alarm: Alarm) -> float:
    return alarm.value if alarm.side == "upper" else -alarm.value


def _finite(value: Any) -> Any:
    """With infinities and NaN by name, for JSON."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return {"float": repr(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _floats(value: Any) -> Any:
    """What `_finite` was given."""
    if isinstance(value, dict):
        return float(value["float"]) if set(value) == {"float"} else {name: _floats(v) for name, v in value.items()}
    return [_floats(item) for item in value] if isinstance(value, list) else value
