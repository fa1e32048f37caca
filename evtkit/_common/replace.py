"""Replacing a file so that a reader, whenever it looks, sees the whole old file or the whole new one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted: that is lock enough
    fcntl = None  # type: ignore[assignment]

__all__ = ["write_atomic"]

_LONGEST = 120  # characters of a name that its temporary file takes over; file systems allow 255 bytes


def write_atomic(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it.

    A link is followed: what it points to is replaced. A file that is there passes on its permissions and, where that is
    allowed, its owner; a new one has those that the umask leaves. What earlier processes left behind when they were
    killed is swept away. Several processes may write the same file at once: the last one to finish wins.

    Parameters
    ----------
    path : str or path-like
        The file.
    write : callable
        Called with a binary stream.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If `path` is in no folder, or something other than a regular file.
    """
    target = Path(os.path.realpath(path))
    before = _status(target)
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {path}: {target.parent} is not a folder")
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise ValueError(f"cannot write {path}: it is {'a folder' if target.is_dir() else 'no regular file'}")
    _sweep(target)
    handle, beside = _create(target, 0o666 if before is None else before.st_mode & 0o777)
    try:
        with os.fdopen(handle, "wb") as stream:
            if before is not None:
                _take_over(handle, before)
            write(stream)
            stream.flush()
            os.fsync(handle)
            if fcntl is not None:
                beside.replace(target)  # still locked: nobody sweeps it away
        if fcntl is None:
            beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    return Path(path)


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"cannot write {target}: {error.strerror}") from error


def _prefix(target: Path) -> str:
    return f".{target.name.encode()[:_LONGEST].decode(errors='ignore')}."


def _create(target: Path, mode: int) -> tuple[int, Path]:
    """A new file beside the target, locked; the mask for new files applies, as it does to any."""
    while True:
        beside = target.with_name(f"{_prefix(target)}{secrets.token_hex(6)}.part")
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), mode)
        if _lock(handle, wait=True) is False or beside.exists():
            return handle, beside
        os.close(handle)  # another process swept it away before it was locked


def _lock(handle: int, *, wait: bool) -> bool | None:
    """Whether the lock was got; None where another process has it. A file system without locks gives none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def _sweep(target: Path) -> None:
    """Delete the temporary files of this target that no process is writing any more: their locks went with them."""
    leftover = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{12}\.part")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for name in [entry.name for entry in entries if leftover.fullmatch(entry.name)]:
            beside = target.with_name(name)
            with contextlib.suppress(OSError):
                if fcntl is None:
                    beside.unlink()
                    continue
                handle = os.open(beside, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    if _lock(handle, wait=False):
                        beside.unlink()
                finally:
                    os.close(handle)


def _take_over(handle: int, before: os.stat_result) -> None:
    """Owner and permissions of the file that will be replaced."""
    if hasattr(os, "fchown"):
        now = os.fstat(handle)
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            with contextlib.suppress(OSError):
                os.fchown(handle, before.st_uid, before.st_gid)
        os.fchmod(handle, stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power failure, where the system can."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
