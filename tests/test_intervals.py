"""Profile-likelihood intervals against nested optimisation, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2

from evtkit import FitStatus, fit_gpd, gpd
from evtkit.intervals import return_level_interval, xi_interval
from evtkit.testing import loglik


def deviance_of_shape(y, best, xi):
    """Twice the fall of the log-likelihood at its largest for this shape."""
    low = max(0.0, -xi * y.max())
    found = minimize_scalar(
        lambda s: -loglik(y, xi, low + np.exp(s)), bounds=(-20, 12), method="bounded", options={"xatol": 1e-12}
    )
    return 2 * (best + found.fun)


def deviance_of_level(y, best, level, w):
    def minus(xi):
        sigma = level * xi / np.expm1(xi * w) if xi else level / w
        value = loglik(y, xi, sigma)
        return -value if np.isfinite(value) else 1e10

    grid = np.linspace(-1.0, 3.0, 400)
    k = int(np.argmin([minus(xi) for xi in grid]))
    found = minimize_scalar(
        minus, bounds=(grid[max(k - 1, 0)], grid[min(k + 1, 399)]), method="bounded", options={"xatol": 1e-12}
    )
    return 2 * (best + min(found.fun, minus(grid[k])))


@pytest.mark.parametrize("xi", [-0.4, -0.1, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_limits_of_the_shape_are_where_the_deviance_is_the_quantile(xi, level):
    y = gpd.rvs(xi, 2.0, 120, rng=1)
    best = float(fit_gpd(y).loglik)
    interval = xi_interval(y, level=level)
    assert interval.lower < interval.estimate < interval.upper
    for limit in (interval.lower, interval.upper):
        assert deviance_of_shape(y, best, float(limit)) == pytest.approx(chi2.ppf(level, 1), abs=1e-6)


@pytest.mark.parametrize("xi", [-0.4, -0.1, 0.0, 0.3, 0.9])
def test_limits_of_return_levels_are_where_the_deviance_is_the_quantile(xi):
    y = gpd.rvs(xi, 2.0, 120, rng=2)
    best = float(fit_gpd(y).loglik)
    for period in (50, 36_500):
        interval = return_level_interval(y, period, rate=0.1, threshold=5.0)
        for limit in (interval.lower, interval.upper):
            deviance = deviance_of_level(y, best, float(limit) - 5.0, np.log(0.1 * period))
            assert deviance == pytest.approx(chi2.ppf(0.95, 1), abs=1e-5)


def test_coverage_is_the_level():
    y = gpd.rvs(0.2, 1.0, (200, 1500), rng=3)
    error = 4 * np.sqrt(0.05 * 0.95 / 1500)
    shape = xi_interval(y)
    assert np.mean((shape.lower < 0.2) & (shape.upper > 0.2)) == pytest.approx(0.95, abs=error)
    truth = gpd.isf(0.01, 0.2, 1.0)
    level = return_level_interval(y, 1000, rate=0.1)
    assert np.mean((level.lower < truth) & (truth < level.upper)) == pytest.approx(0.95, abs=error)


def test_delta_method_is_its_formula(rain):
    y = rain[rain > 30] - 30
    fit = fit_gpd(y)
    rate, period = 152 / 17_531, 36_500
    interval = return_level_interval(y, period, rate=rate, threshold=30.0, method="delta")

    def level(sigma, xi, share):
        return sigma / xi * ((period * share) ** xi - 1)

    at = np.array([float(fit.sigma), float(fit.xi), rate])
    steps = 1e-5 * at
    gradient = np.array([(level(*(at + d)) - level(*(at - d))) / (2 * d.sum()) for d in np.diag(steps)])
    covariance = np.array(
        [[fit.se_sigma**2, fit.cov, 0], [fit.cov, fit.se_xi**2, 0], [0, 0, rate * (1 - rate) / 17_531]]
    )
    half = 1.959963984540054 * np.sqrt(gradient @ covariance @ gradient)
    assert interval.upper - interval.estimate == pytest.approx(half, rel=1e-6)
    assert interval.estimate - interval.lower == pytest.approx(half, rel=1e-6)
    shape = xi_interval(y, method="delta")
    assert shape.upper - shape.estimate == pytest.approx(1.959963984540054 * float(fit.se_xi), rel=1e-12)


def test_delta_method_near_zero_shape_is_continuous():
    y = gpd.rvs(0.0, 1.0, 200, rng=1)
    interval = return_level_interval(y, 1000, rate=0.1, method="delta")
    # the derivative by ξ of (e^(ξw) − 1)/ξ at 0 is w²/2
    fit, w = fit_gpd(y), np.log(100.0)
    h = 1e-4
    slope = (np.expm1((fit.xi + h) * w) / (fit.xi + h) - np.expm1((fit.xi - h) * w) / (fit.xi - h)) / (2 * h)
    by_sigma = np.expm1(fit.xi * w) / fit.xi
    variance = by_sigma**2 * fit.se_sigma**2 + (fit.sigma * slope) ** 2 * fit.se_xi**2
    variance += 2 * by_sigma * fit.sigma * slope * fit.cov + (fit.sigma * np.exp(fit.xi * w)) ** 2 * 0.9 / 200
    assert interval.upper - interval.estimate == pytest.approx(1.959963984540054 * np.sqrt(variance), rel=1e-5)


def test_estimates_are_the_fits():
    y = gpd.rvs(0.1, 1.0, (80, 3), rng=1)
    fit = fit_gpd(y)
    assert np.array_equal(xi_interval(y).estimate, fit.xi)
    level = return_level_interval(y, 500, rate=0.1, threshold=[1.0, 2.0, 3.0]).estimate
    assert level == pytest.approx(np.array([1, 2, 3]) + gpd.isf(1 / 50, fit.xi, fit.sigma), rel=1e-12)


def test_units_shift_and_neighbours_do_not_matter():
    y = gpd.rvs(0.1, 1.0, (80, 3), rng=1)
    y[60:, 2] = np.nan
    a = return_level_interval(y, 500, rate=0.1, threshold=1.0)
    b = return_level_interval(1e-7 * y, 500, rate=0.1, threshold=1e-7, n_threads=1)
    for name in ("estimate", "lower", "upper"):
        assert getattr(b, name) == pytest.approx(1e-7 * getattr(a, name), rel=1e-9), name
        alone = return_level_interval(y[:60, 2], 500, rate=0.1, threshold=1.0)
        assert getattr(alone, name) == getattr(a, name)[2]


def test_bounded_tails_reach_the_end_of_the_parameters_range(bilbao):
    y = bilbao[bilbao > 8.5] - 8.5
    interval = xi_interval(y)
    assert interval.status == FitStatus.BOUNDARY
    assert (interval.estimate, interval.lower) == (-1.0, -1.0)
    assert deviance_of_shape(y, float(fit_gpd(y).loglik), float(interval.upper)) == pytest.approx(3.841459, abs=1e-4)
    level = return_level_interval(y, 1000, rate=69 / 179, threshold=8.5)
    assert 8.5 < level.lower < level.estimate < level.upper
    assert level.estimate <= bilbao.max()


def test_delta_method_says_nothing_below_minus_one_half(bilbao):
    y = bilbao[bilbao > 8] - 8
    for interval in (xi_interval(y, method="delta"), return_level_interval(y, 1000, rate=0.5, method="delta")):
        assert np.isfinite(interval.estimate)
        assert np.isnan(interval.lower)
        assert np.isnan(interval.upper)


def test_where_there_is_no_fit_there_is_no_interval():
    y = np.column_stack([np.full(3, 2.0), [1.0, np.nan, np.nan], np.full(3, np.nan)])
    for interval in (xi_interval(y), return_level_interval(y, 100, rate=0.1)):
        assert interval.status.tolist() == [FitStatus.CONSTANT, FitStatus.TOO_FEW, FitStatus.EMPTY]
        assert np.all(np.isnan([interval.estimate, interval.lower, interval.upper]))


def test_two_excesses_have_wide_intervals():
    interval = xi_interval([1.0, 100.0])
    assert interval.lower < 0 < 1 < interval.upper < np.inf


def test_higher_levels_give_wider_intervals():
    y = gpd.rvs(0.1, 1.0, 100, rng=1)
    intervals = [xi_interval(y, level=level) for level in (0.5, 0.9, 0.99)]
    assert intervals[0].lower > intervals[1].lower > intervals[2].lower
    assert intervals[0].upper < intervals[1].upper < intervals[2].upper


def test_limits_by_root_finding_on_a_bounded_tail():
    y = gpd.rvs(-0.7, 1.0, 60, rng=4)
    best = float(fit_gpd(y).loglik)
    interval = xi_interval(y)
    upper = brentq(lambda xi: deviance_of_shape(y, best, xi) - chi2.ppf(0.95, 1), float(interval.estimate), 0.5)
    assert interval.upper == pytest.approx(upper, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 1.0}, "level must lie in .0, 1., got 1.0"),
        ({"method": "exact"}, "got 'exact'"),
        ({"rate": 0.0}, "rate must lie in"),
        ({"rate": 1.1}, "got 1.1"),
        ({"rate": np.nan}, "got nan"),
        ({"period": 10.0}, "exceed 1.*got 1.0"),
        ({"period": np.inf}, "got inf"),
        ({"threshold": [1.0, 2.0]}, r"one a channel, \(\); got shape \(2,\)"),
        ({"excesses": np.ones((2, 2, 2))}, r"got \(2, 2, 2\)"),
        ({"excesses": [1.0, 0.0]}, "positive and finite"),
    ],
    ids=str,
)
def test_bad_input_raises(arguments, message):
    good = {"excesses": [1.0, 2.0, 5.0], "period": 100.0, "rate": 0.1}
    with pytest.raises(ValueError, match=message):
        return_level_interval(**(good | arguments))
