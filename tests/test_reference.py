"""Published figures and exact references, row by row. Excesses are x − u for x > u."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from evtkit import FitStatus, fit_gpd, gpd
from evtkit.dependence import extremal_index
from evtkit.gev import fit_gev
from evtkit.gof import goodness_of_fit
from evtkit.intervals import return_level_interval, xi_interval
from evtkit.threshold import mean_residual_life


def excesses(x, u):
    return x[x > u] - u


def shown(value, digits):
    """A tolerance of one unit in the last of the decimals a figure is given to."""
    return pytest.approx(value, rel=0, abs=1.01 * 10.0**-digits)


# data, u, n, (σ, decimals), (ξ, decimals), (log-likelihood, decimals)
FITS = [
    ("rain", 30, 152, (7.44026903325, 11), (0.184499052702, 12), (-485.0937213, 7)),
    ("dowjones", 2, 37, (0.49511598, 8), (0.28783232, 8), (-21.640156, 6)),
    ("danish", 10, 109, (6.97546804808, 11), (0.496985802367, 12), (-374.8929902, 7)),
    ("danish", 20, 36, (9.63513283824, 11), (0.684152180483, 12), (-142.1844577, 7)),
    ("bilbao", 7, 179, (2.5012601, 7), (-0.86064831, 8), (-189.05019, 5)),
    ("bilbao", 8, 106, (1.647526, 6), (-0.86427477, 8), (-67.310003, 6)),
]


@pytest.mark.parametrize(("data", "u", "n", "sigma", "xi", "loglik"), FITS)
def test_exact_fits(data, u, n, sigma, xi, loglik, request):
    y = excesses(request.getfixturevalue(data), u)
    fit = fit_gpd(y)
    assert fit.n == n
    assert fit.status == FitStatus.OK
    assert fit.sigma == shown(*sigma)
    assert fit.xi == shown(*xi)
    assert fit.loglik == shown(*loglik)
    assert np.isnan(fit.se_xi) == (data == "bilbao")


def test_bilbao_at_8_5_lies_on_the_boundary(bilbao):
    y = excesses(bilbao, 8.5)
    fit = fit_gpd(y)
    assert (fit.n, fit.status, fit.xi) == (69, FitStatus.BOUNDARY, -1.0)
    assert fit.sigma == y.max() == pytest.approx(1.4, rel=1e-12)
    assert fit.loglik == pytest.approx(-69 * np.log(1.4), rel=1e-12)


@pytest.mark.parametrize(
    ("data", "u", "se_sigma", "se_xi"),
    [
        ("rain", 30, (0.9585324, 7), (0.101204, 6)),
        ("dowjones", 2, (0.14956, 5), (0.25780, 5)),
        ("danish", 10, (1.113491, 6), (0.1362838, 7)),
        ("danish", 20, (2.89762, 5), (0.275074, 6)),
    ],
)
def test_standard_errors(data, u, se_sigma, se_xi, request):
    fit = fit_gpd(excesses(request.getfixturevalue(data), u))
    assert fit.se_sigma == shown(*se_sigma)
    assert fit.se_xi == shown(*se_xi)


def test_rain_covariance(rain):
    assert fit_gpd(excesses(rain, 30)).cov == shown(-0.0655078, 7)


def test_data_sizes(rain, danish, dowjones):
    assert (rain.size, danish.size, dowjones.size) == (17_531, 2_167, 1_303)


def test_spot_rain(spot_rain):
    x = spot_rain[:1000]
    u = np.sort(x)[980]
    fit = fit_gpd(excesses(x, u))
    assert u == shown(9.05e-5, 7)
    assert fit.n == 19
    assert fit.sigma == shown(5.16915e-5, 10)
    assert fit.xi == shown(-0.5039350, 7)
    assert fit.loglik == shown(178.10889, 5)
    assert u + gpd.isf(1e-4 * 1000 / 19, fit.xi, fit.sigma) == shown(1.857862e-4, 10)


def test_spot_physics(spot_physics):
    u = np.sort(spot_physics)[int(0.98 * spot_physics.size)]
    fit = fit_gpd(excesses(spot_physics, u))
    assert fit.n == 356
    assert fit.sigma == shown(1.360133, 6)
    assert fit.xi == shown(-0.6331009, 7)
    assert fit.loglik == shown(-240.11549, 5)
    assert u + gpd.isf(1e-3 * spot_physics.size / 356, fit.xi, fit.sigma) == shown(9.972933, 6)


@pytest.mark.parametrize(
    ("method", "data", "u", "sigma", "xi"),
    [
        ("zhang-stephens", "rain", 30, (7.277311639, 9), (0.2068031707, 10)),
        ("zhang-stephens", "danish", 10, (6.857327648, 9), (0.5141486370, 10)),
        ("pwm", "rain", 30, (7.29901897, 8), (0.19651587, 8)),
        ("pwm", "danish", 10, (6.79586451, 8), (0.51740003, 8)),
        ("moments", "rain", 30, (7.78779361, 8), (0.14271102, 8)),
    ],
)
def test_other_estimators(method, data, u, sigma, xi, request):
    fit = fit_gpd(excesses(request.getfixturevalue(data), u), method=method)
    assert fit.sigma == shown(*sigma)
    assert fit.xi == shown(*xi)


def test_return_level_of_rain(rain):
    y = excesses(rain, 30)
    interval = return_level_interval(y, 100 * 365, rate=152 / 17_531, threshold=30.0)
    assert interval.estimate == shown(106.32803, 5)
    # Published from a profile that was interpolated between grid points: good to 0.2 %.
    assert interval.lower == pytest.approx(80.98, rel=2e-3)
    assert interval.upper == pytest.approx(185.02, rel=2e-3)
    # The exact crossings, by nested minimisation and root finding with scipy.
    assert interval.lower == pytest.approx(80.8574642250, rel=1e-9)
    assert interval.upper == pytest.approx(184.987747151, rel=1e-9)


def test_shape_interval_of_rain(rain):
    interval = xi_interval(excesses(rain, 30))
    # As above: the grid's points that lie inside the interval.
    assert interval.lower == pytest.approx(0.0141, abs=6e-4)
    assert interval.upper == shown(0.4154, 4)
    assert interval.lower == pytest.approx(0.0135616375969, rel=1e-9)
    assert interval.upper == pytest.approx(0.4154398820482, rel=1e-9)


@pytest.mark.parametrize(
    ("data", "u", "w2", "a2"), [("rain", 30, 0.038088, 0.391369), ("danish", 10, 0.033163, 0.266292)]
)
def test_goodness_of_fit(data, u, w2, a2, request):
    test = goodness_of_fit(excesses(request.getfixturevalue(data), u))
    assert test.w2 == shown(w2, 6)
    assert test.a2 == shown(a2, 6)


def test_extremal_index_of_rain(rain):
    intervals = [float(extremal_index(rain, u)) for u in (10, 20, 30, 40)]
    runs = [float(extremal_index(rain, 30, run_length=r)) for r in (1, 2, 3, 5)]
    assert intervals == shown([0.6226245, 0.7143405, 0.9419396, 0.8960627], 7)
    assert runs == shown([0.9539474, 0.9407895, 0.9276316, 0.8815789], 7)


def test_mean_excess_of_rain(rain):
    life = mean_residual_life(rain, [20, 30, 40])
    assert life.mean_excess.tolist() == [shown(7.871404, 6), shown(9.084211, 6), shown(11.94318, 5)]
    assert life.n_excess[0] == 570


def test_port_pirie(portpirie):
    fit = fit_gev(portpirie)
    assert (float(fit.mu), float(fit.sigma), float(fit.xi)) == pytest.approx(
        (3.87474986, 0.19804396, -0.05010955), abs=3e-8
    )
    published = (3.874747, 0.1980412, -0.0500877)
    assert fit.loglik == shown(4.339058, 6)
    # Published from an optimiser that stopped near the maximum: good to four decimals.
    assert (float(fit.mu), float(fit.sigma), float(fit.xi)) == pytest.approx(published, abs=3e-5)
    # The maximum itself: the score's root, with 30 digits.
    with mp.workdps(30):
        x = [mp.mpf(repr(float(value))) for value in portpirie]

        def loglik(mu, sigma, xi):
            s = [1 + xi * (value - mu) / sigma for value in x]
            return sum(-mp.log(sigma) - (1 + 1 / xi) * mp.log(w) - w ** (-1 / xi) for w in s)

        def score(*theta):
            return [mp.diff(loglik, theta, tuple(int(i == j) for j in range(3))) for i in range(3)]

        exact = mp.findroot(score, published, tol=1e-20)
        assert loglik(*exact) > loglik(*map(mp.mpf, published))
    assert (float(fit.mu), float(fit.sigma), float(fit.xi)) == pytest.approx([float(v) for v in exact], abs=1e-9)
