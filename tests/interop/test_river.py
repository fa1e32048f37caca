"""River: its own checks, and the laws that tie its one-at-a-time methods to Spot."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

pytest.importorskip("river")

from river import anomaly, compose, datasets, evaluate, linear_model, metrics, preprocessing
from river.checks import yield_checks

from evtkit import DSpot, Spot
from evtkit.interop.river import SpotDetector, SpotFilter

RNG = np.random.default_rng(4)
X = np.column_stack([RNG.standard_normal(3000), RNG.standard_exponential(3000)])
X[[1500, 2000], [0, 1]] = -9.0, 40.0
ROWS = [{"a": a, "b": b} for a, b in X.tolist()]


def models():
    for kind in (SpotDetector, SpotFilter):
        for params in kind._unit_test_params():
            yield kind(**params)
    yield preprocessing.StandardScaler() | SpotDetector(grace_period=100, quantile=0.9)


def checks():
    """Every check of every model, on anomalies that River ships instead of those that it would download."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "CreditCard", datasets.Shuttle)
        for model in models():
            for check in yield_checks(model):
                if check.__name__ not in model._unit_test_skips():
                    yield pytest.param(model, check, id=f"{type(model).__name__}-{check.__name__}")


@pytest.mark.parametrize(("model", "check"), list(checks()))
def test_rivers_own_check(model, check):
    check(model.clone())


# -- SpotDetector ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "spot"),
    [
        ({}, lambda: Spot(side="both", nonfinite="skip")),
        ({"side": "upper", "risk": 1e-3, "on_alarm": "learn"}, lambda: Spot(1e-3, on_alarm="learn", nonfinite="skip")),
        ({"depth": 30, "clean": True}, lambda: DSpot(depth=30, side="both", clean=True, nonfinite="skip")),
    ],
)
def test_each_feature_is_a_spot_that_steps(parameters, spot):
    detector = SpotDetector(grace_period=700, **parameters)
    spots = [spot().fit(X[:700, c]) for c in range(2)]
    for i, row in enumerate(ROWS):
        if i >= 700 and i % 50 in (0, 1):
            p = min(float(s.probability(v)) for s, v in zip(spots, X[i], strict=True))
            assert detector.score_one(row) == 1.0 - min(1.0, 2 * p)
        detector.learn_one(row)
        if i >= 700:
            for s, v in zip(spots, X[i].tolist(), strict=True):
                s.step(v)
    for name, s in zip("ab", spots, strict=True):
        assert detector.detector(name).to_dict() == s.to_dict()


def test_scores_lie_between_0_and_1_and_tell_anomalies():
    detector, scores = SpotDetector(grace_period=700), []
    for row in ROWS:
        scores.append(detector.score_one(row))
        detector.learn_one(row)
    scores = np.array(scores)
    assert np.all((scores >= 0.0) & (scores <= 1.0))
    assert np.all(scores[:700] == 0.0)
    told = scores[[1500, 2000]]
    assert np.delete(scores, [1500, 2000]).max() <= told.min()  # at 1 there may be others
    assert told.min() > 1.0 - 1e-4


def test_ordinary_scores_exceed_1_minus_r_no_more_often_than_r():
    x = np.random.default_rng(9).standard_normal((20_000, 3))
    x[:, 1] = x[:, 0]  # Bonferroni's bound needs no independence
    detector, above = SpotDetector(grace_period=2000), 0
    for i, row in enumerate(x.tolist()):
        features = dict(enumerate(row))
        above += i >= 2000 and detector.score_one(features) >= 0.99
        detector.learn_one(features)
    assert 0.4 * 180 < above < 1.1 * 180  # two features that are one: 2/3 of the risk is used


def test_scoring_never_learns():
    detector, twin = SpotDetector(grace_period=500), SpotDetector(grace_period=500)
    for row in ROWS[:1000]:
        detector.learn_one(row)
        twin.learn_one(row)
        twin.score_one({"a": 3.0, "b": 50.0, "new": 1.0})
    for name in "ab":
        assert detector.detector(name).to_dict() == twin.detector(name).to_dict()
    with pytest.raises(KeyError):
        twin.detector("new")


def test_features_come_go_and_are_missing():
    detector = SpotDetector(grace_period=500)
    for row in ROWS[:600]:
        detector.learn_one({"a": row["a"]})
    assert detector.score_one({"b": 1e9}) == 0.0  # not yet known
    alone = detector.score_one({"a": 2.8})
    assert 0.0 < alone == detector.score_one({"a": 2.8, "b": 1e9, "c": math.nan})
    before = detector.detector("a").to_dict()
    detector.learn_one({"a": math.nan})
    detector.learn_one({"a": math.inf})
    assert detector.detector("a").to_dict() == before
    assert detector.score_one({"a": math.inf}) == 1.0


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("make", [SpotDetector, lambda **k: SpotFilter(SpotDetector(**k), **k)])
def test_a_copy_goes_on_as_the_original(make, again):
    model = make(grace_period=300)
    for row in ROWS[:1000]:
        model.learn_one(row)
    other = again(model)
    for row in ROWS[1000:]:
        assert model.score_one(row) == other.score_one(row)
        model.learn_one(row)
        other.learn_one(row)


