"""Compiled kernels: kept by content, compiled by one process at a time, and never lost for want of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from evtkit.cli import main

if TYPE_CHECKING:
    from pathlib import Path

TINY = """
from evtkit._kernels.jit import kernel

@kernel("float64(float64)")
def twice(x):
    return 2.0 * x

print(twice(2.0))
"""


@pytest.fixture
def tiny(tmp_path):
    script = tmp_path / "tiny.py"
    script.write_text(TINY)
    return script


def start(script: Path, cache: Path) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "EVTKIT_QUIET"}
    return subprocess.Popen(
        [sys.executable, str(script)], env=environment | {"NUMBA_CACHE_DIR": str(cache)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(script: Path, cache: Path) -> str:
    """What a run says on its standard error."""
    process = start(script, cache)
    out, error = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, "4.0\n"), error
    return error


def test_threads_may_be_the_first_to_call_a_kernel_while_others_are(tmp_path):
    script = tmp_path / "tiny.py"
    script.write_text(
        TINY.replace(
            "print(twice(2.0))",
            """
from concurrent.futures import ThreadPoolExecutor
from time import sleep

def call(number):
    sleep(0.01 * number)  # some call while another one compiles
    return twice(2.0)

with ThreadPoolExecutor(100) as pool:
    print(*set(pool.map(call, range(100))))
""",
        )
    )
    run(script, tmp_path / "cache")


def test_a_kernel_is_compiled_once_whatever_the_times_of_files(tiny, tmp_path):
    cache = tmp_path / "cache"
    assert run(tiny, cache).count("compiling kernels") == 1
    os.utime(tiny, (1.0, 1.0))  # as in the layers of an image
    assert run(tiny, cache) == ""


def test_a_torn_cache_is_compiled_anew(tiny, tmp_path):
    cache = tmp_path / "cache"
    run(tiny, cache)
    for path in cache.rglob("*.nb[ic]"):
        path.write_bytes(path.read_bytes()[:20])
    assert "compiling" in run(tiny, cache)
    assert run(tiny, cache) == ""


def test_of_processes_that_start_together_one_compiles(tiny, tmp_path):
    processes = [start(tiny, tmp_path / "cache") for _ in range(3)]
    errors = []
    for process in processes:
        out, error = process.communicate(timeout=300)
        assert (process.returncode, out) == (0, "4.0\n"), error
        errors.append(error)
    assert sum("compiling" in error for error in errors) == 1


def test_without_any_folder_to_write_to_kernels_are_kept_in_a_private_one(monkeypatch, tmp_path, capsys):
    from evtkit._kernels import cache

    usable = cache._usable
    monkeypatch.setattr(cache, "_usable", lambda folder: folder.is_relative_to(tmp_path) and usable(folder))
    monkeypatch.setattr(cache.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    folders = cache._folders()
    assert folders[0].is_dir()
    assert folders[0].is_relative_to(tmp_path)
    assert folders[0].parent.stat().st_mode & 0o077 == 0
    assert capsys.readouterr().err.count("set NUMBA_CACHE_DIR") == 1


def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path):
    from evtkit._kernels import cache

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    foreign.chmod(0o777)
    assert not cache._private(foreign)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert not cache._private(link)
    assert cache._private(tmp_path / "own")


def test_warm_up_compiles_what_there_is(monkeypatch):
    result = CliRunner().invoke(main, ["warm-up"])
    assert result.exit_code == 0, result.output
    assert "kernels" in result.output


LATE = """
from evtkit._kernels.jit import _KERNELS, kernel

@kernel("float64(float64)", late=True)
def root(x):
    return x**0.5

@kernel("float64(float64)")
def either(x):
    return root(x) if x > 0.0 else 0.0

late = _KERNELS["__main__.root"]
print(either(-1.0), late._is_linked[0], either(4.0), late._is_linked[0])
"""


def test_a_late_kernel_is_compiled_when_it_is_reached(tmp_path):
    script = tmp_path / "late.py"
    script.write_text(LATE)
    for _ in range(2):  # compiled, and from the cache
        process = start(script, tmp_path / "cache")
        out, error = process.communicate(timeout=300)
        assert (process.returncode, out) == (0, "0.0 False 2.0 True\n"), error


def test_many_threads_may_reach_a_late_kernel_at_once(tmp_path):
    script = tmp_path / "late.py"
    many = "\nfrom concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(20) as pool:\n"
    script.write_text(LATE.replace("late = ", f"{many}    print(set(pool.map(either, [4.0] * 200)))\nlate = "))
    process = start(script, tmp_path / "cache")
    out, error = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, "{2.0}\n0.0 True 2.0 True\n"), error


@pytest.mark.parametrize("failure", ["OverflowError('no')", "KeyboardInterrupt()"])
def test_what_stops_the_compilation_of_a_late_kernel_is_told_and_may_be_tried_again(failure, tmp_path):
    script = tmp_path / "late.py"
    script.write_text(LATE.replace("print(", f"""
good, first = type(late).make_ready, []

def bad(self, position):
    if not first:
        first.append(position)
        raise {failure}
    good(self, position)

type(late).make_ready = bad
try:
    either(4.0)
except BaseException as error:
    print(repr(error))
print("""))  # fmt: skip
    process = start(script, tmp_path / "cache")
    out, error = process.communicate(timeout=300)
    told = f"{failure}\n0.0 {failure.startswith('Key')} 2.0 True\n"
    assert (process.returncode, out) == (0, told), error
