"""A stream detector on rows as they come: calibrated on the first ones, its events, its state in a file."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evtkit._common.files import read_json, write_json
from evtkit._common.schema import MANY, integer, keys, number, numbers, text, texts
from evtkit.cli.watch.clock import row_times
from evtkit.cli.watch.lines import Position
from evtkit.spot import ANOMALY, EXCESS, Alarm, DSpot, Event, Events, Repeat, Seasonal, Spot, Stuck

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.cli.watch.cells import Rows
    from evtkit.spot import Trace

__all__ = ["DEPTH", "Told", "Watch", "detector"]

DEPTH = 100
"""Rows over whose mean a stream is followed when it moves, unless told otherwise."""

_KIND = "Watch"
_COUNTS = ("excesses", "alarms", "begun")
_DETECTORS: dict[str, type[Spot] | type[Seasonal]] = {"Spot": Spot, "DSpot": DSpot, "Seasonal": Seasonal}


class Told(NamedTuple):
    """Something to be told of an event, or a single alarm of one."""

    kind: str
    """"begin", "end" or "alarm"."""
    event: Event
    labels: tuple[str | None, str | None, str | None]
    """Of the rows of the first alarm, the peak and the last alarm."""


def detector(options: dict[str, Any]) -> Spot | Seasonal:
    """A detector from those of the command's options that were given: both sides, and one for streams that move."""
    if "season" in options:
        inner = detector({name: value for name, value in options.items() if name != "season"})
        assert isinstance(inner, Spot)
        return Seasonal(inner, options["season"])
    options = {"side": "both", "depth": DEPTH, **options}
    if options["depth"] == 0:
        return Spot(**{name: value for name, value in options.items() if name != "depth"})
    return DSpot(**options)


