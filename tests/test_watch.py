"""evtkit watch: the detector's alarms as lines arrive, whatever the pieces; state, refusals, signals, the live view."""

import errno
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from evtkit import DSpot, Spot
from evtkit.cli import main
from evtkit.cli.watch import lines as _lines
from evtkit.cli.watch import live as _live
from evtkit.cli.watch.cells import Cells
from evtkit.cli.watch.lines import Lines, Position
from evtkit.cli.watch.lock import locked
from evtkit.cli.watch.watching import Watch
from evtkit.spot import Events

N, CALIBRATION = 3000, 500
RNG = np.random.default_rng(7)
X = np.column_stack([RNG.standard_normal(N), RNG.standard_exponential(N)]).round(6)
X[[1200, 2500], [0, 1]] = 9.0, 30.0
X[1800] = -8.0, 25.0
X[2100:2104, 0] = 12.0
LINES = ["time,level,flow", *(f"t{i},{a!r},{b!r}" for i, (a, b) in enumerate(X.tolist(), 1))]
OPTIONS = ("--calibrate", CALIBRATION, "--risk", "1e-3", "--depth", "0", "--side", "upper")


def write(path, lines=LINES):
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments, code=1, **kwargs):
    result = CliRunner().invoke(main, ["watch", *map(str, arguments)], **kwargs)
    assert result.exit_code in np.atleast_1d(code), result.output
    return result


def start(*arguments):
    """The command as a process of its own."""
    code = "from evtkit.cli import main; main()"
    command = [sys.executable, "-c", code, "watch", "-l", "time", *map(str, (*arguments, *OPTIONS))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)


def alarms(*arguments, code=1, **kwargs):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    out = run(*OPTIONS, *arguments, "--json", "--every-alarm", code=code, **kwargs).stdout
    told = [json.loads(line, parse_constant=refuse) for line in out.splitlines()]
    return [item for item in told if item["kind"] == "alarm"]


def events(*arguments, code=1, **kwargs):
    return [json.loads(line) for line in run(*OPTIONS, *arguments, "--json", code=code, **kwargs).stdout.splitlines()]


def expected(detector, side=None):
    """What the detector itself says of the rows after the calibration."""
    trace = detector.fit(X[:CALIBRATION]).trace(X[CALIBRATION:])
    rows, columns = np.nonzero(trace.label == 2)
    return [
        (CALIBRATION + r + 1, f"t{CALIBRATION + r + 1}", ("level", "flow")[c], X[CALIBRATION + r, c],
         np.exp(trace.log_probability[r, c]))
        for r, c in zip(rows.tolist(), columns.tolist(), strict=True)
    ]  # fmt: skip


# -- alarms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "detector"),
    [
        ((), Spot(1e-3)),
        (("--side", "both", "--quantile", "0.95"), Spot(1e-3, 0.95, side="both")),
        (("--side", "lower", "--on-alarm", "learn"), Spot(1e-3, side="lower", on_alarm="learn")),
        (("--depth", "20", "--max-excess", "30", "--clean"), DSpot(1e-3, 20, max_excess=30, clean=True)),
    ],
)
def test_alarms_are_the_detectors(tmp_path, options, detector):
    got, want = alarms(write(tmp_path / "x.csv"), "--label", "time", *options), expected(detector)
    assert [(a["row"], a["label"], a["column"], a["value"]) for a in got] == [w[:4] for w in want]
    assert [a["probability"] for a in got] == [w[4] for w in want]
    assert all((a["value"] > a["threshold"]) == (a["side"] == "upper") for a in got if a["threshold"] is not None)


@pytest.mark.parametrize("piece", [1, 61, 4000])
def test_however_the_lines_are_cut(tmp_path, monkeypatch, piece):
    path = write(tmp_path / "x.csv", LINES[:1400])
    whole = alarms(path)
    monkeypatch.setattr(_lines, "_AT_ONCE", piece)
    assert alarms(path) == whole
    assert alarms("-", input=path.read_bytes().replace(b"\n", b"\r\n")) == whole


def test_lines_for_readers(tmp_path):
    result = run(write(tmp_path / "x.csv"), *OPTIONS, "-l", "time", "--side", "both", "-c", "level")
    assert "row 1201  t1201  level 9 > " in result.stdout
    assert "row 1801  t1801  level -8 < " in result.stdout
    assert re.search(r"rows 2101 to 2104  t2101 to t2104  over: 4 alarms, peak level 12 > .* at row 2101, t2101\n",
                     result.stdout)  # fmt: skip
    assert "level: calibrated after 500 rows\n" in result.stderr
    assert "level: 500 rows; alarm below -" in result.stderr
    assert "chance begins 1 event in 1,000 rows" in result.stderr
    assert "2,500 rows after the calibration: " in result.stderr