def test_a_clone_has_the_parameters_and_knows_nothing():
    model = SpotDetector(grace_period=300, side="upper", depth=10)
    for row in ROWS[:400]:
        model.learn_one(row)
    clone = model.clone({"risk": 1e-3})
    assert (clone.grace_period, clone.side, clone.depth, clone.risk) == (300, "upper", 10, 1e-3)
    assert clone.score_one({"a": 1e9}) == 0.0
    with pytest.raises(ValueError, match="not a mutable attribute"):
        model.mutate({"risk": 1e-2})


# -- SpotFilter --------------------------------------------------------------------------------------------------------


class Level(anomaly.GaussianScorer):
    """The target as its own score."""

    def score_one(self, x, y):
        return y


def test_a_filter_is_a_spot_on_the_scores():
    y = np.random.default_rng(6).standard_exponential(5000).tolist()
    model, spot = SpotFilter(Level(), risk=1e-3), Spot(1e-3, nonfinite="skip").fit(y[:1000])
    for i, value in enumerate(y):
        expected = i >= 1000 and bool(spot.probability(value) < 1e-3)
        assert model.classify(model.score_one(None, value)) == expected
        model.learn_one(None, value)
        if i >= 1000:
            assert (spot.step(value) == 2) == expected
    assert model.alarm_threshold == float(spot.alarm_threshold)


@pytest.mark.parametrize("protect", [True, False])
def test_what_is_anomalous_is_kept_from_the_detector(protect):
    model = SpotFilter(Level(), grace_period=1000, protect_anomaly_detector=protect)
    for value in X[:1000, 0].tolist():
        model.learn_one(None, value)
    assert model.classify(50.0)
    before = model.anomaly_detector.gaussian.n_samples
    model.learn_one(None, 50.0)
    model.learn_one(None, 0.0)
    assert model.anomaly_detector.gaussian.n_samples == before + 2 - protect


def test_a_filter_keeps_anomalous_targets_from_a_model():
    rng = np.random.default_rng(8)
    stream = [({"x": x}, 2.0 * x + e) for x, e in rng.standard_normal((2000, 2)).tolist()]
    for i in range(1000, 2000, 100):
        stream[i] = (stream[i][0], 1e6)

    def error(*steps):
        model = compose.Pipeline(*steps, linear_model.LinearRegression())
        for x, y in stream:
            model.learn_one(x, y)
        return abs(model.predict_one({"x": 1.0}) - 2.0)

    # These scores end at 1, and what is seen in n rows says nothing of an end below 1/n.
    assert error(SpotFilter(anomaly.GaussianScorer(), risk=5e-3, grace_period=500)) < 0.2 < error()


def test_progressive_validation_on_the_shuttle():
    detector = SpotDetector(grace_period=500, quantile=0.9)
    by_filter = SpotFilter(
        preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1), risk=0.05, grace_period=500, quantile=0.9
    )
    for model, least in ((preprocessing.StandardScaler() | detector, 0.8), (by_filter, 0.5)):
        metric = metrics.ROCAUC()
        evaluate.progressive_val_score(datasets.Shuttle().take(4000), model, metric)
        assert metric.get() > least


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"grace_period": 50}, "at least 51 finite observations to calibrate on, got 50"),
        ({"risk": 0.5}, "risk must lie between"),
        ({"max_excess": 3}, "max_excess must be"),
        ({"on_alarm": "shout"}, "on_alarm must be one of"),
    ],
)
def test_wrong_arguments_are_refused_at_once(parameters, message):
    for make in (SpotDetector, lambda **k: SpotFilter(SpotDetector(), **k)):
        with pytest.raises(ValueError, match=message):
            make(**parameters)


def test_a_feature_that_is_no_number_is_refused_before_anything_is_learnt():
    detector = SpotDetector()
    for value in ("red", None):
        for method in (detector.learn_one, detector.score_one):
            with pytest.raises(ValueError, match="feature 'b' must be a number, got"):
                method({"a": 1.0, "b": value})
    assert not detector._streams


def test_a_filter_tells_events_once():
    rng = np.random.default_rng(3)
    y = rng.exponential(size=4000)
    y[2000:2010], y[3000] = 60.0, 80.0
    model, told = SpotFilter(Level()), []
    for value in y.tolist():
        model.learn_one(None, value)
        told += model.events()
    large = [event for event in told if event.peak.value >= 60.0]
    assert [(e.start, e.is_over, e.alarms) for e in large] == [
        (2000, False, 1), (2000, True, 10), (3000, False, 1), (3000, True, 1)
    ]  # fmt: skip
