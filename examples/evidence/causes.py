"""Causes: does `evtkit.saliency.suspects` find a planted fault, and does it keep silent about a sound network?

    python examples/evidence/causes.py --data DIR --output DIR --setting cifar_resnet20 --faults 60 [--mistakes 10]

Faults are those of faults.py. Of each that makes at least 5 mistakes among the right samples, ten mistakes at random
are given to `suspects`, with the reference of the sound network. Then, without any damage, so many sets of ten of the
sound network's own mistakes, and of those under shift: how often is a unit named? One line a fault or set, so it
resumes.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import command
import numpy as np
from faults import FEWEST, KINDS, damage, draw, mistakes, weights_of
from tables import band, write

from evtkit.saliency import Batches, Reference, calibrate, suspects

if TYPE_CHECKING:
    from pathlib import Path

    from settings import Setting


def reference(setting: Setting, n: int) -> Reference:
    """The reference of the sound network from n of its calibration samples, from its file or made now."""
    path = setting.output / "causes" / f"{setting.name}-reference.npz"
    if not path.exists():
        some = np.random.default_rng(5).permutation(len(setting.calibration[1]))[:n]
        batches = Batches(setting.calibration[0][some], setting.calibration[1][some], setting.batch)
        path.parent.mkdir(parents=True, exist_ok=True)
        calibrate(setting.nets["taylor"], batches, progress=False).save(path)
    return Reference.load(path)


def row(setting: Setting, usual: Reference, x: Any, y: Any, unit: int | None) -> dict[str, Any]:
    """What `suspects` says of some mistakes; the place of the damaged unit, if there is one."""
    net = setting.nets["taylor"]
    start = time.perf_counter()
    profiles = net.profile(x, y)
    profiled = time.perf_counter() - start
    start = time.perf_counter()
    found = suspects(net, usual, (x, y), batch_size=setting.batch)
    out = {"seconds": time.perf_counter() - start, "profile": profiled, "p": found.p_none, "n": len(y)}
    out |= {"named": found.units.names[found.found].tolist(), "effect": float(found.effect[0])}
    if unit is not None:
        place = list(found.ranked).index(unit)
        out |= {"place": place + 1, "right": bool(unit in found.found), "listed": bool(unit in found.order)}
        out["impact"] = list(usual.rank(profiles).order).index(unit) + 1
    return out


def planted(setting: Setting, usual: Reference, faults: int, pool: int, n: int, path: Path) -> None:
    net, right = setting.nets["taylor"], setting.right()[:pool]
    x, y = setting.own[0][right], setting.own[1][right]
    done = {line["fault"] for line in lines(path) if "fault" in line}
    for number in range(faults):
        if number in done:
            continue
        unit, kind, rng = draw(net, number)
        with damage(weights_of(setting.network, net.units, unit), kind, rng):
            wrong = mistakes(setting, x, y)
            out = {"fault": number, "unit": str(net.units.names[unit]), "kind": kind, "wrong": len(wrong)}
            if len(wrong) >= FEWEST:
                some = rng.permutation(wrong)[:n]
                out |= row(setting, usual, x[some], y[some], unit)
        append(path, out)


def sound(setting: Setting, usual: Reference, sets: int, n: int, path: Path) -> None:
    done = {(line["shift"], line["set"]) for line in lines(path) if "set" in line}
    for shift in ("own", *list(setting.shifts)[:1]):
        x, y = setting.mistakes(shift)
        for number in range(min(sets, len(y) // n)):
            if (shift, number) not in done:
                some = slice(number * n, (number + 1) * n)
                append(path, {"shift": shift, "set": number} | row(setting, usual, x[some], y[some], None))


def summary(setting: Setting, n: int, path: Path) -> None:
    """Mean reciprocal ranks with bands over faults, and how often a unit is named; printed and written as a table."""
    found = [line for line in lines(path) if "place" in line]
    rows: list[tuple[Any, ...]] = []
    for kind in ("all", *KINDS):
        own = [line for line in found if kind in ("all", line["kind"])]
        if own:
            means = [band(np.array([1.0 / line[by] for line in own])) for by in ("place", "impact")]
            named = sum(line["right"] for line in own), sum(len(line["named"]) - line["right"] for line in own)
            rows.append((setting.name, n, kind, len(own), *means[0], *means[1], *named))
    bands = [f"{name}{end}" for name in ("mrr", "impact") for end in ("", "_low", "_high")]
    head = ("setting", "mistakes", "kind", "faults", *bands, "named_right", "named_others")
    write(path.with_suffix(".csv"), head, rows)
    sets = [line for line in lines(path) if "set" in line]
    for shift in dict.fromkeys(line["shift"] for line in sets):
        own = [line for line in sets if line["shift"] == shift]
        print(shift, len(own), "sets; named in", sum(len(line["named"]) > 0 for line in own), "p <= 0.05 in",
              sum(line["p"] <= 0.05 for line in own), flush=True)  # fmt: skip
    for row in rows:
        print(*row, flush=True)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    print(line, flush=True)


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--pool", type=int, default=400, help="right samples among which mistakes are looked for")
    parser.add_argument("--mistakes", type=int, default=10)
    parser.add_argument("--sets", type=int, default=25, help="sets of mistakes of the sound network")
    parser.add_argument("--calibration", type=int, default=1500)
    options = command.parsed(parser)
    chosen = command.chosen(options)
    found = reference(chosen, options.calibration)
    target = chosen.output / "causes" / f"{chosen.name}-{options.mistakes}.jsonl"
    planted(chosen, found, options.faults, options.pool, options.mistakes, target)
    sound(chosen, found, options.sets, options.mistakes, target)
    summary(chosen, options.mistakes, target)
