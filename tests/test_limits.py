"""Limits of everything a tail says: brute force on small samples, quantities against each other, units, sides."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from evtkit import fit_gpd, fit_tail, gpd
from evtkit.intervals import (
    Interval,
    endpoint_interval,
    exponential_test,
    return_level_interval,
    sf_interval,
    sigma_interval,
    xi_interval,
)

TWO_PEAKS = [0.08220900154258051, 0.2675268957745839, 0.038028349141818525, 0.7297769536951083]
DROP = 0.5 * chi2.ppf(0.95, 1)


def log_likelihoods(y, xi, sigma):
    """Of every (ξ, σ) of two arrays, −inf outside the support; small samples only."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        w = xi[..., None] * y / sigma[..., None]
        logs = np.where(xi[..., None] == 0.0, y / sigma[..., None], np.log1p(w) / xi[..., None])
        body = np.where(xi[..., None] == -1.0, 0.0, (1.0 + xi[..., None]) * logs)
        inside = np.where(xi[..., None] == -1.0, w >= -1.0, w > -1.0)
        return np.where(inside.all(-1), -y.size * np.log(sigma) - body.sum(-1), -np.inf)


def highest(y, level, w):
    """The highest log-likelihood over ξ where the return level is `level`, by a dense grid that is refined."""
    low, high = -1.0, 40.0
    best = -np.inf
    for _ in range(5):
        xi = np.concatenate([np.linspace(low, high, 4001), [-1.0]])
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            sigma = level * np.where(xi == 0.0, 1.0 / w, xi / np.expm1(xi * w))
        value = np.where(sigma > 0.0, log_likelihoods(y, xi, np.maximum(sigma, 1e-300)), -np.inf)
        k = int(np.argmax(value))
        best = max(best, float(value[k]))
        step = (high - low) / 4000
        low, high = max(-1.0, xi[k] - 2 * step), xi[k] + 2 * step
    return best


def test_a_profile_with_two_peaks_counts_the_higher_one():
    found = return_level_interval(TWO_PEAKS, 20, rate=0.1)
    assert found.upper == pytest.approx(0.59947, abs=1e-5)


def test_at_every_limit_the_highest_likelihood_is_the_bar_and_beyond_it_is_lower():
    rng = np.random.default_rng(3)
    for _ in range(25):
        n = int(rng.integers(3, 7))
        y = gpd.rvs(rng.uniform(-0.8, 1.2), 1.0, n, rng)
        w = np.log(rng.uniform(1.5, 30.0))
        bar = float(fit_gpd(y).loglik) - DROP
        found = return_level_interval(y, 10.0 * np.exp(w), rate=0.1)
        for limit, outwards in ((float(found.lower), 1 / 1.02), (float(found.upper), 1.02)):
            if 0.0 < limit < 1e12:
                assert highest(y, limit, w) == pytest.approx(bar, abs=2e-5)
                assert all(highest(y, limit * outwards**k, w) < bar for k in (1, 5, 50, 200))


@pytest.mark.parametrize("xi", [-0.7, -0.2, 0.0, 0.3, 1.2])
def test_limits_are_the_extremes_over_the_likelihood_region(xi):
    y = gpd.rvs(xi, 1.0, 8, rng=11)
    fit = fit_gpd(y)
    t = np.concatenate([(np.exp(np.linspace(-25, 0, 500)) - 1) / y.max(), np.geomspace(1e-6, 1e6, 500)])
    h = np.array([np.mean(np.log1p(v * y)) / v if v else y.mean() for v in t])
    sigma = h[:, None] * np.exp(np.linspace(-4, 6, 801))
    shape = t[:, None] * sigma
    inside = (log_likelihoods(y, shape, sigma) >= float(fit.loglik) - DROP) & (shape >= -1.0)
    wanted = {
        "xi": (xi_interval(y), shape[inside]),
        "sigma": (sigma_interval(y), sigma[inside]),
    }
    e = 0.5 * y.max()
    wanted["sf"] = sf_interval(y, e), np.exp(gpd.logsf(e, shape[inside], sigma[inside]))
    for name, (found, values) in wanted.items():
        spread = values.max() - values.min()
        assert found.lower <= values.min() + 1e-9 * spread, name  # the grid lies inside
        assert found.upper >= values.max() - 1e-9 * spread, name
        assert found.lower == pytest.approx(values.min(), abs=0.03 * spread), name
        assert found.upper == pytest.approx(values.max(), abs=0.03 * spread), name
    end = endpoint_interval(y)
    assert end.lower >= y.max()
    assert (end.upper == np.inf) == (shape[inside].max() >= 0.0)


