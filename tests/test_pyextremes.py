"""What pyextremes' own tests state, beside pyextremes, on a record like theirs: hourly levels with holes.

It takes a record of its own: theirs is not ours to copy. Skipped where pyextremes is not installed; the extra `bench`
brings it.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from evtkit import fit_gpd, gev, gpd
from evtkit.dated import block_maxima
from evtkit.dependence import decluster
from evtkit.intervals import exponential_test

pd = pytest.importorskip("pandas", reason="pandas is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pyextremes = pytest.importorskip("pyextremes", reason="pyextremes is not installed")
    from pyextremes.extremes import get_return_periods

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # theirs
YEAR = "365.2425D"


@pytest.fixture(scope="module")
def record() -> pd.Series:
    """Six-hourly levels of thirty years with surges, two years and some months missing, from a midnight on."""
    rng = np.random.default_rng(0)
    time = pd.date_range("1970-03-01", "2000-06-01", freq="6h")
    tide = 0.6 * np.sin(2.0 * np.pi * np.arange(time.size) / 59.0)
    surge = np.convolve(rng.standard_exponential(time.size), 0.6 ** np.arange(12), mode="same")
    series = pd.Series(tide + 0.2 * surge, index=time, name="level")
    lost = (series.index.year.isin([1975, 1976])) | ((series.index.year == 1983) & (series.index.month > 8))
    return series[~lost]


@pytest.mark.parametrize(("kind", "side"), [("high", "upper"), ("low", "lower")])
def test_block_maxima(record: pd.Series, kind: str, side: str) -> None:
    theirs = pyextremes.get_extremes(record, "BM", kind, block_size=YEAR, errors="ignore")
    ours = block_maxima(record, YEAR, complete=0.0, side=side)
    assert len(ours) == 30
    np.testing.assert_array_equal(ours.value, theirs.to_numpy())
    np.testing.assert_array_equal(ours.time, theirs.index.to_numpy().astype("M8[us]"))


@pytest.mark.parametrize("span", ["24h", "72h", "7d"])
@pytest.mark.parametrize(("kind", "sign", "level"), [("high", 1.0, 1.6), ("low", -1.0, -0.1)])
def test_peaks_are_declustered_by_a_span_of_time(
    record: pd.Series, span: str, kind: str, sign: float, level: float
) -> None:
    theirs = pyextremes.get_extremes(record, "POT", kind, threshold=level, r=span)
    ours = decluster(sign * record, sign * level, span=span)
    assert len(ours) > 20
    np.testing.assert_array_equal(sign * ours.peak_value, theirs.to_numpy())
    np.testing.assert_array_equal(ours.time, theirs.index.to_numpy().astype("M8[us]"))
    assert np.all(np.diff(ours.time) > pd.to_timedelta(span).to_numpy())


def test_a_day_of_hours_is_one_cluster() -> None:
    index = pd.date_range("2021-01-01", "2021-01-02", freq="1h")
    day = pd.Series(np.random.default_rng(0).random(len(index)), index=index)
    found = decluster(day, day.min() - 1.0, span="24h")
    assert found.peak_value.tolist() == [day.max()]
    assert len(decluster(day, 2.0, span="24h")) == 0


@pytest.mark.parametrize("method", ["BM", "POT"])
def test_rate_of_events(record: pd.Series, method: str) -> None:
    """The largest has a period of n + 1 blocks, or of n + 1 events at their rate (Weibull's plotting position)."""
    kwargs = {"block_size": YEAR, "errors": "ignore"} if method == "BM" else {"threshold": 1.6, "r": "48h"}
    theirs = pyextremes.get_extremes(record, method, "high", **kwargs)
    periods = get_return_periods(
        record, theirs, method, "high", block_size=YEAR if method == "BM" else None, return_period_size=YEAR
    )["return period"]
    if method == "BM":
        assert periods.max() == len(block_maxima(record, YEAR, complete=0.0)) + 1
    else:
        ours = decluster(record, 1.6, span="48h")
        there = len(record) / 4.0 / 365.2425  # they count the years that are missing
        span = (record.index[-1] - record.index[0]) / pd.Timedelta(YEAR)
        assert periods.max() * there / span == pytest.approx((len(ours) + 1) / ours.per_year, rel=1e-3)


@pytest.mark.parametrize(("law", "method"), [("genextreme", "mle"), ("gumbel_r", "gumbel"), ("genextreme", "lmoments")])
@pytest.mark.parametrize("xi", [-0.2, 0.0, 0.2])
def test_block_maxima_are_fitted(law: str, method: str, xi: float) -> None:
    if method == "lmoments":
        pytest.importorskip("lmoments3", reason="lmoments3 is not installed")
    x = gev.rvs(xi, 10.0, 2.0, size=1000, rng=1)
    extremes = pd.Series(x, index=pd.date_range("2000-01-01", periods=1000, freq="1h"))
    model = pyextremes.get_model("Lmoments" if method == "lmoments" else "MLE", extremes, law)
    found, known = gev.fit_gev(x, method=method), model.fit_parameters
    assert found.mu == pytest.approx(known["loc"], rel=1e-3)
    assert found.sigma == pytest.approx(known["scale"], rel=1e-3)
    assert found.xi == pytest.approx(-known.get("c", 0.0), abs=1e-3)
    assert found.loglik >= model.loglikelihood - (0.05 if method == "lmoments" else 1e-6)
    assert found.return_level(10.0) == pytest.approx(model.get_return_value(0.1)[0], rel=1e-3)
    if method != "lmoments":
        k = 2 if law == "gumbel_r" else 3
        assert found.aic + 2 * k * (k + 1) / (1000 - k - 1) == pytest.approx(model.AIC, abs=0.01)


@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.5])
def test_excesses_are_fitted(xi: float) -> None:
    y = gpd.rvs(xi, 2.0, size=100, rng=2)
    extremes = pd.Series(5.0 + y, index=pd.date_range("2000-01-01", periods=100, freq="1h"))
    whole = pyextremes.get_model("MLE", extremes, "genpareto", {"floc": 5.0})
    found = fit_gpd(y)
    assert found.xi == pytest.approx(whole.fit_parameters["c"], abs=1e-3)
    assert found.sigma == pytest.approx(whole.fit_parameters["scale"], rel=1e-3)
    assert found.loglik >= whole.loglikelihood - 1e-6
    part = pyextremes.get_model("MLE", extremes, "expon", {"floc": 5.0})
    test = exponential_test(y)
    assert test.statistic == pytest.approx(2.0 * (whole.loglikelihood - part.loglikelihood), abs=1e-3)
