"""Rows of a CSV stream as they arrive: its header, its first rows, all others; and what happens to wrong lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evtkit.cli.watch.cells import Cells, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.cli.watch.lines import Lines
    from evtkit.cli.watch.stop import Stop

__all__ = ["RowReader"]


class RowReader:
    """Rows of numbers from lines.

    Parameters
    ----------
    lines : Lines
        At their beginning, or where `first_line` was read before and they go on.
    name : str
        What messages call them.
    skip : callable, optional
        Is told of each malformed line, which is then passed over. Without it such a line raises ValueError, after the
        rows before it have been read; a value that is not finite, where that is wanted, always does.
    header : str, optional
        The header, where it was read before. A first line that repeats it is passed over, as is any later one.
    cells
        As in `Cells.of`.
    """

    def __init__(
        self, lines: Lines, name: str, skip: Callable[[str], None] | None = None, header: str | None = None,
        **cells: Any,
    ) -> None:  # fmt: skip
        self._lines, self._name, self._skip, self._how = lines, name, skip, cells
        self.cells: Cells | None = Cells.of(header, name, **cells) if header is not None else None

    @property
    def ended(self) -> bool:
        """There will be no more rows."""
        return self._lines.ended

    def first(self, count: int, timeout: float, stop: Stop) -> Rows:
        """The first so many rows; ValueError if there are fewer. Finds the numeric columns, unless they were named."""
        gathered: list[str] = []
        cells = None
        while len(gathered) < count and not (self.ended or stop):
            lines = self._lines.read(timeout)
            if lines and cells is None:
                cells = self.cells = Cells.of(lines.pop(0), self._name, **self._how)
            if over := max(0, len(gathered) + len(lines) - count):
                self._lines.unread(over)
            gathered += lines[: len(lines) - over]
        if cells is None:
            raise ValueError(f"{self._name} is empty, wanted a line of column names")
        if not cells.columns and gathered:
            cells.choose(gathered, self._name)
        return self.more(self._usable(gathered, 1, at_once=True), count, timeout, stop)

    def more(self, rows: Rows, count: int, timeout: float, stop: Stop) -> Rows:
        """These rows and those after them, so many in all; ValueError if there are fewer."""
        parts = [rows]
        while (found := sum(len(part.values) for part in parts)) < count and not (self.ended or stop):
            parts.append(self.read(timeout, count - found))
        if found < count:
            raise ValueError(f"{self._name} ended after {found:,} rows, wanted {count:,} to calibrate on (--calibrate)")
        return Rows.joined([part for part in parts if part.n_lines])

    def all(self, timeout: float, stop: Stop) -> Rows:
        """All rows. Finds the numeric columns, unless they were named."""
        parts = [self.first(1, timeout, stop)]
        while not (self.ended or stop):
            parts.append(self.read(timeout))
        return Rows.joined([part for part in parts if part.n_lines])

    def read(self, timeout: float, most: int | None = None) -> Rows:
        """The rows that are there, none if none arrive within so many seconds; at the most so many."""
        lines = self._lines.read(timeout)
        if lines and self.cells is None:
            self.cells = Cells.of(lines.pop(0), self._name, **self._how)
        if most is not None and len(lines) > most:
            self._lines.unread(len(lines) - most)
            del lines[most:]
        return self._usable(lines, self._lines.position.lines - len(lines))

    def _usable(self, lines: list[str], above: int, *, at_once: bool = False) -> Rows:
        """The rows of lines, so many of which are above them; up to the first wrong one, which is given back."""
        assert self.cells is not None or not lines
        if self.cells is None:
            return Rows.none()
        header = self.cells.line
        kept = [i for i, line in enumerate(lines) if line != header]  # a repeated header is no row
        rows = self.cells.read(lines if len(kept) == len(lines) else [lines[i] for i in kept])
        for line, what, is_row in rows.wrong:
            message = f"line {above + kept[line] + 1} of {self._name}: {what}"
            if self._skip is not None and not is_row:
                self._skip(message)
            elif line == 0 or at_once:
                raise ValueError(message)
            else:
                self._lines.unread(len(lines) - kept[line])
                return rows.until(line)
        return rows
