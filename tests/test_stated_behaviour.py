"""What becomes of which stream, as docs/watching.rst says: a row of its table a test."""

from __future__ import annotations

import numpy as np
import pytest

from evtkit import DSpot, Spot
from evtkit.spot import ANOMALY, MISSING, Events

N, FIRST, RISK = 12_000, 1000, 1e-4
CHANCE = 8  # events that chance tells of a stream of 11,000 rows in next to no seed; 1.1 are expected


def told(spot, x):
    """Events begun, as rows; the labels; and the detector afterwards."""
    spot.fit(x[:FIRST])
    trace, events = spot.trace(x[FIRST:], alarms_only=True), Events(risk=RISK, side="both", first_row=FIRST)
    return [e for e in events.feed(x[FIRST:], trace) if not e.is_over], trace.label, events


def usual(seed=0):
    return np.random.default_rng(seed).normal(10.0, 1.0, N)


BOTH = pytest.mark.parametrize("make", [lambda: Spot(RISK, side="both"), lambda: DSpot(RISK, side="both")])


@BOTH
@pytest.mark.parametrize("length", [1, 20, 90])
def test_a_burst_is_one_event_and_the_level_stays(make, length):
    x = usual()
    x[5000 : 5000 + length] = 40.0
    begun, labels, _ = told(spot := make(), x)
    assert [e.start for e in begun if 4990 <= e.start < 5400] == [5000]
    assert np.all(labels[4000 : 4000 + length] == ANOMALY)
    assert spot.alarm_threshold[1] < 18.0


@BOTH
def test_an_anomaly_that_recurs_never_becomes_ordinary(make):
    x = usual()
    x[2000::500] = 30.0
    begun, labels, _ = told(make(), x)
    assert np.all(labels[1000::500] == ANOMALY)
    assert len(begun) >= 20


def test_a_shift_is_one_event_which_dspot_follows_and_spot_does_not():
    x = usual()
    x[5000:] += 20.0
    begun, labels, events = told(Spot(RISK, side="both"), x)
    assert np.all(labels[4000:] == ANOMALY)
    assert [e.start for e in events.going_on] == [5000]
    begun, labels, events = told(DSpot(RISK, side="both"), x)
    assert [e.start for e in begun if 4990 <= e.start < 5500] == [5000]
    assert np.mean(labels[4300:] == ANOMALY) < 2e-3
    assert not events.going_on or events.going_on[0].start > 5500


def test_a_drift_tells_nothing_to_dspot():
    x = usual() + np.linspace(0.0, 60.0, N)
    assert len(told(DSpot(RISK, side="both"), x)[0]) < CHANCE


JITTER = {
    "normal": lambda rng, n: rng.standard_normal(n), "uniform": lambda rng, n: rng.uniform(-1.7, 1.7, n),
    "exponential": lambda rng, n: rng.exponential(size=n), "t4": lambda rng, n: 0.7 * rng.standard_t(4, n),
    "lognormal": lambda rng, n: 0.46 * rng.lognormal(size=n), "beta": lambda rng, n: 6.0 * rng.beta(2, 5, n),
    "U-shaped": lambda rng, n: 2.7 * rng.beta(0.4, 0.4, n), "two values": lambda rng, n: 2.2 * (rng.random(n) < 0.3),
    "rounded": lambda rng, n: np.round(2.0 * rng.standard_normal(n)) / 2.0,
}  # fmt: skip


@pytest.mark.parametrize("slope", [0.005, 0.1])
@pytest.mark.parametrize("law", JITTER)
def test_a_ramp_keeps_the_risk_whatever_its_jitter(law, slope):
    """6.6 events are expected; followed by the mean of a window, uniform jitter had 25, and two values had 50."""
    begun = 0
    for seed in range(6):
        x = JITTER[law](np.random.default_rng(seed), N) + slope * np.arange(N)
        begun += len(told(DSpot(RISK, side="both"), x)[0])
    assert begun <= 17


@pytest.mark.parametrize("law", ["uniform", "beta", "exponential"])
@pytest.mark.parametrize("reach", [1.0, 8.0])
def test_a_drift_that_begins_later_is_told_a_few_times(law, reach):
    """4.4 events are expected by chance; with a centre that waits for a mean to move, uniform jitter had some 80."""
    begun = 0
    for seed in range(4):
        x = JITTER[law](np.random.default_rng(seed), N) + reach * np.maximum(0.0, np.arange(N) / N - 0.2)
        begun += len(told(DSpot(RISK, side="both"), x)[0])
    assert begun <= 20


