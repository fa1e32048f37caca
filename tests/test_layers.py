"""The house: every module imports only from layers below its own, and nothing in a circle.

Every import counts, also those inside functions, under TYPE_CHECKING and by importlib.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    ("_common", "_kernels"),
    ("gpd", "pvalues", "_moments", "predictive", "estimators", "dated"),
    ("fit", "ranking"),
    ("intervals", "gof", "cleaning"),
    ("gev", "dependence"),
    ("tail", "threshold", "covariates"),
    ("peaks", "families", "testing"),
    ("sketch", "spot"),
    ("plot",),
    ("reports",),
    ("saliency", "interop"),
    ("evtkit_torch", "evtkit_keras"),
    ("demo",),
    ("cli",),
    ("evtkit", "__main__"),
)
"""From the lowest to the highest: the modules and folders of evtkit, the adapters among them, and evtkit's own face."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def sources() -> dict[str, Path]:
    """Every module by its dotted name; a package's is that of its face."""
    found = {}
    for folder in (ROOT / "evtkit", *sorted((ROOT / "adapters").iterdir())):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = sources()


def imported(module: str) -> set[str]:
    """The project's modules that a module imports, anywhere and in any way."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and "." in node.value
            and node.value in MODULES
        ):
            names.add(node.value)  # by importlib
    found = set()
    for name in names:
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found |= {name} if name else set()
    return found - {module}


GRAPH = {module: imported(module) for module in MODULES}


def room(module: str) -> str:
    """The module or folder directly in evtkit that a module belongs to; an adapter is one room."""
    head, _, rest = module.partition(".")
    return rest.partition(".")[0] or head if head == "evtkit" else head


def test_every_room_has_a_layer():
    assert {room(module) for module in MODULES} == set(LEVEL)


@pytest.mark.parametrize("module", MODULES)
def test_imports_come_from_layers_below(module):
    own = room(module)
    above = {other for other in GRAPH[module] if room(other) != own and LEVEL[room(other)] >= LEVEL[own]}
    assert not above


def test_nothing_is_imported_in_a_circle():
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(GRAPH[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_kernels_import_their_own_files_numpy_and_numba():
    allowed = {"evtkit", "llvmlite", "numba", "numpy"} | set(sys.stdlib_module_names)
    for module in MODULES:
        if room(module) != "_kernels":
            continue
        assert all(room(other) == "_kernels" for other in GRAPH[module]), module
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in names} <= allowed, module


def test_adapters_do_not_import_each_other_and_only_the_demonstration_imports_one():
    for module, others in GRAPH.items():
        adapters = {room(other) for other in others} & {"evtkit_torch", "evtkit_keras"}
        assert adapters <= ({"evtkit_torch"} if room(module) == "demo" else {room(module)}), module


def test_the_first_floor_is_seen_at_a_glance():
    entries = [path for path in (ROOT / "evtkit").iterdir() if path.name not in ("__pycache__",)]
    assert len(entries) <= 32
