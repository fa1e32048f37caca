"""Moments of groups of values that lie one behind the other in one row: what `sketch` does for blocks of channels."""

from __future__ import annotations

import numpy as np

from evtkit._kernels.binned import add_values, bin_of, extent, is_finite, value_of
from evtkit._kernels.jit import kernel


@kernel(
    "boolean(float32[::1], int64[::1], intp, intp, int64[:, ::1], float32[::1])",
    "boolean(float64[::1], int64[::1], intp, intp, int64[:, ::1], float64[::1])",
)
def group_moments(values, ends, start, stop, moments, low):
    """States of `binned` (groups, 19), of nothing before, and minima of groups; False if not all is finite.

    Each group ends before ends[g], and none is empty.
    """
    for g in range(start, stop):
        first = ends[g - 1] if g else np.int64(0)
        group, n = values[first : ends[g]], ends[g] - first
        magnitude, smallest = extent(group, n)
        if not is_finite(magnitude):
            return False
        add_values(group, n, bin_of(magnitude), moments[g])
        low[g] = value_of(smallest)
    return True
