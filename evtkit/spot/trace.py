"""Trace: what a stream looked like to its detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evtkit._common.types import Float

__all__ = ["Trace"]


class Trace(NamedTuple):
    """What a stream looked like to its detector, one row an observation; see `Spot.trace`."""

    label: NDArray[np.int8]
    """As `Spot.update` returns it."""
    alarm_threshold: Float
    """The alarm level by which the observation was judged, shaped as `Spot.alarm_threshold` with time in front."""
    log_probability: Float
    """Logarithm of `Spot.probability` of the observation, by the same model."""
