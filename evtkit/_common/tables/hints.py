"""Which options would read a file that was refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from evtkit._common.tables.numbers import MISSING, THOUSANDS, is_number, shown

if TYPE_CHECKING:
    from evtkit._common.tables.dialect import Dialect

__all__ = ["hint"]

_LINES = 100  # are looked at
_COMMENTS = ("#", "%", "//", ";", "!", "sep=")  # the last is a spreadsheet's word for its separator
_SHOWN = {"\t": r"'\t'", " ": "space"}


def hint(text: str, path: str, dialect: Dialect) -> str:
    """What to add to a message: the separator, decimal mark and comments by which more columns are numbers, if any."""
    lines = [line for line in text[:100_000].split("\n")[:_LINES] if line.strip()]
    now = dialect.between(path)
    best, found = _columns(lines, now, dialect, dialect), ""
    comments = (
        [None]
        if dialect.comment
        else [None, *(c for c in _COMMENTS if any(line.lstrip().startswith(c) for line in lines))]
    )
    other = ".,".replace(dialect.decimal, "")
    marks = [(decimal, dialect.thousands) for decimal in (dialect.decimal, other) if decimal != dialect.thousands]
    if dialect.thousands is None:  # asked last: 1.234 may be a number as it is
        marks += [(decimal, mark) for decimal in (dialect.decimal, other) for mark in THOUSANDS if mark != decimal]
    for (decimal, thousands), comment, between in product(marks, comments, ",;\t| "):
        if between in (decimal, thousands) or (comment and between == comment):
            continue
        meant = replace(dialect, separator=None, decimal=decimal, thousands=thousands)
        columns = _columns(lines, between, replace(meant, comment=comment or dialect.comment), dialect)
        if columns > best:
            # a decimal comma chooses the semicolon by itself
            implied = meant.between(path)
            flags = [
                f"--separator {_SHOWN.get(between, repr(between))}" if between not in (now, implied) else "",
                f"--decimal {decimal}" if decimal != dialect.decimal else "",
                f"--thousands {shown(thousands)}" if thousands is not None and dialect.thousands is None else "",
                f"--comment {comment!r}" if comment else "",
            ]
            if between == now != implied and dialect.separator is None:
                flags[0] = f"--separator {_SHOWN.get(between, repr(between))}"
            best, found = columns, " ".join(filter(None, flags))
    return f"; it would be read with {found}" if found else ""


def _columns(lines: list[str], between: str, meant: Dialect, dialect: Dialect) -> int:
    """How many columns are numbers and missing values only, 0 where the lines do not make a table."""
    comment, decimal, thousands = meant.comment, meant.decimal, meant.thousands
    kept = [line for line in lines if comment is None or not line.lstrip().startswith(comment)]
    try:
        rows = [line.split() for line in kept] if between == " " else list(csv.reader(kept, delimiter=between))
    except csv.Error:
        return 0
    body = rows if dialect.header is False else rows[1:]
    if not body or len({len(row) for row in rows}) > 1:
        return 0
    if decimal == "," and any("," in cell and not is_number(cell, decimal) for cell in rows[0]):
        return 0  # names that were cut wrongly
    absent = {*MISSING, *dialect.na}
    columns = [[cell.strip() for cell in column] for column in zip(*body, strict=True)]
    return sum(
        any(is_number(cell, decimal, thousands) for cell in column)
        and all(is_number(cell, decimal, thousands) or cell in absent or cell.lower() == "nan" for cell in column)
        for column in columns
    )
