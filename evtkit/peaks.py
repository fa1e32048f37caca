"""Peaks over threshold: from observations to a fitted Tail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.frames import check_names, frame_labels
from evtkit._common.threads import chunks, for_each, pieces
from evtkit._moments import empty_state, mean_and_variance
from evtkit.cleaning.gross import count_gross, gross_outliers, looked_at
from evtkit.cleaning.passes import standing_apart
from evtkit.dated.reading import dated_values
from evtkit.dependence import Clusters
from evtkit.fit import as_fit, fit_gpd, rounding_steps
from evtkit.tail import Tail
from evtkit.threshold.rules import ALIKE, Thresholds, default_excesses, how_many, lowest, only_largest, ties_together

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int
    from evtkit.dated import Dates

_Summary = tuple["NDArray[Any]", "NDArray[Any] | None", "Float"]

__all__ = ["fit_tail", "tail_from_largest"]

_MANY_CHANNELS = 32  # for which a first look at a few rows pays
_AT_A_TIME, _VALUES = 1 << 13, 1 << 19  # channels, or as many as hold so many values, that are summarised together


def fit_tail(
    x: ArrayLike | Clusters,
    *,
    quantile: float | None = None,
    threshold: ArrayLike | None = None,
    n_excess: int | None = None,
    time: str | Dates | ArrayLike | None = None,
    side: str = "upper",
    missing: str = "raise",
    method: str = "mle",
    resolution: float | None = None,
    clean: bool | None = None,
    keep_sample: bool = True,
    n_threads: int | None = None,
) -> Tail:
    """Fit a peaks-over-threshold model to each channel. Give one of `quantile`, `threshold`, `n_excess`, or none.

    Without one the tail is the most extreme tenth of each channel, but at most 50 observations or √n, whichever is
    more (and 10, or a quarter, of fewer than 100); where values equal the threshold, all of them or none, whichever is
    nearer to that number. See :doc:`/calibration`.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, channels)
        Observations along axis 0, channels along axis 1. The names of a data frame's columns, or of a series, become
        the tail's, and its dates are kept. `Clusters` are events: their peaks are fitted, and no rule is given, as they
        have their threshold and side; probabilities and levels are those of events.
    quantile : float in (0, 1)
        The threshold is the order statistic sorted(x)[floor(quantile · n)]; excesses lie strictly above it.
    threshold : float, or array_like, shape (channels,)
        The threshold itself, in the units of the data; the index of a series must be the names of the channels.
    n_excess : int
        The threshold is the (n_excess + 1)-th most extreme observation.
    time : str or array_like, shape (n,), optional
        The column of dates, or the dates of the observations. Without it they are those of the index, or of the only
        column of dates. Observations are sorted by time; see `Tail.dates` and ``tail.return_level(100, per="year")``.
    side : str
        "upper", or "lower" for the tail of small values: the quantile is then counted from the other end.
    missing : str
        "raise" a ValueError on NaN, or "drop" such observations: each channel is then fitted to those it has, and
        `Tail.n` counts them. A channel without any has the status EMPTY.
    method : str
        The estimator, as in `fit_gpd`.
    resolution : float or None
        The step δ that the data are rounded to, such as 1 for counts; None, the default, finds out, channel by channel.
        Of rounded data the threshold is moved to the middle between two lattice points, which parts the same
        observations, and each excess is known to within δ/2 (see `fit_gpd`). 0 takes the data as they are. Rounding
        that is too fine to matter, below a quarter of a standard error of the mean excess, is not looked at.
    clean : bool or None
        None, the default, leaves gross outliers out where no rule for the threshold is given: a few
        observations that no tail explains (`evtkit.cleaning.gross_outliers`), which would make it heavy. True,
        for data that may be contaminated, leaves out also what a hole separates from the rest of the tail
        (`evtkit.cleaning.isolated`, from the 0.8 quantile on; up to three times, the later ones surer). False
        fits to all. `Tail.left_out` counts what was left out, and a note says so.
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
        If x is empty, holds infinities, NaN (unless dropped) or no numbers, has more than two axes, or the threshold
        asked for leaves no excess in any channel.

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
    if isinstance(x, Clusters):
        given_rules = (quantile, threshold, n_excess, time)
        return _fit_events(x, given_rules, side, method, resolution, n_threads)
    values, dates, given = dated_values(x, time, nulls=missing == "drop")
    if values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f"x must have shape (n,) or (n, channels) and not be empty, got shape {values.shape}")
    names = given.names if given is not None else None
    if (levels_given := frame_labels(threshold)) is not None:
        check_names(levels_given.channels, names, "threshold")
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
    if missing not in ("raise", "drop"):
        raise ValueError(f"missing must be 'raise' or 'drop', got {missing!r}")
    sign = 1.0 if side == "upper" else -1.0
    columns = values.reshape(len(values), -1)
    left_out = np.zeros(columns.shape[1], dtype=np.int64)
    if clean:
        _missing(columns, missing, names)
        columns, left_out = _cleaned(columns, sign)
        missing = "drop"
    rule = quantile, threshold, n_excess, values.ndim
    by_default = quantile is None and threshold is None and n_excess is None
    n = np.full(columns.shape[1], len(values))
    kept, levels = _kept(columns, n, sign, rule)
    how: dict[str, Any] = {"by_default": by_default, "clean": clean is None, "keep_sample": keep_sample}
    how |= {"sign": sign, "n_threads": n_threads}
    found = _largest(columns, n, kept, present=False, **how)
    if found is None:  # not all is finite
        n = n - _missing(columns, missing, names)
        kept, levels = _kept(columns, n, sign, rule)
        found = _largest(columns, n, kept, present=True, **how)
        assert found is not None
    (largest, sample, (mean, variance)), kept, gross = found
    if np.any(gross):
        left_out, n = gross, n - gross
    if levels is None:
        levels = lowest(largest, kept)
    del found, kept, gross  # of many channels with few observations they are as large as these
    return tail_from_largest(
        largest, levels, n, mean if sign > 0.0 else -mean, variance, sample=sample, side=side, method=method,
        resolution=resolution, scalar=values.ndim == 1, n_threads=n_threads, names=names,
        left_out=left_out, dates=dates, library=None if given is None else given.library,
    )  # fmt: skip


