"""Weighting: losses weighted by powers of two, which show whether every row was given to its own sample.

With the loss of sample i weighted by w_i, its rows of a gradient are w_i times what they were, and so is its profile.
A profile that holds a part of another sample's is not; the sum over the samples would tell nothing. Powers of two make
the factor exact, so that rounding is the same both times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BASE", "HALF_BASE", "Due", "loss_weights"]

BASE, HALF_BASE = 64, 8
"""How many exponents to use at a time; a gradient in float16 has few to spare."""

_AGAIN = 8  # checked at the 1st, 8th, 64th, … batch of a shape


def loss_weights(samples: int, base: int, seed: int) -> list[NDArray[np.float64]]:
    """Weights of the losses, shape (samples,), of as many backward passes as it takes to tell all samples apart.

    Their exponents, from -base/2, are the digits of a permutation of the samples; another seed gives another one.

    Examples
    --------
    >>> [weights.tolist() for weights in loss_weights(3, 8, seed=0)]
    [[0.25, 0.0625, 0.125]]
    """
    order = np.random.default_rng(seed).permutation(samples)
    weights = []
    while True:
        weights.append(np.exp2(order % base - base // 2).astype(np.float64))
        order = order // base
        if not order.any():
            return weights


@dataclass(eq=False)
class Due:
    """Counts the batches of one shape, and says whose rows must be looked at.

    Attributes
    ----------
    count : int
        Batches so far.
    unsettled : bool
        Whether the next one must be looked at whatever the count.
    """

    count: int = 0
    unsettled: bool = False

    def next(self, by_data: Any = False) -> bool:
        """Count a batch: whether its rows must be looked at, as they must where data move them about."""
        self.count += 1
        power = self.count
        while power % _AGAIN == 0:
            power //= _AGAIN
        return bool(by_data) or self.unsettled or power == 1
