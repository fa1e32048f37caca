"""What a reader should know of a fitted tail beside its numbers: advice of a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.dependence import extremal_index
from evtkit.fit import FitStatus
from evtkit.gof import goodness_of_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int
    from evtkit.fit import GpdFit

__all__ = ["advice"]

_FEW = 20  # excesses that say little of a shape
_REJECTED = 1e-3  # p-value of a fit that does not hold
_CLUSTERED = 0.7  # extremal index of excesses that come together
_ENOUGH = 30  # excesses from which their order is looked at
_TREND = 4.0  # standard errors by which excesses come late or early
_TIED = 0.1  # share of excesses that equal another
_EXPECTED = 10.0  # observations expected beyond a level that rests on data
_LISTED = 3  # channels that are named
_MANY = 200  # channels up to which the order of their observations is looked at


def advice(
    fit: GpdFit,
    n: Int,
    excesses: Float,
    left_out: Int,
    names: Sequence[str] | None,
    ordered: tuple[NDArray[Any], Float] | None,
    p: float | None = None,
) -> tuple[str, ...]:
    """Notes on tails of many channels, one line each.

    Parameters
    ----------
    fit : GpdFit, fields of shape (channels,)
        The fits.
    n, left_out : ndarray of int64, shape (channels,)
        Observations, and those that were left out because they stood apart.
    excesses : ndarray, shape (most, channels)
        NaN-padded.
    names : sequence of str, or None
        Of the channels.
    ordered : (sample, threshold), or None
        All observations in order of time (channels, n), extremes large, and the thresholds.
    p : float, optional
        A probability that is asked about.
    """
    found: list[tuple[Bool, Callable[[int], str], str]] = []

    def note(where: Bool, one: Callable[[int], str], many: str) -> None:
        if np.any(where):
            found.append((where, one, many))

    fitted = fit.status <= FitStatus.BOUNDARY
    with_tail = fitted & (fit.n >= 5)
    note(
        ~with_tail,
        lambda c: f"no tail to rely on ({FitStatus(int(fit.status[c])).name}, {fit.n[c]} excesses): probabilities go by "
        "rank, never below 1/(n + 1)",
        "no tail to rely on: probabilities go by rank, never below 1/(n + 1)",
    )
    note(left_out > 0, lambda c: f"{left_out[c]:,} observations stood apart and were left out", "observations that stood "
         "apart were left out")  # fmt: skip
    few = with_tail & (fit.n < _FEW)
    note(few, lambda c: f"{fit.n[c]} excesses only: far levels rest on the prior", f"fewer than {_FEW} excesses: far "
         "levels rest on the prior")  # fmt: skip
    step = np.zeros(len(n)) if fit.resolution is None else fit.resolution
    note(step > 0.0, lambda c: f"rounded to steps of {step[c]:.4g}, and fitted as such", "rounded, and fitted as such")
    tied = with_tail & (step == 0.0) & (_share_tied(excesses) > _TIED)
    note(tied, lambda c: f"{_share_tied(excesses)[c]:.0%} of the excesses equal another one: steps that are no lattice",
         "many excesses equal another one: steps that are no lattice")  # fmt: skip
    note(with_tail & (fit.status == FitStatus.BOUNDARY), lambda _: "the fit ends at the largest excess (ξ = −1)", "the fit ends at the largest excess (ξ = −1)")  # fmt: skip
    if fit.method == "mle":
        p_fit = np.where(with_tail, goodness_of_fit(excesses, fit).p_a2, np.nan)
        note(p_fit < _REJECTED, lambda c: f"a generalised Pareto tail does not fit (Anderson–Darling p = {p_fit[c]:.0e}):"
             " try a higher threshold", "a generalised Pareto tail does not fit: try a higher threshold")  # fmt: skip
    if ordered is not None and len(n) <= _MANY:
        _of_time(note, with_tail, *ordered)
    if p is not None:
        note(n * p < _EXPECTED, lambda c: f"{p:g} lies far out for {n[c]:,} observations (n·p = {n[c] * p:.2g}): it rests "
             "on the model", f"{p:g} lies far out for their number of observations: it rests on the model")  # fmt: skip
    return tuple(_line(where, one, many, names) for where, one, many in found)


def _of_time(note: Callable[..., None], wanted: Bool, sample: NDArray[Any], threshold: Float) -> None:
    """Notes on the order of observations: counters, trends, clusters."""
    channels = len(threshold)
    rises, late, index = np.zeros(channels, dtype=bool), np.zeros(channels), np.ones(channels)
    for c in range(channels):
        x = sample[c][~np.isnan(sample[c])].astype(np.float64)
        times = np.flatnonzero(x > threshold[c])
        steps = np.diff(x)
        rises[c] = len(x) > 20 and bool(np.any(steps) and (np.all(steps >= 0.0) or np.all(steps <= 0.0)))
        if len(times) < _ENOUGH:
            continue
        index[c] = float(extremal_index(x, threshold[c]))
        spread = np.sqrt(1.0 / (12.0 * max(1.0, index[c] * len(times))))
        late[c] = (np.mean(times) / max(len(x) - 1, 1) - 0.5) / spread
    wanted = wanted | rises
    note(rises, lambda _: "values only rise or only fall: a counter or a row number has no tail", "values only rise or "
         "only fall: a counter or a row number has no tail")  # fmt: skip
    trend = wanted & ~rises & (np.abs(late) > _TREND)
    note(trend, lambda c: f"excesses gather at the {'end' if late[c] > 0 else 'start'} of the data: a trend or a change, "
         "after which this tail does not hold", "excesses gather at one end of the data: a trend or a change")  # fmt: skip
    clustered = wanted & ~rises & ~trend & (index < _CLUSTERED)
    note(clustered, lambda c: f"excesses come in clusters (extremal index {index[c]:.2f}): so will alarms, and the data say "
         "less than their number", "excesses come in clusters: so will alarms")  # fmt: skip


def _share_tied(excesses: Float) -> Float:
    """The share of each channel's excesses that equal another one."""
    ordered = np.sort(excesses, axis=0)
    same = np.diff(ordered, axis=0) == 0.0
    tied = np.zeros(ordered.shape, dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    return np.asarray(tied.sum(axis=0) / np.maximum(np.count_nonzero(~np.isnan(excesses), axis=0), 1))


def _line(where: Bool, one: Callable[[int], str], many: str, names: Sequence[str] | None) -> str:
    """A note with the channels that it concerns."""
    channels = np.flatnonzero(where)
    if len(where) == 1:
        return one(0)
    label = [str(c) if names is None else names[c] for c in channels[:_LISTED]]
    if len(channels) == 1:
        return f"{label[0]}: {one(int(channels[0]))}"
    more = "" if len(channels) <= _LISTED else ", …"
    return f"{len(channels):,} of {len(where):,} channels ({', '.join(label)}{more}): {many}"