def test_what_is_left_out_of_the_calibration_is_said(tmp_path):
    x = np.random.default_rng(4).lognormal(size=400)
    x[100] = 1e5
    path = write(tmp_path / "x.csv", ["load", *map(str, x.tolist())])
    for options in (("--depth", "0"), ("--depth", "20"), ("--season", "50", "--pace", "1")):
        calibrate = ("--calibrate", "300", "--risk", "1e-3", "--side", "upper")
        assert "; 1 row stood apart and was left out" in run(path, *calibrate, *options, code=(0, 1)).stderr
        assert "left out" not in run(path, *calibrate, *options, "--no-clean", code=(0, 1)).stderr


def test_an_alarm_without_a_fit_has_no_level(tmp_path):
    lines = ["x", *["0"] * 600, "1"]
    (alarm,) = alarms(write(tmp_path / "x.csv", lines), "--risk", "0.01")
    assert (alarm["row"], alarm["threshold"], alarm["probability"]) == (601, None, pytest.approx(1 / 601))
    assert "x 1 > all but a few" in run(tmp_path / "x.csv", *OPTIONS, "--risk", "0.01").stdout


def test_no_alarm_is_exit_code_0(tmp_path):
    assert alarms(write(tmp_path / "x.csv", LINES[:700]), "--risk", "1e-9", "-c", "level", code=0) == []


def test_an_alarm_comes_as_soon_as_its_line():
    with start("-", "--json", "--every-alarm") as process:
        process.stdin.write(("\n".join(LINES[:700]) + "\n").encode())
        process.stdin.flush()
        while b"calibrated" not in process.stderr.readline():
            pass
        for row in range(1, 4):
            process.stdin.write(b"now,1000,0\nnow,0,0\nnext,10")
            process.stdin.flush()
            alarm = _next_alarm(process)
            while alarm["value"] < 1000.0 or alarm["kind"] != "alarm":  # of the rows before
                alarm = _next_alarm(process)
            assert (alarm["row"], alarm["value"]) == (700 + 3 * (row - 1), 1000.0)
            process.stdin.write(b",0\n")
        process.stdin.close()
        assert process.wait() == 1


def _next_alarm(process):
    assert select.select([process.stdout], [], [], 60.0)[0], "no alarm within a minute"
    return json.loads(process.stdout.readline())


# -- state -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [501, 1201, 1801, 2999])
@pytest.mark.parametrize("by", ["file", "stdin"])
@pytest.mark.parametrize("depth", [(), ("--depth", "20")])
def test_a_state_goes_on_as_if_never_stopped(tmp_path, cut, by, depth):
    path, state = tmp_path / "x.csv", tmp_path / "state.json"
    whole = alarms(write(path), *depth)
    parts = []
    for lines in (LINES[: cut + 1], LINES) if by == "file" else (LINES[: cut + 1], [LINES[0], *LINES[cut + 1 :]]):
        file, given = (write(path, lines), None) if by == "file" else ("-", "\n".join([*lines, ""]))
        result = run(file, *OPTIONS, *depth, "--json", "--every-alarm", "--state", state, input=given, code=(0, 1))
        parts += map(json.loads, result.stdout.splitlines())
    assert [part for part in parts if part["kind"] == "alarm"] == whole
    assert [part for part in parts if part["kind"] != "alarm"] == events(path, *depth)
    assert Watch.load(state).rows == N
    assert Watch.load(state).alarms.sum() == len(whole)


def test_killed_it_has_lost_nothing_since_the_last_write_and_a_followed_file_grows(tmp_path):
    path, state = write(tmp_path / "x.csv", LINES[:1300]), tmp_path / "state.json"
    with start(path, "--follow", "--json", "--state", state, "--save-every", "0") as process:
        until(lambda: state.exists() and Watch.load(state).rows == 1299)
        with path.open("a") as file:
            file.write("\n".join(LINES[1300:1801]) + "\nt1801,-8")  # half a line
        until(lambda: Watch.load(state).rows == 1800)
        with path.open("a") as file:
            file.write(".0,25.0\n")
        until(lambda: Watch.load(state).rows == 1801)
        process.send_signal(signal.SIGKILL)
        told = process.stdout.read().splitlines()
    write(path)
    rest = run(path, *OPTIONS, "-l", "time", "--json", "--state", state).stdout.splitlines()
    assert [json.loads(line) for line in [*told, *rest]] == events(path, "-l", "time")


