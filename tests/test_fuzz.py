"""Files cut, flipped, edited or forged are refused, or equal what was saved: 10,080 cases of benchmarks/fuzz.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from fuzz import KINDS, watched

CASES = 2520  # a subprocess; as many of each kind of file and way of changing it


@pytest.mark.parametrize("part", range(4))
def test_no_changed_file_crashes_hangs_or_lies(part):
    outcomes = watched(CASES * part, CASES * (part + 1), seed=5)
    assert sum(outcomes.values()) == CASES
    assert {outcome for _, _, outcome in outcomes} <= {"refused", "equal", "loaded"}
    assert sum(n for (_, _, outcome), n in outcomes.items() if outcome == "refused") > CASES // 2
    kinds = {kind for kind, way, outcome in outcomes if way == "forged" and outcome == "loaded"}
    assert kinds == set(KINDS), "forged files are used, too"
