"""Input saliency: which pixels the salient units respond to, after Levin et al. (2021, arXiv 2108.01335, §3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evtkit.saliency.adapting.reduction import reduce_gradient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.adapting.model import NetworkModel
    from evtkit.saliency.adapting.profiler import Profiler
    from evtkit.saliency.reference import Reference

__all__ = ["input_saliency"]

_TINY_STD = 1e-14  # a standard deviation up to this counts as 1, as in the z-score ranking


def input_saliency(
    net: NetworkModel,
    x: Any,
    y: Any,
    reference: Reference,
    *,
    units: ArrayLike | None = None,
    k: int = 10,
    boost: float = 100.0,
    channels: Literal["largest", "signed"] = "largest",
) -> NDArray[np.floating[Any]]:
    """Where in the input a change would make the most salient units more salient still.

    The profile of a sample is standardised unit by unit, z = (s − mean)/std, and a fixed copy z' is made in which the
    chosen units' values are multiplied by `boost`. The result is ``|∂ cos(z, z')/∂x|``, a gradient of gradients, one
    number a pixel. One sample at a time; costs about four passes each.

    Levin et al. (2021, arXiv 2108.01335, §3.2) do so with mean absolute gradients that are not normalised, and take
    the channels with their signs: theirs is the quantity for a network with ``reduction="mean-abs"``, a reference of
    ``normalize=None``, and ``channels="signed"``. The defaults are evtkit's own: Taylor saliency, in which "more
    salient" is a larger fall of the loss, and every channel by its size.

    Parameters
    ----------
    net : TorchModel or KerasModel
        The network.
    x : array, tensor, or tuple, list or dict of them
        Samples along axis 0; the saliency is that of the first floating array, with channels where the framework has
        them by default: along axis 1 in PyTorch, along the last axis in Keras.
    y : array of int
        Labels, as in `NetworkModel.profile`.
    reference : Reference
        From `evtkit.saliency.calibrate` on the same network: mean and standard deviation of every unit.
    units : array_like, optional
        Units to boost, as in `Units.resolve`, for instance ``ranking.top(10)``. By default each sample's own k units
        with the largest z.
    k : int
        How many, without `units`.
    boost : float
        The factor.
    channels : {"largest", "signed"}
        How a pixel's channels become one number: the largest absolute slope; or the absolute value of the largest
        slope, sign and all, as Levin et al. take it.

    Returns
    -------
    ndarray, shape (batch, height, width), or x without its channel axis
        At least 0. To be shown between its 90th and 99th percentile, see `evtkit.plot.input_saliency`.

    Raises
    ------
    ValueError
        If the reference is of other units or another reduction, channels is neither, x has no floating array of at
        least two axes, or k is out of its range.
    """
    if reference.units != net.units or reference.reduction != net.reduction:
        raise ValueError(
            f"reference must be for this network's {net.units!r} by {net.reduction}, "
            f"got {reference.units!r} by {reference.reduction}"
        )
    if units is None and not 1 <= k <= len(net.units):
        raise ValueError(f"k must lie in [1, {len(net.units)}], got {k}")
    if channels not in ("largest", "signed"):
        raise ValueError(f"channels must be 'largest' or 'signed', got {channels!r}")
    profiler = net.profiler
    chosen = None if units is None else net.units.resolve(units)
    batch = profiler.batch(x)
    target = profiler.targets(y, batch.size)
    similarity = _Similarity(profiler, reference, chosen, k, boost)
    maps = [profiler.input_slope(*one, similarity) for one in batch.parts(1, target)]
    if any(slope is None for slope in maps):
        raise ValueError("units must have a gradient that depends on the input, got a profile that does not")
    slopes: NDArray[np.floating[Any]] = np.concatenate(maps)
    axis = profiler.channel_axis
    if slopes.ndim < 3:  # no channels
        return np.asarray(np.abs(slopes))
    return np.asarray(np.abs(slopes.max(axis)) if channels == "signed" else np.abs(slopes).max(axis))


class _Similarity:
    """Cosine of a sample's standardised profile and its boosted copy, as a function of its ordinary gradient."""

    def __init__(
        self, profiler: Profiler, reference: Reference, chosen: NDArray[np.intp] | None, k: int, boost: float
    ) -> None:
        std = reference.tail.std
        self._mean, self._std = reference.tail.mean, np.where(std <= _TINY_STD, 1.0, std)
        self._normalize = reference.normalize is not None
        self._profiler, self._chosen, self._k, self._boost = profiler, chosen, k, boost

    def __call__(self, gradient: Mapping[str, Any]) -> Any:
        network, plan = self._profiler.network, self._profiler.plan
        arrays, dtype = network.arrays, self._profiler.dtype
        weights = network.weights(plan.parameters)
        profile = reduce_gradient(plan, self._profiler.reduction, gradient, weights, dtype, arrays)
        tiny = float(np.finfo(dtype).tiny)
        if self._normalize:
            size = arrays.total(abs(profile)) / len(plan.units)
            profile = profile / (size if float(arrays.numpy(size)) > tiny else tiny)
        z = (profile - arrays.like(self._mean, profile)) / arrays.like(self._std, profile)
        boosted = np.array(arrays.numpy(z))
        chosen = np.argsort(-boosted, kind="stable")[: self._k] if self._chosen is None else self._chosen
        boosted[chosen] *= self._boost
        fixed = arrays.like(boosted, z)
        return arrays.total(z * fixed) / (arrays.total(z * z) * arrays.total(fixed * fixed)) ** 0.5