def until(true):
    end = time.monotonic() + 60.0
    while not true():
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_in_order(tmp_path, number):
    path, state = write(tmp_path / "x.csv"), tmp_path / "state.json"
    with start(path, "-f", "--state", state, "--save-every", "1e9") as process:
        lines = [process.stdout.readline()]
        process.send_signal(number)
        lines += process.stdout.readlines()
        assert process.wait() == 1
        assert b"rows after the calibration: " in process.stderr.read()
    assert sum(line.startswith(b"row ") for line in lines) == Watch.load(state).events.total


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_the_caller_ignores_stays_ignored(tmp_path, number):
    """As under nohup, or in the background of a script: the next line is judged, and SIGTERM still ends it in order."""
    path, state = write(tmp_path / "x.csv", LINES[:1200]), tmp_path / "state.json"
    signal.signal(number, signal.SIG_IGN)  # handed down; the fixture of every test puts it back
    with start(path, "-f", "--json", "--state", state, "--save-every", "0") as process:
        until(lambda: state.exists() and Watch.load(state).rows == 1199)
        process.send_signal(number)
        with path.open("a") as file:
            file.write("\n".join(LINES[1200:1900]) + "\n")
        until(lambda: Watch.load(state).rows == 1899)
        process.send_signal(signal.SIGTERM)
        told = process.stdout.readlines()
        assert process.wait() == 1
    assert sum(b'"begin"' in line for line in told) == Watch.load(state).events.total


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    path, state = write(tmp_path / "x.csv", [*LINES, *["t,1e9,0"] * 20_000]), tmp_path / "state.json"
    with start(path, "--state", state, "--on-alarm", "ignore") as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path):
    path, state = tmp_path / "x.csv", tmp_path / "state.json"
    path.write_text("\n".join(LINES[:700]) + "\nt700,100")
    assert "no line break yet, and is left for the next time: t700,100" in run(
        path, *OPTIONS, "--state", state, code=(0, 1)
    ).stderr  # fmt: skip
    assert Watch.load(state).rows == 699
    path.write_text("\n".join(LINES[:700]) + "\nt700,100.5,0")
    assert alarms(path)[-1]["value"] == 100.5  # without a state it is the last line


def test_the_rows_of_a_named_pipe_are_new_like_those_of_the_standard_input(tmp_path):
    pipe, state, whole = tmp_path / "pipe", tmp_path / "state.json", alarms(write(tmp_path / "x.csv"))
    os.mkfifo(pipe)
    told = []
    for lines in (LINES[:1300], [LINES[0], *LINES[1300:]]):
        writer = threading.Thread(target=write, args=(pipe, lines))
        writer.start()
        told += run(pipe, *OPTIONS, "--json", "--every-alarm", "--state", state).stdout.splitlines()
        writer.join()
    assert [item for item in map(json.loads, told) if item["kind"] == "alarm"] == whole


def test_a_state_and_no_new_rows(tmp_path):
    path, state = write(tmp_path / "x.csv", LINES[:900]), tmp_path / "state.json"
    run(path, *OPTIONS, "--state", state, code=(0, 1))
    before = Watch.load(state)
    for file, given in ((path, None), ("-", ""), ("-", LINES[0] + "\n")):
        run(file, *OPTIONS, "--state", state, input=given, code=0)
        assert Watch.load(state).detector.to_dict() == before.detector.to_dict()
    assert Watch.load(state).rows == 899


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--risk", "1e-4"), "another detector: risk 0.001, got 0.0001"),
        (("--side", "both"), "side upper, got both"),
        (("--depth", "9"), "depth 0, got 9"),
        (("--quiet", "9"), "quiet 50, got 9"),
        (("--missing", "drop"), "nonfinite raise, got skip"),
        (("--clean",), "clean None, got True"),
        (("-c", "flow"), "other columns: level, flow, got flow"),
    ],
)
def test_a_state_of_another_watch_is_refused(tmp_path, arguments, message):
    path, state = write(tmp_path / "x.csv", LINES[:900]), tmp_path / "state.json"
    run(path, *OPTIONS, "--state", state, code=(0, 1))
    before = state.read_bytes()
    assert message in run(path, *OPTIONS, *arguments, "--state", state, code=2).stderr
    assert state.read_bytes() == before


