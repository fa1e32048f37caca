"""Files that were cut, flipped, edited or forged: does reading them, and using what was read, ever go wrong?

    python benchmarks/fuzz.py [--cases 24000] [--seed 1] [--kinds KIND …]

Each case takes a saved Tail, TailSketch, GroupSketch, Spot, DSpot, Seasonal, watch state (with a season or without),
Reference or Checkpoint and changes it:

raw     bytes are flipped, cut off, left out or doubled
edited  one value, type, shape or name is another; the checksum is the old one, as in a file edited by hand
forged  the same, with the checksum of the changed content: only the schema stands between it and the kernels

Then the file is loaded, and what was loaded is used. Right is a ValueError, or after "raw" and "edited" an object equal
to the original. Cases run in subprocesses, so that a crash or an endless loop is seen: both are counted, and every
other exception, and every object that differs. The last column says how many forged files were consistent enough to
load; nobody can tell these from saved ones. Ends with exit code 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.files import read_arrays, read_json, write_arrays, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("Tail", "TailSketch", "GroupSketch", "Spot", "DSpot", "Seasonal", "Watch", "Watch, season", "Reference",
         "Checkpoint")  # fmt: skip
WAYS = ("raw", "edited", "forged")
CHUNK = 6000  # cases a subprocess
MEMORY = Path("/dev/shm")  # where there is a file system in memory: each case writes a file and waits for the disk
PATIENCE = 300.0  # seconds without a word, compiling included

STRANGE = [0, -1, 1, 7, 25, 2**31, 10**12, 2**53 + 1, 2**63 - 1, 10**30, 0.5, -1e6, 1e-320, 1e308, -1e308, True, None,
           "", "nan", "inf", "x", "sideways", "upper", [], [1], {}, {"a": 1}]  # fmt: skip
DTYPES = ["f4", "f8", ">f8", "i4", "i8", "u1", "?", "c16", "U3", "S3"]


def anything(*content: object) -> None:
    """A schema that all content fits."""


def dated(seconds: np.ndarray) -> list[str | None]:
    """Labels of rows as a CSV file has them."""
    return [str(one) for one in np.datetime64("2026-01-01", "s") + seconds.astype("m8[s]")]


def written_as(kind: str) -> str:
    """The kind that is written in a file."""
    return kind.partition(",")[0]


class Originals:
    """One saved object of each kind, and how it is loaded, written again and used."""

    def __init__(self, folder: Path) -> None:
        from evtkit import DSpot, GroupSketch, Spot, Tail, TailSketch, fit_tail
        from evtkit.cli.watch.cells import Rows
        from evtkit.cli.watch.watching import Watch
        from evtkit.saliency import Reference
        from evtkit.saliency.checkpoint import Checkpoint
        from evtkit.saliency.units import Units
        from evtkit.spot import Events, Seasonal

        rng = np.random.default_rng(0)
        x = rng.standard_exponential((400, 3)) * [1.0, 10.0, 0.0]
        sketch = TailSketch(3, 60)
        sketch.update(x[:, :3] + rng.random((400, 3)))
        groups = GroupSketch(20)
        groups.update(np.repeat(["a", "b", "c"], [300, 90, 10]), x[:, 0])
        units = Units(["conv1"] * 3, ["filters"] * 3, [0, 1, 2], [9] * 3, ["conv1"] * 3)
        detector = Spot(risk=1e-3, side="both", max_excess=30, min_excess=5).fit(x[:, :2])
        detector.update(x[:50, :2])
        watch = Watch(
            ("a", "b"), detector, 450, Events(("a", "b"), risk=1e-3, side="both", quiet=30, first_row=450), 400
        )
        watch.update(Rows(x[:80, :2] + 1e3, np.arange(80), [None] * 80, [], 80))
        assert watch.events.going_on, "an event goes on"
        hours = 3600.0 * np.arange(400.0)
        seasonal = Seasonal(DSpot(risk=1e-3, depth=20, max_excess=30, min_excess=5), "day").fit(x[:300, 0], hours[:300])
        seasonal.events(x[300:340, 0] + 2.0, hours[300:340])
        inner = Spot(risk=1e-3, side="both", max_excess=20, min_excess=5)
        seasonal_watch = Watch(
            ("a", "b"), Seasonal(inner, (43200.0, "day")).fit(x[:200, :2], hours[:200]), 200,
            Events(("a", "b"), risk=1e-3, side="both", quiet=30, first_row=200), 200,
        )  # fmt: skip
        seasonal_watch.update(Rows(x[200:240, :2] * 5.0, np.arange(40), dated(hours[200:240]), [], 40))
        saved = {
            "Tail": fit_tail(x, quantile=0.9),
            "TailSketch": sketch,
            "GroupSketch": groups,
            "Spot": Spot(risk=1e-3, max_excess=25).fit(x[:, 0]),
            "DSpot": DSpot(risk=1e-3, depth=20, max_excess=40).fit(x[:, 0]),
            "Seasonal": seasonal,
            "Watch": watch,
            "Watch, season": seasonal_watch,
            "Reference": Reference(fit_tail(x, quantile=0.9, keep_sample=False), units, 0.9),
            "Checkpoint": Checkpoint(
                {"quantile": 0.9}, np.array(["a", "b", "c"]), np.ones(3), sketch, batches=2, seen=400, digest="d"
            ),
        }
        saved["Spot"].update(x[:300, 1])
        saved["DSpot"].update(x[:300, 0] + 5.0)

        class Model:
            """As much of a network as a checkpoint looks at."""

            def __init__(self) -> None:
                self.units = type("Named", (), {"names": np.array(["a", "b", "c"])})

            def unit_norms(self) -> np.ndarray:
                return np.ones(3)

        def use_detector(spot: Any, columns: int) -> None:
            shape = (60, columns) if columns else (60,)
            values = np.random.default_rng(1).standard_exponential(shape) * 3.0
            spot.alarm_threshold, spot.xi, spot.status, repr(spot)
            spot.probability(values[:1] if columns else values)
            spot.update(values)
            spot.trace(values)

        def use_tail(tail: Any) -> None:
            tail.sf([5.0, 6.0, 7.0]), tail.isf(1e-4), tail.excesses, repr(tail), tail.return_level(1e4)

        def use_sketch(one: Any) -> None:
            other = copy.deepcopy(one)
            one.update(np.random.default_rng(1).standard_exponential((100, one.n_channels)))
            one.merge(other)
            one.fit(quantile=0.97), repr(one)

        def use_groups(one: Any) -> None:
            other = copy.deepcopy(one)
            one.update(np.repeat(one.keys[:1], 50), np.random.default_rng(1).standard_exponential(50))
            one.merge(other)
            one.fit(n_excess=5), repr(one)

        def use_watch(watch: Any) -> None:
            values = np.random.default_rng(1).standard_exponential((30, 2)) * 3.0
            watch.update(Rows(values, np.arange(30), [None] * 30, [], 30))

        def use_seasonal(one: Any) -> None:
            values, times = np.random.default_rng(1).standard_exponential(60) * 3.0, 3600.0 * np.arange(400.0, 460.0)
            one.alarm_threshold, one.status, one.levels(times[:3]), repr(one)
            one.probability(values, times)
            one.update(values, times)
            one.events(values, times + 3600.0 * 60)

        def use_seasonal_watch(watch: Any) -> None:
            values = np.random.default_rng(1).standard_exponential((30, 2)) * 3.0
            watch.update(Rows(values, np.arange(30), dated(3600.0 * np.arange(240.0, 270.0)), [], 30))

        loaders = {
            "Tail": Tail.load, "TailSketch": TailSketch.load, "GroupSketch": GroupSketch.load,
            "Spot": Spot.load, "DSpot": DSpot.load,
            "Seasonal": Seasonal.load, "Watch": Watch.load, "Watch, season": Watch.load, "Reference": Reference.load,
            "Checkpoint": lambda path: Checkpoint.begin(path, Model(), {"quantile": 0.9}),
        }  # fmt: skip
        self.load = loaders
        self.use = {
            "Tail": use_tail, "TailSketch": use_sketch, "GroupSketch": use_groups, "Spot": lambda s: use_detector(s, 0),
            "DSpot": lambda s: use_detector(s, 0), "Seasonal": use_seasonal, "Watch": use_watch,
            "Watch, season": use_seasonal_watch,
            "Reference": lambda r: r.rank([8.0, 20.0, 0.0], "pot"),
            "Checkpoint": lambda c: c.sketch is None or use_sketch(c.sketch),
        }  # fmt: skip
        self.folder, self.bytes, self.content = folder, {}, {}
        for kind, one in saved.items():
            path = folder / kind
            one.save(path)
            self.bytes[kind], self.content[kind] = path.read_bytes(), self.read(kind, path)

    def is_json(self, kind: str) -> bool:
        """Whether files of the kind are JSON."""
        return written_as(kind) in ("Spot", "DSpot", "Seasonal", "Watch")

    def read(self, kind: str, path: Path) -> tuple[dict, dict]:
        """Arrays and values of a file."""
        if self.is_json(kind):
            return {}, read_json(path, written_as(kind), anything)
        return read_arrays(path, kind, anything)

    def same(self, kind: str, path: Path) -> bool:
        """Whether a file says what the original says."""
        arrays, values = self.read(kind, path)
        wanted, words = self.content[kind]
        return (
            repr(values) == repr(words) and arrays.keys() == wanted.keys()
            and all(arrays[n].dtype == a.dtype and np.array_equal(arrays[n], a, equal_nan=a.dtype.kind == "f")
                    for n, a in wanted.items())
        )  # fmt: skip


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut off, left out or doubled."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(out)) if out else 0
        match rng.randrange(5):
            case 0 if out:
                out[place] ^= 1 << rng.randrange(8)
            case 1:
                del out[place:]
            case 2:
                del out[place : place + rng.choice([1, 8, 200])]
            case 3:
                out[place:place] = out[place : place + rng.choice([1, 8, 200])]
            case _:
                out[place : place + 4] = rng.randbytes(4)
    return bytes(out)


def changed_value(content: Any, rng: random.Random) -> Any:
    """JSON content of which one value, somewhere, is another, or one entry is missing, double or too much."""
    content = copy.deepcopy(content)
    root: dict[str, Any] = {"": content}
    holder, key = root, ""
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.9:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    value = holder[key]
    match rng.randrange(8):
        case 0 if isinstance(value, int | float):
            holder[key] = value + rng.choice([1, -1, 0.5, 1e-9, 1000])
        case 1 if isinstance(value, int | float):
            holder[key] = value * rng.choice([2, -1, 0, 1e9])
        case 2:
            del holder[key]
        case 3 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(value))
        case 4 if isinstance(value, list):
            rng.shuffle(value)
        case 5 if isinstance(holder, dict):
            holder[rng.choice(["", "n", "kind", "x", "depth"])] = rng.choice(STRANGE)
        case _:
            holder[key] = rng.choice(STRANGE)
    return root.get("")


def changed_array(arrays: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Arrays of which one has another value, type, shape, order or name."""
    arrays = dict(arrays)
    name = rng.choice(sorted(arrays))
    array = arrays[name].copy()
    match rng.randrange(9):
        case 0 | 1 | 2 | 3 if array.size:
            place = rng.randrange(array.size)
            if array.dtype.kind == "U":
                array.reshape(-1)[place] = rng.choice(["", "\0", "x"])
            elif rng.random() < 0.5:
                with np.errstate(all="ignore"):
                    array.reshape(-1)[place] += rng.choice([1, -1, 2])
            else:
                strange = [0, -1, 3, 2**31, 10**12, 2**62, -(2**63)]
                if array.dtype.kind == "f":
                    strange += [0.5, np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324]
                with np.errstate(all="ignore"):
                    array.reshape(-1)[place] = rng.choice(strange)
            arrays[name] = array
        case 4:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    arrays[name] = array.astype(rng.choice(DTYPES))
                except (ValueError, OverflowError):
                    del arrays[name]
        case 5:
            arrays[name] = rng.choice([array[..., :-1] if array.ndim else array[None], array[None], array.T,
                                       array.reshape(-1), array[:0] if array.ndim else array[None, None]])  # fmt: skip
        case 6:
            del arrays[name]
        case 7:
            arrays[rng.choice(["x", "sample", "names", "tail.x", "sketch.y", ""])] = array
        case _:
            flat = array.reshape(-1)
            np.random.default_rng(rng.randrange(2**32)).shuffle(flat)
            arrays[name] = flat.reshape(array.shape)
    return arrays


