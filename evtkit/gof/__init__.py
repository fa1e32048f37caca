"""Does the generalised Pareto distribution fit? Cramér–von Mises W² and Anderson–Darling A², with p-values.

With uᵢ = F(y₍ᵢ₎) under the fitted distribution, in ascending order,

    W² = Σ (uᵢ − (2i − 1)/2n)² + 1/12n,   A² = −n − Σ (2i − 1)/n · (log uᵢ + log(1 − uₙ₊₁₋ᵢ)).

Both measure the distance between the fitted and the empirical distribution; A² gives the tails more weight. The
parameters are estimated from the same sample, so the statistics are smaller than for a known distribution, and their
law depends on ξ: Choulakian & Stephens (2001). Excesses are taken from the threshold, never from their own minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit._common.threads import for_each, pieces
from evtkit.fit import FitStatus, GpdFit, fit_gpd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.interpolate import CubicSpline

    from evtkit._common.types import Float

__all__ = ["GoodnessOfFit", "goodness_of_fit"]

_METHODS = ("asymptotic", "bootstrap")
_WORK = 16  # of an excess, as much as of so many values elsewhere
_BLOCK = 1 << 20  # simulated excesses held at a time


@dataclass(frozen=True, eq=False, repr=False)
class GoodnessOfFit(Result):
    """Goodness of fit of one or many channels; every array has one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    w2, a2 : ndarray of float64
        The statistics; NaN where there is no fit. A² is infinite where the fit ends at the largest excess (ξ = −1).
    p_w2, p_a2 : ndarray of float64
        Probability of a statistic at least as large if the distribution is a GPD; small values speak against it.
    n : ndarray of int64
        Excesses used.
    method : str
        How the p-values were found.

    See Also
    --------
    goodness_of_fit : makes it.
    evtkit.Tail.goodness_of_fit : of a tail.

    Examples
    --------
    >>> from evtkit import fit_gpd, gof, gpd
    >>> excesses = gpd.rvs(0.2, 1.0, size=300, rng=0)
    >>> gof.goodness_of_fit(excesses, fit_gpd(excesses))
    GoodnessOfFit(w2=0.0366353, a2=0.260889, p_w2=0.753522, p_a2=0.779365, n=300, method='asymptotic')
    """

    w2: Float
    a2: Float
    p_w2: Float
    p_a2: Float
    n: NDArray[np.int64]
    method: str


def goodness_of_fit(
    excesses: ArrayLike,
    fit: GpdFit | None = None,
    *,
    method: str = "asymptotic",
    n_boot: int = 999,
    rng: np.random.Generator | int | None = None,
) -> GoodnessOfFit:
    """Test whether excesses follow the GPD that was fitted to them by maximum likelihood.

    Where the fit is one of rounded excesses (`GpdFit.resolution`), only how many lie in each cell is tested: within,
    they are placed as the fit expects. On a coarse lattice that leaves less to be found, and the test errs on the side
    of not rejecting.

    Parameters
    ----------
    excesses : array_like, (n,) or (n, channels)
        Positive excesses; NaN is padding.
    fit : GpdFit, optional
        The maximum-likelihood fit of these excesses; computed where it is not given.
    method : {"asymptotic", "bootstrap"}
        ``"asymptotic"``: p-values from the limiting distributions for large n, good from 25 excesses where ξ ≥ 0 and
        conservative in small samples of bounded tails (at ξ = −0.2 and n = 25, a test at 5 % rejects 3 %). They exist
        for ξ > −½; for −1 < ξ ≤ −½ those of ξ = −½ are used, as Choulakian & Stephens (2001) advise, and at the
        boundary ξ = −1 the p-values are NaN. ``"bootstrap"``: `n_boot` samples of each channel's size are drawn from
        its fit and fitted again, for any n and ξ; p = (1 + number at least as large)/(1 + n_boot).
    n_boot : int
        Number of bootstrap samples.
    rng : numpy.random.Generator or int, optional
        Generator of the bootstrap, or its seed.

    Returns
    -------
    GoodnessOfFit

    Raises
    ------
    ValueError
        For bad excesses (see `evtkit.fit_gpd`), a fit of another shape or method, an unknown method or n_boot < 1.

    Examples
    --------
    >>> from evtkit import gpd
    >>> test = goodness_of_fit(gpd.rvs(0.2, 1.0, size=200, rng=1))
    >>> print(f"A² = {test.a2:.3f}, p = {test.p_a2:.2f}")
    A² = 0.415, p = 0.42
    >>> test = goodness_of_fit(np.random.default_rng(1).gamma(2.0, size=200))
    >>> print(f"A² = {test.a2:.3f}, p = {test.p_a2:.1g}")
    A² = 9.433, p = 7e-13
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
    if n_boot < 1:
        raise ValueError(f"n_boot must be at least 1, got {n_boot}")
    values = real_array(excesses, "excesses")
    if values.ndim not in (1, 2):
        raise ValueError(f"excesses must have shape (n,) or (n, channels), got {values.shape}")
    if fit is None:
        fit = fit_gpd(values)
    if fit.xi.shape != values.shape[1:] or fit.method != "mle":
        raise ValueError(
            f"fit must be a maximum-likelihood fit of shape {values.shape[1:]}, got {fit.method!r} of {fit.xi.shape}"
        )
    columns = values.reshape(len(values), fit.xi.size).astype(np.float64)
    columns = _spread(columns, fit)
    if np.any(fit.n.ravel() != np.count_nonzero(~np.isnan(columns), axis=0)):
        raise ValueError("fit must be of these excesses, got one of other numbers of excesses")
    xi = np.where(fit.status <= FitStatus.BOUNDARY, fit.xi, np.nan).ravel()
    sigma = np.where(np.isnan(xi), np.nan, fit.sigma.ravel())
    w2, a2 = _statistics(columns, xi, sigma)
    if method == "bootstrap":
        p_w2, p_a2 = _bootstrap(w2, a2, xi, fit.n.ravel(), n_boot, np.random.default_rng(rng))
    else:
        p_w2, p_a2 = _p_value("W2", xi, w2), _p_value("A2", xi, a2)
    w2, a2, p_w2, p_a2 = (array.reshape(fit.xi.shape) for array in (w2, a2, p_w2, p_a2))
    return GoodnessOfFit(w2, a2, p_w2, p_a2, fit.n, method)