@dataclass
class Watch:
    """A fitted detector, one stream a column, and what it has seen.

    Attributes
    ----------
    columns : tuple of str
        The streams' names.
    detector : Spot or Seasonal
        Fitted to (rows, columns).
    rows : int
        Rows seen, those of the calibration among them.
    events : Events
        What is told.
    calibrated : int
        Rows of the calibration.
    header : str
        The line of the columns' names.
    excesses, alarms, begun : ndarray of int, shape (columns,)
        Labels given, without the calibration, and events begun.
    position : Position
        How much of a file these rows were; nothing if they came by the standard input.
    labels : dict
        Of the events that are not over: the labels of their first, peak and last rows.
    every_alarm : bool
        Alarms are told one by one, too.
    pace : float, optional
        Seconds from row to row, where a season is watched and labels are no times.
    stuck : Stuck, optional
        What finds columns that repeat one value.
    is_alarm : ndarray of bool, shape (rows, columns)
        Which of the latest rows' values are alarms.
    repeats : list of Repeat
        What was found in the latest rows.
    """

    columns: tuple[str, ...]
    detector: Spot | Seasonal
    rows: int
    events: Events
    calibrated: int = 0
    header: str = ""
    excesses: NDArray[np.int64] = field(init=False)
    alarms: NDArray[np.int64] = field(init=False)
    begun: NDArray[np.int64] = field(init=False)
    position: Position = field(default_factory=Position)
    labels: dict[str, list[str | None]] = field(default_factory=dict)
    every_alarm: bool = False
    pace: float | None = None
    stuck: Stuck | None = None
    repeats: list[Repeat] = field(default_factory=list)
    is_alarm: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.is_alarm = np.zeros((0, len(self.columns)), dtype=np.bool_)
        self.excesses, self.alarms, self.begun = (np.zeros(len(self.columns), np.int64) for _ in range(3))

    @classmethod
    def fit(
        cls, rows: Rows, columns: Sequence[str], detector: Spot | Seasonal, header: str = "", *,
        pace: float | None = None, **events: Any,
    ) -> Watch:  # fmt: skip
        """Calibrate on the first rows. ValueError names the column that has too few values."""
        for column, stream in zip(columns, rows.values.T, strict=True):
            try:
                detector.check_calibration(int(np.isfinite(stream).sum()))
            except ValueError as error:
                raise ValueError(f"column {column!r}: {error}") from error
        told = Events(columns, risk=detector.risk, side=detector.side, first_row=rows.n_lines + 1, **events)
        stuck = Stuck(rows.values, columns, risk=detector.risk, first_row=rows.n_lines + 1)
        if isinstance(detector, Seasonal):
            detector.fit(rows.values, row_times(1 + rows.lines, rows.labels, pace))
        else:
            detector.fit(rows.values)
        return cls(tuple(columns), detector, rows.n_lines, told, rows.n_lines, header, pace=pace, stuck=stuck)

    def update(self, rows: Rows) -> list[Told]:
        """Judge and learn rows; what is to be told of them."""
        first = self.rows + 1
        self.rows += rows.n_lines
        self.repeats = []
        if not len(rows.values):
            return []
        numbers = first + rows.lines
        if self.stuck:
            self.repeats = self.stuck.feed(rows.values, numbers)
        scaled, trace, shown = self._judged(rows, numbers)
        self.is_alarm = trace.label == ANOMALY
        self.excesses += np.count_nonzero(trace.label == EXCESS, axis=0)
        self.alarms += np.count_nonzero(self.is_alarm, axis=0)
        before = {event.id for event in self.events.going_on}
        changes = self.events.feed(scaled, trace, numbers, shown=(rows.values, shown.alarm_threshold))
        told = [self._told(event, numbers, rows.labels) for event in changes]
        for event in self.events.going_on:  # those that are told later
            if event.id in before or event.last > event.start:
                self._told(event, numbers, rows.labels)
        for item in told:
            if item.kind == "begin":
                self.begun[self.columns.index(item.event.first.channel)] += 1
            else:
                self.labels.pop(item.event.id, None)
        if self.every_alarm:
            told = sorted([*told, *self._alarms(rows, numbers, shown)], key=self._place)
        return told

    def _judged(self, rows: Rows, numbers: NDArray[np.int64]) -> tuple[Float, Trace, Trace]:
        """Rows on the detector's scale, what it says of them, and the same in the units of the data."""
        if isinstance(self.detector, Seasonal):
            times = row_times(numbers, rows.labels, self.pace)
            return self.detector.judged(rows.values, times, alarms_only=True)
        trace = self.detector.trace(rows.values, alarms_only=True)
        return rows.values, trace, trace

    def _told(self, event: Event, numbers: NDArray[np.int64], labels: Sequence[str | None]) -> Told:
        known = self.labels.setdefault(event.id, [None, None, None])
        for which, row in enumerate((event.start, event.peak.row, event.last)):
            place = int(np.searchsorted(numbers, row))
            if place < len(numbers) and numbers[place] == row:
                known[which] = labels[place]
        return Told("end" if event.is_over else "begin", event, (known[0], known[1], known[2]))

    def _alarms(self, rows: Rows, numbers: NDArray[np.int64], trace: Any) -> list[Told]:
        """Every alarm on its own, as an event of one row."""
        sides = ("lower", "upper") if self.detector.side == "both" else (self.detector.side,)
        levels = trace.alarm_threshold.reshape(*rows.values.shape, len(sides))
        out = []
        for r, c in zip(*np.nonzero(trace.label == ANOMALY), strict=True):
            value, row = float(rows.values[r, c]), int(numbers[r])
            s = len(sides) - 1 if len(sides) == 1 or not value < levels[r, c, 0] else 0
            log_p = -math.inf if math.isinf(value) else float(trace.log_probability[r, c])
            alarm = Alarm(row, self.columns[c], value, float(levels[r, c, s]), math.exp(max(log_p, -800.0)), sides[s])
            out.append(Told("alarm", Event(alarm, alarm, (alarm.channel,), 1, row), (rows.labels[r],) * 3))
        return out

    def _place(self, told: Told) -> tuple[int, int]:
        """In which order things are told: by row, what is over before what begins, and that before its alarms."""
        row = told.event.last + self.events.quiet if told.kind == "end" else told.event.start
        return row, {"end": 0, "begin": 1, "alarm": 2}[told.kind]

    # -- state ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a JSON file, atomically."""
        content = {
            "columns": self.columns, "rows": self.rows, "calibrated": self.calibrated, "header": self.header,
            "counts": [self.excesses.tolist(), self.alarms.tolist(), self.begun.tolist()],
            "position": asdict(self.position), "labels": self.labels, "events": self.events.to_dict(),
            "stuck": None if self.stuck is None else self.stuck.to_dict(), "pace": self.pace,
            "detector": {"kind": type(self.detector).__name__, **self.detector.to_dict()},
        }  # fmt: skip
        write_json(path, _KIND, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str], columns: Sequence[str] = (), **options: Any) -> Watch:
        """Read what `save` wrote. ValueError if it is of other columns or options than those given."""
        content = read_json(path, _KIND, _check)
        stored = content["detector"]
        kind = _DETECTORS[stored.pop("kind")]
        watch = cls(
            tuple(content["columns"]), kind.from_dict(stored, str(path)), content["rows"],
            Events.from_dict(content["events"]), content["calibrated"], content["header"],
            pace=content["pace"],
            stuck=None if content["stuck"] is None else Stuck.from_dict(content["stuck"]),
        )  # fmt: skip
        watch.excesses, watch.alarms, watch.begun = (np.array(c, dtype=np.int64) for c in content["counts"])
        watch.position, watch.labels = Position(**content["position"]), content["labels"]
        if columns and tuple(columns) != watch.columns:
            raise ValueError(
                f"{path} is the state of other columns: {', '.join(watch.columns)}, got {', '.join(columns)}"
            )
        kept = {"depth": 0, "season": None, **watch.detector.parameters}
        kept |= {name: getattr(watch.events, name) for name in ("quiet", "cooldown", "need", "within")}
        for name, value in options.items():
            if kept[name] != value:
                raise ValueError(
                    f"{path} is the state of another detector: {name} {kept[name]}, got {value}; "
                    f"remove the file to calibrate anew"
                )
        return watch


