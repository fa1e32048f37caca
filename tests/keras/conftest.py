"""Keras tests: seeds, and the example networks importable. Without TensorFlow there is nothing to collect."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]
DATA = HERE.parents[2] / "shared" / "data"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

collect_ignore_glob = [] if find_spec("tensorflow") and find_spec("keras") else ["*.py"]


@pytest.fixture(autouse=True)
def _float64():
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip(f"real data not found: no folder {DATA.parent.name}/{DATA.name} beside the repository")
    return DATA
