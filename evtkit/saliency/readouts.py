"""Readouts: changes of a network's last layer that turn some mistakes and move what is usual as little as can be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import labels_of, size_of, take
from evtkit.saliency.costs import expected_loss
from evtkit.saliency.tasks import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.adapting import LastLayer

__all__ = ["Refit", "Seen", "as_seen", "best_refits", "refits", "refitted"]

_RIDGES = (0.002, 0.02)  # of the mean square of features, added to each direction's own
_BRAKES = (0.01, 0.04, 0.16)  # on the mean squared change of the scores of right samples
_RIGHT = 2.0  # weight of the right samples' loss; that of the mistakes is 1
_PARTS = 20  # of the way to each end
_ITERATIONS = 100
_MOST = (200, 400)  # mistakes and right samples in a fit
_BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times what may be lost, a point of the frontier each: up to 1 it may be taken


@dataclass(frozen=True, eq=False)
class Seen:
    """Samples as the last layer sees them.

    Attributes
    ----------
    features : ndarray of float64, shape (n, features + 1)
        What enters it, and a last column for the bias: ones, or zeros where there is none.
    scores : ndarray of float64, shape (n, classes)
        What it makes of them.
    labels : ndarray of int, shape (n,)
        The true classes.
    """

    features: Float
    scores: Float
    labels: NDArray[np.intp]

    @classmethod
    def of(
        cls, features: NDArray[np.floating], scores: NDArray[np.floating], labels: NDArray[np.intp], bias: bool
    ) -> Seen:
        """Samples from what enters the layer, without the last column."""
        x = np.asarray(features, dtype=np.float64)
        column = np.full((len(x), 1), float(bias))
        return cls(np.hstack([x, column]), np.asarray(scores, dtype=np.float64), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def margins(self, step: Float | None = None) -> Float:
        """By how much the true class is ahead of all others after a change of shape (classes, features + 1)."""
        scores = self.scores.copy() if step is None else self.scores + self.features @ step.T
        rows = np.arange(len(self))
        own = scores[rows, self.labels].copy()
        scores[rows, self.labels] = -np.inf
        return np.asarray(own - scores.max(axis=1))

    def joined(self, other: Seen) -> Seen:
        """These samples and then the others."""
        pairs = ((getattr(one, name) for one in (self, other)) for name in ("features", "scores", "labels"))
        return Seen(*(np.concatenate(list(pair)) for pair in pairs))

    def some(self, most: int) -> Seen:
        """At most so many of them, evenly spaced."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int))
        return Seen(self.features[rows], self.scores[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Refit:
    """A change of the last layer.

    Attributes
    ----------
    step : ndarray of float64, shape (classes, features + 1)
        What is added to the weights and, in the last column, to the bias.
    ridge, brake : float
        Of the fit that it is a part of.
    fits : bool
        Whether it is for no more than the budget.
    """

    step: Float
    ridge: float
    brake: float
    fits: bool = True


def as_seen(model: Any, x: Any, y: Any, batch_size: int) -> tuple[LastLayer, Seen] | None:
    """The last layer and some samples as it sees them; None unless they are classes and the model tells of one."""
    tell = getattr(model, "last_layer", None)
    if tell is None or not is_plain(model) or np.ndim(y) != 1:
        return None
    n = size_of(y)
    parts = [tell(take(x, slice(start, min(start + batch_size, n)))) for start in range(0, n, batch_size)]
    if not parts or any(part is None for part in parts):
        return None
    features, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "scores"))
    return parts[0], Seen.of(features, scores, labels_of(y), parts[0].bias is not None)


def best_refits(mistakes: Sequence[Seen], kept: Sequence[Seen], budget: float) -> list[Refit]:
    """The changes of the last layer that correct most, for a quarter of a budget up to four times the budget.

    Parameters
    ----------
    mistakes, kept : two Seen each
        Those that fit, and those that choose or size.
    budget : float
        Share of the right samples that may be lost.

    Returns
    -------
    list of Refit
        At most one for each budget, each once.

    Notes
    -----
    A change is within a budget if what others will lose is, see ``evtkit.saliency.costs.expected_loss``.
    """
    sized = kept[1]
    before = sized.margins()
    tried: list[tuple[float, float, float, Refit]] = []
    for end in refits(mistakes[0], kept[0]):
        for part in np.arange(1, _PARTS + 1) / _PARTS:
            step = part * end.step
            lost = _lost(sized, before, step)
            shares = (float(np.mean(own.margins(step) > 0.0)) for own in mistakes)
            one = replace(end, step=step)
            tried.append((0.5 * sum(shares), lost, float(np.square(step).sum()), one))
    found: dict[int, Refit] = {}
    for multiple in _BUDGETS:
        inside = [one for one in tried if one[0] > 0.0 and one[1] <= multiple * budget]
        if inside:
            best = max(inside, key=lambda one: (one[0], -one[1], -one[2]))
            found.setdefault(id(best), replace(best[3], fits=multiple <= 1.0))
    return list(found.values())


