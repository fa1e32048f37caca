"""Streams for `alarms.py`: what shifts, drifts, swings, dies and comes back; and distributions that do nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Callable


def _shift(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n) + 20.0 * (np.arange(n) >= n // 2)


def _counter(rng: np.random.Generator, n: int) -> np.ndarray:
    y = np.cumsum(rng.poisson(5.0, n)).astype(float)
    for reset in range(n // 4, n, n // 3):
        y[reset:] -= y[reset]
    return y


def _ramp(step: float, noise: float, digits: int | None = None) -> Callable[[np.random.Generator, int], np.ndarray]:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        x = step * np.arange(n) + noise * rng.standard_normal(n)
        return x if digits is None else np.round(x, digits)

    return draw


def _autoregression(rng: np.random.Generator, n: int) -> np.ndarray:
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, -0.9], rng.standard_normal(n)))


def _dead(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(10.0, 1.0, n)
    x[n // 2 : n // 2 + 3000] = 0.0
    return x


def _burst(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.normal(10.0, 1.0, n)
    x[n // 2 : n // 2 + 20] = 30.0
    return x


def _recurring(rng: np.random.Generator, n: int) -> np.ndarray:
    x = rng.standard_normal(n)
    x[2000::500] = 12.0
    return x


STREAMS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "independent, normal": lambda rng, n: rng.standard_normal(n),
    "20 rows at +20σ": _burst,
    "an anomaly every 500 rows": _recurring,
    "shift by 20σ": _shift,
    "shift by 3σ": lambda rng, n: rng.standard_normal(n) + 3.0 * (np.arange(n) >= n // 2),
    "drift of 10σ": lambda rng, n: rng.standard_normal(n) + np.linspace(0.0, 10.0, n),
    "drift of 100σ": lambda rng, n: rng.standard_normal(n) + np.linspace(0.0, 100.0, n),
    "random walk, 0.05σ a row": lambda rng, n: rng.standard_normal(n) + np.cumsum(0.05 * rng.standard_normal(n)),
    "twice the scale": lambda rng, n: rng.standard_normal(n) * (1.0 + (np.arange(n) >= n // 2)),
    "autoregression, 0.9": _autoregression,
    "season of ±3σ, 288 rows": lambda rng, n: rng.standard_normal(n) + 3.0 * np.sin(np.arange(n) * 2 * np.pi / 288),
    "dead for 3,000 rows": _dead,
    "counter with 3 resets": _counter,
    "counter of bytes": lambda rng, n: np.cumsum(rng.lognormal(10.0, 1.0, n)),
    "counter, one step in ten rows": lambda rng, n: np.cumsum(rng.random(n) < 0.1).astype(float),
    "random walk with a drift": lambda rng, n: np.cumsum(0.3 + rng.standard_normal(n)),
    "ramp with noise": _ramp(1.0, 1.0),
    "ramp, rounded to 1": _ramp(0.13, 0.3, 0),
    "timestamps": _ramp(60.0, 0.0),
    "load, often at 100 %": lambda rng, n: np.minimum(1.0, 0.3 * rng.standard_exponential(n)),
    "counts, Poisson 3": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "rounded to 0.5σ": lambda rng, n: np.round(2.0 * rng.standard_normal(n)) / 2.0,
    "constant": lambda rng, n: np.full(n, 7.0),
    "nine in ten are 0": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.standard_exponential(n)),
}


def _standardised(law: object) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Values of mean 0 and standard deviation 1."""
    return lambda rng, n: (law.ppf(rng.random(n)) - law.mean()) / law.std()  # type: ignore[attr-defined]


DRIFTING = {
    "normal": _standardised(stats.norm()),
    "t, 5 d.f.": _standardised(stats.t(5)),
    "exponential": _standardised(stats.expon()),
    "uniform": _standardised(stats.uniform()),
    "beta (2, 5)": _standardised(stats.beta(2, 5)),
    "gamma, shape 0.5": _standardised(stats.gamma(0.5)),
    "Poisson (5)": _standardised(stats.poisson(5)),
    "normal, rounded to 0.5": lambda rng, n: np.round(2.0 * rng.standard_normal(n)) / 2.0,
}
MOVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda t: 0.0 * t,
    "ramp of 1σ": lambda t: t,
    "3σ": lambda t: 3.0 * t,
    "10σ": lambda t: 10.0 * t,
    "100σ": lambda t: 100.0 * t,
    "10σ, from row 7,000 on": lambda t: 15.0 * np.maximum(t - 1.0 / 3.0, 0.0),
    "step of 3σ": lambda t: 3.0 * (t >= 0.5),
    "step of 20σ": lambda t: 20.0 * (t >= 0.5),
    "season of ±3σ, 288 rows": lambda t: 3.0 * np.sin(2.0 * np.pi * t * 21_000 / 288),
    "5,000 rows": lambda t: 3.0 * np.sin(2.0 * np.pi * t * 21_000 / 5_000),
}
