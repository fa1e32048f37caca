"""Toy: a network small enough to read, in NumPy, under `NetworkModel`; for examples and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.adapting import Batch, Candidate, Lanes, LastLayer, Network, NetworkModel, Profiler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from evtkit.saliency.adapting.lanes import Index
    from evtkit.saliency.adapting.reduction import Reduction

    Float = NDArray[np.floating[Any]]

__all__ = ["Toy", "samples"]

_LAYERS = {"layer1.conv": "w", "fc": "v"}


class Toy(NetworkModel):
    """softmax(V · relu(W · x + b)): a classifier whose units are the rows of W and of V.

    Parameters
    ----------
    inputs, hidden, classes : int
        Sizes.
    seed : int
        Of the weights, which are normal.
    dead : int
        So many hidden units never fire, whatever the input.
    dtype : dtype
        Of the weights.
    reduction : {"mean-abs", "taylor"}
        What a profile holds for each row.

    Examples
    --------
    >>> net = Toy()
    >>> net.units
    Units(12: 12 rows; 2 modules, 2 stages)
    >>> x, y = samples(5)
    >>> net.profile(x, y).shape, net.predict(x).shape
    ((5, 12), (5, 4))
    >>> with net.pruned([1, 2]):
    ...     net.unit_norms([1, 2, 3]).round(2)
    array([0.  , 0.  , 1.93])
    """

    def __init__(
        self,
        inputs: int = 6,
        hidden: int = 8,
        classes: int = 4,
        seed: int = 0,
        dead: int = 1,
        dtype: DTypeLike = np.float64,
        reduction: Reduction = "mean-abs",
    ) -> None:
        rng = np.random.default_rng(seed)
        self.w: Float = rng.normal(size=(hidden, inputs)).astype(dtype)
        self.b: Float = np.where(np.arange(hidden) < dead, -1e6, 0.0).astype(dtype)
        self.v: Float = rng.normal(size=(classes, hidden)).astype(dtype)
        network = _Network({"layer1.conv.w": self.w, "layer1.conv.b": self.b, "fc.v": self.v})
        super().__init__(_Profiler(network=network, plan=network.plan("rows"), reduction=reduction))
        self.profiled = 0
        """Samples profiled so far."""

    def profile(self, x: ArrayLike, y: Any = None) -> Float:
        """Saliency of every row for every sample."""
        profile = super().profile(x, y)
        self.profiled += len(profile)
        return profile

    @property
    def rows(self) -> list[Float]:
        """The rows of W and V, sharing their memory."""
        return [*self.w, *self.v]


class _Network(Network):
    """W, b and V by name."""

    kinds = ("rows",)

    def __init__(self, weights: dict[str, Float]) -> None:
        self.model = weights

    def names(self) -> Iterable[str]:
        return list(self.model)

    def candidates(self) -> Iterator[Candidate]:
        for layer, weight in _LAYERS.items():
            name = f"{layer}.{weight}"
            yield Candidate(layer, "rows", None, [Lanes(name, np.arange(len(self.model[name])))])

    def read(self, name: str) -> Float:
        weights: Float = self.model[name]
        return weights

    def write(self, name: str, changes: Iterable[tuple[Index, Any]]) -> None:
        for index, values in changes:
            self.model[name][index] = values

    def no_units(self, name: str) -> str:
        return "bias"


class _Profiler(Profiler):
    """A forward and a backward pass, written out."""

    has_activations = True

    def logits(self, batch: Batch) -> Float:
        return self._forward(batch.inputs)[2]

    def activations(self, batch: Batch) -> Float:
        w, _, v = self.network.model.values()
        x = np.asarray(batch.inputs)
        values = np.hstack([x @ w.T, self._forward(x)[1] @ v.T])
        return np.stack([values, np.abs(values)], axis=2)

    def last_layer(self, batch: Batch) -> LastLayer:
        _, hidden, scores = self._forward(np.asarray(batch.inputs))
        return LastLayer("fc.v", None, 0, hidden, scores)

    def gradient(self, batch: Batch, target: Any, names: Iterable[str]) -> dict[str, Float]:
        x = np.asarray(batch.inputs)
        first, second, hidden = self._deltas(x, target)
        return {"layer1.conv.w": first.T @ x, "fc.v": second.T @ hidden}

    def profile(self, batch: Batch, target: Any) -> Float:
        """For row j |δ_j| · mean |input|, or δ_j · (w_j · input): a row's gradient is an outer product."""
        self.used.update(self.plan.parameters)
        x = np.asarray(batch.inputs)
        first, second, hidden = self._deltas(x, target)
        if self.reduction == "taylor":
            w, _, v = self.network.model.values()
            return np.hstack([first * (x @ w.T), second * (hidden @ v.T)])
        layers = ((first, np.abs(x)), (second, hidden))
        return np.hstack([np.abs(delta) * below.mean(axis=1, keepdims=True) for delta, below in layers])

    def _forward(self, x: Float) -> tuple[Float, Float, Float]:
        w, b, v = self.network.model.values()
        before = x @ w.T + b
        hidden = np.maximum(before, 0.0)
        return before, hidden, hidden @ v.T

    def _deltas(self, x: Float, y: Any) -> tuple[Float, Float, Float]:
        """Gradients of the cross-entropy at both layers, and the hidden values."""
        before, hidden, scores = self._forward(x)
        second = np.exp(scores - scores.max(axis=1, keepdims=True))
        second /= second.sum(axis=1, keepdims=True)
        second[np.arange(len(x)), scores.argmax(axis=1) if isinstance(y, str) else y] -= 1.0
        return (second @ self.network.read("fc.v")) * (before > 0.0), second, hidden


def samples(n: int, seed: int = 1, noise: float = 0.3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Normal inputs (n, 6) and the labels that ``Toy()`` gives them, a share `noise` of which is drawn at random.

    Examples
    --------
    >>> x, y = samples(1000, noise=0.0)
    >>> bool(np.all(Toy().predict(x).argmax(axis=1) == y))
    True
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    y = Toy().predict(x).argmax(axis=1)
    flip = rng.random(n) < noise
    return x, np.where(flip, rng.integers(4, size=n), y)
