"""Pictures: every one is drawn, labelled and true to its numbers, and leaves no trace outside itself."""

import io
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.text import Text

from evtkit import Spot, covariates, fit_tail, gpd, plot, threshold
from evtkit.intervals import return_level_interval
from evtkit.spot import ANOMALY, Events

RNG = np.random.default_rng(5)
SAMPLES = {
    "heavy": gpd.rvs(0.7, 2.0, size=800, rng=1),
    "exponential": RNG.standard_exponential(1000),
    "bounded": gpd.rvs(-0.7, 3.0, size=300, rng=2),
    "uniform": np.linspace(0.0, 1.0, 200),
    "rounded": np.round(gpd.rvs(0.2, 5.0, size=500, rng=3)),
    "tiny": 1e-12 * RNG.standard_exponential(400),
    "huge": 1e12 + 1e11 * RNG.standard_exponential(400),
    "many": RNG.standard_exponential(40_000),
}
OF_A_TAIL = [plot.quantile, plot.probability, plot.density, plot.return_level]


@pytest.fixture(autouse=True)
def settings_unchanged():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not mpl.pyplot.get_fignums()


@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_every_picture_of_a_tail_is_drawn_and_labelled(sample, side, tmp_path):
    x = SAMPLES[sample] if side == "upper" else -SAMPLES[sample]
    figure = plot.diagnostics(fit_tail(x, quantile=0.8, side=side), label="flow", unit="m³/s")
    figure.savefig(tmp_path / "picture.png", dpi=40)
    for ax in figure.axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        assert ax.get_title()
    assert any("flow [m³/s]" in ax.get_xlabel() for ax in figure.axes)


@pytest.mark.parametrize("draw", OF_A_TAIL)
def test_draws_into_the_axes_given(draw):
    ax = Figure().add_subplot()
    assert draw(fit_tail(SAMPLES["heavy"], quantile=0.9), ax) is ax


@pytest.mark.parametrize("draw", OF_A_TAIL)
def test_a_tail_of_one_channel_may_be_1d_or_2d(draw):
    x = SAMPLES["heavy"]
    one, column = (draw(fit_tail(a, quantile=0.9)).lines[0].get_xydata() for a in (x, x[:, None]))
    np.testing.assert_array_equal(one, column)


def test_points_of_a_perfect_sample_lie_on_the_diagonal():
    # The expected order statistics of the tail: i/(n + 1) quantiles.
    x = gpd.ppf(np.arange(1, 500) / 500.0, 0.0, 1.0)
    tail = fit_tail(x, threshold=1e-9)
    for draw, tolerance in ((plot.probability, 0.01), (plot.quantile, 0.35)):
        x, y = draw(tail).lines[-1].get_xydata().T
        np.testing.assert_allclose(y, x, atol=tolerance)


def test_return_level_shows_the_tail_and_its_profile_interval():
    tail = fit_tail(SAMPLES["exponential"], quantile=0.9)
    ax = plot.return_level(tail, longest=100.0, per=10.0, period_unit="years")
    period, level = ax.lines[0].get_xydata()[-1]
    assert period == pytest.approx(100.0)
    assert level == pytest.approx(tail.return_level(1000.0))
    rate = tail.n_excess / tail.n
    want = return_level_interval(tail.excesses, 1000.0, rate=rate, threshold=tail.threshold, method="bartlett")
    band = ax.collections[0].get_paths()[0].vertices
    at_end = band[np.isclose(band[:, 0], 100.0), 1]
    assert at_end.min() == pytest.approx(want.lower)
    assert at_end.max() == pytest.approx(want.upper)
    largest = ax.lines[1].get_xydata()[-1]
    np.testing.assert_allclose(largest, [(tail.n + 1) / 10.0, SAMPLES["exponential"].max()])


def test_only_a_maximum_likelihood_fit_has_a_band():
    x = SAMPLES["exponential"]
    assert plot.return_level(fit_tail(x, quantile=0.9)).collections
    assert not plot.return_level(fit_tail(x, quantile=0.9, method="pwm")).collections
    assert not plot.return_level(fit_tail(x, quantile=0.9), band=None).collections


def test_density_is_a_density():
    tail = fit_tail(SAMPLES["exponential"], quantile=0.5)
    stairs = plot.density(tail).patches[0].get_data()
    assert np.sum(stairs.values * np.diff(stairs.edges)) == pytest.approx(1.0)
    assert stairs.edges[0] == tail.threshold


