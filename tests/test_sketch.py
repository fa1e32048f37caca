"""TailSketch: streaming equals batch, merged equals one, loaded equals never saved; selection kernels."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evtkit import TailSketch, fit_tail
from evtkit._kernels.binned import add_values
from evtkit._kernels.compress import WIDTH, count_from, keep_from
from evtkit._kernels.select import BUCKETS, sort_into
from evtkit._kernels.summary import summarise
from evtkit._moments import empty_state, right_bins

FIELDS = (
    "mean",
    "std",
    "threshold",
    "xi",
    "sigma",
    "n",
    "n_excess",
    "status",
    "loglik",
    "se_xi",
    "se_sigma",
    "cov",
    "largest",
)


def assert_same_fit(a, b) -> None:
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right, equal_nan=True), name


def assert_same_moments(sketch, x) -> None:
    x = x.astype(np.float64)
    spread = np.abs(x).max(axis=0) + 1e-300
    assert np.all(np.abs(sketch.mean - x.mean(axis=0)) <= 1e-12 * spread)
    assert np.allclose(sketch.variance, x.var(axis=0, ddof=1) if len(x) > 1 else 0.0, rtol=1e-12, atol=1e-300)
    assert np.array_equal(sketch.minimum, x.min(axis=0))
    assert np.all(sketch.count == len(x))


def filled(x, cuts=(), *, capacity=None, **options) -> TailSketch:
    sketch = TailSketch(x.shape[1], capacity or len(x) - int(0.9 * len(x)), dtype=x.dtype, **options)
    for block in np.split(x, cuts):
        sketch.update(block)
    return sketch


def channels(dtype, n=2000) -> np.ndarray:
    """Heavy, tied, constant, sorted, far-off and huge channels, and enough others for several tiles."""
    rng = np.random.default_rng(4)
    x = rng.standard_t(3, size=(n, 300))
    x[:, 3] = np.round(x[:, 3])
    x[:, 4] = 0.0
    x[:, 5] = np.sort(x[:, 5])
    x[:, 6] = np.sort(x[:, 6])[::-1]
    x[:, 7] += 1e6
    x[:, 8] *= 1e30
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "cuts", [(), range(1, 2000), range(64, 2000, 64), (7, 71, 72, 572), (1999,)], ids=lambda c: f"{len(c)} cuts"
)
def test_blocks_of_any_size_equal_the_whole(dtype, cuts):
    x = channels(dtype)
    sketch = filled(x, list(cuts))
    assert_same_fit(sketch.fit(quantile=0.9), fit_tail(x, quantile=0.9))
    assert_same_moments(sketch, x)


@given(
    st.integers(1, 400), st.integers(1, 12), st.integers(1, 500), st.lists(st.integers(0, 400), max_size=6),
    st.integers(0, 2**32 - 1), st.booleans(),
)  # fmt: skip
def test_the_k_largest_are_exact(n, width, capacity, cuts, seed, rounded):
    x = np.random.default_rng(seed).standard_cauchy((n, width))
    x = np.round(x) if rounded else x
    sketch = filled(x, sorted(cuts), capacity=capacity)
    assert np.array_equal(sketch.largest(), np.sort(x, axis=0)[max(0, n - capacity) :].T)
    assert_same_moments(sketch, x)


def test_long_streams_thin_their_rows_without_loss():
    x = np.random.default_rng(0).standard_exponential((30_000, 5))
    for order in (x, np.sort(x, axis=0), np.sort(x, axis=0)[::-1].copy()):
        sketch = filled(order, range(100, 30_000, 100), capacity=300)
        assert np.array_equal(sketch.largest(), np.sort(x, axis=0)[-300:].T)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_merging_in_any_order_is_one_sketch(order):
    x = channels(np.float32)
    parts = [filled(part, capacity=200) for part in np.split(x, [300, 1700])]
    first, *others = (parts[i] for i in order)
    for other in others:
        first.merge(other)
    assert_same_fit(first.fit(quantile=0.9), fit_tail(x, quantile=0.9))
    assert_same_moments(first, x)


@given(st.data())
def test_any_partition_order_and_tree_give_equal_bytes(data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    wide = st.floats(width=np.dtype(dtype).itemsize * 8, allow_nan=False, allow_infinity=False)
    values = st.one_of(wide, st.floats(-3, 3, width=32), st.sampled_from([0.0, -0.0, 1e9, 2.0**24, -(2.0**-1)]))
    x = data.draw(
        hnp.arrays(dtype, st.tuples(st.integers(1, 40), st.just(2)), elements=values.map(dtype), fill=st.nothing())
    )
    whole = TailSketch(2, 5, dtype=dtype)
    whole.update(x)
    shuffled = x[data.draw(st.permutations(range(len(x))))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=6)))
    forest = []
    for part in np.split(shuffled, cuts):
        forest.append(TailSketch(2, 5, dtype=dtype))
        forest[-1].update(part)
    while len(forest) > 1:
        one = forest.pop(data.draw(st.integers(0, len(forest) - 1)))
        forest[data.draw(st.integers(0, len(forest) - 1))].merge(one)
    assert pickle.dumps(forest[0]) == pickle.dumps(whole)
    assert np.array_equal(forest[0].mean, whole.mean)


def slices(value: float, place: int) -> tuple[int, int, int]:
    """h, m and s of one value, by rational numbers; `round` takes a half to the even neighbour."""
    rest, found = Fraction(value) * Fraction(2) ** (25 - 25 * place), []
    for _ in range(3):
        found.append(round(rest))
        rest = (rest - found[-1]) * 2**25
    return tuple(found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 37, 512])
@pytest.mark.parametrize("scale", [1.0, 2.0**24, 2.0**-26, 1e-30, 1e30, "edge", "halves", "range"])
def test_sums_of_slices_are_those_of_whole_numbers(dtype, n, scale):
    """Those of 24 bits at the edge of a bin, whose products are the largest that four of are added up, too."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal(n)
    if scale == "edge":
        x = np.sign(x) * np.where(rng.random(n) < 0.8, 2.0**24 - 1.0, 0.5 + 2.0**-24)
    elif scale == "halves":
        x = rng.integers(-9, 9, n) / 2.0 ** rng.integers(0, 52, n)
    elif scale == "range":
        x = x * 2.0 ** rng.integers(-80, 20, n)
    else:
        x = x * scale
    x = x.astype(dtype)
    place = int(right_bins(np.abs(x).max(keepdims=True))[0])
    row = empty_state(1)[0]
    add_values(x, n, place, row)
    parts = [slices(float(value), place) for value in x]
    linear = [sum(part[k] for part in parts) for k in range(3)]
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    expected = linear + [sum(part[i] * part[j] for part in parts) for i, j in pairs]
    assert [low + (high << 40) for low, high in zip(row[1::2].tolist(), row[2::2].tolist(), strict=True)] == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_are_taken_as_they_lie(dtype):
    x = channels(dtype, 300)
    wide, small = np.zeros((600, 600), dtype), np.dtype([("pad", "i1"), ("x", dtype)])
    wide[::2, ::2] = x
    packed = np.zeros(x.shape, small)
    packed["x"] = x
    read_only = x.view()
    read_only.flags.writeable = False
    for block in (np.asfortranarray(x), wide[::2, ::2], x[::-1][::-1], packed["x"], read_only, x[:, ::-1][:, ::-1]):
        assert filled(block, [70], capacity=30).to_bytes() == filled(x, capacity=30).to_bytes()


