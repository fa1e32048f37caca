"""Input saliency: which pixels the salient units respond to (Levin et al. 2021, arXiv 2108.01335, §3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.reference import Reference
    from evtkit_keras.inputs import Batch
    from evtkit_keras.model import KerasModel
    from evtkit_keras.profiles import Profiler

__all__ = ["input_saliency"]

_TINY_STD = 1e-14  # a standard deviation up to this counts as 1, as in the z-score ranking


def input_saliency(
    net: KerasModel,
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
    the largest absolute value over the channels of each pixel. One sample at a time, without a graph; costs about four
    passes each.

    Parameters
    ----------
    net : KerasModel
        The network.
    x : array, tensor, or tuple, list or dict of them
        Samples along axis 0; the saliency is that of the first floating array, with channels along the last axis.
    y : array of int
        Labels, as in `KerasModel.profile`.
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
        If the reference is of other units or another reduction, x has no floating array of at least two axes, or k is
        out of its range.

    Examples
    --------
    >>> import keras
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit_keras import KerasModel
    >>> keras.utils.set_random_seed(0)
    >>> cnn = keras.Sequential([
    ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="tanh"), keras.layers.Flatten(),
    ...     keras.layers.Dense(3)])
    >>> net = KerasModel(cnn)
    >>> x, y = np.random.default_rng(0).normal(size=(64, 8, 8, 1)), np.arange(64) % 3
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
    batch, target = net._batch(x, y)
    chosen = None if units is None else net.units.resolve(units)
    profiler = net._profiler
    std = np.where(reference.tail.std <= _TINY_STD, 1.0, reference.tail.std)
    mean, scale = (tf.constant(a.astype(profiler.dtype)) for a in (reference.tail.mean, std))
    maps = []
    for part, label in batch.parts(1, target):
        normalize = reference.normalize is not None
        maps.append(_saliency(profiler, part, label, mean, scale, chosen, k, boost, normalize).numpy())
    return np.concatenate(maps)


def _saliency(
    profiler: Profiler,
    batch: Batch,
    target: Any,
    mean: Any,
    scale: Any,
    chosen: NDArray[np.intp] | None,
    k: int,
    boost: float,
    normalize: bool,
) -> Any:
    """One sample's map, shape (1, ...)."""
    weights = [profiler.network.weights[name].value for name in profiler.plan.parameters]
    leaves: list[Any] = []
    with tf.GradientTape(watch_accessed_variables=False) as outer:

        def follow(value: Any) -> Any:
            if value.dtype.is_floating and len(value.shape) > 1 and not leaves:
                leaves.append(value)
                outer.watch(value)
            return value

        batch = batch.map(follow)
        if not leaves:
            raise ValueError("got no floating input of at least two axes, wanted one whose elements are to be shown")
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            for weight in weights:
                inner.watch(weight)
            loss = tf.reduce_sum(profiler.losses(batch.inputs, target))
        slopes = inner.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        profile = _reduced(profiler, dict(zip(profiler.plan.parameters, slopes, strict=True)))
        if normalize:
            profile /= tf.maximum(tf.reduce_mean(tf.abs(profile)), np.finfo(profiler.dtype).tiny)
        z = (profile - mean) / scale
        fixed = z.numpy()
        fixed[np.argsort(-fixed, kind="stable")[:k] if chosen is None else chosen] *= boost
        similarity = tf.reduce_sum(z * fixed) / (tf.norm(z) * tf.norm(fixed))
    slope = outer.gradient(similarity, leaves[0])
    if slope is None:
        raise ValueError("got a profile that does not depend on the input, wanted units whose gradient does")
    slope = tf.abs(slope)
    return tf.reduce_max(slope, -1) if len(slope.shape) > 2 else slope


def _reduced(profiler: Profiler, gradient: dict[str, Any]) -> Any:
    """One number a unit, shape (units,), that keeps its own gradient."""
    plan, dtype = profiler.plan, tf.as_dtype(profiler.dtype)
    how = profiler.reduction
    sums = tf.zeros(len(plan.units), dtype)
    for lanes in plan.lanes:
        rows = tf.cast(lanes.matrix(tf.convert_to_tensor(gradient[lanes.parameter]), tf), dtype)
        if how == "taylor":
            weight = tf.convert_to_tensor(profiler.network.weights[lanes.parameter].value)
            rows *= tf.cast(lanes.matrix(weight, tf), dtype)
        else:
            rows = tf.abs(rows) if how == "mean-abs" else tf.square(rows)
        sums += tf.math.unsorted_segment_sum(tf.reduce_sum(rows, 1), tf.constant(lanes.units), len(plan.units))
    if how == "mean-abs":
        return sums / tf.constant(plan.units.size.astype(profiler.dtype))
    return tf.sqrt(sums) if how == "l2" else sums
