"""What every result can do: show itself as text, as a data frame, and in a notebook.

A result's table has a row a channel, cluster, block or threshold. By default its columns are the fields that are arrays
with one entry a row, in their order; a class whose table is another one overrides `_table`.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.frames import make_frame
from evtkit._common.text import aligned, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Result"]

_MOST_ROWS = 20
_STYLE = "text-align:right;font-variant-numeric:tabular-nums"


class Result:
    """Mixin of all results; see the module. Their dataclasses have ``repr=False``: the arrays are in the table."""

    def to_frame(self, library: str | None = None) -> Any:
        """The result as a data frame: a row a channel, or whatever it has many of.

        Parameters
        ----------
        library : {"pandas", "polars"}, optional
            Whose; by default that of pandas where it is installed, else that of polars.
        """
        return make_frame({name: np.atleast_1d(column) for name, column in self._table().items()}, library)

    def summary(self) -> str:
        """The result as text: what it is, its table, long ones cut, and what to know beside the numbers."""
        table = self._shown()
        lines = [self._head()]
        if table:
            rows = [tuple(table), *zip(*table.values(), strict=True)]
            sides = "".join(">" if self._is_number(name) else "<" for name in table)
            lines.append(aligned(rows, sides))
        lines += [f"… {more:,} more" for more in [self._n_rows() - _MOST_ROWS] if more > 0]
        return "\n".join([*lines, *(f"note: {line}" for line in self._notes())])

    def _repr_html_(self) -> str:
        """For notebooks."""
        table = self._shown()
        head = "".join(f"<th>{escape(name)}</th>" for name in table)
        rows = "".join(
            "<tr>" + "".join(f'<td style="{_STYLE}">{escape(cell)}</td>' for cell in row) + "</tr>"
            for row in zip(*table.values(), strict=True)
        )
        more = self._n_rows() - _MOST_ROWS
        notes = [*([f"… {more:,} more"] if more > 0 else []), *self._notes()]
        below = "".join(f"<li>{escape(line)}</li>" for line in notes)
        listed = f"<ul>{below}</ul>" if below else ""
        body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>" if table else ""
        return f"<div><p><b>{escape(self._head())}</b></p>{body}{listed}</div>"

    # -- what a class may have its own way -----------------------------------------------------------------------------

    def _table(self) -> dict[str, Any]:
        """Columns by name."""
        assert is_dataclass(self)
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)}
        names = arrays.pop("names", None)
        shape = next(iter(arrays.values())).shape if arrays else ()
        columns = {} if names is None else {"channel": names}
        columns |= {n: a for n, a in arrays.items() if a.shape in (shape, shape[: len(shape) - 1])}
        along = {n: a[..., None] if n != "channel" and a.ndim < len(shape) else a for n, a in columns.items()}
        return {name: np.broadcast_to(a, shape).ravel() for name, a in along.items()}

    def _head(self) -> str:
        """A line that says what it is: the first of its repr, or its name, its numbers and how many rows it has."""
        if type(self).__repr__ is not Result.__repr__:
            return repr(self).partition("\n")[0]
        assert is_dataclass(self)
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.repr}
        values = {n: v[()] if isinstance(v, np.ndarray) and not v.ndim else v for n, v in values.items()}
        said = [f"{n}={v!r}" if isinstance(v, str) else f"{n}={v:.6g}" for n, v in values.items()
                if isinstance(v, str | int | float | np.number)]  # fmt: skip
        many = any(isinstance(v, np.ndarray) for v in values.values())
        return f"{type(self).__name__}({', '.join([*said, *([counted(self._n_rows(), 'row')] if many else [])])})"

    def __repr__(self) -> str:
        return self._head()

    def _notes(self) -> Sequence[str]:
        """What to know beside the numbers."""
        return getattr(self, "notes", ())

    def _shown(self) -> dict[str, list[str]]:
        """The first rows of the table as text."""
        table = {name: np.atleast_1d(column)[:_MOST_ROWS] for name, column in self._table().items()}
        return {name: [_cell(value) for value in column] for name, column in table.items()}

    def _is_number(self, name: str) -> bool:
        return np.asarray(self._table()[name]).dtype.kind in "iuf"

    def _n_rows(self) -> int:
        return max((np.atleast_1d(column).shape[0] for column in self._table().values()), default=0)


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.5g}"
    if isinstance(value, np.datetime64):
        text = str(value.astype("M8[s]")).replace("T", " ")
        return text.removesuffix(" 00:00:00").removesuffix(":00")
    return str(value)
