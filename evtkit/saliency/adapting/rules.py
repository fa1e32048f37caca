"""Rules: what a layer type's rule gives back, in whichever framework."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Block"]


class Block(NamedTuple):
    """Part of a weight's per-sample gradient as a product: ``left @ right``, shape (n, groups, rows, k).

    The lanes are (groups, rows) flattened; a lane may span several consecutive rows. The weight itself in the order of
    the product is what ``reduction="taylor"`` multiplies it with; a rule without it serves the other reductions.
    """

    left: Any  # (n, groups, rows, q)
    right: Any  # (n, groups, q, k)
    weight: Any = None  # (groups, rows, k)
