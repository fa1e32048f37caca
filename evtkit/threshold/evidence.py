"""What speaks for a threshold: one function a method, from the observations above each candidate to its evidence.

Every function takes channels with their candidates and fits, and the rate of false discoveries.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import chdtrc

from evtkit import gpd
from evtkit.fit import fit_gpd
from evtkit.gof import goodness_of_fit
from evtkit.threshold.grid import joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit._common.types import Float, Int
    from evtkit.threshold.grid import Channel

__all__ = ["METHODS", "Evidence", "spread"]

_SAMPLES = 100  # bootstrap samples, and
_PROBABILITIES = 500  # quantiles compared in each: the authors' choice
_LEAST = 4  # increments below a change
_NULL = 1000  # samples
_NODES = np.polynomial.legendre.leggauss(12)


class Evidence(NamedTuple):
    """What speaks for and against every candidate."""

    p_value: Float
    """Of the test at each; NaN where the method is none."""
    statistic: Float
    """What is compared: ForwardStop's statistic, or the discrepancy."""
    chosen: int
    """The candidate chosen, −1 where all are rejected."""


def anderson_darling(block: list[Channel], limit: float) -> list[Evidence]:
    """The Anderson–Darling test of every fit, and ForwardStop (Bader, Yan & Zhang 2018)."""
    width = max(channel.excesses.shape[1] for channel in block)
    rows = np.full((sum(len(channel.u) for channel in block), width), np.nan)
    first = 0
    for channel in block:
        size, own = channel.excesses.shape
        rows[first : first + size, width - own :] = channel.excesses
        first += size
    p = goodness_of_fit(rows.T, joined([channel.fit for channel in block])).p_a2
    ends = np.cumsum([0, *(len(channel.u) for channel in block)])
    return [forward_stop(p[a:b], limit) for a, b in pairwise(ends)]


def score(block: list[Channel], limit: float) -> list[Evidence]:
    """Whether ξ is the same between all higher candidates (Northrop & Coleman 2014), and ForwardStop."""
    return [_score(channel, limit) for channel in block]


def _score(channel: Channel, limit: float) -> Evidence:
    x, u = spread(channel.ordered, channel.step), channel.u
    p = np.array([_score_p_value(x[x > u[i]], u[i:], float(channel.xi[i]), float(channel.sigma[i]))
                  for i in range(len(u))])  # fmt: skip
    return forward_stop(p[: max(1, len(p) - 1)], limit)  # above the last one there is nothing to compare


def discrepancy(block: list[Channel], limit: float) -> list[Evidence]:
    """The expected quantile discrepancy (Murphy, Tawn & Varty 2024): the candidate where it is smallest."""
    return [_discrepancy(channel) for channel in block]


def _discrepancy(channel: Channel) -> Evidence:
    rng = np.random.default_rng(0)
    p = np.arange(1, _PROBABILITIES + 1) / (_PROBABILITIES + 1.0)
    found = np.full(len(channel.u), np.inf)
    for i, row in enumerate(channel.excesses):
        y = row[~np.isnan(row)]
        if len(y) < 2:
            continue
        drawn = y[np.sort(rng.integers(len(y), size=(len(y), _SAMPLES)), axis=0)]  # y is in order, and so are these
        own = fit_gpd(drawn, resolution=channel.step)
        place = p * (len(y) - 1.0)
        low = place.astype(np.int64)
        share = (place - low)[:, None]
        observed = (1.0 - share) * drawn[low] + share * drawn[np.minimum(low + 1, len(y) - 1)]
        expected = gpd.isf(1.0 - p[:, None], own.xi, own.sigma)
        fine = np.isfinite(own.xi)
        if fine.any():
            found[i] = np.abs(observed - expected)[:, fine].mean()
    return Evidence(np.full(len(found), np.nan), found, int(np.argmin(found)) if np.isfinite(found).any() else -1)


def increments(block: list[Channel], limit: float) -> list[Evidence]:
    """Where the estimated shape begins to change by white noise (Wadsworth 2016)."""
    return [_increments(channel, limit) for channel in block]


