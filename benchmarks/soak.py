"""Does ``evtkit watch`` tell every event, whatever happens to its file and to itself?

    python benchmarks/soak.py [--rounds 200] [--tables docs/tables]

A file grows by whole and torn lines. In every round it is renamed or cut in its place by log rotation, or the watch is
killed and started anew, with the file rotated up to twice meanwhile, or no file can be written for a while, as on a
full disk. Every round has one anomaly. At the end the events told are compared with those of one watch over all rows in
one file: each must be told at least once, under the same id, and once if equal ids are removed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _timing import machine

CALIBRATION, ROWS = 1000, 150  # rows of a round
OPTIONS = ("--json", "--label", "time", "--quiet", "20", "--risk", "1e-4", "--missing", "drop")
HEADER = "time,a,b\n"


class Watched:
    """A watch that is started, killed and started again, and all that it told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.notes = folder, folder / "x.csv", folder / "notes"
        self.told: list[dict[str, object]] = []
        self.torn = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", "from evtkit.cli import main; main()", "watch", str(self.path), *OPTIONS,
                   "--follow", "--state", str(self.folder / "state.json"), "--save-every", "0.5"]  # fmt: skip
        self.notes.touch()
        self.before = len(self.notes.read_text())
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.notes.open("a"), text=True)
        self.reader = threading.Thread(target=self._read, args=(self.process,))
        self.reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                self.told.append(json.loads(line) | {"notes": self.notes.stat().st_size})
            except ValueError:
                self.torn += 1  # killed while it wrote

    def wait(self, what: str, times: int) -> None:
        """Until it has said that so many times since its start."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.notes.read_text()[self.before :].count(what) >= times:
                return
            time.sleep(0.05)

    def wait_for_event(self, row: int) -> None:
        """Until it has told an event that began there, which it does late if the machine has other work."""
        deadline, start = time.monotonic() + 60, f"{row}-"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.notes.read_text()[-2000:]}")
            if any(str(event["id"]).startswith(start) for event in self.told):
                return
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.reader.join()

    def limit(self, size: int) -> None:
        """The size that files may have which it writes."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def rotate(path: Path, *, copy: bool) -> None:
    """As logrotate does, keeping nine."""
    for k in range(8, 0, -1):
        if Path(f"{path}.{k}").exists():
            Path(f"{path}.{k}").rename(f"{path}.{k + 1}")
    if copy:
        shutil.copy(path, f"{path}.1")
        os.truncate(path, 0)
    else:
        path.rename(f"{path}.1")
    append(path, [HEADER], np.random.default_rng(0))


def append(path: Path, lines: list[str], rng: np.random.Generator) -> None:
    """Write lines, now and then in two pieces that meet within a line."""
    with path.open("a") as file:
        for line in lines:
            cut = int(rng.integers(1, len(line))) if rng.random() < 0.1 else len(line)
            file.write(line[:cut])
            if cut < len(line):
                file.flush()
                time.sleep(0.002)
                file.write(line[cut:])


def soak(rounds: int, seed: int = 0) -> list[tuple[str, int]]:
    """What happened how often; AssertionError if an event was lost."""
    rng = np.random.default_rng(seed)
    n = CALIBRATION + rounds * ROWS
    x = rng.standard_normal((n, 2))
    anomalies = CALIBRATION + np.arange(rounds) * ROWS + rng.integers(20, ROWS - 40, rounds)
    x[anomalies, rng.integers(0, 2, rounds)] = 15.0
    lines = [f"t{i},{a!r},{b!r}\n" for i, (a, b) in enumerate(x.tolist(), 1)]
    count: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        append(folder / "x.csv", [HEADER, *lines[: CALIBRATION + 1]], rng)
        watched = Watched(folder)
        at = CALIBRATION + 1
        while not (folder / "state.json").exists():
            time.sleep(0.05)
        for k in range(rounds):
            middle, end = at + int(rng.integers(1, ROWS)), min(at + ROWS, n)
            append(watched.path, lines[at:middle], rng)
            what = str(
                rng.choice(["rename", "copytruncate", "kill", "full disk", "none"], p=[0.35, 0.3, 0.1, 0.15, 0.1])
            )
            count[what] += 1
            if what in ("rename", "copytruncate"):
                rotate(watched.path, copy=what == "copytruncate")
            elif what == "kill":
                watched.kill()
                between = middle
                for _ in range(int(rng.integers(0, 3))):
                    count["rotation while it was dead"] += 1
                    rotate(watched.path, copy=rng.random() < 0.5)
                    until = min(between + 5, end)
                    append(watched.path, lines[between:until], rng)
                    between = until
                middle = between
                watched.start()
                watched.wait("going on after", 1)
            elif what == "full disk":
                watched.limit(100)
            append(watched.path, lines[middle:end], rng)
            time.sleep(0.6 if what == "full disk" else 0.2)
            if what == "full disk":
                watched.limit(resource.RLIM_INFINITY)
            watched.wait_for_event(int(anomalies[k]) + 1)
            at = end
        deadline = time.monotonic() + 120
        last = f"{anomalies[-1] + 1}-"
        while time.monotonic() < deadline and not any(
            str(event["id"]).startswith(last) and event["kind"] == "end" for event in watched.told
        ):
            time.sleep(0.1)
        watched.end()
        whole = folder / "whole.csv"
        whole.write_text(HEADER + "".join(lines))
        run = subprocess.run(
            [sys.executable, "-c", "from evtkit.cli import main; main()", "watch", str(whole), *OPTIONS],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
        )  # fmt: skip
        wanted = [(e["kind"], e["id"]) for e in map(json.loads, run.stdout.splitlines())]
        told = [(e["kind"], e["id"]) for e in watched.told]
        said = watched.notes.read_text()
    lost, invented = set(wanted) - set(told), set(told) - set(wanted)
    if lost or invented:
        wrong = next((e for e in watched.told if (e["kind"], e["id"]) in invented), {})
        seen = said[: int(str(wrong.get("notes", len(said))))].splitlines()[-20:]
        raise AssertionError(f"lost {sorted(lost)[:5]}, not events {sorted(invented)[:5]}, {wrong}; notes: {seen}")
    begun = {id_ for kind, id_ in wanted if kind == "begin"}
    return [
        *sorted(count.items()),
        ("anomalies", rounds),
        ("events of one watch over all rows", len(begun)),
        ("events told", len({id_ for kind, id_ in told if kind == "begin"})),
        ("lines told, with those told again", len(told) + watched.torn),
        ("lines that differ", len(set(told))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", type=Path, help="folder for soak.csv")
    options = parser.parse_args()
    print(machine())
    start = time.monotonic()
    rows = [("", "times"), *soak(options.rounds, options.seed)]
    for what, times in rows:
        print(f"{what:36} {times}")
    print(f"{time.monotonic() - start:.0f} s")
    if options.tables:
        with (options.tables / "soak.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
