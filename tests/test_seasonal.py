"""Detectors on the scale of a season: their risk at every hour, what changes nothing, and their state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtkit import DSpot, Spot
from evtkit.spot import ANOMALY, Seasonal

DAY, WEEK = 86400.0, 604800.0


def load(weeks, step, rng, law="gamma"):
    """A load that is four times as large, and as wide, by day, and half of it at weekends."""
    t = np.arange(int(weeks * WEEK / step)) * step
    size = np.exp(-np.cos(2.0 * np.pi * t / DAY)) * np.where(t % WEEK >= 5 * DAY, 0.5, 1.0)
    if law == "gamma":
        return t, size * rng.gamma(3.0, size=t.size)
    return t, 10.0 * size + rng.standard_normal(t.size) + 40.0 * (t % DAY == 2 * 3600.0)


def alarms(seasonal, x, t, n):
    return seasonal.fit(x[:n], t[:n]).update(x[n:], t[n:]) == ANOMALY


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gamma", "a job at two every night"])
def test_every_quarter_of_the_day_has_alarms_at_the_risk(law):
    """Over eight calibrations of four weeks: a single one may well be off by a half."""
    own, plain, n = np.zeros(4), np.zeros(4), 4 * 672
    for seed in range(8):
        t, x = load(14, 900.0, np.random.default_rng(seed), law)
        quarter = (t[n:] % DAY // 21600.0).astype(int)
        own += np.bincount(quarter[alarms(Seasonal(Spot(2e-3, side="both")), x, t, n)], minlength=4)
        alone = Spot(2e-3, side="both").fit(x[:n]).update(x[n:]) == ANOMALY
        plain += np.bincount(quarter[alone], minlength=4)
    expected = 2e-3 * 8 * (len(t) - n) / 4
    assert 0.5 < own.sum() / expected / 4 < 1.5
    assert np.all((own > 0.4 * expected) & (own < 2.0 * expected)), own / expected
    assert plain.max() > 1.5 * expected  # what it spares


@pytest.mark.parametrize("weekly", [False, True])
def test_a_moment_known_from_few_rows_alarms_hardly_oftener_than_the_rest(weekly):
    """A job of every night, half as long at weekends (28 rows calibrate), and one of every Sunday (four rows)."""
    n, t = 4 * 672, 900.0 * np.arange(14 * 672)
    weekend, job = t % WEEK >= 5 * DAY, t % DAY == 2 * 3600.0
    size = 300.0 * np.exp(-np.cos(2.0 * np.pi * t / DAY)) * np.where(weekend, 0.5, 1.0)
    if weekly:
        job &= t % WEEK >= 6 * DAY
    size += np.where(job, np.where(weekend, 200.0, 400.0), 0.0)
    found = np.zeros(2)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.poisson(size * rng.gamma(100.0, 0.01, size=t.size)).astype(float)
        alarm = alarms(Seasonal(Spot(1e-2, side="both")), x, t, n)
        found += [alarm[job[n:]].mean() / 1e-2 / 6, alarm[~job[n:]].mean() / 1e-2 / 6]
    assert found[0] < (12.0 if weekly else 2.0)  # of 60 rows, and of 420; 60 and 3 before they had sizes of their own
    assert 0.6 < found[1] < 1.4


def test_without_a_season_little_is_lost():
    x = np.random.default_rng(2).standard_normal(20_000)
    t = 900.0 * np.arange(x.size)
    alarm = alarms(Seasonal(Spot(2e-3, side="both")), x, t, 2688)
    assert 0.5 < alarm.mean() / 2e-3 < 1.6


def test_what_is_ordinary_at_noon_is_an_alarm_at_night():
    t, x = load(6, 900.0, np.random.default_rng(3))
    seasonal = Seasonal(season="day,week").fit(x[:2688], t[:2688])
    night, noon = seasonal.levels([28 * DAY, 28.5 * DAY])
    assert noon[1] > 4.0 * night[1]
    level = 0.5 * (night[1] + noon[1])
    at_night, at_noon = seasonal.probability([level, level], [28 * DAY, 28.5 * DAY])
    assert at_night < seasonal.risk < at_noon
    spiked = x[2688:].copy()
    spiked[96] = level
    events = [e for e in seasonal.events(spiked, t[2688:]) if not e.is_over]
    assert 96 in [e.start for e in events]
    first = next(e.first for e in events if e.start == 96)
    assert first.value == level
    assert first.threshold == pytest.approx(night[1], rel=0.5)


@given(cuts=st.lists(st.integers(0, 400), max_size=3), saved=st.booleans())
@settings(max_examples=5)
def test_streaming_is_batch_and_loaded_is_never_saved(cuts, saved):
    t, x = load(3, 3600.0, np.random.default_rng(4))
    x[450] *= 20.0
    whole = Seasonal(DSpot(1e-3, depth=20, side="both"), "day").fit(x[:336], t[:336])
    parts = Seasonal.from_bytes(whole.to_bytes())
    wanted = whole.trace(x[336:], t[336:])
    labels, levels = [], []
    for a, b in zip(edges := sorted({0, *cuts, len(x) - 336}), edges[1:], strict=False):
        some = slice(336 + a, 336 + b)
        found = parts.trace(x[some], t[some])
        labels.append(found.label)
        levels.append(found.alarm_threshold)
        if saved:
            parts = Seasonal.from_bytes(parts.to_bytes())
    np.testing.assert_array_equal(np.concatenate(labels), wanted.label)
    np.testing.assert_array_equal(np.concatenate(levels), wanted.alarm_threshold)
    np.testing.assert_array_equal(parts.alarm_threshold, whole.alarm_threshold)
    assert wanted.label[450 - 336] == ANOMALY


@given(unit=st.sampled_from([2.0**-40, 1024.0]), shift=st.sampled_from([0.0, 4.0]))
@settings(max_examples=4)
def test_units_and_the_origin_of_time_change_nothing(unit, shift):
    t, x = load(4, 3600.0, np.random.default_rng(5))
    plain = Seasonal(Spot(1e-2, side="both")).fit(x[:504], t[:504])
    other = Seasonal(Spot(1e-2, side="both")).fit(unit * x[:504], t[:504] + shift * WEEK)
    np.testing.assert_array_equal(plain.update(x[504:], t[504:]), other.update(unit * x[504:], t[504:] + shift * WEEK))
    np.testing.assert_allclose(other.levels(t[:5]), unit * plain.levels(t[:5]), rtol=1e-9)


def test_streams_are_independent_and_missing_values_are_passed_over():
    t, x = load(4, 3600.0, np.random.default_rng(6))
    both = np.column_stack([x, x[::-1]])
    both[10, 0] = np.nan
    both[600, 1] = np.inf
    many = Seasonal(Spot(1e-2, side="both", nonfinite="skip")).fit(both[:504], t[:504])
    one = Seasonal(Spot(1e-2, side="both", nonfinite="skip")).fit(both[:504, 1], t[:504])
    labels = many.update(both[504:], t[504:])
    np.testing.assert_array_equal(labels[:, 1], one.update(both[504:, 1], t[504:]))
    assert labels[600 - 504, 1] == ANOMALY


def test_a_data_frame_brings_its_dates_and_the_clock_on_the_wall():
    pd = pytest.importorskip("pandas")
    t, x = load(4, 3600.0, np.random.default_rng(7))
    index = pd.date_range("2026-03-02", periods=len(t), freq="h")
    series = pd.Series(x, index, name="load")
    seasonal = Seasonal(Spot(1e-2, side="both")).fit(series[:504])
    levels = seasonal.levels(index[:3])
    labels = seasonal.update(series[504:])
    assert isinstance(labels, pd.Series)
    assert labels.index.equals(index[504:])
    berlin = pd.Series(x, index.tz_localize("Europe/Berlin", ambiguous=False, nonexistent="shift_forward"))
    wall = Seasonal(Spot(1e-2, side="both")).fit(berlin[:504])
    np.testing.assert_array_equal(wall.levels(index[:3]), levels)
    assert str(seasonal.names) == "load"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Seasonal(season="fortnight"), "season must be hour, day"),
        (lambda: Seasonal(season=-3.0), "season must be hour, day"),
        (lambda: Seasonal(season=()), "one or several different"),
        (lambda: Seasonal("DSpot"), "detector must be a Spot"),
        (lambda: Seasonal(season="day").fit(np.arange(500.0)), "time must be given"),
        (lambda: Seasonal(season="day").fit(np.arange(500.0), 60.0 * np.arange(500)), "must hold 2 cycles"),
        (lambda: Seasonal(season="day").fit(np.arange(500.0), DAY * np.arange(500)), "4 rows or more"),
        (lambda: Seasonal(season="day").fit(np.arange(500.0), np.arange(500.0)[::-1]), "ascending"),
        (lambda: Seasonal(season="day").fit(np.arange(500.0), np.arange(400.0)), "one an observation"),
        (lambda: Seasonal.from_dict({"season": ["day"]}), "not a saved Seasonal"),
        (lambda: Seasonal(season=None), "season must be"),
        (lambda: Seasonal(season=1e-320), "season must be"),
        (lambda: Seasonal(season="x" * 5000), "^season must be .{20,150}$"),
        (lambda: Seasonal(season="day").fit(np.ones(3), np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])), "1 masked"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_seasons_may_be_numbers_of_any_kind():
    assert Seasonal(season=np.array([86400, 604800])).periods == Seasonal(season="day,week").periods


def test_what_is_masked_is_missing_one_by_one_too():
    t, x = load(3, 3600.0, np.random.default_rng(8))
    detectors = [Seasonal(Spot(side="both", nonfinite="skip"), "day").fit(x[:336], t[:336]) for _ in range(2)]
    labels = [one.step(value, t[336]) for one, value in zip(detectors, (np.ma.masked, np.nan), strict=True)]
    assert labels[0] == labels[1]
    assert detectors[0].to_bytes() == detectors[1].to_bytes()


def test_a_bad_batch_changes_nothing():
    t, x = load(3, 3600.0, np.random.default_rng(8))
    seasonal = Seasonal(season="day").fit(x[:336], t[:336])
    before = seasonal.to_bytes()
    for batch, message in (([np.nan], "finite"), ([[1.0, 2.0]], "shape")):
        with pytest.raises(ValueError, match=message):
            seasonal.update(batch, t[336:337])
    assert seasonal.to_bytes() == before


def test_an_incident_of_the_calibration_is_left_out_and_counted():
    rng = np.random.default_rng(5)
    t = 600.0 * np.arange(2016)
    x = rng.gamma(2.0, 1.0 + 0.5 * np.cos(2.0 * np.pi * t / 86_400.0))
    spoilt = x.copy()
    spoilt[700] = 5000.0
    pure, found = (Seasonal(season="day").fit(sample, t) for sample in (x, spoilt))
    assert (pure.n_cleaned, found.n_cleaned) == (0, 1)
    assert "1 of the calibration left out" in repr(found)
    kept = Seasonal(DSpot(side="both", clean=False), season="day").fit(spoilt, t)
    wanted, at, hidden = (one.levels([3600.0])[0, 1] for one in (pure, found, kept))
    # one day of fourteen has another size at that minute, and so its neighbours by a little
    assert abs(at / wanted - 1.0) < 0.1
    assert hidden > 2.0 * wanted
