"""Combine: many mistakes, one ranking; mean ranks, combined p-values, and shares of exceedances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_ndtr

from evtkit.pvalues import combine_p_values
from evtkit.ranking import SCORES
from evtkit.saliency.rankings import UnitRanking

if TYPE_CHECKING:
    from evtkit._common.types import Float
    from evtkit.saliency.units import Units
    from evtkit.tail import Tail

__all__ = ["COMBINE", "check_ranking", "rank_set", "usual_combine"]

COMBINE = ("mean-rank", "mean", "fisher", "harmonic", "cauchy", "exceedance", "each")
_P_METHODS = ("fisher", "harmonic", "cauchy")
_FINITE = ("zscore", "excess", "gradient", "impact")  # rankings whose scores have a mean
_CHUNK_VALUES = 1 << 22  # profile values ranked at a time


def usual_combine(by: str) -> str:
    """How a set is combined unless it is said: by the mean score where a ranking's scores have one, else by place."""
    return "mean" if by in _FINITE else "mean-rank"


def check_ranking(by: str, combine: str | None) -> str:
    """How a set is combined, of a ranking and a way that go together.

    Raises
    ------
    ValueError
        If they do not, or one is unknown.
    """
    if by not in SCORES:
        raise ValueError(f"by must be one of {', '.join(map(repr, SCORES))}, got {by!r}")
    combine = usual_combine(by) if combine is None else combine
    if combine not in COMBINE:
        raise ValueError(f"combine must be one of {', '.join(map(repr, COMBINE))}, got {combine!r}")
    if combine in (*_P_METHODS, "exceedance") and by != "pot":
        raise ValueError(f"by must be 'pot' for combine={combine!r}, which works on its probabilities, got {by!r}")
    if combine == "mean" and by not in _FINITE:
        raise ValueError(f"by must be one of {', '.join(map(repr, _FINITE))} for combine='mean', got {by!r}")
    return combine


def rank_set(
    tail: Tail,
    units: Units,
    profiles: Float,
    by: str = "impact",
    combine: str | None = None,
    *,
    correct: Float | None = None,
    law: str = "predictive",
    rng: np.random.Generator | int | None = None,
) -> UnitRanking:
    """One ranking of the units for a set of samples; see `Reference.rank`, which calls this.

    Parameters
    ----------
    tail : Tail
        The reference's.
    units : Units
        The table of its channels.
    profiles : ndarray, shape (n, units)
        Profiles of the samples, n > 1.
    by, combine, correct, law, rng
        As in `Reference.rank`.
    """
    combine = check_ranking(by, combine)
    if correct is not None and combine != "exceedance":
        raise ValueError(f"combine must be 'exceedance' where correct samples are given, got {combine!r}")
    generator = np.random.default_rng(rng) if by == "random" and rng is not None else rng
    if combine == "each":
        return UnitRanking.of(tail.rank(profiles, by, law=law, rng=generator), units)

    n, n_units = profiles.shape
    rank_sum, above, total = np.zeros(n_units), np.zeros(n_units), np.zeros(n_units)
    rate = tail.n_excess / tail.n
    log_p = np.empty((n if combine in _P_METHODS else 0, n_units))
    for rows in _chunks(n, n_units):
        each = tail.rank(profiles[rows], by, law=law, rng=generator)
        rank = np.empty(each.order.shape)
        np.put_along_axis(rank, each.order, np.arange(1.0, n_units + 1.0)[None], axis=1)
        rank_sum += rank.sum(axis=0)
        above += np.count_nonzero(each.above, axis=0)
        total += each.score.sum(axis=0) if combine == "mean" else 0.0
        if combine in _P_METHODS:  # at or below the threshold p is only known to lie between the rate and 1
            log_p[rows] = np.where(each.above, each.log_sf, np.log(0.5 * (rate + 1.0)))
    fitted = tail.is_fitted
    mean_rank = rank_sum / n
    share = above / n
    if combine == "mean-rank":
        score = (n_units - mean_rank) / max(n_units - 1, 1)
        spread = np.sqrt((n_units**2 - 1.0) / (12.0 * n))
        log_sf = log_ndtr((mean_rank - 0.5 * (n_units + 1.0)) / spread) if n_units > 1 else np.zeros(1)
        keys: tuple[Float, ...] = (mean_rank,)
    elif combine == "mean":
        score = total / n
        log_sf = _exceedance(tail, above, n, None)[1]
        keys = (mean_rank, -score)
    elif combine == "exceedance":
        other, log_sf = _exceedance(tail, above, n, correct)
        score = np.where(fitted, share - other, -np.inf)
        keys = (mean_rank, -score)
    else:
        log_sf = combine_p_values(log_p, combine)
        score = np.where(fitted, -log_sf, -np.inf)
        keys = (mean_rank, -score)
    log_sf = np.where(fitted, log_sf, 0.0)
    return UnitRanking(
        order=np.lexsort(keys), score=score, log_sf=log_sf, p_value=np.exp(log_sf), above=(share > rate) & fitted,
        fitted=fitted, value=profiles.mean(axis=0, dtype=np.float64), by=f"{by}, {combine}", names=units.names,
        units=units, exceedance=share, n_samples=n,
    )  # fmt: skip


def _exceedance(tail: Tail, above: Float, n: int, correct: Float | None) -> tuple[Float, Float]:
    """The share to compare with, and log P(at least as many exceedances) if mistakes were like the others."""
    from scipy.stats import binom, hypergeom

    if correct is None:
        rate = tail.n_excess / tail.n
        return rate, np.minimum(binom.logsf(above - 1.0, n, rate), 0.0)
    others = np.zeros(above.shape)
    for rows in _chunks(*correct.shape):
        others += np.count_nonzero((correct[rows] > tail.threshold) & tail.is_fitted, axis=0)
    m = correct.shape[0]
    return others / m, np.minimum(hypergeom.logsf(above - 1.0, n + m, above + others, n), 0.0)


def _chunks(n: int, n_units: int) -> list[slice]:
    step = max(1, _CHUNK_VALUES // max(n_units, 1))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
