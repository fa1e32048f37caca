r"""K-gaps: the extremal index by maximum likelihood, with limits and a test of its run length.

Let T be a time between two exceedances of a high threshold, q the share of exceedances, and S = max(T − K, 0) the
K-gap (Süveges & Davison 2010). In the limit qS is 0 with probability 1 − θ (a time within a cluster) and exponential
with rate θ otherwise (a time between clusters), so that

.. math::

    ℓ(θ) = N_0 \log(1 - θ) + 2 N_1 \log θ - θ \sum q S,

with N₀ zero and N₁ positive K-gaps, whose maximum is a root of a quadratic. Whether the limit is near, for a given
threshold and K, is asked by the information matrix test: the variance of the score equals the mean curvature of the
likelihood where the model holds.

A time that missing values interrupt is not known. It is longer than its part before the gap and than its part after it,
and counts as such: a censored positive K-gap has the likelihood θ exp(−θqS) (Attalides 2015), and m values in a row
without an exceedance, between two gaps, exp(−θqm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import chdtrc, ndtri, xlog1py, xlogy

from evtkit._common.checks import whole_number
from evtkit._common.results import Result
from evtkit.dependence.exceedances import exceedance_times, streams_and_levels, streams_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from evtkit._common.types import Float, Int

__all__ = ["KGaps", "KGapsChoice", "choose_k_gaps", "fit_k_gaps"]

_REJECTED = 0.05
_CHANCE = 0.3  # of the half width of the limits, by which times that are short by chance may lower θ


@dataclass(frozen=True, eq=False)
class KGaps(Result):
    """Maximum-likelihood extremal index by K-gaps; one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    theta : ndarray of float64
        θ in [0, 1]; NaN with fewer than two exceedances, or where no time between them is known.
    lower, upper : ndarray of float64
        Limits where the likelihood ratio reaches the χ²₁ quantile of `level`.
    se : ndarray of float64
        Standard error from the observed information; NaN at θ = 0 and θ = 1.
    loglik : ndarray of float64
        Log-likelihood at θ.
    statistic, p_value : ndarray of float64
        Information matrix test of this threshold and K: χ²₁ where the model holds; a small p-value speaks against them.
        NaN where θ is 0 or 1, and where missing values interrupt more than a twentieth of the times: those that are
        left are then the shorter ones.
    n_gaps : ndarray of int64
        Times between exceedances that are known.
    n_censored : ndarray of int64
        Times that missing values cut short.
    k : int
        K, the run length.
    level : float
        Confidence level.

    See Also
    --------
    fit_k_gaps : makes it.
    extremal_index : an estimate without a likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.dependence import fit_k_gaps
    >>> x = np.random.default_rng(0).gumbel(size=5002)
    >>> x = np.lib.stride_tricks.sliding_window_view(x, 3).max(axis=1)  # each surge lasts three days
    >>> fit_k_gaps(x, 5.0, k=2)
    KGaps(theta=0.3293, 95 % limits 0.2602 … 0.4059, K=2, information matrix test p=0.46, 97 gaps)
    """

    theta: Float
    lower: Float
    upper: Float
    se: Float
    loglik: Float
    statistic: Float
    p_value: Float
    n_gaps: Int
    n_censored: Int
    k: int
    level: float

    def __repr__(self) -> str:
        if self.theta.ndim:
            return f"KGaps({self.theta.size} channels, K={self.k}, {100 * self.level:g} % limits)"
        return (
            f"KGaps(theta={self.theta:.4g}, {100 * self.level:g} % limits {self.lower:.4g} … {self.upper:.4g}, "
            f"K={self.k}, information matrix test p={self.p_value:.2g}, {self.n_gaps} gaps)"
        )


def fit_k_gaps(x: ArrayLike, threshold: ArrayLike, *, k: int = 1, level: float = 0.95) -> KGaps:
    """Fit the K-gaps model to the times between exceedances of a threshold.

    Parameters
    ----------
    x : array_like, (n,) or (n, channels)
        Stationary streams, in order of time. NaN is a gap in the record.
    threshold : array_like
        Threshold u, exceedances are x > u; one, or one a channel.
    k : int
        The run length K ≥ 1: exceedances at most K steps of time apart belong to one cluster.
    level : float
        Confidence level of the limits, in (0, 1).

    Returns
    -------
    KGaps

    Raises
    ------
    ValueError
        Where x is infinite or not numbers, shapes do not match, k is not an integer of at least 1 or level is not in
        (0, 1).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> z = -1 / np.log(rng.random(20_001))
    >>> moving_maximum = np.maximum(z[1:], z[:-1])  # θ = 1/2
    >>> fit_k_gaps(moving_maximum, np.quantile(moving_maximum, 0.98))
    KGaps(...)
    """
    values, levels = streams_and_levels(x, threshold)
    k = whole_number(k, "k", 1)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    drop = 0.5 * float(ndtri(0.5 + 0.5 * level)) ** 2
    found = np.array([_fit(columns[:, c], u, k, drop) for c, u in enumerate(levels)]).reshape(len(levels), 9)
    theta, lower, upper, se, loglik, statistic, p, n_gaps, n_censored = (
        column.reshape(values.shape[1:]) for column in found.T
    )
    counts = n_gaps.astype(np.int64), n_censored.astype(np.int64)
    return KGaps(theta, lower, upper, se, loglik, statistic, p, *counts, k, level)


@dataclass(frozen=True, eq=False)
class KGapsChoice(Result):
    """K-gaps fits over thresholds and run lengths; made by `choose_k_gaps`.

    Attributes
    ----------
    threshold : ndarray of float64, (thresholds,)
        Thresholds u, ascending.
    k : ndarray of int64, (run lengths,)
        Run lengths K.
    theta, lower, upper, p_value : ndarray of float64, (thresholds, run lengths)
        As in `KGaps`.
    chosen_threshold : float
        The threshold that is low enough for many exceedances and not too low, as `choose_k_gaps` says; NaN where the
        test rejects every fit.
    chosen_k : int
        The run length; −1 likewise.

    See Also
    --------
    choose_k_gaps : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.dependence import choose_k_gaps
    >>> x = np.random.default_rng(0).gumbel(size=5002)
    >>> x = np.lib.stride_tricks.sliding_window_view(x, 3).max(axis=1)  # each surge lasts three days
    >>> choose_k_gaps(x, [4.5, 5.0, 5.5])
    KGapsChoice(u=4.5, K=1: theta=0.3318, limits 0.2769 … 0.3913)
    """

    threshold: Float
    k: Int
    theta: Float
    lower: Float
    upper: Float
    p_value: Float
    chosen_threshold: float
    chosen_k: int

    def _table(self) -> dict[str, Any]:
        """A row a threshold and run length."""
        shape = self.theta.shape
        table = {"threshold": np.repeat(self.threshold, shape[1]), "k": np.tile(self.k, shape[0])}
        return table | {name: getattr(self, name).ravel() for name in ("theta", "lower", "upper", "p_value")}

    def __repr__(self) -> str:
        if self.chosen_k < 0:
            return f"KGapsChoice({self.threshold.size} × {self.k.size} fits: the test rejects every one)"
        i, j = int(np.argmin(self.threshold != self.chosen_threshold)), int(np.argmin(self.k != self.chosen_k))
        return (
            f"KGapsChoice(u={self.chosen_threshold:.6g}, K={self.chosen_k}: theta={self.theta[i, j]:.4g}, "
            f"limits {self.lower[i, j]:.4g} … {self.upper[i, j]:.4g})"
        )


def choose_k_gaps(
    x: ArrayLike, thresholds: ArrayLike, *, k: Sequence[int] = (1, 2, 3, 4, 5, 6), level: float = 0.95
) -> KGapsChoice:
    """Choose the run length, and the threshold with it, by the information matrix test (Süveges & Davison 2010, 2.3).

    The test finds a run length that is wrong, but hardly a threshold that is too low: there, exceedances of different
    clusters come within K of each other by chance. As times between clusters are exponential with rate θq, a share
    θqK of them does, and θ is too small by about θ²qK. So a fit is taken only where that is less than 0.3 of the
    distance to its limits, and where no longer run, of which the same can be said, has limits below its own
    (:doc:`/method` has how near the truth this comes).

    Parameters
    ----------
    x : array_like, (n,)
        A stationary stream in order of time; NaN is a gap in the record.
    thresholds : array_like, (thresholds,)
        Thresholds to try.
    k : sequence of int
        Run lengths to try.
    level : float
        Confidence level of the limits.

    Returns
    -------
    KGapsChoice
        For each K there is a lowest threshold from which on the test does not reject it at 5 %, and at which chance
        does not matter as above. Chosen is the lowest of these thresholds, and the smallest K that has it; where chance
        matters at all of them, as it does for independent values, the fit to which it matters least.

    Raises
    ------
    ValueError
        As `fit_k_gaps`; also where x is not one stream or nothing is to be tried.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> z = -1 / np.log(rng.random(20_003))
    >>> moving_maximum = np.lib.stride_tricks.sliding_window_view(z, 4).max(axis=1)  # θ = 1/4
    >>> choose_k_gaps(moving_maximum, np.quantile(moving_maximum, [0.95, 0.97, 0.98, 0.99]))
    KGapsChoice(...)
    """
    levels, lengths = np.unique(np.asarray(thresholds, dtype=np.float64)), np.unique(np.asarray(k, dtype=np.int64))
    if not levels.size or not lengths.size:
        raise ValueError("thresholds and k must each hold at least one value, got none")
    table = [[fit_k_gaps(x, u, k=int(length), level=level) for length in lengths] for u in levels]
    if table[0][0].theta.ndim:
        raise ValueError("x must be one stream of shape (n,), got several")
    theta, lower, upper, p = (
        np.array([[float(getattr(fit, name)) for fit in row] for row in table])
        for name in ("theta", "lower", "upper", "p_value")
    )
    held = np.logical_and.accumulate(~(p < _REJECTED)[::-1], axis=0)[::-1] & ~np.isnan(theta)
    rate = np.array([exceedance_times(streams_of(x), u).rate for u in levels])
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = theta**2 * rate[:, None] * lengths / np.maximum(0.5 * (upper - lower), 1e-9)
        small = chance <= _CHANCE
        for j in range(lengths.size):  # a longer run finds clusters that a shorter one misses
            held[:, j] &= ~np.any(small[:, j + 1 :] & (upper[:, j + 1 :] < lower[:, j, None]), axis=1)
    fine = held & small
    place = [(int(np.argmax(fine[:, j])), j) for j in range(lengths.size) if np.any(fine[:, j])]
    i, j = min(place, default=(-1, -1))
    if not place and np.any(held):
        i, j = np.unravel_index(np.argmin(np.where(held, chance, np.inf)), held.shape)  # type: ignore[assignment]
    chosen = (float(levels[i]), int(lengths[j])) if j >= 0 else (math.nan, -1)
    return KGapsChoice(levels, lengths, theta, lower, upper, p, *chosen)


def _fit(x: Float, u: float, k: int, drop: float) -> list[float]:
    """What `KGaps` holds of one channel."""
    found = exceedance_times(x, u)
    q = found.rate
    gaps = q * np.maximum(found.known - k, 0)
    cut = q * np.maximum(found.censored - k, 0)
    zero, positive, partial = (int(np.count_nonzero(a)) for a in (gaps == 0.0, gaps, cut))
    total, wanted = float(gaps.sum() + cut.sum() + q * found.between), 2 * positive + partial
    counts = [float(gaps.size), float(cut.size)]
    if gaps.size == 0 or (zero + wanted == 0):
        return [math.nan] * 7 + counts

    def loglik(theta: float) -> float:
        return float(xlog1py(zero, -theta) + xlogy(wanted, theta) - theta * total)

    # B θ² − (A + N₀ + B) θ + A = 0, by the root that does not cancel
    middle = wanted + zero + total
    theta = 2.0 * wanted / (middle + math.sqrt(max(middle * middle - 4.0 * wanted * total, 0.0)))
    theta = min(theta, 1.0)
    best = loglik(theta)
    lower, upper = (_falls_to(loglik, best - drop, theta, end) for end in (0.0, 1.0))
    if not 0.0 < theta < 1.0:
        return [theta, lower, upper, math.nan, best, math.nan, math.nan, *counts]
    se = 1.0 / math.sqrt(zero / (1.0 - theta) ** 2 + wanted / theta**2)
    statistic = _information_test(gaps, theta) if cut.size <= 0.1 * (gaps.size + cut.size) else math.nan
    return [theta, lower, upper, se, best, statistic, float(chdtrc(1, statistic)), *counts]


def _falls_to(loglik: Callable[[float], float], bar: float, inside: float, outside: float) -> float:
    """Where a concave function of θ meets a bar between its maximum and an end; the end where it does not."""
    if not loglik(outside) < bar:
        return outside
    for _ in range(200):
        middle = 0.5 * (inside + outside)
        if middle in (inside, outside):
            break
        if loglik(middle) >= bar:
            inside = middle
        else:
            outside = middle
    return inside


def _information_test(gaps: Float, theta: float) -> float:
    """N D²/V with D the mean of d = ℓ′² + ℓ″ over the gaps (White 1982; Süveges & Davison 2010, equation 6)."""
    at_zero = gaps == 0.0
    score = np.where(at_zero, -1.0 / (1.0 - theta), 2.0 / theta - gaps)
    curvature = np.where(at_zero, -1.0 / (1.0 - theta) ** 2, -2.0 / theta**2)
    third = np.where(at_zero, -2.0 / (1.0 - theta) ** 3, 4.0 / theta**3)
    d = score**2 + curvature
    by_theta = np.mean(2.0 * score * curvature + third)
    variance = np.mean((d + by_theta / np.mean(-curvature) * score) ** 2)
    return float(gaps.size * np.mean(d) ** 2 / variance) if variance > 0.0 else 0.0