def _fit_events(
    x: Clusters, rules: tuple[Any, ...], side: str, method: str, resolution: float | None, n_threads: int | None
) -> Tail:
    """The tail of the clusters' peaks, at their rate: n is the number of observations, and n_excess that of events."""
    if any(one is not None for one in rules) or side not in ("upper", x.side):
        raise ValueError("clusters have their threshold, dates and side; give none of quantile, threshold, n_excess, …")
    if not x.n:
        raise ValueError("clusters must know of how many observations they are, got n = 0")
    if not x.peak_value.size:
        raise ValueError(f"clusters must not be empty, got none beyond {x.threshold}")
    sign = 1.0 if x.side == "upper" else -1.0
    return tail_from_largest(
        np.sort(sign * x.peak_value)[None, :], np.array([sign * x.threshold]), np.array([x.n]), np.array([x.mean]),
        np.array([x.variance]), sample=None, side=x.side, method=method, resolution=resolution, scalar=True,
        n_threads=n_threads, names=None if x.name is None else np.array(x.name, dtype=np.str_), dates=x.dates,
    )  # fmt: skip


def _cleaned(columns: NDArray[Any], sign: float) -> tuple[NDArray[Any], Int]:
    """The observations with NaN for what stands apart from its channel's tail, and how many that were."""
    out = columns.copy()
    for channel in out.T:
        present = np.flatnonzero(~np.isnan(channel))
        if present.size:
            channel[present[standing_apart(sign * channel[present])]] = np.nan
    return out, np.count_nonzero(np.isnan(out) & ~np.isnan(columns), axis=0)


def _room(kept: Int, n: Int) -> Int:
    """How many of the largest are looked at by default: for ties at the threshold, and for what stands apart."""
    return np.asarray(np.minimum(np.maximum(ALIKE * (kept - 1), looked_at(n)) + 1, n))


def _leave_out(
    columns: NDArray[Any], left_out: Int, wanted: Int, summary: _Summary, sign: float, n_threads: int | None
) -> None:
    """Take so many of the largest of each channel out of the summary, which is changed."""
    largest, sample, moments = summary
    if (dirty := np.flatnonzero(left_out)).size:
        rest = columns[:, dirty].copy()
        least = largest[dirty, largest.shape[1] - left_out[dirty]]
        with np.errstate(invalid="ignore"):
            rest[sign * rest >= least] = np.nan
        present = None if sample is None else np.empty((dirty.size, sample.shape[1]), sample.dtype)
        fewer, _, moments[:, dirty] = _summary_of_present(
            rest, wanted[dirty] - left_out[dirty], sign, present, n_threads
        )
        largest[dirty] = np.nan
        largest[dirty, largest.shape[1] - fewer.shape[1] :] = fewer
        if sample is not None and present is not None:
            sample[dirty] = present


