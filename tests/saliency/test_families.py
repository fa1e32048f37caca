"""Families fitted to excesses, against SciPy's own fits."""

import numpy as np
import pytest
from scipy import stats

from evtkit import fit_tail, gpd
from evtkit.families import FAMILIES, compare_families, compare_tails

LAWS = {
    "gpd": lambda rng, n: gpd.rvs(0.4, 2.0, n, rng),
    "lognormal": lambda rng, n: rng.lognormal(0.0, 1.0, n),
    "gamma": lambda rng, n: rng.gamma(4.0, 3.0, n),
    "weibull": lambda rng, n: rng.weibull(2.5, n),
    "exponential": lambda rng, n: rng.exponential(5.0, n),
}
SCIPY = {"lognormal": stats.lognorm, "gamma": stats.gamma, "weibull": stats.weibull_min}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_family_wins(family):
    y = LAWS[family](np.random.default_rng(0), (3000, 5))
    assert np.count_nonzero(compare_families(y).best == FAMILIES.index(family)) >= 4


@pytest.mark.parametrize("family", SCIPY)
@pytest.mark.parametrize("seed", range(3))
def test_likelihood_and_distance_equal_scipy(family, seed):
    rng = np.random.default_rng(seed)
    y = rng.gamma(rng.uniform(0.3, 5), 1.0, 300)
    found = compare_families(y)
    law = SCIPY[family]
    parameters = law.fit(y / y.mean(), floc=0)
    f = FAMILIES.index(family)
    assert found.loglik[f, 0] == pytest.approx(law.logpdf(y / y.mean(), *parameters).mean(), abs=1e-6)
    u = np.sort(law.cdf(y / y.mean(), *parameters))
    i = np.arange(1, 301)
    a2 = -300 - np.mean((2 * i - 1) * (np.log(u) + np.log1p(-u[::-1])))
    assert found.a2[f, 0] == pytest.approx(a2, rel=1e-3)


def test_gpd_distance_is_that_of_its_own_test():
    from evtkit.gof import goodness_of_fit

    y = gpd.rvs(0.2, 1.0, (400, 3), 1)
    found, test = compare_families(y), goodness_of_fit(y)
    np.testing.assert_allclose(found.a2[0], test.a2, rtol=1e-9)
    np.testing.assert_allclose(found.p_gpd, test.p_a2)


def test_units_of_measurement_do_not_change_the_comparison():
    y = gpd.rvs(0.2, 1.0, (400, 3), 1)
    one, other = compare_families(y), compare_families(1e-7 * y)
    np.testing.assert_allclose(one.loglik, other.loglik, rtol=1e-6)
    np.testing.assert_allclose(one.a2, other.a2, rtol=1e-4)


def test_ragged_dead_and_constant_units():
    y = gpd.rvs(0.2, 1.0, (200, 4), 1)
    y[150:, 1] = np.nan
    y[:, 2] = np.nan
    y[:, 3] = 1.5
    found = compare_families(y)
    assert found.comparable.tolist() == [True, True, False, False]
    assert found.best[2:].tolist() == [-1, -1]
    np.testing.assert_allclose(found.loglik[:, 1], compare_families(y[:150, 1]).loglik[:, 0], rtol=1e-9)
    assert np.sum(found.by_family["best"]) == pytest.approx(1.0)
    assert "2 comparable" in repr(found)


def test_blocks_do_not_change_the_comparison(monkeypatch):
    y = gpd.rvs(0.1, 1.0, (100, 7), 1)
    whole = compare_families(y)
    monkeypatch.setattr("evtkit.families._BLOCK", 200)
    np.testing.assert_allclose(whole.aic, compare_families(y).aic, rtol=1e-12)


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 2)), np.array([1.0, -1.0]), np.array([1.0, np.inf]), np.ones((2, 2, 2)), []]
)
def test_bad_excesses_are_refused(bad):
    with pytest.raises(ValueError, match=r"got|must be positive"):
        compare_families(bad)


def test_a_reference_compares_its_own_excesses(reference):
    found = reference.compare_families()
    assert found.n.tolist() == reference.tail.n_excess.tolist()
    assert found.comparable.sum() == 11
    np.testing.assert_allclose(found.aic, compare_families(reference.tail.excesses).aic, rtol=1e-12)


def test_the_families_of_a_lower_tail_are_those_of_the_negated_data():
    x = np.random.default_rng(0).standard_t(4, size=(500, 3))
    lower, upper = fit_tail(x, quantile=0.9, side="lower"), fit_tail(-x, quantile=0.9)
    np.testing.assert_allclose(compare_tails(lower).a2, compare_tails(upper).a2, rtol=1e-9)
    with pytest.raises(ValueError, match="must have several channels"):
        compare_tails(fit_tail(x[:, 0], quantile=0.9))
