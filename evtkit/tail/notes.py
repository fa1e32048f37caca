"""What a reader should know of a fitted tail beside its numbers: advice of a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.cleaning.holes import FROM, isolated
from evtkit.dependence import extremal_index
from evtkit.fit import FitStatus
from evtkit.gof import goodness_of_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Bool, Float, Int
    from evtkit.fit import GpdFit

__all__ = ["advice"]

_FEWEST = 3  # excesses of a tail that is believed
_FEW = 20  # excesses that say little of a shape
_REJECTED = 1e-3  # p-value of a fit that does not hold
_CLUSTERED = 0.7  # extremal index of excesses that come together
_ENOUGH = 30  # excesses from which their order is looked at
_TREND = 4.0  # standard errors by which excesses come late or early
_STEPS = 3  # of a counter, at least
_ALONE = 10.0  # times as far out as the next one
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

    with_tail = (fit.status <= FitStatus.BOUNDARY) & (fit.n >= _FEWEST)
    ranks = "probabilities go by rank, never below 1/(n + 1)"
    note(
        ~with_tail,
        lambda c: f"no tail to rely on ({FitStatus(int(fit.status[c])).name}, {_excesses(fit.n[c])}): {ranks}",
        f"no tail to rely on: {ranks}",
    )
    kept = "clean=False (--no-clean) keeps them"
    note(
        left_out > 0,
        lambda c: (
            f"{_observations(left_out[c])} stood apart and {'was' if left_out[c] == 1 else 'were'} left out; {kept}"
        ),
        f"observations stood apart and were left out; {kept}",
    )
    if ordered is not None and len(n) <= _MANY:
        hidden = _standing_apart(ordered[0], left_out)
        heavier = "the tail too heavy; clean=True (--clean) leaves them out"
        note(
            hidden > 0,
            lambda c: (
                f"{_observations(hidden[c])} stand{'s' * int(hidden[c] == 1)} apart: if of another kind, "
                f"{'it makes' if hidden[c] == 1 else 'they make'} {heavier}"
            ),
            f"some observations stand apart: if of another kind, they make {heavier}",
        )
        ratio = np.where(hidden == 0, _largest_to_next(ordered[0], left_out), 0.0)
        spoils = "if of another kind, it makes the tail too heavy"
        note(
            ratio >= _ALONE,
            lambda c: f"the largest lies {ratio[c]:,.0f} times as far out as the next one: {spoils}",
            f"the largest lies far beyond the next one: {spoils}",
        )
    far = "far levels rest on the prior"
    note(
        with_tail & (fit.n < _FEW),
        lambda c: f"{_excesses(fit.n[c])} only: {far}",
        f"fewer than {_FEW} excesses: {far}",
    )
    step = np.zeros(len(n)) if fit.resolution is None else fit.resolution
    note(step > 0.0, lambda c: f"rounded to steps of {step[c]:.4g}, and fitted as such", "rounded, and fitted as such")
    share = _share_tied(excesses)
    unexplained = with_tail & (step == 0.0) & (share > _TIED) & _tied_beyond_chance(excesses, share > _TIED)
    repeated = np.zeros(len(n))
    if ordered is not None and len(n) <= _MANY:
        repeated[unexplained] = _share_repeated(ordered[0][unexplained], ordered[1][unexplained])
    held, stands = unexplained & (repeated > 0.5 * share), "equal the row before or after: a value that is held"
    note(
        held,
        lambda c: f"{100.0 * repeated[c]:.0f} % of the excesses {stands} counts as often as it stands there",
        f"many excesses {stands} counts as often as it stands there",
    )
    tied = "equal another one: steps that are no lattice"
    note(
        unexplained & ~held,
        lambda c: f"{100.0 * share[c]:.0f} % of the excesses {tied}",
        f"many excesses {tied}",
    )
    end = "the fit ends at the largest excess (ξ = −1)"
    note(with_tail & (fit.status == FitStatus.BOUNDARY), lambda _: end, end)
    if fit.method == "mle":
        p_fit = np.where(with_tail, goodness_of_fit(excesses, fit).p_a2, np.nan)
        misfit, higher = "a generalised Pareto tail does not fit", "try a higher threshold"
        note(
            p_fit < _REJECTED,
            lambda c: f"{misfit} (Anderson–Darling p = {p_fit[c]:.0e}): {higher}",
            f"{misfit}: {higher}",
        )
    if ordered is not None and len(n) <= _MANY:
        _of_time(note, with_tail, *ordered)
    if p is not None:
        note(
            n * p < _EXPECTED,
            lambda c: f"{p:g} lies far out for {n[c]:,} observations (n·p = {n[c] * p:.2g}): it rests on the model",
            f"{p:g} lies far out for their number of observations: it rests on the model",
        )
    return tuple(_line(where, one, many, names) for where, one, many in found)


def _excesses(count: int) -> str:
    return f"{count:,} excess{'es' * int(count != 1)}"


def _observations(count: int) -> str:
    return f"{count:,} observation{'s' * int(count != 1)}"


def _standing_apart(sample: NDArray[Any], left_out: Int) -> Int:
    """How many observations cleaning would leave out, in channels where nothing was."""
    counts = np.zeros(len(sample), dtype=np.int64)
    for c in np.flatnonzero(left_out == 0):
        x = sample[c][~np.isnan(sample[c])]
        counts[c] = np.count_nonzero(isolated(x, quantile=FROM)) if x.size else 0
    return counts


def _largest_to_next(sample: NDArray[Any], left_out: Int) -> Float:
    """How far out the largest lies, in units of the next one, both from where the largest fifth begins; else 0."""
    ratio = np.zeros(len(sample))
    for c in np.flatnonzero(left_out == 0):
        x = np.sort(sample[c][~np.isnan(sample[c])].astype(np.float64))
        if x.size > 2 and (near := x[-2] - x[int(FROM * x.size)]) > 0.0:
            ratio[c] = min((x[-1] - x[int(FROM * x.size)]) / near, 1e9)
    return ratio


def _of_time(note: Callable[..., None], wanted: Bool, sample: NDArray[Any], threshold: Float) -> None:
    """Notes on the order of observations: counters, trends, clusters."""
    channels = len(threshold)
    rises, late, index = np.zeros(channels, dtype=bool), np.zeros(channels), np.ones(channels)
    for c in range(channels):
        x = sample[c][~np.isnan(sample[c])].astype(np.float64)
        times = np.flatnonzero(x > threshold[c])
        steps = np.diff(x)
        has_steps = len(x) > 20 and np.count_nonzero(steps) >= _STEPS
        rises[c] = has_steps and bool(np.all(steps >= 0.0) or np.all(steps <= 0.0))
        if len(times) < _ENOUGH:
            continue
        index[c] = float(extremal_index(x, threshold[c]))
        spread = np.sqrt(1.0 / (12.0 * max(1.0, index[c] * len(times))))
        late[c] = (np.mean(times) / max(len(x) - 1, 1) - 0.5) / spread
    wanted = wanted | rises
    counter = "values only rise or only fall: a counter or a row number has no tail"
    note(rises, lambda _: counter, counter)
    trend = wanted & ~rises & (np.abs(late) > _TREND)
    note(
        trend,
        lambda c: f"excesses gather at the {'end' if late[c] > 0 else 'start'} of the data: a trend or a change",
        "excesses gather at one end of the data: a trend or a change",
    )
    note(
        wanted & ~rises & ~trend & (index < _CLUSTERED),
        lambda c: f"excesses come in clusters (extremal index {index[c]:.2f}): so will alarms",
        "excesses come in clusters: so will alarms",
    )


def _share_tied(excesses: Float) -> Float:
    """The share of each channel's excesses that equal another one."""
    ordered = np.sort(excesses, axis=0)
    same = np.diff(ordered, axis=0) == 0.0
    tied = np.zeros(ordered.shape, dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    return np.asarray(tied.sum(axis=0) / np.maximum(np.count_nonzero(~np.isnan(excesses), axis=0), 1))


def _share_repeated(sample: NDArray[Any], threshold: Float) -> Float:
    """The share of each channel's excesses that equal the observation before or after."""
    out = np.zeros(len(threshold))
    for c, u in enumerate(threshold):
        x = sample[c][~np.isnan(sample[c])]
        same = np.diff(x) == 0.0
        out[c] = np.mean((np.r_[False, same] | np.r_[same, False])[x > u])
    return out


def _tied_beyond_chance(excesses: Float, wanted: Bool) -> Bool:
    """In which of the channels wanted more excesses are equal than the decimals that they have explain."""
    found = np.zeros(excesses.shape[1], dtype=bool)
    for c in np.flatnonzero(wanted):
        y = excesses[:, c][~np.isnan(excesses[:, c])]
        times = np.unique(y, return_counts=True)[1]
        pairs, of = np.sum(times * (times - 1)) / 2.0, y.size * (y.size - 1) / 2.0
        size = min(float(y.mean()), float(np.median(y)) / np.log(2.0))  # of an exponential; the mean is one outlier's
        expected = of * min(1.0, 0.5 * _decimal(y) / size)
        found[c] = pairs > expected + 3.0 * np.sqrt(expected) + 1.0
    return found


def _decimal(y: Float) -> float:
    """The largest power of ten that values are multiples of, down to 1e-9 of the largest; else 0."""
    top = int(np.ceil(np.log10(y.max())))
    for power in range(top, top - 10, -1):
        in_units = y / 10.0**power
        if np.all(np.abs(in_units - np.rint(in_units)) < 1e-5):
            return float(10.0**power)
    return 0.0


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
