"""The textbook SPOT gives the figures of the reference, and `evtkit.Spot` those of the textbook."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from evtkit import DSpot, Spot, fit_gpd

sys.path.insert(0, str(Path(__file__).parent))
from oracles_spot import ANOMALY, EXCESS, NORMAL, TextbookDSpot, TextbookSpot


def test_calibration_gives_the_reference_level(spot_rain):
    spot = TextbookSpot(1e-4).fit(spot_rain[:1000])
    assert len(spot.excesses) == 19
    assert spot.xi == pytest.approx(-0.5039350, rel=1e-6)
    assert spot.sigma == pytest.approx(5.16915e-5, rel=1e-5)
    assert spot.alarm_threshold == pytest.approx(1.857862e-4, rel=1e-6)


def test_a_level_has_the_probability_of_the_risk():
    rng = np.random.default_rng(0)
    for draw in (rng.standard_normal, rng.standard_exponential, rng.standard_cauchy, rng.random):
        spot = TextbookSpot(1e-3).fit(draw(2000))
        for x in draw(2000).tolist():
            spot.step(x)
        assert spot.probability(spot.alarm_threshold) == pytest.approx(1e-3)


def test_an_alarm_leaves_no_trace():
    x = np.random.default_rng(1).standard_exponential(1500)
    spot = TextbookSpot(1e-4).fit(x[:1000])
    before = dict(vars(spot), excesses=list(spot.excesses))
    assert spot.step(1e6) == ANOMALY
    assert vars(spot) == before


def test_excesses_are_strict_and_fitted_together():
    x = np.random.default_rng(2).standard_exponential(3000)
    spot = TextbookSpot(1e-4).fit(x[:1000])
    assert spot.step(spot.threshold) == NORMAL
    assert spot.step(np.nextafter(spot.threshold, np.inf)) == EXCESS
    for value in x[1000:].tolist():
        spot.step(value)
    fit = fit_gpd(np.array(spot.excesses))
    assert (spot.xi, spot.sigma) == (fit.xi, fit.sigma)


def test_dspot_follows_a_line_that_spot_takes_for_an_alarm():
    x = np.random.default_rng(3).standard_normal(4000) + 0.01 * np.arange(4000)
    spot, dspot = TextbookSpot(1e-3).fit(x[:1000]), TextbookDSpot(1e-3, 20).fit(x[:1000])
    alarms = np.array([(spot.step(v) == ANOMALY, dspot.step(v) == ANOMALY) for v in x[1000:].tolist()]).sum(0)
    assert alarms[0] > 1000
    assert alarms[1] < 20


SAMPLES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "uniform": lambda rng, n: rng.random(n),
    "tied": lambda rng, n: np.round(rng.standard_exponential(n), 1),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_spot_is_the_textbooks(name):
    x = SAMPLES[name](np.random.default_rng(4), 6000)
    textbook = TextbookSpot(1e-3).fit(x[:1000])
    trace = Spot(1e-3, max_excess=10_000, on_alarm="ignore", level="plug-in").fit(x[:1000]).trace(x[1000:])
    for value, label, level, log_p in zip(x[1000:].tolist(), *trace, strict=True):
        assert textbook.alarm_threshold == pytest.approx(level, rel=1e-12)
        if value > textbook.threshold:
            assert textbook.probability(value) == pytest.approx(np.exp(log_p), rel=1e-9)
        assert textbook.step(value) == label


@pytest.mark.parametrize("name", SAMPLES)
def test_dspot_is_the_textbooks(name):
    x = SAMPLES[name](np.random.default_rng(5), 4000) + 0.002 * np.arange(4000)
    textbook = TextbookDSpot(1e-3, 50).fit(x[:1000])
    trace = DSpot(1e-3, 50, max_excess=10_000, on_alarm="ignore", level="plug-in").fit(x[:1000]).trace(x[1000:])
    for value, label, level, _ in zip(x[1000:].tolist(), *trace, strict=True):
        assert textbook.alarm_threshold == pytest.approx(level, rel=1e-9)
        assert textbook.step(value) == label
