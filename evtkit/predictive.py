"""The next observation: a tail probability that allows for how little is known of the tail.

The textbook puts the estimates of ξ and σ into the formula as if they were the truth. Levels chosen so are exceeded too
often: with 20 excesses a level of nominal probability N_u/n · 0.01 is exceeded some five times as often, because a
tail that came out too light by chance is believed. Here the probability is averaged over what ξ and σ may be instead.

The prior is dξ dσ/σ for ξ ≤ 0; beyond, it falls off like a Gaussian with standard deviation 0.6. So a dozen excesses
are never enough to say ξ = 2, and hardly change what a hundred say. Among the priors tried it keeps P(p ≤ α) near α
for −1 ≤ ξ ≤ 0.7 with 10 to 1,000 excesses (see :doc:`/calibration`); priors of this kind are discussed by Coles & Dixon
(1999) and Martins & Stedinger (2000). With t = ξ/σ, everything but t is integrated in closed form (cf. Zhang & Stephens
2009, who average over t). How, the kernels say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.threads import blocks, for_each, pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int

__all__ = ["Predictive"]

_FEWEST = 3  # excesses of a channel that has a law; of three or four, it is mostly the prior
_UNSURE = 1.8  # of k^(−1/2) (n·p)^(−0.25): how much a probability is raised on a lattice; by benchmarks/doors.py
_FADES = 0.25
_MOST_SURE = 0.3  # the least for k^(−1/2) · _UNSURE: of many excesses, what the tail's form leaves open
_MOST_UNSURE = 0.4
_HALVINGS = 48  # of a lattice's step, in search for a level
_WORK = 64  # times a posterior or a level takes as long as a probability


class Predictive:
    """P(the next observation ≥ x) above a threshold u, for many channels: the law behind `evtkit.Tail.sf`.

    P = (N_u + 1)/(n + 1) · P(Y ≥ x − u), averaged over the posterior distribution of ξ and σ. A value that was rounded
    stands for all from half a step δ below it, hence Y ≥ x − δ/2 − u. The likelihood counts excesses by cell; where
    more than 32 cells have any, they are spread as the fitted tail expects. Up to the threshold, ranks say more
    (`evtkit.Tail.logsf`).

    On a lattice a level moves by whole steps, over each of which P falls by a factor: where P at a value comes out just
    below a risk by chance, alarms are several times as frequent as stated; where just above, as many times rarer. The
    former is made as rare as the latter is harmful: P is raised by a share of 1.8/√N_u (at least 0.3) times
    (n·P)^(−0.25), at most by 0.4, and nowhere by more than half of what it falls in the step below. So fine
    lattices are as none.

    Parameters
    ----------
    tops : ndarray, shape (channels, m)
        The m largest observations of each channel, all excesses among them, ascending; NaN in front where there are
        fewer. For lower tails, the negated data.
    threshold : ndarray of float64, shape (channels,)
        u.
    n, n_excess : ndarray of int64, shape (channels,)
        Observations, and those above u.
    fitted : ndarray of bool, shape (channels,)
        Where a tail may be believed, if there are 3 excesses.
    resolution : ndarray of float64, shape (channels,)
        δ, with u in the middle between two points of the lattice; 0 for measurements, whose ties are spread over the
        least step between different excesses.
    xi, sigma : ndarray of float64, shape (channels,)
        The fit, by which rounded excesses are spread where they fall into many cells.
    n_threads : int, optional
        Default EVTKIT_NUM_THREADS or all processors.

    Attributes
    ----------
    has_tail : ndarray of bool, shape (channels,)
        Where there is a law above the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import gpd
    >>> excesses = np.sort(gpd.rvs(0.0, 1.0, size=(1, 50), rng=8))
    >>> nothing = np.zeros(1)
    >>> n, n_excess, fitted = np.array([500]), np.array([50]), np.array([True])
    >>> law = Predictive(excesses, nothing, n, n_excess, fitted, nothing, nothing, nothing)
    >>> np.exp(law.log_sf(np.array([[5.7]]), np.zeros((1, 1)))).round(5)  # the truth is 3.3e-4
    array([[0.0004]])
    """

    def __init__(
        self,
        tops: NDArray[Any],
        threshold: Float,
        n: Int,
        n_excess: Int,
        fitted: Bool,
        resolution: Float,
        xi: Float,
        sigma: Float,
        *,
        n_threads: int | None = None,
    ) -> None:
        from evtkit._kernels.posteriors import posteriors
        from evtkit._kernels.predictive import COLUMNS

        channels, largest = len(tops), np.ascontiguousarray(tops)
        self.has_tail = fitted & (n_excess >= _FEWEST)
        self._n_threads = n_threads
        self._log_rate = np.log((n_excess + 1.0) / (n + 1.0))
        self._threshold = np.where(self.has_tail, threshold, np.inf)
        self._gap, self._nodes = np.zeros(channels), np.empty((channels, 4, COLUMNS))
        counts = np.where(self.has_tail, n_excess, 0)
        self._lattice = np.flatnonzero(self.has_tail & (resolution > 0.0))
        self._step, self._log_n = resolution, np.log(np.maximum(n, 1))
        self._unsure = np.maximum(_UNSURE / np.sqrt(np.maximum(n_excess, 1)), _MOST_SURE)

        def work(piece: slice) -> None:
            posteriors(largest[piece], counts[piece], self._threshold[piece], resolution[piece], xi[piece],
            sigma[piece],
                       self._gap[piece], self._nodes[piece])  # fmt: skip

        for_each(work, pieces(channels, _WORK * int(counts.max(initial=0)), n_threads), n_threads)

    def log_sf(self, x: Float, body: Float) -> Float:
        """Logarithm of the probability that the next observation is at least x.

        Parameters
        ----------
        x : ndarray of float64, shape (rows, channels)
            Values, none NaN.
        body : ndarray of float64, shape (rows, channels)
            What is returned at and below the thresholds.

        Returns
        -------
        ndarray of float64, shape (rows, channels)
            Above the threshold decreasing, and finite for finite x: beyond every endpoint that the data allow for it
            lies below −745, the logarithm of the least positive number.
        """
        from evtkit._kernels.predictive import log_tail

        out = body.copy()

        def work(part: tuple[slice, slice]) -> None:
            rows, piece = part
            log_tail(x[rows, piece], self._threshold[piece], self._gap[piece], self._log_rate[piece],
                     self._nodes[piece], out[rows, piece])  # fmt: skip

        for_each(work, blocks(x.shape[0], x.shape[1], self._n_threads), self._n_threads)
        if (on := self._lattice).size:
            above = x[:, on] > self._threshold[on]
            out[:, on] = np.where(above, self._log_sf_on_lattice(x[:, on]), out[:, on])
        return out

    def _log_sf_on_lattice(self, x: Float) -> Float:
        """log P above the thresholds, raised, of the channels whose values lie on a lattice (rows, some)."""
        from evtkit._kernels.predictive import log_tail

        on = self._lattice
        here = np.zeros(x.shape)
        before = np.broadcast_to(self._log_rate[on], x.shape).copy()
        for values, out in ((x, here), (x - self._step[on], before)):
            log_tail(np.ascontiguousarray(values), self._threshold[on], self._gap[on], self._log_rate[on],
                     self._nodes[on], out)  # fmt: skip
        raised = here + _raise(here + self._log_n[on], self._unsure[on])
        return np.asarray(np.minimum(raised, 0.5 * (here + before)))

    def isf(self, p: Float) -> Float:
        """The level that the next observation exceeds with probability p; NaN where that is no matter of the tail.

        Parameters
        ----------
        p : ndarray of float64, shape (rows, channels)
            Probabilities in [0, 1].

        Returns
        -------
        ndarray of float64, shape (rows, channels)
            Above the threshold where p ≤ (N_u + 1)/(n + 1), and infinite where no finite level will do, as at p = 0.
            NaN for a larger p, and in a channel without a tail.
        """
        from evtkit._kernels.predictive import tail_levels

        out = np.full(p.shape, np.nan)
        with np.errstate(divide="ignore"):
            log_p = np.log(p)
        wanted = self.has_tail & (log_p <= self._log_rate)

        def work(part: tuple[slice, slice]) -> None:
            rows, piece = part
            tail_levels(log_p[rows, piece], wanted[rows, piece], self._threshold[piece], self._gap[piece],
                        self._log_rate[piece], self._nodes[piece], out[rows, piece])  # fmt: skip

        for_each(work, blocks(p.shape[0], p.shape[1], self._n_threads, _WORK), self._n_threads)
        if (on := self._lattice).size:
            low = out[:, on]  # raised, P has fallen to p within the next step
            high = low + self._step[on]
            wanted = np.isfinite(low)
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                falls = self._log_sf_on_lattice(np.where(wanted, middle, self._threshold[on])) <= log_p[:, on]
                low, high = np.where(falls, low, middle), np.where(falls, middle, high)
            out[:, on] = np.where(wanted, high, out[:, on])
        return out

    def __repr__(self) -> str:
        return f"Predictive({self.has_tail.size} channels, {int(self.has_tail.sum())} with a tail)"


def _raise(log_expected: Float, unsure: Float) -> Float:
    """By how much log P is raised where P is a matter of whole steps and n·P observations are expected beyond."""
    return np.asarray(np.minimum(unsure * np.exp(np.minimum(-_FADES * log_expected, 700.0)), _MOST_UNSURE))
