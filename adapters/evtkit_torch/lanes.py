"""Lanes: the slices of one parameter that units are made of.

A convolution's filter is one lane of its weight, an attention head many lanes of several weights. A rule delivers one
number a lane; adding a unit's lanes is all that remains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Lanes", "Layout"]

Layout = Literal["rows", "columns", "elements", "transposed"]


@dataclass(frozen=True, eq=False)
class Lanes:
    """How one parameter falls into units.

    Parameters
    ----------
    parameter : str
        The parameter's name, relative to its module or, in a plan, to the network.
    units : ndarray of int, shape (lanes,)
        Unit of every lane.
    layout : {"rows", "columns", "elements", "transposed"}
        ``rows``: lane i is ``w[i]``. ``columns``: lane i is ``w[:, i]``. ``elements``: every weight is a lane.
        ``transposed``: a transposed convolution's weight (inputs, outputs / groups, ...); lanes are output channels.
    groups : int
        Groups of a transposed convolution.
    """

    parameter: str
    units: NDArray[np.intp]
    layout: Layout = "rows"
    groups: int = 1

    @property
    def split(self) -> object:
        """What the lanes are: two of one parameter with equal splits have the same lanes."""
        return self.layout

    def of_units(self, units: NDArray[np.intp]) -> Self:
        """Return the same lanes, of other units."""
        return replace(self, units=units)

    def block(self, lane: int, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
        """Index of a lane in a parameter of this shape; basic, so that it selects a view."""
        if self.layout == "elements":
            return tuple(int(i) for i in np.unravel_index(lane, shape))
        if self.layout == "columns":
            return (slice(None), lane)
        if self.layout == "transposed":
            group, output = divmod(lane, shape[1])
            inputs = shape[0] // self.groups
            return (slice(group * inputs, (group + 1) * inputs), output)
        return (lane,)

    def matrix(self, weight: Tensor) -> Tensor:
        """Arrange a parameter-shaped tensor as (lanes, weights a lane)."""
        if self.layout == "elements":
            return weight.reshape(-1, 1)
        if self.layout == "columns":
            return weight.movedim(1, 0).flatten(1)
        if self.layout == "transposed":
            return torch.unflatten(weight, 0, (self.groups, -1)).transpose(1, 2).flatten(0, 1).flatten(1)
        return weight.reshape(weight.shape[0], -1)
