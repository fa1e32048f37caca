"""Sketches of unknown length and by key: any cut, order and tree of merges is one sketch, and one fit a key."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evtkit import GroupSketch, Spot, Tail, TailSketch, fit_tail

FIELDS = ("threshold", "xi", "sigma", "n", "n_excess", "status", "mean", "std", "loglik", "resolution")


def table(n=4000, keys=12, seed=0):
    """A long table of very unequal keys: the first has half of all rows, the last few."""
    rng = np.random.default_rng(seed)
    key = np.minimum(rng.geometric(0.5, n) - 1, keys - 1)
    return np.array([f"sensor-{k}" for k in range(keys)])[key], rng.standard_t(4, n)


def assert_like_alone(tail, keys, x, **rule):
    assert tail.names.tolist() == sorted(set(keys.tolist()))
    for i, name in enumerate(tail.names.tolist()):
        mine = x[keys == name]
        if len(mine) < 30:
            continue
        alone = fit_tail(mine, **rule)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(tail, field)[i], getattr(alone, field), err_msg=f"{name} {field}")


@pytest.mark.parametrize("rule", [{}, {"quantile": 0.9}, {"threshold": 2.0}, {"n_excess": 20}], ids=str)
def test_each_key_is_fitted_as_it_would_be_alone(rule):
    keys, x = table()
    sketch = GroupSketch()
    for block in np.array_split(np.arange(len(x)), 7):
        sketch.update(keys[block], x[block])
    assert_like_alone(sketch.fit(**rule), keys, x, **rule)


@given(st.data())
def test_any_cut_order_and_tree_give_equal_bytes(data):
    capacity = data.draw(st.sampled_from([None, 1, 3, 50]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    n = data.draw(st.integers(1, 40))
    keys = np.array(data.draw(st.lists(st.sampled_from(["a", "bb", "a long one", "é"]), min_size=n, max_size=n)))
    wide = st.floats(width=np.dtype(dtype).itemsize * 8, allow_nan=False, allow_infinity=False)
    values = st.one_of(wide, st.sampled_from([0.0, -0.0, 1.0, 1e9]), st.sampled_from([np.nan, np.inf]))
    x = data.draw(hnp.arrays(dtype, n, elements=values.map(dtype), fill=st.nothing()))

    def filled(rows) -> GroupSketch:
        sketch = GroupSketch(capacity, dtype=dtype, nonfinite="count")
        sketch.update(keys[rows], x[rows])
        return sketch

    whole = filled(np.arange(n))
    rows = np.array(data.draw(st.permutations(range(n))))
    forest = [filled(part) for part in np.split(rows, sorted(data.draw(st.lists(st.integers(0, n), max_size=5))))]
    while len(forest) > 1:
        one = forest.pop(data.draw(st.integers(0, len(forest) - 1)))
        forest[data.draw(st.integers(0, len(forest) - 1))].merge(one)
    assert pickle.dumps(forest[0]) == pickle.dumps(whole)
    assert forest[0].to_bytes() == whole.to_bytes()
    again = GroupSketch.from_bytes(whole.to_bytes())
    for name in ("keys", "count", "nonfinite_count", "mean", "variance", "minimum"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(forest[0], name), getattr(whole, name))
    for name in set(keys.tolist()):
        mine = np.sort(x[(keys == name) & np.isfinite(x)])
        assert np.array_equal(whole.largest(name), mine[-capacity:] if capacity else mine)


def test_a_loaded_sketch_goes_on_with_new_keys_as_the_saved_one(tmp_path):
    keys, x = table()
    straight, first = GroupSketch(30), GroupSketch(30)
    for sketch in (straight, first):
        sketch.update(keys[:2000], x[:2000])
    first.save(tmp_path / "s.npz")
    loaded = GroupSketch.load(tmp_path / "s.npz")
    for sketch in (straight, loaded):
        sketch.update("aaa", [5.0, 4.0])
        sketch.update(keys[2000:], x[2000:])
    assert loaded.to_bytes() == straight.to_bytes()


def test_bytes_and_memory_follow_the_data_not_the_largest_key():
    keys, x = table(200_000, keys=14)
    sketch = GroupSketch()
    sketch.update(keys, x)
    assert len(pickle.dumps(sketch)) < x.nbytes + 14 * 80 + 1000
    assert sketch.nbytes < 1.1 * x.nbytes + 14 * 300


def test_whole_numbers_are_keys_too_and_kinds_are_not_mixed():
    sketch = GroupSketch()
    sketch.update(np.array([7, 7, 3], dtype=np.uint8), [1.0, 2.0, 3.0])
    sketch.update(7, [4.0])
    assert sketch.keys.tolist() == [3, 7]
    assert sketch.count.tolist() == [1, 3]
    with pytest.raises(ValueError, match="whole numbers, as before"):
        sketch.update(["a"], [1.0])
    other = GroupSketch()
    other.update(["a"], [1.0])
    with pytest.raises(ValueError, match="kind of their keys"):
        sketch.merge(other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.update(["a", None], [1.0, 2.0]), "none missing, got NoneType, str"),
        (lambda s: s.update([1.5], [1.0]), "whole numbers"),
        (lambda s: s.update(["a"], [1.0, 2.0]), "shape"),
        (lambda s: s.update(["a"], [[1.0]]), "shape"),
        (lambda s: s.update(["a"], [np.nan]), "finite, got nan in row 0"),
        (lambda s: s.merge(GroupSketch(3)), "agree in capacity"),
        (lambda s: s.merge(s), "itself"),
        (lambda s: s.largest("z"), "was seen, got 'z'"),
        (lambda s: GroupSketch().fit(), "no observation"),
        (lambda s: GroupSketch(0), "capacity"),
        (lambda s: GroupSketch.from_bytes(b"PK"), "not an evtkit file"),
        (lambda s: GroupSketch.from_bytes(TailSketch(1, 1).to_bytes()), "not a saved GroupSketch"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(call, message):
    sketch = GroupSketch()
    sketch.update(["b", "a"], [1.0, 2.0])
    before = sketch.to_bytes()
    with pytest.raises(ValueError, match=message):
        call(sketch)
    assert sketch.to_bytes() == before


# -- rows that grow, channels side by side, states as bytes ------------------------------------------------------------


def test_a_sketch_of_unknown_length_keeps_every_fit_open():
    x = np.random.default_rng(0).standard_t(3, (3000, 9))
    parts = []
    for part in np.split(x, [10, 700]):
        parts.append(TailSketch(9))
        for block in np.split(part, range(37, len(part), 300)):
            parts[-1].update(block)
    first = parts[0]
    for other in parts[1:]:
        first.merge(TailSketch.from_bytes(other.to_bytes()))
    assert np.array_equal(first.largest(), np.sort(x, axis=0).T)
    for rule in ({}, {"quantile": 0.5}, {"n_excess": 2000}, {"threshold": -1.0}):
        mine, whole = first.fit(**rule), fit_tail(x, **rule)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(mine, field), getattr(whole, field))


@pytest.mark.parametrize("capacity", [None, 150])
def test_channels_side_by_side_are_one_sketch_and_one_tail(capacity):
    x = np.random.default_rng(1).standard_t(3, (1000, 7))
    cuts = [(0, 2), (2, 3), (3, 7)]
    whole, parts = TailSketch(7, capacity), [TailSketch(b - a, capacity) for a, b in cuts]
    whole.update(x)
    for part, (a, b) in zip(parts, cuts, strict=True):
        part.update(x[:, a:b])
    assert TailSketch.concat(parts).to_bytes() == whole.to_bytes()
    joined = Tail.concat([part.fit(quantile=0.9) for part in parts])
    wanted = whole.fit(quantile=0.9)
    for field in (*FIELDS, "largest", "excesses"):
        np.testing.assert_array_equal(getattr(joined, field), getattr(wanted, field))
    tails = [fit_tail(x[:, 0], n_excess=20), fit_tail(x[:500, 1], n_excess=10)]
    far = Tail.concat(tails).sf([20.0, 30.0])
    assert far.tolist() == [float(tails[0].sf(20.0)), float(tails[1].sf(30.0))]


def test_joined_tails_keep_what_is_the_same_in_all():
    import pandas as pd

    days = pd.date_range("2001-01-01", periods=400)
    frame = pd.DataFrame(np.random.default_rng(2).standard_t(3, (400, 3)), columns=["a", "b", "c"], index=days)
    whole = fit_tail(frame)
    joined = Tail.concat([fit_tail(frame[["a"]]), fit_tail(frame[["b", "c"]])])
    for field in (*FIELDS, "largest", "sample", "names"):
        np.testing.assert_array_equal(getattr(joined, field), getattr(whole, field))
    np.testing.assert_array_equal(joined.dates.time, whole.dates.time)
    assert joined.notes == whole.notes
    assert type(joined.sf(frame)) is pd.DataFrame
    longer = fit_tail(frame.to_numpy(), keep_sample=False)
    other = Tail.concat([fit_tail(frame.to_numpy()), longer])
    assert other.sample is other.dates is None
    later = Tail.concat([fit_tail(frame[["a"]]), fit_tail(frame[["b"]].set_axis(days + pd.Timedelta("1D")))])
    assert later.dates is None
    assert later.sample.shape == (2, 400)


def test_what_does_not_go_together_is_not_joined():
    import pandas as pd

    x = np.random.default_rng(1).standard_exponential((100, 2))
    named = fit_tail(pd.DataFrame(x, columns=["a", "b"]))
    with pytest.raises(ValueError, match="different names, got 'a', 'b' more than once"):
        Tail.concat([named, named])
    with pytest.raises(ValueError, match="all must have names"):
        Tail.concat([named, fit_tail(x)])
    with pytest.raises(ValueError, match="agree in side"):
        Tail.concat([fit_tail(x), fit_tail(x, side="lower")])
    with pytest.raises(ValueError, match="got none"):
        Tail.concat([])
    with pytest.raises(ValueError, match="got none"):
        TailSketch.concat([])
    with pytest.raises(ValueError, match="agree in capacity"):
        TailSketch.concat([TailSketch(1), TailSketch(1, 5)])


def test_a_detector_goes_on_from_its_bytes():
    x = np.random.default_rng(3).standard_exponential(4000)
    straight = Spot(risk=1e-3).fit(x[:1000])
    through = Spot.from_bytes(straight.to_bytes())
    for block in np.split(x[1000:], 30):
        labels = straight.update(block)
        assert np.array_equal(through.update(block), labels)
        through = Spot.from_bytes(through.to_bytes())
    assert through.to_bytes() == straight.to_bytes()
    with pytest.raises(ValueError, match="data is not an evtkit file"):
        Spot.from_bytes(straight.to_bytes()[:-5])


def test_it_says_how_many_keys_and_observations_it_has():
    sketch = GroupSketch()
    sketch.update([], [])
    assert repr(sketch) == "GroupSketch(0 keys, all of 0 observations each, float64)"
    sketch.update("a", [1.0, 2.0])
    assert repr(sketch) == "GroupSketch(1 key, all of 2 observations each, float64)"
    sketch.update([], np.empty(0))
    sketch.update(["b", "b"], [1.0, 2.0])
    assert repr(sketch) == "GroupSketch(2 keys, all of 2 observations each, float64)"
