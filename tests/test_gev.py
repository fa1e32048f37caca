"""The GEV distribution against mpmath, and its fit."""

from __future__ import annotations

import warnings

import mpmath as mp
import numpy as np
import pytest
from scipy.stats import genextreme

from evtkit import FitStatus, gev, gpd

mp.mp.dps = 60
SHAPES = [0.0, 1e-300, -1e-300, 1e-12, -1e-12, 1e-5, -1e-5, 0.1, -0.1, 0.5, -0.5, 1.0, -1.0, 2.0, -1.5]
LEVELS = [1e-300, 1e-100, 1e-20, 1e-9, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-9]


def exact_reduced(x, xi, mu, sigma):
    s = (mp.mpf(x) - mp.mpf(mu)) / mp.mpf(sigma)
    return s if xi == 0 else mp.log1p(mp.mpf(xi) * s) / mp.mpf(xi)


def exact_quantile(g, xi, mu, sigma):
    return mp.mpf(mu) + mp.mpf(sigma) * (g if xi == 0 else mp.expm1(mp.mpf(xi) * g) / mp.mpf(xi))


@pytest.mark.parametrize("xi", SHAPES)
def test_functions_are_accurate(xi):
    # μ = 0 and σ = 1/2, so that (x − μ)/σ is exact and the functions alone are tested
    s = np.array([-30.0, -3.0, -0.75, -1e-3, 0.0, 1e-9, 0.5, 2.0, 30.0, 600.0])
    s = s[(1 + xi * s) > 1e-3]
    for x in 0.5 * s:
        g = exact_reduced(float(x), xi, 0.0, 0.5)
        tail = mp.exp(-g)
        exact = {
            "cdf": mp.exp(-tail),
            "sf": -mp.expm1(-tail),
            "logsf": mp.log(-mp.expm1(-tail)),
            "logpdf": mp.log(2) - (1 + mp.mpf(xi)) * g - tail,
        }
        for name, value in exact.items():
            if mp.mpf(1e-300) < abs(value) < mp.mpf(1e300):
                error = abs(mp.mpf(float(getattr(gev, name)(x, xi, 0.0, 0.5))) - value)
                unit = max(abs(value), mp.mpf(1) if name == "logpdf" else 0)
                if name == "cdf":
                    unit *= max(tail, 1)  # the condition number of exp(−T)
                assert error / unit < 1e-12, (name, x)


@pytest.mark.parametrize("xi", SHAPES)
def test_quantiles_are_accurate(xi):
    for p in LEVELS:
        for function, log_cdf in ((gev.isf, mp.log1p(-mp.mpf(p))), (gev.ppf, mp.log(mp.mpf(p)))):
            exact = exact_quantile(-mp.log(-log_cdf), xi, 0.0, 2.0)
            if abs(exact) < 1e300:
                value = mp.mpf(float(function(p, xi, 0.0, 2.0)))
                assert abs(value - exact) <= 1e-12 * max(abs(exact), 1), (function.__name__, p)


def test_agrees_with_scipy():
    x = np.linspace(-1.0, 3.0, 9)
    for xi in (-0.3, 0.0, 0.4):
        for name in ("logpdf", "pdf", "cdf", "sf"):
            expected = getattr(genextreme, name)(x, -xi, 0.5, 1.2)
            assert np.allclose(getattr(gev, name)(x, xi, 0.5, 1.2), expected, rtol=1e-10, atol=0), name


def test_ends_of_the_support():
    assert gev.isf([0.0, 1.0], -0.5, 1.0, 2.0).tolist() == [5.0, -np.inf]
    assert gev.isf([0.0, 1.0], 0.5, 1.0, 2.0).tolist() == [np.inf, -3.0]
    assert gev.isf([0.0, 1.0], 0.0, 1.0, 2.0).tolist() == [np.inf, -np.inf]
    assert gev.sf([5.0, 6.0, np.inf], -0.5, 1.0, 2.0).tolist() == [0.0, 0.0, 0.0]
    assert gev.cdf([-3.0, -4.0, -np.inf], 0.5, 1.0, 2.0).tolist() == [0.0, 0.0, 0.0]
    assert gev.logpdf([6.0, np.inf, -np.inf], -0.5, 1.0, 2.0).tolist() == [-np.inf] * 3
    assert gev.logpdf([-4.0, -np.inf, np.inf], 0.5, 1.0, 2.0).tolist() == [-np.inf] * 3
    assert gev.logpdf(3.0, -1.0, 1.0, 2.0) == -np.log(2.0)