def refitted(fit: Refit, mistakes: Seen, kept: Sequence[Seen], budget: float) -> Refit | None:
    """The same fit to more mistakes, as far as the right samples that size it allow; None if no part is within it.

    Parameters
    ----------
    fit : Refit
        Its ridge and brake are taken.
    mistakes : Seen
        All that it is fitted to.
    kept : two Seen
        Right samples that are in the fit, and those that size it.
    budget : float
        Share of them that may be lost.
    """
    sized = kept[1]
    before = sized.margins()
    for end in refits(mistakes, kept[0], (fit.ridge,), (fit.brake,)):
        for part in np.arange(_PARTS, 0, -1) / _PARTS:
            if _lost(sized, before, part * end.step) <= budget:
                return replace(end, step=part * end.step)
    return None


def _lost(sized: Seen, before: Float, step: Float) -> float:
    """Share that a change will lose of others than those that size it."""
    after = sized.margins(step)
    return expected_loss(int(np.count_nonzero(after < 0.0)), before, after, len(sized))


def refits(
    mistakes: Seen, kept: Seen, ridges: Sequence[float] = _RIDGES, brakes: Sequence[float] = _BRAKES
) -> Iterator[Refit]:
    """Changes of the last layer, each the end of a fit.

    A fit lowers the mean cross-entropy of the mistakes and of the right samples, plus a brake: the mean square of what
    the change does to the scores of right samples, with a ridge for directions that few of them tell of. The brake is
    what makes a change general: where mistakes vary and right samples hardly do, it is free. Layers are
    rewritten by the same metric in Bau et al. (2020).

    Parameters
    ----------
    mistakes, kept : Seen
        What is to be turned and what is to stay.
    ridges, brakes : sequence of float
        One fit for each pair of them.

    Yields
    ------
    Refit
    """
    _, sizes, directions = np.linalg.svd(kept.features / np.sqrt(len(kept)), full_matrices=False)
    values = sizes**2
    bad, good = mistakes.some(_MOST[0]), kept.some(_MOST[1])
    x = np.vstack([bad.features, good.features])
    scores, labels = np.vstack([bad.scores, good.scores]), np.concatenate([bad.labels, good.labels])
    weights = np.concatenate([np.full(len(bad), 1.0 / len(bad)), np.full(len(good), _RIGHT / len(good))])
    for ridge in ridges:
        level = ridge * values.sum() / x.shape[1]
        if not level > 0.0:
            return
        told = values / (values + level)
        shrunk = (x - ((x @ directions.T) * told) @ directions) / level  # x · (mean square of features + level)⁻¹
        kernel_values, vectors = np.linalg.eigh(x @ shrunk.T / told.sum())
        some = kernel_values > 1e-10 * kernel_values.max()
        root = np.sqrt(kernel_values[some])
        lead = (vectors[:, some] / root).T @ shrunk / told.sum()
        for brake in brakes:
            yield Refit(_fit(vectors[:, some] * root, scores, labels, weights, brake) @ lead, ridge, brake)


def _fit(x: Float, scores: Float, labels: NDArray[np.intp], weights: Float, brake: float) -> Float:
    """Coefficients, shape (classes, directions), of the lowest weighted loss with the brake on."""
    from scipy.optimize import minimize

    n, classes = scores.shape
    rows = np.arange(n)

    def loss(flat: Float) -> tuple[float, Float]:
        z = scores + x @ flat.reshape(classes, -1).T
        z -= z.max(axis=1, keepdims=True)
        own = z[rows, labels]
        powers = np.exp(z)
        total = powers.sum(axis=1)
        slope = powers * (weights / total)[:, None]
        slope[rows, labels] -= weights
        value = weights @ (np.log(total) - own) + 0.5 * brake * (flat @ flat)
        return float(value), (slope.T @ x).ravel() + brake * flat

    start = np.zeros(classes * x.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return np.asarray(found.x, dtype=np.float64).reshape(classes, -1)
