"""Mended: `evtkit.saliency.repair` beside its peers, on planted faults and under a real shift, judged on unseen ones.

    python examples/evidence/mended.py --data DIR --output DIR --setting cifar_resnet20 [--faults 40] [--shifts natural]

Of each planted fault with at least 60 mistakes among 1,600 right samples, 20 are repaired and up to 100 others judge;
of a shift 60 are repaired and 300 judge, in several draws. 300 right samples are kept, 800 others judge what is lost.
Peers get the same samples, split alike (see peers.py): fine-tuning of everything, of the last layer, of 25 filters at
random, Arachne, and one step of 1e-3 of the first 25 filters by mean impact, the published way, which nothing sizes.
For each way the shares corrected and lost, and what is left of the first where the change is cut back, for those that
lose more than 1 % of those who judge, to the largest part of it that does not.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import causes
import command
import numpy as np
import peers
import torch
from faults import damage, draw, weights_of
from tables import band, write

from evtkit.saliency import repair

if TYPE_CHECKING:
    from settings import Setting

    from evtkit.saliency import Reference

SEEN, FEWEST, KEPT, JUDGES, BUDGET = 20, 60, 300, 800, 0.01
WAYS = ("ours", "everything", "last layer", "random 25", "arachne", "published")
_HALVES = 5

Lines = list[dict[str, Any]]


def compared(
    setting: Setting, usual: Reference, own: Any, keep: Any, unseen: Any, others: Any, known: dict[str, Any] | None
) -> dict[str, Any]:
    """Shares corrected of unseen mistakes and lost of other samples, by our repair and by its peers, unless known."""
    net, network = setting.nets["taylor"], setting.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, layer = peers.last_layer(network)
    entering = [(peers.features(network, layer, pair[0]).float(), pair[1]) for pair in (own, keep)]

    def judged() -> list[float]:
        return shares(network, before, unseen, others)

    ours = repair(net, usual, own, keep, budget=BUDGET, batch_size=setting.batch)
    out: dict[str, Any] = {"chosen": ours.tried[ours.chosen].candidate if ours.chosen >= 0 else "none"}
    ours.apply(net)
    out["ours"] = judged()
    ours.revert(net)
    if known is not None:
        return {name: known[name] for name in WAYS if name in known} | out
    order = np.random.default_rng(0).permutation(np.flatnonzero(net.units.kind != "heads"))[:25]
    alone = torch.nn.Sequential(layer)  # all that these two see is what enters it
    ways = {
        "everything": partial(peers.tuned, network, own, keep, BUDGET),
        "last layer": partial(peers.tuned, alone, *entering, BUDGET),
        "random 25": partial(peers.tuned, network, own, keep, BUDGET, masks(setting, order)),
        "arachne": partial(peers.arachne, alone, *entering),
    }
    for name, way in ways.items():
        with peers.restored(network):
            way()
            out[name] = judged()
    ranking = usual.rank(net.profile(*own))
    with net.tuned(ranking.top(25), *own, step=1e-3):
        out["published"] = judged()
    return out


def shares(network: torch.nn.Module, before: dict[str, torch.Tensor], unseen: Any, others: Any) -> list[float]:
    """Corrected and lost, and corrected by the largest part of the change that is within the budget, by halves."""
    corrected, lost = peers.right(network, unseen), 1.0 - peers.right(network, others)
    if lost <= BUDGET:
        return [corrected, lost, corrected]
    after = {name: value.clone() for name, value in network.state_dict().items()}

    def part_of_the_way(part: float) -> None:
        mixed = {k: before[k] + part * (v - before[k]) if v.is_floating_point() else v for k, v in after.items()}
        network.load_state_dict(mixed)

    low, high = 0.0, 1.0
    for _ in range(_HALVES):
        part = 0.5 * (low + high)
        part_of_the_way(part)
        low, high = (part, high) if 1.0 - peers.right(network, others) <= BUDGET else (low, part)
    part_of_the_way(low)
    at_budget = peers.right(network, unseen)
    network.load_state_dict(after)
    return [corrected, lost, at_budget]


def masks(setting: Setting, units: np.ndarray) -> dict[str, torch.Tensor]:
    """Masks of some filters."""
    out: dict[str, torch.Tensor] = {}
    for unit in units:
        name = f"{setting.net.units.module[unit]}.weight"
        weight = setting.network.get_parameter(name)
        out.setdefault(name, torch.zeros_like(weight))[int(setting.net.units.index[unit])] = 1.0
    return out


def planted(setting: Setting, usual: Reference, faults: int, path: Path, before: Lines) -> None:
    net, right = setting.nets["taylor"], setting.right()
    pool, judges = right[:1600], right[1600 : 1600 + JUDGES]
    x, y = setting.own
    lines = [line for line in causes.lines(path) if "fault" in line]
    done = {line["fault"] for line in lines}
    seen = {(line["unit"], line["kind"]) for line in lines if "ours" in line}
    for number in range(faults):
        unit, kind, rng = draw(net, number)
        if number in done or (str(net.units.names[unit]), kind) in seen:
            continue
        with damage(weights_of(setting.network, net.units, unit), kind, rng):
            wrong = setting.predicted(x[pool[:150]]) != y[pool[:150]]
            out = {"fault": number, "unit": str(net.units.names[unit]), "kind": kind}
            if np.count_nonzero(wrong) >= 2:
                wrong = setting.predicted(x[pool]) != y[pool]
            if np.count_nonzero(wrong) >= FEWEST:
                bad, good = rng.permutation(pool[wrong]), pool[~wrong][:KEPT]
                still = judges[setting.predicted(x[judges]) == y[judges]]
                parts = (bad[:SEEN], good, bad[SEEN : SEEN + 100], still)
                if len(good) == KEPT and len(still) >= 100:
                    known = next((line for line in before if line.get("fault") == number), None)
                    out |= compared(setting, usual, *((x[rows], y[rows]) for rows in parts), known)
                    seen.add((out["unit"], kind))
        causes.append(path, out)


def shifted(setting: Setting, usual: Reference, shift: str, draws: int, path: Path, before: Lines) -> None:
    (x, y), (own, labels) = setting.mistakes(shift), setting.own
    right = setting.right()
    done = {line["draw"] for line in causes.lines(path) if line.get("shift") == shift}
    for number in set(range(draws)) - done:
        rng = np.random.default_rng([7, number])
        bad, good = rng.permutation(len(y)), rng.permutation(right)
        kept, judges = good[:KEPT], good[KEPT : KEPT + JUDGES]
        parts = (x[bad[:60]], y[bad[:60]]), (own[kept], labels[kept])
        judging = (x[bad[60:360]], y[bad[60:360]]), (own[judges], labels[judges])
        of = {"shift": shift, "draw": number}
        known = next((line for line in before if of.items() <= line.items()), None)
        causes.append(path, of | compared(setting, usual, *parts, *judging, known))


def summary(setting: Setting, path: Path) -> None:
    """Means with bands over faults or draws, and of the difference between ours and each peer."""
    rows: list[tuple[Any, ...]] = []
    lines = [line for line in causes.lines(path) if "ours" in line]
    for what in dict.fromkeys(line.get("shift", "planted") for line in lines):
        own = [line for line in lines if line.get("shift", "planted") == what]
        for way in WAYS:
            both = np.array([line[way] for line in own])
            ahead = band(np.array([line["ours"][2] for line in own]) - both[:, 2])
            rows.append((setting.name, what, len(own), way, *(v for part in both.T for v in band(part)), *ahead))
    names = ("corrected", "lost", "at_budget", "ours_ahead")
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    write(path.with_suffix(".csv"), ("setting", "what", "n", "way", *ends), rows)
    for row in rows:
        print(*(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row), flush=True)


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--shifts", nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=3, help="draws of samples under shift")
    parser.add_argument("--calibration", type=int, default=1500)
    parser.add_argument("--peers-of", type=Path, help="a file as this script writes it, whose peers need not run again")
    options = command.parsed(parser)
    chosen = command.chosen(options)
    usual = causes.reference(chosen, options.calibration)
    target = chosen.output / "causes" / f"{chosen.name}-mended.jsonl"
    peers_known = [line for line in causes.lines(options.peers_of) if "ours" in line] if options.peers_of else []
    for shift in options.shifts:
        shifted(chosen, usual, shift, options.draws, target, peers_known)
    planted(chosen, usual, options.faults, target, peers_known)
    summary(chosen, target)
