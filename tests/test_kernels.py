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

from evtkit._kernels.jit import _owns_arrays
from evtkit._kernels.select import sort

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


def makes(n):
    return np.empty(n)


def adds(x):
    return x[0] + x.size


def takes_the_least(x):
    return x.min()  # a method of arrays, which may make others


@pytest.mark.parametrize(("function", "owns"), [(makes, True), (takes_the_least, True), (adds, False)])
def test_references_are_counted_where_arrays_may_be_made(function, owns):
    assert _owns_arrays(function) is owns
