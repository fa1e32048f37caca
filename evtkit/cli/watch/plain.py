"""Text from outside, such as cells and names, made fit for a terminal: short, and without control characters."""

from __future__ import annotations

import unicodedata

__all__ = ["plain"]

_LONGEST = 200


def plain(text: str, longest: int = _LONGEST) -> str:
    r"""A text without what moves a cursor, colours a terminal or turns the direction of writing, cut if it is long.

    Examples
    --------
    >>> plain("a\x1b[31mb\u202e"), plain("x" * 300, longest=5)
    ('a\\x1b[31mb\\u202e', 'xxxxx… (300 characters)')
    """
    cut = text[:longest]
    shown = "".join(c if unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in cut)
    return shown if len(text) <= longest else f"{shown}… ({len(text):,} characters)"