def test_what_came_into_doubt_and_stayed_is_held_where_it_was():
    """Two values just beyond a sharp end, soon after each other, and then nothing."""
    x = JITTER["uniform"](np.random.default_rng(1), 30_000)
    x[5000], x[5200] = 1.8, 1.85
    spot, still = DSpot(RISK, side="both"), DSpot(RISK, side="both")
    spot.fit(x[:FIRST]).update(x[FIRST:5201])
    still.fit(x[:FIRST]).update(np.delete(x, [5000, 5200])[FIRST:5199])
    assert spot.alarm_threshold[1] > 1.9  # in doubt, it is lenient
    for one in (spot, still):
        one.update(x[5201:])
    np.testing.assert_allclose(spot.alarm_threshold, still.alarm_threshold, atol=0.2)
    assert spot._streams.doubts[0] == 0.0
    assert spot._streams.centres[0] == still._streams.centres[0]


def test_a_ramp_keeps_its_anomalies():
    for law in ("normal", "uniform"):
        x = JITTER[law](np.random.default_rng(3), N) + 0.1 * np.arange(N)
        x[6000] += 12.0
        x[8000:8020] -= 12.0
        begun, labels, _ = told(DSpot(RISK, side="both"), x)
        assert labels[5000] == labels[7000] == ANOMALY
        assert len([e for e in begun if 5950 <= e.start < 6200 or 7950 <= e.start < 8200]) == 2


@pytest.mark.parametrize("law", ["normal", "t4", "exponential"])
def test_spot_learns_a_slow_drift_by_dozens_of_alarms_not_hundreds(law):
    for seed in range(3):
        x = JITTER[law](np.random.default_rng(seed), 21_000) + np.linspace(0.0, 10.0, 21_000)
        _, labels, _ = told(Spot(RISK, side="both"), x)
        assert np.count_nonzero(labels == ANOMALY) < 50


