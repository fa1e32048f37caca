"""The command, on the toy network in a module of the user's."""

import numpy as np
import pytest
from click.testing import CliRunner

from evtkit.cli import main
from evtkit.cli.saliency import read_samples
from evtkit.saliency import Reference
from evtkit.saliency.toy import Toy, samples

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


@pytest.mark.parametrize(
    "y", [np.zeros(2), np.zeros(()), np.array(["a", "b", "c"]), np.zeros((0, 3))], ids=["fewer", "one", "words", "none"]
)
def test_a_target_a_sample_is_wanted(y, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=y)
    with pytest.raises(ValueError, match="must hold a label or other target a sample"):
        read_samples(tmp_path / "a.npz")


TASK = """
import torch
from evtkit_torch import TorchModel
def load():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).eval()
    return TorchModel(net, units="rows", task="values")
def two():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = load().model
        def forward(self, left, right):
            return self.net(left + right)
    return TorchModel(Two(), units="rows", task="values")
def absolute(output, target):
    return (output[:, 0] - target).abs()
def far(predictions, y):
    return abs(predictions[:, 0] - y) > 1
def broken(output, target):
    return output[0, 7]
"""


@pytest.fixture
def task(tmp_path, monkeypatch):
    pytest.importorskip("evtkit_torch")
    monkeypatch.chdir(tmp_path)
    name = f"task_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(TASK)
    rng = np.random.default_rng(0)
    for file, n in (("usual", 300), ("odd", 60)):
        x = rng.normal(size=(n, 3)).astype(np.float32)
        y = rng.normal(size=n).astype(np.float32)
        np.savez(tmp_path / f"{file}.npz", x=x, y=y)
        np.savez(tmp_path / f"{file}2.npz", **{"x.left": x / 2, "x.right": x / 2}, y=y)
    return name


def test_any_task_has_its_loss_and_its_wrong_by_name(task):
    usual = ("odd.npz", "--calibration", "usual.npz", "--quiet", "--wrong", f"{task}:far", "--repair", 2)
    run = call(f"{task}:load", *usual, "--device", "cpu")
    assert run.exit_code == 0, run.output
    x, y = (np.load("odd.npz")[name] for name in "xy")
    module = __import__("importlib").import_module(task)
    wrong = int(module.far(module.load().predict(x), y).sum())
    assert f"60 samples, {wrong} mistakes" in run.output
    other = call(f"{task}:load", *usual, "--loss", f"{task}:absolute")
    assert other.exit_code == 0, other.output
    assert other.output != run.output
    two = call(f"{task}:two", "odd2.npz", "--calibration", "usual2.npz", "--quiet", "--wrong", f"{task}:far")
    assert two.exit_code == 0, two.output
    assert f"60 samples, {wrong} mistakes" in two.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "wrong= must be given"),
        (
            ("--wrong", "{m}:far", "--device", "nowhere"),
            "--device must be one that the network's framework has, got nowhere",
        ),
        (("--wrong", "{m}:far", "--loss", "{m}:broken"), "broken"),
    ],
)
def test_what_a_task_lacks_is_said_in_a_line(task, options, message):
    options = [option.format(m=task) for option in options]
    run = call(f"{task}:load", "odd.npz", "--calibration", "usual.npz", "--quiet", *options)
    assert run.exit_code == 2, run.output
    assert message in run.output
    assert "Traceback" not in run.output


def test_a_framework_without_devices_or_losses_says_so(folder):
    for option in (("--device", "cuda"), ("--loss", f"{folder}:double")):
        run = call(f"{folder}:load", "shifted.npz", "--calibration", "usual.npz", *option)
        assert run.exit_code == 2
        assert "must be left out" in run.output


def test_an_interrupted_calibration_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    seen, profile = [], Toy.profile

    def interrupted(self, x, y=None):
        seen.append(len(x))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return profile(self, x, y)

    monkeypatch.setattr(Toy, "profile", interrupted)
    arguments = (f"{folder}:load", "shifted.npz", "--calibration", "usual.npz", "--reference", "ref.npz", "--quiet")
    run = call(*arguments)
    assert run.exit_code == 130
    assert "ref.npz.checkpoint" in run.output
    assert not (tmp_path / "ref.npz").exists()
    seen.clear()
    seen += [0] * 4  # no more interruptions
    assert call(*arguments).exit_code == 0
    assert seen[4:8] == [64, 64, 64, 16]  # three batches of seven were there already
    assert not (tmp_path / "ref.npz.checkpoint").exists()
    resumed = Reference.load("ref.npz")
    (tmp_path / "ref.npz").unlink()
    assert call(*arguments).exit_code == 0
    np.testing.assert_array_equal(resumed.tail.xi, Reference.load("ref.npz").tail.xi)


def test_less_memory_than_a_batch_takes_is_made_do_with(monkeypatch):
    net, (x, y) = Toy(), samples(50)
    want, said = net.profile(x, y), net.predict(x)
    profile, logits = type(net.profiler).profile, type(net.profiler).logits

    def small(run):
        def limited(self, batch, *target):
            if batch.size > 7:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return run(self, batch, *target)

        return limited

    monkeypatch.setattr(type(net.profiler), "profile", small(profile))
    monkeypatch.setattr(type(net.profiler), "logits", small(logits))
    net = Toy()
    with pytest.warns(UserWarning, match="memory is not enough"):
        np.testing.assert_allclose(net.profile(x, y), want, rtol=1e-12)
    np.testing.assert_allclose(net.predict(x), said, rtol=1e-12)  # without a further warning
