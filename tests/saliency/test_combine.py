"""One ranking from many mistakes, against SciPy and against formulas written out."""

import numpy as np
import pytest
from scipy import stats

from evtkit.pvalues import combine_p_values
from evtkit.ranking import SCORES
from evtkit.saliency.combine import rank_set
from evtkit.saliency.toy import Toy, samples

METHODS = ("fisher", "harmonic", "cauchy")


@pytest.fixture(scope="module")
def profiles():
    return Toy().profile(*samples(60, seed=5))


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_fisher_equals_scipy(n):
    p = np.random.default_rng(n).random((n, 20)) ** 2
    expected = [stats.combine_pvalues(column, method="fisher").pvalue for column in p.T]
    np.testing.assert_allclose(np.exp(combine_p_values(np.log(p), "fisher")), expected, rtol=1e-9)


def test_fisher_goes_on_where_probabilities_underflow():
    log_p = np.full((50, 1), -1000.0)
    from mpmath import exp, factorial, log, mp

    mp.dps = 50
    half = mp.mpf(50000)
    expected = log(sum(half**i / factorial(i) for i in range(50)) * exp(-half))
    assert float(combine_p_values(log_p, "fisher")[0]) == pytest.approx(float(expected), rel=1e-12)


def test_harmonic_and_cauchy_equal_their_formulas():
    p = np.random.default_rng(0).random((9, 30))
    np.testing.assert_allclose(np.exp(combine_p_values(np.log(p), "harmonic")), 9 / np.sum(1 / p, axis=0))
    cauchy = 0.5 - np.arctan(np.mean(np.tan((0.5 - p) * np.pi), axis=0)) / np.pi
    np.testing.assert_allclose(np.exp(combine_p_values(np.log(p), "cauchy")), cauchy, rtol=1e-9)


