"""The command, on the toy network in a module of the user's."""

import numpy as np
import pytest
from click.testing import CliRunner

from evtkit.cli import main
from evtkit.cli.saliency import read_samples
from evtkit.saliency import Reference
from evtkit.saliency.toy import samples

MODULE = """
from evtkit.saliency.toy import Toy as load
def plain():
    return object()
def double(x):
    return 2.0 * x
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"net_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    for file, n, seed in (("usual", 400, 1), ("shifted", 60, 5), ("held", 40, 9)):
        x, y = samples(n, seed=seed)
        np.savez(tmp_path / f"{file}.npz", x=x, y=y)
    return name


def call(*arguments):
    return CliRunner().invoke(main, ["saliency", *(str(a) for a in arguments)])


def test_calibrates_ranks_repairs_and_reports(folder, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    run = call(f"{folder}:load", "shifted.npz", "--calibration", "usual.npz", "--reference", "ref.npz", "--held-out",
               "held.npz", "--repair", "3", "--report", "page.html", "--csv", "table.csv", "--quiet",
               "--checkpoint", "state.npz")  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "layer1.conv[" in run.output
    assert "enrichment" in run.output
    assert "3 mistakes, 0 left out" in run.output
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "table.csv").read_text().startswith("repair,by,k")
    again = call(f"{folder}:load", "shifted.npz", "--reference", "ref.npz", "--top", "5", "--by", "pot")
    assert again.exit_code == 0, again.output
    assert "impact, mean " in run.output
    assert "pot, mean-rank " in again.output
    reference = Reference.load("ref.npz")
    assert (reference.n_samples, reference.normalize) == (400, "sample")


def test_the_published_protocol_can_be_asked_for(folder):
    run = call(f"{folder}:load", "shifted.npz", "--calibration", "usual.npz", "--reference", "ref.npz",
               "--no-normalize", "--by", "pot", "--combine", "fisher", "--quiet")  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "pot, fisher" in run.output
    assert Reference.load("ref.npz").normalize is None


def test_prepare_is_applied(folder):
    run = call(f"{folder}:load", "shifted.npz", "--calibration", "usual.npz", "--reference", "a.npz", "--quiet")
    other = call(f"{folder}:load", "shifted.npz", "--calibration", "usual.npz", "--reference", "b.npz", "--prepare",
                 f"{folder}:double", "--quiet")  # fmt: skip
    assert run.exit_code == other.exit_code == 0
    assert not np.array_equal(Reference.load("a.npz").tail.mean, Reference.load("b.npz").tail.mean)


def test_help_keeps_the_example_on_a_line_of_its_own():
    assert "\n  evtkit saliency mynet:load shifted.npz --calibration usual.npz" in call("--help").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{m}", "shifted.npz", "--calibration", "usual.npz"], "must be named as module:function"),
        (["{m}:nothing", "shifted.npz", "--calibration", "usual.npz"], "must have the function named"),
        (["no_such_module_x:load", "shifted.npz", "--calibration", "usual.npz"], "No module named"),
        (["{m}:plain", "shifted.npz", "--calibration", "usual.npz"], "wrapped for saliency"),
        (["{m}:load", "shifted.npz"], "give one of --calibration and an existing --reference"),
        (["{m}:load", "{m}.py", "--calibration", "usual.npz"], "must be an .npz file with arrays x and y"),
        (
            ["{m}:load", "shifted.npz", "--calibration", "usual.npz", "--quantile", "2"],
            "quantile must lie strictly between 0 and 1, got 2.0",
        ),
    ],
)
def test_bad_arguments_end_in_one_clear_line(folder, arguments, message):
    run = call(*(a.format(m=folder) for a in arguments))
    assert run.exit_code == 2  # 1 is an alarm
    assert message in run.output
    assert "Traceback" not in run.output


def test_image_folders_are_read_class_by_class(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(2 + label):
            image.new("RGB", (6, 4), (100 * label, i, 0)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    x, y = read_samples(tmp_path)
    assert x.shape == (5, 4, 6, 3)
    assert x.dtype == np.uint8
    assert y.tolist() == [0, 0, 1, 1, 1]
    assert x[:, 0, 0, 1].tolist() == [0, 1, 0, 1, 2]
    image.new("RGB", (5, 5)).save(tmp_path / "dog" / "9.png")
    with pytest.raises(ValueError, match=r"must be of one size, .*got sizes"):
        read_samples(tmp_path)


def test_labels_must_be_integers_one_a_sample(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.zeros(3))
    with pytest.raises(ValueError, match="must hold an integer label a sample"):
        read_samples(tmp_path / "a.npz")
