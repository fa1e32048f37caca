"""PotDetector: scikit-learn's own checks, and alarms as rare as they are said to be."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from evtkit.interop.sklearn import PotDetector
from evtkit.pvalues import combine_p_values


@parametrize_with_checks(
    [PotDetector(), PotDetector(side="upper", quantile=0.8, combine="fisher"), PotDetector(combine="harmonic")]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_scikit_learns_check_of_array_interfaces():
    """It is skipped above: the switch is read when SciPy is first imported."""
    code = (
        "from sklearn.utils.estimator_checks import check_estimator; from evtkit.interop.sklearn import PotDetector;"
        "print(sum(result['status'] != 'passed' for result in check_estimator(PotDetector())))"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "0"


def independent(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, 8))


def dependent(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.sqrt(0.95) * rng.standard_normal((n, 1)) + np.sqrt(0.05) * rng.standard_normal((n, 8))


def heavy_and_dependent(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal((n, 8)) / np.sqrt(rng.chisquare(3.0, size=(n, 1)) / 3.0)


def counts(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.poisson(3.0, size=(n, 8)).astype(float)


def realised(draw, risk: float, repetitions: int = 12, **parameters) -> tuple[float, float]:
    """Rate of alarms on fresh rows, averaged over training samples of 1,000 rows, and its standard error."""
    rates = []
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        detector = PotDetector(risk, **parameters).fit(draw(rng, 1000))
        rates.append((detector.predict(draw(rng, 4000)) == -1).mean())
    return float(np.mean(rates)), float(np.std(rates) / repetitions**0.5)


@pytest.mark.parametrize("draw", [independent, dependent, heavy_and_dependent, counts])
@pytest.mark.parametrize("risk", [0.05, 0.01, 0.002])
def test_alarms_are_no_more_frequent_than_the_risk(draw, risk):
    rate, error = realised(draw, risk)
    assert rate < risk + 3 * error


def test_on_independent_features_the_risk_is_used_up():
    assert realised(independent, 0.05)[0] > 0.8 * 0.05


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_one_side_has_the_risk_to_itself(side):
    rate, error = realised(independent, 0.05, side=side)
    assert 0.8 * 0.05 < rate < 0.05 + 3 * error


def test_the_geometric_mean_holds_under_dependence_and_fishers_rule_does_not():
    assert realised(dependent, 0.05, combine="geometric")[0] < 0.05
    assert realised(dependent, 0.05, combine="fisher")[0] > 2 * 0.05


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_t(4, size=(500, 3))


@pytest.mark.parametrize("combine", ["bonferroni", "geometric", "harmonic", "fisher"])
def test_scores_are_the_features_p_values_combined(rows, combine):
    detector = PotDetector(combine=combine).fit(rows)
    scores = detector.score_samples(rows)
    assert np.allclose(np.minimum(scores, 0.0), combine_p_values(detector.feature_scores(rows).T, combine))
    assert np.unique(scores).size > 300  # ordinary rows are in order too


def test_two_sides_count_twice(rows):
    both, upper, lower = (PotDetector(side=side).fit(rows).feature_scores(rows) for side in ("both", "upper", "lower"))
    assert np.allclose(both, np.minimum(np.minimum(upper, lower) + np.log(2.0), 0.0))


def test_the_longer_side_is_that_of_the_skewness(rows):
    x = np.column_stack([np.exp(rows[:, 0]), -np.exp(rows[:, 1])])
    longer, upper, lower = (PotDetector(side=side).fit(x).feature_scores(x) for side in ("longer", "upper", "lower"))
    assert np.array_equal(longer, np.column_stack([upper[:, 0], lower[:, 1]]))
    assert realised(independent, 0.01, 30, side="longer")[0] < 0.0115


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 1e9, 1e200]))
def test_units_and_order_of_rows_do_not_matter(seed, unit):
    rng = np.random.default_rng(seed)
    rows, new = rng.gamma(2.0, size=(300, 3)), 5 * rng.gamma(2.0, size=(50, 3))
    units = np.array([unit, 1.0, 1.0 / unit])
    one, other = PotDetector().fit(rows), PotDetector().fit(rng.permutation(rows) * units)
    assert np.allclose(one.score_samples(new), other.score_samples(new * units), rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_more_extreme_value_never_looks_more_normal(seed):
    rng = np.random.default_rng(seed)
    detector = PotDetector().fit(rng.normal(size=(200, 2)))
    path = np.column_stack([np.linspace(0.0, 30.0, 100), np.zeros(100)])
    scores = detector.feature_scores(path)[20:, 0]  # from 6 standard deviations on
    assert np.all(np.diff(scores) < 0.0)


def test_explanations_name_the_feature(rows):
    frame = pd.DataFrame(rows, columns=["north", "south", "west"])
    strange = pd.DataFrame([[0.0, 900.0, 0.0], [-900.0, 0.0, 1.0]], columns=frame.columns)
    assert PotDetector().fit(frame).explain(strange).tolist() == ["south", "north"]
    assert PotDetector().fit(rows).explain(strange.to_numpy()).tolist() == ["x1", "x0"]
    scores = PotDetector().fit(frame).feature_scores(strange)
    assert scores.idxmin(axis=1).tolist() == ["south", "north"]
    with pytest.raises(ValueError, match="feature names"):
        PotDetector().fit(frame).predict(strange[["south", "north", "west"]])


def test_features_without_a_tail_keep_the_p_value_of_their_rank():
    n = 400
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=n), np.full(n, 7.0), rng.random(n) < 0.01, rng.integers(0, 3, n)])
    detector = PotDetector(risk=1e-3).fit(x)
    p = np.exp(detector.feature_scores([[0.0, 7.0, 0.0, 1.0], [0.0, 8.0, 0.5, 99.0], [50.0, 1e9, 9.0, -99.0]]))
    assert p[0, 1] == 1.0
    assert np.all(p[:, 1:] >= 1.99 / (n + 1))
    assert np.all(np.isfinite(p))
    assert detector.explain([[50.0, 1e9, 9.0, -99.0]]) == ["x0"]
    assert np.array_equal(detector.predict([[0.0, 8.0, 9.0, 99.0], [50.0, 7.0, 0.0, 1.0]]), [1, -1])


@pytest.mark.parametrize("n", [2, 3, 10, 60])
def test_few_rows_never_raise_an_alarm_they_cannot_defend(n):
    detector = PotDetector(risk=0.01).fit(np.arange(n, dtype=float)[:, None])
    assert np.exp(detector.score_samples([[1e9]]))[0] > (0.01 if n < 50 else 0.0)


def test_it_works_in_a_pipeline_and_a_grid_search(rows):
    y = np.ones(len(rows), dtype=int)
    x = rows.copy()
    x[::25], y[::25] = 40.0, -1
    pipeline = make_pipeline(StandardScaler(), PotDetector(risk=0.01))
    assert roc_auc_score(y, pipeline.fit(x).decision_function(x)) > 0.9
    grid = {"potdetector__combine": ["bonferroni", "geometric"], "potdetector__quantile": [None, 0.9]}
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=3).fit(x, y)
    assert search.best_score_ > 0.9


def test_clones_pickles_and_threads_give_the_same_scores(rows):
    detector = PotDetector(risk=0.01, side="upper", n_threads=1).fit(rows)
    scores = detector.score_samples(rows)
    assert np.array_equal(pickle.loads(pickle.dumps(detector)).score_samples(rows), scores)
    assert np.array_equal(clone(detector).set_params(n_threads=3).fit(rows).score_samples(rows), scores)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"risk": 0.0}, "risk must lie strictly between 0 and 1, got 0.0"),
        ({"risk": None}, "risk must lie strictly between 0 and 1, got None"),
        ({"risk": "a"}, "risk must lie strictly between 0 and 1, got 'a'"),
        ({"quantile": 1.0}, "quantile must lie strictly between 0 and 1, got 1.0"),
        ({"side": "left"}, "side must be one of 'upper', 'lower', 'both', 'longer', got 'left'"),
        ({"combine": "sum"}, "combine must be one of 'bonferroni'.*got 'sum'"),
    ],
)
def test_bad_parameters_say_what_was_got_and_wanted(rows, parameters, message):
    with pytest.raises(ValueError, match=message):
        PotDetector(**parameters).fit(rows)
