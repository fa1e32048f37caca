"""Suggesting a threshold: candidates, the evidence for each, one choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.results import Result
from evtkit.threshold.evidence import METHODS, untestable
from evtkit.threshold.grid import candidate_thresholds, fits_above, mid_cells, one_channel, ranked_thresholds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["METHODS", "ThresholdChoice", "suggest_threshold"]

_CANDIDATES = {"forward-stop": 50, "score": 20, "discrepancy": 30}


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdChoice(Result):
    """A suggested threshold, and the evidence that led to it.

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
        Of the test at each; NaN for the discrepancy, which is none.
    statistic : ndarray of float64
        What the choice was made by: ForwardStop's −1/k Σ_{i≤k} log(1 − pᵢ), of which the last k where it is at most
        `fdr` is the last rejection; or the expected quantile discrepancy, in the units of the data.
    method : str
        As it was asked for.
    fdr : float
        False discovery rate.

    See Also
    --------
    suggest_threshold : makes it.
    evtkit.plot.threshold_evidence : the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import threshold
    >>> x = np.random.default_rng(0).standard_t(df=4, size=2000)
    >>> choice = threshold.suggest_threshold(x)
    >>> choice
    ThresholdChoice(threshold=0.488408, xi=0.0887272, sigma=0.822495, n_excess=650, ...)
    >>> choice.p_value[:3].round(4)  # of the candidates, from the lowest on
    array([0.    , 0.0002, 0.0042])
    """

    threshold: float
    xi: float
    sigma: float
    n_excess: int
    index: int
    thresholds: Float
    p_value: Float
    statistic: Float
    method: str
    fdr: float


def suggest_threshold(
    x: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    method: str = "forward-stop",
    fdr: float = 0.05,
    resolution: float | None = None,
) -> ThresholdChoice:
    """Suggest the lowest threshold above which the GPD fits.

    It is a suggestion: look at the mean residual life and the parameter stability as well
    (`evtkit.plot.threshold_evidence` draws what the suggestion rests on).

    Parameters
    ----------
    x : array_like, (n,)
        Observations, independent (decluster them first otherwise: `evtkit.dependence`); NaN is missing.
    thresholds : array_like, optional
        Candidates. By default order statistics from the median to the one that 30 exceed, their numbers of excesses in
        geometric progression. The sequence ends before the first threshold that cannot be tested, where the fit lies on
        the boundary ξ = −1 or there is none.
    method : {"forward-stop", "score", "discrepancy"}
        ``"forward-stop"`` (Bader, Yan & Zhang 2018): the fit over each candidate is tested with the Anderson–Darling
        statistic; ForwardStop (G'Sell et al. 2016) rejects the first k̂, k̂ the largest k for which
        −1/k Σ_{i≤k} log(1 − pᵢ) ≤ `fdr`, and the suggestion is the one after them. ``"score"``: the same with the score
        test that the shape does not change above a candidate (Northrop & Coleman 2014). ``"discrepancy"``: the
        candidate with the smallest expected quantile discrepancy, the mean distance between fitted and observed
        quantiles over 100 bootstrap samples (Murphy, Tawn & Varty 2024), always the same ones.
    fdr : float
        Rate in (0, 1) of thresholds that are rejected wrongly among those rejected; of no account for the discrepancy.
    resolution : float or None
        The step that the data are rounded to, as in `fit_tail`; None finds out. Candidates are then middles between
        lattice points.

    Returns
    -------
    ThresholdChoice

    Raises
    ------
    ValueError
        Where x is not one channel of finite numbers, thresholds are not finite numbers, fdr is outside (0, 1), or there
        is no such method.

    References
    ----------
    Bader, Yan & Zhang (2018), Ann. Appl. Stat. 12, 310-329. Northrop & Coleman (2014), Extremes 17, 289-303. Murphy,
    Tawn & Varty (2024), Technometrics 67, 215-224.

    See Also
    --------
    parameter_stability : what to look at beside a suggestion.
    evtkit.fit_tail : chooses one by itself, high enough for most laws.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import threshold
    >>> x = np.random.default_rng(0).standard_t(df=4, size=2000)
    >>> choice = threshold.suggest_threshold(x)
    >>> print(f"u = {choice.threshold:.2f}, {choice.n_excess} excesses, ξ = {choice.xi:.2f}")
    u = 0.49, 650 excesses, ξ = 0.09
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if not 0.0 < fdr < 1.0:
        raise ValueError(f"fdr must lie in (0, 1), got {fdr}")
    ordered = one_channel(x)
    candidates = ranked_thresholds(ordered, _CANDIDATES[method]) if thresholds is None else thresholds
    u, step = mid_cells(ordered, candidate_thresholds(ordered, candidates), resolution)
    excesses, fit = fits_above(ordered, u, step)
    tested = untestable(fit)
    if tested < len(u):
        u, excesses = u[:tested], excesses[:, :tested]
        fit = fits_above(ordered, u, step)[1] if tested else fit
    if not tested:
        none = np.empty(0)
        return ThresholdChoice(math.nan, math.nan, math.nan, 0, -1, u, none, none, method, fdr)
    p_value, statistic, index = METHODS[method](ordered, u, excesses, fit, step, fdr)
    tested = len(statistic)
    if index < 0:
        return ThresholdChoice(math.nan, math.nan, math.nan, 0, -1, u[:tested], p_value, statistic, method, fdr)
    return ThresholdChoice(
        threshold=float(u[index]),
        xi=float(fit.xi[index]),
        sigma=float(fit.sigma[index]),
        n_excess=int(fit.n[index]),
        index=index,
        thresholds=u[:tested],
        p_value=p_value,
        statistic=statistic,
        method=method,
        fdr=fdr,
    )
