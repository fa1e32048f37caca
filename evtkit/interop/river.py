"""Stream detectors for River (``pip install 'evtkit[river]'``).

`SpotDetector` scores observations, a dict of features each, by how improbable they are. `SpotFilter` decides which
scores of any detector are anomalous, at a risk that you name instead of a fixed score.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

try:
    from river.base import AnomalyDetector, AnomalyFilter
except ImportError as error:
    raise ImportError("evtkit.interop.river needs River; install it with: pip install 'evtkit[river]'") from error

from evtkit.spot import DSpot, Event, Events, Spot

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["SpotDetector", "SpotFilter"]


class _Stream:
    """One stream from its first value on: values are gathered, calibrate, and are then judged and learnt."""

    def __init__(self, spot: Spot, grace_period: int) -> None:
        self.spot, self._grace_period = spot, grace_period
        self._first: list[float] | None = []
        self.log = Events(side=spot.side)
        self.told: list[Event] = []
        self._row = 0

    @property
    def is_calibrated(self) -> bool:
        return self._first is None

    def learn(self, value: float) -> None:
        """What is not finite is not learnt."""
        self._row += 1
        if self._first is None:
            if self.spot.is_normal(value) and not self.log.going_on:
                self.spot.step(value)
            else:
                trace = self.spot.trace([value], alarms_only=True)
                self.told += self.log.feed([value], trace, [self._row - 1])
        elif math.isfinite(value):
            self._first.append(value)
            if len(self._first) >= self._grace_period:
                self.spot.fit(self._first)
                self._first = None

    def probability(self, value: float) -> float:
        """How improbable a value would be as the next one; 1 while there is no calibration, and of a missing value."""
        spot = self.spot
        if not self.is_calibrated or math.isnan(value) or spot.is_normal(value):  # not beyond a threshold
            return 1.0
        return 0.0 if math.isinf(value) else float(spot.probability(value))


class SpotDetector(AnomalyDetector):
    """Anomaly scores that are probabilities: 1 − p, where p is how improbable the most improbable feature is.

    Every feature is a stream of its own with its own `evtkit.Spot`. The first `grace_period` values of a feature
    calibrate it; from then on each value has a probability p, that of an ordinary one being as extreme. The score of an
    observation is 1 − min(1, m · min p) over its m calibrated features (Bonferroni's bound, which holds however the
    features depend on each other). So a score of at least 1 − r occurs with a probability of at most r in ordinary
    observations: ``ThresholdFilter(SpotDetector(), threshold=1 - 1e-4)`` alarms at the risk 1e-4. At and below its
    threshold a value is not told from others, p = 1, and an observation with no value beyond one has score 0.

    Features may come and go: one that is absent, or NaN, is neither scored nor learnt. An infinite one has score 1 and
    is not learnt.

    Parameters
    ----------
    grace_period : int
        Values that calibrate a feature. Until then it is not scored.
    risk : float
        Probability that an ordinary value of one feature is taken for an anomaly and not learnt as it is (see
        `on_alarm`). It does not change the score of an observation as such.
    quantile, side, max_excess, on_alarm, clean
        As in `evtkit.Spot`; both sides are watched unless you say otherwise.
    depth : int, optional
        For features that drift: score the deviation from the mean of so many values (`evtkit.DSpot`).

    Raises
    ------
    ValueError
        If an argument is out of range, the grace period is too short to calibrate by, or a feature is not a number.

    References
    ----------
    Siffer, Fouque, Termier & Largouët (2017), Anomaly detection in streams with extreme value theory, KDD.

    Examples
    --------
    >>> import random
    >>> from evtkit.interop.river import SpotDetector
    >>> rng = random.Random(0)
    >>> detector = SpotDetector(grace_period=500)
    >>> for _ in range(2000):
    ...     detector.learn_one({"load": rng.gauss(0.0, 1.0), "wait": rng.expovariate(1.0)})
    >>> detector.score_one({"load": 0.5, "wait": 1.0})
    0.0
    >>> round(detector.score_one({"load": 2.5, "wait": 1.0}), 3), round(detector.score_one({"load": -9.0}), 6)
    (0.972, 1.0)
    """

    def __init__(
        self,
        grace_period: int = 1000,
        risk: float = 1e-4,
        quantile: float = 0.98,
        side: str = "both",
        depth: int | None = None,
        max_excess: int = 1000,
        on_alarm: str = "impute",
        clean: bool | None = None,
    ) -> None:
        self.grace_period, self.risk, self.quantile, self.side = grace_period, risk, quantile, side
        self.depth, self.max_excess, self.on_alarm, self.clean = depth, max_excess, on_alarm, clean
        self._spot().check_calibration(grace_period)
        self._streams: dict[Hashable, _Stream] = {}

    def _spot(self) -> Spot:
        """A detector of one feature."""
        depth: dict[str, Any] = {} if self.depth is None else {"depth": self.depth}
        return (DSpot if depth else Spot)(
            risk=self.risk, quantile=self.quantile, side=self.side, max_excess=self.max_excess, on_alarm=self.on_alarm,
            clean=self.clean, nonfinite="skip", **depth,
        )  # fmt: skip

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Judge and learn the value of each feature."""
        for name, value in _floats(x).items():
            if name not in self._streams:
                self._streams[name] = _Stream(self._spot(), self.grace_period)
            self._streams[name].learn(value)

    def score_one(self, x: dict[Hashable, Any]) -> float:
        """The anomaly score, from 0 to 1; nothing is learnt."""
        present = {name: value for name, value in _floats(x).items() if not math.isnan(value)}
        known = {name: stream for name, stream in self._streams.items() if stream.is_calibrated and name in present}
        p = min((stream.probability(present[name]) for name, stream in known.items()), default=1.0)
        return max(0.0, 1.0 - len(known) * p) if known else 0.0

    def detector(self, feature: Hashable) -> Spot:
        """The detector of a feature, with its levels and fit; KeyError if there is none that is calibrated."""
        if feature not in self._streams or not self._streams[feature].is_calibrated:
            raise KeyError(feature)
        return self._streams[feature].spot

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"grace_period": 100, "quantile": 0.9}


