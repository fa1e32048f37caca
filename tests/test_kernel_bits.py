"""A fit is the same to the last bit whatever was compiled before it, and to a bound on another processor."""

from __future__ import annotations

import ast
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "evtkit"

FITS = """
import hashlib
import numpy as np
from evtkit import fit_gpd, gpd

{first}
digest = hashlib.blake2b()
for n, xi in ((90, 0.3), (400, -0.3), (700, 0.0), (1500, 0.02)):
    fit = fit_gpd(gpd.rvs(xi, 1.0, (n, 200), rng=n))
    for field in (fit.xi, fit.sigma, fit.loglik, fit.se_xi, fit.cov):
        digest.update(field.tobytes())
print(digest.hexdigest())
"""

SUMS = """
import numpy as np
from evtkit._kernels.sums import near_zero, sums

z = np.zeros((8, 16, 8))
z.ravel()[:1000] = y = np.random.default_rng(0).standard_exponential(1000)
for t in (0.3, 2.0, -0.05):
    print(*(float(x).hex() for x in sums(z, 1000, y.max(), t)))
print(*(float(x).hex() for x in near_zero(z, 1000, y.max(), 1e-3, np.empty((2, 8, 8)))))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The package without the kernels that were compiled beside it."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(PACKAGE, folder / "evtkit", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def start(tree, cache, code, **variables):
    environment = os.environ | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(cache), "EVTKIT_QUIET": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment | variables, cwd=tree, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def said(process):
    out, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    return out


@pytest.mark.slow
def test_no_history_of_compilations_changes_a_bit(tree, tmp_path):
    plain = FITS.format(first="")
    workers = [start(tree, tmp_path / "cache", plain) for _ in range(4)]  # on an empty cache
    digests = {said(worker) for worker in workers}
    histories = {
        "the innermost kernels are compiled anew, beneath others": (["sums._blocked-*", "maxima.solve-*"], ""),
        "the outermost are": (["grimshaw.fit_*", "grimshaw.moments-*"], ""),
        "another entry point comes first": (
            ["sums.*", "maxima.sign_of_slope-*"],
            "fit_gpd(np.arange(1.0, 200.0), method='zhang-stephens')",
        ),
    }
    for patterns, first in histories.values():
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "cache", copy)
        gone = [path for pattern in patterns for path in copy.rglob(pattern)]
        assert gone, sorted(path.name for path in copy.rglob("*"))
        for path in gone:
            path.unlink()
        digests.add(said(start(tree, copy, FITS.format(first=first))))
        shutil.rmtree(copy)
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names an x86-64 processor")
def test_sums_differ_by_rounding_alone_on_a_processor_without_fused_operations(tree, tmp_path):
    ours = said(start(tree, tmp_path, SUMS)).split("\n")
    theirs = said(start(tree, tmp_path, SUMS, NUMBA_CPU_NAME="nehalem", NUMBA_CPU_FEATURES="")).split("\n")
    # Three roundings for each of 16 factors, and the additions of a lane; Σ 1/a² is a difference, some 16 times worse.
    bounds = [(48 + 16) * 2.0**-52, (48 + 16) * 2.0**-52, 16 * (48 + 16) * 2.0**-52]
    for one, other in zip(ours, theirs, strict=True):
        for a, b, bound in zip(
            map(float.fromhex, one.split()), map(float.fromhex, other.split()), bounds, strict=False
        ):
            assert abs(a - b) <= bound * abs(b)


def test_no_kernel_may_be_reordered():
    """The options of compilation are in one file, and licence at most to round a product and a sum once."""
    for path in (PACKAGE / "_kernels").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not words & {"reassoc", "fast", "arcp", "afn"}, path
        if path.name != "jit.py":
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not used & {"njit", "jit", "vectorize", "guvectorize"}, path
