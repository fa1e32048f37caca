"""A state belongs to one watch at a time."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["locked"]


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock beside a file, at the most until the process ends; ValueError where another one holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: the last one to write wins
        yield
        return
    target = Path(path)
    handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"{path} is in use by another evtkit watch") from error
        yield
    finally:
        os.close(handle)
