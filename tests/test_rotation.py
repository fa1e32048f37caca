"""A file that log rotation renames, or copies and cuts, under a reader that is killed and goes on: no line is lost."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from evtkit._common.schema import MANY
from evtkit.cli.watch.lines import Lines, Position, open_file

HEADER = "row,a"
KEPT = 8


class Rotated:
    """A file that grows by numbered lines, torn ones too, and is rotated."""

    def __init__(self, folder, rng):
        self.path, self.rng, self.rows, self.torn = folder / "x.csv", rng, 0, b""
        self.path.write_text(f"{HEADER}\n")

    def append(self, rows):
        text = "".join(f"{row},{self.rng.random()!r}\n" for row in range(self.rows, self.rows + rows)).encode()
        self.rows, data = self.rows + rows, self.torn + text
        cut = len(data) - int(self.rng.integers(0, 25)) if self.rng.random() < 0.3 else len(data)
        self.torn = data[cut:]
        with self.path.open("ab") as file:
            file.write(data[:cut])

    def mend(self):
        with self.path.open("ab") as file:
            file.write(self.torn)
        self.torn = b""

    def rotate(self, look):
        self.mend()
        for k in range(KEPT, 0, -1):
            if (older := Path(f"{self.path}.{k}")).exists():
                older.rename(f"{self.path}.{k + 1}")
        if self.rng.random() < 0.5:
            self.path.rename(f"{self.path}.1")
        else:
            shutil.copy(self.path, f"{self.path}.1")
            os.truncate(self.path, 0)
        if self.rng.random() < 0.3:
            look()
        with self.path.open("a") as file:
            file.write(f"{HEADER}\n")


class Reader:
    """What `evtkit watch --follow --state` does with lines: it saves where it is, is killed, and goes on from there."""

    def __init__(self, path):
        self.path, self.seen, self.saved = str(path), [], None
        self.start()

    def start(self):
        self.lines = Lines(open_file(self.path), self.path, follow=True)
        if self.saved is not None:
            count, position = self.saved
            del self.seen[count:]
            self.lines.go_on(position)

    def look(self):
        self.seen += [int(line.split(",")[0]) for line in self.lines.read(0.0) if line != HEADER]

    def save(self):
        written = json.loads(json.dumps(asdict(self.lines.position)))
        assert all(0 <= value <= MANY for value in written.values())  # as the state is read
        self.saved = len(self.seen), Position(**written)


@pytest.mark.parametrize("seed", [*range(12), 164])  # 164: renamed, and copied, before it was read on
def test_killed_between_rotations_it_goes_on_where_it_was(tmp_path, seed):
    rng = np.random.default_rng(seed)
    file = Rotated(tmp_path, rng)
    reader = Reader(file.path)
    file.append(20)
    reader.look()
    reader.save()
    rotations = 0  # since the place that was saved
    for _ in range(200):
        what = rng.choice(["append", "look", "save", "rotate", "kill"], p=[0.4, 0.35, 0.1, 0.08, 0.07])
        if what == "append":
            file.append(int(rng.choice([1, 5, 50])))
        elif what == "save":
            reader.save()
            rotations = 0 if len(reader.seen) >= file.rows - 1 else rotations
        elif what == "rotate" and rotations < KEPT - 3:
            file.rotate(reader.look)
            rotations += 1
        elif what == "kill":
            reader.lines._stream.close()
            reader.start()
        else:
            reader.look()
    file.mend()
    for _ in range(20):
        reader.look()
    reader.lines._stream.close()
    assert reader.seen == list(range(file.rows))


def test_what_was_in_memory_is_not_what_is_in_the_file(tmp_path):
    """A file may be cut between the look for the place to go on at, and the first reading."""
    file = Rotated(tmp_path, np.random.default_rng(0))
    reader = Reader(file.path)
    file.append(3)
    file.mend()
    reader.look()
    reader.save()
    position = reader.lines.position
    file.path.write_text(f"{HEADER}\n" + "".join(f"{row},0\n" for row in range(10, 40)))
    lines = Lines(open_file(reader.path), reader.path, follow=True)
    lines.go_on(position)
    file.path.write_text(f"{HEADER}\n")
    assert lines.read(0.0) == [HEADER]
    reader.lines._stream.close()
    lines._stream.close()
