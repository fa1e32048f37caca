"""Laws of the GEV fit: units, order, padding and channels change nothing; it is the highest interior local maximum."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from evtkit import FitStatus, gev

FIELDS = ("xi", "mu", "sigma", "loglik", "covariance", "n", "status")


@st.composite
def maxima(draw, least=3, most=40):
    """Samples of many shapes; some of them rounded, so that values are equal, also the smallest ones."""
    n, seed = draw(st.integers(least, most)), draw(st.integers(0, 2**32 - 1))
    x = gev.rvs(draw(st.floats(-0.9, 2.0)), 0.0, 1.0, size=n, rng=seed)
    step = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 2.0]))
    x = np.round(x / step) * step if step else x
    assume(x.min() < x.max())
    return x


def same(a, b, *, but=()) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f), equal_nan=True) for f in FIELDS if f not in but)


@given(maxima(), st.integers(-900, 900))
def test_units_are_exact_where_they_are_powers_of_two(x, power):
    unit = 2.0**power
    a, b = gev.fit_gev(x), gev.fit_gev(unit * x)
    assert a.status == b.status
    assert np.array_equal(a.xi, b.xi, equal_nan=True)
    assert np.array_equal(unit * a.sigma, b.sigma, equal_nan=True)
    assert np.array_equal(unit * a.mu, b.mu, equal_nan=True)


@given(maxima(), st.floats(1e-300, 1e300).filter(lambda c: 1e-290 < c < 1e290))
@example(gev.rvs(0.1, 4.0, 2.0, size=50, rng=2), 1e-170)  # had no end
def test_units_change_nothing(x, unit):
    a, b = gev.fit_gev(x), gev.fit_gev(unit * x)
    if a.status != b.status:  # products are rounded, and may tip a balance
        return
    if a.status == FitStatus.OK:
        assert b.xi == pytest.approx(float(a.xi), abs=1e-7)
        assert b.sigma / unit == pytest.approx(float(a.sigma), rel=1e-6)
        assert b.loglik == pytest.approx(float(a.loglik) - x.size * np.log(unit), rel=1e-10)


@given(maxima(), st.integers(-1000, 1000))
def test_a_shift_that_is_exact_shifts_the_location_alone(x, shift):
    x = np.round(x * 2.0**20) / 2.0**20  # so that sums with integers are exact
    a, b = gev.fit_gev(x), gev.fit_gev(x + shift)
    assert same(a, b, but=("mu",))
    assert a.status > FitStatus.BOUNDARY or b.mu == pytest.approx(float(a.mu + shift), rel=1e-15, abs=1e-12)


@given(maxima(), st.randoms(use_true_random=False))
def test_neither_order_nor_padding_nor_company_changes_a_bit(x, random):
    shuffled = x.tolist()
    random.shuffle(shuffled)
    padded = np.full((x.size + 3, 3), np.nan)
    places = sorted(random.sample(range(x.size + 3), x.size))
    padded[places, 1] = shuffled
    padded[:, 2] = np.linspace(0.0, 1.0, x.size + 3) ** 2
    a, b = gev.fit_gev(x), gev.fit_gev(padded, n_threads=2)
    assert all(np.array_equal(getattr(b, f)[1], getattr(a, f), equal_nan=True) for f in FIELDS)
    assert b.status[0] == FitStatus.EMPTY


def test_channels_along_any_axis():
    x = gev.rvs(0.2, 0.0, 1.0, size=(30, 4, 5), rng=3)
    whole = gev.fit_gev(x)
    assert whole.xi.shape == (4, 5)
    assert whole.covariance.shape == (4, 5, 3, 3)
    assert same(gev.fit_gev(np.moveaxis(x, 0, 1), axis=1), whole)
    assert gev.fit_gev(x[:, 2, 3]).xi == whole.xi[2, 3]
    assert same(gev.fit_gev(x.astype(np.float32)), gev.fit_gev(x.astype(np.float32).astype(float)))
    assert gev.fit_gev(np.empty((0, 2))).status.tolist() == [FitStatus.EMPTY] * 2


def exact(x, theta):
    """The score's root with 30 digits, and the inverse of the negative Hessian there."""
    x = [mp.mpf(repr(float(value))) for value in x]

    def loglik(xi, mu, sigma):
        w = [1 + xi * (value - mu) / sigma for value in x]
        return sum(-mp.log(sigma) - (1 + 1 / xi) * mp.log(v) - v ** (-1 / xi) for v in w)

    def derivative(theta, *orders):
        return mp.diff(loglik, tuple(theta), tuple(sum(o == i for o in orders) for i in range(3)))

    with mp.workdps(30):
        root = mp.findroot(lambda *t: [derivative(t, i) for i in range(3)], theta, tol=1e-18)
        information = mp.matrix(3, 3)
        for i in range(3):
            for j in range(3):
                information[i, j] = -derivative(root, i, j)
        return np.array([float(v) for v in root]), np.array((information**-1).tolist(), dtype=float)