def test_a_file_that_is_not_the_one_seen_is_read_from_its_beginning(tmp_path):
    path, state = write(tmp_path / "x.csv", LINES[:900]), tmp_path / "state.json"
    run(path, *OPTIONS, "--state", state, code=(0, 1))
    error = run(write(path, [LINES[0], *LINES[900:1000]]), *OPTIONS, "--state", state, code=(0, 1)).stderr
    assert "is not the file whose 900 lines were seen; reading it from its beginning" in error
    assert Watch.load(state).rows == 999
    state.write_text("{}")
    assert "not a saved Watch" in run(path, "--state", state, code=2).stderr


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("t,1", "line 702 of {path}: 2 cells, wanted 3: t,1"),
        ("t,1,2,3", "4 cells, wanted 3"),
        ("t,high,2", "'high' in column 'level', wanted a number"),
        ('t,"1,2', "line 702 of {path}: no cells (unexpected end of data)"),
        ("t,,2", "no value in column 'level', wanted a finite number (--missing drop passes over it)"),
        ("", "no value in column 'level'"),
        ("t,1,1e300", "1e300 in column 'flow', wanted a finite number"),
        ("t,1,inf", "inf in column 'flow', wanted a finite number (--missing drop makes it an alarm)"),
    ],
)
def test_a_wrong_line_ends_it_after_the_lines_before(tmp_path, line, message):
    path, state = write(tmp_path / "x.csv", [*LINES[:701], line, *LINES[701:]]), tmp_path / "state.json"
    result = run(path, *OPTIONS, "--json", "--state", state, code=2)
    assert message.format(path=path) in result.stderr.splitlines()[-1]
    assert [json.loads(a) for a in result.stdout.splitlines()] == [a for a in alarms(write(path)) if a["row"] <= 700]
    assert Watch.load(state).rows == 700


def test_wrong_lines_can_be_skipped(tmp_path):
    lines = list(LINES)
    for place, line in {301: "half", 700: "", 1000: 't,"', 1900: "t,one,2"}.items():
        lines.insert(place, line)
    result = run(write(tmp_path / "x.csv", lines), *OPTIONS, "--json", "--every-alarm", "--malformed", "skip",
                 "--missing", "drop")  # fmt: skip
    said = [line.split()[1] for line in result.stderr.splitlines() if line.startswith("line ")]
    assert said == ["302", "1001", "1901"]  # the empty one is a row without values
    told, want = [json.loads(line) for line in result.stdout.splitlines()], alarms(write(tmp_path / "y.csv"))
    got = [item for item in told if item["kind"] == "alarm"]
    assert [a["value"] for a in got] == [a["value"] for a in want]
    for a in got:
        assert float(lines[a["row"]].split(",")[1 + (a["column"] == "flow")]) == a["value"]


def test_missing_values_are_passed_over_and_infinite_ones_alarms(tmp_path):
    lines = ["x,y", *(f"{a},{b}" for a, b in X.tolist())]
    lines[100], lines[800], lines[900] = "NA,1", "inf,", "-inf,NaN"
    got = alarms(write(tmp_path / "x.csv", lines), "--missing", "drop", "--side", "both")
    infinite = [(a["row"], a["side"], a["probability"]) for a in got if a["value"] is None]
    assert [(row, side) for row, side, _ in infinite] == [(800, "upper"), (900, "lower")]
    assert all(p < 1e-300 for _, _, p in infinite)


