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
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["LONGEST", "Lines", "Position", "open_file", "rotated"]

LONGEST = 1 << 20  # bytes of a line; the rest of a longer one is dropped

_AT_ONCE = 1 << 18  # bytes
_FINGERPRINT = 256  # bytes before the place that was reached, by which a file is known again
_ROTATIONS = 9  # files of older lines that are looked at


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

    A file that is followed is followed by its name: where it is renamed and begun anew, or cut and filled anew in its
    place, as log rotation does, the new file is read from its beginning. What was not yet read then is read first,
    where it was kept under the names that rotation gives (see `rotated`).

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
    note : callable, optional
        Is told what happens to the file.

    Examples
    --------
    >>> import io
    >>> lines = Lines(io.BytesIO(b"1\n2\r\n3"), "numbers")
    >>> lines.read(1.0), lines.read(1.0), lines.ended
    (['1', '2'], ['3'], True)
    """

    def __init__(
        self, stream: BinaryIO, name: str, *, follow: bool = False, partial: bool = True,
        note: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._stream: Any = stream
        self._name, self._follow, self._partial = name, follow, partial
        self._note = note or (lambda _: None)
        self._rest = b""  # after the last line break
        self._too_long, self._checksum = 0, 0  # bytes dropped of the line that is being read; of all up to there
        self._end = False
        self._last, self._before = b"", Position()  # what was read last, and where it begins
        self._back = b""  # the part of it that was given back
        self._tail = b""  # the bytes before the place that was reached
        self._ahead = b""  # of another file, read before this one
        self._missing = False
        self.position = Position()
        try:
            self._handle: int | None = stream.fileno()
        except OSError:  # bytes
            self._handle = None
        self._older = _newest_rotated(name) if follow else None  # when the file was opened

    @property
    def ended(self) -> bool:
        """There will be no more lines."""
        return self._end and not self._back

    @property
    def left(self) -> str:
        """What follows the last line break and has not been read as a line."""
        return self._rest.decode(errors="replace")

    def resume(self, position: Position) -> bool:
        """Go behind what was read before, if it is still there; else stay at the beginning."""
        reached = Position()
        while reached.size < position.size:
            data = self._stream.read(min(1 << 22, position.size - reached.size))
            if not data:
                break
            reached = reached.after(data)
            self._tail = (self._tail + data)[-_FINGERPRINT:]
        if reached != position:
            self._stream.seek(0)
            self._tail = b""
            return False
        self.position = position
        return True

    def read_first(self, data: bytes) -> None:
        """Read these lines before those of the file: what was left of the one that had its name before."""
        self._ahead = data[: data.rfind(b"\n") + 1]

    def read(self, timeout: float) -> list[str]:
        """The whole lines that are there, or that arrive within so many seconds; none of them at the end."""
        if self._back:
            return self._take(self._back)
        if self._ahead:
            text, self._ahead = self._ahead.decode(errors="replace"), b""
            lines = text.replace("\r\n", "\n")[:-1].split("\n")
            return lines + self.read(0.0) if self._follow else lines  # so that the new file is known from now on
        if not self._ready(timeout):
            return []
        if self._follow and not self._tail and self._missed_one():
            return self.read(0.0)
        if self._follow and self._was_cut():
            if self._read_rotated(self._holds_what_was_read):
                self._open_again()  # what was cut may have been renamed since
            self._begin_again(f"{self._name} was cut and filled anew; reading it from its beginning")
            return self.read(0.0) if self._ahead else []
        data: bytes = self._stream.read1(_AT_ONCE)
        if not data and self._follow:
            if not self._changed_file():
                time.sleep(min(timeout, 0.1))
            return []
        self._tail = (self._tail + data)[-_FINGERPRINT:]
        self._end = not data
        whole, cut, rest = (self._rest + data).rpartition(b"\n")
        if self._end and self._partial and rest:
            whole, cut, rest = rest, b"\n", b""
        self._rest = rest
        if len(rest) > LONGEST:
            self._drop(rest[LONGEST:])
        return self._take(whole + cut) if cut else []

    def unread(self, count: int) -> None:
        """Give back so many of the lines that were read last: they are read again."""
        pieces = self._last.split(b"\n")
        size = sum(len(piece) + 1 for piece in pieces[: len(pieces) - 1 - count])
        self._back, self.position = self._last[size:], self._before.after(self._last[:size])

    def _take(self, data: bytes) -> list[str]:
        """These whole lines."""
        self._back = b""
        if self._too_long:  # marked, so that what is left of the line is not taken for one
            line, cut, others = data.partition(b"\n")
            size = len(line) + self._too_long
            data = line[:LONGEST] + f"… ({size} bytes)".encode() + cut + others
            checksum = zlib.crc32(line[LONGEST:] + cut, self._checksum)
            self._last, self._too_long = others, 0
            self._before = Position(self.position.lines + 1, self.position.size + size + 1, checksum)
            self.position = self._before.after(others)
        else:
            self._last, self._before, self.position = data, self.position, self.position.after(data)
        text = data.decode(errors="replace")
        return (text.replace("\r\n", "\n") if b"\r" in data else text)[:-1].split("\n")

    def _drop(self, data: bytes) -> None:
        """Forget a part of a line that is too long."""
        self._rest = self._rest[:LONGEST]
        if not self._too_long:
            self._checksum = zlib.crc32(self._rest, self.position.checksum)
        self._checksum = zlib.crc32(data, self._checksum)
        self._too_long += len(data)

    def _ready(self, timeout: float) -> bool:
        """Can be read without waiting for longer than this? Windows, which cannot tell, waits."""
        if self._handle is None or os.name == "nt":
            return True
        return bool(select.select([self._handle], [], [], timeout)[0])

    def _was_cut(self) -> bool:
        """Whether the file no longer has what was read of it, being shorter or another one in the same place."""
        if self._handle is None:
            return False
        place = self.position.size + len(self._rest) + self._too_long
        if os.fstat(self._handle).st_size < place:
            return True
        if os.name == "nt" or not self._tail:
            return False
        return os.pread(self._handle, len(self._tail), place - len(self._tail)) != self._tail

    def _missed_one(self) -> bool:
        """Whether rotation copied files away, by this name, before anything of them was read: they are read first."""
        newest, data = _newest_rotated(self._name), b""
        if self._handle is None or newest in (None, self._older):
            return False
        for path in rotated(self._name):
            try:
                with path.open("rb") as other:
                    found = os.fstat(other.fileno())
                    known = self._older is not None and (
                        found.st_ino == self._older[0] or found.st_mtime_ns <= self._older[1]
                    )
                    if known or os.path.samestat(found, os.fstat(self._handle)):
                        break
                    data = other.read() + data
            except OSError:
                return False
        self._older = newest
        self.read_first(data)
        return bool(self._ahead)

    def _changed_file(self) -> bool:
        """At the end of the file: go on with another one that has taken its name."""
        if self._handle is None:
            return False
        try:
            new = Path(self._name).stat()
        except OSError:  # renamed, and not yet begun anew
            if not self._missing:
                self._note(f"{self._name} is no longer there; waiting for it")
            self._missing = True
            return False
        self._missing = False
        old = os.fstat(self._handle)
        if os.path.samestat(new, old):
            return False
        self._read_rotated(lambda other: os.path.samestat(os.fstat(other.fileno()), old))
        if not self._open_again():
            self._ahead = b""
            return False
        self._begin_again(f"{self._name} is a new file; reading it from its beginning")
        return True

    def _open_again(self) -> bool:
        """Take the file that has the name now."""
        try:
            stream = Path(self._name).open("rb")  # noqa: SIM115
        except OSError:
            return False
        self._stream.close()
        self._stream, self._handle = stream, stream.fileno()
        return True

    def _holds_what_was_read(self, other: BinaryIO) -> bool:
        """Whether a file has the bytes before the place that was reached, in that place."""
        place = self.position.size + len(self._rest) + self._too_long
        other.seek(place - len(self._tail))
        return bool(self._tail) and other.read(len(self._tail)) == self._tail

    def _read_rotated(self, is_this: Callable[[BinaryIO], bool]) -> bool:
        """Keep for the next reading what was not read of a file that rotation has renamed or copied; is it there?"""
        data = b""
        for path in rotated(self._name):
            try:
                with path.open("rb") as other:
                    if is_this(other):
                        other.seek(self.position.size)
                        data = other.read() + data
                        break
                    other.seek(0)
                    data = other.read() + data
            except OSError:
                return False
        else:
            return False
        self.read_first(data)
        return True

    def _begin_again(self, why: str) -> None:
        self._note(why)
        self._stream.seek(0)
        self._rest, self._too_long, self._tail, self._back, self._last = b"", 0, b"", b"", b""
        self.position = self._before = Position()
        self._older = _newest_rotated(self._name)


def _newest_rotated(path: str) -> tuple[int, int] | None:
    """Which file rotation made last, and when it was written; None if there is none."""
    try:
        found = Path(f"{path}.1").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def rotated(path: str) -> list[Path]:
    """The files of older lines, the newest first, as log rotation numbers them: path.1, path.2 and so on."""
    found = []
    for k in range(1, _ROTATIONS + 1):
        older = Path(f"{path}.{k}")
        if not older.is_file():
            break
        found.append(older)
    return found


def open_file(path: str) -> BinaryIO:
    """A file of lines, unread; ValueError for what cannot be read as lines."""
    if path.lower().endswith((".parquet", ".pq", ".gz", ".zip", ".zst", ".bz2", ".xz")):
        raise ValueError(f"{path} has no lines to be read one by one; wanted a CSV file, or - for the standard input")
    if not Path(path).exists():
        raise ValueError(f"no such file: {path}")
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    return Path(path).open("rb")
