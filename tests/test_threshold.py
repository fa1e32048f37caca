"""Choosing the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from evtkit import fit_gpd, fit_tail, gpd
from evtkit.intervals import return_level_interval
from evtkit.threshold import (
    averaged_level,
    choice_weights,
    mean_residual_life,
    parameter_stability,
    suggest_threshold,
    suggest_thresholds,
)
from evtkit.threshold.evidence import _gains, _score_p_value, _scores
from evtkit.threshold.rules import default_excesses, ties_together


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
    assert choice.statistic == pytest.approx(statistic, rel=1e-9)
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


def test_by_default_a_tenth_but_fifty_or_the_root_and_of_few_a_quarter():
    n = [2, 3, 8, 30, 60, 100, 240, 500, 2000, 3600, 1_000_000]
    assert default_excesses(np.array(n)).tolist() == [1, 1, 2, 7, 10, 10, 24, 50, 50, 60, 1000]
    assert fit_tail([1.0, 2.0]).n_excess == 1


def test_values_that_equal_the_threshold_are_all_excesses_or_none():
    """All, if that is nearer to what is asked for and at most twice that; five times, if no others differ beyond."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(600):
        x = np.sort(np.minimum(rng.geometric(rng.choice([0.2, 0.5]), 40), rng.integers(2, 9))).astype(float)
        x[: rng.choice([0, 0, 12])] = np.nan
        asked = int(rng.integers(1, np.count_nonzero(x > 0.0)))
        level, next_one = x[-asked - 1], x[-asked]
        above, with_ties = np.count_nonzero(x > level), np.count_nonzero(x >= level)
        if level == next_one and np.nanmin(x) < level:
            alike = len(np.unique(x[x > level])) == 1
            nearer = with_ties * max(above, 1) <= asked**2
            taken = with_ties <= 5 * asked if alike else nearer and with_ties <= 2 * asked
            seen.add((alike, nearer, taken))
        else:
            taken = False
        kept = int(ties_together(x[None], np.array([asked + 1]))[0])
        assert kept == (with_ties + 1 if taken else asked + 1)
    assert len(seen) >= 5


@pytest.mark.parametrize(
    ("threshold", "message"),
    [([1.0, 2.0, 3.0], r"one a channel \(2\), got shape \(3,\)"), ([[1.0, 2.0]], r"got shape \(1, 2\)"),
     ([1.0, np.nan], "must be finite"), ([1.0, np.inf], "must be finite")],
)  # fmt: skip
def test_thresholds_are_one_or_one_a_channel(threshold, message):
    with pytest.raises(ValueError, match=message):
        fit_tail(np.random.default_rng(0).standard_exponential((50, 2)), threshold=threshold)
    with pytest.raises(ValueError, match="must be one number"):
        fit_tail(np.arange(9.0), threshold=[1.0])


# -- other methods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["score", "discrepancy"])
def test_other_methods_see_the_kink_and_keep_a_pure_gpd(method):
    grid = np.arange(5.0, 14.0, 1.0)
    chosen = [suggest_threshold(kinked(seed), grid, method=method).threshold for seed in range(1, 4)]
    assert min(chosen) >= 9.0
    assert np.median(chosen) <= 11.0
    grid = gpd.isf([0.9, 0.5, 0.25, 0.12], 0.1, 1.0)
    kept = [suggest_threshold(gpd.rvs(0.1, 1.0, 600, rng=s), grid, method=method).index for s in range(5)]
    assert np.median(kept) <= 1


@pytest.mark.parametrize("xi", [-0.2, 0.3])
def test_the_score_test_has_its_size(xi):
    y = gpd.rvs(xi, 1.0, (400, 300), rng=1)
    fit, u = fit_gpd(y), np.append(0.0, gpd.isf([0.7, 0.45, 0.25, 0.12], xi, 1.0))
    p = np.array([_score_p_value(y[:, i], u, float(fit.xi[i]), float(fit.sigma[i])) for i in range(300)])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.09)


