"""Ranking: channels in order of how improbable their values are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit import gpd
from evtkit._common.results import Result
from evtkit._common.text import aligned, counted, probability

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
__all__ = ["SCORES", "Channels", "Ranking", "rank"]

_TINY_STD = 1e-14  # a standard deviation up to this counts as 1 (Levin et al. 2021)


@dataclass(frozen=True, eq=False)
class Ranking(Result):
    """Channels from the most improbable value to the least; made by `Tail.rank`.

    The scores, larger first:

    =============== ==================================================================================================
    ``pot``         −log p under the channel's tail (after Wang & Sato 2023). Values at or below the threshold follow,
                    ordered by their z-score; channels without a fitted tail come last, likewise. By the plug-in law
                    values beyond an endpoint have probability 0 and come first, ordered by (x − u)/σ
    ``zscore``      (x − mean)/std, std with ddof = 1; a std ≤ 1e-14 counts as 1 (Levin et al. 2021)
    ``excess``      (x − u)/mean excess; channels without excesses come last
    ``spot-script`` as ``pot``, with ``method="spot-script"`` for the fit: that of the first POT-saliency code
    ``gradient``    x itself
    ``impact``      x · −log p: how much, times how improbable. For values that are in one unit in all channels, as
                    Taylor saliency is in that of the loss. p is predictive, never 0, and at most the share of
                    observations above the threshold, so that x keeps its order below it
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
        `Tail.logsf` of the values, and the probability. A channel without a fitted tail has p-value 1: nothing speaks
        against it.
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

    See Also
    --------
    Tail.rank : makes it.
    evtkit.plot.ranking : the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> usual = np.random.default_rng(0).gamma(2.0, size=(2000, 3))
    >>> ranking = fit_tail(usual, quantile=0.9).rank([2.0, 15.0, 9.0], names=["a", "b", "c"])
    >>> print(ranking.table())
       channel  value    pot  P(X ≥ x)
    1  b           15  11.92  6.63e-06
    2  c            9  6.644    0.0013
    3  a            2   -inf     0.419  ≤ u
    >>> ranking.top(1), ranking.select(fdr=0.05)
    (array([1]), array([1, 2]))
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

    def top(self, k: int, *, by_name: bool = False) -> NDArray[Any]:
        """The first k channels of the order, shape (k,) or (queries, k): their numbers, or their names."""
        if not 0 <= k <= self.order.shape[-1]:
            raise ValueError(f"k must lie in [0, {self.order.shape[-1]}], got {k}")
        if not by_name:
            return self.order[..., :k]
        if self.names is None:
            raise ValueError("by_name must be False where channels have no names")
        return np.asarray(self.names[self.order[..., :k]])

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
        by_p = np.lexsort((self._position, self.log_sf))
        allowed = np.log(fdr * np.arange(1, by_p.size + 1) / by_p.size)
        passed = np.flatnonzero(self.log_sf[by_p] <= allowed)
        return by_p[: passed[-1] + 1 if passed.size else 0]

    def table(self, k: int = 10) -> str:
        """The first k channels as text: place, channel or name, value, score, probability, and whether above."""
        if self.order.ndim > 1:
            raise ValueError(f"table works on one query; got {self.order.shape[0]}, index the ranking first")
        rows = [("", "channel", "value", self.by, "P(X ≥ x)", "")]
        for place, channel in enumerate(self.top(min(k, self.order.size)), start=1):
            name = str(channel) if self.names is None else str(self.names[channel])
            note = "" if self.above[channel] else "≤ u" if self.fitted[channel] else "no fit"
            rows.append((f"{place}", name, f"{self.value[channel]:.4g}", f"{self.score[channel]:.4g}",
                         probability(float(self.log_sf[channel])), note))  # fmt: skip
        return aligned(rows, "><>>><")

    def _table(self) -> dict[str, NDArray[Any]]:
        """Channels in their order, of one query or of one after another."""
        order = np.atleast_2d(self.order)
        table: dict[str, NDArray[Any]] = {}
        if self.order.ndim > 1:
            table["query"] = np.repeat(np.arange(len(order)), order.shape[1])
        table["channel"] = (order if self.names is None else self.names[order]).ravel()
        for name in ("value", "score", "p_value", "above", "fitted"):
            values = np.broadcast_to(np.atleast_2d(getattr(self, name)), order.shape)
            table[name] = np.take_along_axis(values, order, axis=1).ravel()
        return table

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
        head = f"Ranking by {self.by} of {counted(size, 'channel')}"
        if self.order.ndim > 1:
            return f"{head} for {self.order.shape[0]} queries, {unfitted} channels without a fitted tail"
        shown = min(5, size)
        more = "" if shown == size else f"\n   … {size - shown} more"
        return (
            f"{head}: {self.n_above} above their threshold, {unfitted} without a fitted tail\n{self.table(shown)}{more}"
        )

    @property
    def _position(self) -> NDArray[np.int64]:
        """Where each channel stands in the order."""
        position = np.empty_like(self.order)
        position[self.order] = np.arange(self.order.size)
        return position


