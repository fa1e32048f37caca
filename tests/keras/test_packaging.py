"""Nothing imports TensorFlow but the adapter; profiles need no Numba; the examples in the docstrings run."""

import doctest
import pkgutil
import subprocess
import sys
from importlib import import_module

import evtkit_keras
import pytest

MODULES = ["evtkit_keras", *(m.name for m in pkgutil.walk_packages(evtkit_keras.__path__, "evtkit_keras."))]

PROGRAM = """
import sys
for name in ("numba", "scipy.stats", "llvmlite", "torch"):
    sys.modules[name] = None
import keras, numpy
from evtkit_keras import KerasModel
parts = [keras.layers.Conv1D(2, 3), keras.layers.Flatten()]
net = KerasModel(keras.Sequential([keras.Input((4, 1)), *parts]))
assert net.profile(numpy.ones((3, 4, 1)), [0, 1, 2]).shape == (3, 2)
loaded = sorted(name for name in sys.modules if name.startswith("evtkit."))
assert all(name.startswith(("evtkit.saliency", "evtkit._common")) for name in loaded), loaded
"""


def test_profiles_work_where_numba_is_not_installed():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


def test_nothing_else_imports_tensorflow():
    code = (
        "import sys, evtkit, evtkit_torch, evtkit.saliency as s; [getattr(s, name) for name in s.__all__]\n"
        "import evtkit.cli.saliency, evtkit.demo.network, evtkit.demo, evtkit.cli\n"
        "assert not {'tensorflow', 'keras', 'evtkit_keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_tensorflow_the_import_says_what_to_install():
    code = "import sys; sys.modules['tensorflow'] = None; import evtkit_keras"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'evtkit[tensorflow]'" in run.stderr


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(import_module(name), optionflags=options).failed == 0
