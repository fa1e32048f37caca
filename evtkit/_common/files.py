"""Files of arrays: written beside and renamed, versioned, readable without executing anything."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

__all__ = ["read_arrays", "read_json", "write_arrays", "write_atomic", "write_json"]

_FORMAT = 1


def _umask() -> int:
    """The process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()


def write_atomic(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it: readers see the old file or the new one."""
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {target}: {target.parent} is not a folder")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o666 & ~_UMASK)  # as an ordinary new file; temporary ones are private
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def write_arrays(
    path: str | os.PathLike[str], kind: str, arrays: Mapping[str, Any], attributes: Mapping[str, Any]
) -> Path:
    """Write named arrays and JSON attributes as an .npz file of the given kind."""
    header = json.dumps({"kind": kind, "format": _FORMAT, **attributes})
    return write_atomic(path, lambda stream: np.savez(stream, header=np.array(header), **arrays))


def read_arrays(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and attributes of a file that `write_arrays` wrote; ValueError if it is anything else."""
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        attributes = json.loads(str(arrays.pop("header")))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not an evtkit file: {error}") from error
    if attributes.pop("kind", None) != kind:
        raise ValueError(f"{path} is not a saved {kind}")
    if (version := attributes.pop("format", None)) != _FORMAT:
        raise ValueError(f"{path} has format {version}, this evtkit reads format {_FORMAT}")
    return arrays, attributes


def write_json(path: str | os.PathLike[str], kind: str, content: Mapping[str, Any]) -> Path:
    """Write a JSON file of the given kind; floats are written so that they are read back to the last bit."""
    text = json.dumps({"kind": kind, "format": _FORMAT, **content}, allow_nan=False, indent=1)

    def write(stream: BinaryIO) -> None:
        stream.write(text.encode())

    return write_atomic(path, write)


def read_json(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The content of a file that `write_json` wrote; ValueError if it is anything else."""
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not an evtkit file: {error}") from error
    if not isinstance(content, dict) or content.pop("kind", None) != kind:
        raise ValueError(f"{path} is not a saved {kind}")
    if (version := content.pop("format", None)) != _FORMAT:
        raise ValueError(f"{path} has format {version}, this evtkit reads format {_FORMAT}")
    return content
