r"""Which extremes of a calibration sample stand apart from the rest of its tail, and had better be left out?

A few anomalies among the observations that a tail is fitted to make it heavy, and hide themselves and those to come.
Leaving out what the fitted tail calls improbable does not help: they have made themselves probable. Here the k largest
excesses are first censored, that is, only their number and that they lie above the (k + 1)-th, y\ :sub:`c`, is used to
fit ξ and σ (type II censoring), and then the gap between y\ :sub:`c` and the smallest of them, y\ :sub:`g`, is judged:
if the tail is known, all k of them lie beyond it with probability r\ :sup:`k`, r = S(y\ :sub:`g`)/S(y\ :sub:`c`).

The tail is not known. A short one, or one estimated too short, leaves no room above its sample and would call every
maximum a gap. So ξ is taken to be at least 0, and half a standard error more than that; σ is the most likely one then;
and of an exponential whose scale is estimated from n excesses the probability is (1 − k log(r)/n)\ :sup:`−n`. A gap
must also be wider than twice any other between neighbouring excesses, which spares data that come in steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit import gpd
from evtkit._common.checks import real_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["fit_censored", "isolated"]

_GRID = np.linspace(-12.05, 20.05, 108)  # of log(1 + ξ y_c/σ)


def fit_censored(excesses: ArrayLike, censored: int) -> tuple[float, float]:
    """Fit a GPD to excesses of which so many others are only known to be larger than all of them.

    Parameters
    ----------
    excesses : array_like, shape (n,)
        The smaller excesses, positive.
    censored : int
        How many larger ones there are.

    Returns
    -------
    xi, sigma : float
        The maximum, over ξ ≥ −1, of Σ log f(yᵢ) + censored · log S(max yᵢ), to about 1 %. With t = ξ/σ it is attained
        at ξ(t) = (Σ log(1 + t yᵢ) + censored · log(1 + t max y))/n, which leaves one dimension to search.

    Raises
    ------
    ValueError
        If an excess is not positive and finite, or there is none.

    Examples
    --------
    >>> from evtkit import gpd
    >>> y = np.sort(gpd.rvs(0.2, 1.0, 5000, rng=0))
    >>> xi, sigma = fit_censored(y[:-100], censored=100)
    >>> round(xi, 2), round(sigma, 2)
    (0.23, 0.99)
    """
    y = real_array(excesses, "excesses").astype(np.float64)
    if y.ndim != 1 or not y.size or not np.all((y > 0) & (y < np.inf)):
        raise ValueError("excesses must be one or more positive, finite numbers in one dimension")
    n = len(y)

    def profile(reach: Float, logs: Float) -> Float:
        xi = (logs + censored * reach) / n
        return np.where(xi >= -1.0, -n * np.log(xi / np.expm1(reach)) - logs - n, -np.inf)

    reach, logs = _peak(y, profile, _GRID)
    xi = (logs + censored * reach) / n
    return xi, float(y.max() * xi / np.expm1(reach))


def _peak(y: Float, profile: Callable[[Float, Float], Float], grid: Float) -> tuple[float, float]:
    """Where a function of reach = log(1 + t max y) and Σ log(1 + t y) is largest: on ever finer grids."""
    shares = y / y.max()
    for _ in range(3):
        logs = np.log1p(np.expm1(grid)[:, None] * shares).sum(axis=1)
        best = int(np.argmax(profile(grid, logs)))
        found, width = (float(grid[best]), float(logs[best])), grid[1] - grid[0]
        grid = np.linspace(grid[best] - width, grid[best] + width, 22)  # an even number, lest 0 be among them
    return found


def isolated(x: ArrayLike, *, quantile: float = 0.98, alpha: float = 0.01, most: float = 0.5) -> NDArray[np.bool_]:
    """The largest observations that a gap separates from the rest of the tail, where a GPD would hardly leave one.

    Parameters
    ----------
    x : array_like, shape (n,)
        A sample, of which the upper tail is looked at (give −x for the lower one).
    quantile : float
        The tail begins at sorted(x)[floor(quantile · n)].
    alpha : float
        How improbable a gap must be, by the fitted tail, all gaps looked at together: α/(k (k + 1)) is the share of the
        one below the k largest. Of ordinary samples, up to some 4 in a hundred are touched, for heavy tails.
    most : float
        At the most this share of the excesses can be found to stand apart.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for what stands apart.

    Raises
    ------
    ValueError
        If x is not one dimension of finite numbers, or an argument lies outside (0, 1).

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal(2000)
    >>> x[[100, 200, 300]] = 15.0, 16.0, 50.0
    >>> np.flatnonzero(isolated(x))
    array([100, 200, 300])
    """
    values = real_array(x, "x").astype(np.float64)
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError("x must be finite numbers in one dimension")
    for name, share in (("quantile", quantile), ("alpha", alpha), ("most", most)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {share}")
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    threshold = ordered[int(quantile * len(values))]
    y = ordered[ordered > threshold] - threshold
    apart = np.zeros(len(values), dtype=bool)
    looked = int(most * len(y))
    for k in range(looked, 0, -1):
        rest, gap = y[:-k], y[-k] - y[-k - 1]
        if gap <= 2.0 * np.max(np.diff(rest), initial=rest[0]):  # no wider than the data's own steps
            continue
        n = len(rest)
        xi = max(fit_censored(rest, k)[0], 1e-3)
        xi += 0.5 * (1.0 + xi) / np.sqrt(n)
        sigma = _scale(rest, k, xi)
        ratio = k * float(gpd.logsf(y[-k - 1], xi, sigma) - gpd.logsf(y[-k], xi, sigma))
        if -n * np.log1p(ratio / n) < np.log(alpha / (k * (k + 1.0))):
            apart[order[-k:]] = True
            break
    return apart


def _scale(y: Float, censored: int, xi: float) -> float:
    """The most likely σ for a given ξ > 0, with so many larger excesses censored."""
    n = len(y)

    def loglik(reach: Float, logs: Float) -> Float:
        inside = reach > 0.0
        t = np.expm1(np.where(inside, reach, 1.0))
        return np.where(inside, n * np.log(t) - (1.0 + 1.0 / xi) * logs - censored / xi * reach, -np.inf)

    reach, _ = _peak(y, loglik, _GRID[_GRID > 0.0])
    return float(y.max() * xi / np.expm1(reach))
