"""Saliency tests: the toy network's reference, real data, and the example networks importable."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples")]
DATA = HERE.parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def reference():
    """The toy network's, from 1,000 samples, as in the published protocol: profiles as they are."""
    from evtkit.saliency import Batches, calibrate
    from evtkit.saliency.toy import Toy, samples

    return calibrate(Toy(), Batches(*samples(1000), 128), normalize=None, progress=False)


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip(f"real data not found: no folder {DATA.parent.name}/{DATA.name} beside the repository")
    return DATA
