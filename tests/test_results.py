"""Every result shows itself: as text, as a data frame, in a notebook; and names survive."""

from __future__ import annotations

import dataclasses
import importlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import polars as pl
import pytest

from evtkit import Spot, Tail, covariates, fit_gpd, fit_tail, gev, threshold
from evtkit._common.results import Result
from evtkit.dated import Dates, block_maxima
from evtkit.dependence import (
    choose_k_gaps,
    decluster,
    extremal_index_interval,
    fit_k_gaps,
    tail_dependence,
)
from evtkit.families import compare_families
from evtkit.intervals import exponential_test
from evtkit.reports import steadiness

X = np.random.default_rng(0).standard_exponential((600, 3))
DAYS = np.arange("2001-01-01", "2002-08-24", dtype="datetime64[D]")
NAMES = ["<north>", "south", "west"]
FRAME = pd.DataFrame(X, columns=NAMES, index=DAYS)
TAIL = fit_tail(FRAME, quantile=0.9)
RESULTS = {
    "tail": TAIL,
    "one tail": TAIL[0],
    "fit": fit_gpd(X),
    "fit of one": fit_gpd(X[:, 0]),
    "interval": TAIL.return_level(1000, interval=0.9),
    "shape": TAIL.xi_interval(),
    "test": TAIL.goodness_of_fit(),
    "ranking": TAIL.rank(X[0]),
    "rankings": TAIL.rank(X[:2]),
    "gev": gev.fit_gev(X[:60]),
    "life": threshold.mean_residual_life(X[:, 0]),
    "stability": threshold.parameter_stability(X[:, 0]),
    "choice": threshold.suggest_threshold(X[:, 0]),
    "clusters": decluster(FRAME, 2.0, span="48h", column="south"),
    "blocks": block_maxima(FRAME["south"], "MS"),
    "families": compare_families(TAIL.excesses),
    "trace": Spot(1e-3).fit(FRAME[:300]).trace(FRAME[300:]),
    "regression": covariates.fit_gpd(X[:, 0], sigma=X[:, 1]),
    "regressions": covariates.fit_gpd(X[:, :2], sigma=X[:, 2]),
    "covariate tail": covariates.fit_tail(X[:, 0], sigma=X[:, 1]),
    "levels": TAIL.return_level([1000, 2000], interval=0.9),
    "levels of blocks": gev.fit_gev(X[:60, 0]).return_level([10, 100], interval=0.9),
    "k-gaps": fit_k_gaps(X, 2.0),
    "k-gaps over thresholds": choose_k_gaps(X[:, 0], [1.0, 2.0], k=(1, 2, 3)),
    "pairs": tail_dependence(X[:, 0], X[:, 1]),
    "index": extremal_index_interval(X, 2.0, n_boot=50),
    "exponential": exponential_test(X[:, 0]),
    "dates": Dates(np.delete(DAYS, slice(20, 30)).astype("M8[us]")),
    "steadiness": steadiness(X[:, 0] > 3.0, X[:, 0] > 0.0, X[:, 0]),
}
ROWS = {
    "levels": 6,
    "levels of blocks": 2,
    "k-gaps over thresholds": 6,
    "dates": 1,
    "tail": 3,
    "one tail": 1,
    "fit": 3,
    "fit of one": 1,
    "rankings": 6,
    "trace": 900,
    "families": 5,
}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_a_frame_a_text_and_a_page(name):
    result = RESULTS[name]
    frames = result.to_frame("pandas"), result.to_frame("polars")
    assert isinstance(frames[0], pd.DataFrame)
    assert isinstance(frames[1], pl.DataFrame)
    assert list(frames[0].columns) == frames[1].columns
    assert len(frames[0]) == len(frames[1]) == ROWS.get(name, len(frames[0])) > 0
    text, page = result.summary(), Tags()
    if type(result).summary is Result.summary:
        assert all(str(column) in text for column in frames[0].columns)
    assert text
    page.feed(result._repr_html_())
    assert not page.open
    assert page.seen.count("tr") == 1 + min(20, len(frames[0]))
    assert "array(" not in repr(result) + text + result._repr_html_()
    assert len(repr(result)) < 2000  # a line, and the first rows where they say what it is


