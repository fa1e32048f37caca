"""Input saliency: which pixels the salient units respond to (Levin et al. 2021, arXiv 2108.01335, §3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from evtkit_torch.inputs import Batch, labels_of, make_batch
from evtkit_torch.state import check_no_mixing, eager, evaluation, frozen
from evtkit_torch.verify import reduce_gradient

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.reference import Reference
    from evtkit_torch.model import TorchModel

__all__ = ["input_saliency"]

_TINY_STD = 1e-14  # a standard deviation up to this counts as 1, as in the z-score ranking


def input_saliency(
    net: TorchModel,
    x: Any,
    y: Any,
    reference: Reference,
    *,
    units: ArrayLike | None = None,
    k: int = 10,
    boost: float = 100.0,
) -> NDArray[np.floating[Any]]:
    """Where in the input a change would make the most salient units more salient still.

    The profile of a sample is standardised unit by unit, z = (s − mean)/std, and a fixed copy z' is made in which the
    chosen units' values are multiplied by `boost`. The result is ``|∂ cos(z, z')/∂x|``, a gradient of gradients, with
    the largest absolute value over the channels of each pixel. One sample at a time; costs about four passes each.

    Parameters
    ----------
    net : TorchModel
        The network.
    x : tensor, array, tuple or dict
        Samples along axis 0; the saliency is that of the first floating tensor, with channels along axis 1.
    y : array of int
        Labels, as in `TorchModel.profile`.
    reference : Reference
        From `evtkit.saliency.calibrate` on the same network: mean and standard deviation of every unit.
    units : array_like, optional
        Units to boost, as in `Units.resolve`, for instance ``ranking.top(10)``. By default each sample's own k units
        with the largest z.
    k : int
        How many, without `units`.
    boost : float
        The factor.

    Returns
    -------
    ndarray, shape (batch, height, width), or x without its channel axis
        At least 0. To be shown between its 90th and 99th percentile, see `evtkit.plot.input_saliency`.

    Raises
    ------
    ValueError
        If the reference is of other units or another reduction, x has no floating tensor of at least two axes, or k is
        out of its range.

    Examples
    --------
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
    if reference.units != net.units or reference.reduction != net.reduction:
        raise ValueError(
            f"got a reference for {reference.units!r} by {reference.reduction}, wanted this network's {net.units!r} by "
            f"{net.reduction}"
        )
    if not 1 <= k <= len(net.units):
        raise ValueError(f"got k={k}, wanted 1 to {len(net.units)}")
    check_no_mixing(net.model)
    parameter = next(net.model.parameters())
    batch = make_batch(x, parameter.device, parameter.dtype)
    target = labels_of(y, batch.size, parameter.device)
    chosen = None if units is None else torch.from_numpy(net.units.resolve(units)).to(parameter.device)
    std = np.where(reference.tail.std <= _TINY_STD, 1.0, reference.tail.std)
    mean, scale = (torch.from_numpy(a).to(parameter) for a in (reference.tail.mean, std))
    maps = []
    for i in range(batch.size):
        one = target[i : i + 1] if isinstance(target, Tensor) else target
        maps.append(_saliency(net, batch[[i]], one, mean, scale, chosen, k, boost, reference.normalize is not None))
    return torch.cat(maps).cpu().numpy()


def _saliency(
    net: TorchModel,
    batch: Batch,
    target: Any,
    mean: Tensor,
    scale: Tensor,
    chosen: Tensor | None,
    k: int,
    boost: float,
    normalize: bool,
) -> Tensor:
    """One sample's map, shape (1, ...)."""
    profiler = net._profiler
    parameters = {name: net.model.get_parameter(name) for name in profiler.plan.parameters}
    leaves: list[Tensor] = []

    def follow(value: Tensor) -> Tensor:
        if not value.is_floating_point() or value.ndim < 2 or leaves:
            return value
        leaves.append(value.detach().clone().requires_grad_(True))
        return leaves[0]

    with torch.inference_mode(False), torch.enable_grad(), eager(), evaluation(net.model):
        batch = batch.map(follow)
        if not leaves:
            raise ValueError("got no floating input of at least two axes, wanted one whose elements are to be shown")
        with frozen(net.model, parameters.values()):
            loss = profiler.losses(batch, target).sum()
            found = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
            gradient = {
                name: torch.zeros_like(parameter) if part is None else part
                for (name, parameter), part in zip(parameters.items(), found, strict=True)
            }
            profile = reduce_gradient(profiler, gradient)
            if normalize:
                profile = profile / profile.abs().mean().clamp_min(torch.finfo(profile.dtype).tiny)
            z = (profile - mean.to(profile)) / scale.to(profile)
            boosted = z.detach().clone()
            first = z.detach().sort(descending=True, stable=True).indices[:k]  # equal ones in the order of the units
            boosted[first if chosen is None else chosen] *= boost
            similarity = torch.nn.functional.cosine_similarity(z, boosted, dim=0)
            (slope,) = torch.autograd.grad(similarity, leaves, allow_unused=True)
    if slope is None:
        raise ValueError("got a profile that does not depend on the input, wanted units whose gradient does")
    return slope.abs().amax(1) if slope.ndim > 2 else slope.abs()
