"""Independent pieces of work on several threads; kernels release the GIL, so threads are enough.

Which thread does which piece never matters: every piece is computed alone, by the same code, in the same order.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from evtkit._common.checks import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["Beside", "blocks", "chunks", "for_each", "pieces", "thread_count"]

T = TypeVar("T")

_WORTH_A_THREAD = 1 << 16  # values
_MOST = 1 << 13  # channels in a piece, for what is needed beside the answer
_GRAIN = 16  # channels, a multiple of what kernels do together


def thread_count(n_threads: int | None) -> int:
    """The number of threads to use: as asked, else EVTKIT_NUM_THREADS, else every processor this process may use."""
    if n_threads is None:
        given = os.environ.get("EVTKIT_NUM_THREADS")
        if given is None:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if not (given.isascii() and given.strip().isdigit() and int(given)):
            raise ValueError(f"EVTKIT_NUM_THREADS must be a positive integer, got {given!r:.60}")
        return int(given)
    return whole_number(n_threads, "n_threads", 1)


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(total)."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def pieces(channels: int, width: int, n_threads: int | None) -> list[slice]:
    """Channels of `width` values to be done together: some pieces a thread, or one where threads are not worth it."""
    if channels * width < _WORTH_A_THREAD:
        return [slice(0, channels)]
    size = min(-(-channels // (4 * thread_count(n_threads))), _MOST)
    return list(chunks(channels, -(-size // _GRAIN) * _GRAIN))


def blocks(rows: int, channels: int, n_threads: int | None, work: int = 1) -> list[tuple[slice, slice]]:
    """Blocks of rows × channels to be done together, an entry as long as `work` values; along the longer axis."""
    if rows > channels:
        return [(piece, slice(0, channels)) for piece in pieces(rows, work * channels, n_threads)]
    return [(slice(0, rows), piece) for piece in pieces(channels, work * rows, n_threads)]


def for_each(work: Callable[[T], None], pieces: Iterable[T], n_threads: int | None) -> None:
    """Call work(piece) for every piece; the first exception is raised after the others have ended."""
    pieces = list(pieces)
    count = min(thread_count(n_threads), len(pieces))
    if count <= 1:
        for piece in pieces:
            work(piece)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(work, pieces):
            pass


class Beside:
    """One piece of work at a time, in order, beside what the caller does next; at once where there is one thread.

    Parameters
    ----------
    n_threads : int or None
        As in `thread_count`.
    """

    def __init__(self, n_threads: int | None) -> None:
        self._pool = ThreadPoolExecutor(1) if thread_count(n_threads) > 1 else None
        self._last: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Begin it, after the piece before has ended; an exception of that one is raised."""
        self.wait()
        if self._pool is None:
            work()
        else:
            self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until the last piece has ended, and raise what it raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