def test_numeric_columns_are_found_and_others_said(tmp_path):
    lines = ["name,a,b", *(f"n{i},{a},{'' if i % 3 else b}" for i, (a, b) in enumerate(X.tolist()))]
    stderr = run(write(tmp_path / "x.csv", lines), "--missing", "drop", code=(0, 1)).stderr
    assert stderr.startswith("not numeric, left out: name\na: 900 rows; alarm ")  # the first 100 fill a window
    assert "b: 234 rows; alarm " in stderr
    assert "a, b: calibrated after 1,000 rows\n" in stderr


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, (), "no such file"),
        ("", (), "is empty, wanted a line of column names"),
        ("x\n1\n2\n", (), "ended after 2 rows, wanted 1,000 to calibrate on"),
        ("x\n" + "1\n" * 30, ("--calibrate", "30"), "a stream must have at least 151 observations to calibrate"),
        ("x\n" + "a\n" * 30, ("--calibrate", "30"), "no numeric column"),
        ("x,x\n", (), "two columns of"),
        ("x\n1\n", ("-c", "y"), "no column 'y'"),
        ("x\n1\n", ("--label", "y"), "no column 'y'"),
        ("x\n1\n", ("--separator", "ab"), "separator must be one ASCII character, got 'ab'"),
        ("x\n1\n", ("--risk", "0.5"), "risk must lie between"),
        ("x\n1\n", ("--depth", "-1"), "depth must be"),
        ("x\n1\n", ("--live", "--json"), "exclude each other"),
        ("x\n1\n", ("--state", "/no/where/x.json"), "is not a folder"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(tmp_path, text, options, message):
    path = tmp_path / "x.csv"
    if text is not None:
        path.write_text(text)
    result = run(path, *options, code=2)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert result.stdout == ""


def test_what_cannot_be_followed_is_refused(tmp_path):
    (tmp_path / "x.parquet").touch()
    assert "--follow is for files" in run("-", "--follow", code=2, input="").stderr
    assert "no lines to be read one by one" in run(tmp_path / "x.parquet", code=2).stderr
    assert "is a folder" in run(tmp_path, code=2).stderr


# -- pieces ------------------------------------------------------------------------------------------------------------


def test_lines_given_back_are_read_again_and_not_yet_counted():
    lines = Lines(io.BytesIO(b"a\nbc\r\nd\ne"), "x")
    assert lines.read(0) == ["a", "bc", "d"]
    lines.unread(2)
    assert (lines.position.lines, lines.position.size, lines.ended) == (1, 2, False)
    assert lines.read(0) == ["bc", "d"]
    assert (lines.read(0), lines.ended) == (["e"], True)


def _follow(path, change, notes):
    with path.open("rb") as stream:
        lines = Lines(stream, str(path), follow=True, note=notes.append)
        seen = lines.read(0)
        assert lines.read(0) == []
        change(path)
        for _ in range(20):
            seen += lines.read(0)
        lines._stream.close()
    return seen


def test_a_followed_file_is_followed_by_its_name(tmp_path):
    path, notes = write(tmp_path / "x.csv", LINES[:20]), []

    def rotate(path):
        with path.open("a") as file:
            file.write(LINES[20] + "\n")  # written before the renaming, read after it
        path.rename(path.with_suffix(".1"))
        write(path, [LINES[0], *LINES[21:40]])

    assert _follow(path, rotate, notes) == [*LINES[:21], LINES[0], *LINES[21:40]]
    assert notes == [f"{path} is a new file; reading it from its beginning"]


@pytest.mark.parametrize("seed", range(15))
def test_ten_rotations_of_any_kind_lose_no_line(tmp_path, seed):
    """Renamed or copied and cut, up to three times between two looks, with torn lines."""
    rng = np.random.default_rng(seed)
    path, told, place = write(tmp_path / "x.csv", LINES[:500]), [], 500
    lines = Lines(path.open("rb"), str(path), follow=True)

    def look():
        got = lines.read(0)
        told.extend(line for line in got if line != LINES[0])
        return got

    while look():
        pass
    for _ in range(10):
        for _ in range(rng.integers(1, 4)):
            text = "".join(f"{line}\n" for line in LINES[place : place + 5])
            cut, place = int(rng.integers(40, len(text))), place + 5
            with path.open("a") as file:
                file.write(text[:cut])
                file.flush()
                if rng.random() < 0.3:
                    look()
                file.write(text[cut:])
            for k in range(8, 0, -1):
                if (older := tmp_path / f"x.csv.{k}").exists():
                    older.rename(tmp_path / f"x.csv.{k + 1}")
            if rng.random() < 0.5:
                path.rename(tmp_path / "x.csv.1")
                path.write_text(LINES[0] + "\n")
            else:
                (tmp_path / "x.csv.1").write_bytes(path.read_bytes())
                os.truncate(path, 0)
                with path.open("a") as file:
                    file.write(LINES[0] + "\n")
        with path.open("a") as file:  # a file that has no more than its header is like the next one
            file.write(f"{LINES[place]}\n")
        place += 1
        for _ in range(8):
            look()
    lines._stream.close()
    assert told == LINES[1:place]


@pytest.mark.parametrize("more", [3, 200])
def test_a_file_cut_in_its_place_is_read_anew_though_it_is_longer_already(tmp_path, more):
    path, notes = write(tmp_path / "x.csv", LINES[:20]), []
    new = [LINES[0], *LINES[20 : 20 + more]]
    assert _follow(path, lambda path: write(path, new), notes) == [*LINES[:20], *new]
    assert notes == [f"{path} was cut and filled anew; reading it from its beginning"]


def test_a_file_that_is_gone_is_waited_for(tmp_path):
    path, notes = write(tmp_path / "x.csv", LINES[:5]), []
    assert _follow(path, lambda path: path.unlink(), notes) == LINES[:5]
    assert notes == [f"{path} is no longer there; waiting for it"]


def test_what_rotation_renamed_while_nobody_watched_is_read_to_its_end(tmp_path):
    path, state = write(tmp_path / "x.csv", LINES[:1300]), tmp_path / "state.json"
    told = run(path, *OPTIONS, "-l", "time", "--json", "--state", state).stdout.splitlines()
    write(tmp_path / "x.csv.1", LINES[:2000])
    write(path, [LINES[0], *LINES[2000:]])
    result = run(path, *OPTIONS, "-l", "time", "--json", "--state", state)
    assert "was rotated; reading the rest of" in result.stderr
    whole = events(write(tmp_path / "whole.csv"), "-l", "time")
    assert [json.loads(line) for line in [*told, *result.stdout.splitlines()]] == whole
    assert Watch.load(state).rows == N


def test_what_was_rotated_twice_while_nobody_watched_is_read_to_its_end(tmp_path):
    path, state = write(tmp_path / "x.csv", LINES[:1300]), tmp_path / "state.json"
    told = run(path, *OPTIONS, "-l", "time", "--json", "--state", state).stdout.splitlines()
    write(tmp_path / "x.csv.2", LINES[:1600])
    write(tmp_path / "x.csv.1", [LINES[0], *LINES[1600:2200]])
    write(path, [LINES[0], *LINES[2200:]])
    result = run(path, *OPTIONS, "-l", "time", "--json", "--state", state)
    whole = events(write(tmp_path / "whole.csv"), "-l", "time")
    assert [json.loads(line) for line in [*told, *result.stdout.splitlines()]] == whole


def test_a_column_that_repeats_one_value_is_said(tmp_path):
    x = X.copy()
    x[2000:2100, 0] = x[1999, 0]
    lines = [LINES[0], *(f"t{i},{a!r},{b!r}" for i, (a, b) in enumerate(x.tolist(), 1))]
    notes = run(write(tmp_path / "x.csv", lines), *OPTIONS).stderr
    assert notes.count(f"level: {x[1999, 0]:.6g} 20 times in succession, from row 2000 on; is it stuck?") == 1
    assert "101 times in succession, from row 2000; another value has come" in notes
    assert "flow: " not in [line[:6] for line in notes.splitlines() if "succession" in line]


def test_headers_in_the_middle_are_passed_over(tmp_path):
    lines = [*LINES[:700], LINES[0], *LINES[700:1500], LINES[0], *LINES[1500:]]
    got = alarms(write(tmp_path / "x.csv", lines))
    assert [a["value"] for a in got] == [a["value"] for a in alarms(write(tmp_path / "y.csv"))]


def test_a_pipe_that_goes_on_needs_no_header(tmp_path):
    state, whole = tmp_path / "state.json", events(write(tmp_path / "x.csv"))
    told = []
    for lines in (LINES[:1300], LINES[1300:2000], [LINES[0], *LINES[2000:]]):
        told += run(
            "-", *OPTIONS, "--json", "--state", state, input="\n".join([*lines, ""]), code=(0, 1)
        ).stdout.splitlines()
    assert [json.loads(line) for line in told] == whole


def test_a_line_without_end_is_cut_and_its_place_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(_lines, "LONGEST", 1000)
    monkeypatch.setattr(_lines, "_AT_ONCE", 100)
    data = b"a,b\n1,2\n" + b"9" * 5000 + b"\n3,4\n"
    lines, seen = Lines(io.BytesIO(data), "x"), []
    while not lines.ended:
        seen += lines.read(0)
    assert [line if len(line) < 100 else line[-14:] for line in seen] == ["a,b", "1,2", "9… (5000 bytes)"[-14:], "3,4"]
    assert len(seen[2]) < 1100
    assert lines.position == Position().after(data)


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    lines = ["t,a\x1b[2J", *(f"x\x1b]0;evil\x07,{v}" for v in X[:800, 0].tolist()), "\u202ey,99", "z,bad\x1b[31m"]
    result = run(write(tmp_path / "x.csv", lines), *OPTIONS, "-l", "t", "--malformed", "skip")
    assert not set("\x1b\x07\u202e") & set(result.stdout + result.stderr)
    assert "\\x1b[2J" in result.stdout


def test_a_state_is_used_by_one_at_a_time(tmp_path):
    path, state = write(tmp_path / "x.csv", LINES[:900]), tmp_path / "state.json"
    with locked(str(state)):
        assert "is in use by another evtkit watch" in run(path, *OPTIONS, "--state", state, code=2).stderr
    run(path, *OPTIONS, "--state", state, code=(0, 1))


def test_a_full_disk_is_said_survived_and_tried_again(tmp_path, monkeypatch):
    calls = []

    def full_twice(self, path):
        calls.append(path)
        if len(calls) <= 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(self, path)

    save = Watch.save
    monkeypatch.setattr(Watch, "save", full_twice)
    monkeypatch.setattr(_lines, "_AT_ONCE", 10_000)
    path, state = write(tmp_path / "x.csv"), tmp_path / "state.json"
    result = run(path, *OPTIONS, "-l", "time", "--json", "--state", state, "--save-every", "0")
    assert result.stderr.count("No space left on device; trying again") == 1
    assert [json.loads(line) for line in result.stdout.splitlines()] == events(path, "-l", "time")
    assert Watch.load(state).rows == N


def test_a_failure_of_its_own_is_exit_code_3(tmp_path, monkeypatch):
    monkeypatch.setattr(Watch, "update", lambda self, rows: 1 / 0)
    assert "ZeroDivisionError" in run(write(tmp_path / "x.csv"), *OPTIONS, code=3).stderr


# -- events ------------------------------------------------------------------------------------------------------------


def test_an_event_is_told_once_when_it_begins_and_once_when_it_is_over(tmp_path):
    lines = ["x", *map(repr, RNG.normal(10.0, 1.0, 3000).tolist())]
    lines[2001:2021] = ["30"] * 20
    lines[2501:2601] = ["0"] * 100
    path = write(tmp_path / "x.csv", lines)
    told = [json.loads(line) for line in run(path, "--json").stdout.splitlines()]
    ends = {item["id"]: item for item in told if item["kind"] == "end"}
    begins = {item["id"]: item for item in told if item["kind"] == "begin"}
    for row, last, value in ((2001, 2020, 30.0), (2501, 2600, 0.0)):
        assert [i for i in begins if row <= begins[i]["row"] <= last] == [f"{row}-x"]
        assert (ends[f"{row}-x"]["start"], ends[f"{row}-x"]["value"]) == (row, value)
        assert ends[f"{row}-x"]["end"] >= last


def test_columns_at_one_time_are_one_question(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6000, 20))
    x[4000, 4:9] = 9.0
    path = write(
        tmp_path / "x.csv", [",".join(f"c{c}" for c in range(20)), *(",".join(map(repr, r)) for r in x.tolist())]
    )
    told = [json.loads(line) for line in run(path, "--json", "--risk", "1e-3").stdout.splitlines()]
    (event,) = [item for item in told if item["kind"] == "end" and item["start"] == 4001]
    assert event["columns"] == [f"c{c}" for c in range(4, 9)]
    begun = sum(item["kind"] == "begin" for item in told)
    each = alarms(path, "--risk", "1e-3", "--calibrate", "1000", "--side", "both")
    assert begun < len(each) / 4


