"""Textbook SPOT and DSPOT (Siffer et al. 2017, algorithms 1 to 3): slow, plain, one side, all excesses kept.

An oracle for the stream detectors, and a stand-in for them in experiments. Every choice that the paper leaves open is
stated where it is made. The lower side is that of −x.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from evtkit import fit_gpd

NORMAL, EXCESS, ANOMALY = 0, 1, 2


class TextbookSpot:
    """One stream, upper side.

    - The excess threshold u is the order statistic sorted(x)[floor(q·n)] of the calibration sample and never moves.
    - Excesses are x − u for x > u, strictly; a value at u is none.
    - The alarm threshold is z = u + σ/ξ · ((risk · n/N_u)^(−ξ) − 1), ξ and σ by exact maximum likelihood from all
      excesses so far; an alarm is x > z, strictly.
    - n counts calibration and all later values without an alarm, N_u the excesses among them: what raised an alarm
      leaves no trace. Fit and z are renewed at an excess only, with the n and N_u that include it.
    - z is never below u: where N_u/n has sunk below the risk, every excess is an alarm.
    - The calibration sample itself is not cleaned.
    - Without an excess, or with σ = 0, there is no model: z is the largest value seen without an alarm.
    """

    def __init__(self, risk: float, quantile: float = 0.98) -> None:
        self.risk, self.quantile = risk, quantile

    def fit(self, x: np.ndarray) -> TextbookSpot:
        """Calibrate."""
        x = np.asarray(x, dtype=np.float64)
        self.n = len(x)
        self.threshold = float(np.sort(x)[int(np.floor(self.quantile * len(x)))])
        self.excesses = (x[x > self.threshold] - self.threshold).tolist()
        self.largest = float(x.max())
        self._refit()
        self._move()
        return self

    def _refit(self) -> None:
        self.xi, self.sigma = np.nan, np.nan
        if self.excesses:
            fit = fit_gpd(np.array(self.excesses), n_threads=1)
            self.xi, self.sigma = float(fit.xi), float(fit.sigma)

    def _move(self) -> None:
        self.share = len(self.excesses) / self.n
        self.alarm_threshold = self.largest
        if self.sigma > 0:
            rest = np.log(self.risk / self.share)
            reach = -rest if self.xi == 0 else np.expm1(-self.xi * rest) / self.xi
            self.alarm_threshold = self.threshold + self.sigma * max(reach, 0.0)

    def probability(self, x: float) -> float:
        """P(X > x) for x beyond the threshold u, by the fit and the N_u/n that gave z; N_u/n at and below u."""
        if x <= self.threshold or not self.sigma > 0:
            return self.share if x <= self.alarm_threshold else 0.0
        y = (x - self.threshold) / self.sigma
        if self.xi == 0:
            return self.share * float(np.exp(-y))
        return self.share * max(0.0, 1.0 + self.xi * y) ** (-1.0 / self.xi)

    def step(self, x: float) -> int:
        """Judge one value by what came before it, then learn from it unless it is an alarm."""
        if x > self.alarm_threshold:
            return ANOMALY
        self.n += 1
        self.largest = max(self.largest, x)
        excess = x > self.threshold
        if excess:
            self.excesses.append(x - self.threshold)
            self._refit()
            self._move()
        return EXCESS if excess else NORMAL


class TextbookDSpot:
    """SPOT on the deviations x − m from the mean m of the last `depth` values that raised no alarm.

    - The first `depth` values of the calibration sample fill the window; the deviations of the rest calibrate SPOT.
    - A deviation is taken before its value enters the window; an alarm never enters it.
    """

    def __init__(self, risk: float, depth: int, quantile: float = 0.98) -> None:
        self.spot, self.depth = TextbookSpot(risk, quantile), depth

    def fit(self, x: np.ndarray) -> TextbookDSpot:
        """Calibrate."""
        x = np.asarray(x, dtype=np.float64)
        means = np.lib.stride_tricks.sliding_window_view(x, self.depth).mean(axis=1)[:-1]
        self.spot.fit(x[self.depth :] - means)
        self.window = deque(x[-self.depth :].tolist(), maxlen=self.depth)
        return self

    @property
    def mean(self) -> float:
        """Of the last values without an alarm."""
        return float(np.mean(self.window))

    @property
    def alarm_threshold(self) -> float:
        """In the units of the data, for the next value."""
        return self.mean + self.spot.alarm_threshold

    def probability(self, x: float) -> float:
        """That the next value exceeds x."""
        return self.spot.probability(x - self.mean)

    def step(self, x: float) -> int:
        """Judge one value, then learn from it unless it is an alarm."""
        kind = self.spot.step(x - self.mean)
        if kind != ANOMALY:
            self.window.append(x)
        return kind
