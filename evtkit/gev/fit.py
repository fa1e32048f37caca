"""Fitting a GEV to block maxima: by maximum likelihood, by L-moments, or with ξ = 0."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import as_columns, real_array
from evtkit._common.threads import chunks, for_each
from evtkit.fit import FitStatus
from evtkit.gev.distribution import logpdf
from evtkit.gev.lmoments import gev_from, l_moments, plotting_moments
from evtkit.gev.results import BlockData, GevFit, standardised

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["METHODS", "fit_gev"]

METHODS = ("mle", "lmoments", "pwm", "gumbel")
_CHUNK_VALUES = 1 << 14  # maxima fitted by a thread at a time


def fit_gev(maxima: ArrayLike, *, axis: int = 0, method: str = "mle", n_threads: int | None = None) -> GevFit:
    """Fit a GEV distribution to the block maxima of each channel, by default by maximum likelihood over ξ ≥ −1.

    The estimator is then the highest local maximum of the likelihood (Coles 2001, section 3.3.2). Without a restriction
    the likelihood is unbounded in two corners: where ξ < −1 and the endpoint is the largest value, and, more slowly,
    where ξ → ∞ and the endpoint is the smallest, which few or tied maxima make easy to run into. Neither is an answer.

    Parameters
    ----------
    maxima : array_like
        Block maxima; observations along `axis`, channels along the others. NaN is padding: channels may be ragged.
    axis : int
        The axis of the observations.
    method : {"mle", "lmoments", "pwm", "gumbel"}
        Maximum likelihood; L-moments, unbiased (Hosking 1990); probability-weighted moments by plotting positions
        (i − 0.35)/n (Hosking, Wallis & Wood 1985); or maximum likelihood with ξ = 0. The two moment estimators solve
        for ξ exactly, need ξ < 1, and have the status NO_SOLUTION where a maximum lies outside the support they find.
    n_threads : int, optional
        Threads for many channels; default EVTKIT_NUM_THREADS or all processors. The result does not depend on it.

    Returns
    -------
    GevFit
        Fields of the shape of `maxima` without `axis`.

    Raises
    ------
    ValueError
        If a maximum is infinite, the data are not numbers or have no axis `axis`, or the method is unknown.

    Examples
    --------
    >>> from evtkit import gev
    >>> x = gev.rvs([-0.2, 0.0, 0.3], 10.0, 2.0, size=(500, 3), rng=0)
    >>> gev.fit_gev(x).xi.round(2)
    array([-0.18,  0.03,  0.29])
    >>> gev.fit_gev(x[:, 1])
    GevFit(xi=0.03306 ± 0.031, mu=9.76792 ± 0.096, sigma=1.93 ± 0.07, loglik=-1126.603252, n=500, status=OK)
    >>> gev.fit_gev(x, method="lmoments").xi.round(2)
    array([-0.18,  0.05,  0.31])
    """
    from evtkit._kernels.gev import fit_rows  # deferred, for they load the compiled kernels

    values = real_array(maxima, "maxima")
    columns, shape = as_columns(values, axis, "maxima")
    if np.isinf(values).any():
        raise ValueError(f"maxima must be finite (NaN is padding), got {values[np.isinf(values)][0]}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    channels = columns.shape[1]
    result, covariance = np.empty((channels, 5)), np.empty((channels, 3, 3))
    counts = np.empty(channels, dtype=np.int64)

    def work(piece: slice) -> None:
        rows = np.array(columns[:, piece].T, dtype=np.float64, order="C")
        fit_rows(rows, result[piece], covariance[piece], counts[piece])

    for_each(work, chunks(channels, max(1, _CHUNK_VALUES // max(1, len(columns)))), n_threads)
    if method in ("lmoments", "pwm"):
        _by_moments(columns.astype(np.float64), method, result, covariance)
    elif method == "gumbel":
        _gumbel(columns.astype(np.float64), result, covariance)
    block = np.array(result.T, order="C").reshape(5, *shape)
    status, xi, mu, sigma, loglik = (block[i, ...] for i in range(5))
    return GevFit(
        xi, mu, sigma, loglik, covariance.reshape(*shape, 3, 3), counts.reshape(shape), status.astype(np.int64), method,
        tuple(_data(column) for column in columns.T) if method == "mle" else None,
    )  # fmt: skip


def _data(maxima: Float) -> BlockData:
    points = maxima[~np.isnan(maxima)].astype(np.float64, copy=False)
    return BlockData(points, points, np.ones(points.size))


def _by_moments(columns: Float, method: str, result: Float, covariance: Float) -> None:
    """Put moment estimates in the place of a maximum, where three different values allow them."""
    location, scale, skewness = l_moments(columns, 3) if method == "lmoments" else plotting_moments(columns, 3)
    xi, mu, sigma = gev_from(location, scale, skewness)
    covariance[:] = np.nan
    open_ = result[:, 0] <= FitStatus.BOUNDARY
    open_ |= result[:, 0] == FitStatus.NO_SOLUTION
    result[:, 1:] = np.nan
    for c in np.flatnonzero(open_):
        result[c, 0] = FitStatus.NO_SOLUTION
        if np.isfinite(xi[c]):
            loglik = np.nansum(logpdf(columns[:, c], xi[c], mu[c], sigma[c]))
            result[c] = FitStatus.OK if np.isfinite(loglik) else FitStatus.NO_SOLUTION, xi[c], mu[c], sigma[c], loglik


def _gumbel(columns: Float, result: Float, covariance: Float) -> None:
    """Put the maximum with ξ = 0 in the place of the whole one."""
    from evtkit._kernels.block_maxima import profile

    covariance[:] = np.nan
    open_ = (result[:, 0] <= FitStatus.BOUNDARY) | (result[:, 0] == FitStatus.NO_SOLUTION)
    result[:, 1:] = np.nan
    for c in np.flatnonzero(open_):
        points, exposures, centre, unit = standardised(data := _data(columns[:, c]))
        height, rate, grown = profile(points, exposures, data.weights, 0.0, np.empty(points.size))
        sigma, reduced = unit / rate, rate * points - grown
        result[c] = FitStatus.OK, 0.0, centre + unit * grown / rate, sigma, height - points.size * math.log(unit)
        tail = np.exp(-reduced)
        ss = np.sum(tail * reduced**2 + 2.0 * reduced * (1.0 - tail) - 1.0)
        information = np.array([[points.size, np.sum(tail * reduced)], [np.sum(tail * reduced), ss]])
        covariance[c] = 0.0
        covariance[c, 1:, 1:] = sigma**2 * np.linalg.inv(information)
