"""The distribution against mpmath at the exact doubles, 60 digits."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto

from evtkit import gpd

mp.mp.dps = 60
SIZES = [5.0, 2.0, 1.5, 1.0, 0.7, 0.5, 0.1, 1e-2, 1e-4, 1e-8, 1e-12, 1e-16, 1e-20, 1e-100, 1e-300]
SHAPES = [0.0, *SIZES, *(-size for size in SIZES)]
SCALES = [1e-200, 3.7e-5, 1.0, 2.9, 1e12]
LEVELS = [1e-300, 1e-200, 1e-100, 1e-16, 1e-9, 1e-3, 0.1, 0.3, 0.5, 0.9, 0.99, 1 - 1e-9, 1 - 2**-53]


def exact_logsf(y: float, xi: float, sigma: float) -> mp.mpf:
    y, xi, sigma = mp.mpf(y), mp.mpf(xi), mp.mpf(sigma)
    if xi == 0:
        return -y / sigma
    if 1 + xi * y / sigma <= 0:
        return -mp.inf
    return -mp.log1p(xi * y / sigma) / xi


def exact_logpdf(y: float, xi: float, sigma: float) -> mp.mpf:
    return (1 + mp.mpf(xi)) * exact_logsf(y, xi, sigma) - mp.log(mp.mpf(sigma))


def exact_isf(p: float, xi: float, sigma: float) -> mp.mpf:
    w = -mp.log(mp.mpf(p))
    return mp.mpf(sigma) * (w if xi == 0 else mp.expm1(mp.mpf(xi) * w) / mp.mpf(xi))


def points(xi: float, sigma: float) -> list[float]:
    """Excesses from the smallest to the last bits before the endpoint."""
    inside = [sigma * 10.0**k for k in (-90, -30, -16, -8, -3, -1, 0, 1, 2, 4, 30, 90)]
    inside += [float(y) for y in gpd.isf(LEVELS, xi, sigma)]
    if xi < 0:
        end = -sigma / xi
        inside += [end * (1 - 10.0**-k) for k in range(1, 16)]
        inside = [y for y in inside if mp.mpf(y) * -mp.mpf(xi) < mp.mpf(sigma)]
    return [y for y in inside if 0 < y < 1e300]


def relative_error(value: float, exact: mp.mpf, unit: mp.mpf | None = None) -> float:
    if abs(exact) > mp.mpf(np.finfo(float).max):
        return 0.0 if math.isinf(value) else math.inf
    if abs(exact) < mp.mpf(1e-305):
        return float(abs(mp.mpf(value) - exact) / mp.mpf(1e-305))
    return float(abs(mp.mpf(value) - exact) / (abs(exact) if unit is None else unit))


@pytest.mark.parametrize("xi", SHAPES)
def test_logsf_sf_and_cdf_are_accurate(xi):
    for sigma in SCALES:
        y = points(xi, sigma)
        for name, of in (("logsf", lambda v: v), ("sf", mp.exp), ("cdf", lambda v: -mp.expm1(v))):
            for point, value in zip(y, getattr(gpd, name)(y, xi, sigma), strict=True):
                exact = of(exact_logsf(point, xi, sigma))
                if name != "logsf" and exact < mp.mpf(1e-300):
                    continue
                assert relative_error(float(value), exact) < 1e-12, (name, point, xi, sigma)


@pytest.mark.parametrize("xi", SHAPES)
def test_logpdf_and_pdf_are_accurate(xi):
    for sigma in SCALES:
        y = points(xi, sigma)
        for point, value, density in zip(y, gpd.logpdf(y, xi, sigma), gpd.pdf(y, xi, sigma), strict=True):
            exact = exact_logpdf(point, xi, sigma)
            # the two terms may cancel; then no formula does better than their rounding
            unit = max(abs(exact), abs(mp.log(mp.mpf(sigma))))
            assert relative_error(float(value), exact, unit) < 1e-12, (point, xi, sigma)
            if mp.mpf(1e-300) < mp.exp(exact):
                assert relative_error(float(density), mp.exp(exact)) < 1e-12, (point, xi, sigma)


@pytest.mark.parametrize("xi", SHAPES)
def test_isf_and_ppf_are_accurate(xi):
    for sigma in SCALES:
        for p, upper, lower in zip(LEVELS, gpd.isf(LEVELS, xi, sigma), gpd.ppf(LEVELS, xi, sigma), strict=True):
            assert relative_error(float(upper), exact_isf(p, xi, sigma)) < 1e-12, (p, xi, sigma)
            w = -mp.log1p(-mp.mpf(p))
            exact = mp.mpf(sigma) * (w if xi == 0 else mp.expm1(mp.mpf(xi) * w) / mp.mpf(xi))
            assert relative_error(float(lower), exact) < 1e-12, (p, xi, sigma)


@given(
    st.one_of(st.floats(-5, 5), st.floats(-1e-6, 1e-6)),
    st.floats(-250, 250).map(lambda k: 10.0**k),
    st.floats(-300, 0).map(lambda k: 10.0**k),
)
def test_isf_inverts_sf(xi, sigma, p):
    y = gpd.isf(p, xi, sigma)
    if 0 < y < 1e300 and (xi >= 0 or y < -sigma / xi * (1 - 1e-3)):
        # the condition number of sf at y is y·f(y)/S(y), and y is rounded
        assert gpd.sf(y, xi, sigma) == pytest.approx(p, rel=1e-12 + 4e-16 * float(y / (sigma + xi * y)), abs=0)


def test_endpoint_of_a_bounded_tail():
    assert gpd.isf(0.0, -0.5, 3.0) == 6.0
    assert gpd.sf([6.0, 7.0], -0.5, 3.0).tolist() == [0.0, 0.0]
    assert gpd.logsf([6.0, np.inf], -0.5, 3.0).tolist() == [-np.inf, -np.inf]
    assert gpd.logpdf(6.5, -0.5, 3.0) == -np.inf
    assert gpd.cdf(6.0, -0.5, 3.0) == 1.0


def test_uniform_at_minus_one():
    assert gpd.logpdf([0.0, 1.0, 3.0], -1.0, 3.0).tolist() == [-math.log(3.0)] * 3
    assert gpd.logpdf(np.nextafter(3.0, 4.0), -1.0, 3.0) == -np.inf


def test_outside_the_support():
    assert gpd.sf([-1.0, 0.0], 0.2, 1.0).tolist() == [1.0, 1.0]
    assert gpd.cdf([-1.0, 0.0], 0.2, 1.0).tolist() == [0.0, 0.0]
    assert gpd.logpdf(-1e-300, 0.2, 1.0) == -np.inf
    assert gpd.sf(np.inf, 0.2, 1.0) == 0.0
    assert gpd.isf([0.0, 1.0], 0.2, 1.0).tolist() == [np.inf, 0.0]
    assert gpd.ppf([0.0, 1.0], 0.0, 1.0).tolist() == [0.0, np.inf]


def test_continuous_through_zero_shape():
    y = np.linspace(0.0, 50.0, 11)
    for name in ("logpdf", "logsf", "sf", "cdf"):
        function = getattr(gpd, name)
        assert np.array_equal(function(y, 1e-300, 2.0), function(y, 0.0, 2.0)), name
        assert np.allclose(function(y, -1e-15, 2.0), function(y, 0.0, 2.0), rtol=1e-11, atol=0), name


def test_log_survival_orders_values_after_sf_has_underflowed():
    assert gpd.sf([800.0, 900.0], 0.0, 1.0).tolist() == [0.0, 0.0]
    assert np.all(np.diff(gpd.logsf([800.0, 900.0, 1e300], 0.0, 1.0)) < 0)


def test_broadcasts():
    assert gpd.sf(np.ones((3, 1)), np.array([-0.5, 0.0, 0.5, 1.0]), 1.0).shape == (3, 4)
    assert gpd.isf(0.5, [0.1, 0.2], [[1.0], [2.0], [3.0]]).shape == (3, 2)
    assert np.ndim(gpd.sf(1.0, 0.1, 1.0)) == 0


def test_float32_is_computed_in_float64():
    y = np.array([0.1, 1.0, 3.0], dtype=np.float32)
    out = gpd.sf(y, np.float32(0.25), np.float32(1.5))
    assert out.dtype == np.float64
    assert np.array_equal(out, gpd.sf(y.astype(np.float64), 0.25, 1.5))


@pytest.mark.parametrize("name", ["logpdf", "pdf", "logsf", "sf", "cdf", "isf", "ppf"])
def test_nan_in_nan_out(name):
    function = getattr(gpd, name)
    for arguments in ((np.nan, 0.1, 1.0), (0.5, np.nan, 1.0), (0.5, 0.1, np.nan)):
        assert np.isnan(function(*arguments)), arguments
    assert np.array_equal(np.isnan(function([0.5, np.nan], 0.1, 1.0)), [False, True])


@pytest.mark.parametrize("name", ["logpdf", "pdf", "logsf", "sf", "cdf", "isf", "ppf"])
@pytest.mark.parametrize(
    ("xi", "sigma", "wanted"),
    [(0.1, 0.0, "sigma must be positive"), (0.1, -1.0, "got .*-1"), (0.1, np.inf, "finite"), (np.inf, 1.0, "xi")],
)
def test_bad_parameters_raise(name, xi, sigma, wanted):
    with pytest.raises(ValueError, match=wanted):
        getattr(gpd, name)(0.5, xi, sigma)


@pytest.mark.parametrize("name", ["isf", "ppf"])
@pytest.mark.parametrize("p", [-1e-9, 1.0 + 1e-9])
def test_a_probability_outside_0_1_raises(name, p):
    with pytest.raises(ValueError, match=r"\[0, 1\], got"):
        getattr(gpd, name)(p, 0.1, 1.0)


def test_rvs_follow_the_distribution_and_their_seed():
    for xi in (-0.4, 0.0, 0.8):
        draws = gpd.rvs(xi, 2.0, size=20_000, rng=3)
        assert np.array_equal(draws, gpd.rvs(xi, 2.0, size=20_000, rng=np.random.default_rng(3)))
        # Kolmogorov's statistic of 20,000 uniforms exceeds 0.0138 once in a thousand times
        u = np.sort(gpd.cdf(draws, xi, 2.0))
        assert np.abs(u - np.arange(20_000) / 20_000).max() < 0.0138
    assert gpd.rvs([0.1, 0.2], 1.0, rng=0).shape == (2,)
    assert gpd.rvs([0.1, 0.2], 1.0, size=(5, 2), rng=0).shape == (5, 2)


def test_agrees_with_scipy():
    y = np.linspace(0.0, 4.0, 9)
    for c in (-0.2, 0.3, 1.2):
        assert np.allclose(gpd.logpdf(y, c, 2.0), genpareto.logpdf(y, c, scale=2.0), rtol=1e-12)