def _check(content: Any) -> None:
    """Refuse what no state was saved as; the detector has a schema of its own."""
    keys(content, {"columns", "rows", "calibrated", "header", "counts", "position", "labels", "events", "stuck",
                   "pace", "detector"})  # fmt: skip
    columns = texts(content["columns"], "columns")
    stored = content["detector"]
    if text(keys(stored, {"kind"}, stored)["kind"], "kind", _DETECTORS) == "Seasonal":
        stored = keys(stored, {"detector"}, stored)["detector"]
    keys(stored, {"single", "streams"}, stored)
    if content["pace"] is not None:
        number(content["pace"], "pace", 0.0)
    if stored["single"] is not False or type(stored["streams"]) is not list or len(stored["streams"]) != len(columns):
        raise ValueError("wanted a detector of one stream a column")
    if len(set(columns)) < len(columns):
        raise ValueError("two columns have one name")
    integer(content["calibrated"], "calibrated", 0, integer(content["rows"], "rows"))
    text(content["header"], "header")
    if type(content["counts"]) is not list or len(content["counts"]) != len(_COUNTS):
        raise ValueError(f"counts must be {len(_COUNTS)} lists")
    for name, counts in zip(_COUNTS, content["counts"], strict=True):
        numbers(counts, name, len(columns), 0, MANY, whole=True)
    for one in keys(content["labels"], (), content["labels"]).values():
        if type(one) is not list or len(one) != 3 or not {str, type(None)}.issuperset(map(type, one)):
            raise ValueError(f"labels must be three of an event, got {one!r:.60}")
    if keys(content["events"], {"channels"}, content["events"])["channels"] != columns:
        raise ValueError("the events are of other columns")
    if content["stuck"] is not None and keys(content["stuck"], {"channels"}, content["stuck"])["channels"] != columns:
        raise ValueError("what repeats is of other columns")
    for name, value in keys(content["position"], {"lines", "size", "checksum", "older", "written"}).items():
        integer(value, name)
