"""The README and the reference keep their word."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import evtkit
from evtkit.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
API = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.rst")))


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readmes_python_runs(capsys):
    (block,) = blocks("python")
    assert len(block.strip().splitlines()) <= 10
    exec(compile(block, "README.md", "exec"), {})
    assert [capsys.readouterr().out] == blocks("text")


def test_the_readmes_commands_and_options_exist():
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    lines += re.findall(r"`(evtkit [a-z]+ [^`]*--[^`]*)`", README)
    assert lines
    for line in lines:
        program, command, *words = line.split()
        assert program == "evtkit"
        shown = CliRunner().invoke(main, [command, "--help"])
        assert shown.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.output, (line, option)


def test_the_commands_of_the_documentation_have_their_options():
    paths = [*(ROOT / "docs").glob("*.rst"), *(ROOT / "examples" / "operations").iterdir()]
    text = "\n".join(path.read_text(encoding="utf-8").replace("\\\n", " ") for path in paths)
    found = re.findall(r"evtkit (fit|score|watch|plot|saliency|demo|warm-up)\b([^`&\n]*)", text)
    used: dict[str, set[str]] = {command: set() for command, _ in found}
    for command, words in found:
        used[command] |= set(re.findall(r"(?<=\s)--[a-z][a-z-]*", words))
    assert len(used["watch"]) > 10
    for command, options in used.items():
        shown = CliRunner().invoke(main, [command, "--help"]).output
        assert not [option for option in options if option not in shown], command


def test_the_readmes_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_readmes_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_readmes_extras_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extras in re.findall(r"\.\[([a-z,]+)\]", README):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra


def test_the_changelog_has_this_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{evtkit.__version__}]" in changes


@pytest.mark.parametrize("folder", ["evtkit", "adapters"])
def test_shapes_of_arguments_are_spelled_one_way(folder):
    other = re.compile(r"array-like|(array_like|ndarray) (of|with) shape")
    found = [
        f"{path.name}:{number}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if other.search(line)
    ]
    assert not found, "wanted `array_like, shape (n,)`"


MODULES = (
    "evtkit", "evtkit.gpd", "evtkit.threshold", "evtkit.gof", "evtkit.intervals", "evtkit.dependence", "evtkit.gev",
    "evtkit.cleaning", "evtkit.families", "evtkit.spot", "evtkit.dated", "evtkit.reports", "evtkit.covariates",
    "evtkit.plot", "evtkit.predictive", "evtkit.pvalues", "evtkit.interop.sklearn", "evtkit.interop.pyod",
    "evtkit.interop.river", "evtkit.interop.xarray", "evtkit.interop.dask", "evtkit.testing", "evtkit.saliency",
    "evtkit_torch", "evtkit_keras",
)  # fmt: skip
WITHOUT_EXAMPLE = {  # what frameworks and tests are written against, and strategies, which the module's page explains
    "Block", "SaliencyModel", "UnitGradient", "TorchUnitGradient", "KerasUnitGradient", "Use", "Diagonal", "LawResult",
    "Ranks", "Samples", "Steadiness", "register_heads", "METHODS", "bounded_tails", "heavy_tails", "mixed_scales",
    "near_boundary", "near_exponential", "ragged", "rescaled", "rounded", "samples", "tied", "two_points",
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module):
    if module == "evtkit_torch":
        pytest.importorskip("torch")
    if module == "evtkit_keras":
        pytest.importorskip("keras")
    listed = set(re.findall(r"^   (\w+)$", API, flags=re.MULTILINE))
    pages = set(re.findall(r"automodule:: (evtkit[\w.]*)", API))
    for name in importlib.import_module(module).__all__:
        assert name in listed or f"{module}.{name}" in pages or name.isupper() or name == "__version__", name


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_and_class_has_an_example(module):
    if module in ("evtkit_torch", "evtkit_keras"):
        pytest.importorskip(module.replace("evtkit_", ""))
    public = {name: getattr(importlib.import_module(module), name) for name in importlib.import_module(module).__all__}
    made = {name for name, thing in public.items() if callable(thing) and not inspect.isabstract(thing)}
    assert {name for name in made - WITHOUT_EXAMPLE if ">>>" not in (inspect.getdoc(public[name]) or "")} == set()
    assert {name for name in made if (inspect.getdoc(public[name]) or "").count("Examples\n--------") > 1} == set()
