"""What speaks for a threshold: one function a method, from the observations above each candidate to its evidence.

Every function takes the ordered observations, the candidates, the excesses over each (one a column, NaN elsewhere), the
fits over each, and the step that the data are rounded to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import chdtrc

from evtkit import gpd
from evtkit.fit import FitStatus, GpdFit, fit_gpd
from evtkit.gof import goodness_of_fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit._common.types import Float

__all__ = ["METHODS", "Evidence"]

_SAMPLES = 100  # bootstrap samples, and
_PROBABILITIES = 500  # quantiles compared in each: the authors' choice
_NODES = np.polynomial.legendre.leggauss(12)


class Evidence(NamedTuple):
    """What speaks for and against every candidate."""

    p_value: Float
    """Of the test at each; NaN where the method is none."""
    statistic: Float
    """What is compared: ForwardStop's statistic, or the discrepancy."""
    chosen: int
    """The candidate chosen, −1 where all are rejected."""


def anderson_darling(ordered: Float, u: Float, excesses: Float, fit: GpdFit, step: float, limit: float) -> Evidence:
    """The Anderson–Darling test of every fit, and ForwardStop (Bader, Yan & Zhang 2018)."""
    return forward_stop(goodness_of_fit(excesses, fit).p_a2, limit)


def score(ordered: Float, u: Float, excesses: Float, fit: GpdFit, step: float, limit: float) -> Evidence:
    """Whether ξ is the same between all higher candidates (Northrop & Coleman 2014), and ForwardStop."""
    x = _spread(ordered, step)
    p = np.array([_score_p_value(x[x > u[i]], u[i:], float(fit.xi[i]), float(fit.sigma[i])) for i in range(len(u))])
    return forward_stop(p[: max(1, len(p) - 1)], limit)  # above the last one there is nothing to compare


def discrepancy(ordered: Float, u: Float, excesses: Float, fit: GpdFit, step: float, limit: float) -> Evidence:
    """The expected quantile discrepancy (Murphy, Tawn & Varty 2024): the candidate where it is smallest."""
    rng = np.random.default_rng(0)
    p = np.arange(1, _PROBABILITIES + 1) / (_PROBABILITIES + 1.0)
    found = np.full(len(u), np.inf)
    for i in range(len(u)):
        y = excesses[~np.isnan(excesses[:, i]), i]
        if len(y) < 2:
            continue
        drawn = y[np.sort(rng.integers(len(y), size=(len(y), _SAMPLES)), axis=0)]  # y is in order, and so are these
        own = fit_gpd(drawn, resolution=step)
        place = p * (len(y) - 1.0)
        low = place.astype(np.int64)
        share = (place - low)[:, None]
        observed = (1.0 - share) * drawn[low] + share * drawn[np.minimum(low + 1, len(y) - 1)]
        expected = gpd.isf(1.0 - p[:, None], own.xi, own.sigma)
        fine = np.isfinite(own.xi)
        if fine.any():
            found[i] = np.abs(observed - expected)[:, fine].mean()
    return Evidence(np.full(len(u), np.nan), found, int(np.argmin(found)) if np.isfinite(found).any() else -1)


METHODS: dict[str, Callable[[Float, Float, Float, GpdFit, float, float], Evidence]] = {
    "forward-stop": anderson_darling,
    "score": score,
    "discrepancy": discrepancy,
}
"""Every way to choose a threshold, by name."""


def forward_stop(p: Float, limit: float) -> Evidence:
    """Reject the first k hypotheses, k the last where −1/k Σ log(1 − p) ≤ limit (G'Sell et al. 2016)."""
    with np.errstate(divide="ignore"):
        statistic = np.cumsum(-np.log1p(-p)) / np.arange(1, len(p) + 1)
    rejected = np.flatnonzero(statistic <= limit)
    index = int(rejected[-1]) + 1 if rejected.size else 0
    return Evidence(p, statistic, index if index < len(p) else -1)


def untestable(fit: GpdFit) -> int:
    """The first candidate over which there is no fit that can be tested."""
    bad = np.flatnonzero(fit.status != FitStatus.OK)
    return int(bad[0]) if bad.size else len(fit.status)


def _score_p_value(x: Float, u: Float, xi: float, sigma: float) -> float:
    """Of the score test that the shape is ξ above every one of the thresholds u, against one shape between each two."""
    if len(u) < 2:
        return 1.0
    if xi <= -0.5:
        return float("nan")  # there is no information matrix
    total = _scores(x, u, xi, sigma).sum(axis=0)
    # the expected information, by Gauss–Legendre in the probability of each interval
    inner = np.append(gpd.sf(u - u[0], xi, sigma), 0.0)
    nodes, weights = _NODES
    chance = inner[1:, None] + 0.5 * (inner[:-1] - inner[1:])[:, None] * (nodes + 1.0)
    weight = 0.5 * (inner[:-1] - inner[1:])[:, None] * weights
    points = u[0] + gpd.isf(chance.ravel(), xi, sigma)
    own = _scores(points, u, xi, sigma)
    information = (own * weight.reshape(-1, 1)).T @ own
    size = np.sqrt(np.maximum(np.diagonal(information), 1e-300))
    scaled = total / size
    statistic = scaled @ np.linalg.pinv(information / np.outer(size, size), rcond=1e-10, hermitian=True) @ scaled
    return float(chdtrc(len(u) - 1, max(0.0, statistic / len(x))))


def _scores(x: Float, u: Float, xi: float, sigma: float) -> Float:
    """Derivatives of each log-density in σ at the lowest threshold and in the shape of every interval, where all are ξ.

    Between u_k and u_{k+1} the density is that of a GPD of shape ξ_k and scale σ_k, times the probability of having
    passed the intervals before; σ_{k+1} = σ_k + ξ_k (u_{k+1} − u_k).
    """
    m = len(u)
    scales, widths = sigma + xi * (u - u[0]), np.diff(u)
    interval = np.clip(np.searchsorted(u, x, side="left") - 1, 0, m - 1)
    passed_sigma = widths / (scales[:-1] * scales[1:])
    passed_xi = -_bend(widths / scales[:-1], xi)
    before = np.append(0.0, np.cumsum(passed_sigma))
    z = (x - u[interval]) / scales[interval]
    in_sigma = (z * (1.0 + xi) / (1.0 + xi * z) - 1.0) / scales[interval]
    out = np.zeros((len(x), 1 + m))
    out[:, 0] = before[interval] + in_sigma
    for j in range(m - 1):
        out[:, 1 + j] = np.where(
            interval > j, passed_xi[j] + widths[j] * (before[interval] - before[j + 1] + in_sigma), 0.0
        )
    out[np.arange(len(x)), 1 + interval] = -_bend(z, xi) - z / (1.0 + xi * z)
    return out


def _bend(z: Float, xi: float) -> Float:
    """The derivative of log(1 + ξz)/ξ in ξ."""
    u = xi * z
    near = np.abs(u) < 1e-3
    far = np.where(near, 1.0, u)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = (far / (1.0 + far) - np.log1p(far)) / far**2
    return np.asarray(z**2 * np.where(near, -0.5 + u * (2.0 / 3.0 - u * (0.75 - 0.8 * u)), whole))


def _spread(ordered: Float, step: float) -> Float:
    """Rounded values where they may have been: those that are equal, evenly over their cell."""
    if not step > 0.0:
        return ordered
    _, first, count = np.unique(ordered, return_index=True, return_counts=True)
    place = (np.arange(len(ordered)) - np.repeat(first, count) + 0.5) / np.repeat(count, count)
    return ordered + step * (place - 0.5)
