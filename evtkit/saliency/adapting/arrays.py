"""Arrays: the little arithmetic that is done on a framework's own arrays, so that gradients flow through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["NUMPY", "Arrays"]


class Arrays:
    """NumPy arrays. A framework whose arrays are others overrides all of it, with functions it can differentiate.

    Operators (``+``, ``*``, ``/``, ``**``, ``abs``), indexing and ``shape`` must work on its arrays.
    """

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """Return x in another shape; one size may be -1."""
        return np.reshape(x, shape)

    def transpose(self, x: Any, order: Sequence[int]) -> Any:
        """Return x with its axes in another order."""
        return np.transpose(x, order)

    def cast(self, x: Any, dtype: np.dtype[Any]) -> Any:
        """Return x in float32 or float64."""
        return np.asarray(x).astype(dtype)

    def total(self, x: Any) -> Any:
        """Sum of all elements."""
        return np.sum(x)

    def sums(self, rows: Any, groups: NDArray[np.intp], count: int) -> Any:
        """Sum of rows (n, k) group by group, shape (count,)."""
        totals = np.zeros(count, dtype=rows.dtype)
        np.add.at(totals, groups, rows.sum(1))
        return totals

    def like(self, values: Any, x: Any) -> Any:
        """Return values, in the dtype (and on the device) of x."""
        return np.asarray(values).astype(x.dtype)

    def numpy(self, x: Any) -> NDArray[Any]:
        """Return x as a NumPy array of floating numbers that hold it exactly."""
        return np.asarray(x)


NUMPY = Arrays()
