"""Profile-likelihood limits of a fitted GPD's quantities, for many channels and many quantities at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from evtkit._common.threads import chunks, for_each
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit._common.types import Bool, Float, Int
    from evtkit.fit import GpdFit

__all__ = ["ENDPOINT", "LEVEL", "LOG_SF", "MEAN_EXCESS", "SHORTFALL", "SIGMA", "XI", "fitted", "limits", "stretched"]

XI, SIGMA, LEVEL, LOG_SF, ENDPOINT, SHORTFALL, MEAN_EXCESS = range(7)  # as in the kernel

_EXACT_FROM = 100  # excesses from which the χ² law of the likelihood ratio needs no correction
_STRETCH = 14.0  # fitted to simulations: `benchmarks/interval_coverage.py`


def fitted(fit: GpdFit) -> Bool:
    """Where there is a fit."""
    return np.asarray(fit.status <= FitStatus.BOUNDARY)


def stretched(n: Int) -> Float:
    """The factor by which the likelihood ratio of a small sample exceeds its limit law, on average; 1 from 100 on."""
    return np.asarray(1.0 + _STRETCH * np.maximum(1.0 / np.maximum(n, 1) - 1.0 / _EXACT_FROM, 0.0))


def limits(
    values: Float,
    fit: GpdFit,
    asked: Sequence[tuple[int, Float]],
    level: float,
    *,
    corrected: bool,
    n_threads: int | None,
) -> tuple[Float, Float]:
    """Lower and upper limits, each of shape (quantities, channels).

    Parameters
    ----------
    values : ndarray, (n,) or (n, channels)
        Positive excesses; NaN is padding.
    fit : GpdFit
        Their maximum-likelihood fit.
    asked : sequence of (kind, at)
        Quantities, and what each is asked at: log(period × rate) for a level or shortfall, an excess for a probability
        (whose limits are logarithms) or a mean excess; one, or one a channel.
    level : float
        Confidence level.
    corrected : bool
        Stretch the quantile of the likelihood ratio for small samples.
    n_threads : int, optional
        As in `evtkit.fit_gpd`.
    """
    from evtkit._kernels.profile_limits import limits_rows  # deferred: compiled

    channels = fit.xi.size
    columns = values.reshape(len(values), -1) if values.size else np.empty((0, channels))
    fits = np.column_stack([np.where(fitted(fit), fit.xi, np.nan).ravel(), fit.sigma.ravel()])
    drops = np.full(channels, 0.5 * float(ndtri(0.5 + 0.5 * level)) ** 2)
    if corrected:
        drops = drops * stretched(fit.n.ravel())
    kinds = np.array([kind for kind, _ in asked], dtype=np.int64)
    ats = np.empty((channels, len(asked)))
    for j, (_, at) in enumerate(asked):
        ats[:, j] = np.ravel(at)
    found = np.empty((channels, len(asked), 2))

    def work(piece: slice) -> None:
        rows = np.array(columns[:, piece].T, dtype=np.float64, order="C")
        limits_rows(rows, fits[piece], drops[piece], kinds, ats[piece], found[piece])

    for_each(work, chunks(channels, 64), n_threads)
    return found[..., 0].T, found[..., 1].T
