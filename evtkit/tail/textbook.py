"""The textbook's law of a tail: estimates taken for the truth above the threshold, shares of observations below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit import gpd

if TYPE_CHECKING:
    from evtkit._common.types import Bool, Float, Int
    from evtkit.tail.empirical import Body

__all__ = ["Textbook"]


@dataclass(frozen=True, eq=False)
class Textbook:
    """P(X > x) = (N_u/n) · S(x − u) above u (Pickands 1975), extremes large whichever side is meant.

    Attributes
    ----------
    body : Body
        The observations, for x up to u.
    threshold, xi, sigma : ndarray of float64, shape (channels,)
        u, and shape and scale of the excesses.
    n, n_excess : ndarray of int64, shape (channels,)
        Observations, and those above u.
    fitted : ndarray of bool, shape (channels,)
        Where shape and scale are those of a fit.
    """

    body: Body
    threshold: Float
    xi: Float
    sigma: Float
    n: Int
    n_excess: Int
    fitted: Bool

    def logsf(self, x: Float) -> Float:
        """Logarithm of P(X > x) for x (rows, channels); NaN above u without a fit, −inf beyond the endpoint."""
        excess = x - self.threshold
        above = excess > 0.0
        out = np.empty(x.shape)
        with np.errstate(divide="ignore"):
            rate = np.broadcast_to(self.n_excess / np.maximum(self.n, 1), x.shape)
            out[above] = np.log(rate[above]) + gpd.logsf(excess[above], *(a[above] for a in self._fit(x.shape)))
            out[~above] = np.log(self.body.share_above(x)[~above])
        return out

    def isf(self, p: Float) -> Float:
        """The level of P(X > x) = p for p (rows, channels); an observation where p is above N_u/n."""
        out = np.empty(p.shape)
        tail = p <= self.n_excess / np.maximum(self.n, 1)  # so that `isf` of what `logsf` says of u is u
        ratio = np.divide(p * self.n, self.n_excess, out=np.zeros(p.shape), where=self.n_excess > 0)
        excess = gpd.isf(np.minimum(ratio, 1.0)[tail], *(a[tail] for a in self._fit(p.shape)))
        out[tail] = np.broadcast_to(self.threshold, p.shape)[tail] + excess
        if not np.all(tail):
            out[~tail] = self.body.order_statistics((p * self.n).astype(np.int64), ~tail)
        return out

    def _fit(self, shape: tuple[int, ...]) -> tuple[Float, Float]:
        """Shape and scale of so many rows, NaN and any scale where there is no fit."""
        xi = np.where(self.fitted, self.xi, np.nan)
        return np.broadcast_to(xi, shape), np.broadcast_to(np.nan_to_num(self.sigma, nan=1.0), shape)
