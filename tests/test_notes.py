"""What is said beside the numbers of a tail, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from evtkit import fit_tail

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal(2000)


def planted() -> np.ndarray:
    x = NORMAL.copy()
    x[:5] = 40.0, 41.0, 42.0, 43.0, 44.0
    return x


@pytest.mark.parametrize(
    ("x", "rule", "words"),
    [
        (RNG.poisson(3.0, 1000).astype(float), {"quantile": 0.9}, "rounded to steps of 1"),
        (NORMAL, {"n_excess": 12}, "12 excesses only"),
        (np.arange(500.0), {"quantile": 0.9}, "only rise or only fall"),
        (NORMAL + np.linspace(0.0, 9.0, 2000), {"quantile": 0.9}, "gather at the end"),
        (np.repeat(NORMAL, 6) + 1e-6 * RNG.random(12000), {"quantile": 0.9}, "clusters"),
        (np.abs(np.r_[NORMAL, 3.0 + 0.1 * NORMAL]), {"quantile": 0.2}, "does not fit"),
        (np.r_[np.zeros(90), np.ones(10)], {"quantile": 0.8}, "CONSTANT"),
        (np.log1p(RNG.poisson(5.0, 1000)), {"quantile": 0.8}, "steps that are no lattice"),
        (np.repeat(NORMAL, 4), {"quantile": 0.9}, "a value that is held"),
        (planted(), {"quantile": 0.9, "clean": True}, "5 observations stood apart"),
    ],
)
def test_what_makes_a_number_doubtful_is_said_beside_it(x, rule, words):
    tail = fit_tail(x, **rule)
    assert any(words in line for line in tail.notes), tail.notes
    assert words in repr(tail)
    assert all(len(line) < 160 and "\n" not in line for line in tail.notes)


def test_one_value_far_beyond_the_next_is_named():
    latencies = np.random.default_rng(14).gamma(4.0, 5.0, 50)
    assert not any("times as far out" in line for line in fit_tail(latencies).notes)
    latencies[0] = 2000.0
    assert any("times as far out" in line for line in fit_tail(latencies).notes)


def test_ties_that_the_decimals_explain_are_no_matter():
    years = np.random.default_rng(20).integers(1950, 2020, 30).astype(float)
    prices = np.floor(np.random.default_rng(4).lognormal(3.0, 0.8, 45)) + 0.99
    durations = np.random.default_rng(8).exponential(8.0, 60).round(2)
    loads = np.random.default_rng(3).integers(100, 140, 60).astype(float)
    for x in (years, prices, durations, loads):
        assert not any("no lattice" in line for line in fit_tail(x).notes)
        with_outlier = np.r_[x, np.floor(x.max()) + 8.0 * np.ptp(x) // 1.0]
        assert not any("no lattice" in line for line in fit_tail(with_outlier).notes)
    powers = 2.0 ** np.random.default_rng(19).integers(4, 16, 50)
    assert any("no lattice" in line for line in fit_tail(powers).notes)


def test_one_step_makes_no_counter_and_one_excess_is_singular():
    notes = fit_tail(np.r_[np.full(30, 5.0), 6.0]).notes
    assert not any("counter" in line for line in notes)
    assert any("1 excess)" in line for line in notes)


def test_ordinary_data_need_no_notes():
    quiet = [fit_tail(np.random.default_rng(seed).standard_exponential(2000), quantile=0.9).notes for seed in range(40)]
    assert sum(map(bool, quiet)) <= 2


def test_a_probability_beyond_the_data_is_named():
    tail = fit_tail(NORMAL, quantile=0.9)
    assert "n·p = 0.2" in tail.notes_on(1e-4)[-1]
    assert tail.notes_on(0.01) == tail.notes


def test_channels_are_counted_and_named():
    x = np.c_[NORMAL, RNG.poisson(3.0, (2000, 5))]
    notes = fit_tail(x, quantile=0.9).notes
    assert any(line.startswith("5 of 6 channels (1, 2, 3, …): rounded") for line in notes)


@pytest.mark.parametrize("rows", [2, 5])
def test_values_that_are_held_are_told_from_steps(rows):
    steps = np.log1p(np.random.default_rng(30).poisson(5.0, 1000))
    assert not any("held" in line for line in fit_tail(steps, quantile=0.8).notes)
    held = np.repeat(np.random.default_rng(31).standard_exponential((1000, 3)), rows, axis=0)
    lines = fit_tail(held, quantile=0.9).notes
    assert any("held" in line for line in lines)
    assert not any("no lattice" in line for line in lines)
