"""Text: rows of cells as aligned columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["aligned", "probability", "shortened"]

_SHORT = 160  # characters of what a user gave, in a message


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
    widths = [max(len(row[i]) for row in rows) for i in range(len(sides))]
    lines = ("  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


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
