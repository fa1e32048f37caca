"""Peaks over threshold: from observations, or the largest of them, to a fitted Tail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.frames import check_names, frame_labels
from evtkit._common.threads import for_each, pieces
from evtkit.fit import as_fit, fit_gpd
from evtkit.tail import Tail

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.sketch import TailSketch

__all__ = ["fit_tail", "tail_from_sketch", "tail_from_tops"]


def fit_tail(
    x: ArrayLike,
    *,
    quantile: float | None = None,
    threshold: ArrayLike | None = None,
    n_excess: int | None = None,
    side: str = "upper",
    method: str = "mle",
    keep_sample: bool = True,
    n_threads: int | None = None,
) -> Tail:
    """Fit a peaks-over-threshold model to each channel. Give one of `quantile`, `threshold`, `n_excess`.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, channels)
        Observations along axis 0, channels along axis 1. The names of a data frame's columns, or of a series, become
        the tail's.
    quantile : float in (0, 1)
        The threshold is the order statistic sorted(x)[floor(quantile · n)]; excesses lie strictly above it.
    threshold : float, or array_like of shape (channels,)
        The threshold itself, in the units of the data; the index of a series must be the names of the channels.
    n_excess : int
        The threshold is the (n_excess + 1)-th most extreme observation.
    side : str
        "upper", or "lower" for the tail of small values: the quantile is then counted from the other end.
    method : str
        The estimator, as in `fit_gpd`.
    keep_sample : bool
        Keep all observations (n × channels values), so that `Tail.sf` is exact below the threshold. Without it only the
        most extreme ones are kept.
    n_threads : int, optional
        Default EVTKIT_NUM_THREADS or all processors; never changes a bit of the result.

    Returns
    -------
    Tail

    Raises
    ------
    ValueError
        If x is empty, holds NaN or infinities or no numbers, has more than two axes, or the threshold asked for leaves
        no excess in any channel.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> x = np.random.default_rng(0).standard_t(df=4, size=10_000)
    >>> tail = fit_tail(x, quantile=0.95)
    >>> tail
    Tail(x > 2.06025: 499 of 10000, xi=0.2498 ± 0.055, sigma=0.8021 ± 0.056, OK)
    >>> round(float(tail.return_level(1e6)), 2)
    46.75
    """
    values = _observations(x)
    given = frame_labels(x)
    names = given.names if given is not None else None
    if (levels_given := frame_labels(threshold)) is not None:
        check_names(levels_given.channels, names, "threshold")
    n, n_channels = values.shape[0], values.size // values.shape[0] if values.ndim > 1 else 1
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
    sign = 1.0 if side == "upper" else -1.0
    kept, fixed = _how_many(n, n_channels, quantile, threshold, n_excess, values.ndim)
    if fixed is not None:
        fixed = sign * fixed
        kept = int(np.max(np.count_nonzero(sign * values.reshape(n, -1) > fixed, axis=0)))
        if kept == 0 and np.all(np.isfinite(values)):
            raise ValueError(
                f"threshold {np.asarray(threshold)} leaves no excess; the most extreme value is "
                f"{_extreme(values, side)}"
            )
        kept = max(kept, 1)
    from evtkit._kernels.select import summarise

    largest = np.empty((n_channels, kept), values.dtype)
    sample = np.empty((n_channels, n if keep_sample else 0), values.dtype)
    moments = np.empty((n_channels, 2))
    columns = values.reshape(n, -1)
    finite = []

    def work(piece: slice) -> None:
        finite.append(summarise(columns, piece.start, piece.stop, sign, kept, largest, moments, sample))

    for_each(work, pieces(n_channels, n, n_threads), n_threads)
    if not all(finite):
        wrong = values[~np.isfinite(values)][0]
        raise ValueError(f"x must be finite, got {float(wrong)}; drop or fill such observations first")
    levels = (
        np.ascontiguousarray(largest[:, 0], dtype=np.float64) if fixed is None else np.broadcast_to(fixed, n_channels)
    )
    return tail_from_tops(
        largest, levels, np.full(n_channels, n), sign * moments[:, 0], moments[:, 1],
        sample=sample if keep_sample else None, side=side, method=method, scalar=values.ndim == 1, n_threads=n_threads,
        names=names,
    )  # fmt: skip


def tail_from_sketch(
    sketch: TailSketch, *, quantile: float | None, threshold: ArrayLike | None, n_excess: int | None, method: str
) -> Tail:
    """The tail that `fit_tail` would fit to all that a sketch has seen; see `TailSketch.fit`."""
    if not np.all(sketch.count > 0):
        raise ValueError(f"{np.count_nonzero(sketch.count == 0)} of {sketch.n_channels} channels have no observation")
    total = sketch.n_channels
    if (given := frame_labels(threshold)) is not None:
        check_names(given.channels, sketch.names, "threshold")
    levels: Float
    least, most = int(sketch.count.min()), int(sketch.count.max())
    _, fixed = _how_many(least, total, quantile, threshold, n_excess, 2)
    ordered = sketch.largest()
    held = np.minimum(sketch.count, sketch.capacity)
    if fixed is not None:
        levels = np.array(np.broadcast_to(fixed, total))
        short = (sketch.count > sketch.capacity) & (ordered[:, 0] > levels)
        if np.any(short):
            raise ValueError(
                f"a threshold below the {sketch.capacity} values kept in {np.count_nonzero(short)} channels; "
                f"wanted at least {float(ordered[short, 0].max()):.6g}, or a larger capacity"
            )
        kept = max(1, int(np.max(np.count_nonzero(ordered > levels[:, None], axis=1))))
        if np.all(np.nanmax(ordered, axis=1) <= levels):
            raise ValueError(f"threshold {np.asarray(threshold)} leaves no excess; the largest is {np.nanmax(ordered)}")
    else:
        needed = sketch.count - (quantile * sketch.count).astype(np.int64) if quantile else np.full(total, n_excess) + 1
        if np.any(needed > held):
            raise ValueError(f"this fit needs the {int(needed.max())} largest of {most}; capacity is {sketch.capacity}")
        levels = ordered[np.arange(total), ordered.shape[1] - needed].astype(np.float64)
        kept = int(needed.max())
    return tail_from_tops(
        np.ascontiguousarray(ordered[:, ordered.shape[1] - kept :]), levels, sketch.count, sketch.mean, sketch._squares,
        sample=None, side="upper", method=method, scalar=False, n_threads=sketch.n_threads, names=sketch.names,
    )  # fmt: skip


def tail_from_tops(
    largest: NDArray[Any],
    levels: Float,
    n: NDArray[np.int64],
    mean: Float,
    squares: Float,
    *,
    sample: NDArray[Any] | None,
    side: str,
    method: str,
    scalar: bool,
    n_threads: int | None,
    names: NDArray[np.str_] | None = None,
) -> Tail:
    """A Tail from the largest values (channels, kept), ascending; for the lower side, of the negated data."""
    from evtkit._kernels.largest import fit_tops
    from evtkit.estimators import METHODS

    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    total = largest.shape[0]
    result, counts, mean_excess = np.empty((total, 7)), np.empty(total, dtype=np.int64), np.empty(total)
    levels = np.array(levels, dtype=np.float64)

    def work(piece: slice) -> None:
        fit_tops(largest[piece], levels[piece], result[piece], counts[piece], mean_excess[piece])

    for_each(work, pieces(total, largest.shape[1], n_threads), n_threads)
    shape = () if scalar else (total,)
    fit = as_fit(result, counts, shape, "mle")
    sign = 1.0 if side == "upper" else -1.0
    std = np.sqrt(squares / np.maximum(n - 1, 1))
    tail = Tail(
        threshold=(sign * levels).reshape(shape), xi=fit.xi, sigma=fit.sigma, n=n.reshape(shape), n_excess=fit.n,
        status=fit.status, mean=mean.reshape(shape), std=std.reshape(shape), mean_excess=mean_excess.reshape(shape),
        loglik=fit.loglik, se_xi=fit.se_xi, se_sigma=fit.se_sigma, cov=fit.cov,
        largest=largest[0] if scalar else largest, side=side,
        sample=sample[0] if scalar and sample is not None else sample, names=names,
    )  # fmt: skip
    if method == "mle":
        return tail
    other = fit_gpd(tail.excesses, method=method, n_threads=n_threads)
    fields = ("xi", "sigma", "status", "loglik", "se_xi", "se_sigma", "cov", "method")
    return replace(tail, **{name: getattr(other, name) for name in fields})


def _extreme(values: NDArray[Any], side: str) -> float:
    return float(values.max() if side == "upper" else values.min())


def _observations(x: ArrayLike) -> NDArray[Any]:
    values = real_array(x, "x")
    if values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f"x must have shape (n,) or (n, channels) and not be empty, got shape {values.shape}")
    return values


def _how_many(
    n: int, n_channels: int, quantile: float | None, threshold: ArrayLike | None, n_excess: int | None, ndim: int
) -> tuple[int, Float | None]:
    """How many of the largest values to keep (the threshold first among them), or the thresholds given."""
    given = [name for name, value in (("quantile", quantile), ("threshold", threshold), ("n_excess", n_excess))
             if value is not None]  # fmt: skip
    if len(given) != 1:
        raise ValueError(f"give one of quantile, threshold, n_excess; got {' and '.join(given) or 'none'}")
    if quantile is not None:
        if not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile must lie strictly between 0 and 1, got {quantile}")
        kept = n - int(quantile * n)
        if kept < 2:
            raise ValueError(
                f"quantile {quantile} of {n} observations leaves no excess; wanted a lower one or more data"
            )
        return kept, None
    if n_excess is not None:
        if not 1 <= n_excess < n:
            raise ValueError(f"n_excess must lie in [1, {n - 1}] for {n} observations, got {n_excess}")
        return int(n_excess) + 1, None
    levels = real_array(threshold if threshold is not None else np.nan, "threshold").astype(np.float64)
    if levels.ndim > 1 or (levels.ndim == 1 and (ndim == 1 or levels.size != n_channels)):
        raise ValueError(f"threshold must be one number or one a channel ({n_channels}), got shape {levels.shape}")
    if not np.all(np.isfinite(levels)):
        raise ValueError("threshold must be finite, got NaN or inf")
    return 0, levels
