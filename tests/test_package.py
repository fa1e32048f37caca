"""The package as installed: lazy names, what importing costs, files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import evtkit
from evtkit._common.files import read_arrays, write_arrays, write_atomic


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


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, "Kind", {"x": np.arange(3)}, {})

    def broken(stream) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, broken)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert np.array_equal(read_arrays(path, "Kind")[0]["x"], np.arange(3))


def test_files_know_their_kind(tmp_path):
    write_arrays(tmp_path / "a.npz", "Kind", {"x": np.arange(3)}, {"note": "ξ"})
    assert read_arrays(tmp_path / "a.npz", "Kind")[1] == {"note": "ξ"}
    with pytest.raises(ValueError, match="not a saved Other"):
        read_arrays(tmp_path / "a.npz", "Other")
    with pytest.raises(ValueError, match="not a folder"):
        write_arrays(tmp_path / "no" / "a.npz", "Kind", {}, {})


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "p.npz", header=np.array(object(), dtype=object))
    with pytest.raises(ValueError, match="not an evtkit file"):
        read_arrays(tmp_path / "p.npz", "Kind")
