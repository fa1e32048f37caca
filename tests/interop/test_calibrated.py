"""CalibratedDetector: scikit-learn's own checks, the wrapped detector's order, and alarms as frequent as stated."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from pyod.models.hbos import HBOS
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from evtkit.interop.sklearn import CalibratedDetector, NeighborDistance


@parametrize_with_checks(
    [
        CalibratedDetector(),
        CalibratedDetector(EllipticEnvelope(random_state=0), 0.1, cv=3, clean=False),  # the checks want outliers
        NeighborDistance(),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, 4))


def dependent(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.sqrt(0.95) * rng.standard_normal((n, 1)) + np.sqrt(0.05) * rng.standard_normal((n, 4))


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, 4)) / np.sqrt(rng.chisquare(3.0, size=(n, 1)) / 3.0)


def uniform(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.random((n, 4))


@pytest.mark.parametrize("draw", [normal, dependent, heavy, uniform])
def test_alarms_are_as_frequent_as_the_risk(draw):
    rates = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        scores = CalibratedDetector().fit(draw(rng, 300)).score_samples(draw(rng, 2000))
        rates.append([(scores < np.log(risk)).mean() / risk for risk in (0.05, 0.01, 0.003)])
    mean, error = np.mean(rates, axis=0), np.std(rates, axis=0) / 5.0
    assert np.all(mean < 1.2 + 3.0 * error)
    assert np.all(mean > 0.5 - 3.0 * error)
    assert mean[0] > 0.7


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return dependent(np.random.default_rng(0), 400)


@pytest.mark.parametrize(
    ("estimator", "sign"),
    [
        (NeighborDistance(5), 1.0),
        (IsolationForest(n_estimators=20, random_state=0), 1.0),
        (EllipticEnvelope(random_state=0), 1.0),
        (LocalOutlierFactor(novelty=True), 1.0),
        (GaussianMixture(2, random_state=0), 1.0),
        (make_pipeline(StandardScaler(), EllipticEnvelope(random_state=0)), 1.0),
        (HBOS(), -1.0),
        (make_pipeline(StandardScaler(), HBOS()), -1.0),
    ],
)
def test_rows_keep_the_order_of_the_detector(rows, estimator, sign):
    detector = CalibratedDetector(estimator, cv=3).fit(rows)
    new = 2.0 * normal(np.random.default_rng(1), 300)
    fitted = detector.estimator_
    score = fitted.score_samples if hasattr(fitted, "score_samples") else fitted.decision_function
    wrapped, got = sign * score(new), detector.score_samples(new)
    order = np.argsort(wrapped, kind="stable")
    assert np.all(np.diff(got[order]) >= 0.0)
    assert np.all(np.diff(got[order])[np.diff(wrapped[order]) > 1e-6] > 0.0)
    assert np.array_equal(detector.predict(new) == -1, -wrapped > detector.threshold_ + 1e-12)
    assert not hasattr(estimator, "scale_")  # it was cloned


def test_dependence_is_seen(rows):
    usual, strange = CalibratedDetector().fit(rows).p_value([[1.5, 1.5, 1.5, 1.5], [1.5, -1.5, 1.5, -1.5]])
    assert strange < 0.01 < 0.1 < usual  # though no feature is stranger in one than in the other


def test_outliers_among_the_rows_do_not_hide_each_other():
    rng = np.random.default_rng(0)
    x = np.vstack([normal(rng, 990), normal(rng, 10) + 8.0])
    detector = CalibratedDetector(risk=1e-3).fit(x)
    assert detector.tail_.left_out == 10
    assert np.all(detector.p_values_[-10:] < 1e-3)
    assert np.mean(detector.p_values_[:-10] < 1e-3) < 0.005
    assert np.all(detector.predict(normal(rng, 10) + 8.0) == -1)


def test_p_values_are_scores_and_left_out_rows_have_uniform_ones(rows):
    detector = CalibratedDetector().fit(rows)
    p = detector.p_value(rows)
    np.testing.assert_allclose(np.log(p), np.minimum(detector.score_samples(rows), 0.0))
    for level in (0.1, 0.5, 0.9):
        assert abs(np.mean(detector.p_values_ < level) - level) < 0.02
    assert np.all(detector.p_values_ > 0.0)


def test_units_and_pickles_change_nothing(rows):
    detector, new = CalibratedDetector().fit(rows), normal(np.random.default_rng(2), 50)
    scores = detector.score_samples(new)
    for units in (np.array([1e-6, 1.0, 1e3, 2.0]), np.array([1e200, 1e-200, 1e300, 1e-300])):
        same = CalibratedDetector().fit(rows * units).score_samples(new * units)
        np.testing.assert_allclose(same, scores, rtol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(detector)).score_samples(new), scores)
    assert np.array_equal(CalibratedDetector(n_jobs=2).fit(rows).score_samples(new), scores)


def test_data_frames_reach_the_detector_as_they_are(rows):
    frame = pd.DataFrame(rows, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), NeighborDistance())
    detector, same = CalibratedDetector(pipeline).fit(frame), CalibratedDetector(pipeline).fit(rows)
    assert detector.estimator_.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_allclose(detector.score_samples(frame), same.score_samples(rows), rtol=1e-9)
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[["b", "a", "c", "d"]])


@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_few_rows_never_raise_an_alarm_they_cannot_defend(n):
    detector = CalibratedDetector(risk=1e-3).fit(normal(np.random.default_rng(n), n))
    assert detector.p_value([[1e3] * 4])[0] > (1e-2 if n < 12 else 0.0)
    assert detector.p_value([[0.0] * 4])[0] > 0.05


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"risk": 1.0}, "risk must lie strictly between 0 and 1, got 1.0"),
        ({"risk": None}, "risk must lie strictly between 0 and 1, got None"),
        ({"risk": "a"}, "risk must lie strictly between 0 and 1, got 'a'"),
        ({"cv": 1}, "cv must be a whole number from 2 on, got 1"),
        ({"estimator": LocalOutlierFactor()}, "novelty=True"),
        ({"estimator": StandardScaler()}, "score_samples or decision_function"),
        ({"estimator": NeighborDistance(0)}, "n_neighbors must be a whole number from 1 on, got 0"),
    ],
)
def test_bad_parameters_say_what_was_got_and_wanted(rows, parameters, message):
    with pytest.raises(ValueError, match=message):
        CalibratedDetector(**parameters).fit(rows)


@pytest.mark.parametrize("estimator", [None, IsolationForest(n_estimators=30, random_state=0)])
def test_outliers_among_the_rows_do_not_move_the_risk(estimator):
    fresh = np.random.default_rng(6).standard_normal((10_000, 4))
    flagged = []
    for seed in range(3):
        rows = np.random.default_rng(seed).standard_normal((1000, 4))
        rows[:10] += 8.0
        spoilt = CalibratedDetector(estimator, risk=0.01).fit(rows)
        clean = CalibratedDetector(estimator, risk=0.01).fit(rows[10:])
        assert int(spoilt.tail_.left_out) == 10
        assert spoilt.tail_.isf(1e-2) == clean.tail_.isf(1e-2)
        assert np.all(spoilt.predict(rows[:10]) == -1)
        assert np.all(spoilt.p_values_[:10] < 0.005)
        flagged.append(np.mean(spoilt.predict(fresh) == -1))
    assert 0.5 < np.mean(flagged) / 0.01 < 1.5


@pytest.mark.parametrize("constant", [0.1, 1.0 / 3.0, -1e8 / 7.0, 1e-200])
def test_a_feature_that_became_constant_does_not_drown_the_others(constant):
    """Rows with another value are left out as outliers; what is left has a standard deviation of rounding alone."""
    rng = np.random.default_rng(0)
    rows, new = normal(rng, 500), np.vstack([normal(rng, 200), 4.0 + normal(rng, 200)])
    spoilt = np.column_stack([rows, np.full(500, constant)])
    spoilt[:3, :] = 60.0 + rng.random((3, 5))
    with_it = np.column_stack([new, np.full(400, constant)])
    detector = CalibratedDetector().fit(spoilt)
    assert detector.tail_.left_out == 3
    np.testing.assert_allclose(
        detector.score_samples(with_it), CalibratedDetector().fit(rows[3:]).score_samples(new), rtol=1e-6
    )
