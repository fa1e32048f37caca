"""The contestants of benchmarks/nab.py: each judges a series row by row, after the rows that it may learn from.

Both sides count, and share the risk. What a row is judged by is known before it comes: its two-sided tail probability
and the alarm levels then in force.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from libspot import ANOMALY
from libspot import Spot as LibSpot
from scipy.stats import norm

import evtkit
from evtkit.spot import Events

RISK = 1e-4  # of an alarm at an ordinary row, both sides together
QUANTILE = 0.98
DEPTH = 50  # of the moving average: well below the 169 rows of the shortest calibration


class Judged(NamedTuple):
    """One entry a row after those for learning."""

    log_p: np.ndarray
    alarm: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Verdict(NamedTuple):
    """What a detector said of a series: an entry a row, nothing in the rows for learning."""

    alarm: np.ndarray
    score: np.ndarray
    judged: Judged


def score(judged: Judged, values: np.ndarray, spread: float) -> np.ndarray:
    """A number from 0 to 1 for the benchmark: the less probable a row, the higher; see `probability_of`.

    −log₁₀ p of 0 … ∞ goes to 0 … ½. Beyond the endpoint of a short tail p is 0, and ½ … 1 is for how far beyond the
    alarm level such a row lies, in units of `spread`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -judged.log_p / np.log(10.0)
        beyond = np.fmax(np.fmax(values - judged.upper, judged.lower - values), 0.0) / spread
        return 0.5 * np.where(np.isinf(surprise), 2.0 - 1.0 / (1.0 + beyond), 1.0 - 1.0 / (1.0 + surprise))


def probability_of(score: float) -> float:
    """The probability that has this score."""
    return float(10.0 ** (1.0 - 1.0 / (1.0 - 2.0 * score))) if score < 0.5 else 0.0


def spot(learning: np.ndarray, rest: np.ndarray, events: bool = False, **options: str) -> Judged:
    """`evtkit.Spot` as it comes, or with other options: every alarm, or the beginnings of its events."""
    return _traced(evtkit.Spot(RISK, QUANTILE, side="both", **options), learning, rest, events)


def dspot(learning: np.ndarray, rest: np.ndarray, events: bool = False, **options: str) -> Judged:
    """`evtkit.DSpot` as it comes, or with other options: every alarm, or the beginnings of its events."""
    return _traced(evtkit.DSpot(RISK, DEPTH, QUANTILE, side="both", **options), learning, rest, events)


def _traced(detector: evtkit.Spot, learning: np.ndarray, rest: np.ndarray, events: bool) -> Judged:
    trace = detector.fit(learning).trace(rest)
    alarm = trace.label == ANOMALY
    if events:
        told = Events(risk=RISK, side="both").feed(rest, trace)
        alarm = np.isin(np.arange(len(rest)), [event.start for event in told if not event.is_over])
    return Judged(trace.log_probability, alarm, *trace.alarm_threshold.T)


def libspot(learning: np.ndarray, rest: np.ndarray, discard: bool = True) -> Judged:
    """libspot 3.1, which has one side: two of them, one on −x, with half the risk each; as it comes it discards."""
    judged = _nothing(len(rest))
    log_p, alarm, lower, upper = judged
    for sign, level in ((1.0, upper), (-1.0, lower)):
        side = LibSpot(q=RISK / 2, level=QUANTILE, discard_anomalies=discard)
        try:
            side.fit(np.ascontiguousarray(sign * learning))
        except RuntimeError:  # constant so far: it finds no threshold, and this side stays silent
            continue
        for row, x in enumerate((sign * rest).tolist()):
            if x > side.excess_threshold:
                p = side.probability(x)  # beyond the endpoint of a short tail, NaN
                log_p[row] = np.log(min(2.0 * p, 1.0)) if p > 0.0 else -np.inf
            level[row] = sign * side.anomaly_threshold
            over = x > side.anomaly_threshold  # what it learns of, it does not report
            alarm[row] |= (side.step(x) == ANOMALY) | over
    return judged


def rolling_z(learning: np.ndarray, rest: np.ndarray) -> Judged:
    """Gaussian with the mean and standard deviation of the last rows, as many as those for learning."""
    before = np.lib.stride_tricks.sliding_window_view(np.append(learning, rest[:-1]), len(learning))
    std = before.std(axis=1, ddof=1)
    std[np.ptp(before, axis=1) == 0.0] = 0.0  # not the rounding error of the mean
    return _gaussian(rest, before.mean(axis=1), std)


def windowed_gaussian(learning: np.ndarray, rest: np.ndarray) -> Judged:
    """The scoreboard's simple entry, from its description: Gaussian of the last 6,400 rows, renewed every 100."""
    values, first = np.append(learning, rest), len(learning)
    mean, std = np.empty(len(rest)), np.empty(len(rest))
    for row in range(first, len(values)):
        if row <= 6400 or row % 100 == 0:
            window = values[max(0, row - 6400) : row]
            of_window = window.mean(), window.std() or 1e-6
        mean[row - first], std[row - first] = of_window
    return _gaussian(rest, mean, std)


def chance(learning: np.ndarray, rest: np.ndarray) -> Judged:
    """Control: probabilities drawn at random, whatever the values."""
    p = np.random.default_rng(len(rest) + int(np.abs(learning).sum() * 1000)).random(len(rest))
    return _nothing(len(rest))._replace(log_p=np.log(p), alarm=p < RISK)


def silent(learning: np.ndarray, rest: np.ndarray) -> Judged:
    """Control: never an alarm."""
    return _nothing(len(rest))


def _nothing(rows: int) -> Judged:
    """Nothing stands out."""
    return Judged(np.zeros(rows), np.zeros(rows, dtype=bool), np.full(rows, -np.inf), np.full(rows, np.inf))


def _gaussian(rest: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Judged:
    distance, reach = np.abs(rest - mean), norm.isf(RISK / 2) * std
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(distance > 0.0, distance / std, 0.0)
    return Judged(np.log(2.0) + norm.logsf(z), distance > reach, mean - reach, mean + reach)
