"""What a season's curve is in a file, and what a stored one must be."""

from __future__ import annotations

from typing import Any

import numpy as np

from evtkit._common.schema import keys, numbers
from evtkit.spot.labels import HUGE
from evtkit.spot.profile import Profile

__all__ = ["profile_content", "stored_profile"]


def profile_content(profile: Profile) -> dict[str, Any]:
    """A profile as lists of numbers."""
    return {"constants": list(profile.constants), "tables": [table.tolist() for table in profile.tables]}


def stored_profile(content: Any, periods: tuple[float, ...]) -> Profile:
    """A stored profile; ValueError if it is none."""
    keys(content, {"constants", "tables"})
    constants = numbers(content["constants"], "constants", 3, -HUGE, HUGE)
    if type(content["tables"]) is not list or len(content["tables"]) != len(periods):
        raise ValueError("wanted a table a season")
    tables = []
    for table in content["tables"]:
        if type(table) is not list or len(table) != 3 or type(table[0]) is not list or len(table[0]) < 2:
            raise ValueError(f"a season's table is {table!r:.60}")
        tables.append(np.stack([numbers(part, "a table", len(table[0]), -HUGE, HUGE) for part in table]))
    if float(np.abs(constants[1:]).max()) + sum(float(np.abs(t[1:]).max()) for t in tables) > 700.0:
        raise ValueError("a scale is out of range")
    return Profile(periods, (float(constants[0]), float(constants[1]), float(constants[2])), tuple(tables))