def _kept(columns: NDArray[Any], n: Int, sign: float, rule: tuple[Any, ...]) -> tuple[Int, Float | None]:
    """How many of the largest values of each channel are needed, and the thresholds where they were given."""
    found = how_many(n, len(n), *rule)
    if not isinstance(found, Thresholds):
        return found, None
    levels = sign * np.broadcast_to(found.levels, len(n))
    with np.errstate(invalid="ignore"):
        kept = np.count_nonzero(sign * columns > levels, axis=0)
    if not np.any(kept) and np.all(np.isfinite(columns[~np.isnan(columns)])):
        most = float(sign * np.nanmax(sign * columns))
        raise ValueError(f"threshold {np.asarray(found.levels)} leaves no excess; the most extreme value is {most}")
    return np.maximum(kept, 1), levels


def _missing(columns: NDArray[Any], missing: str, names: Any) -> Int:
    """How many observations each channel lacks; ValueError for infinities, and for NaN unless it is dropped."""
    absent = np.isnan(columns)
    wrong = np.isinf(columns) if missing == "drop" else ~np.isfinite(columns)
    if np.any(wrong):
        row, channel = np.argwhere(wrong)[0].tolist()
        name = channel if names is None or not np.ndim(names) else repr(str(names[channel]))
        where = f"row {row}" + (f" of channel {name}" if columns.shape[1] > 1 else "")
        hint = "; missing='drop' leaves NaN out" if np.any(absent & wrong) else ""
        raise ValueError(f"x must be finite, got {float(columns[row, channel])} in {where}{hint}")
    if np.all(absent):
        raise ValueError(f"x must hold observations, got {columns.shape[0]} missing values a channel")
    return np.asarray(np.count_nonzero(absent, axis=0))


