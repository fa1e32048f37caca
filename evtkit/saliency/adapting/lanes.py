"""Lanes: the slices of one parameter that units are made of.

A convolution's filter is one lane of its weight, an attention head many lanes of several weights. A rule delivers one
number a lane; adding a unit's lanes is all that remains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from evtkit.saliency.adapting.arrays import NUMPY, Arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Index", "Lanes", "count_lanes"]

Index = tuple[int | slice, ...]
"""Of a lane in its parameter; basic, so that it selects a view."""


@dataclass(frozen=True, eq=False)
class Lanes:
    """How one parameter falls into units.

    Parameters
    ----------
    parameter : str
        The parameter: as attributes of its layer ("weight", "query.kernel") or, in a plan, by its full name.
    units : ndarray of int, shape (lanes,)
        Unit of every lane.
    axes : tuple of int
        Axes of the parameter that number the lanes, the last one fastest. Lane i is what is left at the i-th position
        along these axes: ``w[i]`` for (0,), ``w[..., i]`` for (-1,), one weight for all axes of a scale.
    groups : int
        The first axis falls into so many groups, which number the lanes before `axes` do: (1,) in 2 groups is a
        transposed convolution's weight (inputs, outputs / 2, ...) with its output channels as lanes.

    Examples
    --------
    >>> lanes = Lanes("weight", np.arange(4), axes=(1,), groups=2)
    >>> lanes.matrix(np.arange(12).reshape(6, 2))
    array([[ 0,  2,  4],
           [ 1,  3,  5],
           [ 6,  8, 10],
           [ 7,  9, 11]])
    >>> lanes.index(3, (6, 2))
    (slice(3, 6, None), 1)
    """

    parameter: str
    units: NDArray[np.intp]
    axes: tuple[int, ...] = (0,)
    groups: int = 1

    def of_units(self, units: NDArray[np.intp]) -> Self:
        """Return the same lanes, of other units."""
        return replace(self, units=units)

    def alike(self, other: Lanes) -> bool:
        """Whether both split the same parameter into the same units, up to where the units' numbers begin."""
        same = (self.parameter, self.axes, self.groups) == (other.parameter, other.axes, other.groups)
        return same and np.array_equal(self.units - self.units.min(), other.units - other.units.min())

    def index(self, lane: int, shape: Sequence[int]) -> Index:
        """Index of a lane in a parameter of this shape."""
        axes = _positive(self.axes, len(shape))
        group, rest = divmod(lane, len(self.units) // self.groups)
        own = dict(zip(axes, np.unravel_index(rest, [shape[axis] for axis in axes]), strict=True))
        index: list[int | slice] = [int(own[axis]) if axis in own else slice(None) for axis in range(len(shape))]
        if self.groups > 1:
            width = shape[0] // self.groups
            index[0] = slice(group * width, (group + 1) * width)
        return tuple(index)

    def matrix(self, weight: Any, arrays: Arrays = NUMPY) -> Any:
        """Arrange an array shaped like the parameter as (lanes, weights a lane)."""
        shape = tuple(weight.shape)
        axes = _positive(self.axes, len(shape))
        if self.groups > 1:
            shape = (self.groups, shape[0] // self.groups, *shape[1:])
            axes = (0, *(1 + axis for axis in axes))
            weight = arrays.reshape(weight, shape)
        order = (*axes, *(axis for axis in range(len(shape)) if axis not in axes))
        return arrays.reshape(arrays.transpose(weight, order), (len(self.units), -1))


def count_lanes(shape: Sequence[int], axes: Sequence[int], groups: int = 1) -> int:
    """Number of lanes of a parameter of this shape."""
    return groups * math.prod(int(shape[axis]) for axis in axes)


def _positive(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(axis % rank for axis in axes)
