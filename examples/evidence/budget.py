"""Budget: does what a repair loses of unseen samples stay within its budget, where few samples are kept?

    python examples/evidence/budget.py --data DIR --output DIR --setting fashion_vgg [--shift contrast] [--draws 10]
    python examples/evidence/budget.py --data DIR --output DIR --setting demo

Up to 60 mistakes of a shift are repaired with few samples to keep, for a budget that these can just show and for one
that is larger, over draws of both. Up to 300 other mistakes and 1,000 other right samples judge. "demo" is the network
of `evtkit demo`, trained on 500 digits, under digits turned by 20 degrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import causes
import command
import numpy as np
from tables import band, write

from evtkit.demo import network as demo
from evtkit.saliency import Batches, calibrate, repair

if TYPE_CHECKING:
    from pathlib import Path

    from evtkit.saliency import Reference

KEPT = ((60, 0.05), (150, 0.02), (300, 0.01), (525, 0.01), (525, 0.02), (1200, 0.01))
Samples = tuple[Any, Any]


def digits() -> tuple[Any, Reference, Samples, Samples]:
    """The network of the demonstration, its reference, its mistakes on turned digits, and upright ones it reads."""
    made = demo._Digits.make()
    net = demo._trained(made.x[made.train[:500]], made.y[made.train[:500]])
    rest = np.random.default_rng(5).permutation(np.setdiff1d(np.arange(len(made.y)), made.train[:500]))
    usual = calibrate(net, Batches(made.x[rest[:250]], made.y[rest[:250]]), progress=False)
    x, y = made.x[rest[250:]], made.y[rest[250:]]
    turned = demo._rotated(x)
    right, wrong = net.predict(x).argmax(axis=1) == y, net.predict(turned).argmax(axis=1) != y
    return net, usual, (turned[wrong], y[wrong]), (x[right], y[right])


def drawn(net: Any, usual: Reference, bad: Samples, good: Samples, draws: int, path: Path) -> None:
    done = {(line["draw"], line["keep"], line["budget"]) for line in causes.lines(path)}
    for draw in range(draws):
        for keep, budget in KEPT:
            if (draw, keep, budget) in done or keep > len(good[1]) - 300:
                continue
            rng = np.random.default_rng([draw, keep])
            some, kept = rng.permutation(len(bad[1])), rng.permutation(len(good[1]))
            n = min(60, len(some) // 2)
            rows = some[:n], some[n : n + 300], kept[:keep], kept[keep : keep + 1000]
            own, unseen = ((bad[0][part], bad[1][part]) for part in rows[:2])
            held, others = ((good[0][part], good[1][part]) for part in rows[2:])
            mended = repair(net, usual, own, held, budget=budget, batch_size=256)
            mended.apply(net)
            corrected = float(np.mean(net.predict(unseen[0]).argmax(axis=1) == unseen[1]))
            lost = float(np.mean(net.predict(others[0]).argmax(axis=1) != others[1]))
            mended.revert(net)
            chosen = mended.tried[mended.chosen].candidate if mended.chosen >= 0 else "none"
            out = {"draw": draw, "keep": keep, "budget": budget, "sizing": mended.sized.n, "chosen": chosen}
            causes.append(path, out | {"lost": lost, "most": mended.sized.most, "corrected": corrected})


def summary(name: str, what: str, path: Path) -> None:
    """Means over draws with bands; and how often more is lost than the table says may be."""
    lines = causes.lines(path)
    rows: list[tuple[Any, ...]] = []
    for keep, budget in KEPT:
        own = [line for line in lines if (line["keep"], line["budget"]) == (keep, budget)]
        if not own:
            continue
        lost, most = (np.array([line[key] for line in own]) for key in ("lost", "most"))
        corrected = np.array([line["corrected"] for line in own])
        over = 100.0 * float(np.mean(lost > most))
        shares = (f"{value:.2f}" for value in (*(100.0 * np.array(band(lost))), *(100.0 * np.array(band(corrected)))))
        rows.append((name, what, keep, own[0]["sizing"], f"{100 * budget:g}", len(own), *shares, f"{over:.0f}"))
    head = ("network", "shift", "kept", "sizing", "budget", "draws", "lost", "low", "high", "corrected", "from", "to",
            "beyond its limit")  # fmt: skip
    write(path.with_suffix(".csv"), head, rows)
    for row in rows:
        print(*row, flush=True)


if __name__ == "__main__":
    parser = command.parser(__doc__, more=("demo",))
    parser.add_argument("--shift", default="contrast")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--calibration", type=int, default=600)
    options = command.parsed(parser)
    target = options.output / "causes" / f"{options.setting}-budget.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    if options.setting == "demo":
        options.shift = "turned"
        drawn(*digits(), options.draws, target)
    else:
        chosen = command.chosen(options)
        right, (x, y) = chosen.right(), chosen.own
        pairs = chosen.mistakes(options.shift), (x[right], y[right])
        drawn(chosen.nets["taylor"], causes.reference(chosen, options.calibration), *pairs, options.draws, target)
    summary(options.setting, options.shift, target)