def write_case(originals: Originals, kind: str, way: str, path: Path, rng: random.Random) -> None:
    """Write the changed file of a case."""
    if way == "raw":
        path.write_bytes(changed_bytes(originals.bytes[kind], rng))
        return
    arrays, values = originals.content[kind]
    if originals.is_json(kind):
        values = changed_value(values, rng)
        if way == "forged" and isinstance(values, dict):
            write_json(path, written_as(kind), values)
        else:
            head = json.loads(originals.bytes[kind])
            head = {name: head[name] for name in ("kind", "format", "checksum")}
            path.write_text(json.dumps({**head, **values} if isinstance(values, dict) else values))
        return
    if rng.random() < 0.25:
        values = changed_value(values, rng)
    else:
        arrays = changed_array(arrays, rng)
    if not isinstance(values, dict):
        values = {}
    if way == "forged":
        write_arrays(path, kind, arrays, values)
    else:
        with np.load(originals.folder / kind) as file:
            head = json.loads(str(file["header"]))
        head = {name: head[name] for name in ("kind", "format", "checksum")}
        with path.open("wb") as stream:
            np.savez(stream, header=np.array(json.dumps({**head, **values})), **{n: a for n, a in arrays.items() if n})


def judge(originals: Originals, kind: str, way: str, path: Path) -> str:
    """What became of a case: refused, equal, loaded, or what went wrong."""
    try:
        one = originals.load[kind](path)
    except ValueError as error:
        return "refused" if len(str(error)) < 1000 else "lengthy"
    except Exception as error:
        return f"load: {type(error).__name__}: {error}"
    if way != "forged":
        return "equal" if originals.same(kind, path) else "lie"
    try:
        originals.use[kind](one)
    except ValueError:
        return "loaded"
    except Exception as error:
        return f"use: {type(error).__name__}: {error}"
    return "loaded"


