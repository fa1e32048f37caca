"""Lanes: the slices of one weight that units are made of.

A convolution's filter is one lane of its kernel, an attention head one lane of each of four. A rule delivers one number
a lane; adding a unit's lanes is all that remains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Lanes"]


@dataclass(frozen=True, eq=False)
class Lanes:
    """How one weight falls into units.

    Parameters
    ----------
    parameter : str
        The weight: as attributes of its layer ("kernel", "query_dense.kernel") or, in a plan, by its full name.
    units : ndarray of int, shape (lanes,)
        Unit of every lane.
    axes : tuple of int
        Axes of the weight that number the lanes, the last one fastest. Lane i is what is left at the i-th
        place of these axes: ``w[..., i]`` for (-1,) of a convolution's kernel, one number for all axes of a scale.
    """

    parameter: str
    units: NDArray[np.intp]
    axes: tuple[int, ...]

    @property
    def split(self) -> object:
        """What the lanes are: two of one weight with equal splits have the same lanes."""
        return self.axes

    def of_units(self, units: NDArray[np.intp]) -> Self:
        """Return the same lanes, of other units."""
        return replace(self, units=units)

    def block(self, lane: int, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
        """Index of a lane in a weight of this shape."""
        axes = self._axes(len(shape))
        place = dict(zip(axes, np.unravel_index(lane, [shape[axis] for axis in axes]), strict=True))
        return tuple(int(place[axis]) if axis in place else slice(None) for axis in range(len(shape)))

    def matrix(self, weight: Any, backend: Any = np) -> Any:
        """Arrange an array shaped like the weight as (lanes, weights a lane); a tensor with TensorFlow as backend."""
        shape = tuple(weight.shape)
        axes = self._axes(len(shape))
        order = (*axes, *(axis for axis in range(len(shape)) if axis not in axes))
        count = math.prod(shape[axis] for axis in axes)
        return backend.reshape(backend.transpose(weight, order), (count, -1))

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(axis % rank for axis in self.axes)
