"""A sample of benchmarks/fuzz.py: files cut, flipped, edited or forged are refused, or equal what was saved."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from fuzz import watched


def test_no_changed_file_crashes_hangs_or_lies():
    outcomes = watched(0, 210, seed=5)
    assert sum(outcomes.values()) == 210
    assert {outcome for _, _, outcome in outcomes} <= {"refused", "equal", "loaded"}
    assert sum(n for (_, _, outcome), n in outcomes.items() if outcome == "refused") > 100
