"""Cells as numbers: what is one, what is missing, what is neither, and what may have been meant."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

__all__ = ["MISSING", "THOUSANDS", "Numbers", "is_number", "numbers", "oddity", "shown"]

THOUSANDS = (".", ",", "'", " ")
"""What may stand between groups of three digits."""

MISSING = ["", "NA", "N/A", "null"]  # besides NaN, which is a number to a parser

_NAN = r"(?i)^[+-]?nan$"
_EXPONENT = r"([eE][+-]?[0-9]+)?"
_GROUPED = r"[0-9]{1,3}([,.'’\s_][0-9]{3})+([.,][0-9]+)?"
_NEARLY = re.compile(
    rf"[+\-−–]?\s*[$€£¥]?\s*[+\-−–]?\s*({_GROUPED}|[0-9]+[.,]?[0-9]*|[.,][0-9]+)([eEdDqQ][+-]?[0-9]+)?\s*[%‰$€£¥]?"
)
_UNIT = re.compile(r"[+\-]?[0-9]+([.,][0-9]+)?\s+([A-Za-zµ°Ω/%²³]{1,6})|[+\-]?[0-9]+[.,][0-9]+([A-Za-zµ°Ω/%²³]{1,6})")


class Numbers(NamedTuple):
    """Cells as numbers."""

    values: NDArray[np.float64]
    """Infinite ones too; NaN where there is none."""
    other: NDArray[np.bool_]
    """Cells that are neither a number nor a missing value."""


def numbers(cells: pl.Series, decimal: str, na: Sequence[str], thousands: str | None = None) -> Numbers:
    """The numbers in cells of text without blanks around."""
    import polars as pl

    plain = cells
    if thousands is not None:  # only where it parts groups of three digits: 1.5 is then no number
        without = cells.str.replace_all(_marks(thousands), "")
        cells = plain = without.zip_with(cells.str.contains(_grouped(decimal, thousands)), cells)
    if decimal != ".":  # and a point makes no number
        plain = plain.str.replace_all(".", "?", literal=True).str.replace_all(decimal, ".", literal=True)
    values = plain.cast(pl.Float64, strict=False).to_numpy().copy()
    other = np.zeros(len(values), bool)
    if len(strange := np.flatnonzero(~np.isfinite(values))):
        texts = cells.gather(strange)
        known = texts.is_in([*MISSING, *na]) | texts.str.contains(_NAN) | pl.Series(np.isinf(values[strange]))
        values[strange[texts.is_in(list(na)).to_numpy()]] = np.nan
        other[strange] = ~known.to_numpy()
    for text in na:  # -999 is -999.0
        if is_number(text, decimal):
            values[values == float(text.replace(decimal, "."))] = np.nan
    return Numbers(values, other)


def is_number(cell: str, decimal: str, thousands: str | None = None) -> bool:
    """Whether a cell is a finite number, in the way that the file writes them."""
    if thousands is not None and re.search(_grouped(decimal, thousands), cell) is not None:
        return True
    return re.search(_pattern(decimal), cell) is not None


def oddity(cells: Sequence[str], decimal: str, thousands: str | None = None) -> str:
    """What to do about cells that look like numbers, each of them, and are none; empty if they do not."""
    units = {(found[2] or found[3]) if (found := _UNIT.fullmatch(cell)) else "" for cell in cells}
    if len(units) == 1 and (unit := units.pop()):
        return f"write it without the unit {unit!r}"
    if not all(map(_NEARLY.fullmatch, cells)):
        return ""
    mark = "," if decimal == "." else "."
    advice = []
    for point, option in ((mark, f"--decimal {mark}"), (decimal, "")):
        if all(is_number(cell, point, thousands) for cell in cells):
            advice.append(f"{option} reads it, if that is its decimal mark")
            continue
        fits = [one for one in THOUSANDS if one != point and all(is_number(cell, point, one) for cell in cells)]
        if fits:
            options = f"{option} --thousands {shown(fits[0])}".strip()
            advice.append(f"{options} reads it, if {fits[0]!r} parts its thousands")
    if not advice and all(re.fullmatch(f"[+-]?{_GROUPED}", cell) for cell in cells):
        advice.append("write it without thousands separators, if it has them")
    return "; ".join(advice) or "a number has digits, a sign, a decimal mark and an exponent (E) only"


def shown(mark: str) -> str:
    """A mark as it is written on a command line."""
    return mark if mark in ".," else f'"{mark}"'


def _marks(thousands: str) -> str:
    """What counts as such a mark: an apostrophe and a blank are typeset in several ways."""
    return {" ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}.get(thousands, re.escape(thousands))


@cache
def _grouped(decimal: str, thousands: str) -> str:
    return rf"^[+-]?[0-9]{{1,3}}({_marks(thousands)}[0-9]{{3}})+({re.escape(decimal)}[0-9]*)?$"


@cache
def _pattern(decimal: str) -> str:
    mark = re.escape(decimal)
    return rf"^[+-]?([0-9]+({mark}[0-9]*)?|{mark}[0-9]+){_EXPONENT}$"
