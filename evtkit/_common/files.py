"""Files of arrays and of JSON: replaced atomically, versioned, with a checksum, readable without executing anything.

Nothing that a file says is believed before it is checked: its size against what it claims to hold, its content against
its checksum, and then every array and value against the schema of its kind (see `evtkit._common.schema`).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from evtkit._common.replace import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO, NoReturn

__all__ = [
    "arrays_from_bytes",
    "arrays_to_bytes",
    "json_from_bytes",
    "json_to_bytes",
    "read_arrays",
    "read_json",
    "write_arrays",
    "write_atomic",
    "write_json",
]

_FORMAT = 1
_LONGEST_HEADER = 10_000  # bytes of an array's own description
_BROKEN = (
    KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError, OSError, OverflowError, MemoryError,
    RecursionError, NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading a file raises where its bytes are not what they should be."""


def write_arrays(
    path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Any], attributes: Mapping[str, Any]
) -> Path:
    """Write named arrays and JSON attributes as an .npz file of the given kind."""
    return write_atomic(path, _arrays_writer(kind, arrays, attributes))


def arrays_to_bytes(kind: str, arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> bytes:
    """The content of the file that `write_arrays` would write; the same for the same arguments."""
    stream = io.BytesIO()
    _arrays_writer(kind, arrays, attributes)(stream)
    return stream.getvalue()


def _arrays_writer(kind: str, arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> Callable[[BinaryIO], None]:
    packed: dict[str, Any] = {
        name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()
    }
    checksum = _digest(packed, attributes)
    header = json.dumps({"kind": kind, "format": _FORMAT, "checksum": checksum, **attributes})
    return lambda stream: np.savez(stream, header=np.array(header), **packed)


def read_arrays(
    path: str | os.PathLike[str], kind: str, check: Callable[[dict[str, Any], dict[str, Any]], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and attributes of a file that `write_arrays` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    kind : str
        What it must be.
    check : callable
        Called with arrays and attributes; raises ValueError where they cannot be what was saved.

    Raises
    ------
    ValueError
        If the file is anything else, damaged, or changed since it was written.
    """
    with _opened(path) as stream:
        return _read_arrays(stream, str(path), os.fstat(stream.fileno()).st_size, kind, check)


def arrays_from_bytes(
    data: bytes, kind: str, check: Callable[[dict[str, Any], dict[str, Any]], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `arrays_to_bytes` was given. Other arguments and errors as in `read_arrays`."""
    return _read_arrays(io.BytesIO(data), "data", len(data), kind, check)


def _read_arrays(
    stream: BinaryIO, path: str, size: int, kind: str, check: Callable[[dict[str, Any], dict[str, Any]], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        arrays = _members(stream, size)
        header = arrays.pop("header")
        attributes = json.loads(str(header), parse_constant=_no_constant)
        if header.ndim or not isinstance(attributes, dict):
            raise ValueError("it has no header")
    except _BROKEN as error:
        raise ValueError(f"{path} is not an evtkit file: {_in_short(error)}") from error
    checksum = _check_kind(path, kind, attributes)
    _checked(path, kind, lambda: checksum == _digest(arrays, attributes), lambda: check(arrays, attributes))
    return arrays, attributes


def write_json(path: str | os.PathLike[str], kind: str, content: Mapping[str, Any]) -> Path:
    """Write a JSON file of the given kind; floats are written so that they are read back to the last bit."""
    data = json_to_bytes(kind, content)

    def write(stream: BinaryIO) -> None:
        stream.write(data)

    return write_atomic(path, write)


def json_to_bytes(kind: str, content: Mapping[str, Any]) -> bytes:
    """The content of the file that `write_json` would write."""
    head = {"kind": kind, "format": _FORMAT, "checksum": _digest({}, content)}
    return json.dumps(head | dict(content), allow_nan=False).encode()


def read_json(
    path: str | os.PathLike[str], kind: str, check: Callable[[dict[str, Any]], None] = lambda content: None
) -> dict[str, Any]:
    """The content of a file that `write_json` wrote. Arguments and errors as in `read_arrays`."""
    with _opened(path) as stream:
        try:
            data = stream.read()
        except _BROKEN as error:
            raise ValueError(f"{path} is not an evtkit file: {_in_short(error)}") from error
    return json_from_bytes(data, kind, check, path)


def json_from_bytes(
    data: bytes,
    kind: str,
    check: Callable[[dict[str, Any]], None] = lambda content: None,
    path: str | os.PathLike[str] = "data",
) -> dict[str, Any]:
    """What `json_to_bytes` was given. Other arguments and errors as in `read_json`."""
    try:
        content: dict[str, Any] = json.loads(data, parse_constant=_no_constant)
    except _BROKEN as error:
        raise ValueError(f"{path} is not an evtkit file: {_in_short(error)}") from error
    checksum = _check_kind(path, kind, content)
    _checked(path, kind, lambda: checksum == _digest({}, content), lambda: check(content))
    return content


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, open for reading: a pipe or a device may never end."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(
            f"{path} is not an evtkit file, but {'a folder' if Path(path).is_dir() else 'no regular file'}"
        )
    return Path(path).open("rb")


def _members(stream: BinaryIO, size: int) -> dict[str, Any]:
    """The arrays of an .npz file, none larger than the bytes that are there for it, none of objects."""
    out = {}
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("it claims to hold more than its size")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed")
            with archive.open(entry) as member:
                out[entry.filename.removesuffix(".npy")] = _array(member, entry.file_size)
    if len(out) < len(entries):
        raise ValueError("two arrays have one name")
    return out


def _array(member: Any, size: int) -> Any:
    """One array in NumPy's format, whose description must fit its bytes."""
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"it has arrays in format {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(member, max_header_size=_LONGEST_HEADER)
    if dtype.kind not in "fiubU" or dtype.hasobject or fortran:
        raise ValueError(f"it has an array of dtype {dtype}")
    there = size - member.tell()
    if there != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array has {there} bytes for shape {shape} of {dtype}")
    out = np.empty(shape, dtype)
    if there and member.readinto(out.reshape(-1).view(np.uint8).data) != there:
        raise ValueError("an array ends too early")
    return out


def _check_kind(path: str | os.PathLike[str], kind: str, content: Any) -> Any:
    """Refuse another kind or format; the checksum, taken out with them."""
    if not isinstance(content, dict) or content.pop("kind", None) != kind:
        raise ValueError(f"{path} is not a saved {kind}")
    if (version := content.pop("format", None)) != _FORMAT:
        raise ValueError(f"{path} has format {version!r:.60}, this evtkit reads format {_FORMAT}")
    return content.pop("checksum", None)


def _checked(path: str | os.PathLike[str], kind: str, same: Callable[[], bool], check: Callable[[], None]) -> None:
    """Hold a file's content against its checksum and its schema."""
    try:
        if not same():
            raise ValueError("it was damaged, or changed after it was written")
        check()
    except _BROKEN as error:
        raise ValueError(f"{path} is not a saved {kind}: {_in_short(error)}") from error


def _digest(arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    """A checksum of all that a file holds: names, types, shapes and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(attributes, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode(errors="surrogatepass"))
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _in_short(error: BaseException) -> str:
    """What an exception says, on one line of a readable length."""
    said = " ".join(str(error).split()) or type(error).__name__
    return f"no {said}" if isinstance(error, KeyError) else f"{said:.200}"
