r"""L-moments: location, scale and shape of a sample by expectations of order statistics (Hosking 1990).

.. math::

    λ_1 = E X, \quad λ_2 = \tfrac12 E(X_{2:2} - X_{1:2}), \quad
    λ_3 = \tfrac13 E(X_{3:3} - 2 X_{2:3} + X_{1:3}), \quad …

with the ratios τ₃ = λ₃/λ₂ (L-skewness) and τ₄ = λ₄/λ₂ (L-kurtosis). The sample's are unbiased linear combinations of
its order statistics, exist where the mean does, and hardly move for one outlier. Every distribution here has its curve
of τ₄ against τ₃ (`RATIOS`), which `evtkit.plot.l_moment_ratios` draws.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import comb, gamma

from evtkit._common.checks import real_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["POINTS", "RATIOS", "gev_from", "gumbel_from", "l_moments", "plotting_moments"]

EULER = 0.5772156649015329


def l_moments(x: ArrayLike, order: int = 4, *, axis: int = 0) -> Float:
    """Unbiased sample L-moments λ₁, λ₂, τ₃, τ₄, …: the third and later ones as ratios to λ₂.

    Parameters
    ----------
    x : array_like
        Observations along `axis`, channels along the others. NaN is padding.
    order : int
        How many.
    axis : int
        The axis of the observations.

    Returns
    -------
    ndarray of float64, (order, …)
        NaN where a channel has fewer observations than the order of a moment, and for the ratios of equal values.

    Raises
    ------
    ValueError
        If x is infinite or not numbers, or order is not at least 1.

    Examples
    --------
    >>> l_moments([1.0, 2.0, 3.0, 4.0, 10.0]).round(4)
    array([4. , 2. , 0.5, 0.5])
    """
    if order != int(order) or order < 1:
        raise ValueError(f"order must be an integer of at least 1, got {order}")
    values = real_array(x, "x").astype(np.float64)
    if values.ndim == 0 or not -values.ndim <= axis < values.ndim:
        raise ValueError(f"x must have an axis {axis}, got shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"x must be finite (NaN is padding), got {values[np.isinf(values)][0]}")
    ordered = np.sort(np.moveaxis(values, axis, 0), axis=0)  # NaN last
    n = np.count_nonzero(~np.isnan(ordered), axis=0)
    centre = ordered[0] if len(ordered) else np.full(ordered.shape[1:], np.nan)  # so that large offsets cost no digits
    rank = np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1))
    beta = []
    weight = np.where(rank < n, 1.0, 0.0)
    for r in range(order):
        with np.errstate(invalid="ignore", divide="ignore"):
            total = np.sum(np.where(weight != 0.0, weight * (ordered - centre), 0.0), axis=0)
            beta.append(np.where(n > r, total / n, np.nan))
            weight = np.where(rank < n, weight * (rank - r) / np.where(n > r + 1, n - r - 1, np.nan), 0.0)
    return _from_weighted(np.array(beta), centre)


def plotting_moments(x: Float, order: int = 3) -> Float:
    """L-moments by plotting positions (i − 0.35)/n (Hosking, Wallis & Wood 1985), of x with NaN padding, axis 0."""
    ordered = np.sort(x, axis=0)
    n = np.count_nonzero(~np.isnan(ordered), axis=0)
    rank = np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1))
    centre = ordered[0]
    position = (rank + 0.65) / np.maximum(n, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        beta = [np.nansum(position**r * (ordered - centre), axis=0) / n for r in range(order)]
    return _from_weighted(np.array(beta), centre)


def _from_weighted(beta: Float, centre: Float) -> Float:
    """L-moments from probability-weighted moments of the values less some centre (Hosking 1990, equation 2.3)."""
    out = []
    for r in range(len(beta)):
        weights = [(-1.0) ** (r - k) * comb(r, k) * comb(r + k, k) for k in range(r + 1)]
        out.append(sum(w * b for w, b in zip(weights, beta[: r + 1], strict=True)))
    out[0] = out[0] + centre
    with np.errstate(invalid="ignore", divide="ignore"):
        for r in range(2, len(out)):
            out[r] = np.where(out[1] > 0.0, out[r] / out[1], np.nan)
    return np.array(out)


def gev_from(location: Float, scale: Float, skewness: Float) -> tuple[Float, Float, Float]:
    """ξ, μ and σ of the GEV with these λ₁, λ₂ and τ₃ (Hosking, Wallis & Wood 1985), by an exact root; NaN for none.

    τ₃ = 2 (1 − 3^ξ)/(1 − 2^ξ) − 3 increases from −1 to 1 for ξ from −∞ to 1.
    """
    skew = np.atleast_1d(np.asarray(skewness, dtype=np.float64))
    low, high = np.full(skew.shape, -60.0), np.full(skew.shape, 1.0 - 1e-12)
    for _ in range(70):
        middle = 0.5 * (low + high)
        above = gev_skewness(middle) > skew
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    xi = 0.5 * (low + high)
    xi = np.where((skew > -1.0) & (skew < 1.0) & (np.reshape(scale, skew.shape) > 0.0), xi, np.nan)
    near = np.abs(xi) < 1e-6
    safe = np.where(near, 1e-6, xi)
    grown = gamma(1.0 - safe)
    with np.errstate(invalid="ignore"):
        sigma = scale * np.where(near, 1.0 / math.log(2.0), safe / (grown * np.expm1(safe * math.log(2.0))))
        mu = location - sigma * np.where(near, EULER, (grown - 1.0) / safe)
    shape = np.shape(skewness)
    return xi.reshape(shape), np.reshape(mu, shape), np.reshape(sigma, shape)


def gumbel_from(location: Float, scale: Float) -> tuple[Float, Float]:
    """μ and σ of the Gumbel distribution with these λ₁ and λ₂."""
    sigma = scale / math.log(2.0)
    return location - EULER * sigma, sigma


def gev_skewness(xi: Float) -> Float:
    """τ₃ of a GEV with ξ < 1."""
    near = np.abs(xi) < 1e-7
    x = np.where(near, 1e-7, xi)
    return np.asarray(2.0 * np.expm1(x * math.log(3.0)) / np.expm1(x * math.log(2.0)) - 3.0)


def _gev(xi: Float) -> tuple[Float, Float]:
    near = np.abs(xi) < 1e-6
    x = np.where(near, 1e-6, xi)
    powers = [np.expm1(x * math.log(j)) for j in (2.0, 3.0, 4.0)]
    return gev_skewness(xi), (5.0 * powers[2] - 10.0 * powers[1] + 6.0 * powers[0]) / powers[0]


def _gpd(xi: Float) -> tuple[Float, Float]:
    return (1.0 + xi) / (3.0 - xi), (1.0 + xi) * (2.0 + xi) / ((3.0 - xi) * (4.0 - xi))


def _logistic(xi: Float) -> tuple[Float, Float]:
    return xi, (1.0 + 5.0 * xi * xi) / 6.0


RATIOS: dict[str, Callable[[Float], tuple[Float, Float]]] = {
    "generalised extreme-value": _gev,
    "generalised Pareto": _gpd,
    "generalised logistic": _logistic,
}
"""(τ₃, τ₄) of a family for a shape ξ < 1 (Hosking 1990, table 1)."""

POINTS: dict[str, tuple[float, float]] = {
    "Gumbel": (math.log(9.0 / 8.0) / math.log(2.0), (16.0 * math.log(2.0) - 10.0 * math.log(3.0)) / math.log(2.0)),
    "exponential": (1.0 / 3.0, 1.0 / 6.0),
    "normal": (0.0, 30.0 / math.pi * math.atan(math.sqrt(2.0)) - 9.0),
    "uniform": (0.0, 0.0),
    "logistic": (0.0, 1.0 / 6.0),
}
"""(τ₃, τ₄) of distributions without a shape (Hosking 1990, table 1)."""
