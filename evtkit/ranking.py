"""Ranking: channels in order of how improbable their values are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit._common.frames import check_names, frame_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["BY", "Ranking", "rank"]

BY = ("pot", "zscore", "excess", "spot-script", "gradient", "impact", "random")
_TINY_STD = 1e-14  # a standard deviation up to this counts as 1 (Levin et al. 2021)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Channels from the most improbable value to the least; made by `Tail.rank`.

    The scores, larger first:

    =============== ==================================================================================================
    ``pot``         −log P(X > x) under the channel's fitted tail (Wang & Sato 2023). Values beyond the endpoint of a
                    bounded tail have probability 0 and come first, ordered by (x − u)/σ; values at or below the
                    threshold follow, ordered by their z-score; channels without a fitted tail come last, likewise.
    ``zscore``      (x − mean)/std, std with ddof = 1; a std ≤ 1e-14 counts as 1 (Levin et al. 2021)
    ``excess``      (x − u)/mean excess; channels without excesses come last
    ``spot-script`` as ``pot``, with ``method="spot-script"`` for the fit: that of the first POT-saliency code
    ``gradient``    x itself
    ``impact``      x · −log p: how much, times how improbable. For values that are in one unit in all channels, as
                    Taylor saliency is in that of the loss. p is the probability of `evtkit.predictive`, which is never
                    0, and at most the share of observations above the threshold, so that x keeps its order below it
    ``random``      a random order
    =============== ==================================================================================================

    Equal scores keep the order of the channels. For several queries every array has a leading axis of queries.

    Attributes
    ----------
    order : ndarray of int64, shape (channels,)
        Channels, most improbable first.
    score : ndarray of float64, shape (channels,)
        The score of each channel, in the channels' order; −inf where the ranking has none.
    log_sf, p_value : ndarray of float64, shape (channels,)
        Logarithm of P(X > x) under the POT model (the empirical share at and below the threshold), and the probability.
        A channel without a fitted tail has p-value 1: nothing speaks against it.
    above : ndarray of bool, shape (channels,)
        Where a fitted channel's value is strictly above its threshold.
    fitted : ndarray of bool, shape (channels,)
        Where the channel has a fitted tail.
    value : ndarray of float64, shape (channels,)
        What was ranked.
    by : str
        The score's name.
    names : ndarray of str, shape (channels,), or None
        Names of the channels.
    """

    order: NDArray[np.int64]
    score: Float
    log_sf: Float
    p_value: Float
    above: NDArray[np.bool_]
    fitted: NDArray[np.bool_]
    value: Float
    by: str
    names: NDArray[np.str_] | None = None

    @property
    def n_above(self) -> NDArray[np.int64] | int:
        """How many channels are truly above their threshold: an int, or one a query."""
        if self.order.ndim == 1:
            return int(np.count_nonzero(self.above))
        return np.asarray(np.count_nonzero(self.above, axis=-1))

    def top(self, k: int) -> NDArray[np.int64]:
        """The first k channels of the order, shape (k,) or (queries, k)."""
        if not 0 <= k <= self.order.shape[-1]:
            raise ValueError(f"k must lie in [0, {self.order.shape[-1]}], got {k}")
        return self.order[..., :k]

    def select(self, fdr: float = 0.05) -> NDArray[np.int64]:
        """The channels whose improbability survives a false-discovery rate (Benjamini & Hochberg 1995).

        Parameters
        ----------
        fdr : float in (0, 1)
            Expected share of false discoveries among those returned, if the channels are independent or positively
            dependent. All channels, unfitted ones too, count as tests.

        Returns
        -------
        ndarray of int64
            As many channels as the rate allows, smallest p-value first, whatever the ranking is by. For several queries
            use ``ranking[i].select()``.
        """
        if not 0.0 < fdr < 1.0:
            raise ValueError(f"fdr must lie strictly between 0 and 1, got {fdr}")
        if self.order.ndim > 1:
            raise ValueError(f"select works on one query; got {self.order.shape[0]}, index the ranking first")
        by_p = np.lexsort((self._place, self.log_sf))
        allowed = np.log(fdr * np.arange(1, by_p.size + 1) / by_p.size)
        passed = np.flatnonzero(self.log_sf[by_p] <= allowed)
        return by_p[: passed[-1] + 1 if passed.size else 0]

    def table(self, k: int = 10) -> str:
        """The first k channels as text: place, channel or name, value, score, probability, and whether above."""
        if self.order.ndim > 1:
            raise ValueError(f"table works on one query; got {self.order.shape[0]}, index the ranking first")
        rows = [("", "channel", "value", self.by, "P(X > x)", "")]
        for place, channel in enumerate(self.top(min(k, self.order.size)), start=1):
            name = str(channel) if self.names is None else str(self.names[channel])
            note = "" if self.above[channel] else "≤ u" if self.fitted[channel] else "no fit"
            rows.append((f"{place}", name, f"{self.value[channel]:.4g}", f"{self.score[channel]:.4g}",
                         _probability(self.log_sf[channel]), note))  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        align = (str.rjust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)
        lines = ("  ".join(f(cell, w) for f, cell, w in zip(align, row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def __len__(self) -> int:
        return int(self.order.shape[-1])

    def __getitem__(self, query: int) -> Ranking:
        """One query's ranking."""
        if self.order.ndim == 1:
            raise TypeError("this ranking has one query")
        fitted = self.fitted if self.fitted.ndim == 1 else self.fitted[query]
        return Ranking(self.order[query], self.score[query], self.log_sf[query], self.p_value[query], self.above[query],
                       fitted, self.value[query], self.by, self.names)  # fmt: skip

    def __repr__(self) -> str:
        size, unfitted = self.order.shape[-1], int(np.count_nonzero(~self.fitted))
        head = f"Ranking by {self.by} of {size} channels"
        if self.order.ndim > 1:
            return f"{head} for {self.order.shape[0]} queries, {unfitted} channels without a fitted tail"
        shown = min(5, size)
        more = "" if shown == size else f"\n   … {size - shown} more"
        return (
            f"{head}: {self.n_above} above their threshold, {unfitted} without a fitted tail\n{self.table(shown)}{more}"
        )

    @property
    def _place(self) -> NDArray[np.int64]:
        place = np.empty_like(self.order)
        place[self.order] = np.arange(self.order.size)
        return place


def rank(
    tail: Tail,
    x: ArrayLike,
    by: str = "pot",
    *,
    rng: np.random.Generator | int | None = None,
    names: ArrayLike | None = None,
) -> Ranking:
    """Rank the channels of a tail by how improbable the values x are; see `Tail.rank` and `Ranking`."""
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(map(repr, BY))}, got {by!r}")
    if not tail.threshold.ndim:
        raise ValueError("ranking needs a tail of several channels, got one; fit x of shape (n, channels)")
    if (given := frame_labels(x)) is not None:
        check_names(given.channels, tail.names, "x")
    values = real_array(x, "x").astype(np.float64)
    if values.ndim not in (1, 2) or values.shape[-1] != len(tail):
        raise ValueError(f"x must have shape ({len(tail)},) or (queries, {len(tail)}), got {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("x must be finite, got NaN or inf")
    labels = tail.names if names is None else np.asarray(names, dtype=np.str_)
    if labels is not None and labels.shape != (len(tail),):
        raise ValueError(f"names must have shape ({len(tail)},), got {labels.shape}")
    if by == "random" and rng is None:
        raise ValueError("by='random' needs rng, a generator or a seed")

    sign = 1.0 if tail.side == "upper" else -1.0
    excess = sign * (values - tail.threshold)
    fitted = tail.is_fitted
    above = (excess > 0.0) & fitted
    log_sf = _log_sf(tail, values, excess, above)
    std = np.where(tail.std <= _TINY_STD, 1.0, tail.std)
    zscore = sign * (values - tail.mean) / std

    if by in ("pot", "spot-script"):
        model = tail.gpd if by == "pot" else tail.published
        score, keys = _tail_keys(tail, model.xi, model.sigma, excess, zscore)
    else:
        if by == "zscore":
            score = zscore
        elif by == "excess":
            score = np.where(np.isnan(tail.mean_excess), -np.inf, excess / tail.mean_excess)
        elif by == "gradient":
            score = sign * values
        elif by == "impact":
            score = sign * values * _surprise(tail, values)
        else:
            score = np.random.default_rng(rng).random(values.shape)
        keys = (-score,)
    order = np.lexsort(keys, axis=-1)
    return Ranking(order, score, log_sf, np.exp(log_sf), above, fitted, values, by, labels)


def _log_sf(tail: Tail, values: Float, excess: Float, above: NDArray[np.bool_]) -> Float:
    """log P(X > x) of the POT model; 0 for channels without a fit."""
    below = np.where(excess > 0.0, tail.threshold, values)  # a level at which sf is empirical
    out = tail.logsf(below)
    rate, xi, sigma = (np.broadcast_to(a, values.shape)[above] for a in (tail.n_excess / tail.n, tail.xi, tail.sigma))
    out[above] = np.log(rate) + gpd.logsf(excess[above], xi, sigma)
    return np.where(tail.is_fitted, out, 0.0)


def _surprise(tail: Tail, values: Float) -> Float:
    """−log p, at least what it is at the thresholds."""
    least = np.log((tail.n.max() + 1.0) / (tail.n_excess.max() + 1.0))
    return np.asarray(np.maximum(-np.asarray(tail.predictive.log_p_value(values)), least))


def _tail_keys(tail: Tail, xi: Float, sigma: Float, excess: Float, zscore: Float) -> tuple[Float, tuple[Float, ...]]:
    """The score −log P and sorting keys, the last one first: above, at or below, unfitted; then log P; then ties."""
    fitted = tail.is_fitted & np.isfinite(xi) & (sigma > 0.0)
    above = (excess > 0.0) & fitted
    log_p = np.zeros(excess.shape)
    rate, shape, scale = (np.broadcast_to(a, excess.shape)[above] for a in (tail.n_excess / tail.n, xi, sigma))
    log_p[above] = np.log(rate) + gpd.logsf(excess[above], shape, scale)
    ties = zscore.copy()
    ties[above] = excess[above] / scale
    group = np.where(above, 0.0, np.where(fitted, 1.0, 2.0))
    return np.where(above, -log_p, -np.inf), (-ties, log_p, group)


def _probability(log_p: float) -> str:
    """A probability as text, however small."""
    if log_p == -np.inf:
        return "0"
    if log_p > -690.0:
        return f"{np.exp(log_p):.3g}"
    exponent = int(np.floor(log_p / np.log(10.0)))
    return f"{10.0 ** (log_p / np.log(10.0) - exponent):.2f}e{exponent}"
