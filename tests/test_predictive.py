"""The predictive tail: right on average over samples, where the fitted tail is too sure of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit import fit_tail, gpd


@pytest.mark.parametrize("k", [5, 10, 40])
@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.4])
def test_p_values_are_the_share_of_excesses_times_the_mean_survival_over_the_posterior(k, xi):
    """Against the double integral over ξ and log σ, likelihood times flat prior, by the formula of the density."""
    y = np.sort(gpd.rvs(xi, 1.0, size=k, rng=4))
    y[1] = y[0] + 1e-9  # of measurements the smallest step is next to nothing
    shape, log_scale = (a[..., None] for a in np.meshgrid(np.linspace(-4.0, 40.0, 1600), np.linspace(-4.0, 5.0, 500)))
    shape = shape + 1e-9  # never 0

    def log_power(level, power):
        """log (1 + ξ level/σ)^(−power/ξ), −inf beyond the endpoint."""
        z = shape * level * np.exp(-log_scale)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(z > -1.0, -power / shape * np.log1p(z), -np.inf)

    loglik = sum(log_power(value, 1.0 + shape) - log_scale for value in y)
    weight = np.exp(loglik - loglik.max())
    levels = y[-1] * np.array([0.5, 1.0, 1.5, 4.0])
    mean = np.sum(weight * np.exp(log_power(levels, 1.0)), axis=(0, 1)) / weight.sum()
    tail = fit_tail(np.concatenate([np.full(9 * k, -1.0), y]), threshold=0.0)
    np.testing.assert_allclose(tail.predictive.p_value(levels), (k + 1) / (10 * k + 1) * mean, rtol=0.03)


@pytest.mark.parametrize("xi", [-1.0, -0.4, 0.0, 0.5])
def test_the_next_value_is_beyond_its_level_as_often_as_it_says(xi):
    repetitions, k = 400, 50
    samples, new = gpd.rvs(xi, 1.0, size=(k, repetitions), rng=1), gpd.rvs(xi, 1.0, size=(1500, 1), rng=2)
    tail = fit_tail(np.vstack([np.full((9 * k, repetitions), -1.0), samples]), threshold=0.0)
    p = tail.predictive.p_value(np.broadcast_to(new, (1500, repetitions))) * (10 * k + 1) / (k + 1)
    for risk in (0.1, 0.01, 1e-3):
        rates = (p < risk).mean(axis=0)
        realised, error = rates.mean(), rates.std() / repetitions**0.5
        assert realised < risk + 4 * error
        assert realised > 0.75 * risk - 4 * error
    assert (tail.sf(np.broadcast_to(new, p.shape)) * 10 < 1e-3).mean() > 3e-3  # the fitted tail's is not


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 20, 300]))
def test_ranks_are_p_values_for_any_distribution_ties_included(seed, n):
    x = np.random.default_rng(seed).integers(0, 4, n).astype(float)
    model = fit_tail(np.append(x, -1.0), n_excess=1).predictive
    for value in (-1.0, 0.0, 1.5, 3.0, 9.0):
        assert model.p_value(value) == pytest.approx((1 + np.sum(np.append(x, -1.0) >= value)) / (n + 2))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 0.25, 1e12]))
def test_units_and_order_of_samples_do_not_matter(seed, unit):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=400)
    levels = np.linspace(0.0, 30.0, 50)
    model = fit_tail(x, quantile=0.9).predictive
    other = fit_tail(rng.permutation(x) * unit, quantile=0.9).predictive
    assert np.allclose(model.log_p_value(levels), other.log_p_value(levels * unit), rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "poisson", "uniform", "cauchy"]))
def test_probabilities_fall_and_stay_finite(seed, kind):
    rng = np.random.default_rng(seed)
    x = {"normal": rng.normal, "poisson": rng.poisson, "uniform": rng.random, "cauchy": rng.standard_cauchy}[kind]
    x = x(size=500).astype(float)
    levels = np.concatenate([np.sort(x), x.max() + np.geomspace(1e-6, 1e280, 300)])
    log_p = fit_tail(x, n_excess=50).predictive.log_p_value(levels)
    assert np.all(np.isfinite(log_p))
    assert np.all(np.diff(log_p) <= 1e-12)
    assert log_p[-1] < log_p[500]


def test_lower_side_mirrors_the_upper():
    x = np.random.default_rng(0).gumbel(size=(500, 3))
    upper, lower = fit_tail(-x, quantile=0.9).predictive, fit_tail(x, quantile=0.9, side="lower").predictive
    assert np.array_equal(lower.log_p_value(x[:50]), upper.log_p_value(-x[:50]))


def test_counts_are_not_taken_for_measurements():
    rng, rates = np.random.default_rng(0), []
    for _ in range(300):
        model = fit_tail(rng.poisson(3.0, 300).astype(float), n_excess=30).predictive
        rates.append((model.p_value(rng.poisson(3.0, 2000).astype(float)) < 0.005).mean())
    assert np.mean(rates) < 0.005


def test_channels_and_threads_are_alone():
    x = np.random.default_rng(1).standard_t(3, size=(600, 4))
    model = fit_tail(x, quantile=0.9).predictive
    for channel in range(4):
        alone = fit_tail(x[:, channel], quantile=0.9).predictive
        assert np.array_equal(alone.log_p_value(x[:, channel]), model.log_p_value(x)[:, channel])
    many = np.tile(x, (100, 1))
    assert np.array_equal(model.log_p_value(many, n_threads=1), model.log_p_value(many, n_threads=3))


def test_more_observations_than_are_kept_round_up():
    x = np.random.default_rng(2).random(20_000)
    levels = np.linspace(0.0, 0.9, 1000)
    exact = (1 + np.sum(x[:, None] >= levels, axis=0)) / 20_001
    p = fit_tail(x, quantile=0.99).predictive.p_value(levels)
    assert np.all(p >= exact - 1e-12)
    assert np.all(p <= exact + 1.5 / 4096)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fit_tail(x, quantile=0.9).predictive.p_value([1.0, 2.0]), "3 channels on its last axis"),
        (lambda x: fit_tail(x, quantile=0.9).predictive.p_value([1.0, np.nan, 2.0]), "NaN"),
    ],
)
def test_bad_input_says_what_was_got_and_wanted(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0).random((100, 3)))


def test_without_the_sample_what_was_kept_decides_and_what_lies_below_counts_as_one():
    rng = np.random.default_rng(3)
    x = rng.standard_exponential((800, 3))
    x[:, 2] = 0.0  # no fit: ranks only
    whole, kept = (fit_tail(x, quantile=0.9, keep_sample=keep) for keep in (True, False))
    levels = np.concatenate([np.linspace(0.0, 12.0, 200)[:, None] * [1.0, 1.0, 0.0], [[9.0, 0.5, 1.0]]])
    smallest = np.min(np.where(np.isnan(kept.largest), np.inf, kept.largest), axis=1)
    known = levels > smallest
    given = kept.predictive.p_value(levels)
    np.testing.assert_array_equal(given[known], whole.predictive.p_value(levels)[known])
    assert known[:, :2].sum() > 100
    assert np.all(given[~known] == 1.0)
    assert given[-1, 2] == pytest.approx(1.0 / 801.0)  # more than all 800 of a channel without a tail
