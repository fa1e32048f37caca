"""Examples of saliency where people work run, on little data: a trainer, a U-Net, a data frame, JAX, a video."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]([str(argument) for argument in arguments])


@pytest.mark.filterwarnings("ignore")  # the trainer's own
def test_a_text_classifier_by_the_trainer(tmp_path, capsys):
    pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")
    pytest.importorskip("jinja2")
    run("trainer_text", "--sentences", 240, "--epochs", 1, "--output", tmp_path)
    assert "8 heads, 482 rows" in capsys.readouterr().out
    assert (tmp_path / "opinions.html").read_text().startswith("<!DOCTYPE html>")


def test_a_segmentation_whose_filter_is_damaged(capsys):
    pytest.importorskip("torch")
    run("torch_segmentation", "--epochs", 3)
    out = capsys.readouterr().out
    assert re.search(r"^1  middle\.0\[6\]", out, flags=re.MULTILINE)
    before, damaged, mended = (float(share) for share in re.findall(r"(?:found|damaged|repair): (0\.\d+)", out))
    assert damaged < before - 0.3
    assert mended > 0.5 * (damaged + before)


def test_two_classes_from_a_data_frame(tmp_path, capsys):
    pytest.importorskip("evtkit_keras", exc_type=ImportError)
    pytest.importorskip("jinja2")
    run("keras_frame", "--epochs", 12, "--output", tmp_path)
    assert "UnitRanking by impact" in capsys.readouterr().out
    assert (tmp_path / "frame.html").read_text().startswith("<!DOCTYPE html>")


def test_a_video_of_moving_digits(tmp_path, capsys):
    pytest.importorskip("torch")
    run("moving_digits", "--usual", 3000, "--frames", 3000, "--risk", 0.002, "--epochs", 3, "--output", tmp_path)
    out = capsys.readouterr().out
    assert int(re.search(r"undisturbed: (\d+) events in 3,000 frames, 6.0 expected", out)[1]) <= 20
    starts = [int(first) for first in re.findall(r"disturbed: frames (\d+) to", out)]
    assert any(150 <= first < 180 for first in starts)
    assert (tmp_path / "moving_digits.png").stat().st_size > 5000


def test_networks_in_jax_and_in_keras_on_jax():
    pytest.importorskip("jax", reason="needs jax")
    pytest.importorskip("keras", reason="needs keras")
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "jax_network.py"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.count("12 filters, 42 rows in 3 layers; 99.2 % of 6,626 parameters covered") == 2
    assert all(float(share) > 0.8 for share in re.findall(r"right: (0\.\d+)", done.stdout))
    assert done.stdout.count("Suspects of 54 units") == 2