def test_a_level_and_its_probability_have_limits_that_are_inverse():
    y = gpd.rvs(0.2, 3.0, 60, rng=5)
    found = return_level_interval(y, 500, rate=0.1, threshold=7.0)
    for limit in (found.lower, found.upper):
        back = sf_interval(y, limit, rate=0.1, threshold=7.0)
        assert pytest.approx(float(back.lower if limit is found.lower else back.upper), rel=1e-7) == 1 / 500


def test_an_endpoint_is_where_levels_end():
    y = gpd.rvs(-0.6, 2.0, 300, rng=2)
    end, far = endpoint_interval(y), return_level_interval(y, 1e150, rate=1.0)
    np.testing.assert_allclose([end.lower, end.upper], [far.lower, far.upper], rtol=1e-6)


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_sides_units_and_channels_agree(side):
    sign = 1.0 if side == "upper" else -1.0
    x = np.random.default_rng(2).standard_t(3, size=(400, 3))
    many, scaled = fit_tail(x, quantile=0.9, side="upper"), fit_tail(sign * 8.0 * x, quantile=0.9, side=side)
    for ask in (
        lambda t, s: t.return_level([50, 500], interval=0.9),
        lambda t, s: t.expected_shortfall([[0.01], [0.001]], interval=0.9),
        lambda t, s: t.endpoint_interval(0.9),
    ):
        a, b = ask(many, 1.0), ask(scaled, sign)
        low, high = (b.lower, b.upper) if side == "upper" else (-b.upper, -b.lower)
        for mine, other in ((a.estimate, sign * b.estimate), (a.lower, low), (a.upper, high)):
            np.testing.assert_allclose(other, 8.0 * mine, rtol=1e-7)
        for c in range(3):
            alone = ask(many[c], 1.0)
            assert np.array_equal(np.ravel(alone.upper), np.ravel(a.upper[..., c]))
    a, b = many.sf_interval(4.0, 0.9), scaled.sf_interval(sign * 32.0, 0.9)
    np.testing.assert_allclose([b.lower, b.upper, b.estimate], [a.lower, a.upper, a.estimate], rtol=1e-7)
    np.testing.assert_allclose(a.estimate, many.sf(4.0 * np.ones(3), law="plug-in"), rtol=1e-12)


def test_several_periods_of_several_channels():
    tail = fit_tail(gpd.rvs(0.2, 1.0, size=(500, 4), rng=1), quantile=0.9)
    table = tail.return_level([100, 1000], interval=0.95)
    assert table.estimate.shape == table.lower.shape == tail.return_level([100, 1000]).shape == (2, 4)
    for i, m in enumerate((100, 1000)):
        assert np.array_equal(table.upper[i], tail.return_level(m, interval=0.95).upper)
    assert tail.return_level([10, 20, 50, 100]).shape == (4, 4)  # never one a channel
    own = tail.return_level([[10, 20, 50, 100]])
    assert np.array_equal(own[0], [tail[c].return_level(m) for c, m in enumerate((10, 20, 50, 100))])
    assert fit_tail(gpd.rvs(0.2, 1.0, size=(500, 1), rng=1), quantile=0.9).return_level([100, 1000]).shape == (2, 1)
    with pytest.raises(ValueError, match=r"period must have 4 channels.*\(2, 3\)"):
        tail.return_level(np.full((2, 3), 100.0))


def test_an_extremal_index_shortens_the_period():
    tail = fit_tail(gpd.rvs(0.2, 1.0, size=2000, rng=1), quantile=0.9)
    assert tail.return_level(1000, extremal_index=0.5) == tail.return_level(500)
    both = tail.return_level(1000, extremal_index=0.5, interval=0.95)
    assert both.upper == tail.return_level(500, interval=0.95).upper
    with pytest.raises(ValueError, match=r"extremal_index must lie in \(0, 1\], got 1\.5"):
        tail.return_level(1000, extremal_index=1.5)


def test_danish_value_at_risk_and_expected_shortfall(danish):
    tail = fit_tail(danish, threshold=10.0)
    assert tail.isf(0.01, law="plug-in") == pytest.approx(27.28999, abs=1e-5)
    assert tail.expected_shortfall(0.01) == pytest.approx(58.240, abs=1e-3)
    found = tail.expected_shortfall(0.01, interval=0.95)
    assert found.lower < 58.24 < found.upper < np.inf


