"""Screening: which units' saliency on some mistakes is too large, or too small, for the network's usual mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.peaks import fit_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.reference import Reference
    from evtkit.tail import Tail

__all__ = ["Screen", "screened", "surprises", "usual_mistakes"]

_DRAWS = 20_000  # sets simulated for the null
_FEW = 20  # with fewer of them beyond a value, the tail fitted to them says more
_CHUNK = 1 << 22  # values at a time


@dataclass(frozen=True, eq=False)
class Screen:
    """Both tails of every unit's saliency on a set of mistakes, among the usual mistakes of the network.

    Attributes
    ----------
    impact : ndarray of float64, shape (units,)
        Mean impact, see `Reference.rank`: how much more than usual the unit adds to the loss.
    loud, silent : ndarray of float64, shape (units,)
        Mean over the mistakes of −log of the share of the usual mistakes for which the unit's saliency is larger, and
        of the share for which it is smaller in size. About 1 for mistakes like them.
    p_loud, p_silent : ndarray of float64, shape (units,)
        Probability that any unit at all would be as loud, or as silent, if these were usual mistakes too.
    """

    impact: Float
    loud: Float
    silent: Float
    p_loud: Float
    p_silent: Float


def screened(reference: Reference, profiles: NDArray[Any]) -> Screen:
    """Hold the profiles of some mistakes against those of the network's usual ones.

    If they are alike, the place of each among the usual ones is uniform, whatever the unit's distribution. That gives
    the law of the mean surprise of one unit, simulated once for a number of mistakes and of usual ones; beyond what was
    simulated, by its own tail. The p-value is that, times the number of units and two tails (Bonferroni): it holds
    whatever depends on what.

    Parameters
    ----------
    reference : Reference
        With its usual mistakes.
    profiles : ndarray, shape (n, units)
        Normalised as the reference is.

    Returns
    -------
    Screen
    """
    step = max(1, _CHUNK // profiles.shape[1])
    rows = [profiles[i : i + step] for i in range(0, len(profiles), step)]
    impact = np.sum([reference.tail.rank(part, "impact").score.sum(axis=0) for part in rows], axis=0) / len(profiles)
    usual = usual_mistakes(reference)
    loud, silent = surprises(usual, profiles)
    p = [_p_value(of, len(profiles), len(usual)) for of in (loud, silent)]
    return Screen(impact, loud, silent, *p)


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


def surprises(usual: NDArray[Any], profiles: NDArray[Any]) -> tuple[Float, Float]:
    """`Screen.loud` and `Screen.silent` of all units."""
    m = len(usual)
    out = np.empty((2, usual.shape[1]))
    for row, (of, values) in enumerate(((-usual, -profiles), (np.abs(usual), np.abs(profiles)))):
        ordered = np.sort(of, axis=0).T.copy()
        for j, column in enumerate(values.T):
            # equal values count half; the values' own precision, so that what is equal stays so
            below = np.searchsorted(ordered[j], column, "left") + np.searchsorted(ordered[j], column, "right")
            out[row, j] = -np.log((0.5 * below + 0.5) / (m + 1.0)).mean()
    return out[0], out[1]


def _p_value(surprise: Float, n: int, m: int) -> Float:
    """For any of the units, and either tail."""
    simulated, tail = _law(n, m)
    beyond = len(simulated) - np.searchsorted(simulated, surprise - 1e-9, "left")
    log_p = np.log((1.0 + beyond) / (1.0 + len(simulated)))
    log_p = np.where(beyond < _FEW, np.minimum(tail.logsf(surprise), log_p), log_p)
    return np.asarray(np.minimum(2.0 * len(surprise) * np.exp(log_p), 1.0), dtype=np.float64)


@lru_cache(maxsize=32)
def _law(n: int, m: int) -> tuple[Float, Tail]:
    """Of the mean of −log((r + ½)/(m + 1)), where r are the places of n values among m others, all alike.

    Simulated, ascending, and the tail of that.
    """
    rng = np.random.default_rng(0)
    mean = np.empty(_DRAWS)
    step = max(1, _CHUNK // (n + m))
    for start in range(0, _DRAWS, step):
        rows = slice(start, min(start + step, _DRAWS))
        others = np.argsort(rng.random((rows.stop - start, n + m)), axis=1) >= n
        places = np.cumsum(others, axis=1)[~others].reshape(-1, n)
        mean[rows] = -np.log((places + 0.5) / (m + 1.0)).mean(axis=1)
    mean.sort()
    return mean, fit_tail(mean, quantile=0.95, keep_sample=False)
