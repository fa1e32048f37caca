"""The Numenta Anomaly Benchmark: its series, its labelled windows and its score, from their published definition.

Lavin & Ahmad (2015), "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark". A series has
windows around what was labelled. Only the first alarm in a window counts, and more the earlier it comes; every alarm
outside costs, less so shortly after a window; a window without an alarm costs. Worths follow

    σ(y) = 2 / (1 + exp 5y) − 1,

where y is the position relative to the end of the window, in window lengths: −1 at its first row, a little below 0 at
its last, positive after it. The worth of an alarm in a window is divided by σ(−1), so that the earliest is worth 1;
before any window an alarm is worth −1. Three profiles weigh right alarms, false ones and missed windows. Raw scores are
summed over the series and scaled so that no alarms at all give 0 and one alarm at the start of every window 100; there
is no lower limit. The first rows of a series are for learning: alarms there are neither rewarded nor punished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Profile(NamedTuple):
    """What a window found, a false alarm and a missed window weigh."""

    right: float
    false: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP": Profile(1.0, 0.22, 1.0),
    "reward_low_FN": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, eq=False)
class Series:
    """One series of values with its labelled windows, each the numbers of its first and last row."""

    name: str
    values: np.ndarray
    windows: tuple[tuple[int, int], ...]
    times: np.ndarray | None = None

    @property
    def group(self) -> str:
        """The kind of series: the folder that it lies in."""
        return self.name.partition("/")[0]

    @property
    def learning(self) -> int:
        """How many rows are for learning: 15 %, of at most 5,000."""
        return min(len(self.values) * 15 // 100, 750)

    @cached_property
    def window(self) -> np.ndarray:
        """Which window each row lies in, or −1."""
        number = np.full(len(self.values), -1)
        for which, (first, last) in enumerate(self.windows):
            number[first : last + 1] = which
        return number

    @cached_property
    def worth(self) -> np.ndarray:
        """What an alarm at each row is worth, before weighing: from −1 to 1, and 0 in the rows for learning."""
        row = np.arange(len(self.values))
        worth = np.full(len(row), -1.0)
        for first, last in self.windows:  # each overwrites what those before it say about the rows after them
            after = row > last
            worth[after] = sigmoid((row[after] - last) / max(last - first, 1))
            inside = slice(first, last + 1)
            worth[inside] = sigmoid((row[inside] - last - 1) / (last - first + 1)) / sigmoid(-1.0)
        worth[: self.learning] = 0.0
        return worth


def sigmoid(y: np.ndarray | float) -> np.ndarray:
    """σ(y): from 1 long before the end of a window through 0 to −1 long after it."""
    return -np.tanh(2.5 * np.asarray(y, dtype=np.float64))


def read(folder: Path) -> list[Series]:
    """All labelled series below a copy of the benchmark's folders ``data`` and ``labels``."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    corpus = []
    for name, spans in sorted(labels.items()):
        table = np.genfromtxt(folder / "data" / name, delimiter=",", skip_header=1, dtype="M8[s],f8")
        times, values = table["f0"], table["f1"]
        windows = []
        for start, end in spans:
            inside = np.flatnonzero((times >= np.datetime64(start)) & (times <= np.datetime64(end)))
            windows.append((int(inside[0]), int(inside[-1])))
        corpus.append(Series(name, values, tuple(windows), times))
    return corpus


def found(series: Series, alarm: np.ndarray) -> np.ndarray:
    """The row of the first alarm in each window, −1 where there is none."""
    alarm = alarm.astype(bool) & (np.arange(len(alarm)) >= series.learning)
    rows = [first + np.flatnonzero(alarm[first : last + 1])[:1] for first, last in series.windows]
    return np.array([row[0] if len(row) else -1 for row in rows], dtype=np.int64)


def false_alarms(series: Series, alarm: np.ndarray) -> int:
    """Alarms outside every window."""
    return int(np.count_nonzero(alarm[series.learning :].astype(bool) & (series.window[series.learning :] < 0)))


def raw_score(series: Series, alarm: np.ndarray, profile: Profile) -> float:
    """The weighed worth of the alarms of one series, as yet without scale."""
    first = found(series, alarm)
    outside = alarm.astype(bool) & (series.window < 0)
    right, false = series.worth[first[first >= 0]].sum(), series.worth[outside].sum()
    return float(profile.right * right + profile.false * false - profile.missed * np.count_nonzero(first < 0))


def scale(raw: float, windows: int, profile: Profile) -> float:
    """A raw score on the scale of 0, no alarm at all, to 100, all windows at once and no other alarm."""
    lowest = -profile.missed * windows
    return 100.0 * (raw - lowest) / (profile.right * windows - lowest)


def score(corpus: Sequence[Series], alarms: Sequence[np.ndarray], profile: Profile) -> float:
    """The score of all series together."""
    raw = sum(raw_score(series, alarm, profile) for series, alarm in zip(corpus, alarms, strict=True))
    return scale(raw, sum(len(series.windows) for series in corpus), profile)


def best_threshold(corpus: Sequence[Series], scores: Sequence[np.ndarray], profile: Profile) -> tuple[float, float]:
    """The one threshold for all series that gives alarms, score ≥ threshold, their highest score; and that score.

    Knows the labels, as the benchmark does. The highest of equally good thresholds; ∞ where silence is best.
    """
    gains, levels = [], []
    for series, values in zip(corpus, scores, strict=True):
        learnt = np.arange(len(values)) < series.learning
        gain = np.where((series.window < 0) & ~learnt, profile.false * series.worth, 0.0)
        for first, last in series.windows:
            rows = np.arange(max(first, series.learning), last + 1)
            rows = rows[np.argsort(-values[rows], kind="stable")]
            best = np.maximum.accumulate(series.worth[rows])  # as the threshold sinks, ever earlier alarms
            gain[rows] = profile.right * np.diff(best, prepend=0.0)
            gain[rows[:1]] += profile.missed
        gains.append(gain[~learnt])
        levels.append(values[~learnt])
    level, gain = np.concatenate(levels), np.concatenate(gains)
    order = np.argsort(-level, kind="stable")
    level, total = level[order], np.cumsum(gain[order])
    ends = np.append(np.flatnonzero(np.diff(level)), len(level) - 1)  # alarms of one score come together
    best_end = ends[np.argmax(total[ends])]
    windows = sum(len(series.windows) for series in corpus)
    if total[best_end] <= 0.0:
        return np.inf, 0.0
    raw = total[best_end] - profile.missed * windows
    return float(level[best_end]), scale(float(raw), windows, profile)