def test_every_public_result_has_the_one_mechanism():
    values = {  # what is no outcome of a computation over many, or holds others that are
        "Dates", "Event", "LawResult", "Reference", "Units", "Coverage", "LeftOut", "RepairCurves", "Channels",
        "Design",
    }  # fmt: skip
    modules = (
        "evtkit", "evtkit.covariates", "evtkit.dated", "evtkit.dependence", "evtkit.families", "evtkit.gev",
        "evtkit.gof",
        "evtkit.intervals", "evtkit.reports", "evtkit.saliency", "evtkit.spot", "evtkit.testing", "evtkit.threshold",
    )  # fmt: skip
    for module in map(importlib.import_module, modules):
        for name in module.__all__:
            if name not in values and dataclasses.is_dataclass(getattr(module, name)):
                assert issubclass(getattr(module, name), Result), name


def test_a_frame_has_the_numbers_of_the_result():
    frame = TAIL.to_frame("pandas")
    assert frame["channel"].tolist() == NAMES
    assert np.array_equal(frame["xi"], TAIL.xi)
    assert np.array_equal(RESULTS["interval"].to_frame("polars")["upper"], RESULTS["interval"].upper)
    ranking = RESULTS["ranking"]
    assert ranking.to_frame("pandas")["channel"].tolist() == ranking.names[ranking.order].tolist()
    trace = RESULTS["trace"]
    assert np.array_equal(trace.to_frame("pandas")["alarm_threshold"], trace.alarm_threshold.ravel())
    with pytest.raises(ValueError, match="'pandas' or 'polars', got 'excel'"):
        TAIL.to_frame("excel")


def test_names_are_no_markup_and_notes_are_shown():
    page = TAIL._repr_html_()
    assert "&lt;north&gt;" in page
    assert "<north>" not in page
    few = fit_tail(X[:, 0], n_excess=8)
    assert "8 excesses only" in few.summary()
    assert "8 excesses only" in few._repr_html_()
    assert "… 880 more" in RESULTS["trace"].summary()


def test_one_number_a_channel_comes_with_the_names(tmp_path):
    for call in (lambda tail: tail.return_level(1000), lambda tail: tail.isf(1e-3)):
        plain = call(fit_tail(X, quantile=0.9))
        named = call(TAIL)
        pd.testing.assert_series_equal(named, pd.Series(plain, index=NAMES))
        row = call(fit_tail(pl.DataFrame(X, schema=NAMES), quantile=0.9))
        assert row.columns == NAMES
        assert row.row(0) == tuple(plain)
    TAIL.save(tmp_path / "tail.npz")
    pd.testing.assert_series_equal(Tail.load(tmp_path / "tail.npz").isf(1e-3), TAIL.isf(1e-3))
    assert RESULTS["interval"].names.tolist() == NAMES


def test_the_first_are_had_by_name():
    ranking = TAIL.rank(X[0])
    assert ranking.top(2, by_name=True).tolist() == [NAMES[i] for i in ranking.top(2)]
    with pytest.raises(ValueError, match="no names"):
        fit_tail(X, quantile=0.9).rank(X[0]).top(2, by_name=True)


def test_limits_of_several_quantities_say_which_row_is_of_which():
    levels = TAIL.return_level([1000, 2000], interval=0.9).to_frame("pandas")
    assert list(levels.columns)[:3] == ["channel", "period", "estimate"]
    assert levels["period"].tolist() == [1000.0] * 3 + [2000.0] * 3
    assert levels["channel"].tolist() == NAMES * 2
    beyond = TAIL[0].sf_interval([6.0, 7.0]).to_frame("pandas")
    assert beyond["x"].tolist() == [6.0, 7.0]
    assert TAIL.expected_shortfall(0.01, interval=0.9).to_frame("pandas")["p"].tolist() == [0.01] * 3
    errors = gev.fit_gev(X[:60]).to_frame("pandas")
    assert list(errors.columns)[:4] == ["xi", "se_xi", "mu", "se_mu"]
