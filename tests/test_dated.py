"""Series with dates: what their times say, and that nothing but the times differs from the series without."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtkit import Tail, fit_tail
from evtkit._common.zones import zone_name, zone_of
from evtkit.dated import Dates, block_maxima, in_season
from evtkit.dated.dates import duration
from evtkit.dated.reading import as_times
from evtkit.dependence import decluster

DAYS = np.arange("1990-01-01", "2003-04-01", dtype="datetime64[D]")
MONTH = DAYS.astype("M8[M]").astype(int) % 12 + 1
WEEKDAY = (DAYS.astype(int) + 3) % 7
X = np.random.default_rng(0).standard_exponential(DAYS.size)


def dates(times) -> Dates:
    return Dates(np.sort(np.asarray(times).astype("M8[us]")))


# -- the rhythm --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "per_year", "absent"),
    [
        (DAYS, 365.25, 0),
        (DAYS[(np.datetime64("1995-03-01") > DAYS) | (np.datetime64("1998-02-05") < DAYS)], 365.25, 1073),
        (np.delete(DAYS, slice(5, None, 10)), 365.25, 484),
        (DAYS[WEEKDAY < 5], 365.25 * 5 / 7, 0),
        (DAYS[np.isin(MONTH, [12, 1, 2])], 31 + 31 + 28.25, 0),
        (np.arange("1990-01-01", "1993-01-01", dtype="M8[h]"), 8766.0, 0),
        (np.arange("1990-01", "2003-04", dtype="M8[M]"), 12.0, 0),
        (np.arange("1990-02", "2003-05", dtype="M8[M]").astype("M8[D]") - 1, 12.0, 0),  # ends of months
        (np.arange("1923", "1988", dtype="M8[Y]"), 1.0, 0),
        (np.delete(np.arange("1923", "1988", dtype="M8[Y]"), [20, 21]), 1.0, 2),
    ],
)
def test_observations_a_year_are_those_of_the_rhythm_and_gaps_do_not_lessen_them(times, per_year, absent):
    found = dates(times)
    assert found.per_year == pytest.approx(per_year, rel=1e-9)
    assert found.n_absent == absent


def test_holidays_belong_to_working_days_and_events_have_no_rhythm():
    rng = np.random.default_rng(1)
    working = DAYS[(WEEKDAY < 5) & (rng.random(DAYS.size) > 0.035)]
    assert dates(working).per_year == pytest.approx(len(working) / (DAYS.size / 365.25), rel=2e-3)
    events = dates(rng.choice(DAYS, 2000))
    assert events.per_year == pytest.approx(2000 / (DAYS.size / 365.25), rel=5e-3)
    assert not events.rhythm.is_regular


@given(st.integers(2, 40), st.integers(0, 10**6), st.sampled_from([1, 60, 3600, 86400]))
def test_a_rhythm_is_the_same_from_any_start_and_counts_what_was_taken_out(n, start, step):
    whole = (start + step * np.arange(10 * n)).astype("M8[s]")
    lacking = np.delete(whole, slice(4, 4 + n))
    assert dates(whole).per_year == pytest.approx(365.25 * 86400 / step)
    assert dates(lacking).n_absent == n
    assert dates(lacking).gaps[0][2] == n


def test_a_change_of_the_clock_is_said_and_a_time_zone_knows_of_none():
    hours = pd.date_range("2015-01-01", "2018-01-01", freq="h", tz="Europe/Berlin", inclusive="left")
    naive = dates(hours.tz_localize(None))
    assert (naive.n_absent, naive.n_repeated) == (3, 3)
    assert all("change of the clock" in line for line in naive.remarks)
    assert naive.per_year == 8766.0
    zoned = Dates(*as_times(hours))
    assert (zoned.n_absent, zoned.n_repeated, zoned.zone) == (0, 0, "Europe/Berlin")
    assert np.array_equal(zoned.local(), hours.tz_localize(None).to_numpy())


# -- the same tail -----------------------------------------------------------------------------------------------------


def everywhere(x: np.ndarray, days: np.ndarray):
    """The same series in every way that it can be given."""
    stamps = days.astype("M8[us]")
    yield x, {"time": days}
    yield x, {"time": pd.DatetimeIndex(stamps)}
    yield pd.Series(x, index=pd.DatetimeIndex(stamps)), {}
    yield pd.Series(x, index=pd.PeriodIndex(stamps, freq="D")), {}
    yield pd.Series(x, index=days.astype(object)), {}  # datetime.date
    yield pd.Series(x, index=pd.DatetimeIndex(stamps, tz="Asia/Tokyo")), {}
    yield pl.Series(x), {"time": pl.Series(stamps)}
    yield pl.Series(x), {"time": days.astype(str).tolist()}


def in_frames(x: np.ndarray, days: np.ndarray):
    stamps = days.astype("M8[us]")
    yield pd.DataFrame({"day": stamps, "rain": x}), {}
    yield pd.DataFrame({"rain": x}, index=stamps), {}
    yield pl.DataFrame({"day": stamps, "rain": x}), {}
    yield pl.DataFrame({"day": days.astype(str), "rain": x}), {"time": "day"}
    yield pl.DataFrame({"day": stamps, "rain": x}).with_columns(pl.col("day").dt.replace_time_zone("UTC")), {}


def test_a_dated_series_has_the_tail_of_its_values_whoever_made_it():
    plain = fit_tail(X, quantile=0.95)
    level = plain.return_level(36525.0)
    for x, options in everywhere(X, DAYS):
        tail = fit_tail(x, quantile=0.95, **options)
        assert (tail.xi, tail.sigma, tail.n) == (plain.xi, plain.sigma, plain.n)
        assert tail.return_level(100, per="year") == pytest.approx(level, rel=1e-12)
        assert tail.dates.per_year == pytest.approx(365.25)
        assert len(tail.times_beyond) == tail.n_excess
    for x, options in in_frames(X, DAYS):
        tail = fit_tail(x, quantile=0.95, **options)
        assert tail.names.tolist() == ["rain"]
        assert np.array_equal(tail.xi, [plain.xi])
        assert np.asarray(tail.return_level(100, per="year")).item() == pytest.approx(level, rel=1e-12)


@settings(max_examples=4)
@given(st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"]), st.floats(1e-6, 1e6))
def test_neither_the_time_zone_nor_the_unit_of_measurement_matters(zone, unit):
    hours = pd.date_range("2001-01-01", periods=X.size, freq="h", tz="UTC")
    plain = fit_tail(pd.Series(X, index=hours), n_excess=150, resolution=0.0)
    other = fit_tail(pd.Series(unit * X, index=hours.tz_convert(zone)), n_excess=150, resolution=0.0)
    assert other.return_level(20, per="year") == pytest.approx(unit * plain.return_level(20, per="year"), rel=1e-6)
    assert other.excesses_per_year == plain.excesses_per_year


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC+01:00"])
@pytest.mark.parametrize(("freq", "per_year"), [("D", 365.25), ("W", 365.25 / 7.0), ("B", None), ("MS", 12.0)])
def test_days_weeks_and_months_of_a_clock_have_the_rhythm_that_they_have_without_its_zone(zone, freq, per_year):
    """Midnights lie 23, 24 or 25 hours apart, and a gap may reach from summer into winter."""
    tz = zone if "/" in zone else pd.Timestamp("2000-01-01T00:00+01:00").tz
    times = pd.date_range("1990-01-01", "2010-01-01", freq=freq).delete(slice(60, 90))
    plain, zoned = (Dates(as_times(t)[0], as_times(t)[1]) for t in (times, times.tz_localize(tz)))
    assert zoned.zone == zone
    assert zoned.per_year == plain.per_year == (per_year or plain.per_year)
    assert (zoned.n_absent, zoned.gaps) == (plain.n_absent, plain.gaps)
    assert zoned.remarks == plain.remarks
    assert zoned.description.replace(f" ({zone})", "") == plain.description
    x = np.random.default_rng(0).gumbel(size=times.size)
    a, b = (decluster(pd.Series(x, index=t), 1.5, span="7d") for t in (times, times.tz_localize(tz)))
    np.testing.assert_array_equal(a.peak, b.peak)
    np.testing.assert_array_equal(a.time, b.time)


def test_midnights_of_a_clock_that_were_written_in_universal_time_are_days_too():
    days = pd.date_range("1990-01-01", "2010-01-01", freq="D", tz="Europe/Berlin").delete(slice(2000, 2200))
    dates = Dates(days.tz_convert("UTC").tz_localize(None).to_numpy().astype("M8[us]"), "UTC")
    assert (dates.per_year, dates.n_absent) == (365.25, 200)


def test_two_weeks_that_are_absent_are_no_change_of_the_clock():
    dates = Dates(pd.date_range("1980-01-06", "2010-01-01", freq="W").delete([20, 21]).to_numpy().astype("M8[us]"))
    assert dates.remarks == ("2 observations are absent from the dates: 2 between 1980-05-18 and 1980-06-08",)


@pytest.mark.parametrize(
    ("zone", "name"),
    [(dt.timezone(dt.timedelta(hours=-3, minutes=-30)), "UTC-03:30"), (dt.UTC, "UTC"), (ZoneInfo("Asia/Tokyo"), None)],
)
def test_time_zones_have_a_name_that_finds_them(zone, name):
    assert zone_name(zone) == (name or "Asia/Tokyo")
    moment = dt.datetime(2001, 7, 1, tzinfo=dt.UTC)
    assert moment.astimezone(zone_of(zone_name(zone))).utcoffset() == moment.astimezone(zone).utcoffset()
    with pytest.raises(ValueError, match="'Nowhere'"):
        zone_of("Nowhere")


def test_the_clock_is_that_of_the_zone_to_the_second():
    times = pd.date_range("2001-01-01", "2002-01-01", freq="30min", tz="America/St_Johns")  # changes at 00:01 in 2001
    dates = Dates(*as_times(times))
    np.testing.assert_array_equal(dates.local(), times.tz_localize(None).to_numpy().astype("M8[us]"))


def test_disorder_and_missing_values_are_counted_and_change_nothing_else():
    order = np.random.default_rng(2).permutation(X.size)
    tail, plain = fit_tail(X[order], quantile=0.95, time=DAYS[order]), fit_tail(X, quantile=0.95, time=DAYS)
    assert tail.xi == plain.xi
    assert np.array_equal(tail.times_beyond, plain.times_beyond)
    assert "sorted by time" in tail.notes[0]
    gaps = X.copy()
    gaps[10:30] = np.nan
    for x in (
        pd.Series(gaps, index=DAYS),
        pl.DataFrame({"day": DAYS, "x": gaps}).with_columns(pl.col("x").fill_nan(None)),
    ):
        some = fit_tail(x, threshold=3.0, missing="drop")
        assert int(np.ravel(some.n)[0]) == X.size - 20
        assert any("20 of 4,838 values are missing" in line for line in some.notes)
        assert some.dates.per_year == pytest.approx(365.25)
    assert np.array_equal(fit_tail(gaps, threshold=3.0, missing="drop", time=DAYS).times_beyond, DAYS[gaps > 3.0])


def test_a_saved_tail_has_its_dates(tmp_path):
    tail = fit_tail(pd.Series(X, index=pd.DatetimeIndex(DAYS, tz="Europe/Paris")), quantile=0.95)
    tail.save(tmp_path / "tail.npz")
    back = Tail.load(tmp_path / "tail.npz")
    assert np.array_equal(back.dates.time, tail.dates.time)
    assert (back.dates.zone, back.dates.per_year) == ("Europe/Paris", tail.dates.per_year)
    assert back.return_level(100, per="year") == tail.return_level(100, per="year")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_tail(X, quantile=0.9).return_level(100, per="year"), "per='year' needs dates"),
        (lambda: fit_tail(X, quantile=0.9, time=DAYS).return_level(100, per="decade"), "one of 'year', 'month'"),
        (lambda: fit_tail(X, quantile=0.9, time=DAYS[1:]), r"one date an observation, shape \(4838,\), got \(4837,\)"),
        (lambda: fit_tail(X, quantile=0.9, time="day"), "column of x or dates, got 'day'"),
        (lambda: fit_tail([1.0, 2.0], n_excess=1, time=["2001-01-01", "soon"]), "must be dates, .* got 'soon'"),
        (lambda: fit_tail([1.0, 2.0], n_excess=1, time=np.array(["2001-01-01", "NaT"], "M8[D]")), "got 1 missing"),
        (lambda: decluster(X, 3.0, span="48h"), "span needs dates"),
        (lambda: decluster(X, 3.0, span="2 moons", time=DAYS), "length of time such as '48h'"),
        (lambda: block_maxima(X, "YS"), "must have dates"),
        (lambda: block_maxima(X, "soon", time=DAYS), "block must be a length of time"),
        (lambda: in_season(DAYS, "J"), "several places"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- events ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_clusters_by_time_are_those_by_rows_where_the_step_is_constant(days, seed):
    x = np.random.default_rng(seed).standard_exponential(400)
    time = DAYS[: x.size]
    by_rows, by_time = decluster(x, 1.5, run_length=days), decluster(x, 1.5, span=f"{24 * days}h", time=time)
    for name in ("start", "stop", "size", "peak", "peak_value"):
        assert np.array_equal(getattr(by_rows, name), getattr(by_time, name))
    assert np.array_equal(by_time.time, time[by_rows.peak])
    assert (by_rows.run_length, by_time.run_length) == (days, 0)


@pytest.mark.parametrize("options", [{"span": "48h"}, {"run_length": 2}, {}])
def test_clusters_of_low_values_are_those_of_the_negated_ones_and_so_is_their_tail(options):
    x = pd.Series(np.random.default_rng(1).gumbel(size=800), index=pd.date_range("2001-01-01", periods=800))
    low, high = decluster(-x, -1.5, side="lower", **options), decluster(x, 1.5, **options)
    for name in ("start", "stop", "size", "peak", "time"):
        np.testing.assert_array_equal(getattr(low, name), getattr(high, name))
    np.testing.assert_array_equal(low.peak_value, -high.peak_value)
    a, b = fit_tail(low), fit_tail(high)
    assert (a.side, a.xi, a.sigma, a.threshold, a.n_excess, a.mean) == (
        "lower",
        b.xi,
        b.sigma,
        -1.5,
        b.n_excess,
        -b.mean,
    )
    z, y = a.return_level(10, per="year", interval=0.95), b.return_level(10, per="year", interval=0.95)
    assert (z.estimate, z.lower, z.upper) == (-y.estimate, -y.upper, -y.lower)
    assert "values below -1.5" in repr(low)
    with pytest.raises(ValueError, match="give none"):
        fit_tail(high, side="lower")
    with pytest.raises(ValueError, match="got 'down'"):
        decluster(x, 1.5, side="down")


def test_a_gap_parts_clusters_as_the_time_says():
    time = np.array(["2001-01-01", "2001-01-02", "2001-01-09"], "M8[D]")
    assert len(decluster([5.0, 6.0, 7.0], 1.0, span="48h", time=time)) == 2
    assert len(decluster([5.0, 6.0, 7.0], 1.0, run_length=2)) == 1


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_events_carry_their_times_and_companions_and_are_fitted_at_their_rate(library):
    wave, wind = np.repeat(X[:1000], 3), np.arange(3000.0)
    days = DAYS[:3000].astype("M8[us]")
    frame = pl.DataFrame({"day": days, "wave": wave, "wind": wind})
    if library == "pandas":
        frame = pd.DataFrame({"wave": wave, "wind": wind}, index=days)
    clusters = decluster(frame, 2.0, span="24h", column="wave")
    table = clusters.to_frame(library)
    assert list(table.columns)[:4] == ["time", "begin", "end", "wave"]
    assert np.array_equal(table["wind"], wind[clusters.peak])
    for name, places in (("time", clusters.peak), ("begin", clusters.start), ("end", clusters.stop - 1)):
        assert np.array_equal(table[name].to_numpy(), days[places])
    tail = fit_tail(clusters)
    assert (tail.n, tail.n_excess) == (3000, len(clusters))
    assert tail.excesses_per_year == pytest.approx(clusters.per_year)
    assert tail.excesses_per_year == pytest.approx(365.25 * len(clusters) / 3000)
    assert np.array_equal(tail.excesses, np.sort(clusters.peak_value) - 2.0)


# -- blocks and seasons ------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.sampled_from(["YS", "QS", "MS", "YS-OCT", "QS-FEB", "7D"]), st.integers(0, 2**31))
def test_block_maxima_are_those_of_pandas_where_blocks_are_complete(block, seed):
    x = pd.Series(np.random.default_rng(seed).standard_normal(1500), index=DAYS[:1500])
    found = block_maxima(x, block)
    want = x.resample(block).max()
    if block != "7D":
        assert np.array_equal(found.value, want[found.start])
    for start, stop, value, time, n in zip(found.start, found.stop, found.value, found.time, found.n, strict=True):
        inside = x[(x.index >= start) & (x.index < stop)]
        assert (inside.max(), inside.idxmax().to_datetime64(), inside.size) == (value, time, n)
    assert len(found) + len(found.left_out) == len(want)
    assert np.array_equal(block_maxima(-x, block, side="lower").value, -found.value)


def test_incomplete_blocks_are_left_out_and_said():
    lacking = X.copy()
    lacking[400:500] = np.nan  # in 1991
    found = block_maxima(lacking, "YS", time=DAYS)
    assert len(found) == 12
    assert found.left_out == (
        "1991-01-01 left out: 265 of 365 observations", "2003-01-01 left out: 90 of 365 observations",
    )  # fmt: skip
    assert len(block_maxima(lacking, "YS", time=DAYS, complete=0.0)) == 14
    winters = np.isin(MONTH, [12, 1, 2])
    assert len(block_maxima(X[winters], "YS-JUL", time=DAYS[winters])) == 13  # the first began in January


def test_a_season_is_a_selection_with_the_rate_of_its_days():
    mask = in_season(DAYS, "DJF")
    assert np.array_equal(mask, np.isin(MONTH, [12, 1, 2]))
    series = pd.Series(X, index=DAYS)
    assert np.array_equal(in_season(series, [12, 1, 2]), mask)
    assert np.array_equal(in_season(pl.DataFrame({"day": DAYS, "x": X}), "DJF"), mask)
    assert fit_tail(series[mask], quantile=0.9).observations_per("year") == pytest.approx(90.25)


def test_lengths_of_time():
    assert duration("48h") == duration("2d") == duration(pd.Timedelta(days=2)) == duration(np.timedelta64(48, "h"))
    assert duration("90min") == duration("1.5h")


# -- the book ----------------------------------------------------------------------------------------------------------


def test_rain_has_the_hundred_year_level_of_the_book(rain):
    series = pd.Series(rain, index=pd.date_range("1914-01-01", periods=rain.size))
    tail = fit_tail(series, threshold=30.0)
    found = tail.return_level(100, per="year", interval=0.95)
    assert round(float(found.estimate), 1) == 106.3
    assert [round(float(limit), 2) for limit in (found.lower, found.upper)] == [80.86, 185.04]
    assert tail.excesses_per_year == pytest.approx(152 / 48, rel=1e-3)


@pytest.mark.slow
def test_dates_need_no_library():
    code = (
        "import sys, numpy as np, evtkit; days = np.arange('1990-01-01', '1991-01-01', dtype='M8[D]');"
        "evtkit.fit_tail(np.arange(365.0) % 50, quantile=0.9, time=days).return_level(9, per='year');"
        "print({'pandas', 'polars'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
