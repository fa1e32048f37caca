"""GEV beyond the fit: limits, moment estimators, Gumbel, r largest values and point processes, L-moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import chi2, genextreme, gumbel_r

from evtkit import FitStatus, fit_gpd, fit_tail, gev, gpd
from evtkit.gev import fit_point_process, fit_r_largest, gumbel_test, l_moments
from evtkit.gev.lmoments import POINTS, RATIOS

DROP = 0.5 * chi2.ppf(0.95, 1)


def test_port_piries_limits_are_the_published_ones(portpirie):
    fit = gev.fit_gev(portpirie)
    found = fit.return_level([10, 100], interval=0.95)
    assert_allclose(found.estimate, [4.29621194, 4.68840373], atol=1e-8)
    assert_allclose(found.lower, [4.204611, 4.490437], atol=1e-6)
    assert_allclose(found.upper, [4.445080, 5.260704], atol=1e-6)
    shape = fit.xi_interval()
    assert_allclose([shape.lower, shape.upper], [-0.218157, 0.170406], atol=1e-6)


def test_port_piries_gumbel(portpirie):
    fit = gev.fit_gev(portpirie, method="gumbel")
    assert_allclose([fit.mu, fit.sigma, fit.loglik], [3.86944354, 0.19488945, 4.217681896], atol=1e-8)
    test = gumbel_test(portpirie)
    assert_allclose(test.statistic, 2 * (4.339058474 - 4.217681896), atol=1e-8)  # Coles (2001, p. 62): 0.24
    assert test.aic_submodel < test.aic
    assert fit.aic == pytest.approx(4 - 2 * 4.217681896)


def test_venices_r_largest_values_are_the_published_ones(data_folder):
    # Coles (2001, table 3.1): maximised log-likelihood, μ, σ, ξ, with standard errors
    values = np.genfromtxt(data_folder / "evt" / "venice.csv", delimiter=",", skip_header=1)[:, 2:]
    table = {
        1: ((-222.7, 111.1, 17.2, -0.077), (2.6, 1.8, 0.074)),
        5: ((-732.0, 118.6, 13.7, -0.088), (1.6, 0.8, 0.033)),
        10: ((-1139.1, 120.5, 12.8, -0.113), ()),
    }
    for r, (estimates, errors) in table.items():
        fit = fit_r_largest(values, r=r)
        assert_allclose([fit.loglik, fit.mu, fit.sigma], estimates[:3], atol=0.06)
        assert fit.xi == pytest.approx(estimates[3], abs=6e-4)
        if errors:
            assert_allclose([fit.se_mu, fit.se_sigma], errors[:2], atol=0.06)
            assert fit.se_xi == pytest.approx(errors[2], abs=6e-4)


def deviance(x, best, constraint):
    """Twice the fall of the log-likelihood at its highest where a quantity has a value: by simplex from many starts."""
    lowest = np.inf
    for xi in (-0.3, 0.3):
        for log_sigma in (-0.3, 0.2):

            def minus(v):
                theta = constraint(*v)
                if theta is None:
                    return 1e10
                value = genextreme.logpdf(x, -theta[0], theta[1], theta[2]).sum()
                return -value if np.isfinite(value) else 1e10

            found = minimize(minus, (xi, log_sigma), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10})
            lowest = min(lowest, found.fun)
    return 2.0 * (best + lowest)


@pytest.mark.parametrize(
    ("xi", "method", "bar"), [(-0.3, "profile", 2 * DROP), (0.2, "bartlett", 2 * DROP * (1 + 5 * (1 / 30 - 1 / 50)))]
)
def test_at_a_limit_the_deviance_is_the_quantile(xi, method, bar):
    x = gev.rvs(xi, 0.0, 1.0, size=30, rng=4)
    fit = gev.fit_gev(x)
    g = -np.log(-np.log1p(-1 / 50))
    level, scale = fit.return_level(50, interval=0.95, method=method), fit.sigma_interval(method=method)
    for limit in (float(level.lower), float(level.upper)):

        def at_level(shape, log_sigma, limit=limit):
            sigma = np.exp(log_sigma)
            return shape, limit - sigma * np.expm1(shape * g) / shape, sigma

        assert deviance(x, float(fit.loglik), at_level) == pytest.approx(bar, abs=1e-5)
    for limit in (float(scale.lower), float(scale.upper)):

        def at_scale(shape, mu, limit=limit):
            return shape, mu, limit

        assert deviance(x, float(fit.loglik), at_scale) == pytest.approx(bar, abs=1e-5)


@pytest.mark.parametrize("sample", [1, 3, 18])
def test_a_fit_at_the_boundary_has_the_limits_of_its_likelihood(sample):
    x = gev.rvs(-0.2, 0.0, 1.0, size=(10, 60), rng=1000)[:, sample]
    fit = gev.fit_gev(x)
    assert fit.status == FitStatus.BOUNDARY
    shape, level = fit.xi_interval(method="profile"), fit.return_level(10, interval=0.95, method="profile")
    assert (shape.lower, shape.upper < 0.0) == (-1.0, True)
    limit = float(shape.upper)
    best = min(
        minimize(lambda v: -genextreme.logpdf(x, -limit, v[0], np.exp(v[1])).sum(), (x.mean(), start),
                 method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12}).fun
        for start in (-0.5, 0.0, 0.5)
    )  # fmt: skip
    assert 2.0 * (float(fit.loglik) + best) == pytest.approx(2 * DROP, abs=1e-5)
    assert level.lower < level.estimate < level.upper < np.inf
    wider = fit.return_level(10, interval=0.95)
    assert wider.lower < level.lower < level.upper < wider.upper < np.inf


def test_fifty_maxima_or_more_and_excesses_have_the_limits_that_they_have_elsewhere(portpirie):
    fit = gev.fit_gev(portpirie)
    plain, corrected = (fit.return_level(100, interval=0.95, method=method) for method in ("profile", "bartlett"))
    assert (plain.lower, plain.upper) == (corrected.lower, corrected.upper)
    x = np.random.default_rng(1).standard_exponential(300)
    tail = fit_tail(x, threshold=2.5, clean=False, resolution=0.0)
    assert tail.n_excess < 50
    for method in ("profile", "bartlett"):
        joined = gev.fit_point_process(x, 2.5, per_block=10).xi_interval(method=method)
        alone = tail.xi_interval(method=method)
        assert_allclose([joined.lower, joined.upper], [alone.lower, alone.upper], atol=1e-5)
    with pytest.raises(ValueError, match="one of 'bartlett', 'profile', got 'delta'"):
        fit.sf_interval(4.5, method="delta")


def test_a_level_and_its_probability_have_limits_that_are_inverse():
    fit = gev.fit_gev(gev.rvs(0.1, 5.0, 2.0, size=40, rng=5))
    found = fit.return_level(100, interval=0.9)
    assert fit.sf_interval(found.upper, 0.9).upper == pytest.approx(0.01, rel=1e-6)
    assert fit.sf_interval(found.lower, 0.9).lower == pytest.approx(0.01, rel=1e-6)
    assert fit.sf_interval(found.estimate, 0.9).estimate == pytest.approx(0.01, rel=1e-10)
    # μ is the level that is exceeded with probability 1 − 1/e
    mu, same = fit.mu_interval(0.9), fit.return_level(1 / (1 - np.exp(-1)), interval=0.9)
    assert_allclose([mu.lower, mu.upper], [same.lower, same.upper], rtol=1e-7)


def test_units_and_channels_change_nothing():
    x = gev.rvs([-0.2, 0.2], 5.0, 2.0, size=(40, 2), rng=6)
    x[35:, 1] = np.nan
    fits = gev.fit_gev(x)
    many = fits.return_level([10, 100], interval=0.95)
    assert many.upper.shape == (2, 2)
    for c in range(2):
        alone = gev.fit_gev(x[~np.isnan(x[:, c]), c] * 1e-6 - 3.0).return_level([10, 100], interval=0.95)
        assert_allclose((np.array([alone.lower, alone.upper]) + 3.0) * 1e6, [many.lower[:, c], many.upper[:, c]],
                        rtol=1e-6)  # fmt: skip


def test_the_delta_method_is_its_formula(portpirie):
    fit = gev.fit_gev(portpirie)
    found = fit.return_level(100, interval=0.95, method="delta")  # Coles (2001, p. 60): [4.377, 4.998]
    assert_allclose([found.lower, found.upper], [4.377, 4.998], atol=2e-3)
    with pytest.raises(ValueError, match="maximum-likelihood fit, got method 'lmoments'"):
        gev.fit_gev(portpirie, method="lmoments").return_level(100, interval=0.95)


def test_limits_hold_the_truth_as_often_as_they_say():
    fits = gev.fit_gev(gev.rvs(0.1, 0.0, 1.0, size=(60, 150), rng=7))
    found = fits.return_level(50, interval=0.95)
    truth = gev.isf(1 / 50, 0.1, 0.0, 1.0)
    assert 0.88 < np.mean((found.lower < truth) & (truth < found.upper)) < 1.0


def test_a_handful_of_maxima_has_limits_or_none():
    for seed in range(8):
        fit = gev.fit_gev(gev.rvs(0.1, 0.0, 1.0, size=5, rng=seed))
        found = fit.return_level(20, interval=0.95)
        if fit.status <= FitStatus.BOUNDARY:
            assert found.lower <= found.estimate <= found.upper
        else:
            assert np.isnan(found.upper)


# -- r largest, point process ------------------------------------------------------------------------------------------


def test_the_largest_alone_is_the_gev():
    x = gev.rvs(0.2, 5.0, 2.0, size=40, rng=1)
    one, other = fit_r_largest(x[:, None]), gev.fit_gev(x)
    for name in ("xi", "mu", "sigma", "loglik"):
        assert getattr(one, name) == pytest.approx(float(getattr(other, name)), rel=1e-9)
    assert_allclose(one.covariance, other.covariance, rtol=1e-6)
    assert_allclose(one.return_level(50, interval=0.9).upper, other.return_level(50, interval=0.9).upper, rtol=1e-9)


def test_r_largest_values_are_at_a_maximum_of_their_likelihood():
    days = np.random.default_rng(2).gumbel(size=(30, 200))
    top = np.sort(days, axis=1)[:, -6:]
    top[3, :2], top[9, :5] = np.nan, np.nan
    fit = fit_r_largest(top)
    best = [float(fit.xi), float(fit.mu), float(fit.sigma)]
    least = np.array([b[~np.isnan(b)].min() for b in top])
    direct = (
        -np.sum((1 + best[0] * (least - best[1]) / best[2]) ** (-1 / best[0]))
        - np.sum(~np.isnan(top)) * np.log(best[2])
        - (1 + 1 / best[0]) * np.nansum(np.log1p(best[0] * (top - best[1]) / best[2]))
    )
    assert fit.loglik == pytest.approx(direct, rel=1e-9)

    def value(theta):
        xi, mu, sigma = theta
        with np.errstate(invalid="ignore"):
            body = np.nansum(np.log1p(xi * (top - mu) / sigma))
        return (
            -np.sum((1 + xi * (least - mu) / sigma) ** (-1 / xi))
            - np.sum(~np.isnan(top)) * np.log(sigma)
            - (1 + 1 / xi) * body
        )

    h = 1e-4
    steps = h * np.eye(3)
    gradient = [(value(np.add(best, s)) - value(np.subtract(best, s))) / (2 * h) for s in steps]
    assert np.max(np.abs(gradient)) < 1e-4
    hessian = np.array(
        [[(value(best + a + b) - value(best + a - b) - value(best - a + b) + value(best - a - b)) / (4 * h * h)
          for b in steps] for a in steps]
    )  # fmt: skip
    assert_allclose(fit.covariance, np.linalg.inv(-hessian), rtol=2e-3)
    assert fit.se_xi < gev.fit_gev(np.nanmax(top, axis=1)).se_xi  # more values, more known


def test_a_point_process_is_the_gpd_with_its_rate():
    x = gpd.rvs(0.15, 2.0, size=(3000, 2), rng=3)
    x[::50, 1] = np.nan
    fit = fit_point_process(x, 5.0, per_block=100.0)
    tails = fit_gpd(np.where(x > 5.0, x - 5.0, np.nan))
    blocks = np.count_nonzero(~np.isnan(x), axis=0) / 100.0
    assert np.array_equal(fit.xi, tails.xi)
    assert_allclose(fit.sigma + fit.xi * (5.0 - fit.mu), tails.sigma)  # Coles (2001, equation 4.3)
    rate = (1 + fit.xi * (5.0 - fit.mu) / fit.sigma) ** (-1 / fit.xi)
    assert_allclose(rate, tails.n / blocks)
    for c in range(2):
        y = x[x[:, c] > 5.0, c]
        w = 1 + fit.xi[c] * (y - fit.mu[c]) / fit.sigma[c]
        loglik = -blocks[c] * rate[c] - y.size * np.log(fit.sigma[c]) - (1 + 1 / fit.xi[c]) * np.log(w).sum()
        assert fit.loglik[c] == pytest.approx(loglik, rel=1e-10)  # Coles (2001, equation 7.9)


def test_a_point_processs_limits_contain_those_of_a_known_rate():
    x = gpd.rvs(0.1, 1.0, size=3000, rng=3)
    fit = fit_point_process(x, 3.0, per_block=100.0)
    found = fit.return_level(50, interval=0.95)
    assert found.lower < found.estimate < found.upper
    delta = fit.return_level(50, interval=0.95, method="delta")
    assert 0.5 < (found.upper - found.lower) / (delta.upper - delta.lower) < 2.0


def test_rains_point_process(rain):
    fit = fit_point_process(rain, 30.0, per_block=365.25)  # Coles (2001, p. 134): 39.5, 9.2, .184
    assert_allclose([fit.mu, fit.sigma, fit.xi], [39.55, 9.20, 0.1845], atol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_r_largest(np.ones(5)), r"got \(5,\)"),
        (lambda: fit_r_largest(np.ones((5, 3)), r=4), "got 4"),
        (lambda: fit_r_largest([[np.inf, 1.0]]), "got inf"),
        (lambda: fit_point_process([1.0, np.inf], 0.0, per_block=10.0), "got inf"),
        (lambda: fit_point_process([1.0, 2.0], np.nan, per_block=10.0), "got nan"),
        (lambda: fit_point_process([1.0, 2.0], 0.0, per_block=0.0), r"got 0\.0"),
        (lambda: gev.fit_gev([1.0, 2.0, 4.0], method="best"), "got 'best'"),
        (lambda: gev.fit_gev([1.0, 2.0, 4.0, 5.0]).return_level(1.0), r"got 1\.0"),
        (lambda: gev.fit_gev([1.0, 2.0, 4.0, 5.0]).xi_interval(1.0), r"got 1\.0"),
        (lambda: l_moments([1.0, 2.0], 0), "got 0"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_few_blocks_have_a_status():
    assert fit_r_largest(np.full((4, 2), np.nan)).status == FitStatus.EMPTY
    assert fit_r_largest([[1.0, 2.0], [3.0, 4.0]]).status == FitStatus.TOO_FEW
    assert fit_r_largest(np.ones((5, 2))).status == FitStatus.CONSTANT


# -- moments -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=12), st.floats(0.1, 10), st.floats(-50, 50))
@settings(max_examples=50)
def test_l_moments_are_expectations_of_order_statistics(values, scale, shift):
    from itertools import combinations

    x = np.array(values)
    n = [np.array([sorted(c) for c in combinations(values, r)]).mean(axis=0) for r in (1, 2, 3, 4)]
    l1, l2 = n[0][0], (n[1][1] - n[1][0]) / 2
    found = l_moments(x)
    assert_allclose(found[:2], [l1, l2], atol=1e-9)
    if l2 > 1e-6:
        l3, l4 = (n[2] @ [1, -2, 1]) / 3, (n[3] @ [-1, 3, -3, 1]) / 4
        assert_allclose(found[2:], [l3 / l2, l4 / l2], atol=1e-6)
        moved = l_moments(scale * x + shift)
        assert_allclose(moved, [scale * l1 + shift, scale * l2, *found[2:]], atol=1e-6)
        assert_allclose(l_moments(-x), [-l1, l2, -found[2], found[3]], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "rvs"),
    [
        ("generalised extreme-value", lambda xi: gev.rvs(xi, 1.0, 2.0, 200_000, 1)),
        ("generalised Pareto", lambda xi: gpd.rvs(xi, 2.0, 200_000, 1)),
    ],
)
def test_the_curves_of_a_diagram_are_its_families(family, rvs):
    for xi in (-0.4, 0.0, 0.2):
        t3, t4 = (float(v) for v in RATIOS[family](np.array(xi)))
        assert_allclose(l_moments(rvs(xi))[2:], [t3, t4], atol=0.01)
    ends = {"generalised extreme-value": "Gumbel", "generalised Pareto": "exponential"}
    assert_allclose([float(v) for v in RATIOS[family](np.array(0.0))], POINTS[ends[family]], atol=1e-6)


@pytest.mark.parametrize("method", ["lmoments", "pwm"])
@pytest.mark.parametrize("xi", [-0.4, 0.0, 0.3])
def test_moment_estimators_find_the_truth_and_keep_units(method, xi):
    x = gev.rvs(xi, 5.0, 2.0, size=(20_000, 2), rng=1)
    fit = gev.fit_gev(x, method=method)
    assert_allclose(fit.xi, xi, atol=0.02)
    assert_allclose(fit.mu, 5.0, atol=0.06)
    assert_allclose(fit.sigma, 2.0, atol=0.06)
    scaled = gev.fit_gev(1e-9 * x[:, 0], method=method)
    assert scaled.xi == pytest.approx(float(fit.xi[0]), abs=1e-9)
    assert scaled.sigma == pytest.approx(1e-9 * float(fit.sigma[0]), rel=1e-9)


def test_l_moment_fits_have_the_samples_l_moments():
    x = gev.rvs(0.2, 5.0, 2.0, size=60, rng=1)
    fit = gev.fit_gev(x, method="lmoments")
    q = (np.arange(400_000) + 0.5) / 400_000
    assert_allclose(l_moments(gev.ppf(q, fit.xi, fit.mu, fit.sigma), 3), l_moments(x, 3), rtol=2e-3)


def test_the_gumbel_fit_is_scipys():
    x = gev.rvs(0.0, 5.0, 2.0, size=60, rng=1)
    mu, sigma = gumbel_r.fit(x)
    fit = gev.fit_gev(x, method="gumbel")
    assert_allclose([fit.mu, fit.sigma], [mu, sigma], rtol=1e-6)
    assert fit.loglik == pytest.approx(gumbel_r.logpdf(x, mu, sigma).sum(), rel=1e-10)
    h = 1e-4

    def value(m, s):
        return gumbel_r.logpdf(x, m, s).sum()

    mm = (value(mu + h, sigma) - 2 * value(mu, sigma) + value(mu - h, sigma)) / h**2
    ss = (value(mu, sigma + h) - 2 * value(mu, sigma) + value(mu, sigma - h)) / h**2
    ms = (value(mu + h, sigma + h) - value(mu + h, sigma - h) - value(mu - h, sigma + h) + value(mu - h, sigma - h)) / (
        4 * h * h
    )
    assert_allclose(fit.covariance[1:, 1:], np.linalg.inv(-np.array([[mm, ms], [ms, ss]])), rtol=1e-3)


def test_the_gumbel_is_rejected_as_often_as_it_should_be():
    p = gumbel_test(gev.rvs(0.0, 0.0, 1.0, size=(100, 500), rng=1)).p_value
    assert np.mean(p < 0.05) == pytest.approx(0.055, abs=0.04)
    assert np.mean(gumbel_test(gev.rvs(0.4, 0.0, 1.0, size=(100, 100), rng=1)).p_value < 0.05) > 0.8
