"""What reaches the terminal: in any encoding, with any names, from any rubbish; exit codes that mean one thing each."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from evtkit._kernels.cache import FOLDERS
from evtkit.cli import main
from evtkit.cli._report import print_table
from evtkit.cli._terminal import told
from evtkit.cli.plot import file_names
from evtkit.saliency.toy import samples

NASTY = ("\x1b[31mred", "$x_1^2", "$a$", "ξ\\alpha", "zero\u200bwidth", "\u202edlrow")
X = np.random.default_rng(5).exponential(size=(600, len(NASTY)))
X[550] = 50.0  # an alarm


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """Names and cells that move cursors, look like mathematics, or are not in small encodings."""
    path = tmp_path_factory.mktemp("nasty") / "x.csv"
    rows = [f"t\x1b[2J–{i}," + ",".join(f"{v:.6f}" for v in row) for i, row in enumerate(X)]
    path.write_text("\n".join([",".join(("time", *NASTY)), *rows]) + "\n", encoding="utf-8")
    return str(path)


def run(*arguments, charset="utf-8", code=0):
    result = CliRunner(charset=charset).invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    shown = "utf-8" if charset == "ascii" else charset  # click's own help and usage take ASCII for a misconfiguration
    text = result.stdout_bytes.decode(shown) + result.stderr_bytes.decode(shown)
    assert "Traceback" not in text
    assert not any(c in text for c in "\x1b\u202e\u200b\x07\x00")
    return result


CALLS = (
    (("fit", "{}", "-m", "1000"), 0),
    (("fit", "{}", "--json"), 0),
    (("score", "{}", "--label", "time", "--top", "3"), 0),
    (("watch", "{}", "--calibrate", "400", "--label", "time", "--risk", "0.01", "--side", "upper"), 1),
    (("watch", "{}", "--calibrate", "400", "--label", "time", "--risk", "0.01", "--side", "upper", "--json"), 1),
    (("fit", "{}", "-c", "\x1b[1mξ"), 2),
    (("fit", "{}", "--quantile", "\x1b[1mξ"), 2),
    (("\x1b[1mξ",), 2),
    (("--help",), 0),
    *(((command, "--help"), 0) for command in ("fit", "score", "watch", "plot", "saliency")),
)


@pytest.mark.parametrize("charset", ["cp1252", "ascii", "utf-8"])
def test_every_command_speaks_every_encoding_without_control_characters(nasty, charset):
    for arguments, code in CALLS:
        result = run(*(a.format(nasty) for a in arguments), charset=charset, code=code)
        out = result.stdout_bytes.decode("utf-8" if "--help" in arguments else charset, "replace")
        if arguments == CALLS[0][0]:
            assert ("shape ξ" if charset == "utf-8" else "shape xi") in out
        elif arguments[-1] == "--json":
            documents = (
                [json.loads(line) for line in out.splitlines()] if arguments[0] == "watch" else [json.loads(out)]
            )
            named = [d["column"] for d in documents] if arguments[0] == "watch" else documents[0]["columns"]
            assert named
            assert {n if isinstance(n, str) else n["column"] for n in named} <= set(NASTY)


@pytest.mark.parametrize("charset", ["ascii", "utf-8"])
def test_a_table_is_in_line_whatever_its_names(charset):
    @click.command()
    def table():
        print_table("Shape ξ", ["name", "σ"], [(name, f"{i}.") for i, name in enumerate(NASTY)])

    lines = CliRunner(charset=charset).invoke(table).stdout_bytes.decode(charset).splitlines()
    assert len({line.rindex(".") for line in lines[3:]}) == 1


def test_pictures_have_files_of_their_own(nasty, tmp_path):
    columns = ["a b", "a/b", "a?b", "A", "a", "é", "e\u0301", "x" * 300, "x" * 301, "..", "", "loss", "a_b-c8687a08"]
    names = file_names(columns)
    assert len({unicodedata.normalize("NFKC", name).casefold() for name in names}) == len(columns)
    assert names == [file_names(columns)[i] for i in range(len(columns))]
    assert names[11] == "loss"
    assert [file_names([c])[0] for c in columns[:3]] == names[:3]  # whatever the others are
    assert all(re.fullmatch(r"[\w.-]+", name) and len(name.encode()) <= 100 for name in names)
    run("plot", nasty, "-k", "quantile", "-o", tmp_path / "p.png", "--dpi", "20")
    assert len(list(tmp_path.glob("p-*.png"))) == len(NASTY)


RUBBISH = {
    "missing": None, "empty": b"", "blank": b"\n\n", "binary": bytes(range(256)) * 20, "nul": b"a,b\n1,\0\n",
    "words": b"a,b\nx,y\n", "ragged": b"a,b\n1\n1,2,3\n", "zip": b"PK\x03\x04rest", "parquet": b"PAR1junkPAR1",
    "gzip": b"\x1f\x8bjunk", "one": b"a\n1\n", "quoted": b'a,b\n"1,2\n', "esc": b"\x1b[2J,b\n\x1b[31m1,\x1b[2J\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def rubbish(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rubbish")
    for name, data in RUBBISH.items():
        if data is not None:
            (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    (folder / "ok.csv").write_text("a,b\n" + "\n".join(f"{x:.4f},{y:.4f}" for x, y in X[:, :2]) + "\n")
    (folder / "broken_module.py").write_text("raise KeyError('\x1b[31m')")
    (folder / "leaves.py").write_text("import sys\ndef load():\n    sys.exit(1)")
    return folder


@pytest.mark.parametrize("name", [*RUBBISH, "folder"])
def test_rubbish_is_refused_by_every_command(rubbish, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = rubbish / name
    for command in ("fit", "score", "plot", "watch"):
        result = run(command, path, code=2)
        assert result.stderr.count("\n") == 1, result.stderr
    run("score", rubbish / "ok.csv", "--tail", path, code=2)
    if name != "missing":
        run("watch", rubbish / "ok.csv", "--calibrate", "300", "--state", path, code=2)
        run("saliency", "evtkit.saliency.toy:Toy", path, "--calibration", path, code=2)
    if name not in ("missing", "folder"):
        run("demo", "--output", path, code=2)
    assert list(tmp_path.iterdir()) == []  # nothing half done


@pytest.mark.parametrize(
    "arguments",
    [
        "fit {} -c nothing", "fit {} --quantile 2", "fit {} --quantile nan", "fit {} --threshold 1e9",
        "fit {} --n-excess 100000", "fit {} -m nan", "fit {} -m inf", "fit {} -m 1", "fit {} --confidence nan",
        "fit {} --threshold nan", "fit {} --separator ab", "fit {} --encoding none",
        "fit {} --quantile .9 --n-excess 3",
        "fit {} --save {folder}/none/t.npz", "fit {} --save {folder}", "fit {} -o {folder}/none/o.csv",
        "fit {} -o /proc/none.csv", "fit {} -o {folder}/o.txt", "fit {} --save /dev/full", "score {} --alarm 0",
        "score {} --alarm nan", "score {} --last 1000000", "score {} --top 0", "score {} --label nothing",
        "plot {} -o {folder}/none/p.png", "plot {} -o p.xyz", "plot {} -o /proc/p.png", "plot {} --dpi 1",
        "plot {} --per nan", "plot {} --per inf", "plot {} -k stream --calibrate 100000", "plot {} -k stream --risk 2",
        "watch {} --risk nan", "watch {} --risk 2", "watch {} --calibrate 0", "watch {} --quantile nan",
        "watch {} --depth -1", "watch {} --max-excess 0", "watch {} --budget never", "watch {} --pace nan",
        "watch {} --budget 1e999999/day --pace 1", "watch {} --need 3 2", "watch {} --quiet -1", "watch {} --exec ''",
        "watch {} --state {folder}/none/s.json", "watch {} --calibrate 300 --backtest --picture {folder}/none/p.png",
        "watch {} --calibrate 300 --backtest --picture {folder}/p.xyz -c a", "saliency nothing {}", "saliency a:b:c {}",
        "saliency broken_module:load {}", "saliency leaves:load {}",
        "saliency evtkit.saliency.toy:Toy {} --quantile nan",
        "demo --output /proc/none", "nothing", "fit", "watch - --follow",
    ],
)  # fmt: skip
def test_wrong_values_end_in_a_line_and_exit_code_2(rubbish, arguments, monkeypatch):
    monkeypatch.chdir(rubbish)
    before = set(rubbish.iterdir())
    words = [w.format(rubbish / "ok.csv", folder=rubbish).replace("''", "") for w in arguments.split(" ")]
    result = run(*words, code=2)
    assert result.stderr
    assert len(result.stderr) < 1500
    assert {path for path in rubbish.iterdir() if path.name != "__pycache__"} <= before


@pytest.mark.parametrize(
    ("error", "code"),
    [(ValueError("no\x1b[2J\nno"), 2), (OSError(28, "No space left"), 2), (ImportError("pip"), 2), (KeyError("x"), 3),
     (KeyboardInterrupt(), 130), (click.Abort(), 130), (BrokenPipeError(), 141)],
)  # fmt: skip
def test_an_exit_code_means_one_thing(error, code, capsys):
    with pytest.raises(click.ClickException) as caught, told():
        raise error
    assert caught.value.exit_code == code
    caught.value.show()
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert ("Traceback" in said) == (code == 3)
    assert said.count("\n") <= 1 or code == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to offer")
def test_full_disks_and_readers_that_go_away(rubbish):
    program = f"{sys.executable} -m evtkit"
    many = f"{program} score ok.csv --top 1000 --json"
    for command, code in (
        (f"{program} --help > /dev/full", 2), (f"{program} fit ok.csv --json > /dev/full 2> err", 2),
        (f"{program} nothing 2> /dev/full", 2), (f"{program} fit ok.csv >&-", 0),
        (f"set -o pipefail; {many} 2> err | true", 141), (f"set -o pipefail; {program} --help | true", 141),
    ):  # fmt: skip
        done = subprocess.run(["bash", "-c", command], cwd=rubbish, capture_output=True, text=True, check=False)
        assert done.returncode == code, (command, done)
        err = rubbish / "err"
        said = done.stderr + (err.read_text() if err.exists() else "")
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        err.unlink(missing_ok=True)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can run a command as somebody else"
)
def test_at_home_without_a_home(rubbish):
    """As in a container: nobody's process, the installation and the kernels root's, no home, nothing else to write to.

    Kernels compiled as the image was built are found, though their folder cannot be written to.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for name in ("ok.csv",):
            Path(folder, name).write_bytes((rubbish / name).read_bytes())
        np.savez(Path(folder, "usual.npz"), **dict(zip("xy", samples(200, seed=1), strict=True)))
        env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
        env |= {"NUMBA_CACHE_DIR": str(FOLDERS[0].parent), "HOME": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path)}
        pythons = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
        python = next((p for p in pythons if _reached(p, folder, env)), None)
        if python is None:
            pytest.skip("no Python of this version can be reached by anybody else")
        for arguments, code in (
            ("fit ok.csv -m 1000", 0), ("watch ok.csv --calibrate 300 --risk 1e-9", 0),
            ("saliency evtkit.saliency.toy:Toy usual.npz --calibration usual.npz --quiet", 0),
            ("fit ok.csv --save tail.npz", 2), ("fit ok.csv --output out.csv", 2),
        ):  # fmt: skip
            done = _as_nobody([python, "-m", "evtkit", *arguments.split()], folder, env)
            assert done.returncode == code, (arguments, done.stderr)
            assert "Traceback" not in done.stderr
            assert code == 0 or "cannot write" in done.stderr or "Permission denied" in done.stderr


def _reached(python, folder, env):
    try:
        return _as_nobody([python, "-c", "import evtkit, numpy"], folder, env).returncode == 0
    except OSError:
        return False


def _as_nobody(command, folder, env):
    return subprocess.run(
        command, cwd=folder, env=env, user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
