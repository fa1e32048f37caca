"""Streams that repeat one value: told once when the run is too long, and once when it is over, however cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtkit.spot import Repeat, Stuck


def plain(x, least):
    """Run by run, one stream."""
    told, start = [], 0
    for row in range(1, len(x) + 1):
        if row - start == least:
            told.append(Repeat("0", float(x[start]), start, least, is_over=False))
        if row == len(x) or x[row] != x[start]:
            if row - start >= least and row < len(x):
                told.append(Repeat("0", float(x[start]), start, row - start, is_over=True))
            start = row
    return told


@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 400), max_size=6), saved=st.booleans())
@settings(max_examples=30)
def test_runs_are_those_of_a_plain_loop_however_the_stream_is_cut(seed, cuts, saved):
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.integers(0, 5, 400), rng.choice([1, 2, 30, 70], 400))[:400].astype(float)
    calibration = rng.standard_normal(500)
    stuck, told = Stuck(calibration), []
    for part in np.split(x, sorted(cuts)):
        if saved:
            stuck = Stuck.from_dict(json.loads(json.dumps(stuck.to_dict(), allow_nan=False)))
        told += stuck.feed(part)
    assert told == plain(x, 20)
    many = Stuck(np.column_stack([calibration] * 401))  # more channels than rows
    got = many.feed(np.column_stack([x] * 401))
    assert [repeat for repeat in got if repeat.channel == "0"] == told


def test_what_is_usual_is_not_told():
    rng = np.random.default_rng(0)
    for x in (
        np.zeros(20_000),
        np.where(rng.random(20_000) < 0.9, 0.0, rng.random(20_000)),
        np.repeat(rng.standard_normal(500), 40),
        np.round(rng.standard_normal(20_000)),
        rng.poisson(0.3, 20_000).astype(float),
    ):
        assert not Stuck(x[:1000]).feed(x[1000:])


def test_missing_values_are_passed_over_and_time_goes_on():
    stuck = Stuck(np.random.default_rng(0).standard_normal((100, 2)), ["a", "b"], first_row=100)
    x = np.full((60, 2), np.nan)
    x[::2, 1], x[-1, 1] = 7.0, 8.0
    assert stuck.feed(x) == [Repeat("b", 7.0, 100, 20, False), Repeat("b", 7.0, 100, 30, True)]


def test_a_state_of_something_else_is_refused():
    good = Stuck(np.arange(10.0)).to_dict()
    for changed in ({"rows": [1, 2]}, {"least": ["a"]}, {"channels": 3}, {"value": 1.0}):
        with pytest.raises(ValueError, match="must"):
            Stuck.from_dict({**good, **changed})
