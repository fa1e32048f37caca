"""The estimators that do not maximise the likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from scipy.optimize import brentq

from evtkit import FitStatus, fit_gpd, gpd
from evtkit import testing as laws
from evtkit.estimators import METHODS

OTHERS = ["pwm", "zhang-stephens", "moments", "spot-script"]
UNIT_FREE = ["pwm", "zhang-stephens", "moments"]


def plain_moments(y):
    ratio = y.mean() ** 2 / y.var(ddof=1)
    return 0.5 * (1 - ratio), 0.5 * y.mean() * (1 + ratio)


def plain_pwm(y):
    y = np.sort(y)
    n = y.size
    a0, a1 = y.mean(), np.mean(y * (n - np.arange(1, n + 1)) / (n - 1))
    return 2 - a0 / (a0 - 2 * a1), 2 * a0 * a1 / (a0 - 2 * a1)


def plain_zhang_stephens(y):
    y = np.sort(y)
    n = y.size
    m = 20 + int(np.sqrt(n))
    theta = 1 / y[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * y[int(n / 4 + 0.5) - 1])
    k = -np.array([np.mean(np.log1p(-b * y)) for b in theta])
    profile = n * (np.log(theta / k) + k - 1)
    with np.errstate(over="ignore"):
        weights = [1 / np.sum(np.exp(profile - p)) for p in profile]
    best = np.sum(theta * weights)
    k = -np.mean(np.log1p(-best * y))
    return -k, k / best


PLAIN = {"moments": plain_moments, "pwm": plain_pwm, "zhang-stephens": plain_zhang_stephens}


@pytest.mark.parametrize("method", UNIT_FREE)
@pytest.mark.parametrize("n", [2, 3, 10, 33, 500, 5000])
def test_agrees_with_the_papers_formulas(method, n):
    for seed, xi in enumerate((-0.6, -0.1, 0.0, 0.3, 1.0)):
        y = gpd.rvs(xi, 3.0, n, rng=seed)
        fit = fit_gpd(y, method=method)
        assert (float(fit.xi), float(fit.sigma)) == pytest.approx(PLAIN[method](y), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("method", UNIT_FREE)
def test_obeys_the_laws_that_need_no_maximum(method):
    def fit(y, n_threads=None):
        return fit_gpd(y, method=method, n_threads=n_threads)

    assert laws.check_gpd_estimator(fit, is_maximum_likelihood=False, max_examples=60).passed


@pytest.mark.parametrize("method", OTHERS)
@given(y=laws.samples())
def test_loglik_is_that_of_the_estimates(method, y):
    fit = fit_gpd(y, method=method)
    if fit.status == FitStatus.OK:
        tolerance = 1e-9 + 1e-13 / (1 + min(0.0, fit.xi / fit.sigma * y.max()) + 1e-300)
        assert fit.loglik == pytest.approx(laws.loglik(y, fit.xi, fit.sigma), rel=1e-9, abs=tolerance * y.size)
    assert np.isnan(fit.se_xi)
    assert np.isnan(fit.cov)


@pytest.mark.parametrize("method", UNIT_FREE)
def test_an_endpoint_below_the_data_is_no_solution(method):
    y = np.append(np.full(50, 1.0), 1.3)
    y[:25] = 1.2
    fit = fit_gpd(y, method=method)
    if method == "zhang-stephens":  # its prior ends before the largest excess
        assert fit.status == FitStatus.OK
        return
    assert fit.status == FitStatus.NO_SOLUTION
    assert fit.loglik == -np.inf
    assert -fit.sigma / fit.xi < y.max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("y", "status", "xi", "sigma"),
    [
        ([], FitStatus.EMPTY, np.nan, np.nan),
        ([2.0], FitStatus.TOO_FEW, np.nan, np.nan),
        ([2.0, 2.0, 2.0], FitStatus.CONSTANT, -1.0, 2.0),
    ],
)
def test_every_estimator_says_the_same_of_samples_without_an_estimate(method, y, status, xi, sigma):
    fit = fit_gpd(np.array(y), method=method)
    assert fit.status == status
    np.testing.assert_equal((float(fit.xi), float(fit.sigma)), (xi, sigma))


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_shape_of_large_samples(method):
    if method == "spot-script":
        return
    for xi in (-0.3, 0.0, 0.3):
        fit = fit_gpd(gpd.rvs(xi, 2.0, 200_000, rng=1), method=method)
        assert fit.xi == pytest.approx(xi, abs=0.02)
        assert fit.sigma == pytest.approx(2.0, rel=0.02)


def plain_spot_script(y):
    """The roots of Grimshaw's h in the published brackets, against an exponential with log-likelihood n(1 + log ȳ)."""

    def h(t):
        return (1 + np.mean(np.log1p(t * y))) * np.mean(1 / (1 + t * y)) - 1

    mean, low, high = y.mean(), y.min(), y.max()
    left = np.concatenate([(np.geomspace(1e-13, 0.5, 300) - 1) / high, -np.geomspace(0.499, 1e-4, 300) / high])
    right = np.geomspace(2 * (mean - low) / (mean * low), 2 * (mean - low) / low**2, 300)
    best, xi, sigma = y.size * (1 + np.log(mean)), 0.0, mean
    for grid in (left, right):
        values = [h(t) for t in grid]
        for a, b, p, q in zip(grid[:-1], grid[1:], values[:-1], values[1:], strict=True):
            if p * q < 0:
                t = brentq(h, a, b, xtol=1e-300, rtol=1e-14)
                shape = np.mean(np.log1p(t * y))
                value = laws.loglik(y, shape, shape / t)
                if value > best:
                    best, xi, sigma = value, shape, shape / t
    return xi, sigma


def test_the_spot_script_is_the_published_procedure_with_exact_roots():
    rng = np.random.default_rng(0)
    others = 0
    for i in range(150):
        y = gpd.rvs(rng.uniform(-0.9, 0.9), 10.0 ** rng.uniform(-4, 1), int(rng.integers(3, 60)), rng) + 1e-9
        fit = fit_gpd(y, method="spot-script")
        expected = plain_spot_script(y)
        # near the endpoint both are as good as the rounding of v = 1 + ξ y_max/σ
        v = max(1.0 + expected[0] / expected[1] * y.max(), 1e-13)
        assert (float(fit.xi), float(fit.sigma)) == pytest.approx(expected, rel=1e-9 + 1e-15 / v, abs=1e-9), i
        others += fit.xi != 0.0
    assert others > 20
