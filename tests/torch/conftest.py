"""PyTorch tests: one thread, and the example networks importable. Without torch there is nothing to collect."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]
DATA = HERE.parents[2] / "shared" / "data"

collect_ignore_glob = [] if find_spec("torch") else ["*.py"]


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip(f"real data not found: no folder {DATA.parent.name}/{DATA.name} beside the repository")
    return DATA
