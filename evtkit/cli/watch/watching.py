"""A stream detector on rows as they come: calibrated on the first ones, its alarms, its state in a file."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evtkit._common.files import read_json, write_json
from evtkit.cli.watch.lines import Position
from evtkit.spot import ANOMALY, EXCESS, DSpot, Spot

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit.cli.watch.cells import Rows

__all__ = ["Alarm", "Watch", "detector"]

_KIND = "Watch"


class Alarm(NamedTuple):
    """A value beyond the alarm level."""

    row: int
    """Counted from 1, the first under the header."""
    label: str | None
    column: str
    value: float
    threshold: float
    """The alarm level that it is beyond; infinite where the tail has no fit, and where the value is."""
    probability: float
    side: str
    """"upper" or "lower"."""


def detector(options: dict[str, Any]) -> Spot:
    """A detector from those of the command's options that were given; with a depth, one for streams that drift."""
    return DSpot(**options) if "depth" in options else Spot(**options)


@dataclass
class Watch:
    """A fitted detector, one stream a column, and what it has seen.

    Attributes
    ----------
    columns : tuple of str
        The streams' names.
    detector : Spot
        Fitted to (rows, columns).
    rows : int
        Rows seen, those of the calibration among them.
    excesses, alarms : ndarray of int, shape (columns,)
        Labels given, without the calibration.
    position : Position
        How much of a file these rows were; nothing if they came by the standard input.
    """

    columns: tuple[str, ...]
    detector: Spot
    rows: int
    excesses: NDArray[np.int64] = field(init=False)
    alarms: NDArray[np.int64] = field(init=False)
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self.excesses = np.zeros(len(self.columns), np.int64)
        self.alarms = np.zeros(len(self.columns), np.int64)

    @classmethod
    def fit(cls, rows: Rows, columns: Sequence[str], detector: Spot) -> Watch:
        """Calibrate on the first rows. ValueError names the column that has too few values."""
        for column, stream in zip(columns, rows.values.T, strict=True):
            try:
                detector.check_calibration(int(np.isfinite(stream).sum()))
            except ValueError as error:
                raise ValueError(f"column {column!r}: {error}") from error
        return cls(tuple(columns), detector.fit(rows.values), rows.n_lines)

    def update(self, rows: Rows) -> list[Alarm]:
        """Judge and learn rows.

        In one call, and over again where there are alarms, to know the levels of those moments.
        """
        first, before = self.rows + 1, copy.deepcopy(self.detector)
        labels = self.detector.update(rows.values)
        self.rows += rows.n_lines
        self.excesses += np.count_nonzero(labels == EXCESS, axis=0)
        self.alarms += np.count_nonzero(labels == ANOMALY, axis=0)
        places = np.flatnonzero(np.any(labels == ANOMALY, axis=1))
        if not places.size:
            return []
        alarms, self.detector, done = [], before, 0
        for run in np.split(places, 1 + np.flatnonzero(np.diff(places) > 1)):
            start, stop = int(run[0]), int(run[-1]) + 1
            self.detector.update(rows.values[done:start])
            alarms += self._alarms_of(rows, start, stop, first)
            done = stop
        self.detector.update(rows.values[done:])
        return alarms

    def _alarms_of(self, rows: Rows, start: int, stop: int, first: int) -> list[Alarm]:
        """Judge and learn rows that have alarms, with levels and probabilities."""
        sides = ("lower", "upper") if self.detector.side == "both" else (self.detector.side,)
        u = self.detector.threshold.reshape(len(self.columns), len(sides))
        values = rows.values[start:stop]
        trace = self.detector.trace(values)
        levels = trace.alarm_threshold.reshape(*values.shape, len(sides))
        alarms = []
        for r, c in zip(*np.nonzero(trace.label == ANOMALY), strict=True):
            value, level = float(values[r, c]), levels[r, c]
            beyond = level[-1] if np.isfinite(level[-1]) else u[c, -1]  # an alarm by rank has no level
            side = len(sides) - 1 if value > beyond else 0
            probability = 0.0 if np.isinf(value) else float(np.exp(trace.log_probability[r, c]))
            alarms.append(Alarm(first + int(rows.lines[start + r]), rows.labels[start + r], self.columns[c], value,
                                float(level[side]), probability, sides[side]))  # fmt: skip
        return alarms

    # -- state ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a JSON file, atomically."""
        kind = type(self.detector).__name__
        content = {
            "columns": self.columns, "rows": self.rows, "excesses": self.excesses.tolist(),
            "alarms": self.alarms.tolist(), "position": asdict(self.position),
            "detector": {"kind": kind, **self.detector.to_dict()},
        }  # fmt: skip
        write_json(path, _KIND, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str], columns: Sequence[str] = (), **options: Any) -> Watch:
        """Read what `save` wrote. ValueError if it is of other columns or options than those given."""
        content = read_json(path, _KIND)
        try:
            stored = content["detector"]
            kind: type[Spot] = {"Spot": Spot, "DSpot": DSpot}[stored["kind"]]
            watch = cls(tuple(content["columns"]), kind.from_dict(stored, str(path)), int(content["rows"]))
            watch.excesses += np.array(content["excesses"], dtype=np.int64)
            watch.alarms += np.array(content["alarms"], dtype=np.int64)
            watch.position = Position(**content["position"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a saved state: {error}") from error
        if columns and tuple(columns) != watch.columns:
            raise ValueError(
                f"{path} is the state of other columns: {', '.join(watch.columns)}, got {', '.join(columns)}"
            )
        parameters = {
            "depth": None,
            **watch.detector.parameters,
        }
        for name, value in options.items():
            if parameters[name] != value:
                raise ValueError(
                    f"{path} is the state of another detector: {name} {parameters[name]}, got {value}; "
                    f"remove the file to calibrate anew"
                )
        return watch