def test_thinned_points_keep_the_extremes():
    tail = fit_tail(SAMPLES["many"], quantile=0.5)
    drawn = plot.quantile(tail).lines[-1].get_ydata()
    assert drawn.size == 2000
    np.testing.assert_allclose(np.sort(drawn)[-1000:], np.sort(SAMPLES["many"])[-1000:])


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_threshold_choice_draws_the_three_results(side, tmp_path):
    x = SAMPLES["heavy"]
    figure = plot.threshold_choice(x if side == "upper" else -x, side=side, label="flow", unit="m³/s", marked=1.0)
    figure.savefig(tmp_path / "picture.png", dpi=40)
    life, fits = threshold.mean_residual_life(x), threshold.parameter_stability(x)
    drawn = [ax.lines[0].get_ydata() for ax in figure.axes]
    for got, want in zip(drawn, (life.mean_excess, fits.xi, fits.modified_scale), strict=True):
        np.testing.assert_array_equal(got, want)
    assert all(ax.get_xlabel() == "threshold of flow [m³/s]" for ax in figure.axes)
    assert [ax.get_ylabel() for ax in figure.axes] == ["mean excess [m³/s]", "shape ξ", "modified scale σ* [m³/s]"]


def test_stability_without_standard_errors_has_no_band():
    result = threshold.parameter_stability(np.linspace(0.0, 1.0, 300))
    assert not plot.stability(result).collections


def test_ranking_says_what_is_above_beyond_and_unfitted(tmp_path):
    x = RNG.uniform(size=(300, 30))
    x[:, 7] = 1.0
    tail = fit_tail(x, quantile=0.9)
    query = np.full(30, 0.5)
    query[3], query[5] = 2.0, 0.98
    ax = plot.ranking(tail.rank(query, names=[f"unit {i}" for i in range(30)]), k=30)
    ax.figure.savefig(tmp_path / "picture.png", dpi=40)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[:2] == ["unit 3", "unit 5"]
    assert names[-1] == "unit 7"
    notes = {text.get_text() for text in ax.get_legend().get_texts()}
    assert notes == {"above the threshold", "at or below the threshold", "no fitted tail"}


