"""What users install: wheel and source distribution, built, and used in an environment that was empty."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from evtkit._kernels.cache import FOLDERS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
USE = """
import sys
from evtkit import Tail, fit_tail
tail = fit_tail([float(i * i % 997) ** 0.5 for i in range(1000)], quantile=0.9)
tail.save("tail.npz")
loaded = Tail.load("tail.npz")
assert loaded.is_fitted and loaded.xi == tail.xi and loaded.sf(40.0) == tail.sf(40.0), loaded
assert not {"click", "rich", "polars", "matplotlib", "torch"} & set(sys.modules)
import evtkit
assert "site-packages" in evtkit.__file__, evtkit.__file__
"""


def run(*command, code=0, **kwargs):
    """As a stranger would: no paths and no folder of this checkout, but its compiled kernels, to be quick."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env |= {"NUMBA_CACHE_DIR": str(FOLDERS[0].parent), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=env, **kwargs)
    if done.returncode != code and re.search(r"NewConnectionError|Temporary failure in name resolution", done.stderr):
        pytest.skip("no network: nothing can be installed")
    assert done.returncode == code, done.stdout + done.stderr
    return done


def pip(*arguments):
    return run(sys.executable, "-m", "pip", "--quiet", *arguments)


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A wheel and a source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    pip("install", "--target", folder / "builder", "hatchling>=1.27")
    program = f"import sys; sys.path.insert(0, {str(folder / 'builder')!r}); from hatchling.cli import hatchling"
    run(sys.executable, "-c", f"{program}; sys.exit(hatchling())", "build", "-d", folder, cwd=ROOT)
    return {path.suffix: path for path in folder.iterdir() if path.is_file()}


def test_the_wheel_holds_three_typed_packages_and_nothing_else(dist):
    names = zipfile.ZipFile(dist[".whl"]).namelist()
    packages = {"evtkit", "evtkit_torch", "evtkit_keras"}
    assert {name.split("/")[0] for name in names} == packages | {f"evtkit-{PROJECT['version']}.dist-info"}
    assert {f"{package}/py.typed" for package in packages} | {"evtkit/reports/page.html"} <= set(names)
    with tarfile.open(dist[".gz"]) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "constraints.txt", "hatch_build.py", "tests/test_packaging.py"} <= source


def test_the_description_has_no_link_that_an_index_page_would_break(dist):
    wheel = zipfile.ZipFile(dist[".whl"])
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    text = metadata.get_payload(decode=True).decode()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "# evtkit" in text
    assert "quick start" in text
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []


def test_it_works_without_extras_and_the_command_says_what_it_lacks(dist, tmp_path):
    home = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    bin_ = home / ("Scripts" if os.name == "nt" else "bin")
    into = ("--python", bin_ / "python", "install", "--no-compile", "-c", ROOT / "constraints.txt")
    (tmp_path / "x.csv").write_text("level\n" + "\n".join(str(i * i % 997) for i in range(500)))
    for kind in (".gz", ".whl"):
        pip(*into, *(["--no-deps", "--force-reinstall"] if kind == ".whl" else []), dist[kind])
        run(bin_ / "python", "-I", "-c", USE, cwd=tmp_path)
        told = run(bin_ / "evtkit", "fit", "x.csv", code=2, cwd=tmp_path)
        assert told.stderr == "evtkit: the command needs click, rich, polars: pip install 'evtkit[cli]'\n"
    pip(*into, f"{dist['.whl']}[cli]")
    assert "level" in run(bin_ / "evtkit", "fit", "x.csv", cwd=tmp_path).stdout
