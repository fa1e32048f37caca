"""Seasonal: a detector on the scale of the season, so that each row is judged by what is usual at its own time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.files import json_from_bytes, json_to_bytes, read_json, write_json
from evtkit._common.frames import frame_labels, like
from evtkit._common.schema import keys, number, text
from evtkit.dated.reading import dates_of
from evtkit.spot.clock import check_times, period_of, seconds_of, wall
from evtkit.spot.detectors import DSpot, Spot
from evtkit.spot.events import Event, Events
from evtkit.spot.labels import HUGE, Label
from evtkit.spot.profile import Profile, fitted_profile
from evtkit.spot.reading import SIDES
from evtkit.spot.stored_profiles import profile_content, stored_profile
from evtkit.spot.trace import Trace

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["Seasonal"]

_DETECTORS: dict[str, type[Spot]] = {"Spot": Spot, "DSpot": DSpot}


class Seasonal:
    """A detector whose levels follow the hour of the day, the day of the week, or any other season.

    The calibration gives every moment of a season a centre and a scale on either side of it. Rows are judged as
    deviations on that scale, by the detector that is given: 500 requests at 4 o'clock may be an alarm where they are
    nothing at noon. Levels, events and probabilities are in the units of the data.

    Parameters
    ----------
    detector : Spot or DSpot, optional
        What judges the deviations; by default `DSpot`, on both sides, which follows a stream that moves.
    season : str, float, or sequence of them
        ``"hour"``, ``"day"``, ``"week"``, ``"year"``, several of them as in ``"day,week"``, or lengths in seconds.

    Raises
    ------
    ValueError
        If a season is none of these, or the detector is neither.

    Notes
    -----
    A season's curve has harmonics, each shrunk, and moments of its own (a job at 02:00 every night); how much is
    shrunk is found by leaving out whole cycles. Rows of the calibration are judged by the curve of the other cycles, so
    they deviate as much as rows to come. The calibration must hold two cycles of the longest season; four give levels
    that keep their risk. The curve stays as it was calibrated. Times are those of the clock on the wall, where dates
    have a time zone by name.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.spot import Seasonal
    >>> rng = np.random.default_rng(0)
    >>> seconds = 300.0 * np.arange(288 * 28)
    >>> load = (3.0 - 2.0 * np.cos(2.0 * np.pi * seconds / 86400.0)) * rng.gamma(20.0, size=seconds.size)
    >>> watch = Seasonal(season="day").fit(load[:4032], seconds[:4032])
    >>> midnight, noon = watch.levels([0.0, 43200.0])
    >>> midnight.round(), noon.round()
    (array([ 5., 44.]), array([ 38., 209.]))
    """

    def __init__(
        self, detector: Spot | None = None, season: str | float | Sequence[str | float] = ("day", "week")
    ) -> None:
        self.detector = DSpot(side="both") if detector is None else detector
        if not isinstance(self.detector, Spot):
            raise ValueError(f"detector must be a Spot or a DSpot, got {detector!r}")
        several = season if isinstance(season, str | list | tuple) else np.ravel(np.asarray(season)).tolist()
        given = several.split(",") if isinstance(several, str) else several
        self.season: tuple[str | float, ...] = tuple(s.strip() if isinstance(s, str) else s for s in given)
        self._periods = tuple(period_of(one) for one in self.season)
        if not self._periods or len(set(self._periods)) < len(self._periods):
            raise ValueError(f"season must be one or several different ones, got {season!r}")
        self._profiles: list[Profile] = []
        self._now = math.nan
        self._events: Events | None = None

    # -- what it shares with its detector ------------------------------------------------------------------------------

    @property
    def periods(self) -> tuple[float, ...]:
        """Lengths of the seasons, in seconds."""
        return self._periods

    @property
    def risk(self) -> float:
        """As the detector's."""
        return self.detector.risk

    @property
    def side(self) -> str:
        """As the detector's."""
        return self.detector.side

    @property
    def nonfinite(self) -> str:
        """As the detector's."""
        return self.detector.nonfinite

    @property
    def depth(self) -> int:
        """As the detector's."""
        return self.detector.depth

    @property
    def parameters(self) -> dict[str, Any]:
        """The detector's arguments, and the season."""
        return {**self.detector.parameters, "season": ",".join(map(str, self.season))}

    @property
    def n(self) -> NDArray[np.int64]:
        """Observations learnt, as the detector's."""
        return self.detector.n

    @property
    def n_cleaned(self) -> NDArray[np.int64]:
        """Observations that were left out of the calibration, as the detector's."""
        return self.detector.n_cleaned

    @property
    def n_excess(self) -> NDArray[np.int64]:
        """Excesses among them, as the detector's."""
        return self.detector.n_excess

    @property
    def status(self) -> NDArray[np.int64]:
        """A `FitStatus` a tail, as the detector's."""
        return self.detector.status

    @property
    def names(self) -> NDArray[np.str_] | None:
        """Names of the streams, as the detector's."""
        return self.detector.names

    @property
    def alarm_threshold(self) -> Float:
        """The alarm levels at the time of the latest row; `levels` has those of any time."""
        self.detector._need_fit()
        return np.asarray(self.levels([self._now])[0])

    def check_calibration(self, n: int) -> None:
        """Raise ValueError if n finite observations are too few to calibrate on."""
        self.detector.check_calibration(n)

    # -- data in -------------------------------------------------------------------------------------------------------

    def fit(self, x: ArrayLike, time: ArrayLike | None = None) -> Self:
        """Calibrate, forgetting all that came before.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, streams)
            Observations in order of time, of two cycles of the longest season at least.
        time : array_like, shape (n,), optional
            Dates, or seconds from any origin; without it the dates of a data frame or series.

        Raises
        ------
        ValueError
            As `Spot.fit`; or if there are no times, they are not in order, or of fewer cycles or rows than needed.
        """
        values, times = self._read(x, time)
        if values.ndim not in (1, 2) or not values.size:
            raise ValueError(f"x must have shape (n,) or (n, streams) and not be empty, got shape {values.shape}")
        check_times(times, self._periods)
        columns = self.detector._finite(values, "x").reshape(len(values), -1)
        profiles, scaled = [], np.empty(columns.shape)
        for c in range(columns.shape[1]):
            fine = np.isfinite(columns[:, c])
            self.detector.check_calibration(int(np.count_nonzero(fine)))
            scaled[:, c] = columns[:, c]
            profile, scaled[fine, c] = fitted_profile(times[fine], columns[fine, c], self._periods)
            profiles.append(profile)
        self.detector.fit(scaled.reshape(values.shape))
        if (given := frame_labels(x)) is not None:
            self.detector._names = given.names
        self._profiles, self._now, self._events = profiles, float(times[-1]), None
        return self

    def update(self, batch: ArrayLike, time: ArrayLike | None = None) -> NDArray[np.int8]:
        """Judge and learn observations, in order of time; a `Label` each, as `Spot.update` returns them.

        Parameters
        ----------
        batch : array_like, shape (n,) or (n, streams)
            Observations.
        time : array_like, shape (n,), optional
            As in `fit`.
        """
        scaled, times = self._scaled(batch, time)
        labels = self.detector.update(scaled)
        self._seen(times)
        return cast("NDArray[np.int8]", like(batch, np.asarray(labels)))

    def step(self, x: float | ArrayLike, time: Any) -> Any:
        """Judge and learn a single observation of each stream, made at a time; see `Spot.step`."""
        labels = self.update(real_array(x, "x")[None], [time])
        return Label(int(labels[0])) if self.detector._single else labels[0]

    def trace(self, batch: ArrayLike, time: ArrayLike | None = None, *, alarms_only: bool = False) -> Trace:
        """Judge and learn as `update` does, and keep alarm levels and probabilities, as `Spot.trace` does."""
        return self.judged(batch, time, alarms_only=alarms_only)[2]

    def judged(
        self, batch: ArrayLike, time: ArrayLike | None = None, *, alarms_only: bool = False
    ) -> tuple[Float, Trace, Trace]:
        """Judge and learn as `update` does; what `Events` needs to know.

        Returns
        -------
        tuple
            The deviations on the scale of the season, a `Trace` on that scale, and one in the units of the data.
        """
        scaled, times = self._scaled(batch, time)
        trace = self.detector.trace(scaled, alarms_only=alarms_only)
        shown = Trace(trace.label, self._in_units(trace.alarm_threshold, times), trace.log_probability,
                      trace.names, dates_of(batch))  # fmt: skip
        self._seen(times)
        return scaled, trace, shown

    def events(self, batch: ArrayLike, time: ArrayLike | None = None) -> list[Event]:
        """Judge and learn as `update` does, and return which events began and which were over; see `Spot.events`."""
        scaled, trace, shown = self.judged(batch, time, alarms_only=True)
        if self._events is None:
            names = len(self._profiles) if self.names is None else np.atleast_1d(self.names).tolist()
            self._events = Events(names, risk=self.risk, side=self.side)
        return self._events.feed(scaled, trace, shown=(np.asarray(batch, dtype=np.float64), shown.alarm_threshold))

    # -- what it knows -------------------------------------------------------------------------------------------------

    def levels(self, time: ArrayLike) -> Float:
        """The alarm levels of the next observation, were it made at each of these times.

        Returns
        -------
        ndarray of float64
            Shaped as `Spot.alarm_threshold`, with time in front, in the units of the data.
        """
        times = seconds_of(time)
        level = self.detector.alarm_threshold
        return self._in_units(np.broadcast_to(level, (len(times), *level.shape)), times)

    def probability(self, x: ArrayLike, time: ArrayLike | None = None) -> Float:
        """How improbable values would be as the next observation, at their times; see `Spot.probability`.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, streams)
            Values.
        time : array_like, shape (n,), optional
            As in `fit`, in any order.
        """
        scaled, _ = self._scaled(x, time)
        return cast("Float", like(x, self.detector.probability(scaled)))

    def __repr__(self) -> str:
        return f"Seasonal({', '.join(map(str, self.season))}; {self.detector!r})"

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a JSON file, atomically; a loaded detector goes on as this one would. It must be fitted."""
        write_json(path, "Seasonal", self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises ValueError if the file is anything else."""
        return cls.from_dict(read_json(path, "Seasonal"), str(path))

    def to_bytes(self) -> bytes:
        """What `save` writes, as bytes."""
        return json_to_bytes("Seasonal", self.to_dict())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` made. Raises ValueError if it is anything else."""
        return cls.from_dict(json_from_bytes(data, "Seasonal"), "data")

    def to_dict(self) -> dict[str, Any]:
        """All that `save` writes, of numbers, lists and dicts."""
        detector = self.detector.to_dict()
        return {
            "season": list(self.season),
            "now": self._now,
            "profiles": [profile_content(profile) for profile in self._profiles],
            "events": None if self._events is None else self._events.to_dict(),
            "detector": {"kind": type(self.detector).__name__, **detector},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], source: str = "content") -> Self:
        """What `to_dict` described. Raises ValueError, which calls the content `source`, if it is anything else."""
        try:
            keys(content, {"season", "now", "profiles", "events", "detector"})
            stored = dict(keys(content["detector"], {"kind", "streams"}, content["detector"]))
            kind = _DETECTORS[text(stored.pop("kind"), "kind", _DETECTORS)]
            seasons = content["season"]
            if type(seasons) is not list or any(type(one) not in (str, int, float) for one in seasons):
                raise ValueError(f"season must be a list of seasons, got {seasons!r:.60}")
            own = cls(kind.from_dict(stored, source), seasons)
            if type(content["profiles"]) is not list or len(content["profiles"]) != len(stored["streams"]):
                raise ValueError("wanted a profile a stream")
            own._profiles = [stored_profile(one, own._periods) for one in content["profiles"]]
            own._now = number(content["now"], "now")
            own._events = None if content["events"] is None else Events.from_dict(content["events"])
        except (ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"{source} is not a saved Seasonal: {error}") from error
        return own

    # -- inside --------------------------------------------------------------------------------------------------------

    def _read(self, x: ArrayLike, time: ArrayLike | None) -> tuple[Float, Float]:
        values = real_array(x, "x").astype(np.float64)
        if time is None:
            dates = dates_of(x)
            if dates is None:
                raise ValueError("time must be given, dates or seconds, where x has no dates")
            times = wall(dates)
        else:
            times = seconds_of(time)
        if times.shape != values.shape[:1]:
            raise ValueError(f"time must be one an observation, shape {values.shape[:1]}, got {times.shape}")
        return values, times

    def _scaled(self, x: ArrayLike, time: ArrayLike | None) -> tuple[Float, Float]:
        """Observations on the scale of the season, and their times."""
        self.detector._check_names(x, "a batch")
        values, times = self._read(x, time)
        single = self.detector._single
        if values.ndim != 2 - single or (not single and values.shape[1] != len(self._profiles)):
            wanted = "(n,)" if single else f"(n, {len(self._profiles)})"
            raise ValueError(f"a batch must have shape {wanted}, as the calibration sample had, got {values.shape}")
        values = self.detector._finite(values, "a batch")
        columns = values.reshape(len(values), len(self._profiles))
        out = np.empty(columns.shape)
        for c, profile in enumerate(self._profiles):
            centre, below, above = profile.at(times)
            left = columns[:, c] - centre
            scaled = left / np.where(left < 0.0, below, above)
            # what is finite stays so: the detector refuses or skips other values
            out[:, c] = np.where(np.isfinite(left), np.clip(scaled, -0.5 * HUGE, 0.5 * HUGE), columns[:, c])
        return out.reshape(values.shape), times

    def _in_units(self, levels: Float, times: Float) -> Float:
        """Levels on the scale of the season, (n, …), in the units of the data."""
        shape = len(times), len(self._profiles), len(SIDES[self.side])
        given, out = levels.reshape(shape), np.empty(shape)
        for c, profile in enumerate(self._profiles):
            centre, below, above = (part[:, None] for part in profile.at(times))
            out[:, c] = centre + given[:, c] * np.where(given[:, c] < 0.0, below, above)
        return out.reshape(levels.shape)

    def _seen(self, times: Float) -> None:
        if times.size:
            self._now = float(times[-1])
