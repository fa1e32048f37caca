"""Input saliency for Keras; `evtkit.saliency.adapting.input_saliency`, and the gradient of gradients it needs.

>>> import keras, numpy as np
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

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from evtkit.saliency.adapting import Batch, input_saliency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["input_saliency", "input_slope"]


def input_slope(
    batch: Batch,
    losses: Callable[[Batch], Any],
    weights: Mapping[str, Any],
    measure: Callable[[Mapping[str, Any]], Any],
) -> NDArray[np.floating[Any]] | None:
    """Slope along the first floating input; see `Profiler.input_slope`."""
    leaves: list[Any] = []
    with tf.GradientTape(watch_accessed_variables=False) as outer:

        def follow(value: Any) -> Any:
            if value.dtype.is_floating and len(value.shape) > 1 and not leaves:
                leaves.append(value)
                outer.watch(value)
            return value

        batch = batch.map(follow)
        if not leaves:
            raise ValueError(
                "x must have a floating input of at least two axes, whose elements are to be shown, got none"
            )
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(list(weights.values()))
            loss = tf.reduce_sum(losses(batch))
        slopes = inner.gradient(loss, list(weights.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        slopes = [tf.convert_to_tensor(slope) for slope in slopes]  # an embedding's is a list of rows
        measured = measure(dict(zip(weights, slopes, strict=True)))
    slope = outer.gradient(measured, leaves[0])
    if slope is None:
        return None
    saliency: NDArray[np.floating[Any]] = slope.numpy()
    return saliency
