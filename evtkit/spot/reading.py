"""What a stream detector has learnt, to look at and to save; `evtkit.spot` has how it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.files import json_from_bytes, json_to_bytes, read_json, write_json
from evtkit._common.frames import check_names, frame_labels, like
from evtkit._common.text import counted
from evtkit.fit import FitStatus
from evtkit.spot.events import Events

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.spot.state import Rules, Streams

__all__ = ["SIDES", "Detector"]

_LARGEST = float(np.finfo(np.float64).max)
SIDES = {"upper": (1.0,), "lower": (-1.0,), "both": (-1.0, 1.0)}


class Detector:
    """The state of `evtkit.Spot` and `evtkit.DSpot`, and what it says."""

    risk: float
    side: str
    max_excess: int
    _parameter_names: tuple[str, ...]
    _depth = 0
    _streams: Streams | None = None
    _single = False
    _names: NDArray[np.str_] | None = None
    _events: Events | None = None
    _waiting = 0  # normal observations that `step` has counted, and _streams not yet
    _low = _high = np.nan  # what `step` takes for NORMAL without looking further

    if TYPE_CHECKING:

        def __init__(self, *, n_threads: int | None = None, **parameters: Any) -> None: ...

        def _as_rules(self) -> Rules: ...

    @property
    def depth(self) -> int:
        """Observations whose mean is subtracted from the next; 0 for a detector of values as they are."""
        return self._depth

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments that it was made with, by name, but for the number of threads."""
        return {name: getattr(self, name) for name in self._parameter_names}

    def is_normal(self, x: float) -> bool:
        """Whether a value is NORMAL for certain, at no cost; of one stream without a window, else False."""
        return self._low <= x <= self._high

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def names(self) -> NDArray[np.str_] | None:
        """Names of the streams, if the calibration sample was a data frame or series; shape () or (streams,)."""
        self._need_fit()
        return self._names

    @property
    def alarm_threshold(self) -> Float:
        """The level beyond which the next observation is an ANOMALY, in the units of the data; inf without a fit.

        Of shape () or (streams,); with ``side="both"`` there is a last axis of two, the lower and the upper level.
        """
        return self._level(1)

    @property
    def threshold(self) -> Float:
        """The threshold beyond which the next observation is an EXCESS; shaped as `alarm_threshold`."""
        return self._level(0)

    @property
    def xi(self) -> Float:
        """Shape ξ of the fitted tail, NaN without one; shaped as `alarm_threshold`."""
        return self._shaped(self._model()[0][:, 2].copy())

    @property
    def sigma(self) -> Float:
        """Scale σ of the fitted tail, NaN without one; shaped as `alarm_threshold`."""
        return self._shaped(self._model()[0][:, 3].copy())

    @property
    def status(self) -> NDArray[np.int64]:
        """A `FitStatus` a tail; shaped as `alarm_threshold`."""
        from evtkit._kernels.tail_columns import STATUS

        return self._shaped(self._model()[1][:, STATUS].copy())

    @property
    def n(self) -> NDArray[np.int64]:
        """Observations learnt, those of the calibration among them; shape () or (streams,)."""
        return self._per_stream(self._need_fit().n)

    @property
    def n_cleaned(self) -> NDArray[np.int64]:
        """Observations of the calibration sample that were left out because they stand apart, shaped as `n`."""
        self._need_fit()
        return self._per_stream(self._cleaned)

    @property
    def n_excess(self) -> NDArray[np.int64]:
        """Excesses over the threshold among those learnt, kept or not; shaped as `alarm_threshold`."""
        from evtkit._kernels.tail_columns import TOTAL

        return self._shaped(self._need_fit().integers[:, TOTAL].copy())

    def excesses(self, stream: int = 0, side: str | None = None) -> Float:
        """The excesses that are kept of a stream, x − u, or u − x for the lower side.

        Parameters
        ----------
        stream : int
            Which stream.
        side : str
            ``"lower"`` or ``"upper"``, needed where both are watched.

        Returns
        -------
        ndarray of float64
            In order of time, the oldest first: those of which `evtkit.fit_gpd` makes `xi` and `sigma`.
        """
        streams = self._need_fit()
        if not 0 <= stream < len(streams):
            raise ValueError(f"stream must lie in [0, {len(streams) - 1}], got {stream}")
        sides = {"lower": 0, "upper": 1} if self.side == "both" else {self.side: 0}
        wanted = side or next(iter(sides))
        if wanted not in sides or (side is None and len(sides) > 1):
            raise ValueError(f"side must be one of {', '.join(map(repr, sides))}, got {side!r}")
        return streams.excesses(stream * len(sides) + sides[wanted])

    def probability(self, x: ArrayLike) -> Float:
        """P(X > x), or P(X < x): how improbable a value would be as the next observation.

        Parameters
        ----------
        x : array_like, shape (..., streams); any shape for one stream
            Values, in the units of the data.

        Returns
        -------
        ndarray of float64
            In the shape of `x`; less than the risk just where an observation would be an ANOMALY. With ``side="both"``
            twice the smaller of the two. At and below the threshold it is only known to be at least N_u/n, and 1 is
            returned: never less than the truth. Without a fit, by rank (see the notes above).

        Raises
        ------
        ValueError
            If the detector is not fitted, x holds NaN or no numbers, or its last axis is not the streams.
        """
        from evtkit._kernels.streams import log_probabilities

        streams, rules = self._need_fit(), self._rules
        floats, integers = self._model()
        self._check_names(x, "x")
        values = real_array(x, "x").astype(np.float64)
        if np.any(np.isnan(values)):
            raise ValueError("x holds NaN; a value must be a number")
        if not self._single and (values.ndim == 0 or values.shape[-1] != len(streams)):
            raise ValueError(f"x must have {len(streams)} streams on its last axis, got shape {values.shape}")
        out = np.empty((values.size // len(streams), len(streams)))
        log_probabilities(streams.deviations(values.reshape(out.shape)), streams.doubts, rules.risk, streams.n,
                          rules.signs, floats, integers, streams.rings, rules.law, out)  # fmt: skip
        with np.errstate(under="ignore"):
            return cast("Float", like(x, np.asarray(np.exp(out)).reshape(values.shape)))

    def __repr__(self) -> str:
        about = f"{type(self).__name__}(risk {self.risk:g}, {self.side}"
        if self._streams is None:
            return f"{about}; not fitted)"
        status = self.status.ravel().tolist()
        if not self._single:
            states = ", ".join(f"{status.count(s):,} {s.name}" for s in FitStatus if s in status)
            out = int(self._cleaned.sum())
            left = f", {out:,} of the calibration left out" if out else ""
            return (f"{about}; {counted(len(self._streams), 'stream')}, "
                    f"{counted(int(self.n.sum()), 'observation')}{left}; tails {states})")  # fmt: skip
        tails = [
            f"alarm {word} {level:.4g}, {counted(int(count), 'excess')} {word} {u:.4g}, xi={xi:.3g}, "
            f"{FitStatus(state).name}"
            for word, level, count, u, xi, state in zip(
                ("above",) if self.side == "upper" else ("below", "above"), self.alarm_threshold.ravel(),
                self.n_excess.ravel(), self.threshold.ravel(), self.xi.ravel(), status, strict=False,
            )
        ]  # fmt: skip
        out = int(self._cleaned[0])
        left = f", {out:,} of the calibration left out" if out else ""
        return f"{about}; {counted(int(self.n), 'observation')}{left}; {'; '.join(tails)})"

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a JSON file, atomically; a loaded detector goes on as this one would. It must be fitted."""
        write_json(path, type(self).__name__, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, n_threads: int | None = None) -> Self:
        """Read what `save` wrote. Raises ValueError if the file is anything else."""
        return cls.from_dict(read_json(path, cls.__name__), str(path), n_threads=n_threads)

    def to_bytes(self) -> bytes:
        """What `save` writes, as bytes: the state of a key in a stream engine or a broker."""
        return json_to_bytes(type(self).__name__, self.to_dict())

    @classmethod
    def from_bytes(cls, data: bytes, *, n_threads: int | None = None) -> Self:
        """Read what `to_bytes` made. Raises ValueError if it is anything else."""
        return cls.from_dict(json_from_bytes(data, cls.__name__), "data", n_threads=n_threads)

    def to_dict(self) -> dict[str, Any]:
        """All that `save` writes, of numbers, lists and dicts: to be a part of larger files. It must be fitted."""
        streams = self._need_fit()
        return {
            "parameters": self.parameters,
            "single": self._single,
            "names": None if self._names is None else self._names.tolist(),
            "cleaned": self._cleaned.tolist(),
            "streams": streams.to_list(),
            "events": None if self._events is None else self._events.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], source: str = "content", *, n_threads: int | None = None) -> Self:
        """The detector that `to_dict` described.

        Raises ValueError, which calls the content `source`, if it is anything else.
        """
        from evtkit.spot.state import Streams
        from evtkit.spot.stored import check_content, check_parameters, check_streams

        try:
            check_parameters(content, cls._parameter_names)
            detector = cls(**content["parameters"], n_threads=n_threads)
            form = len(SIDES[detector.side]), detector.max_excess, detector._depth
            check_content(content, *form)
            streams = Streams.from_list(content["streams"], *form)
            check_streams(streams, detector._as_rules())
            names = None if content["names"] is None else np.array(content["names"], dtype=np.str_)
            detector._start(streams, content["single"], names, np.array(content["cleaned"], dtype=np.int64))
            detector._events = None if content["events"] is None else Events.from_dict(content["events"])
        except (ValueError, OverflowError, MemoryError) as error:
            raise ValueError(f"{source} is not a saved {cls.__name__}: {error}") from error
        return detector

    # -- inside ------------------------------------------------------------------------------------------------------

    def _need_fit(self) -> Streams:
        """The streams, with all counted that `step` has put off."""
        if self._streams is None:
            raise ValueError(f"this {type(self).__name__} has not seen a calibration sample; call fit first")
        self._streams.n[0] += self._waiting
        self._waiting = 0
        return self._streams

    def _start(
        self, streams: Streams, single: bool, names: NDArray[np.str_] | None, cleaned: NDArray[np.int64]
    ) -> None:
        """Take streams that have been calibrated, or loaded."""
        self._streams, self._single, self._names, self._cleaned = streams, single, names, cleaned
        self._waiting = 0
        self._events = None
        self._rules = self._as_rules()
        self._current: tuple[Float, NDArray[np.int64]] | None = None
        self._low, self._high = np.nan, np.nan
        self._set_bounds()

    def _set_bounds(self) -> None:
        """What `step` takes for NORMAL without looking further: up to the thresholds, of one stream that stays."""
        if not self._single or self._depth:
            return
        streams = self._streams
        assert streams is not None
        thresholds = streams.floats[:, 0].tolist()
        upper, lower = self.side != "lower", self.side != "upper"
        self._low = -thresholds[0] if lower else -_LARGEST
        self._high = thresholds[-1] if upper else _LARGEST

    def _model(self) -> tuple[Float, NDArray[np.int64]]:
        streams = self._need_fit()
        if self._current is None:
            self._current = streams.refitted(self._rules)
        return self._current

    def _level(self, column: int) -> Float:
        streams, signs = self._need_fit(), np.array(SIDES[self.side])
        levels = self._model()[0][:, column].reshape(len(streams), len(signs))
        return self._shaped(signs * (levels + streams.doubts[:, None]) + streams.centres[:, None])

    def _per_stream(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(values[0]) if self._single else values.copy()

    def _shaped(self, values: NDArray[Any], *time: int) -> NDArray[Any]:
        """Values with the tails on their last axis, in the shape that users see."""
        streams = () if self._single else (-1,)
        sides = () if self.side != "both" else (2,)
        return values.reshape((*time, *streams, *sides))

    def _check_names(self, x: object, argument: str) -> None:
        """Refuse a data frame whose columns are not the streams."""
        if (given := frame_labels(x)) is not None:
            check_names(given.channels, self._names, argument)
