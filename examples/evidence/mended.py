"""Mended: `evtkit.saliency.repair` beside its peers, on planted faults and under a real shift, judged on unseen ones.

    python examples/evidence/mended.py --data DIR --output DIR --setting cifar_resnet20 [--faults 40]

Of each planted fault with at least 40 mistakes among 1,600 right samples, 20 are repaired and the others judge; of a
shift 60 are repaired and 300 judge. 300 right samples are kept, 500 others judge what is lost. Peers get the same
samples: gradient steps of all units (fine-tuning with early stopping), of one unit at random, of 25 at random, all
sized as ours is; and one step of 1e-3 of the first 25 by mean impact, the published way, which nothing sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import causes
import command
import numpy as np
from faults import damage, draw, weights_of

from evtkit.saliency import repair

if TYPE_CHECKING:
    from pathlib import Path

    from settings import Setting

    from evtkit.saliency import Reference

SEEN, FEWEST, KEPT, JUDGES = 20, 40, 300, 500


def compared(setting: Setting, usual: Reference, own: Any, keep: Any, unseen: Any, others: Any) -> dict[str, Any]:
    """Shares corrected of unseen mistakes and lost of other samples, by our repair and by its peers."""
    net = setting.nets["taylor"]

    def judged() -> list[float]:
        return [float(np.mean(setting.predicted(x) == y)) for x, y in (unseen, others)]

    ours = repair(net, usual, own, keep, batch_size=setting.batch)
    fine = [one for one in ours.tried if one.candidate == "all units"]
    out: dict[str, Any] = {"chosen": ours.tried[ours.chosen].candidate if ours.chosen >= 0 else "none"}
    out |= {"steps": len(ours.tried), "fine": len(fine)}
    order = np.random.default_rng(0).permutation(len(net.units)).tolist()
    peers = {"all units": range(len(net.units)), "random 1": order[:1], "random 25": order[:25]}
    found = {"ours": ours}
    for name, units in peers.items():
        found[name] = repair(net, usual, own, keep, units=(), candidates={name: units}, batch_size=setting.batch)
    for name, one in found.items():
        one.apply(net)
        out[name] = judged()
        one.revert(net)
    ranking = usual.rank(net.profile(*own))
    with net.tuned(ranking.top(25), *own, step=1e-3):
        out["published"] = judged()
    return out


def planted(setting: Setting, usual: Reference, faults: int, path: Path) -> None:
    net, right = setting.nets["taylor"], setting.right()
    pool, judges = right[:1600], right[1600 : 1600 + JUDGES]
    x, y = setting.own
    done = {line["fault"] for line in causes.lines(path) if "fault" in line}
    for number in range(faults):
        if number in done:
            continue
        unit, kind, rng = draw(net, number)
        with damage(weights_of(setting.network, net.units, unit), kind, rng):
            wrong = setting.predicted(x[pool[:150]]) != y[pool[:150]]
            out = {"fault": number, "unit": str(net.units.names[unit]), "kind": kind}
            if np.count_nonzero(wrong) >= 2:
                wrong = setting.predicted(x[pool]) != y[pool]
            if np.count_nonzero(wrong) >= FEWEST:
                bad, good = rng.permutation(pool[wrong]), pool[~wrong][:KEPT]
                still = judges[setting.predicted(x[judges]) == y[judges]]
                parts = (bad[:SEEN], good, bad[SEEN : SEEN + 100], still)
                if len(good) == KEPT and len(still) >= 50:
                    out |= compared(setting, usual, *((x[rows], y[rows]) for rows in parts))
        causes.append(path, out)


def shifted(setting: Setting, usual: Reference, shift: str, path: Path) -> None:
    if any(line.get("shift") == shift for line in causes.lines(path)):
        return
    (x, y), (own, labels) = setting.mistakes(shift), setting.own
    right = setting.right()
    kept, judges = right[:KEPT], right[KEPT : KEPT + JUDGES]
    parts = ((x[:60], y[:60]), (own[kept], labels[kept]), (x[60:360], y[60:360]), (own[judges], labels[judges]))
    causes.append(path, {"shift": shift} | compared(setting, usual, *parts))


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--shifts", nargs="*", default=["natural"])
    parser.add_argument("--calibration", type=int, default=1500)
    options = command.parsed(parser)
    chosen = command.chosen(options)
    usual = causes.reference(chosen, options.calibration)
    target = chosen.output / "causes" / f"{chosen.name}-mended.jsonl"
    for shift in options.shifts:
        shifted(chosen, usual, shift, target)
    planted(chosen, usual, options.faults, target)