@given(
    hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-1e150, 1e150)),
    st.sampled_from([1.0, 1e-300, 1e100]),
)
def test_mean_and_variance_are_exact_to_the_bound(x, unit):
    x = x / max(1.0, float(np.abs(x).max())) * unit
    sketch = TailSketch(1, 5)
    sketch.update(x[:, None])
    exact = [Fraction(float(v)) for v in x]
    mean = sum(exact) / len(x)
    variance = sum((v - mean) ** 2 for v in exact) / (len(x) - 1)
    off = Fraction(float(np.abs(x).max())) / 2**50
    assert abs(Fraction(float(sketch.mean[0])) - mean) <= off + abs(mean) / 2**53 + Fraction(1, 2**1074)
    bound = (4 * off * Fraction(float(np.abs(x - x.mean()).max())) + 4 * off * off) * len(x)
    assert abs(Fraction(float(sketch.variance[0])) - variance) <= bound + variance / 2**52 + Fraction(1, 2**1073)


def test_merging_an_empty_sketch_changes_nothing():
    x = channels(np.float64, 300)
    sketch = filled(x)
    before = sketch.fit(quantile=0.9)
    sketch.merge(TailSketch(300, sketch.capacity))
    assert_same_fit(sketch.fit(quantile=0.9), before)
    empty = TailSketch(300, sketch.capacity)
    empty.merge(sketch)
    assert_same_fit(empty.fit(quantile=0.9), before)
    assert np.array_equal(empty.variance, sketch.variance)


