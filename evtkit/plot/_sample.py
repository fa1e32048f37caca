"""What the pictures of a tail show of its sample: excesses, plotting positions, bands of order statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from evtkit._common.text import counted
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

_MOST_POINTS = 2000


def one_channel(tail: Tail) -> Tail:
    """The tail's only channel, if it is fitted."""
    if tail.threshold.ndim:
        if len(tail) != 1:
            raise ValueError(f"a picture shows one channel, got a tail of {len(tail)}; pick one: tail[0]")
        tail = tail[0]
    if not tail.is_fitted:
        state, count = FitStatus(int(tail.status)).name, counted(int(tail.n_excess), "excess")
        raise ValueError(f"the tail must be fitted, got {state}, {count} beyond {tail.threshold:.6g}: nothing to draw")
    return tail


def excesses(tail: Tail) -> Float:
    """The excesses of a one-channel tail, ascending."""
    return tail.excesses[~np.isnan(tail.excesses)]


def observations(tail: Tail, excess: Float) -> Float:
    """The observations that have these excesses, in the units of the data."""
    return np.asarray(tail.threshold + excess if tail.side == "upper" else tail.threshold - excess)


def plotting_positions(n: int) -> Float:
    """i/(n + 1), the expected distribution function at the i-th of n ordered values (Weibull 1939)."""
    return np.arange(1, n + 1) / (n + 1.0)


def rank_band(n: int, level: float) -> tuple[Float, Float, Float]:
    """A curve of plotting positions, and between which probabilities values there lie with probability `level`.

    The i-th of n ordered probabilities has the distribution Beta(i, n + 1 − i); taken between whole i too, for a smooth
    band, with most of its points where they are few in the sample.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    rank = n + 1.0 - np.geomspace(n, 1.0, 200)
    low, high = (betaincinv(rank, n + 1.0 - rank, p) for p in (0.5 - 0.5 * level, 0.5 + 0.5 * level))
    return rank / (n + 1.0), low, high


def thinned(n: int) -> NDArray[np.int64]:
    """Which of n ascending values to draw: all, or the extreme half of the room and an even choice of the others."""
    if n <= _MOST_POINTS:
        return np.arange(n)
    half = _MOST_POINTS // 2
    return np.concatenate([np.linspace(0, n - half - 1, half).astype(np.int64), np.arange(n - half, n)])
