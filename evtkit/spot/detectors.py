"""Spot and DSpot: what users do with a detector; `evtkit.spot.reading` has what they look at."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import frame_labels, like
from evtkit._common.threads import thread_count
from evtkit.dated.reading import dates_of
from evtkit.spot.events import Event, Events
from evtkit.spot.labels import ANOMALY, EXCESS, HUGE, MISSING, NORMAL, Label
from evtkit.spot.reading import SIDES, Detector
from evtkit.spot.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.spot.state import Rules

__all__ = ["DSpot", "Spot"]


_LABELS = (NORMAL, EXCESS, ANOMALY, MISSING)  # so that label −1 is the last
_NONE = np.empty((0, 0))
_PASSES = 3  # of the cleaning
_TIMES, _LASTS = 2, 10  # what stood apart at more times than these, so many rows from each other, will come again
_LEVELS = {"plug-in": 0, "predictive": 1}
_ALARMS = {"ignore": 0, "impute": 1, "learn": 2}  # as the kernels know them


class Spot(Detector):
    """Alarms on one stream or on many at once (SPOT, Siffer et al. 2017).

    Calibrate with `fit`, then give observations to `update` in batches, or to `step` one at a time: however a stream is
    cut, the alarms are the same to the last bit, and they are those of a model renewed after every excess. `events` has
    incidents instead, each told once.

    Parameters
    ----------
    risk : float
        Probability that an ordinary observation raises an alarm. With ``side="both"`` half of it belongs to each side.
    quantile : float
        The threshold u is this quantile of the calibration sample, sorted(x)[floor(quantile · n)]; with
        ``side="lower"`` counted from the other end. It is lower where that would leave fewer than 100 excesses (but a
        tenth of the sample at the most), and rises towards the quantile as excesses gather.
    side : str
        ``"upper"``, ``"lower"`` or ``"both"``: which extremes are watched.
    max_excess : int
        Excesses kept a tail, the newest, which bounds the memory and lets the shape of the tail follow the stream.
    on_alarm : str
        What is learnt. ``"impute"``: what the fitted tail can account for, being exceeded with a third of the risk at
        least, as it is, whether it is an alarm or not. Of what lies farther out, as many values as the risk lets expect
        (and the standard error of their number) are taken for ordinary, and excesses as the tail expects beyond its
        level are learnt in their place. With the predictive level nothing is learnt of values rarer than three times
        the risk that come more than four times as often as that. ``"ignore"``: nothing of an alarm, as published; a
        tail that never sees its extremes is then learnt too short, and its level sinks (see :doc:`/alarms`).
        ``"learn"``: the value of an alarm, as of any excess; the first incident then hides the next.
    level : str
        ``"predictive"``, the level of the next observation, or ``"plug-in"``, the textbook's, with ξ and σ as estimated
        and the threshold exactly at the quantile: exceeded several times too often where risk · n is below 10.
    clean : bool or None
        What is left out of the calibration sample; `n_cleaned` counts it. None: gross outliers, observations that no
        tail explains (`evtkit.cleaning.gross_outliers`) and which came at one time or two, for they would raise the
        level; what came at three times is expected again. Nothing with the plug-in level, the textbook's. True: all
        that stands apart from the rest (`evtkit.cleaning.isolated`). False: nothing.
    min_excess : int
        Excesses that a tail must have before it is fitted.
    nonfinite : str
        ``"raise"`` a ValueError on NaN and infinities, or ``"skip"`` them: NaN is MISSING, an infinity an ANOMALY, and
        nothing is learnt of either. A magnitude of 1e300 or more counts as infinite.
    n_threads : int, optional
        For many streams; default EVTKIT_NUM_THREADS or all processors. Never changes a bit of the result.

    Raises
    ------
    ValueError
        If an argument is none of these, or the risk is not below the share of observations above the threshold.

    Notes
    -----
    *Ties.* Excesses and alarms are strict: an observation equal to the threshold is NORMAL, one equal to the alarm
    level an EXCESS. *Rounded values.* Where excesses of the calibration tie, a value stands for the step below it. *No
    fit.* While a tail has fewer than `min_excess` excesses, or all of them are equal, its `alarm_threshold` is inf, and
    its alarms are those that need no model: among n exchangeable observations the newest has rank k or a smaller one
    with probability k/n, and is an ANOMALY where that is less than the risk. *Ends of a range.* A value that comes
    again and again, such as a load of 100 %, may lie beyond the level of a tail that ends there: a level is raised to
    what has been learnt too often for its risk (a Poisson probability below 0.001).

    *Cost.* A new model at every excess is what the results are equal to, not what is done: between fits the maximum of
    the likelihood is followed by two sums, and the level keeps its ratio to the plug-in level; only an excess near it
    is judged by a new fit.

    References
    ----------
    Siffer, Fouque, Termier & Largouët (2017), Anomaly detection in streams with extreme value theory, KDD.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import Spot
    >>> rng = np.random.default_rng(0)
    >>> spot = Spot(risk=1e-4).fit(rng.standard_normal(5000))
    >>> spot
    Spot(risk 0.0001, upper; 5,000 observations; alarm above 3..., 100 excesses above 2..., xi=-0..., OK)
    >>> labels = spot.update(np.append(rng.standard_normal(1000), 8.0))
    >>> np.flatnonzero(labels == 2).tolist(), spot.step(9.0).name
    ([1000], 'ANOMALY')
    """

    _parameter_names: tuple[str, ...] = (
        "risk",
        "quantile",
        "side",
        "max_excess",
        "on_alarm",
        "level",
        "clean",
        "min_excess",
        "nonfinite",
    )

    def __init__(
        self,
        risk: float = 1e-4,
        quantile: float = 0.98,
        *,
        side: str = "upper",
        max_excess: int = 1000,
        on_alarm: str = "impute",
        level: str = "predictive",
        clean: bool | None = None,
        min_excess: int = 10,
        nonfinite: str = "raise",
        n_threads: int | None = None,
    ) -> None:
        for name, value, choices in (
            ("side", side, tuple(SIDES)),
            ("on_alarm", on_alarm, tuple(_ALARMS)),
            ("level", level, tuple(_LEVELS)),
            ("nonfinite", nonfinite, ("raise", "skip")),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
        for name, given in (("risk", risk), ("quantile", quantile)):
            if not isinstance(given, Real):
                raise ValueError(f"{name} must be a number, got {given!r}")
        if not 0.5 <= quantile < 1.0:
            raise ValueError(f"quantile must lie in [0.5, 1), got {quantile}")
        share = 1.0 - quantile
        if not 0.0 < risk / len(SIDES[side]) < share:
            raise ValueError(
                f"risk must lie between 0 and {share * len(SIDES[side]):.6g}, the share of observations beyond the "
                f"{quantile} quantile, got {risk}"
            )
        for name, number, least in (("min_excess", min_excess, 2), ("max_excess", max_excess, min_excess)):
            if not isinstance(number, Real) or number != number // 1 or number < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {number!r}")
        if n_threads is not None:
            thread_count(n_threads)
        self.risk, self.quantile, self.side = float(risk), float(quantile), side
        self.max_excess, self.on_alarm, self.level = int(max_excess), on_alarm, level
        self.clean, self.min_excess, self.nonfinite = None if clean is None else bool(clean), int(min_excess), nonfinite
        self.n_threads = n_threads

    # -- data in -----------------------------------------------------------------------------------------------------

    def fit(self, x: ArrayLike) -> Self:
        """Calibrate on observations that are usual, or mostly usual (see `clean`), forgetting all that came before.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, streams)
            Observations in order of time.

        Returns
        -------
        Spot
            This object.

        Raises
        ------
        ValueError
            If x is empty, has another shape, holds no numbers, or NaN or infinities (unless they are skipped), or so
            few observations that none can lie above the quantile.
        """
        from evtkit.spot.state import Streams

        values = real_array(x, "x").astype(np.float64)
        if values.ndim not in (1, 2) or values.size == 0:
            raise ValueError(f"x must have shape (n,) or (n, streams) and not be empty, got shape {values.shape}")
        values = self._finite(values, "x")
        columns, rules = values.reshape(len(values), -1), self._as_rules()
        streams = Streams.empty(columns.shape[1], len(rules.signs), self.max_excess, self._depth)
        cleaned, hold = np.zeros(len(streams), np.int64), self.level == "predictive"
        for c in range(len(streams)):
            finite = columns[np.isfinite(columns[:, c]), c]
            self.check_calibration(len(finite))
            deviations = streams.centred(finite, c, hold=hold)
            if self.clean or (self.clean is None and hold):
                if self._depth:
                    finite, cleaned[c] = self._begun(finite, deviations)
                    deviations = streams.centred(finite, c, hold=hold) if cleaned[c] else deviations
                for _ in range(_PASSES):  # without what stands apart, deviations are others, and others may stand apart
                    usual = self._usual(deviations)
                    if np.all(usual):
                        break
                    deviations = streams.centred(finite, c, hold=hold, usual=usual)
                deviations, cleaned[c] = deviations[usual], cleaned[c] + np.count_nonzero(~usual)
            streams.begin(c, deviations, self.quantile, rules)
        given = frame_labels(x)
        self._start(streams, values.ndim == 1, None if given is None else given.names, cleaned)
        return self

    def update(self, batch: ArrayLike) -> NDArray[np.int8]:
        """Judge and learn observations, in order of time.

        Parameters
        ----------
        batch : array_like, shape (n,), or (n, streams) after a `fit` of that many
            Any number of observations, also none.

        Returns
        -------
        ndarray of int8
            A `Label` each, in the shape of `batch`: NORMAL 0, EXCESS 1, ANOMALY 2 (MISSING −1).

        Raises
        ------
        ValueError
            If the detector is not fitted, the shape is another, or a value is not a number or (with
            ``nonfinite="raise"``) not finite; nothing has been learnt then.
        """
        values = self._checked(batch)
        return cast("NDArray[np.int8]", like(batch, self._run(values, _NONE, _NONE).reshape(values.shape)))

    def step(self, x: float | ArrayLike) -> Any:
        """Judge and learn a single observation of one stream, or one of each stream; see `update`.

        Returns
        -------
        Label, or ndarray of int8, shape (streams,)
            After a `fit` of one stream, or of several.
        """
        try:
            if self._low <= x <= self._high:  # type: ignore[operator]
                self._waiting += 1
                return NORMAL
            if type(x) is float and self._single and -HUGE < x < HUGE:
                return _LABELS[self._run(np.array([[x]]), _NONE, _NONE)[0, 0]]
        except (TypeError, ValueError):
            pass  # not a number: all is checked below
        values = self._checked(real_array(x, "a batch")[None])
        labels = self._run(values, _NONE, _NONE)
        return Label(int(labels[0, 0])) if self._single else labels[0]

    def trace(self, batch: ArrayLike, *, alarms_only: bool = False) -> Trace:
        """Judge and learn as `update` does, and keep the alarm levels and probabilities of every moment.

        Slower than `update`, for every excess is followed by a fit; not so with `alarms_only`, which keeps them of
        alarms, and NaN elsewhere. Other arguments and errors as there.
        """
        values, streams = self._checked(batch), self._need_fit()
        rows = len(values)
        levels, scores = np.full((rows, len(streams.floats)), np.nan), np.full((rows, len(streams)), np.nan)
        labels = self._run(values, levels, scores, every=not alarms_only)
        return Trace(
            labels.reshape(values.shape), self._shaped(levels, rows), scores.reshape(values.shape), self._names,
            dates_of(batch),
        )  # fmt: skip

    def check_calibration(self, n: int) -> None:
        """Raise ValueError if n finite observations of a stream are too few to calibrate on."""
        usable = n - self.depth
        if usable - int(self.quantile * usable) < 2:
            wanted = self.depth + int(1.0 / (1.0 - self.quantile) + 1e-9) + 1
            finite = "finite " if self.nonfinite == "skip" else ""
            raise ValueError(f"a stream must have at least {wanted} {finite}observations to calibrate on, got {n}")

    def events(self, batch: ArrayLike) -> list[Event]:
        """Judge and learn as `update` does, and return which events began and which were over.

        An event is an incident, told once when it begins and once when it is over, 50 rows after its last alarm;
        `evtkit.spot.Events` has the details, and other choices. Arguments and errors as those of `update`.
        """
        streams = self._need_fit()
        if self._events is None:
            names = len(streams) if self._names is None else np.atleast_1d(self._names).tolist()
            self._events = Events(names, risk=self.risk, side=self.side)
        return self._events.feed(np.asarray(batch, dtype=np.float64), self.trace(batch, alarms_only=True))

    # -- inside ------------------------------------------------------------------------------------------------------

    def _as_rules(self) -> Rules:
        from evtkit.spot.state import Rules

        signs = np.array(SIDES[self.side])
        return Rules(signs, self.risk / len(signs), self.min_excess, _ALARMS[self.on_alarm], _LEVELS[self.level],
                     1.0 - self.quantile if self.level == "predictive" else 0.0, self.n_threads)  # fmt: skip

    def _usual(self, deviations: Float) -> NDArray[np.bool_]:
        """Which observations of a calibration sample do not stand apart; on either side of a mean that is followed."""
        from evtkit.cleaning import isolated

        if not self.clean:
            return ~self._gross(deviations)
        sides = SIDES["both"] if self._depth else SIDES[self.side]
        return np.asarray(~np.any([isolated(sign * deviations, quantile=self.quantile) for sign in sides], axis=0))

    def _gross(self, deviations: Float) -> NDArray[np.bool_]:
        """Which are gross outliers of one time or two; what came more often will come again."""
        from evtkit.cleaning import gross_outliers

        out = np.zeros(deviations.shape, dtype=np.bool_)
        for sign in SIDES["both"] if self._depth else SIDES[self.side]:
            gross = gross_outliers(sign * deviations)
            if 1 + np.count_nonzero(np.diff(np.flatnonzero(gross)) > _LASTS) <= _TIMES:
                out |= gross
        return out

    def _begun(self, x: Float, deviations: Float) -> tuple[Float, int]:
        """A sample without gross outliers among those that fill the window first, and their number."""
        first, rest = x[: self._depth], x[self._depth :]
        gross = self._gross(np.concatenate([first - np.median(first), deviations]))[: self._depth]
        return np.concatenate([np.where(gross, np.median(first[~gross]), first), rest]), int(np.count_nonzero(gross))

    def _finite(self, values: Float, name: str) -> Float:
        """Values that can be summed: finite, or NaN and infinite where those are skipped."""
        if not values.size or (values.min() > -HUGE and values.max() < HUGE):  # not so with NaN
            return values
        fine = np.abs(values) < HUGE
        if self.nonfinite == "raise":
            raise ValueError(
                f"{name} must be finite (below {HUGE:g} in magnitude), got {float(values[~fine][0])}; "
                f"{type(self).__name__}(…, nonfinite='skip') passes over such values"
            )
        return np.where(fine | np.isnan(values), values, np.copysign(np.inf, values))

    def _checked(self, batch: ArrayLike) -> Float:
        streams = self._need_fit()
        self._check_names(batch, "a batch")
        values = real_array(batch, "a batch").astype(np.float64, copy=False)
        wanted = "(n,)" if self._single else f"(n, {len(streams)})"
        if values.ndim != 2 - self._single or (not self._single and values.shape[1] != len(streams)):
            raise ValueError(f"a batch must have shape {wanted}, as the calibration sample had, got {values.shape}")
        return self._finite(values, "a batch")

    def _run(self, values: Float, levels: Float, scores: Float, *, every: bool = True) -> NDArray[np.int8]:
        streams = self._need_fit()
        self._current = None
        labels = streams.run(values.reshape(len(values), len(streams)), self._rules, levels, scores, every=every)
        self._set_bounds()
        return labels


class DSpot(Spot):
    """Alarms on streams that move: `Spot` on the deviation from where a stream is (after DSPOT, Siffer et al. 2017).

    While a stream stays, its centre does, and the alarms are those of `Spot`. Once the mean of the last `depth`
    observations is more than six standard errors from the centre, the stream has moved: for two windows' time the
    centre is that mean, and then it is held again where the mean is, or where it was, if it has come back.
    Observations enter the mean cut to the middle 80 % of deviations, so that a burst moves nothing; after `depth`
    alarms in a row they enter as they are.

    With ``level="plug-in"`` each observation is judged by its deviation from the mean of the last `depth` ones, as
    published; an alarm enters that mean as a value at the alarm level, as it is with ``on_alarm="learn"``, and with
    ``"ignore"`` not at all.

    Parameters
    ----------
    risk, depth : float, int
        As in `Spot`; and the length of the window. A short one follows quickly, a long one notices smaller moves.
    quantile, **others
        As in `Spot`. The first `depth` observations of the calibration sample fill the window, the others calibrate.

    Notes
    -----
    `threshold` and `alarm_threshold` are levels of the next observation, in the units of the data: they move with the
    centre. The mean comes from a sum in twice the working precision, formed anew every `depth` observations, so it does
    not depend on how long the stream has run.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import DSpot
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(6000) + np.linspace(0.0, 50.0, 6000)
    >>> x[5500] -= 12.0
    >>> spot = DSpot(risk=1e-4, side="both").fit(x[:2000])
    >>> 5500 in 2000 + np.flatnonzero(spot.update(x[2000:]) == 2)
    True
    """

    _parameter_names = ("depth", *Spot._parameter_names)

    def __init__(self, risk: float = 1e-4, depth: int = 100, quantile: float = 0.98, **others: Any) -> None:
        if not isinstance(depth, Real) or depth != depth // 1 or depth < 1:
            raise ValueError(f"depth must be a positive integer, got {depth!r}")
        super().__init__(risk, quantile, **others)
        self._depth = int(depth)
