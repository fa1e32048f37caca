"""Choosing the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from evtkit import fit_gpd, fit_tail, gpd
from evtkit.threshold import mean_residual_life, parameter_stability, suggest_threshold


def kinked(seed):
    """Uniform up to 10, then a GPD tail whose density joins on, with a kink."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([rng.uniform(0, 10, 4000), 10 + gpd.rvs(0.15, 2.0, size=800, rng=rng)]))


@pytest.fixture(scope="module")
def x():
    return kinked(5)


def test_mean_excess_of_a_gpd_is_linear_in_the_threshold():
    # (σ + ξu)/(1 − ξ), Coles (2001), equation 4.9
    life = mean_residual_life(gpd.rvs(0.2, 1.0, 200_000, rng=1), [0.0, 1.0, 2.0, 4.0], level=0.999)
    expected = (1.0 + 0.2 * life.threshold) / 0.8
    assert np.all((life.lower < expected) & (expected < life.upper))


def test_mean_residual_life_is_mean_and_normal_limits(x):
    life = mean_residual_life(x, [9.0, 12.0], level=0.9)
    for i, u in enumerate((9.0, 12.0)):
        y = x[x > u] - u
        assert life.mean_excess[i] == pytest.approx(y.mean())
        assert life.upper[i] - life.mean_excess[i] == pytest.approx(1.6448536 * y.std(ddof=1) / np.sqrt(y.size))
        assert life.n_excess[i] == y.size


def test_confidence_bands_cover(x):
    rng = np.random.default_rng(0)
    hits = [
        life.lower[0] < 1.25 < life.upper[0]
        for life in (mean_residual_life(gpd.rvs(0.2, 1.0, 400, rng), [0.0]) for _ in range(400))
    ]
    assert 0.90 < np.mean(hits) < 0.98


def test_beyond_the_largest_value_there_is_nothing():
    life = mean_residual_life([1.0, 2.0, 3.0], [2.5, 3.0, 9.0])
    assert life.n_excess.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(life.mean_excess, [0.5, np.nan, np.nan])
    assert np.all(np.isnan(life.upper))


def test_parameter_stability_is_a_fit_at_each_threshold(x):
    stability = parameter_stability(x, [8.0, 10.0, 12.0])
    for i, u in enumerate((8.0, 10.0, 12.0)):
        fit = fit_gpd(x[x > u] - u)
        assert stability.xi[i] == pytest.approx(float(fit.xi), rel=1e-9)
        assert stability.modified_scale[i] == pytest.approx(float(fit.sigma - fit.xi * u), rel=1e-9)
        assert stability.se_xi[i] == pytest.approx(float(fit.se_xi), rel=1e-9)
        gradient = np.array([1.0, -u])
        covariance = np.array([[fit.se_sigma**2, fit.cov], [fit.cov, fit.se_xi**2]])
        assert stability.se_modified_scale[i] == pytest.approx(
            float(np.sqrt(gradient @ covariance @ gradient)), rel=1e-9
        )
        assert stability.n_excess[i] == fit.n


def test_parameters_are_stable_above_a_good_threshold():
    stability = parameter_stability(gpd.rvs(0.2, 1.0, 100_000, rng=3), [0.0, 1.0, 3.0])
    assert np.all(np.abs(stability.xi - 0.2) < 3 * stability.se_xi)
    assert np.all(np.abs(stability.modified_scale - 1.0) < 3 * stability.se_modified_scale)


