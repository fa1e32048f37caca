"""Rankings of units: the defects of the first published code must not be here, end to end."""

from dataclasses import fields

import numpy as np
import pytest

from evtkit import Tail, fit_tail, gpd
from evtkit.saliency import Reference, Units
from evtkit.saliency.toy import Toy, samples


def made(x, quantile=0.9, **options):
    n = x.shape[1]
    units = Units([f"layer{j // 4 + 1}.conv" for j in range(n)], ["filters"] * n, range(n), [9] * n,
                  [f"layer{j // 4 + 1}" for j in range(n)])  # fmt: skip
    return Reference(fit_tail(x, quantile=quantile, keep_sample=False), units, quantile, **options)


def usual(n=400, units=8, seed=0):
    return np.random.default_rng(seed).exponential(size=(n, units))


def test_pot_ranking_equals_sorting_the_tail_probabilities():
    reference = made(gpd.rvs(0.2, 1.0, (500, 8), 0))
    profile = reference.tail.threshold + np.array([3.0, 1.0, 5.0, 0.5, 8.0, 2.0, 13.0, 0.1])
    t = reference.tail
    p = t.n_excess / t.n * (1 + t.xi * (profile - t.threshold) / t.sigma) ** (-1 / t.xi)
    ranking = reference.rank(profile, "pot", law="plug-in")
    assert ranking.order.tolist() == np.argsort(p, kind="stable").tolist()
    np.testing.assert_allclose(ranking.p_value, p)
    np.testing.assert_array_equal(reference.rank(profile, "pot").p_value, t.sf(profile))


@pytest.mark.parametrize("by", ["pot", "excess", "spot-script"])
def test_a_dead_unit_never_outranks_a_fitted_one(by):
    x = usual()
    x[:, 3] = 0.0
    reference = made(x)
    for value in (0.0, 1e-9, 1e9):
        profile = np.zeros(8)
        profile[3] = value
        ranking = reference.rank(profile, by)
        assert ranking.order[-1] == 3
        assert ranking.p_value[3] == 1.0
        assert 3 not in ranking.select(0.5)


def test_values_beyond_the_endpoint_come_first_by_how_far():
    reference = made(np.random.default_rng(0).uniform(size=(500, 8)))
    assert np.all(reference.tail.xi < 0)
    profile = np.full(8, 0.99)
    profile[[2, 5]] = 50.0, 80.0
    ranking = reference.rank(profile, "pot")
    assert ranking.order[:2].tolist() == [5, 2]
    assert 0.0 < ranking.p_value[5] < ranking.p_value[2] < 1e-6
    published = reference.rank(profile, "pot", law="plug-in")
    assert published.order[:2].tolist() == [5, 2]
    assert published.p_value[5] == published.p_value[2] == 0.0


def test_fewer_than_k_above_the_threshold_is_said():
    reference = made(usual())
    profile = reference.tail.threshold.copy()
    profile[:3] += 1.0
    ranking = reference.rank(profile, "pot")
    assert ranking.n_above == 3
    assert set(ranking.top(3)) == {0, 1, 2}
    assert len(ranking.top(6)) == 6
    assert ranking.table(6).count("≤ u") == 3


@pytest.mark.parametrize("by", ["pot", "impact"])
def test_ties_keep_the_order_of_the_units(by):
    column = usual(units=1)
    reference = made(np.repeat(column, 8, axis=1))
    for value in (0.1, 4.0):
        assert reference.rank(np.full(8, value), by).order.tolist() == list(range(8))
    assert reference.rank(np.full((5, 8), 4.0), by).order.tolist() == list(range(8))


def test_a_calibration_value_at_the_threshold_is_not_above_it():
    net, (x, y) = Toy(), samples(300)
    for normalize in (None, "sample"):
        from evtkit.saliency import Batches, calibrate

        reference = calibrate(net, Batches(x, y, 50), normalize=normalize, progress=False)
        each = reference.rank(net.profile(x, y), combine="each")
        assert np.array_equal(np.count_nonzero(each.above, axis=0), np.where(each.fitted, reference.tail.n_excess, 0))


