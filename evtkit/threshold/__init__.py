"""Choosing the threshold u: mean residual life, parameter stability, and an automatic suggestion.

Above a threshold where the GPD holds, it holds above every higher one, with the same ξ, a mean excess that is linear
in u, and a modified scale σ* = σ − ξu that does not depend on u (Coles 2001, sections 4.3.1 and 4.3.4). Too low a
threshold is biased, too high a one wastes data: choose the lowest at which these hold. All three functions look at one
channel.

Examples
--------
>>> from evtkit import gpd, threshold
>>> rng = np.random.default_rng(1)
>>> x = np.concatenate([rng.uniform(0, 10, 3000), 10 + gpd.rvs(0.1, 2.0, size=600, rng=rng)])
>>> choice = threshold.suggest_threshold(x, np.arange(6.0, 13.0, 0.5))
>>> print(f"{choice.threshold:.1f}, {choice.n_excess} excesses, ξ = {choice.xi:.2f}")
9.5, 756 excesses, ξ = 0.06
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit.fit import FitStatus, GpdFit, fit_gpd, rounding_steps
from evtkit.gof import goodness_of_fit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = [
    "MeanResidualLife",
    "ParameterStability",
    "ThresholdChoice",
    "mean_residual_life",
    "parameter_stability",
    "suggest_threshold",
]

_GRID = 50
_FEWEST = 10  # excesses above the highest threshold of a default grid that is looked at,
_FEWEST_TESTED = 30  # and of one that is tested


@dataclass(frozen=True, eq=False)
class MeanResidualLife(Result):
    """Mean excess against the threshold; every array has one entry a threshold.

    Attributes
    ----------
    threshold : ndarray of float64
        Thresholds, ascending.
    mean_excess : ndarray of float64
        Mean of x − u over x > u; NaN where nothing exceeds u.
    lower, upper : ndarray of float64
        Pointwise confidence limits from the normal approximation; NaN with fewer than two excesses.
    n_excess : ndarray of int64
        Number of excesses.
    level : float
        Confidence level.
    """

    threshold: Float
    mean_excess: Float
    lower: Float
    upper: Float
    n_excess: NDArray[np.int64]
    level: float


@dataclass(frozen=True, eq=False)
class ParameterStability(Result):
    """Fits over a range of thresholds; every array has one entry a threshold.

    Attributes
    ----------
    threshold : ndarray of float64
        Thresholds, ascending.
    xi, modified_scale : ndarray of float64
        Shape ξ and modified scale σ* = σ − ξu; NaN where there is no fit.
    se_xi, se_modified_scale : ndarray of float64
        Standard errors, the latter by the delta method; NaN where ξ ≤ −0.5.
    n_excess : ndarray of int64
        Number of excesses.
    status : ndarray of int64
        The fits' `evtkit.FitStatus`.
    """

    threshold: Float
    xi: Float
    modified_scale: Float
    se_xi: Float
    se_modified_scale: Float
    n_excess: NDArray[np.int64]
    status: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ThresholdChoice(Result):
    """A suggested threshold, and the tests that led to it.

    Attributes
    ----------
    threshold, xi, sigma : float
        The suggestion and the fit there; NaN where every threshold is rejected.
    n_excess : int
        Number of excesses above it; 0 where every threshold is rejected.
    index : int
        Its place among the thresholds tested, −1 where every one is rejected.
    thresholds : ndarray of float64
        The thresholds tested, ascending.
    p_value : ndarray of float64
        Anderson–Darling p-value of the fit at each.
    mean_log : ndarray of float64
        ForwardStop's statistic, −1/k Σ_{i≤k} log(1 − pᵢ); the last k where it is at most `fdr` is the last rejection.
    fdr : float
        False discovery rate.
    """

    threshold: float
    xi: float
    sigma: float
    n_excess: int
    index: int
    thresholds: Float
    p_value: Float
    mean_log: Float
    fdr: float


def mean_residual_life(x: ArrayLike, thresholds: ArrayLike | None = None, *, level: float = 0.95) -> MeanResidualLife:
    """Mean excess over each threshold, with confidence limits (Davison & Smith 1990; Coles 2001, equation 4.9).

    Parameters
    ----------
    x : array_like, (n,)
        Observations; NaN is missing.
    thresholds : array_like, optional
        By default 50, evenly spaced from the median to the largest that leaves 10 excesses.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    MeanResidualLife

    Raises
    ------
    ValueError
        Where x is not one channel of finite numbers, thresholds are not finite numbers, or level is outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    ordered = _channel(x)
    u = _thresholds(ordered, thresholds)
    n = len(ordered) - np.searchsorted(ordered, u, side="right")
    mean, half = np.full(u.shape, np.nan), np.full(u.shape, np.nan)
    factor = ndtri(0.5 + 0.5 * level)
    for i, count in enumerate(n):
        excess = ordered[len(ordered) - count :] - u[i]
        if count:
            unit = excess[-1]  # lest squares overflow
            mean[i] = unit * np.mean(excess / unit)
        if count > 1:
            half[i] = factor * unit * np.std(excess / unit, ddof=1) / math.sqrt(count)
    return MeanResidualLife(u, mean, mean - half, mean + half, n, level)


