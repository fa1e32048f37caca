"""Ctrl-C and SIGTERM as a question that is asked between two pieces of work, so that none is left half done."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Stop"]


class Stop:
    """Within it, the first signal makes it true; a second one acts as ever.

    Examples
    --------
    >>> with Stop() as stop:
    ...     signal.raise_signal(signal.SIGINT)
    ...     bool(stop)
    True
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self._asked

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = self._before[number] = signal.signal(number, self._handle)
            if before == signal.SIG_IGN:  # as for what a shell runs in the background
                signal.signal(number, before)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, self._before[number])
