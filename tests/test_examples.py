"""Examples of the core run, on small data."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
RAIN = Path(__file__).parents[2] / "shared" / "data" / "evt" / "rain.csv"


def run(name, *arguments):
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("return_levels", (), "10-year level: 12.6 %"),
        ("threshold", (), "suggested:"),
        ("many_channels", ("--channels", 100, "--samples", 500), "false-discovery rate of 5 %: [3, 7]"),
    ],
)
def test_examples_with_a_picture(name, arguments, found, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    run(name, *arguments, "--output", picture)
    assert found in capsys.readouterr().out
    assert picture.stat().st_size > 5000


def test_blocks(capsys):
    run("blocks", "--blocks", 6, "--rows", 500, "--channels", 3)
    assert "to the last bit: True" in capsys.readouterr().out


@pytest.mark.skipif(not RAIN.exists(), reason="needs shared/data/evt beside the project")
def test_return_levels_of_rain(tmp_path, capsys):
    options = ["--threshold", 30, "--unit", "mm", "--per", 365.25, "--years", 100, "--output", tmp_path / "a.png"]
    run("return_levels", RAIN, *options)
    assert "100-year level: 106.3 mm" in capsys.readouterr().out  # Coles (2001), section 4.4.1