def test_columns_that_cannot_alarm_say_so(tmp_path):
    path = write(tmp_path / "x.csv", ["a", *["7"] * 1500, "1e9"])
    result = run(path, code=0)
    assert "no level, no value differs upwards from most others" in result.stderr
    assert "only what was never seen in 20,000 rows will be an alarm, so none before row 20,100" in result.stderr
    assert "1,000 rows are few for this risk (rows × risk is 0.1, wanted 10)" in result.stderr


def test_one_bad_cell_makes_no_column_a_text(tmp_path):
    lines = [*LINES[:1], "t1,bad,0.5", *LINES[2:]]
    result = run(write(tmp_path / "x.csv", lines), *OPTIONS, "--malformed", "skip")
    assert "not numeric, left out: time\n" in result.stderr
    assert "level, flow: calibrated" in result.stderr


def test_a_budget_is_a_risk_at_the_streams_pace(tmp_path):
    start = np.datetime64("2026-01-01T00:00:00")
    lines = ["when,x", *(f"{start + np.timedelta64(300 * i, 's')},{v}" for i, v in enumerate(X[:, 0].tolist()))]
    path = write(tmp_path / "x.csv", lines)
    result = run(path, "-l", "when", "--budget", "1 per week", code=(0, 1))
    assert "risk 0.000496" in result.stderr
    assert "chance begins 1 events a week at the stream's pace" in result.stderr
    assert "needs the pace" in run(path, "-c", "x", "--budget", "1 per week", code=2).stderr
    assert "must be a number per" in run(path, "-l", "when", "--budget", "often", code=2).stderr


