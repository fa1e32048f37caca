"""Profiles need neither Numba nor the rest of evtkit; the examples in the docstrings run."""

import doctest
import pkgutil
import subprocess
import sys
from importlib import import_module

import evtkit_torch
import pytest

MODULES = ["evtkit_torch", *(m.name for m in pkgutil.walk_packages(evtkit_torch.__path__, "evtkit_torch."))]

PROGRAM = """
import sys
for name in ("numba", "scipy", "llvmlite"):
    sys.modules[name] = None
import torch
from evtkit_torch import TorchModel
net = TorchModel(torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Flatten()).eval())
assert net.profile(torch.randn(3, 1, 4), [0, 1, 2]).shape == (3, 2)
loaded = sorted(name for name in sys.modules if name.startswith("evtkit."))
assert all(name.startswith(("evtkit.saliency", "evtkit._common")) for name in loaded), loaded
assert "torch._dynamo" not in sys.modules
"""


def test_profiles_work_where_numba_is_not_installed():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    if name in ("evtkit_torch.lightning", "evtkit_torch.trainer"):
        pytest.importorskip(name, reason="needs a trainer", exc_type=ImportError)
    assert doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