def test_default_grids_run_from_the_median_to_ten_excesses(x):
    life = mean_residual_life(x)
    assert len(life.threshold) == 50
    assert life.threshold[0] == np.sort(x)[x.size // 2]
    assert life.n_excess[-1] == 10
    assert np.array_equal(life.threshold, parameter_stability(x).threshold)


def test_suggestion_is_near_where_the_tail_begins():
    choices = [suggest_threshold(kinked(seed), np.arange(2.0, 14.0, 0.5)).threshold for seed in range(9)]
    assert min(choices) >= 9.0
    assert 9.0 <= np.median(choices) <= 11.0


def test_suggestion_is_the_fit_at_its_threshold(x):
    choice = suggest_threshold(x, np.arange(2.0, 14.0, 0.5))
    assert choice.xi == pytest.approx(float(fit_gpd(x[x > choice.threshold] - choice.threshold).xi), rel=1e-9)
    assert choice.n_excess == np.sum(x > choice.threshold)
    assert choice.thresholds[choice.index] == choice.threshold


def test_suggestion_for_rain_is_coles_threshold(rain):
    # Coles (2001, p. 80) reads 30 mm off the mean residual life plot.
    least = rain[rain > suggest_threshold(rain).threshold].min()  # thresholds of rounded data lie between two values
    assert least == pytest.approx(30.0, abs=2.5)


def test_forward_stop_is_its_formula(x):
    choice = suggest_threshold(x, np.arange(2.0, 14.0, 0.5), fdr=0.1)
    k = np.arange(1, len(choice.p_value) + 1)
    statistic = np.cumsum(-np.log(1 - choice.p_value)) / k
    assert choice.mean_log == pytest.approx(statistic, rel=1e-9)
    assert choice.index == max([int(i) for i in k[statistic <= 0.1]], default=0)


def test_a_pure_gpd_keeps_nearly_all_of_its_data():
    index = [suggest_threshold(gpd.rvs(0.1, 1.0, 2000, rng=seed), np.linspace(0, 2, 20)).index for seed in range(100)]
    assert np.mean(np.array(index) == 0) > 0.8  # ForwardStop promises 0.95 of independent tests; these overlap
    assert np.mean(np.array(index) <= 2) > 0.95


def test_nothing_fits():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(5.0, 0.01, 5000), rng.normal(9.0, 0.01, 5000)])
    choice = suggest_threshold(x, [0.0, 4.0, 4.5])
    assert (choice.index, choice.n_excess) == (-1, 0)
    assert np.isnan(choice.threshold)


def test_missing_values_and_order_do_not_matter(x):
    with_nan = np.concatenate([x[::-1], np.full(7, np.nan)])
    a, b = suggest_threshold(x), suggest_threshold(with_nan)
    assert (a.threshold, a.n_excess) == (b.threshold, b.n_excess)


@pytest.mark.parametrize("function", [mean_residual_life, parameter_stability, suggest_threshold])
@pytest.mark.parametrize(
    ("x", "thresholds", "message"),
    [
        (np.ones((3, 2)), None, r"one channel of shape \(n,\), got shape \(3, 2\)"),
        ([], None, "finite numbers, got none"),
        ([np.nan], None, "finite numbers, got none"),
        ([1.0, np.inf], None, "finite numbers, got"),
        (["a"], None, "real numbers"),
        ([1.0, 2.0], [np.nan], "thresholds must be finite"),
        ([1.0, 2.0], [], "thresholds must be finite"),
    ],
)
def test_bad_input_raises(function, x, thresholds, message):
    with pytest.raises(ValueError, match=message):
        function(x, thresholds)


def test_bad_levels_raise():
    with pytest.raises(ValueError, match=r"got 1\.0"):
        mean_residual_life([1.0, 2.0], level=1.0)
    with pytest.raises(ValueError, match=r"got 0\.0"):
        suggest_threshold([1.0, 2.0], fdr=0.0)


def test_a_tail_has_two_different_excesses_where_it_can():
    """Of 200 counts the largest twenty would be thirteen twos: the ones belong to the tail."""
    tail = fit_tail(np.repeat([0.0, 1.0, 2.0], [138, 49, 13]))
    assert int(tail.n_excess) == 62
    assert 1e-3 < tail.sf(3.0) < 1e-2
    most = fit_tail(np.repeat([0.0, 1.0, 2.0], [40, 147, 13]))  # the ones are the body
    assert int(most.n_excess) == 13
