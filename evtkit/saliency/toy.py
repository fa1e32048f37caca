"""Toy: a network small enough to read, with the whole of `SaliencyModel` written out in NumPy.

For examples and tests, and as a pattern for the adapter of another framework.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.adapting import step_size
from evtkit.saliency.units import Coverage, LeftOut, Units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Float = NDArray[np.floating[Any]]

__all__ = ["Toy", "ToyGradient", "samples"]


@dataclass(frozen=True, eq=False)
class ToyGradient:
    """Gradient of some units, one array a unit; a `UnitGradient`."""

    selection: NDArray[np.intp]
    norms: NDArray[np.float64]
    rows: Sequence[Float]


class Toy:
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

    reduction = "mean-abs"

    def __init__(
        self,
        inputs: int = 6,
        hidden: int = 8,
        classes: int = 4,
        seed: int = 0,
        dead: int = 1,
        dtype: DTypeLike = np.float64,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.w: Float = rng.normal(size=(hidden, inputs)).astype(dtype)
        self.b: Float = np.where(np.arange(hidden) < dead, -1e6, 0.0).astype(dtype)
        self.v: Float = rng.normal(size=(classes, hidden)).astype(dtype)
        layers = ["layer1.conv"] * hidden + ["fc"] * classes
        stages = ["layer1"] * hidden + ["fc"] * classes
        index, sizes = [*range(hidden), *range(classes)], [inputs] * hidden + [hidden] * classes
        self.units = Units(*(np.array(column) for column in (layers, ["rows"] * len(layers), index, sizes, stages)))
        self.coverage = Coverage(self.w.size + self.v.size, (LeftOut("bias", hidden, "bias"),))
        self.profiled = 0
        """Samples profiled so far."""

    def predict(self, x: ArrayLike) -> Float:
        """Class probabilities, shape (batch, classes)."""
        return self._forward(np.asarray(x))[2]

    def profile(self, x: ArrayLike, y: ArrayLike) -> Float:
        """Mean absolute gradient of every row for every sample: for row j |δ_j| · mean |input|."""
        inputs = np.asarray(x)
        first, second, hidden = self._deltas(inputs, np.asarray(y))
        self.profiled += len(inputs)
        layers = ((first, np.abs(inputs)), (second, hidden))
        return np.hstack([np.abs(delta) * below.mean(axis=1, keepdims=True) for delta, below in layers])

    def unit_norms(self, selection: ArrayLike | None = None) -> NDArray[np.float64]:
        """Length of each selected row."""
        rows = self.rows
        return np.array([np.linalg.norm(rows[unit]) for unit in self._chosen(selection)])

    def gradient(self, x: ArrayLike, y: ArrayLike, selection: ArrayLike | None = None) -> ToyGradient:
        """Gradient of the mean loss with respect to the selected rows."""
        inputs = np.asarray(x)
        first, second, hidden = self._deltas(inputs, np.asarray(y))
        rows = [*(first.T @ inputs / len(inputs)), *(second.T @ hidden / len(inputs))]
        chosen = self._chosen(selection)
        picked = [rows[unit] for unit in chosen]
        return ToyGradient(chosen, np.array([np.linalg.norm(row) for row in picked]), picked)

    @contextmanager
    def pruned(self, selection: ArrayLike) -> Iterator[Toy]:
        """Context in which the selected rows are zero."""
        with self._restoring():
            for unit in self._chosen(selection):
                self.rows[unit][:] = 0.0
            yield self

    @contextmanager
    def tuned(
        self,
        selection: ArrayLike,
        x: Any = None,
        y: Any = None,
        step: float = 1e-3,
        *,
        gradient: Any = None,
        length: float | None = None,
    ) -> Iterator[Toy]:
        """Context in which the selected rows have taken one gradient step."""
        taken = self.gradient(x, y) if gradient is None else gradient
        chosen = self._chosen(selection)
        place = {unit: position for position, unit in enumerate(taken.selection.tolist())}
        held = [place[unit] for unit in chosen.tolist()]
        step = step_size(taken.norms[held], step, length)
        with self._restoring():
            for unit, position in zip(chosen, held, strict=True):
                self.rows[unit][:] -= step * taken.rows[position]
            yield self

    @property
    def rows(self) -> list[Float]:
        """The rows of W and V, sharing their memory."""
        return [*self.w, *self.v]

    def _forward(self, x: Float) -> tuple[Float, Float, Float]:
        before = x @ self.w.T + self.b
        hidden = np.maximum(before, 0.0)
        logits = hidden @ self.v.T
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return before, hidden, powers / powers.sum(axis=1, keepdims=True)

    def _deltas(self, x: Float, y: NDArray[np.integer[Any]]) -> tuple[Float, Float, Float]:
        """Gradients of the cross-entropy at both layers, and the hidden values."""
        before, hidden, second = self._forward(x)
        second[np.arange(len(y)), y] -= 1.0
        return (second @ self.v) * (before > 0.0), second, hidden

    def _chosen(self, selection: ArrayLike | None) -> NDArray[np.intp]:
        return np.arange(len(self.units)) if selection is None else self.units.resolve(selection)

    @contextmanager
    def _restoring(self) -> Iterator[None]:
        kept = self.w.copy(), self.v.copy()
        try:
            yield
        finally:
            self.w[:], self.v[:] = kept


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
