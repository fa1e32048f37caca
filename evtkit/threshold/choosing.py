"""Suggesting a threshold: candidates, the evidence for each, one choice; of one channel or of many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array, whole_number
from evtkit._common.frames import frame_labels
from evtkit._common.results import Result
from evtkit.threshold.evidence import METHODS
from evtkit.threshold.grid import CANDIDATES, Channel, channels_of, one_channel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int

__all__ = ["METHODS", "ThresholdChoice", "ThresholdChoices", "choose", "suggest_threshold", "suggest_thresholds"]


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
        Of the test at each; NaN for methods that are none.
    statistic : ndarray of float64
        What the choice was made by: ForwardStop's −1/k Σ_{i≤k} log(1 − pᵢ), of which the last k where it is at most
        `fdr` is the last rejection; the expected quantile discrepancy, in the units of the data; or twice the gain in
        log-likelihood by a change at the threshold.
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
    ThresholdChoice(threshold=0.502756, xi=0.0845066, sigma=0.831184, n_excess=636, ...)
    >>> choice.p_value[:3].round(4)  # of the candidates, from the lowest on
    array([0.    , 0.0003, 0.0025])
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


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdChoices(Result):
    """Suggested thresholds of many channels; every array has one entry a channel.

    Attributes
    ----------
    threshold, xi, sigma : ndarray of float64
        The suggestions and the fits there; NaN where every threshold is rejected.
    n_excess : ndarray of int64
        Number of excesses above each; 0 where every threshold is rejected.
    tested, rejected : ndarray of int64
        How many candidates were tested, and how many of the lowest were rejected, or passed over.
    method : str
        As it was asked for.
    fdr : float
        False discovery rate.
    names : ndarray of str, or None
        Of the channels.

    Examples
    --------
    >>> from evtkit import gpd, threshold
    >>> choices = threshold.suggest_thresholds(gpd.rvs(0.1, 1.0, size=(1000, 2), rng=0))
    >>> choices.threshold.shape
    (2,)
    """

    threshold: Float
    xi: Float
    sigma: Float
    n_excess: Int
    tested: Int
    rejected: Int
    method: str
    fdr: float
    names: NDArray[np.str_] | None = None


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
        geometric progression: an eighth apart, or more where that would be over 50 candidates (20 or 30 by the slower
        methods). The sequence ends before the first threshold that cannot be tested, where the fit lies on the boundary
        ξ = −1 or there is none.
    method : {"forward-stop", "score", "discrepancy", "increments"}
        ``"forward-stop"`` (Bader, Yan & Zhang 2018): the fit over each candidate is tested with the Anderson–Darling
        statistic; ForwardStop (G'Sell et al. 2016) rejects the first k̂, k̂ the largest k for which
        −1/k Σ_{i≤k} log(1 − pᵢ) ≤ `fdr`, and the suggestion is the one after them. ``"score"``: the same with the score
        test that the shape does not change above a candidate (Northrop & Coleman 2014). ``"discrepancy"``: the
        candidate with the smallest expected quantile discrepancy, the mean distance between fitted and observed
        quantiles over 100 bootstrap samples (Murphy, Tawn & Varty 2024), always the same ones. ``"increments"``
        (Wadsworth 2016): from one candidate to the next the estimated shape changes by independent normal amounts where
        the model holds; the suggestion is where they begin to, if a likelihood-ratio test at `fdr` finds a change.
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
    Tawn & Varty (2024), Technometrics 67, 215-224. Wadsworth (2016), Technometrics 58, 116-126.

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
    u = 0.50, 636 excesses, ξ = 0.08
    """
    (choice,) = choose([one_channel(x)], thresholds, method, fdr, resolution)
    return choice


def suggest_thresholds(
    x: ArrayLike,
    *,
    method: str = "forward-stop",
    fdr: float = 0.05,
    resolution: float | None = None,
    n_candidates: int | None = None,
) -> ThresholdChoices:
    """Suggest a threshold for each of many channels, as `suggest_threshold` does for one.

    Parameters
    ----------
    x : array_like, (n, channels)
        Observations; NaN is missing.
    method, fdr, resolution
        As there. ``"increments"`` and ``"forward-stop"`` take .4 and .8 ms a channel of 1,000 observations, the others
        some hundred.
    n_candidates : int, optional
        How many candidates a channel has, by default as many as alone.

    Returns
    -------
    ThresholdChoices

    Raises
    ------
    ValueError
        As `suggest_threshold`, for any channel.

    Examples
    --------
    >>> from evtkit import gpd, threshold
    >>> x = gpd.rvs([-0.2, 0.0, 0.3], 1.0, size=(1000, 3), rng=0)
    >>> threshold.suggest_thresholds(x).n_excess
    array([499, 499, 499])
    """
    values = real_array(x, "x")
    if values.ndim != 2 or not values.size:
        raise ValueError(f"x must have shape (n, channels), got {values.shape}")
    size = None if n_candidates is None else whole_number(n_candidates, "n_candidates", 2)
    labels = frame_labels(x)
    found = list(choose((one_channel(column) for column in values.T), None, method, fdr, resolution, size))
    return ThresholdChoices(
        threshold=np.array([one.threshold for one in found]),
        xi=np.array([one.xi for one in found]),
        sigma=np.array([one.sigma for one in found]),
        n_excess=np.array([one.n_excess for one in found]),
        tested=np.array([one.thresholds.size for one in found]),
        rejected=np.array([one.thresholds.size if one.index < 0 else one.index for one in found]),
        method=method,
        fdr=fdr,
        names=None if labels is None else labels.names,
    )


def choose(
    channels: Iterable[Float], thresholds: ArrayLike | None, method: str, fdr: float, resolution: float | None,
    size: int | None = None,
) -> Iterable[ThresholdChoice]:  # fmt: skip
    """The choice for each of some channels in ascending order; see `suggest_threshold`."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if not 0.0 < fdr < 1.0:
        raise ValueError(f"fdr must lie in (0, 1), got {fdr}")
    for block in channels_of(channels, thresholds, resolution, CANDIDATES[method], size):
        for channel, evidence in zip(block, METHODS[method](block, fdr), strict=True):
            yield _choice(channel, evidence.p_value, evidence.statistic, evidence.chosen, method, fdr)


def _choice(channel: Channel, p_value: Float, statistic: Float, index: int, method: str, fdr: float) -> ThresholdChoice:
    tested = channel.u[: len(statistic)]
    if index < 0:
        return ThresholdChoice(math.nan, math.nan, math.nan, 0, -1, tested, p_value, statistic, method, fdr)
    return ThresholdChoice(
        threshold=float(tested[index]),
        xi=float(channel.xi[index]),
        sigma=float(channel.sigma[index]),
        n_excess=int(channel.n_excess[index]),
        index=index,
        thresholds=tested,
        p_value=p_value,
        statistic=statistic,
        method=method,
        fdr=fdr,
    )