def test_cauchy_is_smooth_where_its_formula_changes():
    log_p = np.stack([np.linspace(-610, -590, 41), np.full(41, -1.0)])
    assert np.allclose(np.diff(combine_p_values(log_p, "cauchy")), 0.5, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_one_certain_improbability_or_none(method):
    with_zero = np.array([[-np.inf, 0.0], [-1.0, 0.0]])
    combined = combine_p_values(with_zero, method)
    assert combined[0] == -np.inf
    assert combined[1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_p_values_does_not_matter(method):
    log_p = np.log(np.random.default_rng(1).random((12, 5)))
    np.testing.assert_allclose(combine_p_values(log_p, method), combine_p_values(log_p[::-1], method), rtol=1e-12)


@pytest.mark.parametrize(
    ("log_p", "method", "message"),
    [
        (np.zeros((0, 3)), "fisher", "at least one"),
        (np.array(0.0), "fisher", "at least one"),
        (np.array([[0.1]]), "fisher", "above 0"),
        (np.array([[np.nan]]), "cauchy", "NaN"),
        (np.array([[-1.0]]), "stouffer", "method must .*got 'stouffer'"),
    ],
)
def test_bad_p_values_are_refused(log_p, method, message):
    with pytest.raises(ValueError, match=message):
        combine_p_values(log_p, method)


@pytest.mark.parametrize("by", ["pot", "zscore", "excess", "spot-script", "gradient"])
def test_mean_rank_is_the_mean_of_the_samples_own_places(reference, profiles, by):
    places = np.empty(profiles.shape)
    for i, profile in enumerate(profiles):
        for place, unit in enumerate(reference.rank(profile, by).order):
            places[i, unit] = place
    ranking = reference.rank(profiles, by, combine="mean-rank")
    assert ranking.order.tolist() == sorted(range(12), key=lambda unit: (places[:, unit].mean(), unit))
    np.testing.assert_allclose(ranking.score, 1 - places.mean(axis=0) / 11)
    assert ranking.n_samples == 60


def test_mean_rank_p_value_holds_its_level_under_chance(reference):
    """If no unit stands out, p-values are uniform to within the normal approximation."""
    rng = np.random.default_rng(0)
    p = [
        rank_set(reference.tail, reference.units, np.zeros((30, 12)), "random", "mean-rank", rng=rng).p_value[1:]
        for _ in range(200)
    ]
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.07


@pytest.mark.parametrize("by", ["impact", "gradient", "zscore", "excess"])
def test_mean_orders_by_the_mean_score(reference, profiles, by):
    score = reference.rank(profiles, by, combine="each").score.mean(axis=0)
    for given in (profiles, profiles[::-1]):
        ranking = reference.rank(given, by, combine="mean")
        np.testing.assert_allclose(ranking.score, score, rtol=1e-12)
        assert np.array_equal(ranking.order, np.argsort(-score, kind="stable"))
    count = int((profiles[:, 3] > reference.tail.threshold[3]).sum())
    expected = stats.binomtest(count, 60, reference.tail.n_excess[3] / 1000, "greater").pvalue
    assert ranking.p_value[3] == pytest.approx(expected)


@pytest.mark.parametrize("by", SCORES)
def test_a_set_is_combined_by_the_mean_score_where_there_is_one_else_by_place(reference, profiles, by):
    usual = reference.rank(profiles, by, rng=0)
    said = reference.rank(
        profiles, by, combine="mean-rank" if by in ("pot", "spot-script", "random") else "mean", rng=0
    )
    assert usual.by == said.by
    assert np.array_equal(usual.order, said.order)
    np.testing.assert_array_equal(usual.p_value, said.p_value)
    ranked = rank_set(reference.tail, reference.units, profiles, by, rng=0)
    assert (ranked.by, ranked.order.tolist()) == (said.by, said.order.tolist())


def test_the_ranking_is_by_impact_unless_it_is_said(reference, profiles):
    assert reference.rank(profiles[0]).by == "impact"
    assert reference.rank(profiles).by == "impact, mean"
    assert rank_set(reference.tail, reference.units, profiles).by == "impact, mean"
    assert reference.rank(profiles, combine="mean-rank").by == "impact, mean-rank"


def test_mean_wants_scores_that_have_one(reference, profiles):
    for by in ("pot", "spot-script", "random"):
        with pytest.raises(ValueError, match=f"by must be one of 'zscore'.* got '{by}'"):
            reference.rank(profiles, by, combine="mean", rng=0)


@pytest.mark.parametrize("combine", ["mean-rank", *METHODS, "exceedance"])
def test_the_order_of_samples_does_not_matter(reference, profiles, combine):
    one, other = (reference.rank(p, "pot", combine=combine) for p in (profiles, profiles[::-1]))
    assert np.array_equal(one.order, other.order)
    np.testing.assert_allclose(one.log_sf, other.log_sf, rtol=1e-9)


@pytest.mark.parametrize("combine", ["mean-rank", *METHODS, "exceedance"])
def test_a_unit_that_stands_out_in_every_sample_comes_first_and_a_dead_one_last(reference, combine):
    rng = np.random.default_rng(0)
    profiles = np.abs(rng.normal(size=(30, 12))) * reference.tail.mean
    profiles[:, 5] = reference.tail.threshold[5] + (5 + rng.exponential(size=30)) * reference.tail.sigma[5]
    profiles[:, 0] = 1e6  # dead in calibration
    ranking = reference.rank(profiles, "pot", combine=combine)
    assert ranking.order[0] == 5
    assert ranking.order[-1] == 0
    assert ranking.p_value[0] == 1.0
    assert ranking.select(0.05)[0] == 5


def test_exceedance_compares_shares_and_tests_them_exactly(reference, profiles):
    above = profiles > reference.tail.threshold
    ranking = reference.rank(profiles, "pot", combine="exceedance")
    for unit in range(1, 12):
        count, rate = above[:, unit].sum(), reference.tail.n_excess[unit] / 1000
        assert ranking.score[unit] == pytest.approx(count / 60 - rate)
        assert ranking.p_value[unit] == pytest.approx(stats.binomtest(int(count), 60, rate, "greater").pvalue)
    correct = Toy().profile(*samples(80, seed=6, noise=0.0))
    others = correct > reference.tail.threshold
    ranking = reference.rank(profiles, "pot", combine="exceedance", correct=correct)
    for unit in range(1, 12):
        a, b = int(above[:, unit].sum()), int(others[:, unit].sum())
        exact = stats.fisher_exact([[a, 60 - a], [b, 80 - b]], "greater").pvalue
        assert ranking.p_value[unit] == pytest.approx(exact, rel=1e-6)
        assert ranking.score[unit] == pytest.approx(a / 60 - b / 80)


def test_what_is_above_is_so_oftener_than_in_calibration(reference, profiles):
    ranking = reference.rank(profiles, "pot")
    share = (profiles > reference.tail.threshold).mean(axis=0)
    np.testing.assert_allclose(ranking.exceedance[1:], share[1:])
    assert np.array_equal(ranking.above[1:], share[1:] > reference.tail.n_excess[1:] / 1000)


def test_chunks_do_not_change_the_result(reference, profiles, monkeypatch):
    whole = [reference.rank(profiles, "pot", combine=c).log_sf for c in ("mean-rank", *METHODS, "exceedance")]
    monkeypatch.setattr("evtkit.saliency.combine._CHUNK_VALUES", 7 * 12)
    parts = [reference.rank(profiles, "pot", combine=c).log_sf for c in ("mean-rank", *METHODS, "exceedance")]
    np.testing.assert_allclose(whole, parts, rtol=1e-12)
