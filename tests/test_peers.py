"""What other software gets wrong on such samples, and evtkit must not."""

from __future__ import annotations

import numpy as np
import pytest

from evtkit import FitStatus, fit_gpd, gpd
from evtkit.gof import goodness_of_fit


def test_heavy_tails_are_found_where_the_published_scripts_find_an_exponential():
    y = gpd.rvs(0.6, 1.0, 5000, rng=1)
    assert fit_gpd(y).xi == pytest.approx(0.6, abs=0.06)
    assert fit_gpd(y, method="spot-script").xi == 0.0
    # Their right bracket misses the root in any unit; the wrong sign matters where the mean exceeds 1/e.
    assert fit_gpd(1e-3 * y, method="spot-script").xi == 0.0


def test_the_exponentials_likelihood_has_its_sign():
    bounded = gpd.rvs(-0.4, 1.0, 1000, rng=1)
    assert fit_gpd(bounded).xi == pytest.approx(-0.4, abs=0.1)
    assert fit_gpd(bounded, method="spot-script").xi == 0.0  # mean above 1/e: the exponential wins
    assert fit_gpd(0.1 * bounded, method="spot-script").xi == pytest.approx(float(fit_gpd(bounded).xi), rel=1e-9)
    exponential = np.random.default_rng(0).exponential(size=500)
    fit = fit_gpd(exponential)
    assert fit.loglik >= -500 * (1 + np.log(exponential.mean()))


@pytest.mark.parametrize("factor", [1e-12, 1e-5, 1e5, 1e12])
def test_units_do_not_change_the_shape(factor):
    for xi in (-0.5, 0.0, 0.5):
        y = gpd.rvs(xi, 1.0, 300, rng=2)
        assert fit_gpd(factor * y).xi == pytest.approx(float(fit_gpd(y).xi), rel=1e-11, abs=1e-12)


def test_equal_excesses_have_a_status():
    fit = fit_gpd(np.full(10, 0.3))
    assert (fit.status, fit.xi, fit.sigma) == (FitStatus.CONSTANT, -1.0, 0.3)


def test_no_shape_below_minus_one_in_any_unit(bilbao):
    y = bilbao[bilbao > 9.5] - 9.5
    for factor in (1.0, 100.0, 0.0254):
        fit = fit_gpd(factor * y)
        assert (fit.status, fit.xi) == (FitStatus.BOUNDARY, -1.0)
        assert fit.sigma == (factor * y).max()


def test_rain_is_fitted_beyond_the_third_digit(rain):
    assert fit_gpd(rain[rain > 30] - 30).sigma == pytest.approx(7.44026903325, rel=1e-11)


def test_the_maximum_is_a_maximum_to_the_last_digits():
    # loose optimisers stop where the likelihood is flat: here the score vanishes
    y = gpd.rvs(0.3, 2.0, 200, rng=3)
    fit = fit_gpd(y)
    t = fit.xi / fit.sigma
    h = (1 + np.mean(np.log1p(t * y))) * np.mean(1 / (1 + t * y)) - 1
    assert abs(h) < 1e-14


def test_a_value_at_the_threshold_is_no_excess():
    with pytest.raises(ValueError, match="positive"):
        fit_gpd([0.0, 1.0, 2.0])


def test_goodness_of_fit_takes_excesses_from_the_threshold():
    y = gpd.rvs(0.2, 1.0, 80, rng=1)
    fit = fit_gpd(y)
    u = np.sort(gpd.cdf(y, fit.xi, fit.sigma))
    i = np.arange(1, 81)
    assert goodness_of_fit(y).a2 == pytest.approx(
        -80 - np.mean((2 * i - 1) * (np.log(u) + np.log1p(-u[::-1]))), rel=1e-10
    )
    shifted = y - y.min() + 1e-12
    assert goodness_of_fit(y).a2 != pytest.approx(float(goodness_of_fit(shifted).a2), rel=1e-3)


def test_a_bootstrap_neither_reads_nor_moves_the_global_state():
    y = gpd.rvs(0.2, 1.0, 30, rng=1)
    state = np.random.get_state()  # noqa: NPY002
    first = goodness_of_fit(y, method="bootstrap", n_boot=49, rng=5)
    np.random.seed(1)  # noqa: NPY002
    second = goodness_of_fit(y, method="bootstrap", n_boot=49, rng=5)
    np.random.set_state(state)  # noqa: NPY002
    assert first.p_a2 == second.p_a2
