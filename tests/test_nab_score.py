"""The score of benchmarks/nab.py obeys the published definition of the Numenta Anomaly Benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from _nab import PROFILES, Series, best_threshold, false_alarms, found, raw_score, read, scale, score, sigmoid

STANDARD = PROFILES["standard"]
ROUNDING = 1e-12
profiles = st.sampled_from(list(PROFILES.values()))
A_HUNDRED = Series("made/up.csv", np.zeros(100), ((30, 39), (60, 79)))  # 15 rows for learning


@st.composite
def series(draw):
    """Series with up to four windows, apart from each other, some of them inside the rows for learning."""
    lengths = draw(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), max_size=4))
    windows, row = [], 0
    for gap, length in lengths:
        windows.append((row + gap, row + gap + length - 1))
        row += gap + length
    return Series("made/up.csv", np.zeros(row + draw(st.integers(7, 40))), tuple(windows))


@st.composite
def alarmed(draw):
    one = draw(series())
    return one, np.array(draw(st.lists(st.booleans(), min_size=len(one.values), max_size=len(one.values))))


corpora = st.lists(alarmed(), min_size=1, max_size=3).filter(lambda pairs: any(one.windows for one, _ in pairs))


def at(*rows, n=100):
    alarm = np.zeros(n, dtype=bool)
    alarm[list(rows)] = True
    return alarm


def reachable(one):
    return all(first >= one.learning for first, _ in one.windows)


def test_the_weighed_worths_of_the_papers_figure_2():
    worth = [-1.0, 0.9999, -0.8093, -1.0]
    weighed = [w * (STANDARD.right if w > 0 else STANDARD.false) for w in worth]
    assert sum(weighed) == pytest.approx(0.6909, abs=5e-5)
    assert sigmoid(-1.0) == pytest.approx(0.98661, abs=5e-6)
    assert sigmoid(0.0) == 0.0


@pytest.mark.parametrize(
    ("alarm", "raw"),
    [
        (at(), -2.0),
        (at(3), -2.0),  # while learning
        (at(20), -2.0 - 0.11),  # before any window
        (at(30, 60), 2.0),
        (at(30, 31, 39, 60), 2.0),  # later alarms in a window are free
        (at(39), np.tanh(0.25) / np.tanh(2.5) - 1.0),  # y = −1/10
        (at(70), np.tanh(1.25) / np.tanh(2.5) - 1.0),  # y = −10/20
        (at(40), -2.0 - 0.11 * np.tanh(2.5 / 9)),  # one row after a window nine rows long
        (at(48), -2.0 - 0.11 * np.tanh(2.5)),  # one length after it
        (at(98), -2.0 - 0.11 * np.tanh(2.5)),  # one length after the second
    ],
)
def test_raw_scores_by_hand(alarm, raw):
    assert raw_score(A_HUNDRED, alarm, STANDARD) == pytest.approx(raw, abs=1e-12)


@given(st.lists(series(), min_size=1, max_size=3), profiles)
def test_silence_scores_nothing_and_perfection_a_hundred(corpus, profile):
    assume(any(one.windows for one in corpus) and all(map(reachable, corpus)))
    silence = [np.zeros(len(one.values), dtype=bool) for one in corpus]
    perfect = [at(*(first for first, _ in one.windows), n=len(one.values)) for one in corpus]
    assert score(corpus, silence, profile) == pytest.approx(0.0, abs=1e-9)
    assert score(corpus, perfect, profile) == pytest.approx(100.0)


@given(alarmed(), profiles)
def test_no_alarms_score_more_than_perfection(pair, profile):
    assert raw_score(*pair, profile) <= profile.right * len(pair[0].windows) + ROUNDING


@given(alarmed(), profiles, st.data())
def test_one_more_false_alarm_never_raises_the_score(pair, profile, data):
    one, alarm = pair
    row = data.draw(st.sampled_from(np.flatnonzero(one.window < 0).tolist()))
    more = alarm.copy()
    more[row] = True
    assert raw_score(one, more, profile) <= raw_score(one, alarm, profile) + ROUNDING
    assert false_alarms(one, more) - false_alarms(one, alarm) == (row >= one.learning and not alarm[row])


@given(alarmed(), profiles, st.data())
def test_one_more_alarm_in_a_window_never_lowers_the_score(pair, profile, data):
    one, alarm = pair
    assume(one.windows)
    more = alarm.copy()
    more[data.draw(st.sampled_from(np.flatnonzero(one.window >= 0).tolist()))] = True
    assert raw_score(one, more, profile) >= raw_score(one, alarm, profile) - ROUNDING


@given(alarmed(), profiles)
def test_later_alarms_within_a_window_never_raise_the_score(pair, profile):
    one, alarm = pair
    assume(reachable(one))
    later = alarm.copy()
    for first, last in one.windows:
        later[first : last + 1] = np.roll(alarm[first : last + 1], 1)
        later[first] = False
        later[last] |= alarm[last]
    assert raw_score(one, later, profile) <= raw_score(one, alarm, profile) + ROUNDING


@given(series(), profiles)
def test_a_false_alarm_costs_more_the_longer_after_a_window_it_comes(one, profile):
    costs = [raw_score(one, at(row, n=len(one.values)), profile) for row in range(len(one.values))]
    for row in range(one.learning, len(one.values) - 1):
        if one.window[row] == one.window[row + 1] == -1:
            assert costs[row + 1] <= costs[row]


@given(alarmed(), profiles)
def test_alarms_while_learning_do_not_count(pair, profile):
    one, alarm = pair
    without = alarm.copy()
    without[: one.learning] = False
    assert raw_score(one, without, profile) == pytest.approx(raw_score(one, alarm, profile), abs=ROUNDING)
    assert np.all((found(one, alarm) == -1) | (found(one, alarm) >= one.learning))


@given(corpora)
def test_the_profiles_differ_in_what_they_are_named_after(pairs):
    corpus, alarms = zip(*pairs, strict=True)
    windows = sum(len(one.windows) for one in corpus)
    raw = {name: sum(raw_score(one, alarm, profile) for one, alarm in pairs) for name, profile in PROFILES.items()}
    assert raw["reward_low_FP"] <= raw["standard"] + ROUNDING
    assert raw["reward_low_FN"] <= raw["standard"] + ROUNDING
    for name, profile in PROFILES.items():
        assert score(corpus, alarms, profile) == pytest.approx(scale(raw[name], windows, profile))


@given(corpora, profiles, st.integers(0, 2**32 - 1))
def test_the_best_threshold_is_that_of_trying_all(pairs, profile, seed):
    corpus = [one for one, _ in pairs]
    rng = np.random.default_rng(seed)
    scores = [rng.integers(0, 12, len(one.values)) / 12 for one in corpus]  # with ties
    tried = [score(corpus, [s >= level for s in scores], profile) for level in [*(np.arange(12) / 12), np.inf]]
    threshold, best = best_threshold(corpus, scores, profile)
    assert best == pytest.approx(max(tried), abs=1e-9)
    assert score(corpus, [s >= threshold for s in scores], profile) == pytest.approx(best, abs=1e-9)


def test_the_first_rows_are_for_learning():
    assert [Series("", np.zeros(n), ()).learning for n in (0, 6, 7, 1127, 4032, 5000, 22695)] == [
        0, 0, 1, 169, 604, 750, 750
    ]  # fmt: skip


def test_the_corpus_is_whole(data_folder):
    folder = data_folder / "streams" / "NAB"
    if not folder.exists():
        pytest.skip(f"needs {folder}")
    corpus = read(folder)
    assert len(corpus) == 58
    assert sum(len(one.values) for one in corpus) == 365_558
    assert sum(len(one.windows) for one in corpus) == 116
    assert all(map(reachable, corpus))
    assert all(np.isfinite(one.values).all() for one in corpus)
    for one in corpus:
        assert all(before < after for (_, before), (after, _) in zip(one.windows, one.windows[1:], strict=False))
