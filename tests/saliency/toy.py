"""A network small enough to read: two dense layers in NumPy, with the saliency protocol written out by hand."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from evtkit.saliency.units import Coverage, LeftOut, Units


@dataclass
class ToyGradient:
    selection: np.ndarray
    norms: np.ndarray
    rows: np.ndarray  # (selected, width), padded


class Toy:
    """softmax(V relu(W x)); every row of W and of V is a unit. ``dead`` hidden units never fire."""

    reduction = "mean-abs"

    def __init__(self, inputs=6, hidden=8, classes=4, seed=0, dead=1, dtype=np.float64):
        rng = np.random.default_rng(seed)
        self.w = rng.normal(size=(hidden, inputs)).astype(dtype)
        self.b = np.zeros(hidden, dtype)
        self.b[:dead] = -1e6
        self.v = rng.normal(size=(classes, hidden)).astype(dtype)
        names = ["layer1.conv"] * hidden + ["fc"] * classes
        index = [*range(hidden), *range(classes)]
        sizes = [inputs] * hidden + [hidden] * classes
        stages = ["layer1"] * hidden + ["fc"] * classes
        self.units = Units(names, ["rows"] * len(names), index, sizes, stages)
        self.coverage = Coverage(self.w.size + self.v.size, (LeftOut("bias", hidden, "bias"),))
        self.profiled = 0

    def _forward(self, x):
        z = x @ self.w.T + self.b
        h = np.maximum(z, 0)
        logits = h @ self.v.T
        e = np.exp(logits - logits.max(1, keepdims=True))
        return z, h, e / e.sum(1, keepdims=True)

    def predict(self, x):
        return self._forward(np.asarray(x))[2]

    def _deltas(self, x, y):
        z, h, p = self._forward(x)
        d2 = p.copy()
        d2[np.arange(len(y)), y] -= 1
        return (d2 @ self.v) * (z > 0), d2, h

    def profile(self, x, y):
        x, y = np.asarray(x), np.asarray(y)
        self.profiled += len(y)
        d1, d2, h = self._deltas(x, y)
        return np.hstack([np.abs(d1) * np.abs(x).mean(1, keepdims=True), np.abs(d2) * h.mean(1, keepdims=True)])

    def _rows(self):
        return [*self.w, *self.v]

    def _chosen(self, selection):
        return np.arange(len(self.units)) if selection is None else self.units.resolve(selection)

    def unit_norms(self, selection=None):
        return np.array([np.linalg.norm(self._rows()[u]) for u in self._chosen(selection)])

    def gradient(self, x, y, selection=None):
        d1, d2, h = self._deltas(np.asarray(x), np.asarray(y))
        rows = [*(d1.T @ x / len(y)), *(d2.T @ h / len(y))]
        chosen = self._chosen(selection)
        picked = [rows[u] for u in chosen]
        return ToyGradient(chosen, np.array([np.linalg.norm(r) for r in picked]), picked)

    @contextmanager
    def _changed(self):
        kept = self.w.copy(), self.v.copy()
        try:
            yield self
        finally:
            self.w[:], self.v[:] = kept

    @contextmanager
    def pruned(self, selection):
        with self._changed():
            for u in self._chosen(selection):
                self._rows()[u][:] = 0
            yield self

    @contextmanager
    def tuned(self, selection, x=None, y=None, step=1e-3, *, gradient=None, length=None):
        gradient = gradient or self.gradient(x, y)
        place = {u: i for i, u in enumerate(gradient.selection.tolist())}
        chosen = [place[u] for u in self._chosen(selection).tolist()]
        if length is not None:
            whole = np.linalg.norm(gradient.norms[chosen])
            step = length / whole if whole else 0.0
        with self._changed():
            for u, i in zip(self._chosen(selection), chosen, strict=True):
                self._rows()[u][:] -= step * gradient.rows[i]
            yield self


def samples(n, seed=1, inputs=6, classes=4, noise=0.3, network=None):
    """Inputs, and labels that the network mostly agrees with."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, inputs))
    y = (network or Toy(inputs=inputs, classes=classes)).predict(x).argmax(1)
    flip = rng.random(n) < noise
    return x, np.where(flip, rng.integers(classes, size=n), y)