def test_threads_do_not_change_a_bit():
    x = channels(np.float64)
    one, three = filled(x, [500], n_threads=1), filled(x, [500], n_threads=3)
    assert np.array_equal(one.largest(), three.largest())
    assert np.array_equal(one.variance, three.variance)


def test_a_loaded_sketch_goes_on_as_the_saved_one(tmp_path):
    x = channels(np.float32)
    straight, stopped = filled(x[:1200], [500], capacity=200), filled(x[:1200], [500], capacity=200)
    stopped.save(tmp_path / "s.npz")
    resumed = TailSketch.load(tmp_path / "s.npz")
    for sketch in (straight, resumed):
        sketch.update(x[1200:])
    assert_same_fit(resumed.fit(quantile=0.9), straight.fit(quantile=0.9))
    assert np.array_equal(resumed.variance, straight.variance)
    assert np.array_equal(resumed.mean, straight.mean)


def test_thresholds_and_numbers_of_excesses():
    x = channels(np.float64)[:, 10:]
    sketch = filled(x)
    assert_same_fit(sketch.fit(n_excess=100), fit_tail(x, n_excess=100))
    assert_same_fit(sketch.fit(threshold=5.0), fit_tail(x, threshold=5.0))
    smallest = sketch.largest()[:, 0]  # what was dropped is no larger, and so no excess
    assert np.array_equal(sketch.fit(threshold=smallest).xi, fit_tail(x, threshold=smallest).xi, equal_nan=True)


def test_ragged_channels_where_values_are_left_out():
    x = channels(np.float64)[:, :20]
    holes = np.random.default_rng(1).random(x.shape) < 0.2
    holes[:, 9:] = False
    holed = np.where(holes, np.random.default_rng(2).choice([np.nan, np.inf, -np.inf], x.shape), x)
    sketch = filled(holed, [64, 1000], capacity=250, nonfinite="count")
    assert np.array_equal(sketch.nonfinite_count, holes.sum(axis=0))
    fit = sketch.fit(quantile=0.9)
    for channel in range(20):
        alone = fit_tail(x[~holes[:, channel], channel], quantile=0.9)
        assert alone.threshold == fit.threshold[channel]
        assert np.array_equal(alone.xi, fit.xi[channel], equal_nan=True)
        assert alone.std == fit.std[channel]


def test_merged_and_loaded_sketches_know_all_that_one_would(tmp_path):
    x = channels(np.float64)[:, :20].copy()
    x[5::7, 3], x[900:, 4], x[::2, 5] = np.nan, np.inf, -np.inf
    whole = filled(x, capacity=250, nonfinite="count")
    first, second = (filled(part, capacity=250, nonfinite="count") for part in np.split(x, [700]))
    second.save(tmp_path / "second.npz")
    first.merge(TailSketch.load(tmp_path / "second.npz"))
    assert whole.nonfinite_count[3:6].all()
    for name in ("count", "nonfinite_count", "minimum"):
        np.testing.assert_array_equal(getattr(first, name), getattr(whole, name), err_msg=name)
    assert repr(first) == repr(whole)


def test_memory_grows_with_the_values_kept_and_no_further():
    sketch = TailSketch(1000, 400, dtype=np.float32)
    assert sketch.nbytes < 1000 * 200
    sizes = []
    for _ in range(50):
        sketch.update(np.random.default_rng(0).standard_exponential((100, 1000), dtype=np.float32))
        sizes.append(sketch.nbytes)
    assert sizes[-1] == sizes[10]
    assert max(sizes) < 1000 * (400 * 5 / 4 + 80 + 12) * 4 + 1000 * 24 * 8


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ([[1.0, np.nan]], "finite, got nan in row 0 of channel 1"),
        ([[1.0, 2.0], [np.inf, 2.0]], "finite, got inf in row 1 of channel 0"),
        ([[1.0, 2.0, 3.0]], "shape"),
        ([1.0, 2.0], "shape"),
        ([["a", "b"]], "real numbers"),
    ],
)
def test_bad_blocks_change_nothing(block, message):
    sketch = filled(np.random.default_rng(0).random((50, 2)), capacity=10)
    before = sketch.largest(), sketch.mean, sketch.variance, sketch.count.copy()
    with pytest.raises(ValueError, match=message):
        sketch.update(block)
    after = sketch.largest(), sketch.mean, sketch.variance, sketch.count
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.fit(quantile=0.1), "capacity must be at least .* got 10"),
        (lambda s: s.fit(n_excess=10), "capacity must be at least .* got 10"),
        (lambda s: s.fit(threshold=0.0), "larger capacity"),
        (lambda s: s.fit(threshold=7.0), "leaves no excess"),
        (lambda s: s.fit(threshold=s.largest()[:, -1]), "leaves no excess"),
        (lambda s: s.fit(quantile=0.5, n_excess=1), "give one of"),
        (lambda s: TailSketch(2, 10).fit(quantile=0.9), "no observation"),
        (lambda s: s.merge(TailSketch(3, 10)), "must agree"),
        (lambda s: s.merge(TailSketch(2, 10, dtype=np.float32)), "must agree"),
        (lambda s: s.merge(s), "itself"),
        (lambda s: TailSketch(0, 10), "n_channels"),
        (lambda s: TailSketch(2, 2.5), "capacity"),
        (lambda s: TailSketch(2, 10, dtype=np.int32), "dtype"),
        (lambda s: TailSketch(2, 10, nonfinite="drop"), "nonfinite"),
        (lambda s: TailSketch(2, 10, dtype=np.float32).update(np.zeros((1, 2))), "must be float32, .*got float64"),
    ],
)
def test_bad_requests(call, message):
    sketch = filled(np.random.default_rng(0).random((50, 2)), capacity=10)
    with pytest.raises(ValueError, match=message):
        call(sketch)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(1, 300), elements={"allow_nan": False}))