def test_a_backtest_shows_what_would_have_been_told(tmp_path):
    path, picture = write(tmp_path / "x.csv"), tmp_path / "x.png"
    result = run(path, *OPTIONS, "-l", "time", "-c", "level", "--backtest", "--picture", picture, code=0)
    table = {
        line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.startswith(("0.001", "1e-05"))
    }
    assert int(table["0.001"][0]) == sum(e["kind"] == "begin" for e in events(path, "-c", "level"))
    assert int(table["1e-05"][0]) >= 2
    assert "rows 2101 to 2104  t2101 to t2104  over: 4 alarms" in result.stdout
    assert picture.stat().st_size > 10_000


def test_a_program_is_run_for_each_event_and_no_shell(tmp_path):
    out, script = tmp_path / "out", tmp_path / "tell.py"
    script.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())")
    lines = ["a;$(touch evil)`touch evil`", *map(repr, X[:1300, 0].tolist())]
    path = write(tmp_path / "x.csv", lines)
    command = f"{sys.executable} {script} {out}"
    result = run(path, *OPTIONS, "--json", "--exec", command)
    assert sorted(out.read_text().splitlines()) == sorted(result.stdout.splitlines())
    assert not (tmp_path / "evil").exists()
    assert "cannot be run" in run(path, *OPTIONS, "--exec", "/no/such/program").stderr


