"""Stream detectors: laws, an independent refit at every excess, published figures, and what libspot gets wrong."""

from __future__ import annotations

import json
import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from evtkit import DSpot, FitStatus, Spot, fit_gpd, gpd
from evtkit._kernels import tail_columns as tail
from evtkit.spot import ANOMALY, EXCESS, MISSING, NORMAL, Label


def samples(kind, size, seed):
    """Streams of many kinds, some of them nasty."""
    rng = np.random.default_rng(seed)
    match kind:
        case "normal":
            return rng.standard_normal(size)
        case "heavy":
            return gpd.rvs(0.9, 1.0, size, rng)
        case "bounded":
            return gpd.rvs(-0.6, 1.0, size, rng)
        case "uniform":
            return rng.random(size)
        case "rounded":
            return np.round(rng.standard_exponential(size), 1)
        case "scales":
            return rng.standard_exponential(size) * 10.0 ** rng.integers(-4, 5, size)
        case "regimes":
            return rng.standard_normal(size) * (1.0 + 4.0 * (np.arange(size) // 700 % 2))
        case "drift":
            return rng.standard_normal(size) + np.linspace(0.0, 8.0, size)
        case "outliers":
            x = rng.standard_normal(size)
            x[rng.integers(0, size, size // 200)] *= 100.0
            return x
        case "bimodal":
            return np.where(rng.random(size) < 0.03, 6.0 + 0.1 * rng.standard_normal(size), rng.standard_normal(size))
    raise AssertionError(kind)


def saved(spot, folder, stream=0):
    """What a detector writes of a stream: plain values with names."""
    spot.save(folder / "spot.json")
    return json.loads((folder / "spot.json").read_text())["streams"][stream]


def centre(spot, folder):
    """The moving mean, from what is saved."""
    stream = saved(spot, folder)
    return math.fsum(stream["sum"]) / len(stream["window"])


KINDS = ["normal", "heavy", "bounded", "uniform", "rounded", "scales", "regimes", "drift", "outliers", "bimodal"]
IN_TURN = [kind if kind in ("normal", "rounded") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


def plain_spot(x, calibration, risk, quantile, side, max_excess, on_alarm, min_excess=10):
    """A refit at every excess with `fit_gpd`: labels of x[calibration:], one stream, one side; slow and simple."""
    sign = 1.0 if side == "upper" else -1.0
    x = sign * x
    u = np.sort(x[:calibration])[int(quantile * calibration)]
    past = x[:calibration][x[:calibration] > u]
    kept, total, n, seen, imputed, labels = deque(past - u, max_excess), len(past), calibration, calibration, 0, []
    for value in x[calibration:]:
        if not value > u:
            n += 1
            labels.append(NORMAL)
            continue
        y = np.array(kept)
        fit = fit_gpd(y) if len(y) >= min_excess else None
        plausible = True
        if fit is not None and fit.status <= FitStatus.BOUNDARY:
            ratio = min(1.0, risk * seen / total)
            z = gpd.isf(ratio, fit.xi, fit.sigma)
            often = next(k for k in range(1, len(y) + 2) if poisson.sf(k - 1, len(y) * ratio) < 1e-3)
            z = u + (max(z, np.sort(y)[-often]) if often <= len(y) else z)
            alarm = value > z
            farthest = gpd.isf(ratio / np.sqrt(10.0), fit.xi, fit.sigma)
            if fit.xi < 0 and ratio < 1.0:
                later = gpd.isf(ratio / 10.0, fit.xi, fit.sigma) / gpd.isf(ratio, fit.xi, fit.sigma)
                farthest = max(farthest, max(1.05, later) * (z - u))
            plausible = value - u <= farthest or z <= u
        else:
            fit, z = None, np.inf
            rank = 1 + np.count_nonzero(y + u >= value) + total - len(y)
            alarm = rank / (n + 1) < risk
        labels.append(ANOMALY if alarm else EXCESS)
        learnt, expected = value, risk * (n + 1)
        if alarm and on_alarm == "ignore":
            continue
        if on_alarm == "impute" and (((fit is None or z <= u) and alarm) or not plausible):
            if fit is None or z <= u or imputed + 1 > expected + np.sqrt(expected):
                continue
            imputed += 1
            digits = f"{imputed:b}"
            share = sum(2.0 ** -(place + 1) for place, digit in enumerate(reversed(digits)) if digit == "1")
            beyond = gpd.sf(z - u, fit.xi, fit.sigma)
            learnt = max(z, u + gpd.isf(beyond * share, fit.xi, fit.sigma)) if beyond > 0 else z
        n, total = n + 1, total + 1
        seen = n
        kept.append(learnt - u)
    return np.array(labels)


@pytest.mark.parametrize("kind", IN_TURN)
@pytest.mark.parametrize("on_alarm", ["ignore", "impute", "learn"])
def test_alarms_are_those_of_a_refit_at_every_excess(kind, on_alarm):
    x = samples(kind, 3000, seed=1)
    for side, max_excess, risk in (("upper", 40, 1e-3), ("lower", 1000, 1e-3), ("upper", 100, 1e-2)):
        expected = plain_spot(x, 400, risk, 0.9, side, max_excess, on_alarm)
        spot = Spot(risk, 0.9, side=side, max_excess=max_excess, on_alarm=on_alarm, level="plug-in").fit(x[:400])
        np.testing.assert_array_equal(spot.update(x[400:]), expected)


@pytest.mark.parametrize("kind", IN_TURN)
def test_following_the_maximum_is_as_good_as_a_fit_after_every_excess(kind):
    x = samples(kind, 30_000, seed=2)
    for max_excess in (50, 300, 2000):
        for on_alarm in ("ignore", "impute", "learn"):
            fast, traced = (Spot(1e-3, 0.95, max_excess=max_excess, on_alarm=on_alarm).fit(x[:1000]) for _ in "ab")
            labels, trace = fast.update(x[1000:]), traced.trace(x[1000:])
            np.testing.assert_array_equal(labels, trace.label)
            fitted = np.isfinite(trace.alarm_threshold)
            np.testing.assert_array_equal((labels == ANOMALY)[fitted], (x[1000:] > trace.alarm_threshold)[fitted])
            assert np.mean(fitted) > 0.99


@given(seed=st.integers(0, 999), kind=st.sampled_from(KINDS), side=st.sampled_from(["upper", "lower", "both"]),
       depth=st.sampled_from([0, 1, 7]), cuts=st.lists(st.integers(0, 1500), max_size=8))  # fmt: skip
def test_any_cut_of_a_stream_gives_the_same_bits(seed, kind, side, depth, cuts):
    x = samples(kind, 2000, seed)

    def detector():
        others = {"side": side, "max_excess": 60}
        return (DSpot(1e-2, depth, 0.9, **others) if depth else Spot(1e-2, 0.9, **others)).fit(x[:500])

    whole, cut, single = detector(), detector(), detector()
    labels = whole.update(x[500:])
    parts = [cut.update(part) for part in np.split(x[500:], sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), labels)
    np.testing.assert_array_equal([single.step(float(value)) for value in x[500:]], labels)
    for other in (cut, single):
        for name in ("alarm_threshold", "threshold", "xi", "sigma", "status", "n", "n_excess"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))


@pytest.mark.parametrize("depth", [0, 25])
def test_many_streams_are_each_as_one_alone_on_any_number_of_threads(depth):
    x = np.column_stack([samples(kind, 5000, seed) for seed, kind in enumerate(KINDS * 3)])

    def detector(**others):
        return DSpot(1e-3, depth, side="both", **others) if depth else Spot(1e-3, side="both", **others)

    together = [detector(n_threads=n).fit(x[:1000]) for n in (1, 3)]
    labels = [spot.update(x[1000:]) for spot in together]
    np.testing.assert_array_equal(*labels)
    for c in range(x.shape[1]):
        alone = detector().fit(x[:1000, c])
        np.testing.assert_array_equal(alone.update(x[1000:, c]), labels[0][:, c])
        np.testing.assert_array_equal(alone.alarm_threshold, together[0].alarm_threshold[c])
    assert together[0].step(x[0]).shape == (x.shape[1],)
    assert together[0].alarm_threshold.shape == (x.shape[1], 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_lower_side_is_the_upper_side_of_the_negative(kind):
    x = samples(kind, 4000, seed=3)
    upper, lower = Spot(1e-3).fit(x[:1000]), Spot(1e-3, side="lower").fit(-x[:1000])
    np.testing.assert_array_equal(upper.update(x[1000:]), lower.update(-x[1000:]))
    assert upper.alarm_threshold == -lower.alarm_threshold


def test_both_sides_share_the_risk():
    x = samples("normal", 3000, seed=4)
    both = Spot(2e-3, side="both").fit(x)
    low, high = both.alarm_threshold
    assert high == Spot(1e-3).fit(x).alarm_threshold
    assert low == Spot(1e-3, side="lower").fit(x).alarm_threshold
    assert both.update([low - 1e-9, high + 1e-9]).tolist() == [ANOMALY, ANOMALY]


@pytest.mark.parametrize("kind", KINDS)
def test_every_refit_is_fit_gpd_of_the_same_excesses(kind, tmp_path):
    x = samples(kind, 3000, seed=5)
    spot = Spot(1e-3, 0.9, max_excess=150, level="plug-in").fit(x[:500])
    for part in np.split(x[500:], 25):
        spot.update(part)
        fit = fit_gpd(spot.excesses())
        assert spot.status == fit.status
        np.testing.assert_allclose([spot.xi, spot.sigma], [fit.xi, fit.sigma], rtol=1e-12)  # compiled apart
        (kept,) = saved(spot, tmp_path)["tails"]
        level = spot.threshold + gpd.isf(1e-3 * kept["n"] / spot.n_excess, fit.xi, fit.sigma)
        assert spot.alarm_threshold == pytest.approx(float(level), rel=1e-13)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
@pytest.mark.parametrize("kind", KINDS)
def test_units_change_no_alarm(kind, factor):
    x = samples(kind, 5000, seed=6)
    plain_ones = [lambda: Spot(1e-3, side="both"), lambda: DSpot(1e-3, 20, side="both")]
    for make in plain_ones[: 1 if kind == "rounded" else 2]:  # ties of deviations are broken by their rounding
        plain, scaled = make().fit(x[:1000]), make().fit(factor * x[:1000])
        alarms = (spot.update(unit * x[1000:]) == ANOMALY for spot, unit in ((plain, 1.0), (scaled, factor)))
        np.testing.assert_array_equal(*alarms)
        level = factor * plain.alarm_threshold  # a level near 0 is a small difference of large numbers
        np.testing.assert_allclose(
            scaled.alarm_threshold, level, rtol=1e-9, atol=1e-15 * np.abs(level[np.isfinite(level)]).max(initial=0.0)
        )


def test_units_change_alarms_of_libspot_and_none_of_ours():
    libspot = pytest.importorskip("libspot")
    x = gpd.rvs(0.3, 1.0, 20_000, rng=0)

    def theirs(factor):
        spot = libspot.Spot(q=1e-3, level=0.98)
        spot.fit(factor * x[:2000])
        return [spot.step(float(value)) == libspot.ANOMALY for value in factor * x[2000:]]

    def ours(factor):
        return (Spot(1e-3).fit(factor * x[:2000]).update(factor * x[2000:]) == ANOMALY).tolist()

    assert theirs(1.0) != theirs(1e-9)
    assert ours(1.0) == ours(1e-9) == ours(1e9)


def test_published_streams(spot_rain, spot_physics):
    rain = Spot(1e-4, level="plug-in").fit(spot_rain[:1000])
    assert rain.threshold == pytest.approx(9.05e-5)
    assert (rain.n_excess, rain.xi, rain.sigma) == (19, pytest.approx(-0.503935, abs=1e-6), pytest.approx(5.16915e-5))
    assert rain.alarm_threshold == pytest.approx(1.857862e-4, rel=1e-6)
    physics = Spot(1e-3, level="plug-in").fit(spot_physics)
    assert (physics.n_excess, physics.xi, physics.sigma) == (356, pytest.approx(-0.6331009), pytest.approx(1.360133))
    assert physics.alarm_threshold == pytest.approx(9.972933)


@pytest.mark.parametrize("kind", ["normal", "heavy", "rounded", "outliers"])
@pytest.mark.parametrize("depth", [0, 30])
def test_a_detector_that_was_saved_goes_on_as_if_it_had_not(kind, depth, tmp_path):
    x = np.column_stack([samples(kind, 6000, seed) for seed in (7, 8)])
    for columns in (x, x[:, 0]):
        spot = DSpot(1e-3, depth, side="both", max_excess=50) if depth else Spot(1e-3, side="both", max_excess=50)
        spot.fit(columns[:1000]).update(columns[1000:3000])
        spot.save(tmp_path / "spot.json")
        again = type(spot).load(tmp_path / "spot.json")
        assert repr(again) == repr(spot)
        np.testing.assert_array_equal(again.update(columns[3000:]), spot.update(columns[3000:]))
        np.testing.assert_array_equal(again.alarm_threshold, spot.alarm_threshold)


def test_a_saved_detector_is_readable_json_of_its_kind(tmp_path):
    path = tmp_path / "spot.json"
    Spot(1e-3).fit(samples("normal", 1000, 0)).save(path)
    assert json.loads(path.read_text())["parameters"]["risk"] == 1e-3
    with pytest.raises(ValueError, match="not a saved DSpot"):
        DSpot.load(path)
    path.write_text('{"kind": "Spot", "format": 1}')
    with pytest.raises(ValueError, match="not a saved Spot"):
        Spot.load(path)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="not an evtkit file"):
        Spot.load(path)


def test_running_sums_do_not_depend_on_how_long_they_have_run(tmp_path):
    rng = np.random.default_rng(9)
    x = rng.standard_normal(1_000_000) * 10.0 ** rng.integers(-6, 7, 1_000_000)
    spot = DSpot(1e-3, depth=64, on_alarm="learn").fit(x[:1000])
    spot.update(x[1000:])
    assert centre(spot, tmp_path) == pytest.approx(math.fsum(x[-64:]) / 64, rel=1e-15)

    following, valid = Spot(1e-3, max_excess=5000, on_alarm="learn").fit(x[:1000]), 0
    for part in np.split(x, 100):
        following.update(part)
        sums, integers = following._streams.floats[0], following._streams.integers[0]
        if integers[tail.FOLLOWED] == tail.MAXIMUM:
            valid += 1
            a = 1.0 + sums[tail.TAU] * following.excesses() / sums[tail.SCALE]
            assert sums[tail.LOGS] == pytest.approx(math.fsum(np.log(a)), rel=1e-12)
            assert sums[tail.INVERSES] == pytest.approx(math.fsum(1.0 / a), rel=1e-12)
    assert valid > 50


def test_memory_does_not_grow():
    spot = Spot(1e-3, max_excess=100).fit(samples("normal", 1000, 0))
    before = {name: np.asarray(value).nbytes for name, value in vars(spot._streams).items()}
    spot.update(samples("normal", 200_000, 1))
    assert {name: np.asarray(value).nbytes for name, value in vars(spot._streams).items()} == before
    assert len(spot.excesses()) == 100
    assert spot.n_excess > 3000


@pytest.mark.parametrize("kind", KINDS)
def test_an_alarm_is_what_has_a_probability_below_the_risk(kind):
    x = samples(kind, 5000, seed=10)
    for spot in (Spot(1e-3, side="both"), DSpot(1e-3, 40), Spot(1e-3, on_alarm="learn")):
        spot.fit(x[:1000])
        trace = spot.trace(x[1000:])
        np.testing.assert_array_equal(trace.label == ANOMALY, trace.log_probability < math.log(1e-3))
        np.testing.assert_array_equal(trace.log_probability == 0.0, trace.label == NORMAL)
        upper = trace.alarm_threshold[..., 1] if spot.side == "both" else trace.alarm_threshold
        assert np.all(trace.label[x[1000:] > upper] == ANOMALY)


def test_probability_is_that_of_the_next_observation():
    x = samples("heavy", 4000, seed=11)
    spot = Spot(1e-3).fit(x[:1000])
    spot.update(x[1000:-1])
    expected = spot.probability(x[-1:])
    assert spot.trace(x[-1:]).log_probability == pytest.approx(np.log(expected))
    p = spot.probability([spot.threshold, spot.alarm_threshold, 1e9])
    assert p[0] == 1.0
    assert p[1] == pytest.approx(1e-3)
    assert 0 < p[2] < 1e-6


def test_alarms_leave_no_trace_unless_asked_for():
    x = samples("normal", 2000, seed=12)
    ignoring, learning = Spot(1e-3, on_alarm="ignore").fit(x), Spot(1e-3, on_alarm="learn").fit(x)
    level = float(ignoring.alarm_threshold)
    assert ignoring.update([100.0] * 50).tolist() == [ANOMALY] * 50
    assert (ignoring.alarm_threshold, ignoring.n) == (pytest.approx(level, rel=1e-9), 2000)
    assert learning.update([100.0]).tolist() == [ANOMALY]
    assert learning.alarm_threshold > level
    assert learning.excesses()[-1] == 100.0 - learning.threshold


def test_a_burst_of_alarms_moves_the_imputed_tail_little():
    x = samples("normal", 20_000, seed=13)
    spot = Spot(1e-3).fit(x[:10_000])
    spot.update(x[10_000:])
    level = float(spot.alarm_threshold)
    assert np.all(spot.update(np.full(5000, 1e6)) == ANOMALY)
    assert level <= spot.alarm_threshold < 1.3 * level


def test_ties_are_strict():
    spot = Spot(1e-2, 0.9).fit(samples("heavy", 1000, seed=14))
    u, z = float(spot.threshold), float(spot.alarm_threshold)
    assert spot.step(u) == NORMAL
    assert spot.step(z) == EXCESS
    spot = Spot(1e-2, 0.9).fit(samples("heavy", 1000, seed=14))
    assert spot.step(float(np.nextafter(z, np.inf))) == ANOMALY


def test_without_a_tail_the_rank_alone_decides():
    constant = Spot(1e-3, on_alarm="ignore").fit(np.zeros(500))
    assert (constant.status, constant.alarm_threshold, constant.threshold) == (FitStatus.EMPTY, np.inf, 0.0)
    assert constant.step(1.0) == EXCESS  # the largest of 501: no rarer than 1/501
    np.testing.assert_array_equal(constant.update(np.zeros(2000)), NORMAL)
    assert constant.step(2.0) == ANOMALY  # the largest of 2502
    assert constant.step(1.0) == ANOMALY  # among the two largest of 2502, 1 being there already: 2/2502 < 1e-3
    assert constant.probability(1.0) == pytest.approx(2 / 2502)
    equal = Spot(1e-3, 0.9).fit(np.repeat([0.0, 1.0], [950, 50]))
    assert equal.status == FitStatus.CONSTANT
    assert np.isnan(equal.xi)


def test_missing_values_are_refused_or_passed_over():
    x = samples("normal", 3000, seed=15)
    spot = Spot(1e-3).fit(x[:1000])
    before = repr(spot)
    for wrong in (np.nan, np.inf, 1e301):
        with pytest.raises(ValueError, match="a batch must be finite"):
            spot.update([9.0, wrong])
        with pytest.raises(ValueError, match="a batch must be finite"):
            spot.step(wrong)
    assert repr(spot) == before
    with pytest.raises(ValueError, match="x must be finite"):
        Spot(1e-3).fit([*x, np.nan])
    for make in (lambda: Spot(1e-3, nonfinite="skip"), lambda: DSpot(1e-3, 20, nonfinite="skip")):
        with_gaps, without = make().fit(np.insert(x[:1000], 30, np.nan)), make().fit(x[:1000])
        labels = with_gaps.update(np.insert(x[1000:], 500, [np.nan, np.inf, -np.inf]))
        assert labels[500:503].tolist() == [MISSING, ANOMALY, ANOMALY]
        np.testing.assert_array_equal(np.delete(labels, slice(500, 503)), without.update(x[1000:]))
        np.testing.assert_array_equal(with_gaps.alarm_threshold, without.alarm_threshold)
    assert Spot(1e-3, nonfinite="skip").fit(x).step(np.nan) is Label.MISSING


def test_a_cleaned_calibration_is_one_without_the_anomalies():
    x = samples("normal", 2000, seed=16)
    spoilt = np.insert(x, [100, 900, 1500], [40.0, 41.0, -60.0])
    for kind, arguments in ((Spot, {}), (DSpot, {"depth": 10})):
        cleaned = kind(1e-3, side="both", clean=True, **arguments).fit(spoilt)
        spoiled, pure = (kind(1e-3, side="both", clean=False, **arguments).fit(sample) for sample in (spoilt, x))
        assert cleaned.n_cleaned == 3
        np.testing.assert_array_equal(cleaned.alarm_threshold, pure.alarm_threshold)
        assert np.all(np.abs(spoiled.alarm_threshold) > 1.5 * np.abs(pure.alarm_threshold))


@pytest.mark.parametrize("make", [Spot, lambda *a, **o: DSpot(*a, 20, **o)], ids=["Spot", "DSpot"])
@pytest.mark.parametrize("law", ["normal", "lognormal", "t3", "counts"])
def test_an_incident_of_the_calibration_does_not_hide_itself(make, law):
    rng = np.random.default_rng(31)
    draw = {"normal": lambda n: rng.normal(40.0, 2.0, n), "lognormal": lambda n: rng.lognormal(3.0, 0.5, n),
            "t3": lambda n: rng.standard_t(3, n), "counts": lambda n: 1.0 * rng.poisson(20.0, n)}[law]  # fmt: skip
    for _ in range(5):
        x = draw(900)
        pure = make(1e-3, clean=False).fit(x)
        assert repr(make(1e-3).fit(x)) == repr(pure)  # nothing is taken from what has none
        followed = isinstance(pure, DSpot)
        for incident, sign in (([450], 1), ([450, 451, 455], 1), ([200, 700], 1), ([3], 1), ([450], -1), ([3], -1)):
            if sign < 0 and not followed:
                continue  # the other side is not looked at, nor does it matter
            spoilt = np.insert(x, incident, x.mean() + sign * 1000.0 * np.ptp(x))
            found = make(1e-3).fit(spoilt)
            assert found.n_cleaned == len(incident)
            assert f"{len(incident)} of the calibration left out" in repr(found)
            # one that fills the window first gives its place to the median: the window is another one
            near = 0.05 if followed and incident == [3] else 0.0
            np.testing.assert_allclose(found.alarm_threshold, pure.alarm_threshold, rtol=near)
            assert type(found).from_dict(found.to_dict()).to_dict() == found.to_dict()
            assert make(1e-3, level="plug-in").fit(spoilt).n_cleaned == 0


def test_what_comes_again_and_again_in_the_calibration_is_expected_again():
    x = samples("normal", 2000, seed=18)
    x[[300, 900, 1500]] = 60.0
    np.testing.assert_array_equal(Spot(1e-3).fit(x).alarm_threshold, Spot(1e-3, clean=False).fit(x).alarm_threshold)


def test_drift_is_followed():
    x = samples("normal", 30_000, seed=17) + np.linspace(0.0, 300.0, 30_000)
    x[20_000] += 12.0
    alarms = np.flatnonzero(DSpot(1e-4, depth=100).fit(x[:2000]).update(x[2000:]) == ANOMALY) + 2000
    assert 20_000 in alarms
    assert len(alarms) < 15
    assert np.mean(Spot(1e-4).fit(x[:2000]).update(x[2000:]) == ANOMALY) > 0.9


def test_alarms_enter_the_moving_average_as_they_are_learnt(tmp_path):
    x = samples("normal", 2000, seed=18)
    ignoring, capping, learning = (
        DSpot(1e-3, 10, on_alarm=how, level="plug-in").fit(x) for how in ("ignore", "impute", "learn")
    )
    before, level = centre(ignoring, tmp_path), float(capping.alarm_threshold)
    out = x[-10]
    for spot in (ignoring, capping, learning):
        assert spot.step(50.0) == ANOMALY
    assert centre(ignoring, tmp_path) == before
    assert centre(capping, tmp_path) == pytest.approx(before + (level - out) / 10)
    assert centre(learning, tmp_path) == pytest.approx(before + (50.0 - out) / 10)


def test_a_step_of_the_stream_is_followed_unless_alarms_are_ignored():
    x = samples("normal", 6000, seed=19) + np.where(np.arange(6000) < 3000, 0.0, 20.0)
    last = {how: DSpot(1e-3, 50, on_alarm=how).fit(x[:2000]).update(x[2000:])[-1000:] for how in ("ignore", "impute")}
    assert np.all(last["ignore"] == ANOMALY)
    assert np.mean(last["impute"] == ANOMALY) < 0.01


def test_a_value_at_the_end_of_its_range_stops_raising_alarms():
    rng = np.random.default_rng(20)
    x = np.where(rng.random(20_000) < 0.01, 1.0, 0.99 * rng.random(20_000))
    for on_alarm in ("ignore", "impute", "learn"):
        spot = Spot(1e-4, 0.9, on_alarm=on_alarm).fit(x[:5000])
        assert np.count_nonzero(spot.update(x[5000:]) == ANOMALY) == 0
        assert 1.0 <= spot.alarm_threshold < 1.01
        assert 0.002 < spot.probability(1.0) < 0.02
    fresh = Spot(1e-4, 0.9, on_alarm="learn").fit(0.99 * rng.random(5000))
    assert np.flatnonzero(fresh.update(np.full(20, 1.0)) == ANOMALY).size < 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"risk": 0.0}, "risk must lie between 0 and 0.02"),
        ({"risk": 0.03}, "risk must lie between 0 and 0.02"),
        ({"risk": np.nan}, "risk must lie between"),
        ({"risk": "low"}, "risk must be a number, got 'low'"),
        ({"quantile": None}, "quantile must be a number, got None"),
        ({"max_excess": 20.5}, "max_excess must be an integer of at least 10, got 20.5"),
        ({"quantile": 0.3}, r"quantile must lie in \[0.5, 1\), got 0.3"),
        ({"side": "left"}, "side must be one of 'upper', 'lower', 'both', got 'left'"),
        ({"on_alarm": "forget"}, "on_alarm must be one of"),
        ({"nonfinite": "drop"}, "nonfinite must be one of"),
        ({"max_excess": 5}, "max_excess must be an integer of at least 10, got 5"),
        ({"min_excess": 1}, "min_excess must be an integer of at least 2, got 1"),
        ({"n_threads": 0}, "n_threads must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Spot(**arguments)


def test_wrong_data_are_named_and_change_nothing():
    with pytest.raises(ValueError, match="has not seen a calibration sample"):
        Spot().update([1.0])
    with pytest.raises(ValueError, match="has not seen a calibration sample"):
        Spot().step(1.0)
    with pytest.raises(ValueError, match="at least 51 observations to calibrate on, got 50"):
        Spot().fit(np.arange(50.0))
    with pytest.raises(ValueError, match="at least 151 observations to calibrate on, got 150"):
        DSpot(depth=100).fit(np.arange(150.0))
    with pytest.raises(ValueError, match=r"x must have shape \(n,\) or \(n, streams\)"):
        Spot().fit(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="depth must be a positive integer, got 0"):
        DSpot(depth=0)
    spot = Spot().fit(np.zeros((100, 3)))
    with pytest.raises(ValueError, match=r"a batch must have shape \(n, 3\)"):
        spot.update(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="a batch must be real numbers"):
        Spot().fit(np.arange(100.0)).step("1.5")
    with pytest.raises(ValueError, match="x must have 3 streams"):
        spot.probability([1.0])
    with pytest.raises(ValueError, match=r"stream must lie in \[0, 2\], got 3"):
        spot.excesses(3)
    with pytest.raises(ValueError, match="side must be one of 'upper', got 'lower'"):
        spot.excesses(0, "lower")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_streams_keep_their_index_and_are_matched_by_name(library, tmp_path):
    module = pytest.importorskip(library)
    x = np.column_stack([samples("normal", 1500, seed) for seed in (21, 22)])
    labels = Spot(1e-2).fit(x[:1000]).update(x[1000:])
    frame = module.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    spot = Spot(1e-2).fit(frame[:1000])
    assert spot.names.tolist() == ["a", "b"]
    spot.save(tmp_path / "spot.json")
    assert Spot.load(tmp_path / "spot.json").names.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="has the channels in another order"):
        spot.update(frame[["b", "a"]])
    given = spot.update(frame[1000:])
    assert isinstance(given, module.DataFrame)
    np.testing.assert_array_equal(given.to_numpy(), labels)
    if library == "pandas":
        assert given.index.equals(frame.index[1000:])
    one = Spot(1e-2).fit(frame["a"][:1000])
    assert isinstance(one.update(frame["a"][1000:]), module.Series)
    assert isinstance(one.probability(frame["a"]), module.Series)


# -- the law of the next observation ----------------------------------------------------------------------------------


def next_excess(y, value):
    """P(Y > value) given excesses y, in units of the largest: ξ, σ averaged over the posterior by brute force."""
    y = np.asarray(y) / max(y)
    u, log_s = np.linspace(-12.0, 8.0, 3001), np.linspace(-1.5, 1.5, 601)
    t = np.expm1(u)
    t[np.abs(t) < 1e-9] = 1e-9
    m = np.mean(np.log1p(t[:, None] * y), axis=1)[:, None]
    k, s, t, u = len(y), np.exp(log_s), t[:, None], u[:, None]
    xi = m / s
    log_weight = (k - 1) * np.log(t / m) - k * m + u + (k - 1) * log_s - k * s - 0.5 * (np.maximum(xi, 0.0) / 0.6) ** 2
    weight = np.exp(log_weight - log_weight.max())
    inside = t * value > -1.0
    p = np.where(inside, np.exp(-np.log1p(np.where(inside, t * value, 0.0)) / xi), 0.0)
    return float(np.sum(weight * p) / np.sum(weight))


@pytest.mark.parametrize("kind", ["normal", "heavy", "bounded"])
@pytest.mark.parametrize("n", [400, 3000])
def test_the_level_is_that_of_the_next_observation(kind, n):
    spot = Spot(1e-3).fit(samples(kind, n, seed=23))
    y, z, u = spot.excesses(), float(spot.alarm_threshold), float(spot.threshold)
    assert len(y) == min(100, n // 10)
    rate = (len(y) + 1) / (n + 1)
    # 48 nodes: where a tail ends, the sum over t has a kink at every node's endpoint; and the prior's integral over s
    # is approximated, here with 40 excesses at the least
    for x, rel in ((z, 2e-2), (1.5 * z - 0.5 * u, 0.5 if kind == "bounded" else 2e-2)):
        p = rate * next_excess(y, (x - u) / max(y))
        assert spot.probability(np.nextafter(x, np.inf)) == pytest.approx(p, rel=rel)
    assert spot.probability(np.nextafter(z, np.inf)) == pytest.approx(1e-3, rel=1e-6)


def test_an_ordinary_row_never_has_probability_0():
    for kind in KINDS:
        x = samples(kind, 20_000, seed=24)
        assert np.all(np.isfinite(Spot(1e-3).fit(x[:1000]).trace(x[1000:]).log_probability))


@pytest.mark.parametrize("kind", ["normal", "heavy", "uniform", "bounded"])
def test_alarms_keep_their_risk_on_independent_data(kind):
    rates = []
    for seed in range(12):
        x = samples(kind, 61_000, 100 + seed)
        rates += [np.mean(make(1e-3).fit(x[:1000]).update(x[1000:]) == ANOMALY) / 1e-3 for make in (Spot, DSpot)]
    assert 0.5 < np.mean(rates) < 1.5


def test_anomalies_that_recur_are_never_learnt():
    """One row in 30 is 20 beyond the others; the first alarms must not make the next ones ordinary."""
    blind = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        spot, y = Spot().fit(rng.exponential(size=1000)), rng.exponential(size=3000)
        y[::30] += 20.0
        blind += (spot.update(y)[::30] == ANOMALY).sum() < 90
    assert blind <= 2


def test_a_short_calibration_begins_lower_and_the_threshold_rises():
    x = samples("normal", 20_000, seed=25)
    spot = Spot(1e-3).fit(x[:1000])
    assert spot.n_excess == 100
    before = float(spot.threshold)
    spot.update(x[1000:])
    assert before < spot.threshold < np.quantile(x, 0.985)
    assert np.all(spot.excesses() > 0.0)
    textbook = Spot(1e-3, level="plug-in").fit(x[:1000])
    assert textbook.n_excess == 19
    assert textbook.threshold == np.sort(x[:1000])[980]


@pytest.mark.parametrize("draw", ["counts", "halves", "mostly zero"])
def test_rounded_values_alarm_at_most_as_often_as_the_risk_says(draw):
    rates = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n = 41_000
        x = {"counts": rng.poisson(3.0, n), "halves": np.round(2.0 * rng.standard_normal(n)) / 2.0,
             "mostly zero": np.where(rng.random(n) < 0.9, 0.0, rng.standard_exponential(n))}[draw]  # fmt: skip
        rates.append(np.mean(Spot(1e-3, side="both").fit(x[:1000]).update(x[1000:]) == ANOMALY) / 1e-3)
    assert np.mean(rates) < 1.5


def test_a_stream_that_stays_has_one_centre_and_one_that_moves_is_followed():
    x = samples("normal", 30_000, seed=26)
    spot = DSpot(side="both").fit(x[:1000])
    centre = spot._streams.centres[0]
    spot.update(x[1000:20_000])
    assert spot._streams.centres[0] == centre
    assert np.mean(spot.update(x[20_000:] + 30.0)[300:] == ANOMALY) < 1e-3
    assert spot._streams.centres[0] == pytest.approx(30.0, abs=0.1)


RAMPS = {
    "counter": lambda rng, n: np.cumsum(rng.poisson(5.0, n)),
    "bytes": lambda rng, n: np.cumsum(rng.lognormal(10.0, 1.0, n)),
    "one step in ten": lambda rng, n: np.cumsum(rng.random(n) < 0.1),
    "falling": lambda rng, n: 1e6 - np.cumsum(rng.exponential(size=n)),
    "random walk": lambda rng, n: np.cumsum(0.3 + rng.standard_normal(n)),
    "noise": lambda rng, n: np.arange(n) + rng.standard_normal(n),
    "rounded": lambda rng, n: np.round(0.13 * np.arange(n) + 0.3 * rng.standard_normal(n), 1),
    "tenths": lambda rng, n: 0.1 * np.arange(n),
    "timestamps": lambda rng, n: 1.7e9 + 60.0 * np.arange(n),
}


@pytest.mark.parametrize("kind", RAMPS)
def test_a_ramp_keeps_the_risk_of_what_was_calibrated_on_it(kind):
    alarms = 0
    for seed in range(20):
        x = RAMPS[kind](np.random.default_rng(seed), 11_000).astype(float)
        alarms += np.count_nonzero(DSpot(side="both").fit(x[:1000]).update(x[1000:]) == ANOMALY)
    assert alarms <= 44  # 20 are expected; levels of 1,000 rows differ


@pytest.mark.parametrize("seed", range(27, 33))
def test_a_counter_alarms_at_its_reset_alone(seed):
    counter = np.cumsum(np.random.default_rng(seed).poisson(5.0, 10_000)).astype(float)
    counter[5000:] -= counter[5000]
    labels = DSpot(side="both").fit(counter[:1000]).update(counter[1000:])
    assert np.mean(labels[:4000] == ANOMALY) < 2e-3
    assert labels[4000] == ANOMALY
    assert np.mean(labels[4400:] == ANOMALY) < 2e-3


def test_the_rounding_of_a_long_ramp_is_no_alarm():
    x = 0.1 * np.arange(400_000)
    assert not np.any(DSpot(1e-3, side="both").fit(x[:1000]).update(x[1000:]) == ANOMALY)


def test_a_trace_of_alarms_only_is_that_of_all_at_the_alarms():
    x = np.column_stack([samples(kind, 6000, 28) for kind in ("normal", "outliers", "heavy")])
    whole, alarms = (Spot(1e-3, side="both").fit(x[:1000]).trace(x[1000:], alarms_only=only) for only in (False, True))
    np.testing.assert_array_equal(whole.label, alarms.label)
    found = whole.label == ANOMALY
    # the posterior is summed at nodes that follow from where it was looked at before
    np.testing.assert_allclose(whole.alarm_threshold[found], alarms.alarm_threshold[found], rtol=1e-9)
    np.testing.assert_allclose(whole.log_probability[found], alarms.log_probability[found], rtol=1e-9)
    assert np.all(np.isnan(alarms.log_probability[~found]))