def test_the_score_test_of_rounded_data_rejects_no_more_often():
    u = gpd.isf([0.7, 0.45, 0.25, 0.12], 0.1, 1.0)
    p = np.array([suggest_threshold(gpd.rvs(0.1, 1.0, 400, rng=seed).round(1), u, method="score").p_value[0]
                  for seed in range(50)])  # fmt: skip
    assert np.mean(p < 0.05) < 0.16


def test_the_scores_are_derivatives_of_the_log_likelihood():
    """Of the piecewise law of Northrop & Coleman (2014), by its survival function, numerically."""
    u, xi, sigma = np.array([0.0, 0.7, 1.5]), 0.2, 1.3
    x = np.array([0.3, 0.69, 1.0, 1.6, 7.0])

    def loglik(theta):
        scale, total = theta[0], np.zeros(len(x))
        for k, shape in enumerate(theta[1:]):
            end = u[k + 1] if k + 1 < len(u) else np.inf
            inside, beyond = (x > u[k]) & (x <= end), x > end
            total[inside] += gpd.logpdf(x[inside] - u[k], shape, scale)
            if beyond.any():
                total[beyond] += gpd.logsf(end - u[k], shape, scale)
                scale = scale + shape * (end - u[k])
        return total

    at = np.array([sigma, xi, xi, xi])
    wanted = [(loglik(at + 1e-6 * e) - loglik(at - 1e-6 * e)) / 2e-6 for e in np.eye(4)]
    np.testing.assert_allclose(_scores(x, u, xi, sigma), np.transpose(wanted), atol=1e-7)
    nearly = _scores(x, u, 1e-12, sigma)  # through ξ = 0
    np.testing.assert_allclose(nearly, _scores(x, u, 2e-4, sigma), atol=0.02)


def test_the_discrepancy_has_the_unit_of_the_data_and_its_choice_has_none(x):
    one = suggest_threshold(x, np.arange(2.0, 14.0, 2.0), method="discrepancy")
    other = suggest_threshold(1024.0 * x, 1024.0 * np.arange(2.0, 14.0, 2.0), method="discrepancy")
    assert other.index == one.index
    np.testing.assert_allclose(other.statistic, 1024.0 * one.statistic, rtol=1e-6)


def test_an_unknown_method_is_refused():
    with pytest.raises(
        ValueError, match="method must be one of 'forward-stop', 'score', 'discrepancy', 'increments', got 'eye'"
    ):
        suggest_threshold([1.0, 2.0], method="eye")


# -- many channels, increments, and a choice that is averaged ----------------------------------------------------------


@pytest.mark.parametrize("method", ["forward-stop", "increments"])
def test_each_of_many_channels_has_the_choice_that_it_has_alone(method):
    rng = np.random.default_rng(2)
    columns = [rng.standard_normal(700), rng.standard_exponential(700).round(1), rng.gamma(3.0, size=700),
               np.where(rng.uniform(size=700) < 0.3, np.nan, rng.standard_t(3.0, size=700)),
               rng.poisson(3.0, size=700), kinked(3)[:700]]  # fmt: skip
    many = suggest_thresholds(np.column_stack(columns), method=method)
    for c, column in enumerate(columns):
        one = suggest_threshold(column, method=method)
        np.testing.assert_equal(
            (many.threshold[c], many.xi[c], many.sigma[c], many.n_excess[c], many.tested[c]),
            (one.threshold, one.xi, one.sigma, one.n_excess, one.thresholds.size),
        )
        assert many.rejected[c] == (one.index if one.index >= 0 else one.thresholds.size)
    assert many.to_frame().shape[0] == len(columns)