def test_sorting_kernel_sorts_anything(x):
    n, out = x.size, np.empty_like(x)
    sort_into(x, n, out, np.empty(n, np.int32), np.empty(BUCKETS * n + 1, np.int32))
    assert np.array_equal(out, np.sort(x))


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]), st.integers(1, 3000), elements=st.sampled_from([-2.0, 0.0, 0.5, 3.0])
    ),
    st.floats(0, 1),
)  # fmt: skip
def test_selection_kernel_with_many_ties(x, share):
    k = max(1, int(share * x.size))
    out, moments, everything = np.empty((1, k), x.dtype), np.zeros_like(empty_state(1)), np.empty((1, x.size), x.dtype)
    cuts = np.full(1, -np.inf, x.dtype), np.zeros(1, x.dtype)
    assert summarise(x[:, None], 0, 1, -1.0, k, out, moments, everything, *cuts)
    assert np.array_equal(out[0], np.sort(-x)[x.size - k :])
    assert np.array_equal(everything[0], -x)


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(1, 200)))
def test_filter_kernel_keeps_in_order_and_in_place(x):
    pivot = x[0] if not np.isnan(x[0]) else x.dtype.type(0)
    with np.errstate(invalid="ignore"):
        expected = x[x >= pivot]
    out = np.empty(x.size + WIDTH, x.dtype)
    assert np.array_equal(out[: keep_from(x, x.size, pivot, out)], expected)
    assert count_from(x, x.size, pivot) == expected.size
    out[: x.size] = x
    assert np.array_equal(out[: keep_from(out, x.size, pivot, out)], expected)


def test_memory_grows_with_what_is_kept():
    assert TailSketch(100, 1_000_000_000).nbytes <= 100 * 200  # 25 numbers a channel
    sketch, sizes = TailSketch(10, 10_000), []
    for _ in range(30):
        sketch.update(np.random.default_rng(0).standard_exponential((100, 10)))
        sizes.append(sketch.nbytes)
    assert sizes[0] < 10 * 1000 * 8
    assert sizes[-1] < 2 * 10 * 3500 * 8
    assert len(set(sizes)) < 8  # doubled, not moved at every block


def _filled(order, blocks, **options):
    x = np.random.default_rng(3).standard_normal((400, 3))[order]
    sketch = TailSketch(3, 50, **options)
    for block in np.split(x, blocks):
        sketch.update(block)
    return sketch


def test_pickles_hold_what_save_writes_and_nothing_else():
    one = _filled(np.arange(400), [400])
    again = _filled(np.arange(400), [400])
    junk = np.full((3, 5000), 1e300)  # for the allocator to hand out
    del junk
    data = pickle.dumps(one)
    assert data == pickle.dumps(again) == pickle.dumps(pickle.loads(data)) == pickle.dumps(copy.deepcopy(one))
    assert len(data) < 3 * 50 * 8 + 1500
    other = pickle.loads(data)
    for sketch in (one, other):
        sketch.update(np.random.default_rng(4).standard_normal((200, 3)))
    assert np.array_equal(one.largest(), other.largest())
    assert np.array_equal(one.mean, other.mean)
    assert np.array_equal(one.variance, other.variance)
    assert pickle.loads(pickle.dumps(_filled(np.arange(400), [1, 399], n_threads=2))).n_threads == 2