def _increments(channel: Channel, limit: float) -> Evidence:
    """A change, from normal increments of any mean and deviation to standard ones, by likelihood ratio.

    An estimate from more data is, to first order, uncorrelated with what it differs by from one of a part of them, so
    that increments are independent, with the difference of the variances (1 + ξ)²/n.
    """
    size = len(channel.u)
    if size <= _LEAST:
        return Evidence(np.full(size, np.nan), np.zeros(size), 0 if size else -1)
    gain = _gains(channel.xi[:, None], channel.n_excess)[:, 0]
    most = int(2 ** (round(4.0 * np.log2(channel.n_excess[0])) / 4.0))
    shape = float(np.clip(round(channel.xi[0] / 0.3) * 0.3, -0.3, 0.6))
    change = gain.max() > _critical_gain(size, most, min(most, int(channel.n_excess[-1])), shape, limit)
    return Evidence(np.full(size, np.nan), gain, int(np.argmax(gain)) if change else 0)


def _gains(xi: Float, n: Int) -> Float:
    """Twice the gain in log-likelihood by a change at each candidate, from shapes (candidates, channels)."""
    width = np.diff(1.0 / n)[:, None]
    moved = width > 0.0  # between candidates without an observation between them nothing is learnt
    noise = np.where(moved, np.diff(xi, axis=0) / ((1.0 + xi[:-1]) * np.sqrt(np.where(moved, width, 1.0))), 0.0)
    count = np.maximum(np.cumsum(moved, axis=0), 1)
    square, mean = np.cumsum(noise**2, axis=0) / count, np.cumsum(noise, axis=0) / count
    gain = np.zeros(xi.shape)
    gain[1:] = count * (square - 1.0 - np.log(np.maximum(square - mean**2, 1e-12)))
    gain[1:][count[:, 0] < _LEAST] = 0.0  # of fewer increments the deviation says nothing
    return gain


@cache
def _critical_gain(size: int, most: int, least: int, xi: float, limit: float) -> float:
    """What the largest gain exceeds with this probability where the model holds above all candidates, by simulation.

    Shapes of few excesses are far from normal: white noise would be rejected four times as often as it should be.
    """
    n = np.unique(np.rint(np.geomspace(least, most, size)).astype(np.int64))[::-1]
    x = np.sort(gpd.rvs(xi, 1.0, (most + 1, _NULL), rng=0), axis=0)
    shapes = np.stack([fit_gpd(x[most + 1 - m :] - x[most - m]).xi for m in n])
    gains = _gains(np.where(np.isfinite(shapes), np.maximum(shapes, -0.99), 0.0), n)
    return float(np.quantile(gains.max(axis=0), 1.0 - limit))


METHODS: dict[str, Callable[[list[Channel], float], list[Evidence]]] = {
    "forward-stop": anderson_darling,
    "score": score,
    "discrepancy": discrepancy,
    "increments": increments,
}
"""Every way to choose a threshold, by name."""


def forward_stop(p: Float, limit: float) -> Evidence:
    """Reject the first k hypotheses, k the last where −1/k Σ log(1 − p) ≤ limit (G'Sell et al. 2016)."""
    if not len(p):
        return Evidence(p, p, -1)
    with np.errstate(divide="ignore"):
        statistic = np.cumsum(-np.log1p(-p)) / np.arange(1, len(p) + 1)
    rejected = np.flatnonzero(statistic <= limit)
    index = int(rejected[-1]) + 1 if rejected.size else 0
    return Evidence(p, statistic, index if index < len(p) else -1)


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


def spread(ordered: Float, step: float) -> Float:
    """Rounded values where they may have been: those that are equal, evenly over their cell."""
    if not step > 0.0:
        return ordered
    _, first, count = np.unique(ordered, return_index=True, return_counts=True)
    place = (np.arange(len(ordered)) - np.repeat(first, count) + 0.5) / np.repeat(count, count)
    return ordered + step * (place - 0.5)
