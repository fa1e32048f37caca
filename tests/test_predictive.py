"""The predictive tail: right on average over samples, where the fitted tail is too sure of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit import fit_gpd, fit_tail, gpd
from evtkit._kernels import posteriors as many
from evtkit._kernels import predictive as kernels


@pytest.mark.parametrize("k", [20, 40])
@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.4])
def test_it_is_the_integral_over_the_posterior(k, xi):
    y = np.sort(gpd.rvs(xi, 1.0, size=k, rng=3))
    shape, log_sigma = np.meshgrid(np.linspace(-3.0, 4.0, 281), np.linspace(-2.5, 3.0, 201))
    scale = np.exp(log_sigma)
    log_posterior = sum(gpd.logpdf(value, shape, scale) for value in y) - np.maximum(shape / 0.6, 0.0) ** 2 / 2.0
    weight = np.exp(log_posterior - log_posterior.max())
    nodes = np.empty((4, kernels.COLUMNS))
    kernels.posterior(y, k, np.empty((1, 16, 8)), nodes)
    for level in (0.5, 2.0, 1.2 * y.max()):
        expected = np.sum(weight * gpd.sf(level, shape, scale)) / weight.sum()
        assert np.exp(kernels.log_survival(level, nodes)[0]) == pytest.approx(
            expected, rel=0.04
        )  # the prior's three terms


@pytest.mark.parametrize(
    "counts", [[77, 9], [77, 9, 1], [50, 20, 8, 3, 1], [200, 30, 0, 0, 1], [5, 5, 5, 5], [12, 0, 3, 0, 0, 0, 1]]
)
def test_of_counted_cells_it_is_the_integral_too(counts):
    filled = np.flatnonzero(counts)
    shape, log_sigma = np.meshgrid(np.linspace(-8.0, 4.0, 601), np.linspace(-4.0, 4.0, 401))
    scale, log_posterior = np.exp(log_sigma), -(np.maximum(shape / 0.6, 0.0) ** 2) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        for j in filled:
            log_posterior += counts[j] * np.log(gpd.sf(j, shape, scale) - gpd.sf(j + 1.0, shape, scale))
    weight = np.exp(np.where(np.isnan(log_posterior), -np.inf, log_posterior) - np.nanmax(log_posterior))
    nodes = np.empty((4, kernels.COLUMNS))
    many.cell_posterior(filled + 1.0, np.array(counts, dtype=float)[filled], filled.size, nodes)
    for level in (1.0, len(counts) - 1.0, len(counts), 3.0 * len(counts)):
        expected = np.sum(weight * gpd.sf(level, shape, scale)) / weight.sum()
        assert np.exp(kernels.log_survival(level, nodes)[0]) == pytest.approx(expected, rel=0.1, abs=0.0025)


@given(st.integers(0, 2**32 - 1), st.sampled_from([-0.5, 0.0, 0.5]))
def test_narrow_cells_say_what_exact_values_say(seed, xi):
    y = np.sort(gpd.rvs(xi, 1.0, size=20, rng=seed))
    cells, counts = np.unique(np.floor(y / 1e-5) + 1.0, return_counts=True)
    nodes = np.empty((4, kernels.COLUMNS))
    many.cell_posterior(cells, counts.astype(float), len(counts), nodes)
    exact = posterior_of(y)
    for level in (0.5, 3.0, 20.0):
        found, expected = kernels.log_survival(level / 1e-5, nodes)[0], kernels.log_survival(level, exact)[0]
        assert found == pytest.approx(expected, rel=0.03, abs=0.1)


@pytest.mark.parametrize("counts", [(613, 301, 77, 9), (300, 60, 4), (900, 80, 15, 5), (150, 38, 9, 2, 1)])
def test_the_count_after_the_largest_is_not_impossible(counts):
    """What is one step beyond the largest of n counts happens once in some n, whatever the law."""
    x = np.repeat(np.arange(len(counts), dtype=float), counts)
    assert 0.1 < len(x) * fit_tail(x).sf(float(len(counts))) < 3.0


def posterior_of(y):
    nodes = np.empty((4, kernels.COLUMNS))
    kernels.posterior(y, len(y), np.empty((len(y) // 128 + 1, 16, 8)), nodes)
    return nodes


@given(st.integers(0, 2**32 - 1), st.sampled_from([5, 30, 400]), st.sampled_from([-1.0, 0.0, 0.7]))
def test_the_level_inverts_the_probability_and_the_slope_is_its_derivative(seed, k, xi):
    nodes = posterior_of(gpd.rvs(xi, 1.0, size=k, rng=seed))
    for log_p in (-0.3, -3.0, -9.0):
        y = kernels.excess_level(log_p, 0.0, nodes)
        value, slope = kernels.log_survival(y, nodes)
        assert value <= log_p + 1e-9
        assert kernels.log_survival(y * (1.0 - 1e-6), nodes)[0] >= log_p - 1e-9
        if k > 5:  # else P falls in steps, where nodes end
            assert value == pytest.approx(log_p, abs=1e-9)
        if k > 5 and xi >= 0.0:
            after, before = (kernels.log_survival(y * factor, nodes)[0] for factor in (1.0 + 1e-6, 1.0 - 1e-6))
            assert slope == pytest.approx((after - before) / 2e-6, rel=1e-3, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-300, 1e-9, 1e12, 1e290]))
def test_the_posterior_knows_neither_units_nor_order(seed, unit):
    rng = np.random.default_rng(seed)
    y = gpd.rvs(0.2, 1.0, size=50, rng=rng)
    for log_p in (-1.0, -6.0):
        expected = kernels.excess_level(log_p, 0.0, posterior_of(y))
        assert kernels.excess_level(log_p, 0.0, posterior_of(rng.permutation(y) * unit)) == pytest.approx(
            expected * unit
        )


def test_a_dozen_excesses_are_not_believed_that_the_shape_is_two():
    y = gpd.rvs(2.0, 1.0, size=(12, 60), rng=0)
    fit = fit_gpd(y)
    heavy = np.flatnonzero(fit.xi > 1.5)
    assert len(heavy) > 30
    for c in heavy:
        level = kernels.excess_level(np.log(1e-3), 0.0, posterior_of(y[:, c].copy()))
        assert level < gpd.isf(1e-3, fit.xi[c], fit.sigma[c])


@pytest.mark.parametrize("xi", [-1.0, -0.4, 0.0, 0.5])
def test_the_next_value_is_beyond_its_level_as_often_as_it_says(xi):
    repetitions, k = 400, 50
    samples, new = gpd.rvs(xi, 1.0, size=(k, repetitions), rng=1), gpd.rvs(xi, 1.0, size=(1500, 1), rng=2)
    tail = fit_tail(np.vstack([np.full((9 * k, repetitions), -1.0), samples]), threshold=0.0)
    p = tail.sf(np.broadcast_to(new, (1500, repetitions))) * (10 * k + 1) / (k + 1)
    for risk in (0.1, 0.01, 1e-3):
        rates = (p < risk).mean(axis=0)
        realised, error = rates.mean(), rates.std() / repetitions**0.5
        assert realised < risk + 4 * error
        assert realised > 0.75 * risk - 4 * error
    assert (tail.sf(np.broadcast_to(new, p.shape), law="plug-in") * 10 < 1e-3).mean() > 3e-3  # the textbook's is not


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 20, 300]))
def test_ranks_are_p_values_for_any_distribution_ties_included(seed, n):
    x = np.random.default_rng(seed).integers(0, 4, n).astype(float)
    model = fit_tail(np.append(x, -1.0), n_excess=1)
    for value in (-1.0, 0.0, 1.5, 3.0, 9.0):
        assert model.sf(value) == pytest.approx((1 + np.sum(np.append(x, -1.0) >= value)) / (n + 2))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 0.25, 1e12]))
def test_units_and_order_of_samples_do_not_matter(seed, unit):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=400)
    levels = np.linspace(0.0, 30.0, 50)
    model = fit_tail(x, quantile=0.9)
    other = fit_tail(rng.permutation(x) * unit, quantile=0.9)
    assert np.allclose(model.logsf(levels), other.logsf(levels * unit), rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "poisson", "uniform", "cauchy"]))
def test_probabilities_fall_and_stay_finite(seed, kind):
    rng = np.random.default_rng(seed)
    x = {"normal": rng.normal, "poisson": rng.poisson, "uniform": rng.random, "cauchy": rng.standard_cauchy}[kind]
    x = x(size=500).astype(float)
    levels = np.concatenate([np.sort(x), x.max() + np.geomspace(1e-6, 1e280, 300)])
    log_p = fit_tail(x, n_excess=50).logsf(levels)
    assert np.all(np.isfinite(log_p))
    assert np.all(np.diff(log_p) <= 1e-12)
    assert log_p[-1] < log_p[500]


def test_lower_side_mirrors_the_upper():
    x = np.random.default_rng(0).gumbel(size=(500, 3))
    upper, lower = fit_tail(-x, quantile=0.9), fit_tail(x, quantile=0.9, side="lower")
    assert np.array_equal(lower.logsf(x[:50]), upper.logsf(-x[:50]))


def test_counts_are_not_taken_for_measurements():
    rng, rates = np.random.default_rng(0), []
    for _ in range(300):
        model = fit_tail(rng.poisson(3.0, 300).astype(float), n_excess=30)
        rates.append((model.sf(rng.poisson(3.0, 2000).astype(float)) < 0.005).mean())
    assert np.mean(rates) < 0.005


def test_channels_and_threads_are_alone(monkeypatch):
    x = np.random.default_rng(1).standard_t(3, size=(600, 4))
    model = fit_tail(x, quantile=0.9)
    for channel in range(4):
        alone = fit_tail(x[:, channel], quantile=0.9)
        assert np.array_equal(alone.logsf(x[:, channel]), model.logsf(x)[:, channel])
    many = np.tile(x, (100, 1))
    given = {}
    for threads in ("1", "3"):
        monkeypatch.setenv("EVTKIT_NUM_THREADS", threads)
        given[threads] = fit_tail(x, quantile=0.9).logsf(many)
    assert np.array_equal(given["1"], given["3"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fit_tail(x, quantile=0.9).sf([1.0, 2.0]), "3 channels on its last axis"),
        (lambda x: fit_tail(x, quantile=0.9).sf([1.0, np.nan, 2.0]), "NaN"),
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
    given = kept.sf(levels)
    np.testing.assert_array_equal(given[known], whole.sf(levels)[known])
    assert known[:, :2].sum() > 100
    assert np.all(given[~known] == 1.0)
    assert given[-1, 2] == pytest.approx(1.0 / 801.0)  # more than all 800 of a channel without a tail


def test_on_a_lattice_probabilities_are_raised_as_the_method_says_and_levels_invert_them():
    """A share of 1.8/√k, at least .3, times (n·P)^(−¼), at most .4, and not past half way to the step below."""
    rng = np.random.default_rng(7)
    counts = np.column_stack([rng.poisson(3.0, 2000), rng.geometric(0.2, 2000)]).astype(float)
    for n_excess in (20, 400):
        tail = fit_tail(np.column_stack([counts, rng.standard_normal(2000)]), n_excess=n_excess, clean=False)
        law, k = tail._next, tail.n_excess.astype(float)
        steps = np.arange(1.0, 30.0)[:, None]
        x = np.where([True, True, False], np.floor(tail.threshold) + steps, tail.threshold + 0.1 * steps)
        bare, below = np.zeros(x.shape), np.broadcast_to(law._log_rate, x.shape).copy()
        for values, out in ((x, bare), (x - 1.0, below)):
            kernels.log_tail(values, law._threshold, law._gap, law._log_rate, law._nodes, out)
        share = np.minimum(np.maximum(1.8 / np.sqrt(k), 0.3) * (2000.0 * np.exp(bare)) ** -0.25, 0.4)
        raised = np.minimum(bare + share, 0.5 * (bare + below))
        np.testing.assert_allclose(tail.logsf(x), np.where([True, True, False], raised, bare), rtol=1e-12)
        for p in (1e-3, 1e-4):
            level = tail.isf(p)
            assert np.all(tail.sf(level[None])[0] <= p * (1.0 + 1e-9))
            assert np.all(tail.sf(level[None] - 1e-6)[0] > p * (1.0 - 1e-4))
