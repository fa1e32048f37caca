"""What stands apart from the rest of a calibration sample."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import genpareto

import evtkit.cleaning.gross as gross
from evtkit import TailSketch, fit_gpd, fit_tail, gpd
from evtkit.cleaning import fit_censored, gross_outliers, isolated
from evtkit.cleaning.gross import count_gross, looked_at


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


def test_of_many_observations_the_wide_part_of_a_mixture_is_no_group_of_outliers():
    rng = np.random.default_rng(10_000)
    for _ in range(10):
        x = rng.standard_normal(10_000) * np.where(rng.random(10_000) < 0.1, 3.0, 1.0)
        assert isolated(x, quantile=0.8).sum() < 20


def test_data_in_uneven_steps_are_not_outliers():
    for seed in range(20):
        assert not isolated(np.log1p(np.random.default_rng(seed).poisson(3.0, 1000)), quantile=0.8).any()


def test_steps_of_the_ordinary_values_below_the_threshold_count_too():
    """A load is one, two or three steps and a little more: a group far beyond stands apart, three steps do not."""
    rng = np.random.default_rng(3)
    steps = np.repeat([1, 2, 3], [3000, 980, 20])
    x = rng.permutation(np.round(0.067 * steps + rng.choice([-0.002, 0.0, 0.002], 4000), 3))
    assert not gross_outliers(x).any()
    spoilt = np.append(x, rng.uniform(1.3, 1.6, 14).round(3))
    np.testing.assert_array_equal(gross_outliers(spoilt), spoilt > 1.0)
    tail, sketch = fit_tail(spoilt), TailSketch(1)
    sketch.update(spoilt[:, None])
    assert tail.left_out == sketch.fit().left_out[0] == 14


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
    tail = fit_tail(x, side=side, clean=False)
    (line,) = [line for line in tail.notes if "stand apart" in line]
    assert line.startswith("10 ")
    assert "clean=True" in line
    assert sign * tail.isf(1e-3) > 10.0
    cleaned = fit_tail(x, side=side, clean=True)
    assert 2.7 < sign * cleaned.isf(1e-3) < 4.2
    assert not [line for line in cleaned.notes if "clean=True" in line]


def test_a_twentieth_of_outliers_is_found_in_scores_by_rank():
    """Rows of four features, 50 of 1,049 of them moved by 8, scored by how extreme their ranks are, as ECOD does.

    Ranks of outliers among each other spread their scores widely, and the hole below them is hardly one. The best level
    flags two of the others.
    """
    found = []
    for seed in range(30, 40):
        x = np.random.default_rng(seed).standard_normal((1049, 4))
        x[:50] += 8.0
        rank = x.argsort(axis=0).argsort(axis=0) + 1.0
        score = -np.log(np.minimum(rank, 1050.0 - rank) / 1049.0).sum(axis=1)
        best = np.count_nonzero(score[:50] > np.sort(score[50:])[-3])
        level = fit_tail(score, clean=True).isf(0.01)
        found.append((np.count_nonzero(score[:50] > level), best, np.count_nonzero(score[50:] > level)))
    ours, best, others = np.mean(found, axis=0)
    assert ours >= best - 1.0
    assert others <= 15.0


@pytest.mark.parametrize(("draw", "far"), [("standard_normal", 25.0), ("standard_exponential", 200.0)])
def test_one_value_far_out_of_a_thousand_is_left_out(draw, far):
    found = [
        int(fit_tail(np.append(getattr(np.random.default_rng(seed), draw)(999), far)).left_out) for seed in range(20)
    ]
    assert np.mean(found) >= 0.8


# -- gross outliers, which every fit by the default rule leaves out ----------------------------------------------------

CLEAN = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "uniform": lambda rng, n: rng.random(n),
    "t2": lambda rng, n: rng.standard_t(2, n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "Pareto, infinite mean": lambda rng, n: rng.random(n) ** -2.0,
    "lognormal": lambda rng, n: np.exp(2.0 * rng.standard_normal(n)),
    "a tenth thrice as wide": lambda rng, n: rng.standard_normal(n) * np.where(rng.random(n) < 0.1, 3.0, 1.0),
    "a hundredth five times as wide": lambda rng, n: rng.standard_normal(n) * np.where(rng.random(n) < 0.01, 5.0, 1.0),
    "a hundredth ten times as wide": lambda rng, n: rng.standard_normal(n) * np.where(rng.random(n) < 0.01, 10.0, 1.0),
    "two modes": lambda rng, n: rng.standard_normal(n) + 10.0 * (rng.random(n) < 0.06),
    "counts": lambda rng, n: rng.poisson(0.5, n).astype(float),
    "heavy counts": lambda rng, n: np.floor(rng.random(n) ** -0.7),
    "rounded": lambda rng, n: rng.standard_exponential(n).round(1),
}


@pytest.mark.parametrize("law", CLEAN)
def test_clean_samples_lose_nothing(law):
    """Fewer than one in 90, by benchmarks/gross.py; here at most one of some hundreds, for any law."""
    for n, samples in ((60, 100), (200, 300), (1000, 100)):
        rng = np.random.default_rng(n)
        x = np.sort([CLEAN[law](rng, n) for _ in range(samples)], axis=1)
        found = count_gross(x[:, -int(looked_at(np.array(n))) - 1 :], np.full(samples, n))
        assert np.count_nonzero(found) <= 1


def spoilt(kind, rng, n):
    """Clean values, then as many gross outliers as the second number says."""
    clean = {"E": rng.standard_exponential, "N": rng.standard_normal, "t4": lambda k: rng.standard_t(4, k)}
    law, outliers = kind.split(": ")
    m = 1 if "one" in outliers else n // 100
    bad = {"1 % at 60": np.full(m, 60.0), "one at 1e6": np.array([1e6]), "1 % of 1e20": np.full(m, 1e20),
           "1 % at 8 standard deviations": 8.0 + rng.standard_normal(m),
           "two groups": np.where(np.arange(m) % 2, 60.0, 900.0) + rng.standard_normal(m)}[outliers]  # fmt: skip
    return np.concatenate([clean[law](n - m), bad]), m


@pytest.mark.parametrize("draw", ["standard_exponential", "standard_normal", "random"])
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_one_absurd_value_is_left_out_of_few(draw, n):
    found = [
        int(fit_tail(np.append(getattr(np.random.default_rng(seed), draw)(n), 1e6)).left_out) for seed in range(20)
    ]
    assert np.mean(found) >= 0.9


@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize(
    "kind",
    ["E: 1 % at 60", "N: 1 % at 60", "t4: 1 % at 60", "E: one at 1e6", "t4: one at 1e6", "N: 1 % of 1e20",
     "N: 1 % at 8 standard deviations", "E: two groups"],
)  # fmt: skip
def test_by_the_default_rule_gross_outliers_are_left_out_and_counted(kind, side):
    sign = 1.0 if side == "upper" else -1.0
    x, m = spoilt(kind, np.random.default_rng(0), 2000)
    tail, others = fit_tail(sign * x, side=side), fit_tail(sign * x[:-m], side=side, clean=False)
    assert int(tail.left_out) == m
    assert any(line.startswith(f"{m} observation") and "clean=False" in line for line in tail.notes)
    for name in ("threshold", "xi", "sigma", "n", "n_excess", "mean", "std", "largest"):
        np.testing.assert_array_equal(getattr(tail, name), getattr(others, name))
    assert tail.isf(1e-4) == others.isf(1e-4)
    body = np.quantile(
        sign * x[:-m], np.linspace(0.02, 0.98, 25)
    )  # what lies below the threshold counts without them, too
    np.testing.assert_array_equal(tail.sf(body), others.sf(body))
    textbook = fit_tail(sign * x, side=side, clean=False)
    assert int(textbook.left_out) == 0
    assert sign * textbook.isf(1e-4) > 2.0 * sign * tail.isf(1e-4)


def test_where_the_tail_begins_was_asked_for_all_values_count():
    x, _ = spoilt("E: 1 % at 60", np.random.default_rng(0), 2000)
    for rule in ({"n_excess": 50}, {"quantile": 0.975}, {"threshold": 4.0}):
        assert int(fit_tail(x, **rule).left_out) == 0


def test_channels_are_cleaned_alone_with_values_missing_or_not():
    rng = np.random.default_rng(1)
    x = rng.standard_exponential((2000, 3))
    x[:20, 1] = 60.0
    gaps = x.copy()
    gaps[100:400, 1:] = np.nan
    for sample, how in ((x, "raise"), (gaps, "drop")):
        tail = fit_tail(sample, missing=how)
        assert tail.left_out.tolist() == [0, 20, 0]
        for c in range(3):
            alone = fit_tail(sample[:, c], missing=how)
            for name in ("threshold", "xi", "n", "mean", "left_out"):
                assert getattr(tail, name)[c] == getattr(alone, name)
            body = np.linspace(0.05, 2.0, 20)
            np.testing.assert_array_equal(tail.sf(np.tile(body[:, None], 3))[:, c], alone.sf(body))
    kept = fit_tail(x, keep_sample=False)
    np.testing.assert_array_equal(kept.largest, fit_tail(x).largest)


def test_a_sketch_leaves_out_the_same():
    rng = np.random.default_rng(2)
    x = rng.standard_exponential((3000, 2))
    x[:30, 1] = 60.0 + rng.random(30)
    sketch = TailSketch(2, capacity=700)
    sketch.update(x)
    found, wanted = sketch.fit(), fit_tail(x)
    assert found.left_out.tolist() == wanted.left_out.tolist() == [0, 30]
    for name in ("threshold", "xi", "sigma", "n", "n_excess"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_allclose(found.std, wanted.std, rtol=1e-12)
    assert sketch.fit(clean=False).left_out.tolist() == [0, 0]
    with pytest.raises(ValueError, match="which a sketch does not keep"):
        sketch.fit(clean=True)


def test_what_is_not_rare_is_a_law_of_its_own():
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.standard_normal(1900), 60.0 + rng.standard_normal(100)])
    assert not gross_outliers(x).any()
    assert fit_tail(x).isf(1e-2) > 58.0
    assert isolated(x, quantile=0.8).sum() == 100


def test_units_and_order_change_no_gross_outliers():
    x, m = spoilt("N: 1 % at 60", np.random.default_rng(4), 1000)
    order = np.random.default_rng(5).permutation(1000)
    for factor, shift in ((1e-9, 0.0), (1e9, 0.0), (3.0, -7.0)):
        np.testing.assert_array_equal(np.flatnonzero(gross_outliers(factor * x + shift)), np.arange(1000 - m, 1000))
    np.testing.assert_array_equal(gross_outliers(x[order]), gross_outliers(x)[order])
    for few in (np.zeros(0), np.ones(1), np.zeros(100), np.arange(3.0), np.repeat([0.0, 1e300], [199, 1])):
        assert not gross_outliers(few).any()
    with pytest.raises(ValueError, match="x must be finite numbers in one dimension"):
        gross_outliers([1.0, np.nan])


def test_the_look_at_one_long_series_takes_little_memory_and_keeps_none():
    n = np.array([1_000_000])
    top = np.sort(np.random.default_rng(0).standard_exponential(n, dtype=np.float32))[None, -int(looked_at(n)[0]) - 1 :]
    tracemalloc.start()
    try:
        assert count_gross(top, n).tolist() == [0]
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * top.nbytes  # as double numbers, and two flags of each
    assert held < 0.1 * top.nbytes


@pytest.mark.parametrize("hole", [(60, 0), (60, 1), (58, 2), (40, 5), (61, 3)])
def test_a_holes_product_is_the_likelihood_times_chernoffs_bound(hole):
    """By its words, with scipy's law in place of shared sums: over the same shapes and scales."""
    first, inside = hole
    rng = np.random.default_rng(3)
    y = np.sort(np.concatenate([rng.exponential(size=60), [7.0, 9.0, 40.0, 41.0, 55.0, 60.0]]))
    m, median = y.size - first, y[y.size // 2]
    xi, sigma = np.broadcast_arrays(gross._XI, gross._XI / gross._T * median)
    likelihood = sum(genpareto.logpdf(one, xi, scale=sigma) for one in y[:first])
    near, far = (genpareto.logsf(y[i], xi, scale=sigma) for i in (first - 1, first + inside))
    share, empty = inside / m, -np.expm1(far - near)  # of those beyond the ordinary, in the hole: seen, and expected
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = (1.0 - share) * np.log((1.0 - share) / (1.0 - empty)) + (share * np.log(share / empty) if inside else 0)
    bound = np.where(empty > share, bound, 0.0)
    kinds = likelihood - first * np.log(-np.expm1(near)), likelihood + m * near  # truncated, censored
    products = [np.max(kind - kind.max() - m * bound) for kind in kinds]
    wanted = min(products) + 2.0 * np.log((m + 1.0) * (inside + 1.0))
    assert gross._log_p(y, [hole])[0] == pytest.approx(wanted, abs=1e-8)
