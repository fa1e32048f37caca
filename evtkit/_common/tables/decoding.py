"""The text of a file: decompressed, decoded, with one kind of line end."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import sys
import zlib
from pathlib import Path

__all__ = ["decoded", "read_bytes"]

_OPEN = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}
_CLOSED = {
    b"PK\x03\x04": "a zip file or spreadsheet; save it as CSV",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; pipe it",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with UTF-16's, so it goes first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_bytes(path: str) -> bytes:
    """What is in a file, or on the standard input ("-"), decompressed."""
    if path == "-":
        data = sys.stdin.buffer.read()
    else:
        file = Path(path)
        if not file.is_file() and not file.is_fifo():
            raise ValueError(f"{path} is a folder, not a file" if file.is_dir() else f"no such file: {path}")
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from None
    for magic, decompress in _OPEN.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
                raise ValueError(f"cannot decompress {path}: {error}") from None
    for magic, what in _CLOSED.items():
        if data.startswith(magic):
            raise ValueError(f"cannot read {path}: it is {what}")
    return data


def decoded(data: bytes, path: str, encoding: str | None) -> str:
    r"""The text, with lines that end in \n, or a ValueError that names the encoding which may be right."""
    mark, marked = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", None))
    if encoding is None:
        encoding, data = marked or "utf-8", data[len(mark) :]
    elif marked is not None and codecs.lookup(encoding).name not in (marked, marked[:6], "utf-8-sig"):
        raise ValueError(f"{path} begins with the mark of {marked.upper()}, got --encoding {encoding}; leave it out")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"cannot read {path}: byte 0x{data[error.start]:02x} in line {line} is not {encoding.upper()}; "
            f"wanted --encoding with another one, such as {_guess(data)}"
        ) from None
    if "\0" in text:
        raise ValueError(f"cannot read {path}: it holds zero bytes; wanted text, or --encoding such as {_guess(data)}")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _guess(data: bytes) -> str:
    """The encoding that bytes which are not UTF-8 may have."""
    start = data[:1000]
    if start.count(0) < len(start) // 4:
        return "latin-1"
    return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
