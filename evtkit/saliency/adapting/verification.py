"""Verification: two samples' profiles against ordinary gradients, one sample at a time.

What a rule cannot know (a weight used where Python does not see it, samples hidden among other axes, a network whose
samples influence each other or that draws random numbers) shows here, once, rather than as a wrong number for ever.
"""

from __future__ import annotations

import warnings
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

_TOLERANCE = {"float64": 1e-8, "float32": 2e-4}
_COARSE = 0.05  # bfloat16 has 8 bits, and the two ways round differently through the whole network


def verify(profiler: Profiler, batch: Batch, target: Any, profile: NDArray[np.floating[Any]]) -> bool:
    """Compare the first samples' profiles, taken together, with the ordinary gradient of each alone.

    Rounding is judged against the sum of absolute values, for a unit's number may cancel to nothing.

    Returns
    -------
    bool
        Whether they agree. If not, the layers that differ are taken one sample at a time from now on.

    Raises
    ------
    RuntimeError
        If a layer's profile differs by more than rounding, and there is no slower way.
    """
    tolerance = max(_TOLERANCE.get(dtype, _COARSE) for dtype in profiler.computes_in())
    wrong, units = _differing(profiler, batch, target, profile, tolerance)
    if not wrong or _agrees_exactly(profiler, batch, target, tolerance):
        return True
    if _agrees_in_double(profiler, batch, target):
        _say_if_coarse(*_differing(profiler, batch, target, profile, _COARSE))
        return True
    parameters = {lanes.parameter for lanes in profiler.plan.lanes if units[lanes.units].any()} - set(profiler.slow)
    reason = "differ from ordinary gradients otherwise"
    if parameters and profiler.fall_back(sorted(parameters), reason, batch, target):
        warnings.warn(
            f"profiles differ from ordinary gradients in {', '.join(wrong[:5])} ({len(wrong)} layers): taken one "
            "sample at a time from now on, see coverage",
            stacklevel=3,
        )
        return False
    raise RuntimeError(
        f"profiles must agree with ordinary gradients, got others in {', '.join(wrong[:5])} ({len(wrong)} layers): "
        "weights used where Python cannot see it, samples that influence each other, or a random "
        "forward pass; leave those layers out by units=, or switch off this check by verify=False"
    )


def _differing(
    profiler: Profiler, batch: Batch, target: Any, profile: NDArray[np.floating[Any]], tolerance: float
) -> tuple[list[str], NDArray[np.bool_]]:
    """Layers in which a profile of the first samples is not that of their ordinary gradients, and their units."""
    judged = [profiler.judged(*one) for one in islice(batch.parts(1, target), SAMPLES)]
    wanted, sizes = (np.stack(part) for part in zip(*judged, strict=True))
    if profiler.sizes is not None:  # what cancels among positions is not seen in a gradient that is their sum
        sizes = np.maximum(sizes, profiler.sizes[: len(sizes)])
    module = profiler.plan.units.module
    wrong, units = [], np.zeros(len(module), dtype=bool)
    for name in dict.fromkeys(module.tolist()):
        here = module == name
        error = np.abs(profile[: len(wanted), here] - wanted[:, here]).max(1)
        if np.any(error > tolerance * sizes[:, here].max(1)):
            wrong.append(name)
            units |= here
    return wrong, units


def _say_if_coarse(coarse: list[str], units: NDArray[np.bool_]) -> None:
    """Say that rounding changes profiles visibly: the same pass gives other numbers in another order of operations."""
    if coarse:
        warnings.warn(
            f"rounding alone changes profiles by more than {_COARSE:.0%} in {', '.join(coarse[:5])} ({len(coarse)} "
            "layers, whose numbers are right in double precision): gradients in this network's precision mean little "
            "there; take the network in float64, or on a GPU without TF32",
            stacklevel=4,
        )


def _agrees_exactly(profiler: Profiler, batch: Batch, target: Any, tolerance: float) -> bool:
    """Whether the two agree where a device takes no liberties with the dtype, if it takes any."""
    liberties = profiler.exactly()
    if liberties is None:
        return False
    sizes = profiler.sizes
    try:
        with liberties:
            return not _differing(profiler, batch, target, profiler.profile(batch, target), tolerance)[0]
    finally:
        profiler.sizes = sizes


def _agrees_in_double(profiler: Profiler, batch: Batch, target: Any) -> bool:
    """Whether in double precision the two agree: then they differ by rounding alone, which a deep network magnifies."""
    exact = profiler.doubled()
    if exact is None:
        return False
    size = batch.size
    while True:
        part, own = next(batch.parts(size, target))
        try:
            given = exact.batch(part.inputs)
            return not _differing(exact, given, own, exact.profile(given, own), _TOLERANCE["float64"])[0]
        except (
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:  # one may be of single precision by itself
            if size <= SAMPLES or not profiler.ran_out(error):
                return False
        size = max(SAMPLES, size // 2)
