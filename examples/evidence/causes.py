"""Causes: does `evtkit.saliency.suspects` find a planted fault, and does it keep silent about a sound network?

    python examples/evidence/causes.py --data DIR --output DIR --setting cifar_resnet20 --faults 60 [--mistakes 10]
        [--at-once 2] [--after] [--ablate] [--shifts NAME ...]

Faults are those of faults.py. Of each that makes at least 5 mistakes among the right samples, ten mistakes at random
are given to `suspects`, with the reference of the sound network. Then, without any damage, so many sets of ten of the
sound network's own mistakes, and of those under shift: how often is a unit named? One line a fault or set, so it
resumes.

Beside `suspects`: mean impact; the mean value (gradient × activation); a z-score of activations; chance; and removing
every unit, one by one, on these mistakes (``--ablate``). With ``--at-once 2`` two units are damaged together, each of
which does harm alone; the place is that of the one found first. With ``--after`` the damaged network is calibrated.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import activations
import command
import numpy as np
from faults import FEWEST, KINDS, damage, draw, mistakes, weights_of
from tables import band, write

from evtkit.saliency import Batches, Reference, calibrate, suspects
from evtkit.saliency.tasks import losses

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from settings import Setting

WAYS = ("place", "impact", "value", "activations", "ablation", "random")


def reference(setting: Setting, n: int) -> Reference:
    """The reference of the sound network from n of its calibration samples, from its file or made now."""
    path = setting.output / "causes" / f"{setting.name}-reference.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        calibrated(setting, n).save(path)
    return Reference.load(path)


def calibrated(setting: Setting, n: int) -> Reference:
    """A reference of the network as it is now."""
    some = np.random.default_rng(5).permutation(len(setting.calibration[1]))[:n]
    batches = Batches(setting.calibration[0][some], setting.calibration[1][some], setting.batch)
    return calibrate(setting.nets["taylor"], batches, progress=False)


def row(
    setting: Setting, usual: Reference, x: Any, y: Any, units: Sequence[int], sound: np.ndarray | None, ablate: bool
) -> dict[str, Any]:
    """What `suspects` and its peers say of some mistakes; the best place of a damaged unit, if there is one."""
    net = setting.nets["taylor"]
    start = time.perf_counter()
    profiles = net.profile(x, y)
    profiled = time.perf_counter() - start
    start = time.perf_counter()
    found = suspects(net, usual, (x, y), batch_size=setting.batch)
    out = {"seconds": time.perf_counter() - start, "profile": profiled, "p": found.p_none, "n": len(y)}
    out |= {"named": found.units.names[found.found].tolist(), "effect": float(found.effect[0])}
    if len(units):
        named = set(found.found.tolist()) & set(units)
        out |= {"place": place(-np.argsort(found.ranked), units), "right": len(named)}
        out |= {"listed": bool(set(units) & set(found.order.tolist()))}
        firsts = [set(units) & set(found.ranked[:k].tolist()) for k in (2, 5)]
        out |= {"both_of_2": len(firsts[0]), "both_of_5": len(firsts[1])}
        for by, name in (("impact", "impact"), ("gradient", "value")):
            out[name] = place(usual.rank(profiles, by, combine="mean").score, units)
        out["random"] = 1.0 / np.mean(1.0 / np.arange(1, len(net.units) + 1))
        if sound is not None:
            out["activations"] = place(activations.scores(setting, x, sound), units)
        if ablate:
            effect = np.empty(len(net.units))
            for each in range(len(effect)):
                with net.pruned([each]):
                    effect[each] = -losses(net, x, y, setting.batch).sum()
            out["ablation"] = place(effect, units)
    return out


def place(score: np.ndarray, units: Sequence[int]) -> float:
    """The best rank of the units, from 1; equal scores share their middle."""
    own = max(float(score[unit]) for unit in units)
    return 1.0 + np.count_nonzero(score > own) + 0.5 * (np.count_nonzero(score == own) - 1)


def planted(setting: Setting, usual: Reference | None, options: argparse.Namespace, path: Path) -> None:
    """Damage units, and ask for them; without a reference, by one of the damaged network."""
    net, right = setting.nets["taylor"], setting.right()[: options.pool]
    x, y = setting.own[0][right], setting.own[1][right]
    normal = activations.usual(setting) if usual is not None else None
    done = {line["fault"] for line in lines(path) if "fault" in line}
    for number in range(options.faults):
        if number in done:
            continue
        drawn = [draw(net, options.at_once * number + i) for i in range(options.at_once)]
        units = [unit for unit, *_ in drawn]
        out = {"fault": number, "unit": [str(name) for name in net.units.names[units]], "kind": drawn[0][1]}
        if options.at_once > 1:  # each alone must do harm, or it is not at fault
            alone = [harm(setting, [one], x, y) for one in drawn]
            out |= {"alone": alone}
            if min(alone) < FEWEST:
                append(path, out)
                continue
        rng = drawn[0][2]
        with ExitStack() as stack:
            for unit, kind, own in drawn:
                stack.enter_context(damage(weights_of(setting.network, net.units, unit), kind, own))
            wrong = mistakes(setting, x, y)
            out |= {"wrong": len(wrong)}
            if len(wrong) >= FEWEST:
                some = rng.permutation(wrong)[: options.mistakes]
                of = usual if usual is not None else calibrated(setting, options.calibration)
                out |= row(setting, of, x[some], y[some], units, normal, options.ablate)
        append(path, out)


def harm(setting: Setting, drawn: list[Any], x: Any, y: Any) -> int:
    """How many mistakes some faults make, of a copy of the random numbers."""
    with ExitStack() as stack:
        for unit, kind, rng in drawn:
            parts = weights_of(setting.network, setting.net.units, unit)
            stack.enter_context(damage(parts, kind, deepcopy(rng)))
        return len(mistakes(setting, x, y))


def sound(setting: Setting, usual: Reference, shifts: Sequence[str], sets: int, n: int, path: Path) -> None:
    done = {(line["shift"], line["set"]) for line in lines(path) if "set" in line}
    for shift in ("own", *(shifts or list(setting.shifts)[:1])):
        x, y = setting.mistakes(shift)
        for number in range(min(sets, len(y) // n)):
            if (shift, number) not in done:
                some = slice(number * n, (number + 1) * n)
                append(path, {"shift": shift, "set": number} | row(setting, usual, x[some], y[some], (), None, False))


def summary(setting: Setting, n: int, path: Path) -> None:
    """Mean reciprocal ranks with bands over faults, and how often a unit is named; printed and written as a table."""
    found = [line for line in lines(path) if "place" in line]
    ways = [way for way in WAYS if any(way in line for line in found)]
    rows: list[tuple[Any, ...]] = []
    for kind in ("all", *KINDS):
        own = [line for line in found if kind in ("all", line["kind"])]
        if own:
            means = [band(np.array([1.0 / line[by] for line in own if by in line])) for by in ways]
            named = sum(line["right"] for line in own), sum(len(line["named"]) - line["right"] for line in own)
            pairs = [sum(line[f"both_of_{k}"] == 2 for line in own) for k in (2, 5)]
            rows.append((setting.name, n, kind, len(own), *(v for mean in means for v in mean), *named, *pairs))
    bands = [f"{'suspects' if way == 'place' else way}{end}" for way in ways for end in ("", "_low", "_high")]
    head = ("setting", "mistakes", "kind", "faults", *bands, "named_right", "named_others", "both_of_2", "both_of_5")
    write(path.with_suffix(".csv"), head, rows)
    times = [line["seconds"] / line["profile"] for line in found]
    print("as long as profiling, median", np.median(times) if times else "", flush=True)
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
    parser.add_argument("--shifts", nargs="*", default=[], help="of the sound network; the first without it")
    parser.add_argument("--calibration", type=int, default=1500)
    parser.add_argument("--at-once", type=int, default=1, help="units damaged together")
    parser.add_argument("--after", action="store_true", help="calibrate the damaged network")
    parser.add_argument("--ablate", action="store_true", help="remove every unit too, as a baseline")
    options = command.parsed(parser)
    chosen = command.chosen(options)
    end = (f"-{options.at_once}" if options.at_once > 1 else "") + ("-after" if options.after else "")
    target = chosen.output / "causes" / f"{chosen.name}-{options.mistakes}{end}.jsonl"
    found = None if options.after else reference(chosen, options.calibration)
    target.parent.mkdir(parents=True, exist_ok=True)
    planted(chosen, found, options, target)
    if found is not None and options.at_once == 1:
        sound(chosen, found, options.shifts, options.sets, options.mistakes, target)
    summary(chosen, options.mistakes, target)