def test_a_file_for_prometheus(tmp_path):
    pytest.importorskip("prometheus_client")
    metrics = tmp_path / "evtkit.prom"
    run(write(tmp_path / "x.csv"), *OPTIONS, "--prometheus", metrics)
    text = metrics.read_text()
    assert f"evtkit_watch_rows_total {float(N)}" in text
    assert 'evtkit_watch_alarms_total{column="level"}' in text
    assert 'evtkit_watch_level{column="flow",side="upper"}' in text


def test_cells_are_read_one_by_one_as_together():
    cells = Cells.of("\ufeffname;x;y", "file", separator=";", columns=("y", "x"), label="name", finite=False)
    good = ["a;1;2", '"b;c";3;', "d;NA;-1e3"]
    together, one_by_one = cells.read(good), cells._read_one_by_one(good)
    np.testing.assert_array_equal(together.values, [[2, 1], [np.nan, 3], [-1e3, np.nan]])
    np.testing.assert_array_equal(one_by_one.values, together.values)
    assert list(together.labels) == list(one_by_one.labels) == ["a", "b;c", "d"]


# -- the live view -----------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=12, highlight=False)
    monkeypatch.setattr(_live, "Console", lambda **_: console)
    return console


@pytest.mark.parametrize("side", ["upper", "both"])
def test_the_live_view_shows_all_columns_in_80_cells(terminal, side):
    watch = Watch.fit(rows := Cells.of(LINES[0], "x", columns=("level", "flow")).read(LINES[1:501]), ("level", "flow"),
                      Spot(1e-3, side=side))  # fmt: skip
    with _live.LiveView("x.csv") as view:
        view.start(watch, resumed=False)
        rows = Cells.of(LINES[0], "x", columns=("level", "flow")).read(LINES[501:])
        view.show(watch, rows, watch.update(rows))

    text = terminal.file.getvalue()
    picture = text[text.rindex("x.csv") :]
    assert "row 3,000" in picture
    for word in ("level", "flow", "excesses", f"{watch.excesses[0]}", f"{watch.alarms.sum()} alarms"):
        assert word in picture
    assert "row 1201  level 9 > " in text
    assert any(bar in picture for bar in "▁▂▃▄▅▆▇█")


def test_more_columns_than_the_terminal_has_lines(terminal):
    names = tuple(f"column {i}" for i in range(30))
    values = np.random.default_rng(0).standard_normal((200, 30))
    watch = Watch(names, Spot(1e-3).fit(values), 200, Events(names))
    with _live.LiveView("x.csv") as view:
        view.start(watch, resumed=True)
    lines = terminal.file.getvalue()
    assert "column 5" in lines
    assert "… 23 more" in lines


def test_a_sparkline_is_full_at_the_alarm_level_and_marks_alarms():
    text = _live.sparkline([(0.0, False), (10.0, True), (np.nan, False), (5.0, False)], np.array([10.0]), "upper")
    assert text.plain == "▁█ ▅"
    assert [(span.start, span.style) for span in text.spans if "red" in str(span.style)] == [(1, "bold red")]


def test_without_a_terminal_live_is_lines(tmp_path):
    path = write(tmp_path / "x.csv")
    assert run(path, *OPTIONS, "--live").stdout == run(path, *OPTIONS).stdout
