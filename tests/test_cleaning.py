"""What stands apart from the rest of a calibration sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from evtkit import fit_gpd, fit_tail, gpd
from evtkit.cleaning import fit_censored, isolated


@pytest.mark.parametrize("xi", [-0.4, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("censored", [0, 5, 60])
def test_a_censored_fit_is_the_maximum_of_its_likelihood(xi, censored):
    y = np.sort(gpd.rvs(xi, 2.0, 400, rng=1))[: 400 - censored]

    def loglik(parameters):
        shape, scale = parameters[0], np.exp(parameters[1])
        above = censored * gpd.logsf(y[-1], shape, scale) if censored else 0.0
        return gpd.logpdf(y, shape, scale).sum() + above

    best = minimize(lambda p: -loglik(p), [0.1, 0.7], method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-6})
    shape, scale = fit_censored(y, censored)
    assert loglik([shape, np.log(scale)]) >= -best.fun - 0.01
    assert shape == pytest.approx(best.x[0], abs=0.01 * (1 + abs(shape)))


def test_without_censoring_it_is_the_ordinary_fit():
    y = gpd.rvs(0.2, 1.0, 2000, rng=2)
    fit = fit_gpd(y)
    assert fit_censored(y, 0) == (pytest.approx(float(fit.xi), abs=0.005), pytest.approx(float(fit.sigma), rel=0.01))


@pytest.mark.parametrize("planted", [1, 3, 15])
@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential"])
def test_a_group_that_hides_itself_is_found_whole(planted, draw):
    rng = np.random.default_rng(3)
    x = getattr(rng, draw)(3000)
    places = rng.choice(3000, planted, replace=False)
    x[places] = 60.0 * (1.0 + 0.1 * rng.random(planted))
    np.testing.assert_array_equal(np.flatnonzero(isolated(x)), np.sort(places))


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.standard_normal(1000),
        lambda rng: rng.standard_exponential(1000),
        lambda rng: rng.standard_t(3, 1000),
        lambda rng: rng.random(1000),
        lambda rng: rng.poisson(3, 1000).astype(float),
        lambda rng: np.round(rng.standard_exponential(1000), 1),
    ],
)
def test_ordinary_samples_are_rarely_touched(draw):
    touched = [isolated(draw(np.random.default_rng(seed))).any() for seed in range(100)]
    assert np.mean(touched) <= 0.05


@pytest.mark.parametrize(("planted", "low"), [(10, 6.0), (40, 6.0), (60, 5.0)])
def test_many_that_are_spread_as_widely_as_the_rest_are_found(planted, low):
    x = np.random.default_rng(5).standard_normal(1000)
    x[:planted] = low + 1.5 * np.random.default_rng(6).random(planted)
    found = isolated(x, quantile=0.8)
    assert found[:planted].sum() >= 0.9 * planted
    assert found[planted:].sum() <= 2


def test_of_many_observations_a_few_and_a_large_group_are_found():
    x = np.random.default_rng(7).standard_normal(60_000)
    for planted in (3, 2000):
        dirty = x.copy()
        dirty[:planted] = 9.0 + np.random.default_rng(8).random(planted)
        found = isolated(dirty, quantile=0.8)
        assert found[:planted].all()
        assert found[planted:].sum() <= 2


def test_data_in_uneven_steps_are_not_outliers():
    for seed in range(20):
        assert not isolated(np.log1p(np.random.default_rng(seed).poisson(3.0, 1000)), quantile=0.8).any()


def test_a_cleaned_tail_is_that_of_the_others():
    rng = np.random.default_rng(9)
    x = rng.standard_normal((1000, 2))
    x[:8, 1] = 20.0 + rng.random(8)
    tail = fit_tail(x, quantile=0.9, clean=True)
    assert tail.left_out.tolist() == [0, 8]
    assert tail.n.tolist() == [1000, 992]
    others = fit_tail(x[8:, 1], quantile=0.9)
    assert tail[1].isf(1e-3) == others.isf(1e-3)


def test_units_and_order_change_nothing():
    rng = np.random.default_rng(4)
    x = rng.standard_normal(2000)
    x[[5, 50]] = 30.0, 31.0
    order = rng.permutation(2000)
    for factor, shift in ((1e-9, 0.0), (1e9, 0.0), (3.0, -7.0)):
        np.testing.assert_array_equal(isolated(factor * x + shift), isolated(x))
    np.testing.assert_array_equal(isolated(x[order]), isolated(x)[order])


def test_nothing_stands_apart_where_nothing_can():
    for x in (np.zeros(100), np.arange(3.0), np.repeat([0.0, 1.0], [99, 1])):
        assert not isolated(x).any()


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="x must be finite numbers in one dimension"):
        isolated([1.0, np.nan])
    with pytest.raises(ValueError, match="alpha must lie strictly between 0 and 1, got 0"):
        isolated([1.0, 2.0], alpha=0)
    with pytest.raises(ValueError, match="excesses must be one or more positive"):
        fit_censored([1.0, -1.0], 2)


def test_many_just_beyond_the_rest_do_not_hide_the_dip_below_them():
    rng = np.random.default_rng(4)  # a gamma tail, and one in twenty of another mode, where few others are
    for _ in range(5):
        x = np.concatenate([rng.gamma(4.0, size=999), 12.2 + rng.gamma(4.0, size=50)])
        apart = isolated(x, quantile=0.8)
        assert apart[-50:].sum() >= 35
        assert apart[:-50].sum() <= 4


@pytest.mark.parametrize("draw", ["standard_cauchy", "mixture"])
def test_heavy_tails_are_not_contaminated_ones(draw):
    touched = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(1000) * np.where(rng.random(1000) < 0.1, 3.0, 1.0)
        touched += isolated(rng.standard_cauchy(1000) if draw == "standard_cauchy" else x, quantile=0.8).any()
    assert touched <= 4


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_gross_outliers_are_named_beside_the_number(side):
    sign = 1.0 if side == "upper" else -1.0
    x = sign * np.concatenate([np.random.default_rng(0).standard_normal(990), np.full(10, 15.0)])
    tail = fit_tail(x, side=side)
    (line,) = [line for line in tail.notes if "stand apart" in line]
    assert line.startswith("10 ")
    assert "clean=True" in line
    assert sign * tail.isf(1e-3) > 10.0
    cleaned = fit_tail(x, side=side, clean=True)
    assert 2.7 < sign * cleaned.isf(1e-3) < 4.2
    assert not [line for line in cleaned.notes if "clean=True" in line]
