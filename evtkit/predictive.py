"""The next observation: a tail probability that allows for how little is known of the tail.

`Tail.sf` puts the estimates of ξ and σ into the formula as if they were the truth. Levels chosen so are exceeded too
often: with 50 excesses a level of nominal probability N_u/n · 0.01 is exceeded about twice as often, because a tail
that came out too light by chance is believed. `Predictive` averages over what ξ and σ may be instead.

With t = ξ/σ and m(t) = mean log(1 + t yᵢ) over the k excesses, the likelihood is (t/ξ)^k exp(−(1/ξ + 1) k m(t)). Under
the prior dξ dσ/σ, given t, 1/ξ has a gamma distribution, so both the weight of t and the probability of the next excess
are closed forms (cf. Zhang & Stephens 2009, who average over t):

    w(t) dt ∝ (t/m(t))^(k−1) exp(−k m(t)) dt,      P(Y > y | t) = (1 + log(1 + t y)/(k m(t)))^(−(k−1)),

smooth through t = 0. What remains is one sum over t, by the trapezoidal rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import check_names, frame_labels, like
from evtkit._common.threads import for_each, pieces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Bool, Float, Int

__all__ = ["Predictive"]

_FEWEST = 5  # excesses of a channel whose tail is believed
_NODES = 64
_DEPTH = 25.0  # nodes reach to where the weight has fallen to e^−25 of its largest
_MOST_RANKS = 4096  # order statistics of a channel that are kept
_LAST_RESORT = (
    -745.0
)  # log weight of a heavy tail, the least that is positive: beyond all endpoints it still has an order


class Predictive:
    """P(the next observation ≥ x), for every channel; made by `Tail.predictive`.

    =============================== ==================================================================================
    x up to the threshold u         (1 + number of observations ≥ x)/(n + 1), the rank of x among them. Exact for
                                    observations in exchangeable order, whatever their distribution, ties included.
    x above u                       (N_u + 1)/(n + 1) · P(Y > x − u − δ), averaged over the posterior distribution of
                                    ξ and σ. δ is the smallest distance between different observations from u upwards:
                                    next to nothing for measurements, the unit for counts or rounded numbers, whose
                                    P(X ≥ x) would be understated otherwise.
    channels without a believable   (1 + number of observations ≥ x)/(n + 1) everywhere, hence never below 1/(n + 1):
    tail: not fitted, or fewer than what was never seen in n observations.
    5 excesses
    =============================== ==================================================================================

    For a tail of the lower side read ≤ for ≥, and all the rest mirrored.

    Parameters
    ----------
    observations : ndarray, shape (channels, kept)
        The most extreme observations of each channel, all of them or those that were kept, in any order, extremes
        large (−x for the lower tail); NaN is padding. Up to 4,096 order statistics of a channel are kept. With more
        observations ranks are known to within 1/4,096, and rounded up. Where not all observations are given, ranks are
        known above the smallest that is; below, the p-value is 1.
    n, n_excess : ndarray of int64, shape (channels,)
        Observations ever seen, and those beyond the threshold.
    threshold : ndarray of float64, shape (channels,)
        u, signed as the observations.
    fitted : ndarray of bool, shape (channels,)
        Whether the channel has a tail at all.
    side : str
        "upper" or "lower".
    scalar : bool
        One channel without an axis.
    names : ndarray of str, or None
        Of the channels.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> tail = fit_tail(np.random.default_rng(4).standard_exponential(500), quantile=0.9)
    >>> level = 8.0  # the truth is 3.4e-04
    >>> print(f"{tail.sf(level):.1e} {tail.predictive.p_value(level):.1e}")
    0.0e+00 2.4e-04
    """

    def __init__(
        self, observations: NDArray[Any], n: Int, n_excess: Int, threshold: Float, fitted: Bool, *,
        side: str = "upper", scalar: bool = False, names: NDArray[np.str_] | None = None,
    ) -> None:  # fmt: skip
        self.side, self.names = side, names
        self._scalar = scalar
        self._sign = 1.0 if side == "upper" else -1.0
        known = observations.astype(np.float64)
        ordered = np.sort(np.where(np.isnan(known), -np.inf, known), axis=1)  # NaN is in front already
        channels, m = ordered.shape
        total = n.astype(np.float64)[:, None]
        kept = np.unique(np.linspace(0, m - 1, min(m, _MOST_RANKS)).round().astype(np.int64))
        self._levels = np.ascontiguousarray(ordered[:, kept])
        # x lies above some of the levels kept: all observations up to the last of those are smaller.
        self._log_rank = np.zeros((channels, kept.size + 1))
        self._log_rank[:, 1:] = np.where(np.isinf(self._levels), 0.0, np.log((m - kept) / (total + 1.0)))
        self.has_tail = fitted & (n_excess >= _FEWEST)
        self._log_rate = np.log((n_excess + 1.0) / (n + 1.0))
        self._threshold = np.where(self.has_tail, threshold, np.inf)
        self._gap, self._power = np.zeros(channels), np.maximum(n_excess - 1.0, 1.0)
        self._t, self._reach, self._log_weight = (np.zeros((channels, _NODES + 1)) for _ in range(3))
        for c in np.flatnonzero(self.has_tail):
            excesses = ordered[c, m - n_excess[c] :] - self._threshold[c]
            self._gap[c], spread = _spread(excesses)
            self._t[c], self._reach[c], self._log_weight[c] = _posterior(spread)

    def log_p_value(self, x: ArrayLike, *, n_threads: int | None = None) -> Float:
        """Logarithm of the probability that the next observation is at least as extreme as x.

        Parameters
        ----------
        x : array_like, shape (..., channels); any shape for a tail of one channel
            Values, in the units of the data.
        n_threads : int, optional
            Default EVTKIT_NUM_THREADS or all processors.

        Returns
        -------
        ndarray of float64
            Shape of `x`; a data frame or series where `x` is one. Always finite, and decreasing above the threshold:
            beyond every endpoint that the data allow for it lies below −745, the logarithm of the least positive
            number.

        Raises
        ------
        ValueError
            If x holds NaN or no numbers, or its last axis is not the channels.
        """
        from evtkit._kernels.predictive import log_p

        if (given := frame_labels(x)) is not None:
            check_names(given.channels, self.names, "x")
        values = real_array(x, "x").astype(np.float64, copy=False)
        channels = self._levels.shape[0]
        if not self._scalar and (values.ndim == 0 or values.shape[-1] != channels):
            raise ValueError(f"x must have {channels} channels on its last axis, got shape {values.shape}")
        if np.any(np.isnan(values)):
            raise ValueError("x holds NaN; a value must be a number")
        rows = values.reshape(-1, channels)
        out = np.empty(rows.shape)

        def work(piece: slice) -> None:
            log_p(rows[piece], self._sign, self._levels, self._log_rank, self._threshold, self._gap, self._log_rate,
                  self._t, self._reach, self._log_weight, self._power, out[piece])  # fmt: skip

        for_each(work, pieces(rows.shape[0], channels, n_threads), n_threads)
        return cast("Float", like(x, out.reshape(values.shape)))

    def p_value(self, x: ArrayLike, *, n_threads: int | None = None) -> Float:
        """The probability itself; arguments and errors as in `log_p_value`."""
        with np.errstate(under="ignore"):
            return cast("Float", like(x, np.exp(np.asarray(self.log_p_value(x, n_threads=n_threads)))))

    def __repr__(self) -> str:
        return f"Predictive({self.has_tail.size} channels, {self.side} side, {int(self.has_tail.sum())} with a tail)"


def _spread(excesses: Float) -> tuple[float, Float]:
    """The smallest step between ascending excesses, and equal ones spread evenly over the step below them.

    Equal values come from rounding up what was less. Taken as they are, none of them near u, they would pass for a tail
    that ends early.
    """
    steps = np.diff(excesses, prepend=0.0)
    gap = float(steps[steps > 0.0].min())
    _, first, times = np.unique(excesses, return_index=True, return_counts=True)
    place = (np.arange(excesses.size) - np.repeat(first, times) + 0.5) / np.repeat(times, times)
    return gap, excesses - gap * (1.0 - place)


def _posterior(excesses: Float) -> tuple[Float, Float, Float]:
    """Nodes t = ξ/σ, 1/(k m(t)) and log weights, for ascending positive excesses that are not all equal."""
    from evtkit._kernels.predictive import mean_log1p

    k, largest = excesses.size, excesses[-1]
    z = np.ascontiguousarray(excesses / largest)
    # In u = log(1 + t y_max) the weight is smooth and, towards the end of the support, falls off like e^u.
    low, high = max(-np.log(k) - 1.2 * _DEPTH, -36.0), 8.0 - np.log(max(z[k // 2], np.finfo(float).tiny))
    m = np.empty(_NODES)
    while True:
        u = np.linspace(low, high, _NODES)
        t = np.expm1(u)
        t[np.abs(t) < 1e-12] = 1e-12
        mean_log1p(z, t, m)
        log_weight = (k - 1.0) * np.log(t / m) - k * m + u
        log_weight -= log_weight.max()
        seen = np.flatnonzero(log_weight > -_DEPTH)
        if seen.size > _NODES // 2:
            log_weight -= np.log(np.sum(np.exp(log_weight)))
            nodes = np.append(t, 1.0) / largest, np.append(m, np.mean(np.log1p(z))), np.append(log_weight, _LAST_RESORT)
            return nodes[0], 1.0 / (k * nodes[1]), nodes[2]
        low, high = u[max(seen[0] - 1, 0)], u[min(seen[-1] + 1, _NODES - 1)]