class SpotFilter(AnomalyFilter):
    """An anomaly filter whose threshold is learnt from the scores and holds a risk: for any River detector.

    The first `grace_period` scores calibrate an `evtkit.Spot`; from then on a score is anomalous if an ordinary one is
    as high with less than the probability `risk`. The level follows the scores, one at a time.

    Parameters
    ----------
    anomaly_detector : AnomalyDetector or SupervisedAnomalyDetector
        What gives the scores, a high one being anomalous.
    risk : float
        Probability that the score of an ordinary observation is taken for anomalous.
    grace_period : int
        Scores that calibrate. Until then nothing is anomalous.
    quantile, max_excess, on_alarm, clean
        As in `evtkit.Spot`.
    protect_anomaly_detector : bool
        Whether the wrapped detector is spared what is anomalous. The threshold learns of it as `on_alarm` says.

    Raises
    ------
    ValueError
        If an argument is out of range, or the grace period is too short to calibrate by.

    Notes
    -----
    The wrapped detector's first scores, while it knows little, are among those that calibrate, unless it has learnt
    before. Scores that end somewhere, such as at 1, are not less probable than 1/n there by what n of them can tell:
    the risk must be larger. Scores that pile up at their largest value, as bounded ones may, leave no tail: a score is
    then anomalous only where that needs no fit (see `evtkit.Spot`, *No fit*).

    Examples
    --------
    >>> import random
    >>> from river import anomaly, preprocessing
    >>> from evtkit.interop.river import SpotFilter
    >>> rng = random.Random(0)
    >>> model = SpotFilter(preprocessing.StandardScaler() | anomaly.LocalOutlierFactor(), risk=1e-3)
    >>> for _ in range(1200):
    ...     model.learn_one({"a": rng.gauss(0.0, 1.0), "b": rng.gauss(0.0, 1.0)})
    >>> model.classify(model.score_one({"a": 0.3, "b": -0.4})), model.classify(model.score_one({"a": 9.0, "b": 9.0}))
    (False, True)
    """

    def __init__(
        self,
        anomaly_detector: Any,
        risk: float = 1e-4,
        grace_period: int = 1000,
        quantile: float = 0.98,
        max_excess: int = 1000,
        on_alarm: str = "impute",
        clean: bool | None = None,
        protect_anomaly_detector: bool = True,
    ) -> None:
        super().__init__(anomaly_detector, protect_anomaly_detector)
        self.risk, self.grace_period, self.quantile = risk, grace_period, quantile
        self.max_excess, self.on_alarm, self.clean = max_excess, on_alarm, clean
        spot = Spot(risk, quantile, max_excess=max_excess, on_alarm=on_alarm, clean=clean, nonfinite="skip")
        spot.check_calibration(grace_period)
        self._scores = _Stream(spot, grace_period)

    @property
    def alarm_threshold(self) -> float:
        """The score beyond which one is anomalous; inf while there is no fit."""
        return float(self._scores.spot.alarm_threshold) if self._scores.is_calibrated else math.inf

    def classify(self, score: float) -> bool:
        """Whether an ordinary score is as high with less than the probability `risk`; nothing is learnt."""
        return self._scores.probability(float(score)) < self.risk

    def events(self) -> list[Event]:
        """The events that began or were over since this was last asked, in order of time; rows count from 0.

        An event is an incident, told once when it begins and once when it is over: see `evtkit.spot.Events`.
        """
        told, self._scores.told = self._scores.told, []
        return told

    def learn_one(self, *args: Any, **learn_kwargs: Any) -> None:
        """Learn the score, and let the wrapped detector learn the observation unless it is to be protected."""
        score = float(self.score_one(*args))
        if not (self.protect_anomaly_detector and self.classify(score)):
            self.anomaly_detector.learn_one(*args, **learn_kwargs)
        self._scores.learn(score)

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        from river import anomaly, preprocessing

        yield {"anomaly_detector": preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1), "grace_period": 100}


def _floats(x: dict[Hashable, Any]) -> dict[Hashable, float]:
    """An observation's features as numbers, all of them before anything is done with one."""
    out = {}
    for name, value in x.items():
        try:
            out[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"feature {name!r} must be a number, got {value!r}") from error
    return out
