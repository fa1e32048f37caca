"""Examples that need what is not installed are left out; those with a network use one thread, which is faster."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore = ["conf.py", "pictures.py", "gallery_pictures.py", "gallery"]
if not all(find_spec(name) for name in ("torch", "sklearn", "matplotlib")):
    collect_ignore.append("saliency.rst")
RAIN = Path(__file__).resolve().parents[2] / "shared" / "data" / "evt" / "rain.csv"
if not RAIN.exists():  # real data that are no part of the project
    collect_ignore.append("rainfall.rst")
if not all(find_spec(name) for name in ("pandas", "matplotlib", "jinja2")):
    collect_ignore.append("dated.rst")
if not find_spec("formulaic"):
    collect_ignore.append("covariates.rst")
if not all(find_spec(name) for name in ("xarray", "dask", "pandas", "pyarrow")):
    collect_ignore.append("clusters.rst")
if not find_spec("river"):
    collect_ignore.append("watching.rst")
if not all(find_spec(name) for name in ("libspot", "pyod")):
    collect_ignore.append("coming-from.rst")
if not all(find_spec(name) for name in ("sklearn", "pyod", "pandas", "matplotlib")):
    collect_ignore.append("detectors.rst")


@pytest.fixture(autouse=True)
def _data(doctest_namespace):
    """Where the pages find data that are no part of the project."""
    doctest_namespace["rain_csv"] = RAIN


@pytest.fixture(autouse=True)
def _one_thread(request):
    """Networks this small lose by threads."""
    if request.path.name != "saliency.rst":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
