r"""Holes in a tail, of data that may be contaminated.

A few anomalies among the observations that a tail is fitted to make it heavy, and hide themselves and those to come.
Leaving out what the fitted tail calls improbable does not help: they have made themselves probable. Here the m largest
excesses are first censored, that is, only their number and that they lie above the next one, y\ :sub:`c`, is used to
fit ξ and σ (type II censoring; cf. Dupuis 1998 and Juárez & Schucany 2004, who weight large excesses down). The density
of a tail falls. So if few of the m lie between y\ :sub:`c` and a level y\ :sub:`g`, and many beyond, there is a hole,
and what lies beyond it is of another kind: of m that follow the tail, at most j lie in the hole with the probability of
a binomial variable. With j = 0 that is the test of a gap.

The tail is not known. A short one, or one estimated too short, leaves no room above its sample and would call every
maximum a gap. So ξ is taken to be at least 0, and half a standard error more than that; σ is the most likely one then;
and for its uncertainty a probability p counts as (1 − log(p)/n)\ :sup:`−n`, as it would for a gap among exponentials
whose scale is estimated from n excesses.

Many outliers spoil that fit by their number alone: 50 of 1,000 are a quarter of the largest fifth, and make every tail
heavy. So the scale is also taken from the excesses up to y\ :sub:`c` alone, truncated there, whatever their share: how
fast their density falls says how wide a hole may be. Such a range says little of ξ, for which seven tenths of the
estimate from all excesses stand in, outliers included, and the largest σ of those half a unit of log-likelihood from
the best. Of samples without outliers that test calls hardly one in a hundred contaminated, Cauchy's included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from scipy.special import bdtr

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit.cleaning.gross import if_falling

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["fit_censored", "isolated"]

FROM = 0.8
"""The quantile from which `evtkit.fit_tail` looks for what stands apart."""

_MANY = 1000  # excesses that are looked at together
_HOLES = 30  # groups of largest excesses that are censored, their sizes in geometric progression
_NEARLY, _BETWEEN = 4.0, 16  # where the log probability is so close, as many sizes between two of those are tried
_FEWEST = 5  # excesses that a tail is fitted to
_IN_STEPS = 0.5  # share of different values below which data come in steps
_AS_CLEAR = 0.5  # a smaller group is preferred whose log probability is at least this share of the best

_LARGE = 20  # observations of a group that could be a mixture's wide part
_FALLING = 0.01  # how improbable its hole must be where the density falls

_SHAPE = 0.7  # of the shape of all excesses, for what lies below a hole
_LEAST_SHAPE = 0.05
_WARY = 3.0  # by which that test's log probability must be smaller; of more than _MANY excesses a mixture fails it
_WITHIN = 0.5  # units of log-likelihood that a scale may lie below the most likely one
_SCALES = np.geomspace(1e-3, 1e3, 80)  # of ξ/σ, in units of 1/median excess

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

    reach, logs = _likeliest(y, censored, np.nan)
    xi = (logs + censored * reach) / n
    return xi, float(y.max() * xi / np.expm1(reach))


def _likeliest(y: Float, censored: int, shape: float) -> tuple[float, float]:
    """Where the likelihood is largest: log(1 + t max y), and Σ log(1 + t y); see `evtkit._kernels.censored`."""
    from evtkit._kernels.censored import likeliest  # deferred: compiled
    from evtkit._kernels.sums import CHUNK, LANES, ROWS

    chunks = np.zeros((-(-len(y) // CHUNK), ROWS, LANES))
    chunks.reshape(-1)[: len(y)] = y / y.max()
    grid = _GRID if np.isnan(shape) else _GRID[_GRID > 0.0]
    return cast("tuple[float, float]", likeliest(chunks, len(y), grid, float(censored), float(shape)))


def isolated(x: ArrayLike, *, quantile: float = 0.98, alpha: float = 0.005, most: float = 0.5) -> NDArray[np.bool_]:
    """The largest observations that a hole separates from the rest of the tail, where a GPD would hardly leave one.

    Parameters
    ----------
    x : array_like, shape (n,)
        A sample, of which the upper tail is looked at (give −x for the lower one).
    quantile : float
        The tail begins at sorted(x)[floor(quantile · n)]. What may stand apart is a part of it, so look for it from a
        quantile on that leaves several times as many.
    alpha : float
        How improbable a hole must be, by the fitted tail, all holes looked at together. Of ordinary samples one in
        twenty to a hundred is touched where the tail is heavy, hardly one where it is not.
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
    ordered = np.sort(values)
    threshold = ordered[int(quantile * len(values))]
    y = ordered[ordered > threshold] - threshold
    level = np.inf
    if y.size > _MANY:  # every so many-th first, for large groups; then the largest themselves
        level = min(level, _hole(y[:: -(-y.size // _MANY)], alpha, most))
        rest = y[y < level][-_MANY:]
        base = y[y.size - np.count_nonzero(y >= level) - rest.size - 1] if rest.size < y.size else 0.0
        level = min(level, base + _hole(rest[rest > base] - base, alpha, most))
        if not _clear_of_mixtures(y, level):
            level = np.inf
    else:
        level = _hole(y, alpha, most, alone=True)
        if level < np.inf and np.unique(y).size < _IN_STEPS * y.size:
            # equal values bear witness once: all rows of one cell of a histogram have its score
            level = max(level, _hole(np.unique(y), alpha, most, alone=True))
    return np.asarray(values - threshold >= level)


def _clear_of_mixtures(y: Float, level: float) -> bool:
    """Whether a group beyond a level is small, or leaves a hole that a falling density hardly has.

    Of very many observations the wide part of a mixture of scales is a large group, and its tail another one than that
    below. Of fewer observations this would miss outliers that are spread widely.
    """
    count = int(np.count_nonzero(y >= level))
    first = y.size - count
    if count < _LARGE or first < 2:
        return True
    inside = np.arange(min(count // 4, first - 2) + 1)
    return any(if_falling(y, first - int(j), int(j)) < _FALLING for j in inside)


def _hole(y: Float, alpha: float, most: float, alone: bool = False) -> float:
    """The least of ascending excesses that stand apart; inf if none does."""
    k = len(y)
    if not k:
        return float(np.inf)
    # data that come in steps have a hole below every value: only one wider than their own is taken for one
    in_steps = np.unique(y).size < _IN_STEPS * k
    found = np.zeros(k + 1)  # log probability of the most improbable hole below so many
    truncated = _Truncated(y) if alone else None

    def censor(m: int) -> float:
        """Holes below the m largest, into `found`; the log probability of the most improbable."""
        rest, n = y[: k - m], k - m
        if n < _FEWEST:
            return 0.0
        xi = max(fit_censored(rest, m)[0], 1e-3)
        xi += 0.5 * (1.0 + xi) / np.sqrt(n)
        beyond = gpd.logsf(y[k - m :] - rest[-1], xi, _scale(rest, m, xi) + xi * rest[-1])
        inside = np.arange(m // 2 + 1)
        log_p = _at_most(inside, m, beyond[inside])
        log_p = -n * np.log1p(-log_p / n)
        if truncated is not None:
            log_p = np.minimum(log_p, truncated.log_p(inside, m) + _WARY)
        log_p += np.log(m * (m + 1.0)) + np.log((inside + 1.0) * (inside + 2.0))
        log_p[y[k - m + inside] - y[k - m + inside - 1] <= _own_step(rest, in_steps)] = 0.0
        found[m - inside] = np.minimum(found[m - inside], log_p)
        return float(log_p.min())

    sizes = np.unique(np.geomspace(1, max(1, int(most * k)), _HOLES).astype(int)).tolist()
    deepest = [censor(m) for m in sizes]
    at = int(np.argmin(deepest))
    if np.log(alpha) <= deepest[at] < np.log(alpha) + _NEARLY:  # the sizes between, which m(m + 1) pays for as well
        between = np.linspace(sizes[max(at - 1, 0)], sizes[min(at + 1, len(sizes) - 1)], _BETWEEN).astype(int)
        for m in np.setdiff1d(between, sizes).tolist():
            censor(m)
    best = found.min()
    if not best < np.log(alpha):
        return float(np.inf)
    # the smallest group, among holes of which none beside it is more improbable
    deep = np.flatnonzero(found <= min(np.log(alpha), _AS_CLEAR * best))
    lowest = [g for g in deep if found[g] <= found[max(g - 2, 0) : g + 3].min()]
    return float(y[k - lowest[0]])


class _Truncated:
    """Holes judged by the excesses below them alone, of a GPD that is cut off where they begin."""

    def __init__(self, y: Float) -> None:
        self._xi = max(_SHAPE * fit_censored(y, 0)[0], _LEAST_SHAPE)
        self._t = _SCALES / y[len(y) // 2]
        self._reach = np.log1p(self._t[:, None] * y)
        self._logs = np.cumsum(self._reach, axis=1)

    def log_p(self, inside: NDArray[np.int_], m: int) -> Float:
        """log P(at most so many of the m largest in the hole below the next), for the largest scale that is likely."""
        n, xi = self._reach.shape[1] - m, self._xi
        top = self._reach[:, n - 1]
        loglik = n * np.log(self._t) - (1.0 + 1.0 / xi) * self._logs[:, n - 1] - n * np.log(-np.expm1(-top / xi))
        likely = loglik >= loglik.max() - _WITHIN
        beyond = (top[likely, None] - self._reach[likely][:, n + inside]) / xi
        return np.asarray(_at_most(inside, m, beyond).max(axis=0))


def _at_most(inside: NDArray[np.int_], m: int, log_beyond: Float) -> Float:
    """log P(at most so many of m lie in a hole), whose far side they exceed with such log probabilities."""
    return np.asarray(np.log(np.maximum(bdtr(inside, m, -np.expm1(log_beyond)), 1e-300)))


def _own_step(rest: Float, in_steps: bool) -> float:
    """Twice the widest step between excesses that are ordinary, where data come in steps."""
    return 2.0 * float(np.max(np.diff(rest), initial=rest[0])) if in_steps else -1.0


def _scale(y: Float, censored: int, xi: float) -> float:
    """The most likely σ for a given ξ > 0, with so many larger excesses censored."""
    reach, _ = _likeliest(y, censored, xi)
    return float(y.max() * xi / np.expm1(reach))
