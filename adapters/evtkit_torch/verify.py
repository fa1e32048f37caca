"""Verification: two samples' profiles against ordinary gradients, one sample at a time.

What a rule cannot know (a weight that enters an autograd function of its own, a batch hidden among other axes, a
model whose samples influence each other) shows here, once, rather than as a wrong number for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evtkit_torch.profiles import Profiler, ordinary_gradient

if TYPE_CHECKING:
    from evtkit_torch.inputs import Batch

__all__ = ["reduce_gradient", "verify"]

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}
_HALF_TOLERANCE = 0.3  # bfloat16 has 8 bits, and the two ways round differently through the whole network


def reduce_gradient(profiler: Profiler, gradient: dict[str, Tensor]) -> Tensor:
    """One number a unit, shape (units,), of an ordinary gradient given by parameter name."""
    units = profiler.plan.units
    how = profiler.reduction
    some = next(iter(gradient.values()))
    sums = torch.zeros(
        len(units), dtype=torch.float64 if some.dtype == torch.float64 else torch.float32, device=some.device
    )
    for lanes in profiler.plan.lanes:
        rows = lanes.matrix(gradient[lanes.parameter].to(sums.dtype))
        if how == "taylor":
            rows = rows * lanes.matrix(profiler.model.get_parameter(lanes.parameter).detach().to(sums.dtype))
        else:
            rows = rows.abs() if how == "mean-abs" else rows.square()
        sums.index_add_(0, torch.from_numpy(lanes.units).to(sums.device), rows.sum(1))
    if how == "mean-abs":
        return sums / torch.from_numpy(units.size.copy()).to(sums)
    return sums.sqrt() if how == "l2" else sums


def verify(profiler: Profiler, batch: Batch, target: Any) -> None:
    """Compare the profiles of two samples, taken together, with the ordinary gradient of each alone.

    Raises
    ------
    RuntimeError
        If a module's profile differs by more than rounding.
    """
    two = [0, min(1, batch.size - 1)]
    targets = target[two] if isinstance(target, Tensor) else target
    profile = profiler.profile(batch[two], targets)
    parameters = profiler.plan.parameters
    rows = []
    for i in range(2):
        alone = targets[i : i + 1] if isinstance(targets, Tensor) else targets
        rows.append(reduce_gradient(profiler, ordinary_gradient(profiler, batch[[two[i]]], alone, parameters)))
    wanted = torch.stack(rows).to(profile)
    weights = profiler.model.get_parameter(parameters[0]).dtype
    tolerance = (
        _HALF_TOLERANCE
        if profiler.autocast or torch.is_autocast_enabled(profile.device.type)
        else _TOLERANCE.get(weights, _HALF_TOLERANCE)
    )
    module = profiler.plan.units.module
    wrong = []
    for name in dict.fromkeys(module.tolist()):
        here = torch.from_numpy(module == name).to(profile.device)
        error = (profile[:, here] - wanted[:, here]).abs().amax(1)
        if bool((error > tolerance * wanted[:, here].abs().amax(1)).any()):
            wrong.append(name)
    if wrong:
        raise RuntimeError(
            f"got profiles that differ from ordinary gradients in {', '.join(wrong[:5])} ({len(wrong)} modules), "
            "wanted agreement: weights used where Python cannot see it, samples that influence each other, or a random "
            "forward pass; leave those modules out by units=, or switch off this check by verify=False"
        )