def _largest(
    columns: NDArray[Any],
    n: Int,
    kept: Int,
    *,
    present: bool,
    sign: float,
    by_default: bool,
    clean: bool,
    keep_sample: bool,
    n_threads: int | None,
) -> tuple[_Summary, Int, Int] | None:
    """The summary of all channels, how many of the largest belong to the tail, and how many were left out as gross.

    Some channels at a time, as by default many more of the largest are looked at than are kept. With `present` of what
    is not NaN; without, None if not all values are finite.
    """
    rows, channels = columns.shape
    moments = np.empty((2, channels))
    sample = np.empty((channels, rows), columns.dtype) if keep_sample else None
    tops, kept, gross = [], kept.copy(), np.zeros(channels, dtype=np.int64)
    together = list(chunks(channels, max(_AT_A_TIME, _VALUES // rows)))
    for piece in together:
        part, observed, asked = columns[:, piece], n[piece], kept[piece]
        wanted = _room(asked, observed) if by_default else asked
        own = sample[piece] if sample is not None else None
        if present:
            summary: _Summary | None = _summary_of_present(part, wanted, sign, own, n_threads)
        else:
            summary = _summary(part, int((wanted if by_default else kept).max()), sign, own, n_threads)
        if summary is None:
            return None
        if by_default:
            if clean:
                dirty = count_gross(summary[0], observed)
                for c in np.flatnonzero(dirty):  # how wide steps are, more values say
                    dirty[c] = np.count_nonzero(gross_outliers(sign * part[~np.isnan(part[:, c]), c]))
                if np.any(dirty):
                    _leave_out(part, dirty, wanted, summary, sign, n_threads)
                    gross[piece], observed = dirty, observed - dirty
                    asked = np.minimum(default_excesses(observed) + 1, observed)
            kept[piece] = asked = ties_together(summary[0], asked)
            summary = only_largest(summary[0], asked), *summary[1:]
        tops.append(summary[0])
        moments[:, piece] = summary[2]
    largest, width = tops[0], max(top.shape[1] for top in tops)
    if len(tops) > 1:
        largest = np.full((channels, width), np.nan, columns.dtype)
        for piece, top in zip(together, tops, strict=True):
            largest[piece, width - top.shape[1] :] = top
    return (largest, sample, moments), kept, gross


def _summary(
    columns: NDArray[Any], kept: int, sign: float, sample: NDArray[Any] | None, n_threads: int | None
) -> _Summary | None:
    """The largest values (channels, kept), and means and variances; None if not all values are finite.

    All values are written to `sample` (channels, rows), which is returned too.
    """
    from evtkit._kernels.summary import first_cuts, summarise  # deferred: compiled

    rows, channels = columns.shape
    largest = np.empty((channels, kept), columns.dtype)
    given = np.empty((channels, 0), columns.dtype) if sample is None else sample
    moments = np.empty((2, channels))
    finite = []

    def work(piece: slice) -> None:
        count = piece.stop - piece.start
        state = empty_state(count)
        cuts, scales = np.full(count, -np.inf, columns.dtype), np.zeros(count, columns.dtype)
        if count >= _MANY_CHANNELS and 2 * kept < rows:
            first_cuts(columns, piece.start, piece.stop, sign, kept, cuts, scales)
        finite.append(summarise(columns, piece.start, piece.stop, sign, kept, largest, state, given, cuts, scales))
        moments[:, piece] = mean_and_variance(state, np.full(len(state), rows))

    for_each(work, pieces(channels, rows, n_threads), n_threads)
    return (largest, sample, moments) if all(finite) else None


def _summary_of_present(
    columns: NDArray[Any], kept: Int, sign: float, sample: NDArray[Any] | None, n_threads: int | None
) -> _Summary:
    """The same of what is not NaN, channel by channel; NaN stands in front where a channel has fewer of the largest,

    and in the sample where it was missing.
    """
    rows, channels = columns.shape
    largest = np.full((channels, int(kept.max())), np.nan, columns.dtype)
    if sample is not None:
        sample[:] = np.nan
    moments = np.full((2, channels), np.nan)

    def work(piece: slice) -> None:
        for c in range(piece.start, piece.stop):
            present = columns[~np.isnan(columns[:, c]), c : c + 1]
            count = min(int(kept[c]), len(present))
            own = None if sample is None else np.empty((1, len(present)), columns.dtype)
            found = _summary(np.ascontiguousarray(present), count, sign, own, 1) if count else None
            if found is not None:
                largest[c, largest.shape[1] - count :], moments[:, c] = found[0][0], found[2][:, 0]
                if sample is not None and own is not None:
                    sample[c, ~np.isnan(columns[:, c])] = own[0]

    for_each(work, pieces(channels, rows, n_threads), n_threads)
    return largest, sample, moments


def tail_from_largest(
    largest: NDArray[Any],
    levels: Float,
    n: NDArray[np.int64],
    mean: Float,
    variance: Float,
    *,
    sample: NDArray[Any] | None,
    side: str,
    method: str,
    resolution: float | None,
    scalar: bool,
    n_threads: int | None,
    names: NDArray[np.str_] | None = None,
    left_out: Int | None = None,
    dates: Dates | None = None,
    library: str | None = None,
) -> Tail:
    """A Tail from the largest values (channels, kept), ascending; for the lower side, of the negated data.

    The arrays of levels and variances are overwritten: they become those of thresholds and standard deviations.
    """
    from evtkit._kernels.largest import fit_largest
    from evtkit.estimators import METHODS

    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    total = largest.shape[0]
    fields = {name: np.empty(total) for name in ("xi", "sigma", "loglik", "se_xi", "se_sigma", "cov", "mean_excess")}
    counts, status = np.empty(total, dtype=np.int64), np.zeros(total, dtype=np.int64)
    levels, steps = np.require(levels, np.float64, ["C", "W"]), np.zeros(total)

    def work(piece: slice) -> None:
        own = rounding_steps(resolution, piece.stop - piece.start, method)
        result = np.empty((own.size, 7))
        fit_largest(largest[piece], levels[piece], own, result, counts[piece], fields["mean_excess"][piece])
        fit = as_fit(result, counts[piece], (len(result),), "mle")
        for name in ("xi", "sigma", "loglik", "se_xi", "se_sigma", "cov"):
            fields[name][piece] = getattr(fit, name)
        for array, found in ((status, fit.status), (steps, own)):
            if np.any(found):  # pages of zeros take no memory
                array[piece] = found

    for_each(work, pieces(total, largest.shape[1], n_threads), n_threads)
    shape = () if scalar else (total,)
    if side == "lower":
        np.negative(levels, out=levels)
    left_out = np.zeros(total, dtype=np.int64) if left_out is None else left_out
    estimates: dict[str, Any] = {name: one.reshape(shape) for name, one in fields.items()}
    tail = Tail(
        threshold=levels.reshape(shape), n=n.reshape(shape), n_excess=counts.reshape(shape),
        status=status.reshape(shape), mean=mean.reshape(shape), std=np.sqrt(variance, out=variance).reshape(shape),
        resolution=steps.reshape(shape), largest=largest[0] if scalar else largest, side=side,
        left_out=left_out.reshape(shape), sample=sample[0] if scalar and sample is not None else sample,
        names=names, dates=dates, library=library, **estimates,
    )  # fmt: skip
    if method == "mle":
        return tail
    other = fit_gpd(tail.excesses, method=method, n_threads=n_threads)
    changed = ("xi", "sigma", "status", "loglik", "se_xi", "se_sigma", "cov", "method")
    return replace(tail, **{name: getattr(other, name) for name in changed})
