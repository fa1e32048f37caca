"""Lines of a file or a pipe as they arrive: whole ones, as many as are there, never waiting for more of them."""

from __future__ import annotations

import os
import select
import time
import zlib
from dataclasses import dataclass, replace
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
    """How much of a file has been read: so many whole lines, with their size in bytes and checksum (CRC-32).

    Files may begin alike, with a header, so it is also known which file rotation had made last when this one was begun:
    its number on the disk, and when it was written; both 0 if there was none.
    """

    lines: int = 0
    size: int = 0
    checksum: int = 0
    older: int = 0
    written: int = 0

    def after(self, data: bytes) -> Position:
        """The position behind these whole lines."""
        checksum = zlib.crc32(data, self.checksum)
        return replace(self, lines=self.lines + data.count(b"\n"), size=self.size + len(data), checksum=checksum)

    def has_seen(self, path: Path) -> bool:
        """Whether rotation had made this file already."""
        older, written = _identity(path)
        return older == self.older or written < self.written


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
        self._position = self._behind = self._start = _start_of(name)
        try:
            self._handle: int | None = stream.fileno()
        except OSError:  # bytes
            self._handle = None

    @property
    def position(self) -> Position:
        """Behind the lines that were read; in an older file while there is more of it to be read first."""
        return self._behind if self._ahead else self._position

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
        reached = replace(position, lines=0, size=0, checksum=0)
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
        self._position = position
        return True

    def go_on(self, position: Position) -> str | None:
        """Go behind what was read before, in this file or in one that rotation made of it; which one, if there is one.

        What is left of an older one, and all of those between, is read first.
        """

        def is_this(other: BinaryIO) -> bool:
            other.seek(0)
            return Lines(other, "").resume(position)

        since = self._rotated_since(position)
        if not since and self.resume(position):
            return self._name
        self._behind = position
        paths = rotated(self._name) if position.size > _FINGERPRINT else since
        found = self._read_rotated(is_this, position.size, paths, len(since))
        if found is None and since and self.resume(position):
            return self._name
        return found

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
            since = self._copied_since_begun()
            self._read_rotated(self._holds_what_was_read, self._position.size, since, len(since))
            self._begin_again(f"{self._name} was cut and filled anew; reading it from its beginning")
            return self.read(0.0) if self._ahead else []
        data: bytes = getattr(self._stream, "read1", self._stream.read)(_AT_ONCE)
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
        self._back, self._position = self._last[size:], self._before.after(self._last[:size])

    def _take(self, data: bytes) -> list[str]:
        """These whole lines."""
        self._back = b""
        if self._too_long:  # marked, so that what is left of the line is not taken for one
            line, cut, others = data.partition(b"\n")
            size = len(line) + self._too_long
            data = line[:LONGEST] + f"… ({size} bytes)".encode() + cut + others
            checksum = zlib.crc32(line[LONGEST:] + cut, self._checksum)
            self._last, self._too_long = others, 0
            lines, start = self._position.lines + 1, self._position.size
            self._before = replace(self._position, lines=lines, size=start + size + 1, checksum=checksum)
            self._position = self._before.after(others)
        else:
            self._last, self._before, self._position = data, self._position, self._position.after(data)
        text = data.decode(errors="replace")
        return (text.replace("\r\n", "\n") if b"\r" in data else text)[:-1].split("\n")

    def _drop(self, data: bytes) -> None:
        """Forget a part of a line that is too long."""
        self._rest = self._rest[:LONGEST]
        if not self._too_long:
            self._checksum = zlib.crc32(self._rest, self._position.checksum)
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
        place = self._position.size + len(self._rest) + self._too_long
        if os.fstat(self._handle).st_size < place:
            return True
        if os.name == "nt" or not self._tail:
            return False
        if os.pread(self._handle, len(self._tail), place - len(self._tail)) != self._tail:
            return True
        if place > _FINGERPRINT:
            return False
        return any(map(self._is_copy, self._copied_since_begun()))  # a file may begin as the last one began

    def _is_copy(self, path: Path) -> bool:
        """Whether a file that rotation made is another one than this, with what was read of it."""
        try:
            with path.open("rb") as other:
                return self._holds_what_was_read(other)
        except OSError:
            return False

    def _rotated_since(self, position: Position) -> list[Path]:
        """The files that rotation has made since the file of this position was begun, the newest first."""
        since = []
        for path in rotated(self._name):
            try:
                if position.has_seen(path):
                    break
            except OSError:  # is being renamed
                return []
            since.append(path)
        return since

    def _copied_since_begun(self) -> list[Path]:
        """The files that rotation has made of this one since it was begun, the newest first, whatever its name now."""
        assert self._handle is not None
        since, this = self._rotated_since(self._start), os.fstat(self._handle)
        for k, path in enumerate(since):
            try:
                if os.path.samestat(path.stat(), this):  # it has been renamed
                    return since[k + 1 :]
            except OSError:
                return []
        return since

    def _missed_one(self) -> bool:
        """Whether rotation copied files away, by this name, before anything of them was read: they are read first."""
        if self._handle is None or not (since := self._copied_since_begun()):
            return False
        try:
            start, data = _start_after(since[0]), b"".join(_whole(path.read_bytes()) for path in reversed(since))
        except OSError:
            return False
        self._behind, self._ahead = self._start, data
        self._position = self._start = start
        return bool(data)

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
        self._read_rotated(
            lambda other: os.path.samestat(os.fstat(other.fileno()), old), self._position.size, rotated(self._name), 0
        )
        if not self._open_again():
            self._ahead = b""
            return False
        self._begin_again(f"{self._name} is a new file; reading it from its beginning")
        return True

    def _open_again(self) -> bool:
        """Take the file that has the name now."""
        try:
            stream = Path(self._name).open("rb", buffering=0)  # noqa: SIM115
        except OSError:
            return False
        self._stream.close()
        self._stream, self._handle = stream, stream.fileno()
        return True

    def _holds_what_was_read(self, other: BinaryIO) -> bool:
        """Whether a file has the bytes before the place that was reached, in that place."""
        place = self._position.size + len(self._rest) + self._too_long
        other.seek(place - len(self._tail))
        return bool(self._tail) and other.read(len(self._tail)) == self._tail

    def _read_rotated(
        self, is_this: Callable[[BinaryIO], bool], size: int, paths: list[Path], since: int
    ) -> str | None:
        """Keep for the next reading what follows so many bytes of a file that rotation has renamed or copied.

        It is the oldest that fits of so many made since then, for files may begin alike; or else the newest of all.
        """
        for k in [*reversed(range(since)), *range(since, len(paths))]:
            path = paths[k]
            try:
                with path.open("rb", buffering=0) as other:
                    if not is_this(other):
                        continue
                    other.seek(size)
                    left = [other.read(), *(newer.read_bytes() for newer in reversed(paths[:k]))]
            except OSError:
                return None
            self._ahead = b"".join(map(_whole, left))
            return str(path)
        return None

    def _begin_again(self, why: str) -> None:
        self._note(why)
        self._behind = self._position
        self._stream.seek(0)
        self._rest, self._too_long, self._tail, self._back, self._last = b"", 0, b"", b"", b""
        self._position = self._before = self._start = _start_of(self._name, self._handle)


def _start_of(name: str, handle: int | None = None) -> Position:
    """The position at the start of a file that has just been begun; of one that was renamed since, before that."""
    try:
        older = rotated(name)
        if handle is not None:
            this = os.fstat(handle)
            for k, path in enumerate(older):
                if os.path.samestat(path.stat(), this):
                    older = older[k + 1 :]
                    break
        if older:
            return _start_after(older[0])
    except OSError:
        pass
    return Position()


def _start_after(path: Path) -> Position:
    """The position at the start of a file that was begun when this was the one that rotation had made last."""
    older, written = _identity(path)
    return Position(older=older, written=written)


def _identity(path: Path) -> tuple[int, int]:
    """A file's number on the disk and when it was written, in microseconds, as integers that JSON can hold."""
    found = path.stat()
    return found.st_ino & (1 << 53) - 1, found.st_mtime_ns // 1000


def _whole(data: bytes) -> bytes:
    """The whole lines."""
    return data[: data.rfind(b"\n") + 1]


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
    return Path(path).open("rb", buffering=0)  # what is in a buffer may no longer be in the file