@pytest.mark.parametrize(("xi", "n"), [(-0.3, 20), (0.1, 15), (0.6, 30), (1.5, 12)])
def test_the_fit_is_the_exact_root_and_its_covariance_the_exact_information(xi, n):
    x = gev.rvs(xi, 3.0, 2.0, size=n, rng=11)
    fit = gev.fit_gev(x)
    root, covariance = exact(x, (float(fit.xi), float(fit.mu), float(fit.sigma)))
    assert [fit.xi, fit.mu, fit.sigma] == pytest.approx(root, rel=1e-10)
    if fit.xi > -0.5:
        assert fit.covariance == pytest.approx(covariance, rel=1e-7)
        assert fit.se_xi == pytest.approx(np.sqrt(covariance[0, 0]))


def test_the_covariance_is_smooth_through_the_gumbel():
    # samples whose fits have shapes on both sides of 0, closer and closer
    x = gev.rvs(0.0, 0.0, 1.0, size=200, rng=5)
    bent = [np.sinh(c * x) / c if c else x for c in np.linspace(-1e-3, 1e-3, 9) + 0.05]
    fits = gev.fit_gev(np.column_stack(bent))
    assert np.all(np.abs(np.diff(fits.covariance[:, 0, 0], n=2)) < 1e-6)