def test_increments_keep_their_size_and_see_the_kink():
    x = gpd.rvs([[-0.2] * 150 + [0.3] * 150], 1.0, size=(600, 300), rng=1)
    rejected = suggest_thresholds(x, method="increments").rejected > 0
    assert 0.005 < rejected[:150].mean() < 0.12
    assert 0.005 < rejected[150:].mean() < 0.12
    chosen = [suggest_threshold(kinked(seed), method="increments").threshold for seed in range(5)]
    assert np.median(chosen) > 8.5


def test_gains_are_the_likelihood_ratio_of_normal_increments():
    rng = np.random.default_rng(4)
    n, xi = np.array([900, 700, 500, 400, 300, 200, 120, 70]), rng.normal(0.1, 0.1, size=8)
    noise = np.diff(xi) / ((1.0 + xi[:-1]) * np.sqrt(np.diff(1.0 / n)))
    k = 5
    changed = norm.logpdf(noise[:k], noise[:k].mean(), noise[:k].std()).sum() + norm.logpdf(noise[k:]).sum()
    assert _gains(xi[:, None], n)[k, 0] == pytest.approx(2.0 * (changed - norm.logpdf(noise).sum()), rel=1e-9)


def test_a_single_candidate_is_averaged_to_its_own_limits(x):
    alone = averaged_level(x, 1e5, thresholds=[10.0])
    y = x[x > 10.0] - 10.0
    wanted = return_level_interval(y, 1e5, rate=len(y) / len(x), threshold=10.0, method="bartlett")
    assert alone.estimate == pytest.approx(float(wanted.estimate), rel=1e-12)
    assert alone.lower == pytest.approx(float(wanted.lower), rel=3e-3)  # between quantiles the limits are interpolated
    assert alone.upper == pytest.approx(float(wanted.upper), rel=3e-3)


def test_averaged_limits_lie_between_those_of_the_candidates():
    x = np.random.default_rng(0).standard_t(4.0, size=1000)
    u, weights = choice_weights(x)
    assert weights.sum() == pytest.approx(1.0)
    assert np.count_nonzero(weights) > 2
    limits = []
    for level in u[weights > 0.0]:
        y = x[x > level] - level
        limits.append(return_level_interval(y, 1e4, rate=len(y) / 1000, threshold=level, method="bartlett"))
    mixed = averaged_level(x, 1e4)
    for name in ("lower", "upper"):
        ends = [float(getattr(one, name)) for one in limits]
        assert min(ends) <= getattr(mixed, name) <= max(ends)
    scaled = averaged_level(4.0 * x, 1e4)
    assert scaled.upper == pytest.approx(4.0 * float(mixed.upper), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "truth"), [
    (lambda rng: rng.standard_normal(1000), norm.isf(1e-4)),
    (lambda rng: rng.standard_t(4.0, 1000), t.isf(1e-4, 4.0)),
])  # fmt: skip
def test_averaged_limits_hold_where_a_law_bends_slowly(draw, truth):
    """Over the lowest threshold that passes a test, half of the limits at 95 % miss."""
    limits = [averaged_level(draw(np.random.default_rng(seed)), 1e4) for seed in range(25)]
    held = sum(bool(one.lower <= truth <= one.upper) for one in limits)
    assert held >= 18  # with a rate of .9 fewer come once in a hundred; with .55 as many once in twenty


def test_a_choice_speaks_for_all_candidates_above_it():
    x = gpd.rvs(0.1, 1.0, size=1000, rng=0)
    _, weights = choice_weights(x)
    assert np.all(np.diff(weights) >= 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: suggest_thresholds([1.0, 2.0]), r"shape \(n, channels\)"),
     (lambda: averaged_level(np.random.default_rng(0).standard_exponential(300), 1.0), "period must reach"),
     (lambda: averaged_level(np.arange(100.0), 1e4, level=1.0), "level must lie"),
     (lambda: choice_weights(np.arange(100.0), method="eye"), "method must be one of")],
)  # fmt: skip
def test_bad_input_of_many_and_averages_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
