"""Input saliency for PyTorch; `evtkit.saliency.adapting.input_saliency`, and the gradient of gradients it needs.

>>> import torch
>>> from evtkit.saliency import Batches, calibrate
>>> from evtkit_torch import TorchModel
>>> _ = torch.manual_seed(0)
>>> cnn = torch.nn.Sequential(
...     torch.nn.Conv2d(1, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 3)).eval()
>>> net, x, y = TorchModel(cnn), torch.randn(64, 1, 8, 8), torch.arange(64) % 3
>>> input_saliency(net, x[:2], y[:2], calibrate(net, Batches(x, y), progress=False), k=1).shape
(2, 8, 8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from evtkit.saliency.adapting import Batch, input_saliency
from evtkit_torch.state import eager, evaluation, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["input_saliency", "input_slope"]


def input_slope(
    model: nn.Module,
    batch: Batch,
    losses: Callable[[Batch], Tensor],
    parameters: Mapping[str, Tensor],
    measure: Callable[[Mapping[str, Tensor]], Tensor],
) -> NDArray[np.floating[Any]] | None:
    """Slope along the first floating input; see `Profiler.input_slope`."""
    leaves: list[Tensor] = []

    def follow(value: Tensor) -> Tensor:
        if not value.is_floating_point() or value.ndim < 2 or leaves:
            return value
        leaves.append(value.detach().clone().requires_grad_(True))
        return leaves[0]

    with torch.inference_mode(False), torch.enable_grad(), eager(), evaluation(model):
        batch = batch.map(follow)
        if not leaves:
            raise ValueError(
                "x must have a floating input of at least two axes, whose elements are to be shown, got none"
            )
        with frozen(model, parameters.values()):
            values = list(parameters.values())
            found = torch.autograd.grad(losses(batch).sum(), values, create_graph=True, allow_unused=True)
            pairs = zip(parameters.items(), found, strict=True)
            gradient = {name: torch.zeros_like(own) if part is None else part for (name, own), part in pairs}
            (slope,) = torch.autograd.grad(measure(gradient), leaves, allow_unused=True)
    if slope is None:
        return None
    return (slope if slope.dtype == torch.float64 else slope.float()).cpu().numpy()
