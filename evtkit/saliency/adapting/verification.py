"""Verification: two samples' profiles against ordinary gradients, one sample at a time.

What a rule cannot know (a weight used where Python does not see it, samples hidden among other axes, a network whose
samples influence each other or that draws random numbers) shows here, once, rather than as a wrong number for ever.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit.saliency.adapting.batch import Batch
    from evtkit.saliency.adapting.profiler import Profiler

__all__ = ["SAMPLES", "verify"]

SAMPLES = 2
"""As many samples are checked; a single one cannot show whether samples influence each other."""

_TOLERANCE = {"float64": 1e-6, "float32": 1e-2}
_HALF_TOLERANCE = 0.3  # bfloat16 has 8 bits, and the two ways round differently through the whole network


def verify(profiler: Profiler, batch: Batch, target: Any, profile: NDArray[np.floating[Any]]) -> None:
    """Compare the first samples' profiles, taken together, with the ordinary gradient of each alone.

    Raises
    ------
    RuntimeError
        If a layer's profile differs by more than rounding.
    """
    wanted = np.stack([profiler.alone(*one) for one in islice(batch.parts(1, target), SAMPLES)])
    tolerance = max(_TOLERANCE.get(dtype, _HALF_TOLERANCE) for dtype in profiler.computes_in())
    module = profiler.plan.units.module
    wrong = []
    for name in dict.fromkeys(module.tolist()):
        here = module == name
        error = np.abs(profile[: len(wanted), here] - wanted[:, here]).max(1)
        if np.any(error > tolerance * np.abs(wanted[:, here]).max(1)):
            wrong.append(name)
    if wrong:
        raise RuntimeError(
            f"got profiles that differ from ordinary gradients in {', '.join(wrong[:5])} ({len(wrong)} layers), "
            "wanted agreement: weights used where Python cannot see it, samples that influence each other, or a random "
            "forward pass; leave those layers out by units=, or switch off this check by verify=False"
        )
