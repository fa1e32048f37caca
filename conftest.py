"""What every test and example starts with, whatever started the run; and which tests the quick run leaves out."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent
# Networks, other libraries' estimators, pictures and pages, commands as processes, the tools that test estimators: all
# but the laws of the core. What is slow beside quick tests is marked where it stands.
SLOW = (
    "adapters", "docs", "evtkit/cli", "evtkit/demo", "evtkit/interop", "evtkit/plot", "evtkit/reports",
    "evtkit/saliency", "evtkit/testing", "tests/interop", "tests/keras", "tests/saliency", "tests/torch",
    "tests/test_cli.py", "tests/test_demo.py", "tests/test_docs.py", "tests/test_evidence.py", "tests/test_examples.py",
    "tests/test_frames.py", "tests/test_fuzz.py", "tests/test_kernel_cache.py", "tests/test_nab_score.py",
    "tests/test_package.py", "tests/test_packaging.py", "tests/test_plot.py", "tests/test_reports.py",
    "tests/test_saliency_examples.py",
    "tests/test_terminal.py", "tests/test_testing.py", "tests/test_watch.py",
)  # fmt: skip


def _is_slow(path: Path) -> bool:
    return any(path.is_relative_to(ROOT / slow) for slow in SLOW)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process a processor; no more than four, for each may hold PyTorch and TensorFlow."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without the slow tests nothing imports PyTorch or TensorFlow, which takes longer than many a test."""
    if collection_path == ROOT / "tests" / "typing":  # for type checkers, not to be run
        return True
    return True if config.option.markexpr == "not slow" and _is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by where it is."""
    for item in items:
        if _is_slow(item.path):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _usual_signals() -> Iterator[None]:
    """Signals as a terminal's foreground job has them.

    A process inherits which signals are ignored or blocked. `nohup`, a shell's `&` in a script and many CI runners hand
    down an ignored SIGINT or SIGHUP; the commands that a test starts would then ignore the signals that it sends.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    usual |= {getattr(signal, name): signal.SIG_DFL for name in ("SIGHUP", "SIGCHLD") if hasattr(signal, name)}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ()) if hasattr(signal, "pthread_sigmask") else None
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    if blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
