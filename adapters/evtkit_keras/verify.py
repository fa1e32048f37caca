"""Verification: two samples' profiles against ordinary gradients, one sample at a time.

What a rule cannot know (a weight used where Python does not see it, a model whose samples influence each other or that
draws random numbers) shows here, once, rather than as a wrong number for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit_keras.inputs import Batch
    from evtkit_keras.profiles import Profiler

__all__ = ["verify"]

_TOLERANCE = {"float64": 1e-6, "float32": 1e-2}
_HALF_TOLERANCE = 0.3  # bfloat16 has 8 bits, and the two ways round differently through the whole network


def verify(profiler: Profiler, batch: Batch, target: Any, profile: NDArray[np.floating[Any]]) -> None:
    """Compare the first two samples' profiles with the ordinary gradient of each alone.

    Raises
    ------
    RuntimeError
        If a layer's profile differs by more than rounding.
    """
    two = min(2, batch.size)
    rows = []
    for i in range(two):
        one = slice(i, i + 1)
        label = None if target is None else target[one]
        rows.append(_reduced(profiler, profiler.gradient(batch[one], label)))
    wanted = np.stack(rows)
    layers = profiler.network.layers.values()
    types = {layer.compute_dtype for layer in layers if layer._trainable_variables}
    tolerance = max(_TOLERANCE.get(dtype, _HALF_TOLERANCE) for dtype in types)
    module = profiler.plan.units.module
    wrong = []
    for name in dict.fromkeys(module.tolist()):
        here = module == name
        error = np.abs(profile[:two, here] - wanted[:, here]).max(1)
        if np.any(error > tolerance * np.abs(wanted[:, here]).max(1)):
            wrong.append(name)
    if wrong:
        raise RuntimeError(
            f"got profiles that differ from ordinary gradients in {', '.join(wrong[:5])} ({len(wrong)} layers), "
            "wanted agreement: weights used where Python cannot see it, samples that influence each other, or a random "
            "forward pass; leave those layers out by units=, or switch off this check by verify=False"
        )


def _reduced(profiler: Profiler, gradient: dict[str, NDArray[Any]]) -> NDArray[np.floating[Any]]:
    """One number a unit, shape (units,), of an ordinary gradient given by the weights' names."""
    units = profiler.plan.units
    how = profiler.reduction
    sums = np.zeros(len(units), profiler.dtype)
    for lanes in profiler.plan.lanes:
        rows = lanes.matrix(gradient[lanes.parameter]).astype(sums.dtype)
        if how == "taylor":
            weight = profiler.network.weights[lanes.parameter].value.numpy()
            rows = rows * lanes.matrix(weight).astype(sums.dtype)
        else:
            rows = np.abs(rows) if how == "mean-abs" else np.square(rows)
        np.add.at(sums, lanes.units, rows.sum(1))
    if how == "l2":
        np.sqrt(sums, out=sums)
    return sums / units.size.astype(sums.dtype) if how == "mean-abs" else sums
