"""PotThreshold: the POT level of the stated risk, in real PyOD detectors."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit import fit_tail
from evtkit.interop.pyod import PotThreshold

pytest.importorskip("pyod")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD
    from pyod.models.hbos import HBOS
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN
    from pyod.models.lof import LOF

DETECTORS = [KNN, ECOD, COPOD, HBOS]
HANDED_ON = [LOF, IForest]  # contamination goes to scikit-learn, which wants a number


def fitted_with(threshold, detector, rows):
    if detector in HANDED_ON:
        return threshold.attach(detector().fit(rows))
    return detector(contamination=threshold).fit(rows)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((600, 4)), np.vstack([rng.standard_normal((50, 4)), np.full((5, 4), 9.0)])


@pytest.mark.parametrize("detector", [*DETECTORS, *HANDED_ON])
@pytest.mark.parametrize("risk", [0.02, 1e-3])
def test_every_detector_cuts_at_the_pot_level_of_the_risk(detector, risk, rows):
    normal, new = rows
    fitted = fitted_with(PotThreshold(risk), detector, normal)
    level = fit_tail(fitted.decision_scores_, n_excess=50, clean=True).isf(risk)  # the most extreme 50 of 600
    assert fitted.threshold_ == level
    assert np.array_equal(fitted.labels_, fitted.decision_scores_ > level)
    assert np.array_equal(fitted.predict(new), fitted.decision_function(new) > level)


@pytest.mark.parametrize("detector", [KNN, LOF])
def test_far_rows_are_outliers_and_near_ones_are_not(detector, rows):
    normal, new = rows
    labels = fitted_with(PotThreshold(1e-3), detector, normal).predict(new)
    assert labels[:50].mean() <= 0.02
    assert labels[50:].all()


@pytest.mark.parametrize("detector", [*DETECTORS, *HANDED_ON])
def test_pyods_probabilities_and_confidences_work(detector, rows):
    normal, new = rows
    fitted = fitted_with(PotThreshold(0.01), detector, normal)
    for method in ("linear", "unify"):
        probability = fitted.predict_proba(new, method=method)
        assert probability.shape == (55, 2)
        assert np.allclose(probability.sum(axis=1), 1.0)
    labels, confidence = fitted.predict(new, return_confidence=True)
    assert np.array_equal(labels, fitted.predict(new))
    assert np.all((confidence >= 0.0) & (confidence <= 1.0))


def test_a_fitted_detector_survives_pickling(rows):
    normal, new = rows
    fitted = ECOD(contamination=PotThreshold(0.01)).fit(normal)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(new), fitted.predict(new))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 0.3, 1e9]))
def test_units_of_scores_do_not_matter(seed, unit):
    scores = np.random.default_rng(seed).gamma(2.0, size=300)
    one, other = PotThreshold(1e-3).fit(scores), PotThreshold(1e-3).fit(scores * unit)
    assert other.thresh_ == pytest.approx(one.thresh_ * unit, rel=1e-9)
    assert np.array_equal(one.labels_, other.labels_)


def test_labels_are_the_rows_whose_p_value_is_below_the_risk():
    scores = np.random.default_rng(1).standard_t(3, size=2000)
    threshold = PotThreshold(5e-3).fit(scores)
    assert np.array_equal(threshold.labels_ == 1, threshold.p_value(scores) < 5e-3)
    assert np.all(threshold.p_value(scores) > 0.0)


def test_a_risk_above_the_exceedance_rate_is_an_empirical_level():
    scores = np.arange(1000.0)
    threshold = PotThreshold(0.3).fit(scores)
    assert threshold.labels_.sum() == pytest.approx(300, abs=1)
    assert np.all(threshold.p_value(scores[threshold.labels_ == 1]) <= 0.3)


def test_equal_scores_are_no_outliers():
    threshold = PotThreshold(1e-3).fit(np.ones(100))
    assert threshold.thresh_ == 1.0
    assert threshold.labels_.sum() == 0


def test_a_column_of_scores_is_accepted():
    scores = np.random.default_rng(2).random(200)
    assert PotThreshold(0.01).fit(scores[:, None]).thresh_ == PotThreshold(0.01).fit(scores).thresh_


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PotThreshold(0.0).fit([1.0, 2.0, 3.0]), "risk must lie strictly between 0 and 1, got 0.0"),
        (lambda: PotThreshold().fit(np.arange(100) > 80), "real numbers"),
        (
            lambda: PotThreshold(1e-3).fit(np.arange(100.0) // 95),
            "no tail can be fitted to these scores for a risk of 0.001",
        ),
        (lambda: PotThreshold().fit(np.ones((100, 2))), r"shape \(rows,\) or \(rows, 1\), got \(100, 2\)"),
        (lambda: PotThreshold(risk="a").fit(np.arange(100.0)), "risk must lie strictly between 0 and 1, got 'a'"),
        (lambda: PotThreshold().fit([np.nan] * 100), "scores must be finite numbers, got nan"),
        (lambda: PotThreshold().fit([]), "scores must be finite numbers, got none"),
        (lambda: PotThreshold().attach(KNN()), "wants a fitted PyOD detector, got KNN"),
        (lambda: PotThreshold().predict([1.0]), "not fitted"),
        (lambda: PotThreshold().p_value([1.0]), "not fitted"),
    ],
)
def test_bad_scores_say_what_was_got_and_wanted(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_failed_fit_leaves_the_old_level():
    threshold = PotThreshold(0.001).fit(np.arange(100.0))
    with pytest.raises(ValueError, match="no tail"):
        threshold.fit(np.arange(100.0) // 95)
    assert threshold.tail_.n == 100
    assert threshold.thresh_ > 90.0


@pytest.mark.parametrize("detector", [HBOS, ECOD, KNN])
@pytest.mark.parametrize(("others", "moved"), [(990, 10), (999, 50)])
def test_outliers_among_the_training_rows_are_found_as_by_the_best_level(detector, others, moved):
    found, best = [], []
    for seed in range(6):
        x = np.random.default_rng(seed).standard_normal((others + moved, 4))
        x[:moved] += 8.0
        fitted = detector(contamination=PotThreshold()).fit(x)
        found.append(np.count_nonzero(fitted.labels_[:moved]))
        best.append(np.count_nonzero(fitted.decision_scores_[:moved] > np.sort(fitted.decision_scores_[moved:])[-3]))
        assert np.count_nonzero(fitted.labels_[moved:]) <= 20
    assert np.mean(found) >= np.mean(best) - 1.0
