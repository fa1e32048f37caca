"""Text: rows of cells as aligned columns; what comes from outside made fit for a terminal."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["aligned", "counted", "plain", "probability", "shortened"]

_SHORT = 160  # characters of what a user gave, in a message
_LONGEST = 200  # of a cell or a name


def aligned(rows: Sequence[Sequence[str]], sides: str) -> str:
    """Rows as lines, two blanks between columns.

    Parameters
    ----------
    rows : sequence of sequences of str
        All of the same length.
    sides : str
        For each column ``<`` or ``>``: to which side its cells are pushed.

    Examples
    --------
    >>> print(aligned([("layer", "units"), ("conv1", "16")], "<>"))
    layer  units
    conv1     16
    """
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(sides))]
    lines = ("  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)) for row in shown)
    return "\n".join(line.rstrip() for line in lines)


def counted(n: int, what: str) -> str:
    """A number of things, in the singular where it is one.

    Examples
    --------
    >>> counted(1, "alarm"), counted(2000, "excess"), counted(0, "event")
    ('1 alarm', '2,000 excesses', '0 events')
    """
    ending = "" if n == 1 else "es" if what.endswith("s") else "s"
    return f"{n:,} {what}{ending}"


def plain(text: str, longest: int = _LONGEST) -> str:
    r"""A text without what moves a cursor, colours a terminal or turns the direction of writing, cut if it is long.

    Examples
    --------
    >>> plain("a\x1b[31mb\u202e"), plain("x" * 300, longest=5)
    ('a\\x1b[31mb\\u202e', 'xxxxx… (300 characters)')
    """
    shown = text[:longest]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(c if unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(text) <= longest else f"{shown}… ({len(text):,} characters)"


def probability(log_p: float) -> str:
    """A probability as text, however small, from its logarithm.

    Examples
    --------
    >>> probability(-1000.0)
    '5.08e-435'
    """
    if log_p == -math.inf:
        return "0"
    if log_p > -690.0:
        return f"{math.exp(log_p):.3g}"
    exponent = math.floor(log_p / math.log(10.0))
    return f"{10.0 ** (log_p / math.log(10.0) - exponent):.2f}e{exponent}"


def shortened(value: object) -> str:
    """What something says of itself, on one line, cut where it goes on for long.

    Examples
    --------
    >>> shortened("a b " * 1000).count("a"), len(shortened("a b " * 1000))
    (40, 160)
    """
    said = " ".join(str(value)[: 10 * _SHORT].split())
    return said if len(said) <= _SHORT else said[: _SHORT - 1] + "…"
