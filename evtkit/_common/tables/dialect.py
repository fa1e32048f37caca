"""How a CSV file is written: what is between its cells, within its numbers, and around its rows."""

from __future__ import annotations

from dataclasses import dataclass

from evtkit._common.tables.numbers import THOUSANDS

__all__ = ["SEPARATORS", "Dialect"]

SEPARATORS = {
    "tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|",
    "space": " ", "spaces": " ", "blank": " ", "blanks": " ", "whitespace": " ", r"\s+": " ",
}  # fmt: skip
"""Names for what is hard to write on a command line. A blank means any run of blanks and tabs."""

_TAKEN = set('"\r\n.+-_#')  # quotes, lines, numbers and comments


@dataclass(frozen=True)
class Dialect:
    r"""How a CSV file is written.

    Attributes
    ----------
    separator : str, optional
        Between the cells: one ASCII character or a name of `SEPARATORS`; a blank is any run of blanks and tabs. By
        default a tab for .tsv files, a semicolon where the decimal mark is a comma, else a comma.
    decimal : {".", ","}
        The decimal mark.
    thousands : {".", ",", "'", " "}, optional
        What stands between groups of three digits.
    encoding : str, optional
        By default UTF-8, or what the file's byte-order mark says.
    comment : str, optional
        Lines that begin with it are passed over.
    header : bool, optional
        Whether the first line names the columns; without names they are c1, c2, …. By default it does, and a first line
        that could be data is refused.
    na : tuple of str
        Cells that stand for a missing value, besides the usual ones. A number stands for every equal number.

    Raises
    ------
    ValueError
        If one of them cannot be, or the separator is the decimal mark.

    Examples
    --------
    >>> Dialect(decimal=",").between("a.csv"), Dialect().between("a.tsv.gz"), Dialect(r"\t").between("a.csv")
    (';', '\t', '\t')
    """

    separator: str | None = None
    decimal: str = "."
    encoding: str | None = None
    comment: str | None = None
    header: bool | None = None
    na: tuple[str, ...] = ()
    thousands: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.decimal not in (".", ","):
            raise ValueError(f"decimal must be '.' or ',', got {self.decimal!r}")
        if self.thousands is not None:
            if self.thousands not in THOUSANDS:
                raise ValueError(f"thousands must be one of {', '.join(map(repr, THOUSANDS))}, got {self.thousands!r}")
            if self.thousands == self.decimal:
                raise ValueError(f"thousands and decimal must differ, got {self.decimal!r} for both")
        if self.separator is not None:
            between = SEPARATORS.get(self.separator, self.separator)
            if len(between.encode()) != 1:
                names = ", ".join(name for name in SEPARATORS if name.isalpha())
                raise ValueError(f"separator must be one ASCII character, got {self.separator!r} (or one of {names})")
            if between in _TAKEN or between.isalnum():
                raise ValueError(f"separator must not be a part of numbers, quotes or lines, got {self.separator!r}")
            if between == self.decimal:
                raise ValueError(f"separator and decimal must differ, got {between!r} for both")
        if self.comment is not None and not self.comment.strip():
            raise ValueError(f"comment must be what such lines begin with, got {self.comment!r}")
        if self.encoding is not None:
            try:
                b"1".decode(self.encoding)
            except LookupError:
                raise ValueError(f"encoding must be one that Python knows, got {self.encoding!r}") from None
            except UnicodeError:
                pass  # two bytes a character

    def between(self, path: str) -> str:
        """The character between the cells of this file."""
        if self.separator is not None:
            return SEPARATORS.get(self.separator, self.separator)
        if path.lower().endswith((".tsv", ".tsv.gz")):
            return "\t"
        return ";" if self.decimal == "," else ","
