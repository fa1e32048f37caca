"""Ranking: the order, its five promises, false-discovery rate, repr."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit import Ranking, fit_tail, gpd

CHANNELS = 40


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    """Heavy, light and bounded channels, one dead, one that hardly moves."""
    rng = np.random.default_rng(5)
    x = np.stack([gpd.rvs(xi, 1.0, 2000, rng) for xi in np.linspace(-0.8, 0.8, CHANNELS)], axis=1)
    x[:, 7] = 0.0
    return x


@pytest.fixture(scope="module")
def tail(sample):
    return fit_tail(sample, quantile=0.9)


@pytest.fixture
def query(sample) -> np.ndarray:
    return np.sort(sample, axis=0)[1000].copy()


def test_pot_orders_by_tail_probability(tail):
    x = tail.threshold + np.linspace(0.1, 2.0, CHANNELS)
    ranking = tail.rank(x)
    fitted = [c for c in ranking.order if tail.is_fitted[c]]
    assert np.all(np.diff(tail.logsf(x)[fitted]) >= 0)


def test_beyond_the_endpoint_comes_first_ordered_by_excess_over_scale_by_the_plug_in_law(tail, query):
    query[0], query[1] = tail.endpoint[0] + 1.0, tail.endpoint[1] + 3.0
    query[39] = tail.isf(1e-12)[39]
    ranking = tail.rank(query, law="plug-in")
    assert ranking.order[:3].tolist() == [1, 0, 39]
    assert ranking.p_value[[0, 1]].tolist() == [0.0, 0.0]


def test_beyond_the_endpoint_a_channels_unit_does_not_matter():
    scale = np.array([1e-3, 1.0, 1e3, 1e6])
    tail = fit_tail(gpd.rvs(-0.5, 1.0, (2000, 4), 6) * scale, quantile=0.9)
    ranking = tail.rank(tail.threshold + np.array([40.0, 10.0, 30.0, 20.0]) * tail.sigma, law="plug-in")
    assert ranking.p_value.tolist() == [0.0] * 4
    assert ranking.order.tolist() == [0, 2, 3, 1]


def test_what_has_happened_is_possible(sample, tail):
    ranking = tail.rank(sample[np.argmax(sample, axis=0), np.arange(CHANNELS)])
    assert np.all(ranking.p_value[tail.is_fitted] > 1e-5)


def test_a_dead_channel_never_outranks_a_fitted_one(tail, query):
    query[7] = 1e30
    ranking = tail.rank(query)
    assert ranking.order[-1] == 7
    assert ranking.p_value[7] == 1.0
    assert 7 not in ranking.select(0.5)


def test_channels_at_or_below_the_threshold_follow_and_are_counted(tail, query):
    query[[3, 20]] = tail.threshold[[3, 20]] + [1.0, 0.01]
    query[4] = tail.threshold[4]
    ranking = tail.rank(query)
    assert ranking.n_above == 2
    assert set(ranking.top(2)) == {3, 20}
    zscore = (query - tail.mean) / tail.std.clip(1e-300)
    rest = [c for c in ranking.order[2:] if c != 7]
    assert np.all(np.diff(zscore[rest]) <= 0)


def test_ties_keep_the_order_of_channels():
    x = np.tile(np.random.default_rng(0).standard_exponential((500, 1)), (1, 30))
    tail = fit_tail(x, quantile=0.9)
    assert tail.rank(np.full(30, 9.0)).order.tolist() == list(range(30))
    assert tail.rank(np.full(30, 0.1)).order.tolist() == list(range(30))
    by_chance = tail.rank(np.full(30, 9.0), "random", rng=0)
    assert by_chance.select(0.5).tolist() == by_chance.order.tolist()  # equal probabilities, in the ranking's order


def test_ranks_survive_underflow(tail):
    x = np.where(np.arange(CHANNELS) > 22, 1e200, tail.threshold)
    x[30] = 1e250
    ranking = tail.rank(x)
    assert np.count_nonzero(ranking.p_value == 0.0) == 0 or ranking.log_sf.min() > -np.inf
    assert ranking.order[0] == np.argmin(ranking.log_sf)


@pytest.mark.parametrize(
    ("by", "score"),
    [
        ("zscore", lambda t, x: (x - t.mean) / np.where(t.std <= 1e-14, 1.0, t.std)),
        ("excess", lambda t, x: np.where(np.isnan(t.mean_excess), -np.inf, (x - t.threshold) / t.mean_excess)),
        ("gradient", lambda t, x: x),
    ],
)
def test_the_other_scores(tail, query, by, score):
    expected = score(tail, query)
    ranking = tail.rank(query, by)
    assert np.array_equal(ranking.score, expected)
    assert np.array_equal(ranking.order, np.argsort(-expected, kind="stable"))


def test_impact_is_the_value_times_its_surprise(tail, query):
    query[3], query[30], query[8] = tail.threshold[3] + 1.0, 1e9, -2.0
    ranking = tail.rank(query, "impact")
    surprise = -tail.logsf(query)
    floor = -np.log(200 / 2001)  # 199 of 2,000 lie above each threshold
    np.testing.assert_allclose(ranking.score, query * np.maximum(surprise, floor), rtol=1e-12)
    assert np.array_equal(ranking.order, np.argsort(-ranking.score, kind="stable"))
    assert ranking.score[3] > query[3] * floor
    assert ranking.score[8] == pytest.approx(-2.0 * floor)


def test_impact_ascends_with_the_value_in_every_channel(tail):
    levels = np.concatenate([np.linspace(-1.0, 3.0, 60), np.geomspace(3.1, 1e12, 60)])[:, None] * tail.threshold.max()
    score = tail.rank(np.broadcast_to(levels, (120, CHANNELS)), "impact").score
    assert np.all(np.diff(score, axis=0) > 0.0)


def test_random_is_seeded(tail, query):
    assert np.array_equal(tail.rank(query, "random", rng=1).order, tail.rank(query, "random", rng=1).order)
    assert not np.array_equal(tail.rank(query, "random", rng=1).order, tail.rank(query, "random", rng=2).order)


def test_the_spot_script_ranks_like_the_mean_excess(sample, tail, query):
    """With its wrong sign their fit is almost always exponential, and so ranks by excess over mean excess."""
    query = tail.threshold + np.random.default_rng(0).standard_exponential(CHANNELS)
    script, excess = tail.rank(query, "spot-script"), tail.rank(query, "excess")
    heavy = np.flatnonzero(tail.xi > 0.1)
    order = [c for c in script.order if c in heavy]
    assert np.mean(np.array(order) == np.array([c for c in excess.order if c in heavy])) > 0.5


def test_lower_side_ranks_the_smallest(sample):
    tail, mirrored = fit_tail(-sample, quantile=0.9, side="lower"), fit_tail(sample, quantile=0.9)
    x = sample[11]
    for by in ("pot", "zscore", "excess", "gradient", "impact"):
        assert np.array_equal(tail.rank(-x, by).order, mirrored.rank(x, by).order), by


def test_several_queries_are_ranked_apart(sample, tail):
    together = tail.rank(sample[:6])
    for i in range(6):
        alone = tail.rank(sample[i])
        assert np.array_equal(together[i].order, alone.order)
        assert together.n_above[i] == alone.n_above
    assert together.top(3).shape == (6, 3)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5))
def test_select_is_benjamini_hochberg(seed, fdr):
    """Against the definition: the largest i with p_(i) ≤ i·fdr/N."""
    rng = np.random.default_rng(seed)
    log_p = -rng.standard_exponential(50) * rng.choice([1.0, 9.0], 50)
    n = 50
    ranking = Ranking(np.arange(n), -log_p, log_p, np.exp(log_p), np.ones(n, bool), np.ones(n, bool), log_p, "pot")
    ordered = np.sort(np.exp(log_p))
    most = max((i for i in range(1, n + 1) if ordered[i - 1] <= i * fdr / n), default=0)
    chosen = ranking.select(fdr)
    assert len(chosen) == most
    assert np.array_equal(np.exp(log_p[chosen]), ordered[:most])


def test_select_takes_what_is_exactly_at_its_limit():
    log_p = np.log([0.25, 0.5])
    ranking = Ranking(np.arange(2), -log_p, log_p, np.exp(log_p), np.ones(2, bool), np.ones(2, bool), log_p, "pot")
    assert ranking.select(0.5).tolist() == [0, 1]


def test_false_discovery_rate_is_kept():
    """Queries from the same distribution as the sample: about fdr of them select anything at all."""
    rng = np.random.default_rng(8)
    tail = fit_tail(rng.standard_exponential((4000, 200)), quantile=0.9)
    ranking = tail.rank(rng.standard_exponential((400, 200)))
    hits = np.mean([len(ranking[i].select(0.1)) > 0 for i in range(400)])
    assert hits < 0.1 + 4 * np.sqrt(0.1 * 0.9 / 400)


def test_repr_and_table_are_readable(tail, query):
    query[39] = 1e300
    ranking = tail.rank(query, names=[f"filter {c}" for c in range(CHANNELS)])
    assert "filter 39" in repr(ranking)
    assert "1 above" in repr(ranking)
    assert ranking.table(3).count("\n") == 3
    assert "e-3" in tail.rank(query, law="plug-in").table(1)  # no float is so small


@pytest.mark.parametrize("k", [-1, CHANNELS + 1])
def test_top_is_within_the_channels(tail, query, k):
    with pytest.raises(ValueError, match="k must lie"):
        tail.rank(query).top(k)


@pytest.mark.parametrize("fdr", [0.0, 1.0, np.nan])
def test_fdr_is_a_rate(tail, query, fdr):
    with pytest.raises(ValueError, match="fdr"):
        tail.rank(query).select(fdr)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_are_finite(tail, query, bad):
    query[3] = bad
    with pytest.raises(ValueError, match="finite"):
        tail.rank(query)


def test_a_table_has_names_where_there_are_some_and_numbers_where_not(tail, query):
    ranking = tail.rank(query)
    named = tail.rank(query, names=[f"c{channel}" for channel in range(CHANNELS)])
    assert ranking.to_frame()["channel"].to_list() == ranking.order.tolist()
    assert named.to_frame()["channel"].to_list() == [f"c{channel}" for channel in ranking.order]
    both = tail.rank(np.stack([query, query]))
    assert both.to_frame()["channel"].to_list() == 2 * ranking.order.tolist()


def test_a_channel_at_its_threshold_has_no_surprise_beyond_its_rate(tail):
    """At the threshold no score by the tail, but an order: by the z-score, before channels without a fit."""
    ranking = tail.rank(tail.threshold)
    fitted = np.flatnonzero(tail.is_fitted)
    assert np.all(np.isneginf(ranking.score))
    assert not np.any(ranking.above)
    z = (tail.threshold[fitted] - tail.mean[fitted]) / tail.std[fitted]
    assert ranking.order[: fitted.size].tolist() == fitted[np.argsort(-z, kind="stable")].tolist()
