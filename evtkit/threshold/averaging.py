"""Levels that do not depend on one choice of a threshold: averaged over all candidates that nothing speaks against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

from evtkit.intervals import Interval, return_level_interval
from evtkit.threshold.choosing import choose
from evtkit.threshold.evidence import METHODS, spread
from evtkit.threshold.grid import Channel, channels_of, one_channel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["averaged_level", "choice_weights"]

_HALVES = 100
_CANDIDATES = 20
_NORMAL = np.array([0.25, 0.7, 1.2, 1.6, 2.0, 2.5, 3.2])  # quantiles at which the limits of each candidate are found


def averaged_level(
    x: ArrayLike,
    period: float,
    *,
    thresholds: ArrayLike | None = None,
    method: str = "forward-stop",
    level: float = 0.95,
    fdr: float = 0.05,
    resolution: float | None = None,
) -> Interval:
    """A level exceeded once in `period` observations, with limits that carry the uncertainty of the threshold.

    Parameters
    ----------
    x : array_like, (n,)
        Observations, independent; NaN is missing.
    period : float
        Return period in observations.
    thresholds, method, fdr, resolution
        As in `suggest_threshold`, with 20 candidates at most.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    Interval
        Median and quantiles of the mixture of the candidates' confidence distributions by `choice_weights`.

    Raises
    ------
    ValueError
        As `suggest_threshold`; or if the period does not reach beyond the lowest candidate, the level is outside
        (0, 1), or there is no candidate that can be tested.

    Notes
    -----
    Profile-likelihood limits over a candidate, at all confidence levels, are a confidence distribution of the level.
    Mixed with the weights they are another. What is not rejected need not hold, so that higher candidates have as much
    weight as the one chosen: where a law bends slowly, limits over the lowest threshold that passes a test miss too
    often.

    Examples
    --------
    >>> from evtkit import gpd, threshold
    >>> x = gpd.rvs(0.1, 1.0, size=1000, rng=0)
    >>> print(threshold.averaged_level(x, 10_000))
    Interval(18.91, 95 % averaged limits 11.95 … 154.2)
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level!r}")
    channel, weights = _weighted(x, thresholds, method, fdr, resolution)
    ordered = spread(channel.ordered, channel.step)
    n = len(ordered)
    if not n / period < np.count_nonzero(ordered > channel.u[0]) < np.inf:
        raise ValueError(f"period must reach beyond the lowest candidate, {channel.u[0]:.6g}, got {period!r}")
    used = np.flatnonzero((weights > 0.0) & (channel.n_excess * (period / n) > 1.0))
    weights = weights[used] / weights[used].sum()
    u = channel.u[used]
    excesses = ordered[ordered > u[0], None] - u
    excesses[~(excesses > 0.0)] = np.nan
    rate = np.count_nonzero(excesses > 0.0, axis=0) / n
    quantiles = np.empty((2 * len(_NORMAL) + 1, len(used)))
    for k, z in enumerate(_NORMAL):
        found = return_level_interval(
            excesses, period, rate=rate, threshold=u, level=float(2.0 * ndtr(z) - 1.0), method="bartlett"
        )
        quantiles[len(_NORMAL) - 1 - k], quantiles[len(_NORMAL) + 1 + k] = found.lower, found.upper
        quantiles[len(_NORMAL)] = found.estimate
    lower, estimate, upper = (_mixed(quantiles, weights, 0.5 + sign * 0.5 * level) for sign in (-1.0, 0.0, 1.0))
    return Interval(np.array(estimate), np.array(lower), np.array(upper), level, "averaged", np.array(0))


def choice_weights(
    x: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    method: str = "forward-stop",
    fdr: float = 0.05,
    resolution: float | None = None,
) -> tuple[Float, Float]:
    """The weight of each candidate: a threshold is chosen from halves of the data, and those above it are as good.

    The choice is repeated on 100 random halves of the observations, always the same ones. A test that does not reject a
    threshold says nothing against higher ones, so that each choice counts evenly for the candidate chosen and all above
    it.

    Parameters
    ----------
    x, thresholds, method, fdr, resolution
        As in `suggest_threshold`.

    Returns
    -------
    thresholds, weights : ndarray of float64
        The candidates, and their weights, which add up to 1. Halves that reject all count for the highest.

    Notes
    -----
    Halves are drawn without replacement: a sample with repetitions does not pass a test of goodness of fit.

    Examples
    --------
    >>> from evtkit import gpd, threshold
    >>> u, weights = threshold.choice_weights(gpd.rvs(0.1, 1.0, size=1000, rng=0))
    >>> len(u), float(weights.sum().round(9))
    (20, 1.0)
    """
    channel, weights = _weighted(x, thresholds, method, fdr, resolution)
    return channel.u, weights


def _weighted(
    x: ArrayLike, thresholds: ArrayLike | None, method: str, fdr: float, resolution: float | None
) -> tuple[Channel, Float]:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    ordered = one_channel(x)
    (block,) = channels_of([ordered], thresholds, resolution, _CANDIDATES)
    channel = block[0]
    if not channel.u.size:
        raise ValueError("x must have a candidate over which there is a fit with ξ > −1, got none")
    rng = np.random.default_rng(0)
    n = len(ordered)
    halves = (ordered[np.sort(rng.permutation(n)[: (n + 1) // 2])] for _ in range(_HALVES))
    weights = np.zeros(len(channel.u))
    for choice in choose(halves, channel.u, method, fdr, channel.step):
        at = len(weights) - 1 if choice.index < 0 else int(np.argmin(np.abs(channel.u - choice.threshold)))
        weights[at:] += 1.0 / (_HALVES * (len(weights) - at))
    return channel, weights


def _mixed(quantiles: Float, weights: Float, chance: float) -> float:
    """A quantile of a mixture of laws, each given by its quantiles at ±`_NORMAL` and 0."""
    normal = np.concatenate([-_NORMAL[::-1], [0.0], _NORMAL])
    target = float(ndtri(chance))
    ends = [float(np.interp(target, normal, own)) for own in quantiles.T]
    low, high = min(ends), max(ends)
    if not np.isfinite([low, high]).all():
        return low if low == high else float("nan") if np.isnan([low, high]).any() else float(high)
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = sum(w * ndtr(_place(middle, own, normal)) for w, own in zip(weights, quantiles.T, strict=True))
        low, high = (middle, high) if below < chance else (low, middle)
    return 0.5 * (low + high)


def _place(level: float, quantiles: Float, normal: Float) -> float:
    """Where a level lies on the normal scale; beyond the last quantile it is certain."""
    if level < quantiles[0] or level > quantiles[-1]:
        return float("-inf") if level < quantiles[0] else float("inf")
    return float(np.interp(level, quantiles, normal))
