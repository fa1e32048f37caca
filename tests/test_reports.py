"""The report of a series: self-contained, the same every time, and no note is left out."""

from __future__ import annotations

import hashlib
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from evtkit import fit_tail
from evtkit.cli import main
from evtkit.dated import Dates
from evtkit.dependence import decluster, extremal_index
from evtkit.reports import report, steadiness

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

DAYS = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]")
X = np.random.default_rng(0).standard_exponential(DAYS.size)


LACKING = X.copy()
LACKING[5:8] = np.nan
THERE = np.r_[:1000, 1200 : X.size]
OPTIONS = {"threshold": 4.0, "span": "48h", "unit": "<mm>", "label": "rain", "periods": [10, 100]}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    series = pd.Series(LACKING, index=pd.DatetimeIndex(DAYS), name="rain").iloc[THERE]
    path = tmp_path_factory.mktemp("report") / "rain.html"
    return report(path, series, **OPTIONS, notes=["A <script>remark</script>."], command="as it was").read_text()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_self_contained_and_well_formed(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert len(tags.sources) == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in tags.sources)
    assert not {"script", "link", "iframe", "object"} & set(tags.seen)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "&lt;mm&gt;" in page


def test_the_page_says_what_there_is_and_what_is_wrong(page):
    for words in (
        "200 observations are absent from the dates", "3 of 3,452 values are missing", "events, the peaks of clusters",
        "365.25 a year", "Anderson–Darling", "Extremal index", "100 years", "once in", "predictive level",
        "A &lt;script&gt;remark", "Signature", "as it was",
    ):  # fmt: skip
        assert words in page, words


def test_levels_stand_beside_those_of_events_and_by_every_method(tmp_path):
    z = np.random.default_rng(0).standard_exponential(DAYS.size + 2)
    x = pd.Series(np.maximum.reduce([z[2:], z[1:-1], z[:-2]]), index=pd.DatetimeIndex(DAYS, tz="Europe/Berlin"))
    tail = fit_tail(x, threshold=4.0)
    theta = extremal_index(x.to_numpy(), 4.0)
    page = report(tmp_path / "a.html", x, threshold=4.0, periods=[50, 100]).read_text()
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    found = [row[1:] for row in rows if row and row[0] == "100 years"]
    levels = tail.return_level(100, per="year", interval=0.95)
    events = tail.return_level(100, per="year", interval=0.95, extremal_index=theta)
    delta = tail.return_level(100, per="year", interval=0.95, method="delta")

    def said(z):
        return f"{z.estimate:.5g}", f"{z.lower:.5g} to {z.upper:.5g}"

    assert found == [[*said(levels), f"{tail.isf(1 / 36525):.5g}"], [*said(events)], [said(levels)[1], said(delta)[1]]]
    assert f"θ = {theta:.2f} (95 %: " in page
    declustered = report(tmp_path / "b.html", -x, threshold=-4.0, side="lower", span="72h", periods=[100]).read_text()
    assert "level of events" not in declustered
    peaks = fit_tail(decluster(x, 4.0, span="72h")).return_level(100, per="year", interval=0.95)
    assert f"−{peaks.upper:.5g} to −{peaks.lower:.5g}" in declustered


def test_the_same_data_make_the_same_page_and_its_hash_is_theirs(page, tmp_path):
    x, days = LACKING[THERE], DAYS[THERE]
    notes = ["A <script>remark</script>."]
    again = report(tmp_path / "a.html", x, time=days, **OPTIONS, notes=notes, command="as it was").read_text()
    assert again == page
    digest = hashlib.sha256(x.astype("<f8").tobytes() + days.astype("M8[us]").astype("<i8").tobytes()).hexdigest()
    assert digest in page


def test_the_command_is_the_call_and_says_how_to_repeat_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"day": DAYS, "rain": X}).to_csv("rain.csv", index=False)
    words = ["report", "rain.csv", "-c", "rain", "--threshold", "4", "--season", "DJF", "-m", "50", "--unit", "mm"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "rain-rain.html").read_text()
    again = shlex.split(re.search(r"<pre>(evtkit report .*)</pre>", page)[1])
    long = {"-c": "--column", "-m": "--return-period"}
    given = {(long.get(words[i], words[i]), words[i + 1]) for i in range(2, len(words), 2)}
    assert again[:3] == ["evtkit", "report", "rain.csv"]
    assert set(zip(again[3::2], again[4::2], strict=True)) == given
    assert "Dec–Feb only: 90.25 a year" in page
    assert hashlib.sha256((tmp_path / "rain.csv").read_bytes()).hexdigest() in page
    for options, message in (
        (["--method", "pwm"], "must be mle"), (["--time", "rain"], "as dates and as numbers"),
        (["--season", "J"], "several places"),
        (["--span", "soon"], "length of time"), (["--per", "eon"], "one of year"),
    ):  # fmt: skip
        refused = CliRunner().invoke(main, [*words, *options])
        assert refused.exit_code == 2
        assert message in refused.output


def test_a_series_that_no_tail_fits_has_a_page_too(tmp_path):
    page = report(tmp_path / "a.html", np.r_[np.zeros(90), np.ones(10)], threshold=0.5).read_text()
    assert "There is no fit: CONSTANT" in page


def test_steady_extremes_are_rarely_called_unsteady_and_a_trend_a_season_and_a_growth_are_found():
    rng = np.random.default_rng(3)
    low = []
    for _ in range(200):
        x = rng.standard_exponential(3652)
        found = steadiness(x > 3.0, np.ones(x.size, bool), x, Dates(DAYS.astype("M8[us]")))
        low.append([found.p_trend, found.p_spread, found.p_size, found.p_season])
    share = np.mean(np.array(low) < 0.05, axis=0)
    assert np.all(share < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200))
    x, always = rng.standard_exponential(3652), np.ones(3652, bool)
    at = np.arange(3652) / 3652
    dates = Dates(DAYS.astype("M8[us]"))
    assert steadiness(x > 4.0 - 2.0 * at, always, x, dates).p_trend < 1e-3
    season = np.cos(2.0 * np.pi * np.arange(3652) / 365.25)
    assert steadiness(x > 3.0 + season, always, x, dates).p_season < 1e-3
    assert steadiness(x > 3.0, always, x * (1.0 + 3.0 * at), dates).p_size < 1e-2
