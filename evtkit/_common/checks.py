"""Checks that arguments are what they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.frames import unlabelled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["real_array"]


def real_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """Values, also of data frames, as an array of floats (float32 stays float32), or a ValueError that names them."""
    array = np.asarray(unlabelled(values, name))
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    if array.dtype.kind not in "iuf" and not (array.dtype == object and array.size):
        raise ValueError(f"{name} must be real numbers, got an array of dtype {array.dtype}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be real numbers, got {array.flat[0]!r} of {type(array.flat[0]).__name__}"
        ) from None