def test_nan_in_nan_out_and_broadcasting():
    for name in ("logpdf", "pdf", "logsf", "sf", "cdf", "isf", "ppf"):
        function = getattr(gev, name)
        assert np.isnan(function([np.nan, 0.5], 0.1, 0.0, 1.0)).tolist() == [True, False], name
        assert np.isnan(function(0.5, np.nan, 0.0, 1.0)), name
        assert function(np.full((3, 1), 0.5), [0.0, 0.1], 0.0, 1.0).shape == (3, 2)


def test_bad_parameters_raise():
    with pytest.raises(ValueError, match=r"sigma must be positive and finite, got 0\.0"):
        gev.sf(1.0, 0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="xi and mu must be finite"):
        gev.sf(1.0, 0.1, np.inf, 1.0)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1\.5"):
        gev.isf(1.5, 0.1, 0.0, 1.0)


def test_tail_of_maxima_is_the_gpds():
    # above a high u the excesses of a GEV follow a GPD with the same ξ and σ + ξ(u − μ) (Coles 2001, theorem 4.1)
    u = gev.isf(1e-6, 0.2, 1.0, 2.0)
    y = np.array([1.0, 10.0, 100.0])
    conditional = gev.sf(u + y, 0.2, 1.0, 2.0) / gev.sf(u, 0.2, 1.0, 2.0)
    assert conditional == pytest.approx(gpd.sf(y, 0.2, 2.0 + 0.2 * (u - 1.0)), rel=1e-5)


def test_rvs_follow_their_seed_and_distribution():
    draws = gev.rvs(0.2, 1.0, 2.0, size=5000, rng=1)
    assert np.array_equal(draws, gev.rvs(0.2, 1.0, 2.0, size=5000, rng=np.random.default_rng(1)))
    u = np.sort(gev.cdf(draws, 0.2, 1.0, 2.0))
    assert np.abs(u - np.arange(5000) / 5000).max() < 0.0276  # Kolmogorov, one in a thousand


@pytest.mark.parametrize("xi", [-0.7, -0.3, 0.0, 0.3, 0.9, 1.8])
def test_fit_is_never_below_scipys(xi):
    for seed in range(5):
        x = gev.rvs(xi, 10.0, 3.0, size=60, rng=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            c, mu, sigma = genextreme.fit(x)
        fit = gev.fit_gev(x)
        assert fit.loglik == pytest.approx(np.sum(gev.logpdf(x, fit.xi, fit.mu, fit.sigma)), rel=1e-10)
        if c <= 1.0:
            assert fit.loglik >= genextreme.logpdf(x, c, mu, sigma).sum() - 1e-9


def test_standard_errors_of_port_pirie(portpirie):
    # Coles (2001, p. 60): covariance of (μ, σ, ξ)
    covariance = gev.fit_gev(portpirie).covariance
    published = np.array(
        [[0.00965, -0.00107, -0.000777], [-0.00107, 0.000780, 0.000197], [-0.000777, 0.000197, 0.000410]]
    )
    assert covariance == pytest.approx(published, rel=0.01)


def test_statuses_and_channels():
    x = np.column_stack([gev.rvs(0.1, 0.0, 1.0, 30, rng=1), np.full(30, 2.0), np.full(30, np.nan), np.full(30, np.nan)])
    x[:2, 2] = 1.0, 2.0
    fit = gev.fit_gev(x)
    assert fit.status.tolist() == [FitStatus.OK, FitStatus.CONSTANT, FitStatus.TOO_FEW, FitStatus.EMPTY]
    assert fit.n.tolist() == [30, 30, 2, 0]
    assert fit.xi[0] == gev.fit_gev(x[:, 0]).xi
    assert np.all(np.isnan(fit.xi[1:]))
    assert fit.covariance.shape == (4, 3, 3)


@pytest.mark.parametrize(
    ("maxima", "message"),
    [
        ([1.0, np.inf], "finite.*got inf"),
        (["a"], "real numbers"),
        (3.0, "got"),
    ],
    ids=["inf", "text", "scalar"],
)
def test_bad_input_raises(maxima, message):
    with pytest.raises(ValueError, match=message):
        gev.fit_gev(maxima)
