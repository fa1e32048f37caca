"""Channels into rows: observations × channels, as users have them, to channels × observations, as kernels want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from evtkit._kernels.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["channel_rows"]

_TILE = 64  # rows copied together, so that a cache line is read once


def _signature(number: Any) -> Any:
    """Input may be read-only and strided, as users' arrays are."""
    columns = types.Array(number, 2, "A", readonly=True)
    return types.void(columns, types.intp, types.float64[:, ::1])


@kernel(_signature(types.float32), _signature(types.float64))
def _copy(columns, start, rows):
    """Copy the channels from `start` on into the rows of `rows` (channels, observations), in float64."""
    n = columns.shape[0]
    for top in range(0, n, _TILE):
        height = min(_TILE, n - top)
        for c in range(rows.shape[0]):
            row = rows[c]
            for r in range(height):
                row[top + r] = columns[top + r, start + c]


def channel_rows(columns: NDArray[Any], piece: slice) -> NDArray[np.float64]:
    """Some channels of observations × channels, of any numbers, as float64 rows that kernels may write to."""
    rows = np.empty((piece.stop - piece.start, columns.shape[0]))
    _copy(columns if columns.dtype == np.float32 else columns.astype(np.float64, copy=False), piece.start, rows)
    return rows
