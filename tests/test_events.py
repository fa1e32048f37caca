"""Events: each incident told once, whatever its length, in however many pieces, on however many streams."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtkit import DSpot, Spot
from evtkit.spot import ANOMALY, Event, Events, Trace
from evtkit.spot.rows import RowBudget


def trace_of(x, level=4.0):
    """The trace of a detector that alarms beyond ±level, for streams of standard normals."""
    x = np.asarray(x, dtype=float)
    label = np.where(np.abs(x) > level, ANOMALY, 0).astype(np.int8)
    return Trace(label, np.stack([np.full(x.shape, -level), np.full(x.shape, level)], axis=-1), -np.abs(x) * 3)


def feed(events, x, cuts=()):
    told = []
    for part in np.split(np.asarray(x, dtype=float), cuts):
        told += events.feed(part, trace_of(part))
    return told


def test_an_event_is_told_when_it_begins_and_when_it_is_over():
    x = np.zeros(1000)
    x[100:120], x[130] = 9.0, 20.0
    begin, end = feed(Events(side="both"), x)
    assert (begin.start, begin.is_over, begin.alarms) == (100, False, 1)
    assert (end.id, end.is_over, end.start, end.end, end.rows, end.alarms) == (begin.id, True, 100, 130, 31, 21)
    assert (end.peak.row, end.peak.value, end.peak.side, end.has_moved) == (130, 20.0, "upper", False)
    assert end.rate == pytest.approx(21 / 31)


def test_it_is_armed_again_after_so_many_quiet_rows_and_not_before():
    x = np.zeros(1000)
    x[[100, 150, 201]] = -9.0
    assert [e.start for e in feed(Events(side="both", quiet=50), x) if not e.is_over] == [100, 201]
    assert [e.start for e in feed(Events(side="both", quiet=51), x) if not e.is_over] == [100]


def test_an_event_that_goes_on_is_known():
    events = Events(side="both")
    (begin,) = feed(events, [0.0] * 5 + [9.0] * 2000)
    assert events.going_on[0].id == begin.id
    assert events.going_on[0].alarms == 2000
    assert feed(events, [0.0] * 60)[0].end == 2004


@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(0, 400), max_size=6), streams=st.sampled_from([1, 3]))
def test_any_cut_of_the_stream_tells_the_same(seed, cuts, streams):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((400, streams)) < 0.05, 8.0 * rng.standard_normal((400, streams)), 0.0)
    options = {"side": "both", "quiet": 10, "cooldown": 3, "need": 2, "within": 20, "risk": 1e-6}
    whole, cut = Events(streams, **options), Events(streams, **options)
    assert feed(whole, x) == feed(cut, x, sorted(cuts))
    assert whole.going_on == cut.going_on


@given(seed=st.integers(0, 99), at=st.integers(1, 399))
def test_one_that_was_saved_goes_on_as_if_it_had_not(seed, at):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((400, 2)) < 0.05, 8.0 * rng.standard_normal((400, 2)), 0.0)
    whole = Events(["inf", "a"], side="both", quiet=10, need=2, within=9)
    told = feed(whole, x[:at])
    again = Events.from_dict(json.loads(json.dumps(whole.to_dict(), allow_nan=False)))
    assert told + feed(again, x[at:]) == told + feed(whole, x[at:])


def test_streams_that_begin_together_share_an_event_and_a_stuck_one_hides_no_other():
    x = np.zeros((3000, 3))
    x[100:110, 0] = x[105:130, 1] = 9.0
    x[500:, 2] = 9.0  # for ever
    x[1500:1510, 0] = 9.0
    told = feed(Events(["a", "b", "c"], side="both"), x)
    assert [(e.start, e.channels) for e in told if e.is_over] == [(100, ("a", "b")), (1500, ("a",))]
    assert [e.first.channel for e in told if not e.is_over] == ["a", "c", "a"]


def test_m_of_n_and_cool_down():
    x = np.zeros(1000)
    x[[100, 300, 303, 306, 500, 501]] = 9.0
    assert [e.start for e in feed(Events(side="both", need=3, within=10), x) if not e.is_over] == [306]
    began = [e.start for e in feed(Events(side="both", cooldown=200), x) if not e.is_over]  # the first is over at 150
    assert began == [100, 500]


def test_so_many_rows_hold_the_alarms_that_begin_an_event():
    for apart, begun in ((9, [109]), (10, [])):
        x = np.zeros(300)
        x[[100, 100 + apart]] = 9.0
        events = Events(side="both", need=2, within=10)
        assert [e.start for e in feed(events, x) if not e.is_over] == begun
        assert events.total == len(begun)


def between(x, low, high):
    """The trace of a detector with such levels on two sides."""
    levels = np.stack(np.broadcast_arrays(low, high, x)[:2], axis=-1)
    return Trace(np.where((x < low) | (x > high), ANOMALY, 0).astype(np.int8), levels, np.full(x.shape, -9.0))


@pytest.mark.parametrize(
    ("after", "memory", "rows"),
    [(9.0, 50, 50), (0.0, 1000, 40)],
    ids=["it had moved: for its memory", "it was back, and the detector comes back: four times quiet"],
)
def test_how_long_a_return_to_the_old_levels_is_no_event(after, memory, rows):
    for late in (0, 1):
        x = np.full(300, after)
        x[:100], x[100] = 0.0, 9.0
        back = 110 + rows + late  # it was over at 110
        x[back] = 0.0
        low = np.where(np.arange(300) <= 100, -4.0, after - 4.0)
        low[back] = 1.0
        told = Events(side="both", quiet=10, memory=memory).feed(x, between(x, low, low + 8.0))
        assert [e.start for e in told if not e.is_over] == [100, *[back] * late]
        assert told[1].has_moved == (after > 4.0)


@pytest.mark.parametrize(("side", "sign"), [("upper", 1.0), ("lower", -1.0)])
def test_nor_is_what_the_old_level_of_one_side_would_have_let_pass(side, sign):
    x, level = np.zeros(300), np.full(300, 4.0)
    x[[100, 150, 151]], level[150:152] = [9.0, 3.0, 3.0], 2.0  # it was over at 110, and its level counts for 40 rows
    trace = Trace(np.where(x > level, ANOMALY, 0).astype(np.int8), sign * level, np.full(300, -9.0))
    assert [e.start for e in Events(side=side, quiet=10).feed(sign * x, trace) if not e.is_over] == [100, 151]


@pytest.mark.parametrize(
    ("value", "low", "high", "side"),
    [(9.0, -4.0, np.inf, "upper"), (-9.0, -4.0, np.inf, "lower"), (9.0, -np.inf, 4.0, "upper"),
     (0.0, 1.0, 9.0, "lower"), (-6.0, -4.0, 4.0, "lower"), (7.0, 2.0, 6.0, "upper"), (5.0, 2.0, 6.0, "upper"),
     (3.0, 2.0, 6.0, "lower"), (-1.0, -np.inf, 4.0, "lower"), (0.0, -4.0, np.inf, "upper")],
)  # fmt: skip
def test_an_alarm_is_on_the_side_whose_level_it_is_beyond_or_nearest(value, low, high, side):
    """Of values that alarm by rank, none is beyond: those by the side that has no level, or the nearer one."""
    trace = Trace(np.array([ANOMALY], np.int8), np.array([[low, high]]), np.array([-9.0]))
    (event,) = Events(side="both").feed(np.array([value]), trace)
    assert (event.peak.side, event.peak.threshold) == (side, high if side == "upper" else low)


@pytest.mark.parametrize("side", ["upper", "lower", "both"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_alarms_by_rank_is_told_each_time_it_comes(side, sign):
    """Of a stream that never falls below 0 there is no lower tail, and its level is infinite."""
    x = sign * np.maximum(np.random.default_rng(0).standard_normal(3000).round(1), 0.0)
    spot = Spot(risk=1e-3, side=side).fit(x[:2000])
    x = np.full(1000, sign)
    x[[100, 200, *range(400, 1000)]] = -5.0 * sign
    wanted = "lower" if sign > 0 else "upper"
    told = Events(side=side).feed(x, spot.trace(x))
    if side not in ("both", wanted):
        assert not told
        return
    assert [(e.start, e.first.side, e.first.threshold) for e in told if not e.is_over] == [
        (start, wanted, -np.inf * sign) for start in (100, 200, 400)
    ]


def test_of_alarms_in_a_row_those_count_that_pass_among_all_streams():
    p = np.full((1, 100), 0.5)
    p[0, [3, 7, 8]] = 1e-15, 1e-14, 9e-4
    trace = Trace(np.where(p < 1e-3, ANOMALY, 0).astype(np.int8), np.full((1, 100), 4.0), np.log(p))
    (event,) = (events := Events(100, risk=1e-3)).feed(np.ones((1, 100)), trace)
    assert event.first.channel == "3"
    assert events.going_on[0].channels == ("3", "7")
    assert events.going_on[0].alarms == 2


def test_the_more_rows_without_a_small_probability_the_larger_one_counts_up_to_where_all_are_known():
    budget, levels = RowBudget(0.01, 5), []
    for budget.rows in (0, 100, 1000, 10_000, 100_000):
        levels.append(budget.log_level())
    assert np.all(np.diff(levels) >= 0.0)
    assert levels[0] < np.log(0.01)
    assert levels[-1] == pytest.approx(np.log(budget.ceiling)) == pytest.approx(np.log(0.05))
    most = 10.0 + 3.0 * np.sqrt(10.0) + 1.0  # of 1,000 rows; more alarms are incidents, and move it no further
    few, some, many = (RowBudget(0.01, 5, rows=1000, beyond=n).log_level() for n in (10, most, 900))
    assert few > some == many


def test_the_risk_is_that_of_a_row_however_many_streams():
    """The procedure of Benjamini & Hochberg over 100 streams, whose p-values are uniform below 1e-2."""
    rng = np.random.default_rng(0)
    n, streams, risk = 8_000, 100, 1e-2
    p = rng.random((n, streams))
    label = np.where(p < risk, ANOMALY, 0).astype(np.int8)
    trace = Trace(label, np.full((n, streams), 4.0), np.log(p))  # of one side
    began = [e for e in Events(streams, risk=risk, quiet=1).feed(np.ones((n, streams)), trace) if not e.is_over]
    rows = len({e.start for e in began})
    assert abs(rows - n * risk) < 4.0 * np.sqrt(n * risk)
    everything = [e for e in Events(streams, quiet=1).feed(np.ones((n, streams)), trace) if not e.is_over]
    assert len(everything) > 20 * rows


@pytest.mark.parametrize("law", ["normal", "exponential", "uniform"])
def test_the_risk_is_that_of_all_columns_together(law):
    """Levels of 1,000 rows are asked for a twentieth of the risk; how often rows pass it is learnt."""
    told, rows = 0, 3 * 40_000
    for seed in range(3):
        rng = np.random.default_rng(seed)
        draw = {"normal": rng.standard_normal, "exponential": rng.standard_exponential, "uniform": rng.random}[law]
        x = draw((41_000, 20))
        events = Events(20, risk=1e-4, side="both")
        events.feed(x[1000:], DSpot(side="both").fit(x[:1000]).trace(x[1000:], alarms_only=True))
        told += events.total
    assert 0.25 < told / (rows * 1e-4) < 2.0  # 12 are expected, so that 3 and 24 are 2.6 and 3.5 standard errors away


def test_incidents_of_some_columns_hide_no_other():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60_000, 10))
    x[2000::200, :3] = 12.0  # for ever
    x[50_137, 7] = 9.0
    spot, events = Spot(side="both").fit(x[:1000]), Events(10, risk=1e-4, side="both", first_row=1000)
    told = events.feed(x[1000:], spot.trace(x[1000:], alarms_only=True))
    assert [e.start for e in told if not e.is_over and e.first.channel == "7" and e.start > 50_000][:1] == [50_137]
    assert sum(e.start % 200 == 0 and not e.is_over for e in told) >= 285  # of 290


def incidents(seed):
    """N(10, 1) with five incidents: rows at 30, at 25, at 16, and a channel that is dead for long and for short."""
    rng = np.random.default_rng(seed)
    x = rng.normal(10.0, 1.0, 30_000)
    spans = ((5000, 20, 30.0), (9000, 20, 25.0), (12_000, 5, 16.0), (15_000, 3000, 0.0), (22_000, 100, 0.0))
    for start, length, value in spans:
        x[start : start + length] = value
    return x, [(start, start + length) for start, length, _ in spans]


@pytest.mark.parametrize("make", [lambda: Spot(side="both"), lambda: DSpot(side="both")])
def test_five_incidents_are_told_once_each(make):
    times, others = np.zeros(5), 0
    for seed in range(8):
        x, spans = incidents(seed)
        spot = make().fit(x[:1000])
        events = Events(risk=1e-4, side="both", first_row=1000)
        starts = [e.start for e in events.feed(x[1000:], spot.trace(x[1000:], alarms_only=True)) if not e.is_over]
        told = [sum(a - 50 <= start < b + 150 for start in starts) for a, b in spans]
        times += told
        others += len(starts) - sum(told)
    assert np.all(times >= 8)  # none is missed, and once in a while chance tells of something beside one
    assert times.sum() <= 8 * 5 + 5
    assert others / 8 < 3 * 29_000 * 1e-4


def test_a_stream_that_comes_back_tells_nothing_new():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(8000)
    x[3000:5000] += 30.0
    spot, events = DSpot(side="both").fit(x[:1000]), Events(risk=1e-4, side="both", first_row=1000)
    told = events.feed(x[1000:], spot.trace(x[1000:], alarms_only=True))
    shifts = [e for e in told if e.peak.value > 20.0 or e.start in range(5000, 5300)]
    assert [e.is_over for e in shifts] == [False, True]
    assert shifts[1].has_moved
    assert shifts[1].end < 3300  # the new level is usual by then


def test_a_detector_tells_events_itself_and_keeps_them(tmp_path):
    x, _ = incidents(3)
    spot = Spot(side="both").fit(x[:1000])
    whole = [e for part in np.split(x[1000:], 29) for e in spot.events(part)]
    again = Spot(side="both").fit(x[:1000])
    told = again.events(x[1000:5010])
    again.save(tmp_path / "spot.json")
    assert told + Spot.load(tmp_path / "spot.json").events(x[5010:]) == whole
    assert all(isinstance(e, Event) for e in whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quiet": 0}, "quiet must be an integer of at least 1, got 0"),
        ({"need": 3, "within": 2}, "within must be an integer of at least 3, got 2"),
        ({"risk": 2.0}, "risk must lie between 0 and 1, got 2.0"),
        ({"side": "left"}, "side must be one of"),
        ({"channels": 0}, "channels must be at least one"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Events(**arguments)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 2\)"):
        Events(2).feed(np.zeros(3), trace_of(np.zeros(3)))


@pytest.mark.parametrize(("side", "sign"), [("upper", 1.0), ("lower", -1.0)])
def test_of_equally_impossible_values_the_farthest_is_the_peak(side, sign):
    """Beyond the end of a bounded tail the plug-in law says 0 of all."""
    rng = np.random.default_rng(0)
    spot = Spot(1e-2, side=side, level="plug-in").fit(sign * rng.uniform(size=2000))
    x = sign * rng.uniform(0.0, 0.9, size=200)
    x[50:53] = sign * np.array([5.0, 50.0, 7.0])
    over = Events(side=side).feed(x, spot.trace(x))[-1]
    assert over.peak.probability == 0.0
    assert (over.peak.row, over.peak.value) == (51, sign * 50.0)
