"""Activations: what layers put out on a forward pass, a mean and a mean size for every unit and sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from evtkit.saliency.adapting.plan import Plan
    from evtkit_keras.capture import Call

__all__ = ["unit_activations"]

_KINDS = ("filters", "rows", "channels")


def unit_activations(calls: Iterable[Call], plan: Plan, size: int) -> NDArray[np.float64]:
    """(samples, units, 2) of the layers' calls; NaN for units whose layer was not called with so many samples.

    A layer that is called more than once counts by its mean.
    """
    total = np.zeros((size, len(plan.units), 2))
    count = np.zeros(len(plan.units))
    kinds = np.isin(plan.units.kind, _KINDS)
    by_name = {lanes.parameter: lanes.units for lanes in plan.lanes if kinds[lanes.units].all()}
    for call in calls:
        units, y = by_name.get(call.parameter), call.output
        if units is None or not hasattr(y, "numpy") or len(y.shape) < 2 or y.shape[0] != size:
            continue
        axis = 1 if getattr(call.layer, "data_format", None) == "channels_first" else len(y.shape) - 1
        if y.shape[axis] != len(units) or len(np.unique(units)) != len(units):
            continue
        y = tf.cast(y, tf.float32)
        others = [i for i in range(1, len(y.shape)) if i != axis]
        both = [tf.reduce_mean(part, axis=others).numpy() for part in (y, tf.abs(y))]
        total[:, units] += np.stack(both, axis=2)
        count[units] += 1
    with np.errstate(invalid="ignore"):
        out: NDArray[np.float64] = total / np.where(count, count, np.nan)[:, None]
    return out
