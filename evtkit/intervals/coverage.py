"""How often 95 % limits held the truth in simulations, by `benchmarks/interval_coverage.py`; see docs/intervals.rst.

Means over generalised Pareto distributions with ξ from −0.2 to 0.4, of the shape, and of the level a hundred times as
rare as the threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from evtkit._common.types import Float, Int

__all__ = ["measured_coverage"]

_SIZES = np.array([10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0, 200.0, 500.0])
_LEVEL = 0.95
_MEASURED = {
    ("profile", "shape"): (0.821, 0.869, 0.894, 0.919, 0.930, 0.939, 0.937, 0.948, 0.944),
    ("profile", "level"): (0.822, 0.874, 0.893, 0.920, 0.930, 0.940, 0.937, 0.947, 0.946),
    ("bartlett", "shape"): (0.979, 0.961, 0.953, 0.957, 0.945, 0.945, 0.937, 0.948, 0.944),
    ("bartlett", "level"): (0.978, 0.957, 0.953, 0.957, 0.946, 0.946, 0.937, 0.947, 0.946),
    ("delta", "shape"): (0.613, 0.734, 0.792, 0.852, 0.892, 0.905, 0.915, 0.933, 0.937),
    ("delta", "level"): (0.500, 0.603, 0.661, 0.731, 0.798, 0.837, 0.860, 0.900, 0.923),
}


def measured_coverage(method: str, what: str, level: float, n: Int) -> Float | None:
    """The share for so many excesses, interpolated in 1/n; below 10 excesses that of 10. None for other levels."""
    if level != _LEVEL or (method, what) not in _MEASURED:
        return None
    shares = _MEASURED[method, what]
    return np.asarray(np.interp(1.0 / np.maximum(n, 1), 1.0 / _SIZES[::-1], shares[::-1]))