def test_one_sample_ranks_alike_with_and_without_its_batch_axis(reference):
    profile = Toy().profile(*samples(1, seed=3))
    for by in ("pot", "zscore", "excess", "spot-script", "gradient", "impact"):
        assert np.array_equal(reference.rank(profile, by).order, reference.rank(profile[0], by).order)


def test_rankings_apart_are_the_single_ones(reference):
    profiles = Toy().profile(*samples(6, seed=3))
    each = reference.rank(profiles, combine="each")
    for i, profile in enumerate(profiles):
        one = reference.rank(profile)
        assert np.array_equal(each[i].order, one.order)
        assert each[i].table(12) == one.table(12)


def test_saved_and_loaded_is_equal_and_executes_nothing(tmp_path, reference):
    path = tmp_path / "reference.npz"
    reference.save(path)
    loaded = Reference.load(path)
    assert loaded.units == reference.units
    for part in fields(Tail):
        a, b = getattr(reference.tail, part.name), getattr(loaded.tail, part.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b, equal_nan=True)
        else:
            assert a == b
    own = [part.name for part in fields(Reference) if part.name not in ("tail", "units", "mistakes", "activations")]
    assert np.array_equal(reference.mistakes, loaded.mistakes)
    assert np.array_equal(reference.activations, loaded.activations)
    assert [getattr(reference, name) for name in own] == [getattr(loaded, name) for name in own]
    assert repr(reference) == repr(loaded)
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_enrichment_is_the_ratio_of_shares(reference):
    from scipy.stats import hypergeom

    ranking = reference.rank(Toy().profile(*samples(1, seed=4)))
    found = ranking.enrichment(5)
    column = ranking.units.stage
    for group, n_units, n_top, ratio, p in zip(
        found.group, found.n_units, found.n_top, found.ratio, found.p_value, strict=True
    ):
        inside = np.count_nonzero(column[ranking.top(5)] == group)
        assert (n_units, n_top) == (np.count_nonzero(column == group), inside)
        assert ratio == pytest.approx((inside / 5) / (n_units / 12))
        assert p == pytest.approx(sum(hypergeom.pmf(range(inside, 6), 12, n_units, 5)))
    assert ranking.enrichment(12, "module").ratio == pytest.approx(np.ones(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.rank(np.zeros(11)), r"profile must have shape \(12,\).* got \(11,\)"),
        (lambda r: r.rank(np.zeros((2, 2, 12))), "profile must have shape"),
        (lambda r: r.rank(np.zeros((0, 12))), "profile must have shape"),
        (lambda r: r.rank(np.full(12, np.nan)), "got NaN or inf"),
        (lambda r: r.rank(["a"] * 12), "real numbers"),
        (lambda r: r.rank(np.zeros(12), "magic"), "got 'magic'"),
        (lambda r: r.rank(np.zeros(12), "random"), "needs rng"),
        (lambda r: r.rank(np.zeros((3, 12)), combine="magic"), "combine must .*got 'magic'"),
        (lambda r: r.rank(np.zeros((3, 12)), "zscore", combine="fisher"), "by must be 'pot'"),
        (lambda r: r.rank(np.zeros((3, 12)), correct=np.zeros((3, 12))), "combine must be 'exceedance'"),
        (lambda r: r.rank(np.zeros((3, 12)), combine="exceedance", correct=np.zeros(3)), "correct profiles"),
        (lambda r: r.rank(np.zeros(12)).enrichment(13), "k must .*got 13"),
        (lambda r: r.rank(np.zeros(12)).enrichment(3, "size"), "by must .*got 'size'"),
        (lambda r: r.rank(np.zeros((3, 12)), combine="each").enrichment(3), "needs one ranking, got 3"),
        (lambda r: Reference(r.tail, r.units[:3], 0.9), "got 12 channels for 3 units"),
    ],
)
def test_bad_input_is_refused(reference, call, message):
    with pytest.raises(ValueError, match=message):
        call(reference)


def test_a_file_of_something_else_is_refused(tmp_path, reference):
    reference.tail.save(tmp_path / "tail.npz")
    with pytest.raises(ValueError, match="not a saved Reference"):
        Reference.load(tmp_path / "tail.npz")
