"""Tail: probabilities, levels, thresholds, files, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit import FitStatus, Tail, fit_gpd, fit_tail, gpd, peaks
from evtkit.gof import goodness_of_fit
from evtkit.intervals import return_level_interval, xi_interval


def assert_same(a: Tail, b: Tail, *, skip: tuple[str, ...] = ()) -> None:
    for name in Tail.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        if name in skip:
            continue
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right, equal_nan=True), name
        else:
            assert left == right, name


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_t(4, size=(3000, 5))


def test_threshold_is_the_order_statistic_and_excesses_are_strict(x):
    tail = fit_tail(x, quantile=0.9)
    ordered = np.sort(x, axis=0)
    assert np.array_equal(tail.threshold, ordered[int(0.9 * 3000)])
    assert np.array_equal(tail.n_excess, (x > tail.threshold).sum(axis=0))


def test_ties_at_the_threshold_are_not_excesses():
    tail = fit_tail([1.0, 2, 2, 2, 3, 4, 5], threshold=2.0)
    assert tail.n_excess == 3
    assert np.array_equal(tail.excesses, [0.5, 1.5, 2.5])  # whole numbers: the threshold lies between two
    assert np.array_equal(fit_tail([1.0, 2, 2, 2, 3, 4, 5], threshold=2.0, resolution=0).excesses, [1.0, 2.0, 3.0])


def test_tail_fit_is_fit_gpd_of_the_excesses(x):
    tail = fit_tail(x, quantile=0.95)
    fit = fit_gpd(tail.excesses)
    for name in ("xi", "sigma", "loglik", "status", "se_xi", "se_sigma", "cov"):
        assert np.array_equal(getattr(tail, name), getattr(fit, name)), name


@pytest.mark.parametrize("method", ["pwm", "zhang-stephens", "moments"])
def test_other_estimators(x, method):
    tail = fit_tail(x, quantile=0.9, method=method)
    assert np.array_equal(tail.xi, fit_gpd(tail.excesses, method=method).xi)
    assert tail.method == method


def test_quantile_and_n_excess_agree(x):
    assert_same(fit_tail(x, quantile=0.9), fit_tail(x, n_excess=299))


def test_sf_up_to_the_threshold_is_the_rank_of_the_next_observation(x):
    tail = fit_tail(x, quantile=0.9)
    levels = np.minimum(np.concatenate([x[:30], np.linspace(-6, 1, 40)[:, None] * np.ones(5)]), tail.threshold)
    for rows in (levels, levels[:5]):  # one way for many levels, one for few
        assert np.allclose(tail.sf(rows), (1 + (x[None] >= rows[:, None]).sum(axis=1)) / 3001, rtol=1e-14)


def test_plug_in_below_the_threshold_is_the_empirical_share(x):
    tail = fit_tail(x, quantile=0.9)
    levels = np.linspace(-6, 1, 40)[:, None] * np.ones(5)
    share = (x[None] > levels[:, None]).mean(axis=1)
    given = tail.sf(np.minimum(levels, tail.threshold), law="plug-in")
    assert np.allclose(given, np.maximum(share, tail.n_excess / 3000), rtol=1e-14)


def test_plug_in_above_is_the_rate_times_the_gpd(x):
    tail = fit_tail(x, quantile=0.9)
    levels = tail.threshold + np.array([0.5, 1, 2, 4, 8])
    expected = tail.n_excess / tail.n * gpd.sf([0.5, 1, 2, 4, 8], tail.xi, tail.sigma)
    assert np.allclose(tail.sf(levels, law="plug-in"), expected, rtol=1e-12)


@pytest.mark.parametrize(("law", "rtol"), [("plug-in", 1e-12), ("predictive", 1e-9)])
def test_isf_inverts_sf(x, law, rtol):
    tail = fit_tail(x, quantile=0.9)
    p = np.array([0.09, 1e-2, 1e-4, 1e-9, 1e-20])[:, None] * np.ones(5)
    assert np.allclose(np.log(p), tail.logsf(tail.isf(p, law=law), law=law), rtol=rtol)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["upper", "lower"]), st.floats(1e-6, 1.0))
def test_what_lies_beyond_isf_is_as_improbable_as_p_and_nothing_else_is(seed, side, p):
    rng = np.random.default_rng(seed)
    x = rng.poisson(5.0, 150) + 0.25 * rng.integers(0, 2, 150)
    tail = fit_tail(x, quantile=0.8, side=side)
    sign = 1.0 if side == "upper" else -1.0
    level = tail.isf(p)
    for value in np.append(np.unique(x), x.max() + 3.0):
        beyond = sign * value > sign * level + 1e-9
        assert beyond <= (tail.sf(value) <= p * (1 + 1e-6))
        assert beyond or tail.sf(value) >= p * (1 - 1e-6) or sign * value >= sign * level - 1e-9


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([20, 100, 500]), st.sampled_from(["normal", "random", "standard_cauchy"])
)
def test_no_observation_is_impossible_and_none_is_certain_to_be_exceeded(seed, n, kind):
    x = getattr(np.random.default_rng(seed), kind)(size=n)
    p = fit_tail(x, quantile=0.5).sf(x)
    assert np.all((p > 1e-5 / n) & (p <= 1.0))


def test_isf_in_the_body_is_an_observation(x):
    tail = fit_tail(x[:, 0], quantile=0.9)
    level = tail.isf(0.5)
    assert level in x[:, 0]
    assert tail.isf(1.0) == tail.isf(1.0, law="plug-in") == x[:, 0].min()
    assert np.mean(x[:, 0] > level) == pytest.approx(0.5, abs=1e-3)
    assert np.mean(x[:, 0] > tail.isf(0.5, law="plug-in")) == 0.5


def test_return_level_is_the_textbook_estimate(x):
    tail = fit_tail(x, quantile=0.9)
    assert np.allclose(tail.sf(tail.return_level(1e5), law="plug-in"), 1e-5, rtol=1e-10)
    for period, theta in ((1.2, 1.0), (100.0, 0.5), (1.5, 0.8), (3.0, 0.1)):
        wanted = tail.isf(min(1.0, 1.0 / (theta * period)), law="plug-in")
        assert np.array_equal(tail.return_level(period, extremal_index=theta), wanted)


def test_an_exponential_tail_has_no_end(x):
    for side, end in (("upper", np.inf), ("lower", -np.inf)):
        tail = replace(fit_tail(x, quantile=0.9, side=side), xi=np.zeros(5))
        assert np.all(tail.endpoint == end)


def test_at_the_threshold_the_tail_takes_over(x):
    """P(X > u) is N_u/n and its level is u, be it an observation or not; without a fit only shares are known."""
    tail = fit_tail(x[:, 0], threshold=1.2345)
    rate = tail.n_excess / tail.n
    assert tail.sf(1.2345, law="plug-in") == rate == np.mean(x[:, 0] > 1.2345)
    assert tail.isf(rate, law="plug-in") == 1.2345
    assert tail.isf(tail.sf(1.2345)) == 1.2345
    unfitted = fit_tail(np.repeat([0.0, 1.0, 2.0], [90, 5, 5]), threshold=1.0)
    assert not unfitted.is_fitted
    assert unfitted.sf(1.0, law="plug-in") == pytest.approx(0.05)
    assert np.isnan(unfitted.sf(1.5, law="plug-in"))
    assert np.isnan(unfitted.isf(0.05, law="plug-in"))
    assert unfitted.isf(0.06, law="plug-in") == 1.0
    assert unfitted.isf([1.0 / 101.0, 0.9 / 101.0]).tolist() == [2.0, np.inf]
    assert unfitted.sf([1.5, 9.0]).tolist() == pytest.approx([6 / 101, 1 / 101])


def test_plug_in_tails_that_are_bounded_end_and_predictive_ones_do_not():
    tail = fit_tail(np.random.default_rng(0).random(5000), quantile=0.9)
    assert tail.xi < 0
    assert tail.isf(0.0, law="plug-in") == pytest.approx(float(tail.endpoint))
    assert tail.sf(tail.endpoint + 1, law="plug-in") == 0.0
    assert tail.logsf(tail.endpoint + 1, law="plug-in") == -np.inf
    assert -np.inf < tail.logsf(tail.endpoint + 2) < tail.logsf(tail.endpoint + 1)
    assert tail.isf(0.0) == np.inf


def test_lower_side_mirrors_the_upper(x):
    upper, lower = fit_tail(-x, quantile=0.9), fit_tail(x, quantile=0.9, side="lower")
    assert np.array_equal(lower.threshold, -upper.threshold)
    assert np.array_equal(lower.sf(x[:7]), upper.sf(-x[:7]))
    assert np.array_equal(lower.return_level(1e4), -upper.return_level(1e4))
    assert np.array_equal(lower.endpoint, -upper.endpoint)
    assert np.array_equal(lower.excesses, upper.excesses)
    assert np.all(lower.excesses > 0.0)
    assert np.allclose(lower.mean, x.mean(axis=0))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-200, 1e-9, 3.7, 1e9, 1e200]))
def test_units_never_change_an_answer(seed, scale):
    x = np.random.default_rng(seed).gamma(2.0, size=(400, 3))
    a, b = fit_tail(x, quantile=0.8), fit_tail(x * scale, quantile=0.8)
    assert np.array_equal(a.status, b.status)
    assert np.allclose(a.xi, b.xi, rtol=0, atol=1e-12)
    assert np.allclose(a.sigma * scale, b.sigma, rtol=1e-12)
    assert np.allclose(a.logsf(x[:5]), b.logsf(x[:5] * scale), rtol=1e-10)


def test_threads_do_not_change_a_bit(x):
    wide = np.random.default_rng(2).standard_exponential((800, 900))
    assert_same(fit_tail(wide, quantile=0.9, n_threads=1), fit_tail(wide, quantile=0.9, n_threads=3))


def test_order_of_samples_does_not_change_a_bit(x):
    shuffled = np.random.default_rng(3).permutation(x)
    assert_same(fit_tail(x, quantile=0.9), fit_tail(shuffled, quantile=0.9), skip=("sample", "mean", "std"))


def test_channels_are_fitted_alone(x):
    tail = fit_tail(x, quantile=0.9)
    for channel in range(5):
        assert_same(tail[channel], fit_tail(x[:, channel], quantile=0.9))


RULES = [{}, {"clean": False}, {"quantile": 0.9}, {"threshold": 2.0}, {"side": "lower"}]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("gaps", [False, True])
def test_neither_memory_nor_how_many_channels_are_looked_at_together_changes_a_bit(monkeypatch, rule, gaps):
    rng = np.random.default_rng(3)
    y = rng.standard_t(4, (400, 150))
    y[:, 40:60] = y[:, 40:60].round(1)
    y[:3, 100] = 1e3  # gross
    y[rng.random(y.shape) < 0.01 * gaps] = np.nan
    options = {"missing": "drop"} | rule
    whole = fit_tail(y, **options)
    assert_same(fit_tail(np.asfortranarray(y), **options), whole)
    assert_same(fit_tail(np.repeat(y, 2, axis=1)[:, ::2], **options), whole)
    monkeypatch.setattr(peaks, "_AT_A_TIME", 16)
    monkeypatch.setattr(peaks, "_VALUES", 1)
    assert_same(fit_tail(y, **options), whole)


def test_float32_is_computed_in_float64(x):
    narrow = x.astype(np.float32)
    a, b = fit_tail(narrow, quantile=0.9), fit_tail(narrow.astype(np.float64), quantile=0.9)
    for name in ("threshold", "xi", "sigma", "loglik"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_mean_and_std(x):
    tail = fit_tail(x, quantile=0.9)
    assert np.allclose(tail.mean, x.mean(axis=0), rtol=0, atol=1e-14)
    assert np.allclose(tail.std, x.std(axis=0, ddof=1), rtol=1e-13)


def test_without_the_sample_sf_is_never_understated(x):
    full, lean = fit_tail(x, quantile=0.9), fit_tail(x, quantile=0.9, keep_sample=False)
    assert np.all(lean.sf(x[:100]) >= full.sf(x[:100]))
    above = np.maximum(x[:100], np.nextafter(full.threshold, np.inf))
    assert np.array_equal(lean.sf(above), full.sf(above))
    known = x[:100] > lean.largest.min(axis=1)
    shares = lean.sf(x[:100], law="plug-in")
    assert np.array_equal(shares[known], full.sf(x[:100], law="plug-in")[known])
    assert np.all(shares[~known] == 1.0)


def test_statuses_of_channels():
    x = np.zeros((100, 3))
    x[:, 1] = np.arange(100) >= 95
    x[:, 2] = np.random.default_rng(0).standard_exponential(100)
    tail = fit_tail(x, quantile=0.9)
    assert tail.status.tolist() == [FitStatus.EMPTY, FitStatus.CONSTANT, FitStatus.OK]
    assert np.isnan(tail.sf([1.0, 2.0, 1.0], law="plug-in")[0])
    assert tail.sf([1.0, 2.0, 9.0])[:2].tolist() == pytest.approx([1 / 101, 1 / 101])  # by rank
    assert tail.isf(1e-3)[:2].tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("one", [True, False])
def test_load_is_what_was_saved(tmp_path, x, one):
    tail = fit_tail(x[:, 0] if one else x, quantile=0.9, side="lower")
    tail.save(tmp_path / "tail.npz")
    assert_same(tail, Tail.load(tmp_path / "tail.npz"))


@pytest.mark.parametrize("content", [b"", b"not a file of ours", b"PK\x03\x04broken"])
def test_loading_anything_else_is_an_error(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="not an evtkit file"):
        Tail.load(tmp_path / "x.npz")


def test_readonly_input_is_accepted(x):
    frozen = x[:, 0].copy()
    frozen.flags.writeable = False
    assert_same(fit_tail(frozen, quantile=0.9), fit_tail(x[:, 0], quantile=0.9))


def test_values_near_the_largest_float():
    x = np.tile([1e308, 1.7e308, 1.2e308, 1, 2, 3, 4, 5.0], 5)
    tail = fit_tail(x, n_excess=12)
    assert np.isfinite([tail.mean, tail.threshold, tail.sigma]).all()


BAD = [
    ({"x": [], "quantile": 0.9}, "not be empty"),
    ({"x": [1.0], "quantile": 0.9}, "leaves no excess"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 0.9}, "leaves no excess"),
    ({"x": [1.0, np.nan, 2.0], "quantile": 0.5}, "must be finite, got nan"),
    ({"x": [1.0, np.inf, 2.0], "quantile": 0.5}, "must be finite, got inf"),
    ({"x": [1.0, -np.inf, 2.0], "threshold": 0.5}, "must be finite, got -inf"),
    ({"x": np.zeros((2, 2, 2)), "quantile": 0.5}, "got shape"),
    ({"x": 3.0, "quantile": 0.5}, "got shape"),
    ({"x": ["a", "b"], "quantile": 0.5}, "real numbers"),
    ({"x": [1 + 2j, 3], "quantile": 0.5}, "real numbers"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 0.0}, "strictly between"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 1.0}, "strictly between"),
    ({"x": [1.0, 2.0, 3.0], "quantile": np.nan}, "strictly between"),
    ({"x": [1.0]}, "x must hold two observations"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 0.5, "n_excess": 1}, "give one of"),
    ({"x": [1.0, 2.0, 3.0], "n_excess": 3}, "n_excess of 3 observations must be an integer in .*got 3"),
    ({"x": [1.0, 2.0, 3.0], "threshold": 99.0}, "leaves no excess"),
    ({"x": [1.0, 2.0, 3.0], "threshold": np.nan}, "must be finite"),
    ({"x": [1.0, 2.0, 3.0], "threshold": [1.0, 2.0]}, "one number"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 0.5, "side": "left"}, "side must be"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 0.5, "method": "lsq"}, "method must be"),
    ({"x": [1.0, 2.0, 3.0], "quantile": 0.5, "n_threads": 0}, "n_threads"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_says_what_was_got_and_wanted(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_tail(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.sf([1.0, 2.0]), "5 channels"),
        (lambda t: t.sf(np.full(5, np.nan)), "NaN"),
        (lambda t: t.isf(1.5), r"\[0, 1\]"),
        (lambda t: t.sf(np.ones(5), law="exact"), "law must be"),
        (lambda t: t.isf(0.1, law="exact"), "law must be"),
        (lambda t: t.isf(np.nan), r"\[0, 1\]"),
        (lambda t: t.return_level(0.5), "more than one"),
        (lambda t: t.return_level(1.0), "more than one"),
        (lambda t: t.rank(np.zeros(4)), "shape"),
        (lambda t: t.rank(np.zeros(5), by="nothing"), "by must be"),
        (lambda t: t.rank(np.zeros(5), by="random"), "rng"),
        (lambda t: t[0].rank(np.zeros(1)), "several channels"),
    ],
)
def test_bad_queries(x, call, message):
    with pytest.raises(ValueError, match=message):
        call(fit_tail(x, quantile=0.9))


def test_isf_refuses_what_was_not_kept(x):
    with pytest.raises(ValueError, match="not kept"):
        fit_tail(x, quantile=0.9, keep_sample=False).isf(0.5)


def test_repr_tells_the_essentials(x):
    assert "OK" in repr(fit_tail(x[:, 0], quantile=0.9))
    assert "5 channels" in repr(fit_tail(x, quantile=0.9))


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_a_tails_intervals_are_those_of_its_parts(side):
    x = np.random.default_rng(5).standard_t(4, size=(2000, 3))
    tail = fit_tail(x, quantile=0.95, side=side)
    sign = 1.0 if side == "upper" else -1.0
    parts = return_level_interval(
        tail.excesses, 5000, rate=tail.n_excess / tail.n, threshold=sign * tail.threshold, level=0.9
    )
    found = tail.return_level(5000, interval=0.9, method="profile")
    np.testing.assert_allclose(found.estimate, tail.return_level(5000))
    low, high = (parts.lower, parts.upper) if side == "upper" else (-parts.upper, -parts.lower)
    np.testing.assert_allclose([found.lower, found.upper], [low, high], rtol=1e-12)
    assert np.all((found.lower < found.estimate) & (found.estimate < found.upper))
    assert np.array_equal(tail.xi_interval(0.9, "profile").lower, xi_interval(tail.excesses, level=0.9).lower)
    assert np.array_equal(tail.goodness_of_fit().a2, goodness_of_fit(tail.excesses).a2)


def test_several_periods_of_one_channel_and_levels_without_limits():
    x = np.random.default_rng(6).standard_exponential((1000, 2))
    tail = fit_tail(x, quantile=0.9)
    alone = tail[1].return_level([5.0, 100.0, 1e4], interval=0.95)
    assert alone.estimate.shape == alone.lower.shape == (3,)
    assert np.isnan(alone.lower[0])  # once in five observations is below the threshold: an observation
    together = tail.return_level([[100.0] * 2, [1e4] * 2], interval=0.95)
    assert together.upper.shape == (2, 2)
    np.testing.assert_array_equal(together.upper[:, 1], alone.upper[1:])


def test_an_interval_needs_a_likelihood():
    tail = fit_tail(np.random.default_rng(7).standard_exponential(500), quantile=0.9, method="pwm")
    with pytest.raises(ValueError, match="maximum-likelihood"):
        tail.return_level(1000, interval=0.95)


@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize("rule", [{"quantile": 0.9}, {"threshold": 1.0}, {"n_excess": 30}])
def test_missing_observations_are_as_if_never_made(side, rule):
    rng = np.random.default_rng(8)
    x = 2.0 * rng.standard_normal((400, 4)) + 0.5
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 2] = np.nan  # a dead channel
    whole = fit_tail(x, side=side, missing="drop", **rule)
    assert whole.n[2] == 0
    assert FitStatus(int(whole.status[2])) is FitStatus.EMPTY
    for channel in (0, 1, 3):
        column = x[~np.isnan(x[:, channel]), channel]
        alone, one = fit_tail(column, side=side, **rule), whole[channel]
        for name in ("threshold", "xi", "sigma", "n", "n_excess", "mean", "std", "mean_excess", "loglik"):
            assert getattr(one, name) == getattr(alone, name), name
        levels = np.linspace(-4.0, 9.0, 40)
        np.testing.assert_array_equal(one.sf(levels), alone.sf(levels))
        np.testing.assert_array_equal(one.isf([0.01, 0.5]), alone.isf([0.01, 0.5]))
    with pytest.raises(ValueError, match=r"x must be finite, got nan in row .*missing='drop'"):
        fit_tail(x, side=side, **rule)


def test_infinities_are_not_missing():
    with pytest.raises(ValueError, match="x must be finite, got inf in row 3"):
        fit_tail(np.array([1.0, 2.0, np.nan, np.inf, 3.0]), n_excess=1, missing="drop")


def test_without_a_rule_the_tail_is_a_tenth_but_not_much_more_than_it_takes():
    x = np.random.default_rng(9).standard_normal((40_000, 2))
    for n, excesses in ((12, 3), (20, 5), (40, 10), (100, 10), (300, 30), (1000, 50), (40_000, 200)):
        assert fit_tail(x[:n]).n_excess.tolist() == [excesses, excesses]
    x[:30_000, 0] = np.nan
    assert fit_tail(x, missing="drop").n_excess.tolist() == [100, 200]


@pytest.mark.parametrize("rule", [{"quantile": 0.9}, {}])
def test_a_few_dozen_observations_have_a_level_that_is_kept(rule):
    x = np.random.default_rng(10).gamma(0.5, size=(40, 400))
    level = fit_tail(x, **rule).isf(0.025)
    beyond = np.random.default_rng(11).gamma(0.5, size=(20_000, 1))
    assert np.all(np.isfinite(fit_tail(x, **rule).isf(1e-3)))
    assert 0.5 < np.mean(beyond > level) / 0.025 < 1.5


@pytest.mark.parametrize(
    ("place", "value", "channels", "missing", "message"),
    [(3, np.inf, 2, "raise", r"got inf in row 3 of channel 1$"), (3, np.nan, 1, "raise", r"got nan in row 3; missing="),
     (3, np.nan, 2, "raise", r"got nan in row 3 of channel 1; missing='drop' leaves NaN out$"),
     (3, -np.inf, 2, "drop", r"got -inf in row 3 of channel 1$"), (slice(None), np.nan, 2, "drop", None),
     (slice(None), np.nan, 1, "drop", r"x must hold observations, got 200 missing values a channel$")],
)  # fmt: skip
def test_what_is_not_finite_is_said_with_its_place(place, value, channels, missing, message):
    x = np.random.default_rng(0).normal(size=(200, channels))
    x[place, channels - 1] = value
    if message is None:
        assert fit_tail(x, missing=missing).n.tolist() == [200, 0]
        return
    with pytest.raises(ValueError, match=message):
        fit_tail(x, missing=missing)
