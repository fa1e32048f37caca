"""Data frames and series, of pandas and of polars: the numbers of the array, and results that look like the input."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

from evtkit import Tail, TailSketch, dependence, fit_gpd, fit_tail, gev, gpd, threshold
from evtkit._common.frames import frame_labels, like, unlabelled

X = np.random.default_rng(0).standard_t(4, size=(400, 3))
NAMES = ["north", "south", "west"]


def pandas_frame(x: np.ndarray = X) -> pd.DataFrame:
    return pd.DataFrame(x, columns=NAMES, index=pd.date_range("2020-01-01", periods=len(x), freq="h"))


def polars_frame(x: np.ndarray = X) -> pl.DataFrame:
    return pl.DataFrame({name: x[:, i] for i, name in enumerate(NAMES)})


both = pytest.mark.parametrize("frame", [pandas_frame, polars_frame])


def assert_like(result, given, values) -> None:
    """A result has the numbers, and all else of what was given."""
    if isinstance(given, pd.DataFrame):
        pd.testing.assert_frame_equal(result, pd.DataFrame(values, index=given.index, columns=given.columns))
    elif isinstance(given, pd.Series):
        pd.testing.assert_series_equal(result, pd.Series(values, index=given.index, name=given.name))
    elif isinstance(given, pl.DataFrame):
        assert isinstance(result, pl.DataFrame)
        assert result.columns == given.columns
        assert np.array_equal(result.to_numpy(), values)
    else:
        assert isinstance(result, pl.Series)
        assert result.name == given.name
        assert np.array_equal(result.to_numpy(), values)


@both
def test_a_tail_takes_the_names_of_columns_and_nothing_else(frame):
    tail, plain = fit_tail(frame(), quantile=0.9), fit_tail(X, quantile=0.9)
    assert tail.names.tolist() == NAMES
    assert plain.names is None
    assert np.array_equal(tail.xi, plain.xi)
    assert "north, south, west" in repr(tail)


@both
def test_what_is_not_finite_is_said_by_the_name_of_its_column(frame):
    x = X.copy()
    x[7, 1] = np.nan
    with pytest.raises(ValueError, match="got nan in row 7 of channel 'south'; missing="):
        fit_tail(frame(x))


@both
@pytest.mark.parametrize("method", ["sf", "logsf", "isf", "return_level"])
def test_frames_in_frames_out(frame, method):
    tail, plain = fit_tail(frame(), quantile=0.9), fit_tail(X, quantile=0.9)
    given = {"sf": X, "logsf": X, "isf": np.full((2, 3), 1e-3), "return_level": np.full((2, 3), 1e3)}[method]
    assert_like(getattr(tail, method)(frame(given)), frame(given), getattr(plain, method)(given))
    assert isinstance(getattr(tail, method)(given), np.ndarray)


@both
@pytest.mark.parametrize("method", ["sf", "isf", "return_level"])
def test_series_in_series_out(frame, method):
    column = frame()["south"]
    tail = fit_tail(column, quantile=0.9)
    assert repr(tail).startswith("Tail(south > ")
    given = {"sf": column, "isf": 0.001 + 0 * column**2, "return_level": 1000.0 + 0 * column**2}[method]
    plain = getattr(fit_tail(X[:, 1], quantile=0.9), method)(np.asarray(given))
    assert_like(getattr(tail, method)(given), given, plain)


def test_a_row_is_matched_by_its_index():
    tail = fit_tail(pandas_frame(), quantile=0.9)
    row = pandas_frame().iloc[7]
    assert_like(tail.sf(row), row, tail.sf(X[7]))
    assert np.array_equal(tail.rank(row).order, tail.rank(X[7]).order)
    with pytest.raises(ValueError, match="another order, 'west', 'south', 'north'; wanted 'north'"):
        tail.sf(row[::-1])


@both
def test_rankings_have_the_names(frame):
    tail = fit_tail(frame(), quantile=0.9)
    assert tail.rank(X[0]).names.tolist() == NAMES
    assert tail.rank(frame()).order.shape == (400, 3)
    assert tail.rank(X[0], names=["a", "b", "c"]).names.tolist() == ["a", "b", "c"]


@both
def test_channels_are_found_by_name(frame):
    tail = fit_tail(frame(), quantile=0.9)
    assert tail["west"].xi == tail.xi[2]
    assert tail[1].names == "south"
    picked = tail[["west", "north"]]
    assert picked.names.tolist() == ["west", "north"]
    assert np.array_equal(picked.sf(X[:, [2, 0]]), tail.sf(X)[:, [2, 0]])
    with pytest.raises(ValueError, match="no channel 'east'; there is 'north'"):
        tail["east"]
    with pytest.raises(ValueError, match="none with a name"):
        fit_tail(X, quantile=0.9)["east"]


@both
def test_names_are_saved(frame, tmp_path):
    for data in (frame(), frame()["south"]):
        tail = fit_tail(data, quantile=0.9)
        tail.save(tmp_path / "tail.npz")
        assert np.array_equal(Tail.load(tmp_path / "tail.npz").names, tail.names)


@both
def test_sketches_know_the_names_of_their_first_frame(frame, tmp_path):
    sketch, other = TailSketch(3, 50), TailSketch(3, 50)
    sketch.update(X[:100])
    sketch.update(frame(X[100:200]))
    sketch.save(tmp_path / "sketch.npz")
    sketch = TailSketch.load(tmp_path / "sketch.npz")
    with pytest.raises(ValueError, match="another order"):
        sketch.update(frame().select(NAMES[::-1]) if frame is polars_frame else frame()[NAMES[::-1]])
    assert np.all(sketch.count == 200)
    other.update(X[200:])
    other.merge(sketch)
    assert other.fit(n_excess=40).names.tolist() == NAMES
    assert np.array_equal(other.fit(n_excess=40).xi, fit_tail(X, n_excess=40).xi)


@both
def test_every_module_takes_series(frame):
    column, x = frame()["north"], X[:, 0]
    assert np.array_equal(fit_gpd(column**2).xi, fit_gpd(x**2).xi)
    assert np.array_equal(fit_gpd(frame(X**2)).xi, fit_gpd(X**2).xi)
    assert threshold.suggest_threshold(column).threshold == threshold.suggest_threshold(x).threshold
    assert np.array_equal(threshold.mean_residual_life(column).mean_excess, threshold.mean_residual_life(x).mean_excess)
    assert np.array_equal(dependence.extremal_index(frame(), 1.0), dependence.extremal_index(X, 1.0))
    assert np.array_equal(dependence.decluster(column, 1.0).peak, dependence.decluster(x, 1.0).peak)
    assert gev.fit_gev(column[:40]).xi == gev.fit_gev(x[:40]).xi


@both
@pytest.mark.parametrize("name", ["logpdf", "pdf", "cdf", "sf", "logsf"])
def test_distributions_keep_the_index(frame, name):
    for data in (frame(), frame()["west"]):
        x = np.asarray(unlabelled(data, "x"))
        assert_like(getattr(gpd, name)(data, 0.1, 1.0), data, getattr(gpd, name)(x, 0.1, 1.0))
        assert_like(getattr(gev, name)(x=data, xi=0.1, mu=0.0, sigma=1.0), data, getattr(gev, name)(x, 0.1, 0.0, 1.0))


def test_thresholds_are_matched_by_name():
    levels = pandas_frame().quantile(0.9)
    assert np.array_equal(fit_tail(pandas_frame(), threshold=levels).threshold, levels.to_numpy())
    with pytest.raises(ValueError, match="threshold has the channels in another order"):
        fit_tail(pandas_frame(), threshold=levels[::-1])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, 3, 4, 5], dtype="Int64"), pd.Series([1, 2, 3, 4, 5], dtype="int8"),
        pd.Series([1, 2, 3, 4, 5], dtype="Float64"), pd.Series([1, 2, 3, 4, 5], dtype="float32"),
        pl.Series([1, 2, 3, 4, 5]), pl.Series([1, 2, 3, 4, 5], dtype=pl.Float32),
        pl.Series([1, 2, 3, 4, 5], dtype=pl.UInt8),
    ],
)  # fmt: skip
def test_every_kind_of_number_is_taken(column):
    tail = fit_tail(column, n_excess=3, resolution=0)
    assert tail.excesses.tolist() == [1.0, 2.0, 3.0]
    assert fit_tail(column, n_excess=3).resolution == 1.0
    assert tail.names is None
    assert (unlabelled(column, "x").dtype == np.float32) == (str(column.dtype).lower() == "float32")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.Series([1, None, 3], dtype="Int64"), r"x has missing values \(1\)"),
        (pd.DataFrame({"a": [1.0, 2], "b": pd.array([None, None], "Float64")}), r"column 'b' of x has missing .*\(2\)"),
        (pl.DataFrame({"a": [1.0, None]}), r"column 'a' of x has missing values \(1\)"),
        (pl.Series("a", [1, None]), r"x has missing values \(1\)"),
        (pd.Series([1.0, np.nan, 3.0]), "x must be finite, got nan"),
        (pd.DataFrame({"a": [1.0, 2.0], "day": ["Mon", "Tue"]}), "'day' of x must be real numbers, got (str|object)"),
        (pd.DataFrame({"a": pd.date_range("2020", periods=2)}), "column 'a' of x must be real numbers, got datetime"),
        (pd.Series([True, False]), "x must be real numbers, got bool"),
        (pd.Series([True, False], dtype="boolean"), "x must be real numbers, got boolean"),
        (pl.DataFrame({"day": ["Mon", "Tue"]}), "column 'day' of x must be real numbers, got String"),
        (pl.Series([True, False]), "x must be real numbers, got Boolean"),
        (pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "a"]), "several columns of the name 'a'"),
        (pd.DataFrame(), r"not be empty, got shape \(0, 0\)"),
        (pd.DataFrame(columns=["a"], dtype=float), r"not be empty, got shape \(0, 1\)"),
        (pl.DataFrame(), r"not be empty, got shape \(0, 0\)"),
        (pl.Series([], dtype=pl.Float64), r"not be empty, got shape \(0,\)"),
    ],
)
def test_bad_frames_say_what_was_got_and_wanted(data, message):
    with pytest.raises(ValueError, match=message):
        fit_tail(data, n_excess=1)


@both
def test_names_that_differ_are_refused(frame):
    tail = fit_tail(frame(), quantile=0.9)
    one = fit_tail(frame()["north"], quantile=0.9)
    renamed = frame().rename(columns={"west": "east"}) if frame is pandas_frame else frame().rename({"west": "east"})
    for call in (tail.sf, tail.rank, tail.isf, tail.return_level):
        with pytest.raises(ValueError, match="has unknown 'east' and lacks 'west'; the channels are 'north', 'south'"):
            call(renamed)
    assert_like(one.sf(renamed), renamed, one.sf(X))  # one channel scores anything


def test_labels_are_only_of_frames():
    for other in (X, [1.0, 2.0], 3.0, None, "text", {"a": 1}):
        assert frame_labels(other) is None
        assert unlabelled(other, "x") is other
        assert like(other, X) is X


def test_no_library_is_imported_for_the_sake_of_arguments():
    code = (
        "import sys, evtkit; evtkit.fit_tail([1.0, 2.0, 3.0], n_excess=2).sf([2.0]);"
        "print({'pandas', 'polars', 'sklearn', 'pyod'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@both
def test_plug_in_probabilities_keep_the_index(frame):
    tail = fit_tail(frame(), quantile=0.9)
    assert_like(tail.sf(frame(), law="plug-in"), frame(), tail.sf(X, law="plug-in"))
    with pytest.raises(ValueError, match="another order"):
        tail.sf(frame()[NAMES[::-1]], law="plug-in")