def test_shortfall_is_the_mean_beyond_its_level_and_the_mean_excess():
    tail = fit_tail(gpd.rvs(0.2, 1.0, size=2000, rng=1), quantile=0.9)
    draws = tail.threshold + gpd.rvs(tail.xi, tail.sigma, size=2_000_000, rng=1)
    level = tail.isf(0.02, law="plug-in")
    assert tail.expected_shortfall(0.02) == pytest.approx(draws[draws > level].mean(), rel=0.01)
    assert tail.expected_shortfall(0.02) == pytest.approx(level + tail.mean_excess_beyond(level), rel=1e-12)
    one, other = (
        tail.expected_shortfall(tail.exceedance_rate, interval=0.9),
        tail.mean_excess_beyond(tail.threshold, interval=0.9),
    )
    assert one.upper - tail.threshold == pytest.approx(float(other.upper), rel=1e-6)


def test_where_no_mean_exists_it_is_infinite():
    heavy = fit_tail(gpd.rvs(1.4, 1.0, size=3000, rng=1), quantile=0.8)
    assert heavy.expected_shortfall(0.01) == heavy.mean_excess_beyond(50.0) == np.inf
    found = heavy.expected_shortfall(0.01, interval=0.95)
    assert found.upper == np.inf
    assert found.lower > 0.0
    border = fit_tail(gpd.rvs(0.8, 1.0, size=400, rng=1), quantile=0.8)
    assert border.xi < 1.0 < border.xi_interval().upper
    assert border.expected_shortfall(0.01) < border.expected_shortfall(0.01, interval=0.95).upper == np.inf


def test_what_lies_before_the_threshold_is_no_matter_of_the_tail():
    tail = fit_tail(gpd.rvs(0.2, 1.0, size=2000, rng=1), quantile=0.9)
    assert np.isnan(tail.mean_excess_beyond(0.0))
    assert np.isnan(tail.sf_interval(0.0).lower)
    with pytest.raises(ValueError, match=r"at most 0\.0995, got 0\.5"):
        tail.expected_shortfall(0.5)


def test_a_correction_widens_small_samples_and_leaves_large_ones():
    few, many = gpd.rvs(0.1, 1.0, 30, rng=1), gpd.rvs(0.1, 1.0, 100, rng=1)
    a, b = xi_interval(few), xi_interval(few, method="bartlett")
    assert b.lower < a.lower < a.upper < b.upper
    assert xi_interval(many, method="bartlett").upper == xi_interval(many).upper


def test_corrected_limits_of_thirty_excesses_hold_the_truth():
    y = gpd.rvs(0.1, 1.0, (30, 1000), rng=3)
    found = return_level_interval(y, 1000, rate=0.1, method="bartlett")
    truth = gpd.isf(0.01, 0.1, 1.0)
    assert 0.93 <= np.mean((found.lower < truth) & (truth < found.upper)) < 0.975
    assert found.coverage == pytest.approx(0.95, abs=0.015)
    delta = return_level_interval(y[:, 0], 1000, rate=0.1, method="delta")
    assert 0.6 < float(delta.coverage) < 0.8
    assert "held the truth in 7" in repr(delta)


def test_rounded_data_have_limits_around_their_fit():
    x = np.floor(gpd.rvs(0.1, 3.0, 4000, rng=4))
    tail = fit_tail(x, quantile=0.9)
    assert tail.resolution > 0.0
    for found in (tail.xi_interval(), tail.return_level([1000, 1e5], interval=0.95)):
        assert np.all((found.lower < found.estimate) & (found.estimate < found.upper))
    assert tail.xi_interval().lower < 0.1 < tail.xi_interval().upper
    assert tail.xi_interval().estimate == tail.xi


def test_the_exponential_is_tested_by_its_likelihood():
    y = gpd.rvs([0.0, 0.5], 2.0, size=(400, 2), rng=1)
    found = exponential_test(y)
    assert found.loglik_submodel == pytest.approx(-400 * (np.log(y.mean(axis=0)) + 1))
    assert found.statistic == pytest.approx(2 * (fit_gpd(y).loglik - found.loglik_submodel))
    assert found.p_value == pytest.approx(chi2.sf(found.statistic, 1))
    assert found.p_value[0] > 0.01 > 1e-6 > found.p_value[1]
    assert (found.aic_submodel < found.aic).tolist() == [True, False]


def test_the_test_of_the_exponential_holds_its_size():
    p = exponential_test(np.random.default_rng(1).standard_exponential((200, 2000))).p_value
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))


def test_an_interval_shows_itself():
    assert repr(Interval(np.float64(1.0), np.float64(0.5), np.float64(2.0), 0.9, "profile", np.int64(0))) == (
        "Interval(1, 90 % profile limits 0.5 … 2)"
    )
