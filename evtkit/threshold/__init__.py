"""Choosing the threshold u: mean residual life, parameter stability, and an automatic suggestion.

Above a threshold where the GPD holds, it holds above every higher one, with the same ξ, a mean excess that is linear
in u, and a modified scale σ* = σ − ξu that does not depend on u (Coles 2001, sections 4.3.1 and 4.3.4). Too low a
threshold is biased, too high a one wastes data: choose the lowest at which these hold. They look at one channel;
`suggest_thresholds` chooses for many.

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

from evtkit._common.results import Result
from evtkit.threshold.averaging import averaged_level, choice_weights
from evtkit.threshold.choosing import METHODS, ThresholdChoice, ThresholdChoices, suggest_threshold, suggest_thresholds
from evtkit.threshold.grid import candidate_thresholds, fits_above, one_channel

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = [
    "METHODS",
    "MeanResidualLife",
    "ParameterStability",
    "ThresholdChoice",
    "ThresholdChoices",
    "averaged_level",
    "choice_weights",
    "mean_residual_life",
    "parameter_stability",
    "suggest_threshold",
    "suggest_thresholds",
]


@dataclass(frozen=True, eq=False, repr=False)
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

    See Also
    --------
    mean_residual_life : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import threshold
    >>> x = np.random.default_rng(0).standard_t(df=4, size=2000)
    >>> life = threshold.mean_residual_life(x, [1.0, 2.0])
    >>> print(life.summary())
    MeanResidualLife(level=0.95, 2 rows)
    threshold  mean_excess    lower   upper  n_excess
            1      0.91822  0.80797  1.0285       365
            2        1.044  0.81342  1.2745       116
    """

    threshold: Float
    mean_excess: Float
    lower: Float
    upper: Float
    n_excess: NDArray[np.int64]
    level: float


@dataclass(frozen=True, eq=False, repr=False)
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

    See Also
    --------
    parameter_stability : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import threshold
    >>> x = np.random.default_rng(0).standard_t(df=4, size=2000)
    >>> fits = threshold.parameter_stability(x, [1.0, 2.0])
    >>> fits.se_xi.round(3)
    array([0.06 , 0.127])
    """

    threshold: Float
    xi: Float
    modified_scale: Float
    se_xi: Float
    se_modified_scale: Float
    n_excess: NDArray[np.int64]
    status: NDArray[np.int64]


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

    See Also
    --------
    evtkit.plot.mean_residual_life : the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import threshold
    >>> x = np.random.default_rng(0).standard_t(df=4, size=2000)
    >>> life = threshold.mean_residual_life(x, [1.0, 2.0, 3.0])
    >>> life.mean_excess.round(2), life.n_excess
    (array([0.92, 1.04, 1.41]), array([365, 116,  38]))
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    ordered = one_channel(x)
    u = candidate_thresholds(ordered, thresholds)
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

    See Also
    --------
    evtkit.plot.stability : the picture.
    suggest_threshold : a suggestion from tests.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import threshold
    >>> x = np.random.default_rng(0).standard_t(df=4, size=2000)
    >>> fits = threshold.parameter_stability(x, [1.0, 2.0, 3.0])
    >>> fits.xi.round(2), fits.modified_scale.round(2)
    (array([ 0.14,  0.24, -0.02]), array([0.65, 0.33, 1.48]))
    """
    ordered = one_channel(x)
    u = candidate_thresholds(ordered, thresholds)
    _, fit = fits_above(ordered, u)
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