def climbed(x, rng, starts=5):
    """Log-likelihoods of interior local maxima that a simplex finds from several starts."""
    z = (x - np.median(x)) / x.std()

    def minus(theta):
        xi, mu, log_sigma = theta
        w = xi * (z - mu) / np.exp(log_sigma)
        if not (-1.0 <= xi < 20.0 and abs(log_sigma) < 20.0 and w.min() > -1.0 and xi != 0.0):
            return 1e10
        g = np.log1p(w) / xi
        return z.size * log_sigma + np.sum((1.0 + xi) * g + np.exp(-g)) if g.min() > -300.0 else 1e10

    for _ in range(starts):
        start = [rng.uniform(-0.5, 1.5), rng.normal() * 0.5 - 0.4, rng.normal() * 0.5 - 0.3]
        if minus(start) >= 1e10:
            continue
        found = minimize(minus, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxfev": 2000})
        xi, mu, log_sigma = found.x
        away = 1.0 + xi * (z.min() - mu) / np.exp(log_sigma)
        slope = [minus(found.x + d) - minus(found.x - d) for d in 1e-5 * np.eye(3)]
        if -0.99 < xi < 6.0 and away > 1e-3 and np.max(np.abs(slope)) < 1e-6:  # not on the way to a corner
            yield -found.fun - x.size * np.log(x.std())


@settings(max_examples=12)
@given(maxima(least=6, most=30), st.integers(0, 1000))
def test_no_start_leads_to_a_higher_interior_maximum(x, seed):
    fit = gev.fit_gev(x)
    found = list(climbed(x, np.random.default_rng(seed)))
    if fit.status == FitStatus.OK:
        assert fit.loglik == pytest.approx(np.sum(gev.logpdf(x, fit.xi, fit.mu, fit.sigma)), rel=1e-9, abs=1e-9)
    if found:
        assert fit.status in (FitStatus.OK, FitStatus.BOUNDARY)
        assert fit.loglik >= max(found) - 1e-6


@given(maxima())
def test_the_fit_is_a_local_maximum_inside_the_support(x):
    fit = gev.fit_gev(x)
    assert fit.status in (FitStatus.OK, FitStatus.BOUNDARY, FitStatus.NO_SOLUTION)
    if fit.status != FitStatus.OK:
        return
    assert fit.xi > -1.0
    assert np.all(np.isfinite(gev.logpdf(x, fit.xi, fit.mu, fit.sigma)))
    gap = np.min(1.0 + fit.xi * (x - fit.mu) / fit.sigma)
    for direction in np.random.default_rng(0).standard_normal((30, 3)):
        step = 1e-3 * min(1.0, gap) * direction / np.linalg.norm(direction)
        near = np.sum(gev.logpdf(x, fit.xi + step[0], fit.mu + step[1] * fit.sigma, fit.sigma * np.exp(step[2])))
        assert near <= fit.loglik + 1e-9 * max(1.0, abs(fit.loglik))


@given(maxima())
def test_the_boundary_is_the_closed_form(x):
    fit = gev.fit_gev(x)
    if fit.status == FitStatus.BOUNDARY:
        assert fit.xi == -1.0
        assert fit.sigma == pytest.approx(np.mean(x.max() - x))
        assert fit.mu + fit.sigma == pytest.approx(x.max(), abs=1e-12)
        assert fit.loglik == pytest.approx(-x.size * (np.log(fit.sigma) + 1.0), abs=1e-9)
        assert np.all(np.isnan(fit.covariance))


@pytest.mark.parametrize(
    "x",
    [[1, 1, 1, 2], [1, 2, 4], [1, 2, 3], [0, 1, 1, 1], [1, 1, 2, 2], [1, 1, 1, 1, 1, 1, 2], [5, 5, 6, 7, 9, 30],
     [1.7e308, -1.7e308, 0.0, 1e300], [5e-324, 1e-323, 3e-323, 1e-320], [0, 0, 0, 1e308], [-1e308, 0, 0, 0],
     10.0 ** np.arange(-300, 300, 50)],
    ids=str,
)  # fmt: skip
def test_few_tied_and_huge_maxima_have_an_answer_or_a_status(x):
    fit = gev.fit_gev(x)
    assert fit.status in (FitStatus.OK, FitStatus.BOUNDARY, FitStatus.NO_SOLUTION)
    if fit.status <= FitStatus.BOUNDARY:
        spread = max(np.ptp(np.asarray(x, dtype=float) / 4.0), 5e-324)
        assert 1e-3 * spread < fit.sigma < np.inf or len(x) == 12
        assert np.isfinite([fit.xi, fit.mu, fit.loglik]).all()
    else:
        assert np.isnan([fit.xi, fit.mu, fit.sigma, fit.loglik]).all()


def test_the_estimates_scatter_as_their_covariance_says():
    fits = gev.fit_gev(gev.rvs(0.1, 0.0, 1.0, size=(200, 2000), rng=0))
    z = (fits.xi - 0.1) / fits.se_xi
    assert np.all(fits.status == FitStatus.OK)
    assert abs(z.mean()) < 0.15
    assert 0.93 < z.std() < 1.07


@pytest.mark.parametrize(("maxima", "message"), [(np.ones((3, 2)), "axis must lie"), (5.0, "at least one axis")])
def test_axes_are_checked(maxima, message):
    with pytest.raises(ValueError, match=message):
        gev.fit_gev(maxima, axis=2)


def test_a_fit_shows_itself():
    assert "status=OK" in repr(gev.fit_gev(gev.rvs(0.1, 0.0, 1.0, size=50, rng=1)))
    assert repr(gev.fit_gev(np.ones((4, 2)))) == "GevFit(2 channels: 2 CONSTANT)"