def _spread(columns: Float, fit: GpdFit) -> Float:
    """Rounded excesses put where the fit expects so many in their cells, evenly in probability."""
    if fit.resolution is None or not np.any(fit.resolution > 0.0):
        return columns
    from evtkit._kernels.grouped import spread_rows  # deferred: compiled

    rows = np.ascontiguousarray(columns.T)
    spread_rows(rows, *(np.ascontiguousarray(a.ravel()) for a in (fit.resolution, fit.xi, fit.sigma)))
    return rows.T


def _statistics(columns: Float, xi: Float, sigma: Float) -> tuple[Float, Float]:
    """W² and A² of each column, NaN where ξ is."""
    from evtkit._kernels.distance import distances_of_rows  # deferred: compiled

    ordered = np.sort(np.ascontiguousarray(columns.T), axis=1)  # NaN last
    w2, a2 = np.empty(len(ordered)), np.empty(len(ordered))

    def some(rows: slice) -> None:
        distances_of_rows(ordered[rows], shape[rows], scale[rows], w2[rows], a2[rows])

    shape, scale = np.ascontiguousarray(xi), np.ascontiguousarray(sigma)
    for_each(some, pieces(len(ordered), _WORK * ordered.shape[1], None), None)
    return w2, a2


@cache
def _table(statistic: str) -> tuple[CubicSpline, Float]:
    """Percentage points as a function of 1/(1 + ξ), and the log odds of their probabilities, both for descending p."""
    from scipy.interpolate import CubicSpline  # deferred, for importing it takes long

    from evtkit.gof import points as table

    p = np.array(table.P)
    points = np.array(getattr(table, statistic))
    return CubicSpline(np.linspace(0.0, 2.0, len(points)), points), np.log(p) - np.log1p(-p)


def _p_value(statistic: str, xi: Float, value: Float) -> Float:
    """Upper-tail probability: log odds interpolated linearly between percentage points, and beyond them."""
    spline, log_odds = _table(statistic)
    testable = ~np.isnan(xi) & (xi > -1.0)
    points = spline(1.0 / (1.0 + np.where(testable, np.maximum(xi, -0.5), 0.0)))
    last = np.clip(np.sum(points <= value[:, None], axis=1), 1, len(log_odds) - 1)
    row = np.arange(len(xi))
    x0, x1 = points[row, last - 1], points[row, last]
    with np.errstate(invalid="ignore", over="ignore"):
        odds = log_odds[last - 1] + (log_odds[last] - log_odds[last - 1]) * (value - x0) / (x1 - x0)
        return np.where(testable, np.exp(-np.logaddexp(0.0, -odds)), np.nan)


def _bootstrap(
    w2: Float, a2: Float, xi: Float, n: NDArray[np.int64], n_boot: int, rng: np.random.Generator
) -> tuple[Float, Float]:
    """p-values by simulation from each channel's fit; σ = 1, because both statistics are free of units."""
    p_w2, p_a2 = np.full(xi.shape, np.nan), np.full(xi.shape, np.nan)
    for channel in np.flatnonzero(~np.isnan(xi)):
        size = int(n[channel])
        above_w2 = above_a2 = 1
        for start in range(0, n_boot, max(1, _BLOCK // size)):
            count = min(n_boot - start, max(1, _BLOCK // size))
            draws = gpd.rvs(xi[channel], 1.0, (size, count), rng)
            again = fit_gpd(draws)
            simulated_w2, simulated_a2 = _statistics(draws, again.xi, again.sigma)
            above_w2 += int(np.count_nonzero(simulated_w2 >= w2[channel]))
            above_a2 += int(np.count_nonzero(simulated_a2 >= a2[channel]))
        p_w2[channel], p_a2[channel] = above_w2 / (n_boot + 1), above_a2 / (n_boot + 1)
    return p_w2, p_a2
