"""Networks in Keras as the examples, tests and benchmarks use them, and their weights from published files.

The residual networks are those of `networks`, layer for layer and under the same names, so that the same weights make
the same network in both frameworks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["load_h5", "load_torch", "resnet8", "resnet18", "resnet50", "standardise_imagenet"]

layers = keras.layers


def _conv(x: Any, name: str, filters: int, kernel: int, stride: int = 1) -> Any:
    """A convolution without bias, padded by half the kernel on both sides, whatever the stride."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x)
    return layers.Conv2D(filters, kernel, stride, use_bias=False, name=name)(x)


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(epsilon=1e-5, name=name)(x)


def _residual(depths: list[int], bottleneck: bool, classes: int, small: bool, size: int | None) -> Any:
    x = images = keras.Input((size, size, 3))
    x = layers.ReLU()(_norm(_conv(x, "conv1", 64, 3) if small else _conv(x, "conv1", 64, 7, 2), "bn1"))
    if not small:
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1, name="maxpool.pad")(x))  # after a ReLU, zero is the least
    for stage, depth in enumerate(depths):
        width, outputs = 64 * 2**stage, 64 * 2**stage * (4 if bottleneck else 1)
        for place in range(depth):
            name, stride = f"layer{stage + 1}.{place}", 2 if place == 0 and stage > 0 else 1
            steps = [(width, 1, stride), (width, 3, 1), (outputs, 1, 1)]
            steps = steps if bottleneck else [(width, 3, stride), (outputs, 3, 1)]
            y = x
            for number, step in enumerate(steps, start=1):
                y = _norm(_conv(y, f"{name}.conv{number}", *step), f"{name}.bn{number}")
                y = layers.ReLU()(y) if number < len(steps) else y
            if stride > 1 or x.shape[-1] != outputs:
                x = _norm(_conv(x, f"{name}.downsample.0", outputs, 1, stride), f"{name}.downsample.1")
            x = layers.ReLU()(layers.Add()([y, x]))
    return keras.Model(images, layers.Dense(classes, name="fc")(layers.GlobalAveragePooling2D()(x)))


def resnet18(classes: int = 10, small: bool = True, size: int | None = None) -> Any:
    """ResNet-18: 4,800 filters. ``small`` images (32×32) get a 3×3 first convolution and no pooling after it."""
    return _residual([2, 2, 2, 2], False, classes, small, size)


def resnet50(classes: int = 1000, size: int | None = None) -> Any:
    """ResNet-50, version 1: 26,560 filters."""
    return _residual([3, 4, 6, 3], True, classes, False, size)


def resnet8(classes: int = 10) -> Any:
    """A ResNet-8 for raw CIFAR-10 images, whose strided convolutions pad at the end; its output is a softmax."""
    x = images = keras.Input((32, 32, 3))
    convolutions = iter(range(9))
    norms = iter(range(7))

    def conv(y: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", name=_numbered("conv2d", next(convolutions)))(y)

    def norm(y: Any) -> Any:
        return layers.BatchNormalization(name=_numbered("batch_normalization", next(norms)))(y)

    x = layers.ReLU()(norm(conv(x, 16)))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(norm(conv(x, filters, 3, stride)))
        y = norm(conv(y, filters))
        x = layers.ReLU()(layers.Add()([y, conv(x, filters, 1, stride) if stride > 1 else x]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(images, layers.Dense(classes, activation="softmax", name="dense")(x))


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def load_torch(model: Any, weights: Mapping[str, np.ndarray]) -> Any:
    """Give a model the weights of a PyTorch network with the same names of layers.

    Convolutions' (output, input, height, width) becomes (height, width, input, output), linear layers' matrices are
    turned, and batch norms' weight, bias and running statistics are gamma, beta and the moving ones.
    """
    norm = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for layer in model.layers:
        for variable in layer.weights:
            array = weights[f"{layer.name}.{norm.get(variable.name, {'kernel': 'weight'}.get(variable.name, 'bias'))}"]
            if variable.name == "kernel":
                array = array.T if array.ndim == 2 else np.transpose(array, (2, 3, 1, 0))
            variable.assign(array.astype(variable.dtype))
    return model


def load_h5(model: Any, path: Path) -> Any:
    """Give a model the weights of a whole-model file of Keras 2, layer by layer, by name."""
    import h5py

    with h5py.File(path) as file:
        stored = file["model_weights"]
        for layer in model.layers:
            for variable in layer.weights:
                variable.assign(stored[layer.name][layer.name][f"{variable.name}:0"][()])
    return model


def standardise_imagenet(images: np.ndarray) -> np.ndarray:
    """From uint8 images (n, h, w, 3) to the network's input: RGB minus the mean, on the scale 0 to 255."""
    return images.astype(np.float32) - np.array([123.68, 116.779, 103.939], np.float32)
