"""Goodness of fit: the statistics, the table and the p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import cramervonmises

from evtkit import FitStatus, fit_gpd, fit_tail, gpd
from evtkit.gof import goodness_of_fit
from evtkit.gof import points as table

P = [0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001]
# Choulakian & Stephens (2001), table 2, both parameters unknown; k = −ξ.
PUBLISHED = {
    ("A2", 0.0): [0.397, 0.569, 0.796, 0.974, 1.158, 1.409, 1.603, 2.064],
    ("A2", 0.2): [0.376, 0.534, 0.741, 0.903, 1.069, 1.296, 1.471, 1.893],
    ("A2", -0.5): [0.496, 0.735, 1.061, 1.321, 1.590, 1.958, 2.243, 2.922],
    ("W2", 0.2): [0.053, 0.078, 0.111, 0.137, 0.164, 0.200, 0.228, 0.294],
    ("W2", -0.5): [0.074, 0.116, 0.174, 0.222, 0.271, 0.338, 0.390, 0.513],
}
PUBLISHED_W2_AT_ZERO = [0.057, 0.086, 0.124, 0.153, 0.183, 0.224, 0.255, 0.330]


def points(statistic, xi):
    from evtkit.gof import _table

    return dict(zip(table.P, _table(statistic)[0](1 / (1 + xi)), strict=True))


def test_statistics_are_those_of_their_definition():
    y = gpd.rvs(0.3, 2.0, 60, rng=1)
    fit = fit_gpd(y)
    test = goodness_of_fit(y)
    assert test.w2 == pytest.approx(cramervonmises(y, lambda v: gpd.cdf(v, fit.xi, fit.sigma)).statistic, rel=1e-12)
    u, i = np.sort(gpd.cdf(y, fit.xi, fit.sigma)), np.arange(1, 61)
    assert test.a2 == pytest.approx(-60 - np.mean((2 * i - 1) * (np.log(u) + np.log1p(-u[::-1]))), rel=1e-12)


@pytest.mark.parametrize(("statistic", "xi"), PUBLISHED)
def test_table_agrees_with_choulakian_and_stephens(statistic, xi):
    ours = points(statistic, xi)
    for p, value in zip(P, PUBLISHED[statistic, xi], strict=True):
        # one unit in the third decimal; their simulated 0.1 % points are good to 0.3 %
        assert ours[p] == pytest.approx(value, abs=0.0011, rel=0.003 if p == 0.001 else 0.0), p


@pytest.mark.slow
def test_their_row_of_w2_at_zero_is_two_per_cent_high():
    # Between their own neighbours, −0.1 and 0.1, our row is the smooth one, and simulation says so too.
    ours = points("W2", 0.0)
    for p, value in zip(P, PUBLISHED_W2_AT_ZERO, strict=True):
        assert value / ours[p] == pytest.approx(1.012, abs=0.013), p
    y = gpd.rvs(0.0, 1.0, (400, 20_000), rng=1)
    simulated = goodness_of_fit(y).w2
    # standard error of a simulated 10 % point: √(p(1−p)/20000)/density, density 2.4 there
    assert np.quantile(simulated, 0.9) == pytest.approx(ours[0.1], abs=3 * 0.0009)
    assert np.quantile(simulated, 0.9) < 0.124 - 0.0009


@pytest.mark.parametrize("xi", [-0.3, 0.1, 0.6, 2.0])
def test_p_values_are_uniform_in_large_samples(xi):
    test = goodness_of_fit(gpd.rvs(xi, 3.0, (800, 3000), rng=2))
    for p in (test.p_w2, test.p_a2):
        for level in (0.5, 0.1, 0.02):
            error = np.sqrt(level * (1 - level) / 3000)
            assert np.mean(p <= level) == pytest.approx(level, abs=4 * error + 0.06 * level)


def test_p_values_are_never_anticonservative_in_small_samples():
    for xi in (-0.4, 0.0, 0.5):
        test = goodness_of_fit(gpd.rvs(xi, 1.0, (25, 4000), rng=3))
        for p in (test.p_w2, test.p_a2):
            assert np.nanmean(p <= 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)


def test_p_falls_as_the_statistic_grows_and_stays_a_probability():
    from evtkit.gof import _p_value

    value = np.concatenate([[0.0], np.geomspace(1e-3, 50.0, 500)])
    for statistic in ("W2", "A2"):
        for xi in (-0.9, -0.5, 0.0, 0.37, 2.0, 100.0):
            p = _p_value(statistic, np.full(501, xi), value)
            assert np.all((p >= 0.0) & (p <= 1.0))
            assert np.all(np.diff(p) <= 0.0)
            assert p[0] > 0.999


@pytest.mark.parametrize("statistic", ["W2", "A2"])
def test_percentage_points_have_their_probabilities(statistic):
    from evtkit.gof import _p_value

    for xi in (-0.5, 0.0, 0.37):
        at = points(statistic, xi)
        found = _p_value(statistic, np.full(len(at), xi), np.array([*at.values()]))
        np.testing.assert_allclose(found, [*at], rtol=1e-9)


def test_bootstrap_agrees_with_the_asymptotic_p_values(rain):
    y = rain[rain > 30] - 30
    a, b = goodness_of_fit(y), goodness_of_fit(y, method="bootstrap", n_boot=2000, rng=0)
    assert (b.w2, b.a2) == (a.w2, a.a2)
    assert b.p_w2 == pytest.approx(float(a.p_w2), abs=0.05)
    assert b.p_a2 == pytest.approx(float(a.p_a2), abs=0.05)


def test_a_bootstrap_is_its_seeds():
    y = gpd.rvs(0.1, 1.0, (40, 2), rng=1)
    first, again = (goodness_of_fit(y, method="bootstrap", n_boot=50, rng=4) for _ in range(2))
    assert np.array_equal(first.p_a2, again.p_a2)
    assert np.all((first.p_a2 >= 1 / 51) & (first.p_a2 <= 1))
    for p in (first.p_w2, first.p_a2):  # 1 + how many of 50 are as large, of 51
        np.testing.assert_allclose(51 * p, np.rint(51 * p), rtol=1e-12)
    assert goodness_of_fit(y[:, 0], method="bootstrap", n_boot=1, rng=0).p_a2 in (0.5, 1.0)


def test_a_wrong_distribution_is_found():
    assert goodness_of_fit(np.random.default_rng(0).gamma(3.0, size=300)).p_a2 < 1e-3


def test_units_and_neighbours_do_not_matter():
    y = gpd.rvs(0.1, 1.0, (50, 3), rng=1)
    y[40:, 1] = np.nan
    test = goodness_of_fit(y)
    scaled = goodness_of_fit(1e-9 * y)
    for name in ("w2", "a2", "p_w2", "p_a2"):
        assert getattr(scaled, name) == pytest.approx(getattr(test, name), rel=1e-9), name
        alone = goodness_of_fit(y[:40, 1])
        assert getattr(alone, name) == pytest.approx(getattr(test, name)[1], rel=1e-10), name
    assert test.n.tolist() == [50, 40, 50]


def test_where_there_is_no_fit_or_no_theory():
    y = np.column_stack([np.full(4, 2.0), [1.0, 2.0, 3.0, 4.0], [1.0, np.nan, np.nan, np.nan]])
    test = goodness_of_fit(y)
    assert fit_gpd(y).status.tolist() == [FitStatus.CONSTANT, FitStatus.BOUNDARY, FitStatus.TOO_FEW]
    assert np.isnan(test.w2).tolist() == [True, False, True]
    assert test.a2[1] == np.inf
    assert np.all(np.isnan(test.p_w2))
    assert np.all(np.isnan(test.p_a2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"excesses": [1.0, -1.0]}, "positive and finite"),
        ({"excesses": np.ones((2, 2, 2))}, r"\(n, channels\), got \(2, 2, 2\)"),
        ({"excesses": [1.0, 2.0], "method": "exact"}, "got 'exact'"),
        ({"excesses": [1.0, 2.0], "n_boot": 0}, "got 0"),
        ({"excesses": [1.0, 2.0, 4.0], "fit": fit_gpd([1.0, 2.0])}, "other numbers"),
        (
            {"excesses": [[1.0, 1.0], [3.0, 2.0], [np.nan, 4.0]], "fit": fit_gpd([[1.0, 1.0], [3.0, 2.0], [4.0, 4.0]])},
            "other numbers",
        ),
        ({"excesses": [1.0, 2.0, 4.0], "fit": fit_gpd([1.0, 2.0, 4.0], method="pwm")}, "maximum-likelihood.*'pwm'"),
        ({"excesses": [1.0, 2.0, 4.0], "fit": fit_gpd([[1.0], [2.0], [4.0]])}, r"shape \(\)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        goodness_of_fit(**arguments)


@pytest.mark.parametrize("counts", [(77, 9), (55, 5), (40, 20, 4)])
def test_a_fit_that_meets_every_cell_is_not_rejected(counts):
    """Two parameters fit two cells, even where the tail ends within the last of them."""
    x = np.repeat(np.arange(len(counts) + 1.0), (900, *counts))
    tail = fit_tail(x, n_excess=sum(counts))
    assert tail.goodness_of_fit().p_a2 > 0.05
    assert not [line for line in tail.notes if "does not fit" in line]
