r"""Gross outliers: a few of the largest observations that no tail explains, whatever its shape.

A hole lies between the ordinary excesses, up to y\ :sub:`c`, and m larger ones, of which all but j lie beyond
y\ :sub:`g`. Under a generalised Pareto tail that happens with a probability P(ξ, σ), at most that of a binomial
variable (Chernoff's bound). The tail is the one that explains it best: the likelihood of the ordinary excesses,
relative to its maximum, is taken times P, and the largest product over ξ > 0 and σ counts. So a heavy tail is believed
as far as the other excesses allow it. They are taken as truncated at y\ :sub:`c`, whatever the share of those beyond,
or as censored there; the smaller product counts. As m and j are chosen after the fact, it is multiplied by
(m + 1)² (j + 1)².

A product below e⁻¹¹ (e⁻¹⁰ for one value) is not enough. A mixture, a hundredth of it ten times as wide as the rest,
leaves such holes too, and is a law like another. So the group must also lie farther out than such a part would
(y\ :sub:`g` ≥ 5 y\ :sub:`c`, and half of the group ≥ 10 y\ :sub:`c`, 8 for one value; less of rarer ones, to 5 of one
in 10,000), or its hole be one that a falling density does not have: of all in (y\ :sub:`c`, e), where e is an excess of
the group, at least as large a share would lie in the hole as the hole takes of the way to e. And only what is rare is
left out, at most a fiftieth: more than that is a law of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import bdtr

from evtkit._common.checks import real_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int

__all__ = ["count_gross", "gross_outliers", "if_falling", "looked_at"]

_LOG_P = -11.0  # what a hole's product must lie below
_LOG_P_ONE, _SURE = -10.0, 150  # the same for one value, beyond so many excesses
_RARE = 0.02  # share of the observations that is left out at most
_WIDER = 1.5  # how much farther out than the ordinary what stands apart begins
_FAR = 5.0, 10.0  # the same, where nothing else is asked; half of a thousandth or more: a part may be as much wider
_FAR_ONE = 8.0  # the same, of one value
_FALLING = 0.003  # how improbable a hole must be where the density falls, else
_MANY = 10  # in a group; of more, so many times as improbable, for there are as many more holes to choose from
_AS_CLEAR = 0.5  # a larger group is preferred whose log probability is at least this share of the best
_INSIDE = 0.1  # of those beyond the ordinary, the share that may lie in the hole
_FEWEST = 10  # ordinary excesses
_IN_STEPS = 0.5  # share of different values below which data come in steps
_CANDIDATES = 3  # holes that are judged, with so many inside
_PASSES = 3  # a nearer group may hide behind a farther one
_POINTS = 1500  # excesses that the likelihood is summed over; more are grouped
_BLOCK = 1 << 18  # values that are looked at together: few enough for a cache
_FEW_CHANNELS, _FEW_HOLES = 16, 2048  # for which all holes are looked at in one step

_INSIDES = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90)
_XI = np.array([0.02, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0, 6.0, 10.0])[:, None]
_T = np.geomspace(3e-3, 3e2, 48)  # ξ/σ, in units of 1/median excess
_HUGE = 1e290


def gross_outliers(x: ArrayLike) -> NDArray[np.bool_]:
    """The largest observations that stand so far apart from the others that no tail explains them.

    Of clean samples of distributions with a tail index one in a thousand loses an observation at most; of rounded ones
    without a mean one in 300, and of mixtures of which a hundredth is ten times as wide as the rest one in 90
    (:doc:`/calibration` has figures). `isolated` finds more.

    Parameters
    ----------
    x : array_like, shape (n,)
        A sample, of which the upper tail is looked at (give −x for the lower one): its largest fifth, or the 200
        largest of fewer than 1,000, but at most a half.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for gross outliers, at most a fiftieth of the sample (or one).

    Raises
    ------
    ValueError
        If x is not one dimension of finite numbers.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_exponential(1980)
    >>> int(gross_outliers(x).sum()), int(gross_outliers(np.append(x, np.full(20, 60.0))).sum())
    (0, 20)
    >>> heavy = np.random.default_rng(0).standard_cauchy(2000)
    >>> print(f"{heavy.max():.0f}", gross_outliers(heavy).any())
    712 False
    """
    values = real_array(x, "x").astype(np.float64)
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError("x must be finite numbers in one dimension")
    if values.size < 2:
        return np.zeros(values.shape, dtype=bool)
    n = np.array([values.size])
    ordered = np.sort(values)
    count = int(count_gross(ordered[None, -_half(values.size) :], n)[0])
    return np.asarray(values >= ordered[-count]) if count else np.zeros(values.shape, dtype=bool)


def looked_at(n: Int) -> Int:
    """How many of the largest of n observations are looked at, besides the one where the tail begins."""
    return np.asarray(np.minimum(n // 2, np.maximum(n // 5, 200)))


def count_gross(largest: NDArray[np.floating], n: Int) -> Int:
    """How many of the largest observations are gross outliers, channel by channel.

    Parameters
    ----------
    largest : ndarray, shape (channels, kept)
        The largest observations of each channel, ascending; NaN in front where there are fewer. Outliers are looked for
        among ``looked_at(n) + 1``; with fewer, less is found. The others, up to the larger half of all, say how wide
        the steps are where data come in such; with fewer, more may be found there.
    n : ndarray of int64, shape (channels,)
        Observations of each channel.

    Returns
    -------
    ndarray of int64, shape (channels,)
    """
    found = np.zeros(len(largest), dtype=np.int64)
    per_block = max(1, _BLOCK // max(1, largest.shape[1]))
    # Room for all blocks: where freed memory goes back at once, as in Dask's workers, new pages take longer than sums.
    rows, width = min(per_block, len(largest)), largest.shape[1]
    at_end = min(_holes_at_most(n), width // 2) + 1
    room = np.empty((rows, width)), np.empty((2, rows, at_end)), np.empty((2, rows, width), dtype=bool)
    for start in range(0, len(largest), per_block):
        part = slice(start, start + per_block)
        for c in start + np.flatnonzero(_worth_a_look(largest[part], n[part], room)):
            half = largest[c, -_half(int(n[c])) :].astype(np.float64)
            half = half[~np.isnan(half)]
            row = half[-int(looked_at(n[c])) - 1 :]
            with np.errstate(over="ignore"):
                y = row[1:] - row[0]
                step = float(np.diff(half[: half.size - row.size + 1]).max(initial=0.0))
            y = np.minimum(y[y > 0.0], np.finfo(np.float64).max)
            for _ in range(_PASSES):
                if not (more := _group(y, max(1, int(_RARE * n[c])) - int(found[c]), int(n[c]), step)):
                    break
                found[c] += more
                y = y[: y.size - more]
    return found


def _half(n: int) -> int:
    """How many of n observations are the larger half."""
    return n // 2 + 1


def _holes_at_most(n: Int) -> int:
    """How many of the largest of so many observations may lie beyond a hole, or in it."""
    return int(max(1, int(_RARE * n.max(initial=0))) / (1.0 - _INSIDE)) + 1


def _worth_a_look(
    largest: NDArray[np.floating], n: Int, room: tuple[Float, Float, NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Where a hole is as wide as must be; quickly, for many channels, and with no more memory than `room`.

    The hazard of a tail with ξ ≥ 0 is beyond its mean at most 1/mean, so that m excesses leave out a hole of width w
    with a probability of at least exp(−m w/mean).
    """
    channels, width = largest.shape
    y, (end, spare), (there, flags) = room[0][:channels], room[1][:, :channels], room[2][:, :channels]
    kept = width - np.count_nonzero(np.isnan(largest, out=there), axis=1)
    looked = np.minimum(looked_at(n) + 1, kept)
    worth = looked > _FEWEST + 1
    most = min(_holes_at_most(n), int(looked.max(initial=0)) // 2)
    if most < 1 or not np.any(worth):
        return np.zeros(channels, dtype=bool)
    begin = np.minimum(width - looked, width - 1)
    lowest = largest[np.arange(channels), begin][:, None].astype(np.float64)
    far = np.zeros(channels, dtype=bool)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        np.subtract(largest, lowest, out=y)
        rest, last = y[:, :-most], end[:, : most + 1]
        np.copyto(last, y[:, -most - 1 :])
        none = np.logical_not(np.greater(rest, 0.0, out=there[:, :-most]), out=there[:, :-most])
        np.copyto(rest, 0.0, where=none)
        positive = rest.shape[1] - np.count_nonzero(none, axis=1)
        mean = rest.sum(axis=1, keepdims=True) / np.maximum(positive, 1)[:, None]
        y = last
        if channels <= _FEW_CHANNELS and most <= _FEW_HOLES:
            (ends, others, m), *_ = _holes_together(most)
            near, beyond = y[:, ends], y[:, others]
            wide = m * (beyond - near) >= -_LOG_P_ONE * mean
            return np.asarray(worth & (wide & (beyond >= _WIDER * near) & (beyond > 0.0)).any(axis=1))
        for ends, others, m in _holes_in_turn(most):
            near, beyond = y[:, ends], y[:, others]
            step, wide, also = spare[:, : m.size], there[:, : m.size], flags[:, : m.size]
            np.multiply(np.subtract(beyond, near, out=step), m, out=step)
            np.greater_equal(step, -_LOG_P_ONE * mean, out=wide)
            wide &= np.greater_equal(beyond, np.multiply(near, _WIDER, out=step), out=also)
            wide &= np.greater(beyond, 0.0, out=also)
            far |= wide.any(axis=1)
    return np.asarray(worth & far)


def _holes_in_turn(most: int) -> Iterator[tuple[Any, Any, Int]]:
    """Where holes begin and end among the most + 1 largest, and how many lie beyond, for each number inside."""
    for inside in _INSIDES:
        m = most - np.arange(max(0, most - inside))
        m = m[inside <= _INSIDE * m]  # of those beyond the ordinary, few enough lie in the hole
        if m.size:
            yield slice(0, m.size), slice(1 + inside, 1 + inside + m.size), m - inside


@lru_cache(maxsize=64)
def _holes_together(most: int) -> list[tuple[Any, Any, Int]]:
    """The same in one, which takes fewer steps and more memory."""
    numbers = np.arange(most + 1)
    parts = zip(*((numbers[a], numbers[b], m) for a, b, m in _holes_in_turn(most)), strict=True)
    begin, end, beyond = (np.concatenate(part) for part in parts)
    return [(begin, end, beyond)]


def _lie_far_out(y: Float, first: int, inside: int, n: int) -> bool:
    """Whether those beyond a hole lie, and half of them much, farther out than a wider part of the same law would."""
    near, far, middle = y[first - 1], y[first + inside], y[(first + inside + y.size - 1) // 2]
    least, most = _FAR
    if first + 1 == y.size:
        most = _FAR_ONE
    much = np.clip(least * (1e4 * (y.size - first) / n) ** np.log10(_FAR[1] / least), least, most)
    return bool(far >= least * near and middle >= much * near)


def _group(y: Float, most: int, n: int, step: float) -> int:
    """How many of ascending, positive excesses of n observations stand apart, at most so many; 0 if none does.

    The step is the widest between the observations below, in the larger half of all.
    """
    k = y.size
    holes = _holes(y, most, step)
    if not holes:
        return 0
    stand_out = []
    for value, (first, inside) in zip(_log_p(y, holes).tolist(), holes, strict=True):
        chances = max(1.0, (k - first) / _MANY)
        enough = _LOG_P_ONE if first + 1 == k > _SURE else _LOG_P
        if value < enough and (_lie_far_out(y, first, inside, n) or if_falling(y, first, inside) * chances < _FALLING):
            stand_out.append((value, k - first - inside))
    clear = _AS_CLEAR * min((value for value, _ in stand_out), default=0.0)
    return max((count for value, count in stand_out if value <= clear), default=0)


def _holes(y: Float, most: int, step: float) -> list[tuple[int, int]]:
    """Holes to judge: how many excesses are ordinary, and how many more lie in the hole."""
    k = y.size
    # data that come in steps have a hole below every value: only one wider than their own is taken for one
    in_steps = np.unique(y).size < _IN_STEPS * k
    own = max(float(y[0]), step)
    widest = 2.0 * np.maximum(own, np.maximum.accumulate(np.diff(y, prepend=0.0))) if in_steps else np.zeros(k)
    found = []
    least = -_LOG_P_ONE * float(np.mean(y[: max(_FEWEST, k - most)]))  # see `_worth_a_look`
    for inside in _INSIDES:
        if inside > _INSIDE * (most + inside):
            break
        first = np.arange(max(_FEWEST, k - most - inside, k - k // 2), k - inside)
        first = first[inside <= _INSIDE * (k - first)]
        wide = y[first + inside] >= _WIDER * y[first - 1]
        wide &= y[first + inside] - y[first + inside - 1] > widest[first - 1]
        wide &= (k - first - inside) * (y[first + inside] - y[first - 1]) >= least
        first = first[wide]
        score = (k - first - inside) * np.log(y[first + inside] / y[first - 1])
        found += [(int(i), inside) for i in first[np.argsort(-score, kind="stable")[:_CANDIDATES]]]
    return found


def _log_p(y: Float, holes: list[tuple[int, int]]) -> Float:
    """The logarithm of each hole's product, as above."""
    k = y.size
    ends = [i for first, inside in holes for i in (first - 1, first + inside)]
    points = np.unique(np.concatenate([np.linspace(0, k - 1, min(k, _POINTS)).astype(int), ends]))
    before = np.concatenate([[-1], points[:-1]])
    with np.errstate(over="ignore"):
        z = np.minimum(y / y[k // 2], _HUGE)
    reach = np.log1p(_T[:, None] * z[points])
    middle = reach if points.size == k else np.log1p(_T[:, None] * z[(before + 1 + points) // 2])
    logs = np.cumsum(middle * (points - before), axis=1)
    at = {int(point): i for i, point in enumerate(points)}
    out = []
    for first, inside in holes:
        m, top, total = k - first, reach[:, at[first - 1]], logs[:, at[first - 1]]
        loglik = first * np.log(_T / _XI) - (1.0 + 1.0 / _XI) * total
        beyond_top = -top / _XI
        beyond = -(reach[:, at[first + inside]] - top) / _XI
        share = inside / m
        with np.errstate(divide="ignore", invalid="ignore"):
            hole = -np.expm1(beyond)
            log_hole = (1.0 - share) * (np.log1p(-share) - beyond)
            if inside:
                log_hole = np.where(hole > share, log_hole + share * np.log(share / hole), 0.0)
        truncated, censored = loglik - first * np.log(-np.expm1(beyond_top)), loglik + m * beyond_top
        log_p = min(float(np.max(kind - kind.max() - m * log_hole)) for kind in (truncated, censored))
        out.append(log_p + 2.0 * np.log((m + 1.0) * (inside + 1.0)))
    return np.array(out)


def if_falling(y: Float, first: int, inside: int) -> float:
    """How improbable so few in the hole are if the density does not rise from its near end on."""
    near, far = y[first - 1], y[first + inside]
    least = 1.0
    for end in (y[-1], y[(first + inside + y.size) // 2]):
        among = int(np.count_nonzero(y <= end)) - first - 1  # the one at the end is there by choice
        least = min(least, float(bdtr(inside, among, min((far - near) / (end - near), 1.0 - 1e-9))))
    return least
