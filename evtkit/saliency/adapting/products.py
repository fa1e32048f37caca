"""Products: sums over a layer's output times its gradient in one pass, where Numba is installed.

A framework's own operations take five passes for the same numbers. Adapters work without this, for they work without
Numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["one_pass"]


def one_pass(kind: str) -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]] | None:
    """A function that sums products over positions, or None without Numba.

    Parameters
    ----------
    kind : {"channels", "features"}
        Arrays are (m, channels, positions), or (m, positions, features).

    Returns
    -------
    callable or None
        ``sums(y, g, bias) -> (sums, sizes)``, of C-contiguous arrays of one dtype, float32 or float64: Σ (y − b) · g
        and Σ abs((y − b) · g) over the positions, both (m, channels or features). The bias may be None.

    Examples
    --------
    >>> import numpy as np
    >>> y, g = np.array([[[3.0, 1.0]]]), np.array([[[2.0, -1.0]]])
    >>> sums, sizes = one_pass("channels")(y, g, np.array([2.0]))
    >>> sums.item(), sizes.item()
    (3.0, 3.0)
    """
    try:
        from evtkit._kernels.products import channel_sums, feature_sums  # deferred: compiled
    except ImportError:
        return None
    kernel, axis = {"channels": (channel_sums, 1), "features": (feature_sums, 2)}[kind]

    def sums(y: NDArray[Any], g: NDArray[Any], bias: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any]]:
        size = y.shape[axis]
        found = np.empty((2, len(y), size))
        kernel(y, g, np.zeros(size) if bias is None else bias.astype(np.float64), found[0], found[1])
        return found[0], found[1]

    return sums
