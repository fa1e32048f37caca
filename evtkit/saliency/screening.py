"""Screening: which units' saliency on some mistakes is too large, or too small, for the network's usual mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.reference import Reference

__all__ = ["Screen", "screened", "usual_mistakes"]

_SETS = 999
"""Sets drawn from the usual mistakes: the smallest p-value is 1 in 500, for there are two tails."""

_CHUNK = 1 << 22  # values at a time


@dataclass(frozen=True, eq=False)
class Screen:
    """Both tails of every unit's saliency on a set of mistakes.

    Attributes
    ----------
    loud : ndarray of float64, shape (units,)
        Mean impact: how much more than usual the unit adds to the loss.
    silent : ndarray of float64, shape (units,)
        Mean over the mistakes of −log F, where F is the share of the usual mistakes for which the unit's saliency is
        smaller in size.
    p_loud, p_silent : ndarray of float64, shape (units,)
        Probability that any unit at all would be as loud, or as silent, on as many of the network's usual mistakes;
        doubled, as there are two tails to look at.
    most_loud, most_silent : ndarray of float64, shape (sets,)
        The largest of all units in sets of usual mistakes, ascending.
    """

    loud: Float
    silent: Float
    p_loud: Float
    p_silent: Float
    most_loud: Float
    most_silent: Float

    def again(self, reference: Reference, profiles: NDArray[Any]) -> tuple[Float, Float]:
        """Both p-values (units,) of other profiles of the same mistakes, after a change of the network, say."""
        loud, silent = _impact(reference, profiles).mean(axis=0), _silence(usual_mistakes(reference), profiles)[0]
        return _exceeded(loud, self.most_loud), _exceeded(silent, self.most_silent)


def screened(reference: Reference, profiles: NDArray[Any], seed: int = 0) -> Screen:
    """Hold the profiles of some mistakes against those of the network's usual ones.

    The p-values are of the largest of all units (Westfall & Young 1993), so that they hold whatever depends on what:
    the largest mean impact, and the deepest silence, of each of 999 sets of as many samples drawn from
    `Reference.mistakes`.

    Parameters
    ----------
    reference : Reference
        With its usual mistakes.
    profiles : ndarray, shape (n, units)
        Normalised as the reference is.
    seed : int
        Of the sets drawn.

    Returns
    -------
    Screen
    """
    usual = usual_mistakes(reference)
    m, n = len(usual), len(profiles)
    rng = np.random.default_rng(seed)
    some = min(n, m // 2)  # sets nearly as large as the pool would be all alike
    weights = np.zeros((_SETS, m), dtype=np.float32)
    for row in weights:
        row[rng.permutation(m)[:some]] = 1.0 / some
    loud, own = (_impact(reference, rows) for rows in (profiles, usual))
    silent, quiet = _silence(usual, profiles)
    most = [np.sort(_largest(weights, null)) for null in (own, quiet)]
    mean = loud.mean(axis=0)
    return Screen(mean, silent, _exceeded(mean, most[0]), _exceeded(silent, most[1]), *most)


def _impact(reference: Reference, profiles: NDArray[Any]) -> Float:
    step = max(1, _CHUNK // profiles.shape[1])
    parts = [reference.tail.rank(profiles[i : i + step], "impact").score for i in range(0, len(profiles), step)]
    return np.concatenate(parts)


def _largest(weights: NDArray[np.float32], null: Float) -> Float:
    """The largest of all units' means in each set, shape (sets,)."""
    most = np.full(len(weights), -np.inf)
    step = max(1, _CHUNK // len(weights))
    for start in range(0, null.shape[1], step):
        most = np.maximum(most, (weights @ null[:, start : start + step].astype(np.float32)).max(axis=1))
    return most


def usual_mistakes(reference: Reference) -> NDArray[Any]:
    """The usual mistakes.

    Raises
    ------
    ValueError
        If the reference has too few of them.
    """
    kept = reference.mistakes
    if kept is None or len(kept) < 2:
        raise ValueError("reference must hold its usual mistakes, as those of `calibrate` do, got one without")
    return kept


def _silence(usual: NDArray[Any], profiles: NDArray[Any]) -> tuple[Float, Float]:
    """Mean −log F of the profiles, (units,), and −log F of each usual one among the others, (m, units)."""
    m = len(usual)
    sizes = np.sort(np.abs(usual), axis=0)
    of = np.empty((len(profiles) + m, usual.shape[1]))
    for j, column in enumerate(np.abs(np.concatenate([profiles, usual])).T):
        row = sizes[:, j]
        of[:, j] = np.searchsorted(row, column, "left") + np.searchsorted(row, column, "right")
    of[len(profiles) :] -= 1.0  # a usual mistake is not compared with itself
    share = np.maximum((0.5 * of + 0.5) / (m + 1.0), 0.5 / (m + 1.0))
    share[len(profiles) :] *= (m + 1.0) / m
    lowest = 0.5 / m  # the same floor for both: else one silent sample would already be deeper than any usual one
    surprise = -np.log(np.maximum(share, lowest))
    return surprise[: len(profiles)].mean(axis=0), surprise[len(profiles) :]


def _exceeded(value: Float, most: Float) -> Float:
    """Twice the share of the sets whose largest is at least the value, the set itself counted."""
    below = np.searchsorted(most, value * (1.0 - 1e-6) - 1e-9, "left")
    return np.minimum(2.0 * (1.0 + len(most) - below) / (len(most) + 1.0), 1.0)
