"""Examples that need what is not installed are left out; those with a network use one thread, which is faster."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

collect_ignore = ["conf.py", "pictures.py"]
if not all(find_spec(name) for name in ("torch", "sklearn", "matplotlib")):
    collect_ignore.append("saliency.rst")
if not find_spec("formulaic"):
    collect_ignore.append("covariates.rst")
if not find_spec("river"):
    collect_ignore.append("watching.rst")
if not all(find_spec(name) for name in ("libspot", "pyod")):
    collect_ignore.append("coming-from.rst")
if not all(find_spec(name) for name in ("sklearn", "pyod", "pandas", "matplotlib")):
    collect_ignore.append("detectors.rst")


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
