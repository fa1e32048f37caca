"""Rounded data: the likelihood of cells, thresholds between lattice points, and today's answer as the step vanishes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import poisson

from evtkit import FitStatus, TailSketch, fit_gpd, fit_tail, gpd
from evtkit.gof import goodness_of_fit
from evtkit.threshold import suggest_threshold
from evtkit.threshold.rules import default_excesses


def cells(xi: float, k: int, step: float, seed: int) -> np.ndarray:
    """Excesses of a GPD with σ = 1, as the middles of their cells."""
    return (np.floor(gpd.rvs(xi, 1.0, size=k, rng=seed) / step) + 0.5) * step


@pytest.mark.parametrize("xi", [-0.4, 0.0, 0.5])
@pytest.mark.parametrize(("k", "step"), [(40, 0.25), (400, 0.25), (400, 1.0)])
def test_the_fit_is_the_maximum_of_the_likelihood_of_cells(xi, k, step):
    y = cells(xi, k, step, seed=2)

    def loss(parameters):
        shape, scale = parameters[0], np.exp(parameters[1])
        p = gpd.sf(y - 0.5 * step, shape, scale) - gpd.sf(y + 0.5 * step, shape, scale)
        return -np.sum(np.log(np.maximum(p, 1e-300))) if shape >= -1.0 else 1e9

    fit = fit_gpd(y, resolution=step)
    best = minimize(loss, [0.1, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-9, "maxiter": 4000})
    assert fit.loglik + k * np.log(step) == pytest.approx(-best.fun, abs=1e-5)
    assert fit.xi == pytest.approx(best.x[0], abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.sampled_from([-0.3, 0.0, 0.4]))
def test_as_the_step_vanishes_the_fit_becomes_the_ordinary_one(seed, xi):
    y = gpd.rvs(xi, 1.0, size=100, rng=seed)
    exact = fit_gpd(y)
    step = 1e-5
    rounded = fit_gpd((np.floor(y / step) + 0.5) * step, resolution=step)
    if exact.status == FitStatus.OK and exact.xi > -0.9:
        assert rounded.xi == pytest.approx(exact.xi, abs=1e-3)
        assert rounded.sigma == pytest.approx(exact.sigma, rel=1e-3)
        assert rounded.loglik == pytest.approx(exact.loglik, abs=0.05)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.1, 0.254, 2.0**-7, 50.0]), st.floats(-1e3, 1e3))
def test_a_lattice_is_found_whatever_its_step_and_offset(seed, step, offset):
    x = step * np.floor(np.random.default_rng(seed).exponential(3.0, 200)) + offset
    tail = fit_tail(x, quantile=0.5)
    assert tail.resolution == pytest.approx(step, rel=1e-6)
    places = (tail.threshold - offset) / step
    assert places - np.floor(places) == pytest.approx(0.5, abs=1e-4)
    assert np.array_equal(x > tail.threshold, x > np.sort(x)[100])  # parts the same observations


@given(st.integers(0, 2**32 - 1), st.sampled_from(["standard_normal", "standard_exponential", "random"]))
def test_measurements_have_no_lattice(seed, draw):
    x = getattr(np.random.default_rng(seed), draw)(300)
    for values in (x, x.astype(np.float32)):
        assert fit_tail(values, quantile=0.9).resolution == 0.0


def test_rounding_hardly_moves_a_fit_that_knows_of_it():
    x = np.random.default_rng(0).exponential(size=(4000, 20))
    exact, rounded = fit_tail(x, quantile=0.8), fit_tail(x.round(), threshold=1.5)
    assert np.all(rounded.resolution == 1.0)
    assert abs(np.mean(rounded.xi)) < 0.03
    assert np.mean(rounded.sigma) == pytest.approx(np.mean(exact.sigma), rel=0.05)
    as_they_are = fit_tail(x.round(), threshold=1.0, resolution=0.0)
    assert np.mean(as_they_are.xi) < -0.1  # what is mended


def test_probabilities_of_counts_are_those_of_counts():
    """On average at least the truth, as uncertainty asks for, and near it where n · p is above 3.

    Of steps a probability is raised by 3/√k · (n · p)^(−0.35) for their sake, see `evtkit.predictive`.
    """
    rng = np.random.default_rng(1)
    samples = [rng.poisson(3.0, 1000).astype(float) for _ in range(150)]
    p = [fit_tail(x, quantile=0.9).sf(np.arange(4.0, 12.0)) for x in samples]
    ratio = np.mean(p, axis=0) / poisson.sf(np.arange(3, 11), 3.0)
    assert np.all(ratio > 0.95)
    raised = 1.0 + 3.0 / 84**0.5 / (1000 * poisson.sf(np.arange(3, 9), 3.0)) ** 0.35
    assert np.all(ratio[:6] < 1.25 * raised)


@pytest.mark.parametrize(
    ("mean", "n", "risk"), [(3.0, 1000, 1e-2), (3.0, 1000, 1e-3), (3.0, 5000, 1e-3), (10.0, 1000, 1e-3)]
)
def test_levels_of_counts_keep_their_word_among_attainable_ones(mean, n, risk):
    x = np.random.default_rng(0).poisson(mean, (n, 600)).astype(float)
    beyond = poisson.sf(np.floor(fit_tail(x).isf(risk) + 1e-9), mean)
    steps = poisson.sf(np.arange(60), mean)
    assert 0.5 < np.mean(beyond) / steps[steps <= risk].max() < 1.5


@pytest.mark.parametrize("mean", [0.5, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("n", [200, 1000, 10_000])
def test_ties_at_the_threshold_are_excesses_or_none_whichever_is_nearer(mean, n):
    x = np.random.default_rng(12).poisson(mean, (n, 20)).astype(float)
    asked, tail = int(default_excesses(np.array(n))), fit_tail(x)
    at = np.sort(x, axis=0)[n - asked - 1]
    more, fewer = np.count_nonzero(x >= at, axis=0), np.count_nonzero(x > at, axis=0)
    wanted = np.where((more * fewer <= asked**2) & (more <= 2 * asked), more, fewer)
    np.testing.assert_array_equal(tail.n_excess, wanted)
    sketch = TailSketch(20, capacity=n // 2 + 1)
    sketch.update(x)
    np.testing.assert_array_equal(sketch.fit().n_excess, wanted)


def test_the_threshold_of_rounded_data_is_kept_low():
    x = np.random.default_rng(0).exponential(size=2000)
    choice, exact = suggest_threshold(x.round(1)), suggest_threshold(x)
    assert choice.n_excess >= 0.9 * exact.n_excess
    assert 10.0 * choice.threshold % 1.0 == pytest.approx(0.5)
    assert suggest_threshold(x.round(1), resolution=0.0).n_excess < 0.2 * exact.n_excess  # what is mended


def test_goodness_of_fit_of_cells_is_not_fooled_by_their_width():
    rng, rejected = np.random.default_rng(3), []
    for _ in range(60):
        y = (np.floor(rng.exponential(size=2000) / 0.1) + 0.5) * 0.1
        rejected.append(goodness_of_fit(y, fit_gpd(y, resolution=0.1)).p_a2 < 0.05)
    assert np.mean(rejected) < 0.15
    bad = (np.floor(rng.gamma(2.0, size=2000) / 0.1) + 0.5) * 0.1
    assert goodness_of_fit(bad, fit_gpd(bad, resolution=0.1)).p_a2 < 1e-6


def test_a_resolution_must_be_a_step():
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="resolution must be a step"):
            fit_gpd([1.0, 2.0, 3.0], resolution=wrong)
        with pytest.raises(ValueError, match="resolution must be a step"):
            fit_tail([1.0, 2.0, 3.0], n_excess=2, resolution=wrong)


@pytest.mark.parametrize(("n", "risk"), [(1_000, 1e-2), (10_000, 1e-3)])
def test_where_a_count_lies_just_at_the_risk_alarms_keep_it(n, risk):
    """P(X ≥ 8) is 0.0119 and P(X ≥ 10) 0.0011: taken for less by chance, either makes alarms three times too many."""
    law = poisson(3.0)
    samples = np.random.default_rng(2).poisson(3.0, (n, 200 if n == 1_000 else 60)).astype(float)
    level = fit_tail(samples, keep_sample=False).isf(risk)
    attainable = max(p for p in law.sf(np.arange(20)) if p <= risk)
    assert 0.5 < np.mean(law.sf(np.floor(level))) / attainable < 1.6


def test_a_fine_lattice_is_as_none():
    x = np.random.default_rng(3).standard_exponential((2000, 1))
    fine, coarse = (fit_tail(np.round(x / step) * step, resolution=step) for step in (1e-4, 0.05))
    smooth = fit_tail(x, resolution=0.0)
    levels = smooth.isf([[1e-2], [1e-3], [1e-5]])
    np.testing.assert_allclose(fine.sf(levels), smooth.sf(levels), rtol=5e-3)
    np.testing.assert_allclose(coarse.sf(levels[:2]), smooth.sf(levels[:2]), rtol=0.15)