def test_text_and_points_follow_a_dark_style():
    with style.context("dark_background"):
        ax = plot.quantile(fit_tail(SAMPLES["heavy"], quantile=0.9))
    assert ax.lines[-1].get_color() == "white"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.quantile(fit_tail(RNG.uniform(size=(99, 2)), quantile=0.9)), "one channel, got a tail of 2"),
        (
            lambda: plot.density(fit_tail([1.0, 1.0, 2.0, 2.0], threshold=1.0)),
            "be fitted, got CONSTANT, 2 excesses",
        ),
        (lambda: plot.quantile(fit_tail(SAMPLES["heavy"], quantile=0.9), level=1.0), "level must lie in"),
        (lambda: plot.return_level(fit_tail(SAMPLES["heavy"], quantile=0.9), band="bootstrap"), "band must be"),
        (lambda: plot.return_level(fit_tail(SAMPLES["heavy"], quantile=0.9), longest=5.0), "longest must be"),
        (lambda: plot.return_level(fit_tail(SAMPLES["heavy"], quantile=0.9), per=0.0), "per must be"),
        (lambda: plot.stability(threshold.parameter_stability(SAMPLES["heavy"]), parameter="sigma"), "parameter must"),
        (lambda: plot.stability(threshold.parameter_stability(SAMPLES["heavy"]), level=2.0), "level must lie in"),
        (lambda: plot.threshold_choice(SAMPLES["heavy"], side="both"), "side must be"),
        (lambda: plot.ranking(fit_tail(RNG.uniform(size=(99, 2)), quantile=0.9).rank([[1, 1], [1, 1]])), "one query"),
        (lambda: plot.ranking(fit_tail(RNG.uniform(size=(99, 2)), quantile=0.9).rank([1, 1]), k=0), "k must be"),
    ],
)
def test_what_cannot_be_drawn_says_why(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_never_imports_pyplot_and_names_the_extra_where_matplotlib_is_missing():
    code = """
import sys
from evtkit import fit_tail, plot
plot.diagnostics(fit_tail(range(1, 100), quantile=0.5))
assert "matplotlib.pyplot" not in sys.modules
for name in [n for n in sys.modules if n.startswith(("matplotlib", "evtkit.plot"))]:
    del sys.modules[name]
sys.modules["matplotlib"] = None
try:
    import evtkit.plot
except ImportError as error:
    assert "evtkit[plot]" in str(error), error
else:
    raise AssertionError("imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- streams -----------------------------------------------------------------------------------------------------------


def drawn(ax):
    """x and y of the lines of a picture that are drawn (not those of the legend)."""
    return [np.column_stack([line.get_xdata(), line.get_ydata()]) for line in ax.lines]


@pytest.mark.parametrize("side", ["upper", "lower", "both"])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_stream_has_its_levels_and_all_its_alarms(side, scale, tmp_path):
    x = scale * np.random.default_rng(3).standard_normal(1500)
    x[[800, 1200]] = 6.0 * scale, -6.0 * scale
    trace = Spot(1e-3, side=side).fit(x[:500]).trace(x[500:])
    ax = plot.stream(x[500:], trace, calibration=x[:500], label="flow", unit="m³/s")
    ax.figure.savefig(tmp_path / "picture.png", dpi=40)
    observed, *levels, alarms = drawn(ax)
    np.testing.assert_array_equal(observed, np.column_stack([np.arange(1500), x]))
    for level, want in zip(levels, trace.alarm_threshold.reshape(1000, -1).T, strict=True):
        gaps = np.where(np.isinf(want), np.nan, want)  # before the tenth excess
        np.testing.assert_array_equal(level, np.column_stack([np.arange(500, 1500), gaps]))
    places = 500 + np.flatnonzero(trace.label == ANOMALY)
    np.testing.assert_array_equal(alarms, np.column_stack([places, x[places]]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("observation", "flow [m³/s]")


def test_events_are_shaded_and_a_level_outside_the_picture_is_said():
    x = np.random.default_rng(5).standard_normal(3000)
    x[2000:2100] = 9.0
    spot, events = Spot(1e-3, side="both").fit(x[:1000]), Events(side="both")
    trace = spot.trace(x[1000:])
    told = events.feed(x[1000:], trace)
    ax = plot.stream(x[1000:], trace, events=told)
    spans = [patch.get_x() for patch in ax.patches]
    assert 1000 in spans
    assert len(spans) == len({event.id for event in told})
    assert not ax.texts
    far = replace(trace, alarm_threshold=trace.alarm_threshold * [1.0, 1e6])
    (text,) = plot.stream(x[1000:], far).texts
    assert "outside the picture" in text.get_text()


def test_a_long_stream_keeps_every_extreme():
    x = np.random.default_rng(3).standard_normal(200_000)
    x[[60_000, 60_001, 120_000]] = 9.0, 8.0, -30.0
    trace = Spot(1e-5, side="both").fit(x[:50_000]).trace(x[50_000:])
    observed, _, _, *alarms = drawn(plot.stream(x[50_000:], trace, calibration=x[:50_000]))
    assert len(observed) <= 2000
    for part in np.array_split(np.arange(200_000), 1000)[::50]:
        inside = observed[(observed[:, 0] >= part[0]) & (observed[:, 0] <= part[-1]), 1]
        assert (inside.min(), inside.max()) == (x[part].min(), x[part].max())
    assert sum(map(len, alarms)) == np.count_nonzero(trace.label == ANOMALY)


def test_what_is_not_known_is_a_gap_and_what_is_far_out_an_arrow(tmp_path):
    x = np.random.default_rng(3).standard_normal(1000)
    x[600:610], x[700], x[800] = np.nan, 1e6, np.inf
    trace = Spot(3e-3, min_excess=60, nonfinite="skip").fit(x[:500]).trace(x[500:])
    assert np.isinf(trace.alarm_threshold).any()
    ax = plot.stream(x[500:], trace, calibration=x[:500])
    ax.figure.savefig(tmp_path / "picture.png", dpi=40)
    observed, level, arrows, *_ = drawn(ax)
    assert np.isnan(observed[600:610, 1]).all()
    assert not np.isinf(level).any()
    np.testing.assert_array_equal(arrows[:, 0], [700, 800])
    assert ax.get_ylim()[1] < 20.0


def test_a_stream_of_dates_has_dates_along_it(tmp_path):
    x = np.random.default_rng(3).standard_normal(900)
    days = np.datetime64("2020-01-01") + np.arange(900)
    ax = plot.stream(x[500:], Spot(1e-3).fit(x[:500]).trace(x[500:]), calibration=x[:500], time=days)
    ax.figure.savefig(tmp_path / "picture.png", dpi=40)
    assert "2021" in {text.get_text() for text in ax.get_xticklabels()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros((400, 1))}, "one stream, shape"),
        ({"x": np.zeros(399)}, "of these 399 observations"),
        ({"time": np.arange(400)}, r"time must have shape \(900,\), got \(400,\)"),
    ],
)
def test_a_stream_that_does_not_fit_its_trace_is_refused(arguments, message):
    x = np.random.default_rng(3).standard_normal(900)
    trace = Spot(1e-3).fit(x[:500]).trace(x[500:])
    with pytest.raises(ValueError, match=message):
        plot.stream(**{"x": x[500:], "trace": trace, "calibration": x[:500]} | arguments)


def test_an_l_moment_diagram_has_a_point_a_channel_and_the_curves_of_families():
    from evtkit import gev

    x = gev.rvs(0.1, 0.0, 1.0, size=(80, 12), rng=1)
    ax = plot.l_moment_ratios(x)
    by_label = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(by_label["samples"].get_xydata().T, gev.l_moments(x)[2:])
    np.testing.assert_allclose(by_label["their mean"].get_xydata()[0], gev.l_moments(x)[2:].mean(axis=1))
    assert {"generalised extreme-value", "generalised Pareto", "generalised logistic"} <= set(by_label)
    with pytest.raises(ValueError, match="at least four values"):
        plot.l_moment_ratios([1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_pictures_take_the_dates_of_pandas_and_polars_as_the_clock_shows_them(zone):
    index = pd.date_range("2021-03-12", periods=1200, freq="h", tz=zone)
    x = pd.Series(RNG.standard_exponential(1200), index=index)
    spot = Spot(1e-3).fit(x[:400])
    trace = spot.trace(x[400:])
    clock = mpl.dates.date2num(index.tz_localize(None).to_numpy())
    times = pl.Series((index if zone is None else index.tz_convert("UTC").tz_localize(None)).to_numpy())
    if zone is not None:
        times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    pictures = [
        plot.stream(x[400:], trace, calibration=x[:400], time=index),
        plot.stream(x[400:], trace, calibration=x[:400], time=times),
        plot.series(x, 4.0),
        plot.series(pl.DataFrame({"t": times, "x": x.to_numpy()}), 4.0),
    ]
    for ax in pictures:
        ax.figure.draw_without_rendering()
        assert ax.get_xlim() == pytest.approx((clock[0], clock[-1]))
    alone = plot.stream(x[400:], trace)
    assert alone.get_xlim() == pytest.approx((clock[400], clock[-1]))


def test_return_levels_of_a_dated_tail_are_drawn_in_years():
    days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]")
    tail = fit_tail(RNG.standard_exponential(days.size), quantile=0.9, time=days)
    by_default, by_hand = plot.return_level(tail), plot.return_level(tail, per=365.25, period_unit="years")
    assert by_default.get_xlabel() == by_hand.get_xlabel() == "return period [years]"
    assert by_default.get_xlim() == by_hand.get_xlim()
    assert plot.return_level(tail, per="month").get_xlabel() == "return period [months]"


def test_a_series_leaves_a_hole_where_it_has_one_and_marks_what_is_beyond():
    days = np.arange("1990-01-01", "1992-01-01", dtype="datetime64[D]")
    there = np.r_[:200, 400 : days.size]
    x = RNG.standard_exponential(days.size)
    ax = plot.series(x[there], 2.0, time=days[there], label="rain", unit="mm")
    line, _, marks = ax.get_lines()
    assert np.count_nonzero(np.isnan(line.get_ydata())) == 1
    assert len(marks.get_xdata()) == np.count_nonzero(x[there] > 2.0)
    assert len(ax.patches) == 1


def test_counts_hold_what_chance_brings():
    ax = plot.counts([10.0, 10.0], [9, 30], ["Jan", "Feb"])
    band = ax.patches[-2].get_data()
    assert (band.baseline[0], band.values[0]) == (3.5, 17.5)  # Poisson(10) lies in 4 … 17 with 95 %


@pytest.mark.parametrize("name", ["$", "$x_1^2", r"a\$b$", r"\frac{$", "_hidden", "\x1b[31m"])
def test_names_are_shown_as_they_are(name):
    sample, x = SAMPLES["exponential"], np.arange(60.0) % 7
    tail = fit_tail(sample, quantile=0.9)
    trace = Spot(risk=1e-2).fit(np.random.default_rng(0).exponential(size=500)).trace(x)
    ranked = fit_tail(np.c_[sample, sample], quantile=0.9).rank([1.0, 2.0], names=[name, "other"])
    label = {"label": name, "unit": name}
    figures = [
        plot.diagnostics(tail, **label, period_unit=name), plot.threshold_choice(sample, **label),
        plot.stream(x, trace, **label, time=np.arange(60), time_label=name).figure, plot.ranking(ranked).figure,
        plot.unit_depth(_units(name)).figure, plot.repair_curves(_repairs(name)),
    ]  # fmt: skip
    shown = name.replace("\x1b", r"\x1b")
    for figure in figures:
        figure.savefig(io.BytesIO(), format="svg")
        drawn = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text)]
        assert any(shown in content for content, is_math in drawn if not is_math)


class _units(list):  # noqa: N801 - what `unit_depth` needs of a ranking
    def __init__(self, name):
        super().__init__(range(4))
        self.units, self.stage, self.by, self.n_samples = self, np.array([name, name, "b", "b"]), name, 1
        self.order, self.score = np.arange(4), -np.arange(4.0)

    def top(self, k):
        return self.order[:k]


def _repairs(name):
    summary = {"repair": np.array(["prune"] * 4), "by": np.array([name, name, "b", "b"]), "k": np.array([1, 2, 1, 2])}
    for metric in ("wrong", "true", "corrected", "collateral"):
        summary |= {f"{metric}{end}": np.arange(4.0) for end in ("", "_low", "_high")}
    return SimpleNamespace(by=(name, "b"), curves={"prune": None}, means=summary)


# -- laws with covariates, and the evidence for a threshold ------------------------------------------------------------


@pytest.fixture(scope="module")
def rising():
    t = np.linspace(0.0, 1.0, 400)
    return t, covariates.fit_gpd(gpd.rvs(0.1, np.exp(t), size=400, rng=4), sigma=t)


def test_residuals_lie_on_the_line_and_in_their_band(rising, tmp_path):
    t, fit = rising
    ax = plot.residual_quantile(fit)
    (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
    assert sorted(dots.get_ydata()) == pytest.approx(np.sort(fit.residuals()))
    low, high = np.sort(ax.collections[0].get_paths()[0].vertices[:, 1])[[0, -1]]
    assert low >= 0.0
    assert high > np.max(dots.get_xdata())
    ax.figure.savefig(tmp_path / "residuals.png", dpi=40)
    wrong = covariates.fit_gpd(fit.y[:, 0])
    trace = plot.residuals(wrong, t, label="year")
    medians = [line.get_ydata() for line in trace.lines if len(line.get_xdata()) == 10]
    assert medians[1][-3:].mean() > medians[1][:3].mean()  # what the model left out shows


def test_effective_levels_are_those_of_the_fit(rising):
    t, fit = rising
    ax = plot.effective_levels(fit, t, p=(0.1, 0.01), label="year", value="flow", unit="m³/s")
    assert ax.lines[1].get_ydata() == pytest.approx(fit.isf(0.01))
    assert ax.get_ylabel() == "flow [m³/s]"


@pytest.mark.parametrize("method", threshold.METHODS)
def test_the_evidence_for_a_threshold_is_drawn(method, tmp_path):
    choice = threshold.suggest_threshold(SAMPLES["heavy"], [0.5, 1.0, 2.0, 4.0], method=method)
    ax = plot.threshold_evidence(choice, label="flow", unit="m³/s")
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == choice.statistic.size]
    assert any(np.array_equal(line, choice.statistic) for line in drawn)
    ax.figure.savefig(tmp_path / "evidence.png", dpi=40)


def test_pictures_of_several_responses_are_refused(rising):
    _, fit = rising
    many = covariates.fit_gpd(np.column_stack([fit.y, fit.y]))
    with pytest.raises(ValueError, match="of one response, got 2"):
        plot.residual_quantile(many)
    with pytest.raises(ValueError, match="a value a residual"):
        plot.residuals(fit, [1.0, 2.0])
