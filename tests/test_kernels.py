"""Kernels sort as NumPy does, and free every array that they make."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evtkit import TailSketch, fit_tail
from evtkit._kernels.compress import WIDTH, keep_from
from evtkit._kernels.jit import _owns_arrays
from evtkit._kernels.select import BUCKETS, sort, sort_into
from evtkit._kernels.tiles import CHANNELS, ROWS, WIDE, turn_over
from evtkit._moments import mean_and_variance

USES = """
import numpy as np
from numba.core.runtime import rtsys
from evtkit import DSpot, Spot, TailSketch, fit_gpd, fit_tail, gev
from evtkit.intervals import xi_interval

x = np.random.default_rng(0).standard_exponential((900, 3))
uses = {
    "fit_gpd": lambda: fit_gpd(x),
    "fit_tail": lambda: fit_tail(np.round(x, 1)).sf([8.0, 8.0, 8.0]),
    "fit_gev": lambda: gev.fit_gev(x),
    "sketch": lambda: [sketch.update(x), sketch.fit()],
    "Spot": lambda: Spot(risk=1e-3).fit(x[:500]).trace(x[500:]),
    "DSpot": lambda: DSpot(risk=1e-3, depth=20).fit(x[:500, 0]).update(x[500:, 0]),
    "xi_interval": lambda: xi_interval(x),
}
for name, use in uses.items():
    sketch = TailSketch(3, 500)
    use()
    before = rtsys.get_allocation_stats()
    for _ in range(3):
        use()
    after = rtsys.get_allocation_stats()
    made, freed = after.mi_alloc - before.mi_alloc, after.mi_free - before.mi_free
    assert made == freed, f"{name} made {made} arrays and freed {freed}"
    assert made > 0, name
"""


@pytest.mark.slow
def test_kernels_free_what_they_make():
    environment = os.environ | {"NUMBA_NRT_STATS": "1", "EVTKIT_QUIET": "1"}
    done = subprocess.run([sys.executable, "-c", USES], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda kind: arrays(kind, st.integers(0, 200), elements=st.floats(allow_nan=False, width=32))
    )
)
def test_sorting_is_sorting(x):
    y = x.copy()
    sort(y)
    assert np.array_equal(y, np.sort(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("law", ["exponential", "cauchy", "ties", "equal", "tiny", "a spike", "one far out"])
def test_more_values_than_there_are_places_are_sorted(law, dtype):
    rng, n = np.random.default_rng(0), 60_000
    x = {
        "exponential": rng.standard_exponential(n), "cauchy": 1e5 * rng.standard_cauchy(n),
        "ties": rng.integers(-3, 7, n), "equal": np.full(n, 2.0), "tiny": 1e-310 * rng.standard_normal(n),
        "a spike": np.where(rng.random(n) < 0.5, 1.0, 1.0 + 1e-6 * rng.random(n)),
        "one far out": np.append(rng.random(n - 1), 1e30),
    }[law].astype(dtype)  # fmt: skip
    out, place, ends = np.empty(n, dtype), np.empty(5000, np.int32), np.empty(5000 * BUCKETS + 1, np.int32)
    sort_into(x.copy(), n, out, place, ends)
    assert np.array_equal(out, np.sort(x))


def makes(n):
    return np.empty(n)


def adds(x):
    return x[0] + x.size


def takes_the_least(x):
    return x.min()  # a method of arrays, which may make others


@pytest.mark.parametrize(("function", "owns"), [(makes, True), (takes_the_least, True), (adds, False)])
def test_references_are_counted_where_arrays_may_be_made(function, owns):
    assert _owns_arrays(function) is owns


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_block_is_turned_over_whatever_its_shape_and_memory(dtype, order):
    rng = np.random.default_rng(0)
    for rows, channels in ((1, 1), (5, 3), (16, 13), (77, CHANNELS), (ROWS, 9)):
        block = np.asarray(rng.standard_normal((rows + 2, channels + 3)).astype(dtype), order=order)
        tile, high, low = np.zeros((CHANNELS, WIDE), dtype), np.zeros(CHANNELS, dtype), np.full(CHANNELS, np.inf, dtype)
        assert turn_over(block, 2, rows, 1, channels, dtype(-1), tile, high, low)
        expected = -block[2:, 1 : 1 + channels]
        assert np.array_equal(tile[:channels, :rows], expected.T)
        assert np.array_equal(high[:channels], np.abs(expected).max(axis=0))
        assert np.array_equal(low[:channels], expected.min(axis=0))
        for bad in (np.nan, np.inf, -np.inf):
            block = block.copy(order="K")
            block[2 + rng.integers(rows), 1 + rng.integers(channels)] = bad
            high[:] = 0.0
            assert not turn_over(block, 2, rows, 1, channels, dtype(-1), tile, high, low)


@given(
    arrays(st.sampled_from([np.float32, np.float64]), st.integers(0, 70), elements=st.sampled_from([-1, 0.5, np.nan])),
    st.sampled_from([-np.inf, -1.0, 0.0, 2.0]),
    st.booleans(),
)
def test_values_from_a_pivot_on_are_kept_in_order(x, pivot, in_place):
    with np.errstate(invalid="ignore"):
        expected = x[x >= pivot]
    source = np.concatenate([x, np.zeros(WIDTH, x.dtype)])
    out = source if in_place else np.empty_like(source)
    count = keep_from(source, x.size, x.dtype.type(pivot), out)
    assert np.array_equal(out[:count], expected)


@pytest.mark.parametrize("unit", [1e-310, 5e-324, 1e-300, 1.0, 1e300])
def test_numbers_of_any_size_are_sorted(unit):
    x = np.random.default_rng(0).standard_normal(300) * unit
    out, place, ends = np.empty(300), np.empty(300, np.int32), np.empty(BUCKETS * 300 + 1, np.int32)
    sort_into(x, 300, out, place, ends)
    assert np.array_equal(out, np.sort(x))


@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1.0])
def test_a_tail_of_tiny_numbers_has_the_largest(unit):
    x = np.random.default_rng(0).standard_normal((700, 2)) * unit
    assert np.array_equal(fit_tail(x, n_excess=20).largest[:, -20:], np.sort(x, axis=0)[-20:].T)


@pytest.mark.parametrize("ascending", [False, True])
def test_a_drift_that_misleads_the_first_cuts_changes_nothing(ascending):
    """Values of the sampled rows say too little of the rest, or nearly every row has a new maximum."""
    n, k = 6_000, 300
    x = np.random.default_rng(0).standard_exponential((n, 40)) + (0.01 if ascending else -0.01) * np.arange(n)[:, None]
    x[np.arange(64) * n // 64] += 100.0 * np.arange(40)
    tail = fit_tail(x, n_excess=k, keep_sample=False)
    assert np.array_equal(tail.largest[:, -k:], np.sort(x, axis=0)[-k:].T)


def test_means_and_variances_of_many_channels_are_those_of_each():
    """In pairs of numbers, or in whole numbers: of far means, of constants, of huge and of tiny values."""
    rng = np.random.default_rng(0)
    scale = np.repeat([1.0, 1e-290, 1e250, 1e-4], 40)
    x = scale * (rng.standard_cauchy((50, 160)) + rng.choice([0.0, 1.0, 1e6, 1e12], 160))
    x[:, ::7] = x[0, ::7]
    sketch = TailSketch(160, 5)
    sketch.update(x)
    mean, variance = mean_and_variance(sketch._moments, sketch.count)
    for c in range(160):
        own = mean_and_variance(sketch._moments[c : c + 1], sketch.count[c : c + 1])
        assert (mean[c], variance[c]) == (own[0][0], own[1][0])