@dataclass(frozen=True, eq=False)
class Channels:
    """What a ranking knows of the channels: arrays of shape (channels,), extremes large whichever side is meant.

    Attributes
    ----------
    sign : float
        1 for the upper tail, −1 for the lower one.
    threshold, mean : ndarray of float64
        In the units of the data, signs as they are.
    sigma, rate, std, mean_excess : ndarray of float64
        Of the excesses and the observations; rate is N_u/n.
    fitted : ndarray of bool
        Where the channel has a fitted tail.
    log_sf : callable
        Values (…, channels) to the logarithm of their probability by the law asked for; 0 in channels without a fit.
    log_p_value : callable
        Values (…, channels) to the logarithm of the probability that the next observation is at least as extreme.
    spot_script : callable
        To ξ and σ of the SPOT scripts' fit.
    least_surprise : float
        −log p of the rarest threshold, below which ``impact`` does not go.
    names : ndarray of str, or None
        Of the channels.
    """

    sign: float
    threshold: Float
    mean: Float
    sigma: Float
    rate: Float
    std: Float
    mean_excess: Float
    fitted: NDArray[np.bool_]
    log_sf: Callable[[Float], Float]
    log_p_value: Callable[[Float], Float]
    spot_script: Callable[[], tuple[Float, Float]]
    least_surprise: float
    names: NDArray[np.str_] | None = None

    def excess(self, x: Float) -> Float:
        """How far values lie beyond the threshold; negative on the ordinary side."""
        return np.asarray(self.sign * (x - self.threshold))

    def zscore(self, x: Float) -> Float:
        """Values in standard deviations from the mean; a deviation up to 1e-14 counts as 1 (Levin et al. 2021)."""
        return np.asarray(self.sign * (x - self.mean) / np.where(self.std <= _TINY_STD, 1.0, self.std))


def rank(
    channels: Channels,
    values: Float,
    by: str = "pot",
    *,
    rng: np.random.Generator | int | None = None,
    names: ArrayLike | None = None,
) -> Ranking:
    """Rank channels by how improbable finite values (channels,) or (queries, channels) are; see `Ranking`."""
    if by not in SCORES:
        raise ValueError(f"by must be one of {', '.join(map(repr, SCORES))}, got {by!r}")
    size = channels.threshold.size
    if values.ndim not in (1, 2) or values.shape[-1] != size:
        raise ValueError(f"x must have shape ({size},) or (queries, {size}), got {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("x must be finite, got NaN or inf")
    given = channels.names if names is None else np.asarray(names, dtype=np.str_)
    if given is not None and given.shape != (size,):
        raise ValueError(f"names must have shape ({size},), got {given.shape}")
    if by == "random" and rng is None:
        raise ValueError("by='random' needs rng, a generator or a seed")
    above = (channels.excess(values) > 0.0) & channels.fitted
    log_sf = np.where(channels.fitted, channels.log_sf(values), 0.0)
    score, keys = SCORES[by](channels, values, rng)
    return Ranking(np.lexsort(keys, axis=-1), score, log_sf, np.exp(log_sf), above, channels.fitted, values, by, given)


def _by_tail(channels: Channels, x: Float, log_p: Float, sigma: Float) -> tuple[Float, tuple[Float, ...]]:
    """−log p, and sorting keys, the last one first: above, at or below, unfitted; then log p; then ties."""
    excess = channels.excess(x)
    fitted = channels.fitted & (sigma > 0.0)
    above = (excess > 0.0) & fitted
    ties = np.where(above, excess / np.where(fitted, sigma, 1.0), channels.zscore(x))
    group = np.where(above, 0.0, np.where(fitted, 1.0, 2.0))
    return np.where(above, -log_p, -np.inf), (-ties, np.where(above, log_p, 0.0), group)


def _descending(score: Float) -> tuple[Float, tuple[Float, ...]]:
    return score, (-score,)


def _pot(channels: Channels, x: Float, rng: object) -> tuple[Float, tuple[Float, ...]]:
    return _by_tail(channels, x, channels.log_sf(x), channels.sigma)


def _spot_script(channels: Channels, x: Float, rng: object) -> tuple[Float, tuple[Float, ...]]:
    xi, sigma = channels.spot_script()
    believed = np.isfinite(xi) & (sigma > 0.0)
    with np.errstate(divide="ignore"):
        log_rate = np.log(channels.rate)
    log_p = log_rate + gpd.logsf(channels.excess(x), np.where(believed, xi, 0.0), np.where(believed, sigma, 1.0))
    return _by_tail(channels, x, log_p, np.where(believed, sigma, np.nan))


def _zscore(channels: Channels, x: Float, rng: object) -> tuple[Float, tuple[Float, ...]]:
    return _descending(channels.zscore(x))


def _excess(channels: Channels, x: Float, rng: object) -> tuple[Float, tuple[Float, ...]]:
    mean = channels.mean_excess
    return _descending(np.where(np.isnan(mean), -np.inf, channels.excess(x) / mean))


def _gradient(channels: Channels, x: Float, rng: object) -> tuple[Float, tuple[Float, ...]]:
    return _descending(channels.sign * x)


def _impact(channels: Channels, x: Float, rng: object) -> tuple[Float, tuple[Float, ...]]:
    return _descending(channels.sign * x * np.maximum(-channels.log_p_value(x), channels.least_surprise))


def _random(channels: Channels, x: Float, rng: np.random.Generator | int | None) -> tuple[Float, tuple[Float, ...]]:
    return _descending(np.random.default_rng(rng).random(x.shape))


SCORES: dict[str, Callable[..., tuple[Float, tuple[Float, ...]]]] = {
    "pot": _pot,
    "zscore": _zscore,
    "excess": _excess,
    "spot-script": _spot_script,
    "gradient": _gradient,
    "impact": _impact,
    "random": _random,
}
"""A score a ranking: from channels, values and a generator to the scores, larger first, and keys to sort by."""
