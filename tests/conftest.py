"""Fixtures that several tests share: real data where they are, and Hypothesis without deadlines."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "evtkit", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("evtkit")

sys.path.insert(0, str(Path(__file__).parent))  # for `rounding`, whichever folder a test is in

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def _column(path: str, column: int = -1) -> np.ndarray:
    file = DATA / path
    if not file.exists():
        pytest.skip(f"needs {path} in {DATA}")
    return np.genfromtxt(file, delimiter=",", skip_header=1, usecols=column)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data that are not part of the project."""
    if not DATA.exists():
        pytest.skip(f"needs the data folder {DATA}")
    return DATA


@pytest.fixture(scope="session")
def rain() -> np.ndarray:
    """Daily rainfall in mm, south-west England 1914-62 (Coles 2001)."""
    return _column("evt/rain.csv")


@pytest.fixture(scope="session")
def danish() -> np.ndarray:
    """Danish fire losses 1980-90 in million kroner (McNeil 1997)."""
    return _column("evt/danish.csv")


@pytest.fixture(scope="session")
def bilbao() -> np.ndarray:
    """Wave heights in m at Bilbao (Castillo & Hadi 1997)."""
    return _column("evt/bilbao.csv")


@pytest.fixture(scope="session")
def dowjones() -> np.ndarray:
    """Daily log returns of the Dow Jones index in per cent, 1995-2000 (Coles 2001)."""
    return 100.0 * np.diff(np.log(_column("evt/dowjones.csv")))


@pytest.fixture(scope="session")
def portpirie() -> np.ndarray:
    """Annual maximum sea level in m at Port Pirie (Coles 2001)."""
    return _column("evt/portpirie.csv")


def _stream(data_folder: Path, name: str) -> np.ndarray:
    file = data_folder / "streams" / name
    if not file.exists():
        pytest.skip(f"needs streams/{name} in {data_folder}")
    return np.array(file.read_text().replace("\n", ",").strip(",").split(","), dtype=np.float64)


@pytest.fixture(scope="session")
def spot_rain(data_folder: Path) -> np.ndarray:
    """The stream rain.dat of Siffer et al. (2017)."""
    return _stream(data_folder, "rain.dat")


@pytest.fixture(scope="session")
def spot_physics(data_folder: Path) -> np.ndarray:
    """The stream physics.dat of Siffer et al. (2017)."""
    return _stream(data_folder, "physics.dat")
