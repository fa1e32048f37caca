"""Lines of a file or a pipe as they arrive: whole ones, as many as are there, never waiting for more of them."""

from __future__ import annotations

import os
import select
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Lines", "Position", "open_file"]

_AT_ONCE = 1 << 18  # bytes


@dataclass(frozen=True)
class Position:
    """How much of a file has been read: so many whole lines, with their size in bytes and checksum (CRC-32)."""

    lines: int = 0
    size: int = 0
    checksum: int = 0

    def after(self, data: bytes) -> Position:
        """The position behind these whole lines."""
        return Position(self.lines + data.count(b"\n"), self.size + len(data), zlib.crc32(data, self.checksum))


class Lines:
    r"""Read lines from a binary stream.

    Parameters
    ----------
    stream : binary file
        A file, a pipe or bytes, with a method ``read1``.
    name : str
        What messages call it; the path of a file that is followed.
    follow : bool
        At the end of the stream, wait until it grows.
    partial : bool
        Take what follows the last line break for a line when the stream ends.

    Examples
    --------
    >>> import io
    >>> lines = Lines(io.BytesIO(b"1\n2\r\n3"), "numbers")
    >>> lines.read(1.0), lines.read(1.0), lines.ended
    (['1', '2'], ['3'], True)
    """

    def __init__(self, stream: BinaryIO, name: str, *, follow: bool = False, partial: bool = True) -> None:
        self._stream: Any = stream
        self._name, self._follow, self._partial = name, follow, partial
        self._rest = b""  # after the last line break
        self._end = False
        self._last, self._before = b"", Position()  # what was read last, and where it begins
        self._back = b""  # the part of it that was given back
        self.position = Position()
        try:
            self._handle: int | None = stream.fileno()
        except OSError:  # bytes
            self._handle = None

    @property
    def ended(self) -> bool:
        """There will be no more lines."""
        return self._end and not self._back

    @property
    def left(self) -> str:
        """What follows the last line break and has not been read as a line."""
        return self._rest.decode(errors="replace")

    def resume(self, position: Position) -> str:
        """Go behind what was read before, if it is still there; the first line.

        Raises ValueError if the file does not begin with the lines that were read.
        """
        first, reached = b"", Position()
        while reached.size < position.size:
            data = self._stream.read(min(1 << 22, position.size - reached.size))
            if not data:
                break
            if b"\n" not in first:
                first += data
            reached = reached.after(data)
        if reached != position:
            raise ValueError(
                f"{self._name} does not begin with the {position.lines:,} lines that the state has seen; if its rows "
                f"are new, give them on the standard input: evtkit watch - < {self._name}"
            )
        self.position = position
        return first.partition(b"\n")[0].decode(errors="replace").rstrip("\r")

    def read(self, timeout: float) -> list[str]:
        """The whole lines that are there, or that arrive within so many seconds; none of them at the end."""
        if self._back:
            return self._take(self._back)
        if not self._ready(timeout):
            return []
        data: bytes = self._stream.read1(_AT_ONCE)
        if not data and self._follow:
            self._check_file()
            time.sleep(min(timeout, 0.1))
            return []
        self._end = not data
        whole, cut, rest = (self._rest + data).rpartition(b"\n")
        if self._end and self._partial and rest:
            whole, cut, rest = rest, b"\n", b""
        self._rest = rest
        return self._take(whole + cut) if cut else []

    def unread(self, count: int) -> None:
        """Give back so many of the lines that were read last: they are read again."""
        pieces = self._last.split(b"\n")
        size = sum(len(piece) + 1 for piece in pieces[: len(pieces) - 1 - count])
        self._back, self.position = self._last[size:], self._before.after(self._last[:size])

    def _take(self, data: bytes) -> list[str]:
        """These whole lines."""
        self._last, self._before, self._back = data, self.position, b""
        self.position = self.position.after(data)
        text = data.decode(errors="replace")
        return (text.replace("\r\n", "\n") if b"\r" in data else text)[:-1].split("\n")

    def _ready(self, timeout: float) -> bool:
        """Can be read without waiting for longer than this? Windows, which cannot tell, waits."""
        if self._handle is None or os.name == "nt":
            return True
        return bool(select.select([self._handle], [], [], timeout)[0])

    def _check_file(self) -> None:
        """Lines cannot be followed in a file that was cut, or is no longer there."""
        if self._handle is None:
            return
        here, path = os.fstat(self._handle), Path(self._name)
        if here.st_size < self.position.size:
            raise ValueError(
                f"{self._name} has become shorter, {here.st_size} bytes of {self.position.size} that were read"
            )
        if not path.exists() or not os.path.samestat(path.stat(), here):
            raise ValueError(f"{self._name} is no longer the file that was opened, {self.position.lines:,} lines ago")


def open_file(path: str) -> BinaryIO:
    """A file of lines, unread; ValueError for what cannot be read as lines."""
    if path.lower().endswith((".parquet", ".pq", ".gz", ".zip", ".zst", ".bz2", ".xz")):
        raise ValueError(f"{path} has no lines to be read one by one; wanted a CSV file, or - for the standard input")
    if not Path(path).exists():
        raise ValueError(f"no such file: {path}")
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    return Path(path).open("rb")
