"""Where compiled kernels are kept: a folder named after the content of this one, filled by one process at a time.

The first of these that can be written to is used:

1. ``NUMBA_CACHE_DIR``, if it is set;
2. ``__pycache__`` beside the kernels;
3. the user's folder for caches;
4. a folder in the system's temporary one that belongs to the user alone; one line on the standard error says so.

What is found beside the kernels is read in any case, as when an image was built by another user. The folder's name is a
hash of the kernels' sources, so times of files do not matter, and an edited kernel never meets an older one.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["STAMP", "KernelCache"]

_UNUSED = 30 * 24 * 3600.0  # seconds after which the kernels of other sources are removed from a shared folder
_QUIET = "EVTKIT_QUIET"


def _stamp() -> str:
    """What the kernels' sources are, whenever they were written."""
    digest = hashlib.blake2b(digest_size=10)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _users_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _usable(folder: Path) -> bool:
    """Make the folder; whether files can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private(folder: Path) -> bool:
    """Make a folder that nobody else can write to; False if there is one that somebody could have filled."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    mine = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return stat.S_ISDIR(found.st_mode) and mine and not found.st_mode & 0o022


def _folders() -> list[Path]:
    """The folder to write to, and others to read from."""
    name = f"evtkit-{STAMP}"
    beside = Path(__file__).parent / "__pycache__" / name
    readable = [beside]
    if chosen := getattr(config, "CACHE_DIR", ""):
        shared = Path(chosen)
        if _usable(shared / name):
            _forget(shared, name, _UNUSED)
            return [shared / name, beside]
        readable = [shared / name, beside]  # filled by somebody else, as when an image was built
    if _usable(beside):
        _forget(beside.parent, name, 0.0)
        return [beside, *readable[:-1]]
    try:
        shared = _users_folder() / "evtkit"
        if _usable(shared / name):
            _forget(shared, name, _UNUSED)
            return [shared / name, *readable]
    except RuntimeError:  # no home
        pass
    owner = os.geteuid() if hasattr(os, "geteuid") else "user"
    shared = Path(tempfile.gettempdir()) / f"evtkit-kernels-{owner}"
    if not _private(shared):
        shared = Path(tempfile.mkdtemp(prefix="evtkit-kernels-"))
        atexit.register(shutil.rmtree, shared, ignore_errors=True)
    _usable(shared / name)
    _say(f"compiled kernels are kept in {shared}; set NUMBA_CACHE_DIR to a folder that lasts")
    return [shared / name, *readable]


def _forget(folder: Path, name: str, unused: float) -> None:
    """Remove kernels of other sources that have not been used for so many seconds."""
    try:
        os.utime(folder / name)
        for other in folder.glob("evtkit-*"):
            if other.name != name and other.stat().st_mtime <= time.time() - unused:
                shutil.rmtree(other, ignore_errors=True)
    except OSError:
        pass


def _say(text: str) -> None:
    if not os.environ.get(_QUIET):
        sys.stderr.write(f"evtkit: {text}\n")
        sys.stderr.flush()


STAMP = _stamp()
FOLDERS = _folders()


class _Lock:
    """One process compiles, the others wait for what it leaves in the folder. Without file locks nobody waits."""

    def __init__(self, path: Path) -> None:
        self._path, self._depth = path, 0
        self._file: Any = None

    def acquire(self) -> None:
        """Wait until no other process compiles."""
        self._depth += 1
        if self._depth > 1:
            return
        try:
            import fcntl

            self._file = self._path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass

    def release(self) -> None:
        """Let the next one compile."""
        self._depth -= 1
        if self._depth == 0 and self._file is not None:
            self._file.close()
            self._file = None


_LOCK = _Lock(FOLDERS[0] / "lock")
_said: list[str] = []


class _Place:
    """What Numba asks of a place in a cache."""

    def __init__(self, py_func: Any) -> None:
        self._py_file = py_func.__code__.co_filename

    def ensure_cache_path(self) -> None:
        FOLDERS[0].mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(FOLDERS[0])

    def get_source_stamp(self) -> str:
        return STAMP

    def get_disambiguator(self) -> str:
        return ""


class _Form(CompileResultCacheImpl):
    """How a kernel is written, with what it calls, and under which name."""

    def __init__(self, py_func: Any, cache: KernelCache, form: str) -> None:
        self._cache = weakref.proxy(cache)
        self._lineno = py_func.__code__.co_firstlineno
        self._locator = _Place(py_func)
        module = py_func.__module__.rpartition(".")[2]
        self._filename_base = f"{module}.{py_func.__qualname__}-{form}-{sys.implementation.cache_tag}"

    def reduce(self, result: Any) -> Any:
        return self._cache.callees, super().reduce(result)

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        callees, result = payload
        self._cache.need(callees)  # before the code that refers to them is linked
        return super().rebuild(target_context, result)


class KernelCache(FunctionCache):
    """The cache of one kernel in one form, for Numba's dispatcher.

    `callees` are what the kernel that is being compiled calls; `need` is told those of one that is loaded.
    """

    def __init__(self, py_func: Any, need: Callable[[list[Any]], None], form: str) -> None:
        self.callees: list[Any] = []
        self.need = need
        self._name, self._py_func, self._impl = repr(py_func), py_func, _Form(py_func, self, form)
        self._cache_path = str(FOLDERS[0])
        self._files = [IndexDataCacheFile(str(folder), self._impl.filename_base, STAMP) for folder in FOLDERS]
        self._cache_file = self._files[0]
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel, or None; this process then compiles it within `kept`, while others wait."""
        target_context.refresh()
        found = self._load(sig, target_context)
        if found is None:
            _LOCK.acquire()
            found = self._load(sig, target_context)
            if found is not None:
                _LOCK.release()
            elif not _said:
                _said.append("compiling")
                _say("compiling kernels for this processor, once; this takes up to a minute")
        return found

    @contextmanager
    def kept(self, sig: Any) -> Iterator[Callable[[Any], Any]]:
        """A function that keeps the compiled kernel, if there is room; at the end others may go on."""

        def keep(data: Any) -> Any:
            self._save(sig, data)
            return data

        try:
            yield keep
        finally:
            _LOCK.release()

    def _save(self, sig: Any, data: Any) -> None:
        try:
            self.save_overload(sig, data)
        except OSError:  # a full disk: it is compiled anew in the next process
            pass
        except Exception:  # an index that cannot be read: a new one in its place
            try:
                self._cache_file.flush()
                self.save_overload(sig, data)
            except OSError:
                pass

    def _load(self, sig: Any, target_context: Any) -> Any:
        key = self._index_key(sig, target_context.codegen())
        for file in self._files:
            try:
                data = file.load(key)
            except Exception:  # torn or unreadable: compiled anew
                continue
            if data is not None:
                return self._impl.rebuild(target_context, data)
        return None