@BOTH
@pytest.mark.parametrize("length", [30, 150])
def test_what_runs_away_is_no_drift(make, length):
    x = usual()
    x[6000 : 6000 + length] += np.linspace(0.0, 30.0, length)
    begun, labels, _ = told(spot := make(), x)
    assert len([e for e in begun if 6000 <= e.start < 6400]) == 1
    assert np.mean(labels[5000 + length // 2 : 5000 + length] == ANOMALY) > 0.9
    assert spot.alarm_threshold[1] < 17.0


def test_a_wider_spread_is_told_and_not_followed_at_once():
    x = usual()
    x[6000:] = 10.0 + 3.0 * (x[6000:] - 10.0)
    _, labels, _ = told(DSpot(RISK, side="both"), x)
    assert np.mean(labels[5000:7000] == ANOMALY) > 20 * RISK


@BOTH
@pytest.mark.parametrize("length", [100, 3000])
def test_a_dead_channel_is_one_event_and_so_is_its_coming_back(make, length):
    x = usual()
    x[5000 : 5000 + length] = 0.0
    begun, _, _ = told(make(), x)
    assert [e.start for e in begun if 4990 <= e.start < 5000 + length + 400] == [5000]


def test_a_channel_that_stays_within_its_levels_is_told_by_none():
    x = usual()
    x[5000:] = 10.0
    begun, _, events = told(DSpot(RISK, side="both"), x)
    assert len(begun) < CHANCE
    assert not [e for e in events.going_on if e.start > 5100]


def test_a_channel_that_comes_to_life_alarms_once_enough_rows_were_seen():
    early, late = np.zeros(8000), np.zeros(25_000)
    early[-1] = late[-1] = 5.0
    for x, is_told in ((early, False), (late, True)):
        spot = Spot(RISK, side="both").fit(x[:FIRST])
        assert np.all(np.isinf(spot.alarm_threshold))
        assert (spot.update(x[FIRST:])[-1] == ANOMALY) is np.bool_(is_told)


@BOTH
def test_load_at_its_end_raises_no_alarm(make):
    rng = np.random.default_rng(1)
    x = np.minimum(1.0, 0.3 * rng.standard_exponential(N))
    _, labels, _ = told(make(), x)
    assert np.count_nonzero(labels[x[FIRST:] == 1.0] == ANOMALY) == 0


def test_a_reset_of_a_counter_is_one_event_to_dspot():
    x = np.cumsum(np.random.default_rng(2).poisson(5.0, N)).astype(float)
    for reset in (4000, 8000):
        x[reset:] -= x[reset]
    begun, labels, _ = told(DSpot(RISK, side="both"), x)
    for reset in (4000, 8000):
        assert [e.start for e in begun if reset - 20 <= e.start < reset + 500] == [reset]
    assert np.mean(labels == ANOMALY) < 0.06


def test_gaps_are_passed_over_and_rows_count_on():
    x, holes = usual(), np.array([3000, 3001, 3002, 7000])
    with_gaps = x.copy()
    with_gaps[holes] = np.nan
    whole = Spot(RISK, side="both", nonfinite="skip").fit(x[:FIRST])
    gappy = Spot(RISK, side="both", nonfinite="skip").fit(x[:FIRST])
    labels = gappy.update(with_gaps[FIRST:])
    assert np.all(labels[holes - FIRST] == MISSING)
    np.testing.assert_array_equal(np.delete(labels, holes - FIRST), whole.update(np.delete(x, holes)[FIRST:]))


@BOTH
def test_a_season_slower_than_the_window_is_not_told(make):
    x = usual() + 3.0 * np.sin(np.arange(N) * 2.0 * np.pi / 288.0)
    assert len(told(make(), x)[0]) < CHANCE


def test_a_risk_too_small_for_the_calibration_is_right_on_average():
    rng = np.random.default_rng(3)
    beyond = [np.exp(-float(Spot(1e-5).fit(rng.standard_exponential(FIRST)).alarm_threshold)) for _ in range(300)]
    assert 0.5 < np.mean(beyond) / 1e-5 < 2.0


@BOTH
@pytest.mark.parametrize("seed", range(4))
def test_a_burst_little_beyond_the_level_does_not_become_its_own_tail(make, seed):
    rng = np.random.default_rng(seed)
    x = rng.gumbel(10.0, 1.0, N)
    spot = make().fit(x[:FIRST])
    spot.update(x[FIRST:5000])
    before = float(spot.alarm_threshold[1])
    burst = before + (before - 10.0) * rng.uniform(0.02, 0.5, 30)
    labels = spot.update(burst)
    assert np.mean(labels == ANOMALY) > 0.8
    assert spot.alarm_threshold[1] < before + 0.3 * (before - 10.0)
    assert spot.step(before + 1.2 * (before - 10.0)) == ANOMALY


BURSTS = {
    "normal": lambda rng, n: rng.standard_normal(n), "Gumbel": lambda rng, n: rng.gumbel(0.0, 5.0, n),
    "exponential": lambda rng, n: rng.exponential(size=n), "t4": lambda rng, n: rng.standard_t(4, n),
    "gamma": lambda rng, n: rng.gamma(2.0, 1.0, n), "uniform": lambda rng, n: rng.uniform(size=n),
}  # fmt: skip


@pytest.mark.parametrize("detector", [Spot, DSpot])
@pytest.mark.parametrize("law", BURSTS)
def test_a_burst_of_any_size_and_length_leaves_the_level_where_it_was(detector, law):
    """Its values are one value: learnt one by one, each would make the next more ordinary."""
    rng = np.random.default_rng(0)
    for risk, most in ((1e-3, 1.2), (1e-4, 1.5), (1e-5, 2.5)):
        x = BURSTS[law](rng, 3200)
        fitted = detector(risk).fit(x[:2000])
        fitted.update(x[2000:3000])
        state, center, level = fitted.to_dict(), float(np.median(x)), float(fitted.alarm_threshold)
        for length in (2, 14, 30, 100):
            for times in (0.98, 1.02, 1.3, 10.0):
                spot = detector.from_dict(state)
                spot.update(center + (level - center) * times * rng.uniform(0.95, 1.05, length))
                spot.update(x[3000:])
                assert float(spot.alarm_threshold) - center < most * (level - center), (risk, length, times)
