"""The package as installed: lazy names, what importing costs, files."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import evtkit


def imported_by(code: str) -> set[str]:
    script = f"import sys; {code}; print(' '.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_evtkit_loads_nothing_heavy():
    assert not imported_by("import evtkit") & {"numpy", "scipy", "numba", "matplotlib", "polars", "rich", "torch"}


def test_the_distribution_needs_no_numba():
    assert "numba" not in imported_by("from evtkit import gpd; gpd.sf(1.0, 0.1, 1.0)")


@pytest.mark.parametrize("module", ["intervals", "gof", "threshold", "plot", "tail", "spot", "saliency"])
def test_modules_load_numba_only_when_a_kernel_is_called(module):
    if module == "plot":
        pytest.importorskip("matplotlib")
    assert "numba" not in imported_by(f"import evtkit.{module}")


def test_the_core_never_imports_a_neural_framework():
    heavy = {"torch", "tensorflow", "keras", "jax"}
    assert not imported_by("import evtkit; [getattr(evtkit, n) for n in ('fit_tail', 'TailSketch', 'Ranking')]") & heavy


def test_every_name_is_found():
    for name in evtkit.__all__:
        if name not in ("plot", "testing", "saliency"):  # optional dependencies
            assert getattr(evtkit, name) is not None
    assert set(evtkit.__all__) <= set(dir(evtkit))
    with pytest.raises(AttributeError, match="nothing"):
        evtkit.nothing  # noqa: B018


def test_every_extra_that_is_named_exists():
    root = Path(__file__).resolve().parents[1]
    extras = set(
        tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    )
    files = [p for folder in ("evtkit", "adapters", "docs", "examples") for p in (root / folder).rglob("*")]
    for path in [*files, root / "README.md", root / "pyproject.toml"]:
        if path.suffix in (".py", ".rst", ".md", ".toml", ".html") and "_build" not in path.parts:
            for named in re.findall(r"evtkit\[([a-z,-]+)\]", path.read_text(encoding="utf-8")):
                assert set(named.split(",")) <= extras, path


@pytest.mark.parametrize("package", ["evtkit", "adapters/evtkit_torch", "adapters/evtkit_keras"])
def test_type_checkers_may_read_the_package(package):
    assert (Path(__file__).resolve().parents[1] / package / "py.typed").is_file()
