"""Screening: which units' saliency on some mistakes is too large, or too small, for the network's usual mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.peaks import fit_tail
from evtkit.saliency.permuting import set_p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.reference import Reference
    from evtkit.tail import Tail

__all__ = ["Screen", "few_mistakes", "screened", "surprises", "usual_mistakes"]

_DRAWS = 20_000  # sets simulated for the null
_FEW = 20  # with fewer of them beyond a value, the tail fitted to them says more
_CHUNK = 1 << 22  # values at a time
_BLOCK = 1 << 17  # values at a time that many others are compared with
_SALIENCY_TAILS, _ACTIVATION_TAILS = 2, 4  # upper and lower; of the mean and of the mean size
_LEAST = 1e-3  # of the median spread of activations: what varies less is measured by this
_FARTHEST = 1e6


@dataclass(frozen=True, eq=False)
class Screen:
    """Both tails of every unit's saliency on a set of mistakes, and of its activations, among the usual mistakes.

    Attributes
    ----------
    impact : ndarray of float64, shape (units,)
        Mean impact, see `Reference.rank`: how much more than usual the unit adds to the loss.
    loud, silent : ndarray of float64, shape (units,)
        Mean over the mistakes of −log of the share of the usual mistakes for which the unit's saliency is larger, and
        of the share for which it is smaller in size. About 1 for mistakes like them.
    odd : ndarray of float64, shape (units,)
        Mean over the mistakes of how many standard deviations what the unit puts out lies from its usual mean: its mean
        or its mean size over positions, whichever lies farther. 0 where that is not known.
    p_loud, p_silent, p_odd : ndarray of float64, shape (units,)
        Probability that any unit at all would be as loud, as silent, or put out values that lie as far to either side,
        if these were usual mistakes too.
    p_least : float
        The smallest of these that so many mistakes can have.
    """

    impact: Float
    loud: Float
    silent: Float
    odd: Float
    p_loud: Float
    p_silent: Float
    p_odd: Float
    p_least: float


def screened(
    reference: Reference, profiles: NDArray[Any], activations: NDArray[Any] | None = None, *, ranked: bool = True
) -> Screen:
    """Hold the profiles of some mistakes against those of the network's usual ones, and their activations likewise.

    If they are alike, the place of each among the usual ones is uniform, whatever the unit's distribution. That gives
    the law of the mean surprise of one unit, simulated once for a number of mistakes and of usual ones; beyond what was
    simulated, by its own tail. The p-value is that, times the number of units and of tails looked at (Bonferroni): it
    holds whatever depends on what.

    Parameters
    ----------
    reference : Reference
        With its usual mistakes.
    profiles : ndarray, shape (n, units)
        Normalised as the reference is.
    activations : ndarray, shape (n, units, 2), optional
        Of the same samples.
    ranked : bool
        Whether impacts are of interest; else they are 0.

    Returns
    -------
    Screen
    """
    n, n_units = profiles.shape
    step = max(1, _CHUNK // n_units)
    rows = [profiles[i : i + step] for i in range(0, n, step)]
    impact = np.zeros(n_units)
    for part in rows if ranked else ():
        impact += reference.tail.rank(part, "impact").score.sum(axis=0) / n
    usual = usual_mistakes(reference)
    known = reference.activations if activations is not None else None
    tails = _SALIENCY_TAILS + (0 if known is None else _ACTIVATION_TAILS)
    loud, silent = surprises(usual, profiles)
    p = [_p_value(of, n, len(usual), tails * n_units) for of in (loud, silent)]
    least = _p_value(np.array([np.log(2.0 * (len(usual) + 1.0))]), n, len(usual), tails * n_units)
    odd, p_odd = np.zeros(n_units), np.ones(n_units)
    if known is not None and activations is not None:
        odd = _distance(known, activations)
        far = np.zeros(n_units)
        for i in range(known.shape[2]):
            far = np.fmax(far, np.fmax(*_surprises(known[..., i], activations[..., i])))
        p_odd = _p_value(far, n, len(usual), tails * n_units)
    return Screen(impact, loud, silent, odd, p[0], p[1], p_odd, float(least[0]))


def few_mistakes(reference: Reference, profiles: NDArray[Any], activations: NDArray[Any] | None) -> tuple[float, float]:
    """p-value of "these mistakes are like those that calibration met", where right samples stand in; and the least.

    0 and 0 where none does: then the screen's own p-values hold.
    """
    usual = usual_mistakes(reference)
    met = int(reference.missed or 0)
    if met == len(usual):
        return 0.0, 0.0
    old, new = usual[:met], profiles
    if activations is not None and reference.activations is not None:
        old = np.hstack([old, reference.activations[:met].reshape(met, 2 * old.shape[1])])
        new = np.hstack([new, activations.reshape(len(new), -1)])
    return set_p_value(old, new)


def _distance(usual: NDArray[Any], values: NDArray[Any]) -> Float:
    """`Screen.odd` of all units."""
    mean, spread = usual.mean(axis=0, dtype=np.float64), usual.std(axis=0, dtype=np.float64)
    least = _LEAST * np.nanmedian(spread) if np.isfinite(spread).any() else 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.abs(values - mean) / np.maximum(spread, max(float(least), np.finfo(float).tiny))
    return np.asarray(np.nan_to_num(z, nan=0.0, posinf=_FARTHEST).clip(max=_FARTHEST).max(axis=2).mean(axis=0))


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
    return _surprises(usual, profiles)[1], _surprises(np.abs(usual), np.abs(profiles))[0]


def _surprises(usual: NDArray[Any], values: NDArray[Any]) -> tuple[Float, Float]:
    """Mean of −log of the share of the usual ones that are smaller, and that are larger; equal ones count half.

    NaN where one is NaN.
    """
    m = len(usual)
    total = np.zeros((2, usual.shape[1]))
    step = max(1, _BLOCK // m)
    for start in range(0, usual.shape[1], step):  # so few units at a time that they stay in the processor's cache
        columns = slice(start, start + step)
        some = np.ascontiguousarray(usual[:, columns])
        for row in values[:, columns]:
            # in the values' own precision, so that what is equal stays so
            twice = (some < row).view(np.int8) + (some <= row).view(np.int8)
            below = 0.5 * twice.sum(axis=0, dtype=np.int32)
            total[0, columns] -= np.log((below + 0.5) / (m + 1.0))
            total[1, columns] -= np.log((m - below + 0.5) / (m + 1.0))
    unknown = np.isnan(usual).any(axis=0) | np.isnan(values).any(axis=0)
    smaller, larger = np.where(unknown, np.nan, total / len(values))
    return smaller, larger


def _p_value(surprise: Float, n: int, m: int, looks: int) -> Float:
    """For any of so many looks, units times tails; 1 where the surprise is not known."""
    simulated, tail = _law(n, m)
    surprise = np.nan_to_num(surprise, nan=0.0)
    beyond = len(simulated) - np.searchsorted(simulated, surprise - 1e-9, "left")
    log_p = np.log((1.0 + beyond) / (1.0 + len(simulated)))
    log_p = np.where(beyond < _FEW, np.minimum(tail.logsf(surprise), log_p), log_p)
    return np.asarray(np.minimum(looks * np.exp(log_p), 1.0), dtype=np.float64)


@lru_cache(maxsize=32)
def _law(n: int, m: int) -> tuple[Float, Tail]:
    """Of the mean of −log((r + ½)/(m + 1)), where r are the places of n values among m others, all alike.

    Simulated, ascending, and the tail of that.
    """
    rng = np.random.default_rng(0)
    mean = np.empty(_DRAWS)
    step = max(1, _CHUNK // (n + 1))
    for start in range(0, _DRAWS, step):
        rows = slice(start, min(start + step, _DRAWS))
        ends = np.sort(rng.random((rows.stop - start, n)), axis=1)
        gaps = np.diff(ends, axis=1, prepend=0.0, append=1.0)  # of uniform values; the others fall into them
        places = np.cumsum(rng.multinomial(m, gaps)[:, :-1], axis=1)
        mean[rows] = -np.log((places + 0.5) / (m + 1.0)).mean(axis=1)
    mean.sort()
    return mean, fit_tail(mean, quantile=0.95, keep_sample=False)
