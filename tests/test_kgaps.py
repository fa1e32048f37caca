"""K-gaps, limits of the extremal index, gaps in a record, and tail dependence of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter
from scipy.stats import chi2

from evtkit.dependence import (
    choose_k_gaps,
    decluster,
    extremal_index,
    extremal_index_interval,
    fit_k_gaps,
    tail_dependence,
)


def moving_maximum(n, width, seed):
    """Maxima of `width` independent Fréchet variables: θ = 1/width."""
    z = -1 / np.log(np.random.default_rng(seed).random(n + width - 1))
    return np.lib.stride_tricks.sliding_window_view(z, width).max(axis=1)


def scaled_recursion(n, theta, seed, lag=1):
    """X_t = max((1 − θ) X_{t − lag}, θ Z_t) with Z Fréchet: an extremal index of θ, and clusters of geometric size."""
    z = -1 / np.log(np.random.default_rng(seed).random(n))
    x = z.copy()
    for t in range(lag, n):
        x[t] = max((1 - theta) * x[t - lag], theta * z[t])
    return x


def k_gaps_loglik(theta, x, u, k):
    """Süveges & Davison (2010), equation 3."""
    times = np.flatnonzero(x > u)
    s = np.mean(x > u) * np.maximum(np.diff(times) - k, 0)
    zero, positive = np.sum(s == 0), np.sum(s > 0)
    return zero * np.log1p(-theta) + 2 * positive * np.log(theta) - theta * s.sum()


@pytest.mark.parametrize("k", [1, 3])
def test_the_estimate_maximises_the_likelihood_and_limits_are_where_it_falls(k):
    x = moving_maximum(3000, 3, seed=1)
    u = np.quantile(x, 0.95)
    fit = fit_k_gaps(x, u, k=k, level=0.9)
    best = minimize_scalar(lambda t: -k_gaps_loglik(t, x, u, k), bounds=(1e-6, 1 - 1e-6), method="bounded",
                           options={"xatol": 1e-10})  # fmt: skip
    assert fit.theta == pytest.approx(best.x, abs=1e-6)
    assert fit.loglik == pytest.approx(-best.fun, rel=1e-10)
    for limit in (fit.lower, fit.upper):
        fall = 2 * (fit.loglik - k_gaps_loglik(float(limit), x, u, k))
        assert fall == pytest.approx(chi2.ppf(0.9, 1), abs=1e-8)
    h = 1e-5
    second = sum(s * k_gaps_loglik(float(fit.theta) + d, x, u, k) for s, d in ((1, h), (-2, 0), (1, -h))) / h**2
    assert fit.se == pytest.approx(1 / np.sqrt(-second), rel=1e-3)


def test_limits_of_the_index_hold_the_truth():
    x = np.column_stack([scaled_recursion(3000, 0.5, seed) for seed in range(200)])
    u = np.quantile(x, 0.98, axis=0)
    fit = fit_k_gaps(x, u, k=1)
    held = np.mean((fit.lower < 0.5) & (fit.upper > 0.5))
    assert 0.90 < held < 0.99
    found = extremal_index_interval(x[:, :60], u[:60], n_boot=200, rng=1)
    assert np.mean((found.lower < 0.5) & (found.upper > 0.5)) > 0.8
    assert np.array_equal(found.estimate, extremal_index(x[:, :60], u[:60]))
    again = extremal_index_interval(x[:, :60], u[:60], n_boot=200, rng=1)
    assert np.array_equal(again.upper, found.upper)


def test_the_runs_estimator_has_limits_too():
    x = moving_maximum(5000, 3, seed=1)
    u = np.quantile(x, 0.97)
    found = extremal_index_interval(x, u, run_length=3, rng=1)
    assert found.lower < extremal_index(x, u, run_length=3) < found.upper
    assert extremal_index_interval(x, u).upper == extremal_index_interval(x, u, rng=0).upper != found.upper
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"got {level}"):
            extremal_index_interval(x, u, level=level)


@pytest.mark.parametrize("run_length", [None, 5])
def test_of_clusters_that_are_alike_every_sample_is_the_sample(run_length):
    x = np.zeros(1000)
    starts = np.arange(0, 1000, 20)
    x[np.concatenate([starts, starts + 1, starts + 2, starts + 3])] = 1.0
    found = extremal_index_interval(x, 0.5, run_length=run_length, n_boot=50, rng=1)
    assert_allclose([found.lower, found.upper], [found.estimate] * 2, rtol=1e-12)
    assert 0.0 < found.estimate < 0.6


def test_channels_are_one_by_one():
    x = np.column_stack([moving_maximum(2000, w, seed=w) for w in (1, 2, 3)])
    u = np.quantile(x, 0.95, axis=0)
    many = fit_k_gaps(x, u, k=2)
    for c in range(3):
        alone = fit_k_gaps(x[:, c], u[c], k=2)
        for name in ("theta", "lower", "upper", "se", "loglik", "statistic", "p_value", "n_gaps"):
            assert getattr(many, name)[c] == getattr(alone, name), name


def test_the_information_test_holds_its_size_and_finds_a_wrong_run_length():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(200):  # times drawn from the limit itself
        within = rng.random(200) < 0.5
        gaps = np.where(within, 1, 1 + np.ceil(rng.exponential(2 / 0.002, 200)).astype(int))
        x = np.zeros(int(gaps.sum()) + 1)
        x[np.concatenate([[0], np.cumsum(gaps)])] = 1.0
        p.append(float(fit_k_gaps(x, 0.5, k=1).p_value))
    assert 0.01 <= np.mean(np.array(p) < 0.05) < 0.12
    x = scaled_recursion(40_000, 0.5, seed=2, lag=3)  # within a cluster, exceedances come every third time
    assert fit_k_gaps(x, np.quantile(x, 0.98), k=1).p_value < 0.01 < fit_k_gaps(x, np.quantile(x, 0.98), k=3).p_value


def test_a_run_length_is_chosen_by_the_test():
    x = scaled_recursion(40_000, 0.5, seed=2, lag=3)
    choice = choose_k_gaps(x, np.quantile(x, [0.98, 0.985, 0.99, 0.995]))
    assert choice.chosen_k >= 3
    i, j = np.flatnonzero(choice.threshold == choice.chosen_threshold)[0], choice.chosen_k - 1
    assert choice.theta[i, j] == pytest.approx(0.5, abs=0.06)  # two standard errors of its 300 gaps
    assert np.all(choice.p_value[i:, j] >= 0.05)
    assert "K=" in repr(choice)


def cauchy_recursion(n, rate, seed):
    """X_t = rate X_{t − 1} + Z_t with Z Cauchy: an extremal index of 1 − rate."""
    z = np.random.default_rng(seed).standard_cauchy(n + 100)
    return lfilter([1.0], [1.0, -rate], z)[100:]


def uniform_recursion(n, r, seed):
    """X_t = (X_{t − 1} + e_t)/r with e uniform on 0, …, r − 1: an extremal index of 1 − 1/r (Chernick 1981)."""
    e = np.random.default_rng(seed).integers(0, r, n + 60).astype(float)
    return lfilter([1.0 / r], [1.0, -1.0 / r], e)[60:]


@pytest.mark.parametrize(
    ("draw", "theta", "band", "share"),
    [
        (lambda seed: np.random.default_rng(seed).standard_exponential(5000), 1.0, 0.04, 0.2),
        (lambda seed: moving_maximum(5000, 2, seed), 0.5, 0.03, 0.85),
        (lambda seed: cauchy_recursion(5000, 0.5, seed), 0.5, 0.06, 0.7),
        (lambda seed: uniform_recursion(5000, 4, seed), 0.75, 0.06, 0.7),
        (lambda seed: scaled_recursion(5000, 0.5, seed, lag=3), 0.5, 0.11, 0.65),
    ],
)
def test_the_choice_is_near_the_truth_and_its_limits_hold_it(draw, theta, band, share):
    found, held = [], []
    for seed in range(15):
        x = draw(seed)
        choice = choose_k_gaps(x, np.quantile(x, [0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995]))
        i, j = np.flatnonzero(choice.threshold == choice.chosen_threshold)[0], choice.chosen_k - 1
        found.append(choice.theta[i, j] - theta)
        held.append(choice.lower[i, j] <= theta <= choice.upper[i, j])
    assert np.sqrt(np.mean(np.square(found))) < band
    assert np.mean(held) >= share


def test_rains_index_by_k_gaps_is_near_that_by_intervals(rain):
    fit = fit_k_gaps(rain, 30.0, k=1)
    assert fit.lower < 0.9419396 < fit.upper


def test_missing_values_break_the_record():
    x = np.zeros(60)
    x[[2, 3, 20, 21, 40, 41]] = 1.0
    whole = extremal_index(x, 0.5)
    x[30] = np.nan
    cut = extremal_index(x, 0.5)
    assert np.isfinite(cut)
    t = np.array([1.0, 17.0, 1.0, 18.0, 1.0])  # time stops in the gap
    assert cut == pytest.approx(min(1.0, 2 * (t - 1).sum() ** 2 / (5 * ((t - 1) * (t - 2)).sum())))
    assert cut != whole
    assert extremal_index(x, 0.5, run_length=3) == 0.5
    clusters = decluster(x, 0.5, run_length=3)
    assert clusters.start.tolist() == [2, 20, 40]
    fit = fit_k_gaps(x, 0.5, k=1)
    assert (fit.n_gaps, fit.n_censored) == (4, 2)
    q = 6 / 59
    total = q * (16 + (30 - 21 - 1) + (40 - 30 - 1))
    best = minimize_scalar(lambda th: -(3 * np.log1p(-th) + 4 * np.log(th) - th * total), bounds=(1e-9, 1 - 1e-9),
                           method="bounded", options={"xatol": 1e-12})  # fmt: skip
    assert fit.theta == pytest.approx(best.x, abs=1e-6)


def test_an_index_from_a_record_with_gaps_is_the_truth():
    x = moving_maximum(200_000, 3, seed=4)
    u = np.quantile(x, 0.98)
    for start in np.random.default_rng(1).integers(0, x.size - 40, 1500):
        x[start : start + 30] = np.nan  # a fifth of all values, and a gap in every other time between clusters
    fit = fit_k_gaps(x, u, k=2)
    assert fit.lower < 1 / 3 < fit.upper
    assert np.isnan(fit.p_value)
    assert extremal_index(x, u) == pytest.approx(1 / 3, abs=0.03)


def test_pieces_with_an_exceedance_each_have_no_gap_to_go_by():
    found = fit_k_gaps([0.0, 0.0, 5.0, np.nan, 0.0, 5.0, 0.0], 1.0)
    assert np.isnan(found.theta)


def test_nothing_to_go_by():
    fit = fit_k_gaps(np.zeros((20, 2)), 0.5)
    assert np.all(np.isnan(fit.theta))
    assert fit.n_gaps.tolist() == [0, 0]
    assert np.isnan(extremal_index_interval([0.0, 1.0, 0.0], 0.5).lower)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_k_gaps([1.0, np.inf], 0.5), "got inf"),
        (lambda: fit_k_gaps([1.0, 2.0], 0.5, k=0), "got 0"),
        (lambda: fit_k_gaps([1.0, 2.0], 0.5, level=0.0), r"got 0\.0"),
        (lambda: choose_k_gaps(np.ones((5, 2)), [0.5]), "one stream"),
        (lambda: choose_k_gaps([1.0, 2.0], []), "got none"),
        (lambda: tail_dependence([1.0, 2.0], [1.0]), r"got shapes \(2,\) and \(1,\)"),
        (lambda: tail_dependence([1.0, np.inf], [1.0, 2.0]), "got inf"),
        (lambda: tail_dependence([1.0, np.nan], [1.0, 2.0]), "got 1"),
        (lambda: tail_dependence([1.0, 2.0], [1.0, 2.0], [1.0]), r"got 1\.0"),
    ],
)
def test_bad_input_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- pairs -------------------------------------------------------------------------------------------------------------


def test_complete_dependence_and_independence():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 20_000))
    same = tail_dependence(x, np.exp(x))
    assert_allclose(same.chi, 1.0, atol=0.01)
    assert_allclose(same.chi_bar, 1.0, atol=0.01)
    apart = tail_dependence(x, y, [0.9, 0.95])
    assert np.all((apart.chi_lower < 1 - np.array([0.9, 0.95])) & (1 - np.array([0.9, 0.95]) < apart.chi_upper + 0.05))
    assert np.all((apart.chi_bar_lower < 0.02) & (apart.chi_bar_upper > -0.02))
    assert_allclose(tail_dependence(x, -x, [0.9]).chi_bar, -1.0)


def test_estimates_are_their_formulas_from_ranks_alone():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 500))
    y = x + y
    found = tail_dependence(x, y, 0.8)
    u, v = (np.argsort(np.argsort(a)) + 1.0 for a in (x, y))
    below = np.mean(np.maximum(u, v) / 501 < 0.8)
    above = np.mean(np.minimum(u, v) / 501 > 0.8)
    assert_allclose(found.chi, 2 - np.log(below) / np.log(0.8))
    assert_allclose(found.chi_bar, 2 * np.log(0.2) / np.log(above) - 1)
    other = tail_dependence(np.exp(x), y**3, 0.8)
    assert np.array_equal(other.chi, found.chi)
    turned = tail_dependence(y, x, 0.8)
    assert np.array_equal(turned.chi_bar, found.chi_bar)
    with_gap = tail_dependence(np.append(x, np.nan), np.append(y, 3.0), 0.8)
    assert np.array_equal(with_gap.chi, found.chi)


def test_limits_of_chi_hold_what_it_is():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        x, y, z = -1 / np.log(rng.random((3, 2000)))
        a, b = np.maximum(x, z), np.maximum(y, z)  # each other maximum shared: χ(u) = 2 − 3/2 = 1/2 at every level
        found = tail_dependence(a, b, 0.9)
        held += bool(found.chi_lower[0] < 0.5 < found.chi_upper[0])
    assert 170 < held <= 200