def parameter_stability(x: ArrayLike, thresholds: ArrayLike | None = None) -> ParameterStability:
    """Shape and modified scale of the maximum-likelihood fit over each threshold (Coles 2001, section 4.3.4).

    Parameters
    ----------
    x : array_like, (n,)
        Observations; NaN is missing.
    thresholds : array_like, optional
        By default 50, evenly spaced from the median to the largest that leaves 10 excesses.

    Returns
    -------
    ParameterStability

    Raises
    ------
    ValueError
        Where x is not one channel of finite numbers, or thresholds are not finite numbers.
    """
    ordered = _channel(x)
    u = _thresholds(ordered, thresholds)
    _, fit = _fits(ordered, u)
    relative = u / fit.sigma  # lest squares overflow
    variance = (fit.se_sigma / fit.sigma) ** 2 - 2.0 * relative * (fit.cov / fit.sigma) + (relative * fit.se_xi) ** 2
    return ParameterStability(
        threshold=u,
        xi=fit.xi,
        modified_scale=fit.sigma - fit.xi * u,
        se_xi=fit.se_xi,
        se_modified_scale=fit.sigma * np.sqrt(variance),
        n_excess=fit.n,
        status=fit.status,
    )


def suggest_threshold(
    x: ArrayLike, thresholds: ArrayLike | None = None, *, fdr: float = 0.05, resolution: float | None = None
) -> ThresholdChoice:
    """Suggest the lowest threshold above which the GPD fits, by sequential tests (Bader, Yan & Zhang 2018).

    The fit over each threshold is tested with the Anderson–Darling statistic, and ForwardStop (G'Sell et al. 2016)
    rejects the first k̂ thresholds, k̂ the largest k for which −1/k Σ_{i≤k} log(1 − pᵢ) ≤ `fdr`. The suggestion is the
    one after them. It is a suggestion: look at the mean residual life and the parameter stability as well.

    Parameters
    ----------
    x : array_like, (n,)
        Observations, independent (decluster them first otherwise: `evtkit.dependence`); NaN is missing.
    thresholds : array_like, optional
        Candidates. By default up to 50 order statistics, from the median to the one that 30 exceed, their numbers of
        excesses in geometric progression. The sequence ends before the first threshold that cannot be tested, where the
        fit lies on the boundary ξ = −1 or there is none.
    fdr : float
        Rate in (0, 1) of thresholds that are rejected wrongly among those rejected.
    resolution : float or None
        The step that the data are rounded to, as in `fit_tail`; None finds out. Candidates are then middles between
        lattice points.

    Returns
    -------
    ThresholdChoice

    Raises
    ------
    ValueError
        Where x is not one channel of finite numbers, thresholds are not finite numbers, or fdr is outside (0, 1).
    """
    if not 0.0 < fdr < 1.0:
        raise ValueError(f"fdr must lie in (0, 1), got {fdr}")
    ordered = _channel(x)
    u = _thresholds(ordered, _ranked(ordered) if thresholds is None else thresholds)
    u, step = _mid_cells(ordered, u, resolution)
    excesses, fit = _fits(ordered, u, step)
    untestable = np.flatnonzero(fit.status != FitStatus.OK)
    tested = int(untestable[0]) if untestable.size else len(u)
    p = goodness_of_fit(excesses, fit).p_a2[:tested]
    with np.errstate(divide="ignore"):
        mean_log = np.cumsum(-np.log1p(-p)) / np.arange(1, tested + 1)
    rejected = np.flatnonzero(mean_log <= fdr)
    index = int(rejected[-1]) + 1 if rejected.size else 0
    if index >= tested:
        return ThresholdChoice(math.nan, math.nan, math.nan, 0, -1, u[:tested], p, mean_log, fdr)
    return ThresholdChoice(
        threshold=float(u[index]),
        xi=float(fit.xi[index]),
        sigma=float(fit.sigma[index]),
        n_excess=int(fit.n[index]),
        index=index,
        thresholds=u[:tested],
        p_value=p,
        mean_log=mean_log,
        fdr=fdr,
    )