def run(
    first: int, last: int, seed: int, said: Any = None, kinds: Sequence[str] = KINDS
) -> Counter[tuple[str, str, str]]:
    """Cases from first to last, in this process; each is announced before it begins."""
    outcomes: Counter[tuple[str, str, str]] = Counter()
    folder = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=folder) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        originals = Originals(Path(name))
        path = Path(name, "case")
        for case in range(first, last):
            rng = random.Random(f"{seed} {case}")
            kind, way = kinds[case % len(kinds)], WAYS[case // len(kinds) % len(WAYS)]
            if said is not None:
                print(json.dumps(["begin", case, kind, way]), file=said, flush=True)
            write_case(originals, kind, way, path, rng)
            outcome = judge(originals, kind, way, path)
            outcomes[kind, way, outcome] += 1
            if said is not None:
                print(json.dumps(["end", case, kind, way, outcome]), file=said, flush=True)
    return outcomes


def watched(first: int, last: int, seed: int, kinds: Sequence[str] = KINDS) -> Counter[tuple[str, str, str]]:
    """The same in subprocesses: after a crash, or a case that does not end, the next one goes on behind it."""
    outcomes: Counter[tuple[str, str, str]] = Counter()
    while first < last:
        command = [sys.executable, __file__, "--worker", str(first), str(last), "--seed", str(seed), "--kinds", *kinds]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
            assert worker.stdout is not None
            kind, way, open_case, hung, rest = "", "", False, False, b""
            while True:
                if not select.select([worker.stdout], [], [], PATIENCE)[0]:
                    hung = True
                    worker.kill()
                    break
                data = worker.stdout.read1(1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    event, case, kind, way, *outcome = json.loads(line)
                    open_case = event == "begin"
                    if not open_case:
                        outcomes[kind, way, outcome[0]] += 1
                        first = case + 1
            if open_case:
                outcomes[kind, way, "hang" if hung else f"crash {worker.wait()}"] += 1
                first = case + 1
            elif worker.wait() and first < last:
                raise RuntimeError(f"a worker ended with {worker.returncode} before case {first}")
    return outcomes


def in_chunks(cases: int, seed: int, kinds: Sequence[str]) -> Counter[tuple[str, str, str]]:
    """So many cases, a few thousand in a subprocess."""
    outcomes: Counter[tuple[str, str, str]] = Counter()
    for first in range(0, cases, CHUNK):
        outcomes += watched(first, min(first + CHUNK, cases), seed, kinds)
        print(f"\r{sum(outcomes.values()):,} cases", end="", file=sys.stderr, flush=True)
    return outcomes


def main() -> int:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="only these, of so many cases in all")
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        run(*given.worker, given.seed, sys.stdout, given.kinds)
        return 0
    began = time.perf_counter()
    outcomes = in_chunks(given.cases, given.seed, given.kinds)
    print(f"\n{'kind':14}{'cases':>8}{'refused':>9}{'equal':>7}{'wrong':>7}{'forged, loaded':>16}")
    fine, wrong = ("refused", "equal", "loaded"), 0
    for kind in given.kinds:
        of_kind = {(way, outcome): n for (k, way, outcome), n in outcomes.items() if k == kind}
        count = Counter()
        for (_, outcome), n in of_kind.items():
            count[outcome if outcome in fine else "wrong"] += n
        wrong += count["wrong"]
        print(f"{kind:14}{sum(count.values()):8,}{count['refused']:9,}{count['equal']:7,}{count['wrong']:7,}"
              f"{count['loaded']:16,}")  # fmt: skip
    for (kind, way, outcome), n in sorted(outcomes.items()):
        if outcome not in fine:
            print(f"{n:6} {kind} {way}: {outcome}")
    print(f"{sum(outcomes.values()):,} cases in {time.perf_counter() - began:.0f} s, {wrong} went wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
