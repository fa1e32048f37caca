"""Repair: change the first units of every ranking, one mistake at a time, and look.

    python examples/evidence/repair.py --data DIR --output DIR --setting cifar_resnet56 --shift natural --mistakes 60

The protocol of `evtkit.saliency.evaluate`. Beside the published rankings by mean absolute gradient:
``taylor-impact`` and ``taylor`` (its control, the value alone) by Taylor saliency. Writes the curves, the single
outcomes, how much oftener each stage is among the first 25 than among all units, and how many of the first 25 two
rankings share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import command
import numpy as np
from tables import write

from evtkit import fit_tail
from evtkit.saliency import Reference, evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from settings import Setting

BY = ("pot", "spot-script", "excess", "zscore", "gradient", "random")
PRUNE = (1, 2, 5, 10, 25, 50)
TUNE = (1, 2, 5, 10, 25)
FEW = {"imagenet_resnet50": ((1, 5, 25), (5, 25)), "imagenet_lite0": ((1, 5, 25, 50), (1, 5, 25))}
STEP = 1e-3
K = 25


def reference(setting: Setting, reduction: str = "mean-abs", normalize: str | None = None) -> Reference:
    """The reference that `calibrate` would give, from the profiles on disk."""
    from evtkit.saliency.reference import normalized

    usual = normalized(setting.usual(reduction), normalize)
    net = setting.nets[reduction]
    return Reference(
        fit_tail(usual, quantile=0.9, keep_sample=False), net.units, 0.9, "all", normalize, reduction, len(usual)
    )


def repair(setting: Setting, shift: str, mistakes: int, held_out: int, folder: Path) -> None:
    x, y = setting.mistakes(shift)
    x, y = x[:mistakes], y[:mistakes]
    usual, taylor = reference(setting), reference(setting, "taylor", "sample")
    right = setting.right()[-held_out:]

    def by_taylor(by: str) -> Any:
        return lambda x, y: taylor.rank(setting.profiles(x, y, "taylor"), by, combine="each").score

    scores = {"taylor-impact": by_taylor("impact"), "taylor": by_taylor("gradient")}
    prune, tune = FEW.get(setting.name, (PRUNE, TUNE))
    results = evaluate(
        setting.net, usual, (x, y), held_out=(setting.own[0][right], setting.own[1][right]), by=BY, scores=scores,
        prune=prune, tune=tune, step=STEP, equal_norm=True, collateral_k=(K,), batch_size=setting.batch,
    )  # fmt: skip
    name = f"{setting.name}-{shift}"
    print(f"{name}\n{results!r}\n{results.table((5, K))}", flush=True)
    results.to_csv(folder / f"{name}-samples.csv", "samples")
    profiles = setting.profiles(x, y)
    tops = {by: usual.rank(profiles, by, combine="each", rng=0).top(K) for by in BY}
    tops |= {by: np.argsort(-score(x, y), axis=1, kind="stable")[:, :K] for by, score in scores.items()}
    _bias(setting, shift, tops, folder / f"{name}-stages.csv")
    _overlap(setting, shift, tops, folder / f"{name}-overlap.csv")
    results.to_csv(folder / f"{name}.csv")  # last: its presence says that all is done


def _bias(setting: Setting, shift: str, tops: dict[str, np.ndarray], path: Path) -> None:
    units = setting.net.units
    rows = []
    for by, top in tops.items():
        for stage, count in units.stages.items():
            share = np.mean(units.stage[top] == stage)
            rows.append((setting.name, shift, by, stage, count, share, share * len(units) / count))
    write(path, ("setting", "shift", "by", "stage", "units", "share", "enrichment"), rows)


def _overlap(setting: Setting, shift: str, tops: dict[str, np.ndarray], path: Path) -> None:
    rows = []
    for one, first in tops.items():
        for other, second in tops.items():
            shared = [len(np.intersect1d(a, b)) / K for a, b in zip(first, second, strict=True)]
            rows.append((setting.name, shift, one, other, np.mean(shared)))
    write(path, ("setting", "shift", "by", "other", "shared"), rows)


if __name__ == "__main__":
    options = command.parsed(command.parser(__doc__, shift=True))
    folder = options.output / "repair"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"{options.setting}-{options.shift}.csv").exists():
        repair(command.chosen(options), options.shift, options.mistakes, options.held_out, folder)
