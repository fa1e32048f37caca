"""The last layer: a linear one whose output is a classifier's scores, with what enters it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit.saliency.adapting.network import Network

__all__ = ["LastLayer"]

_TOLERANCE = {"float64": 1e-8, "float32": 1e-3}  # of scores, relative to the largest; else 5e-2


@dataclass(frozen=True, eq=False)
class LastLayer:
    """The linear layer behind all others, and some samples as it sees them.

    Parameters
    ----------
    weight : str
        Name of its weight.
    bias : str or None
        Name of its bias.
    axis : int
        The axis of the weight that has the classes.
    features : ndarray, shape (n, features)
        What enters it.
    scores : ndarray, shape (n, classes)
        The classifier's scores. Those of a single row are of the second of two classes, and the first has zeros.
    """

    weight: str
    bias: str | None
    axis: int
    features: NDArray[Any]
    scores: NDArray[Any]

    def values(self, network: Network) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weight, shape (rows, features), and bias, shape (rows,), zeros if there is none."""
        numpy = network.arrays.numpy
        weight = np.moveaxis(numpy(network.read(self.weight)).astype(np.float64), self.axis, 0)
        bias = np.zeros(len(weight)) if self.bias is None else numpy(network.read(self.bias)).astype(np.float64)
        return weight, bias

    def holds(self, network: Network) -> bool:
        """Whether the scores are what this layer makes of the features."""
        weight, bias = self.values(network)
        rows, columns = weight.shape
        n, classes = self.scores.shape
        if (
            self.features.shape != (n, columns)
            or bias.shape != (rows,)
            or (rows, classes) not in {(classes,) * 2, (1, 2)}
        ):
            return False
        made = self.features.astype(np.float64) @ weight.T + bias
        if rows < classes:
            made = np.hstack([np.zeros((n, 1)), made])
        tolerance = _TOLERANCE.get(str(network.read(self.weight).dtype).removeprefix("torch."), 5e-2)
        return bool(np.all(np.abs(made - self.scores) <= tolerance * (1.0 + np.abs(self.scores).max())))

    def changes(self, network: Network, step: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What is added to each parameter by a change of shape (classes, features + 1), whose last column is the bias.

        A single row takes what the second class gets more than the first.
        """
        if network.shape(self.weight)[self.axis] < len(step):
            step = step[1:] - step[:1]
        out = {self.weight: np.moveaxis(step[:, :-1], 0, self.axis)}
        return out if self.bias is None else out | {self.bias: step[:, -1]}