def _channel(x: ArrayLike) -> Float:
    """One channel in ascending order, without NaN."""
    values = real_array(x, "x").astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"x must be one channel of shape (n,), got shape {values.shape}")
    values = np.sort(values[~np.isnan(values)])
    if not values.size or np.isinf(values[[0, -1]]).any():
        raise ValueError(f"x must hold finite numbers, got {values[[0, -1]] if values.size else 'none'}")
    return values


def _thresholds(ordered: Float, thresholds: ArrayLike | None) -> Float:
    if thresholds is None:
        return np.linspace(
            ordered[len(ordered) // 2], ordered[max(len(ordered) // 2, len(ordered) - 1 - _FEWEST)], _GRID
        )
    u = np.unique(real_array(thresholds, "thresholds").astype(np.float64))
    if not u.size or not np.all(np.isfinite(u)):
        raise ValueError(f"thresholds must be finite numbers, got {thresholds}")
    return u


def _ranked(ordered: Float) -> Float:
    """Order statistics from the median on, the number of larger values in geometric progression."""
    most = max(len(ordered) - 1 - len(ordered) // 2, 1)
    counts = np.geomspace(most, min(most, _FEWEST_TESTED), _GRID)
    ranks = len(ordered) - 1 - np.minimum(np.rint(counts).astype(np.int64), len(ordered) - 1)
    return np.take(ordered, ranks)


def _mid_cells(ordered: Float, u: Float, resolution: float | None) -> tuple[Float, float]:
    """Thresholds in the middle between two points of the data's lattice, if they have one, and its step."""
    from evtkit._kernels.grouped import mid_cell, rounding  # deferred: compiled

    above = ordered[np.searchsorted(ordered, u[0], side="right") :].copy()
    step = 0.0 if resolution is None else rounding_steps(resolution, 1)[0]
    if resolution is None and above.size:
        step = rounding(above, above.size, above.mean() - u[0])
    if not step > 0.0:
        return u, 0.0
    places = np.searchsorted(ordered, u, side="right")
    inside = places < ordered.size
    middles = [
        mid_cell(level, smallest, step) for level, smallest in zip(u[inside], ordered[places[inside]], strict=True)
    ]
    _, first = np.unique(places[inside], return_index=True)
    return np.array(middles)[first], step


def _fits(ordered: Float, u: Float, resolution: float = 0.0) -> tuple[Float, GpdFit]:
    """Excesses over every threshold, one a column, and their fits."""
    largest = ordered[np.searchsorted(ordered, u[0], side="right") :]
    excesses = largest[:, None] - u
    excesses[~(largest[:, None] > u)] = np.nan
    return excesses, fit_gpd(excesses, resolution=resolution)
