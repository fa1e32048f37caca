"""Few: what it costs elsewhere to remove one filter, or five, for a mistake.

    python examples/evidence/few.py --data DIR --output DIR --setting imagenet_resnet50 --shift own --mistakes 12

As repair.py prunes, with the collateral at every k, for some of the rankings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from repair import reference
from settings import NAMES, Setting

from evtkit.saliency import evaluate

PRUNE = (1, 2, 5)


def few(setting: Setting, shift: str, mistakes: int, held_out: int, path: Path) -> None:
    x, y = setting.mistakes(shift)
    right = setting.right()[-held_out:]
    taylor = reference(setting, "taylor", "sample")
    scores = {
        "taylor-impact": lambda x, y: taylor.rank(setting.profiles(x, y, "taylor"), "impact", combine="each").score
    }
    results = evaluate(
        setting.net, reference(setting), (x[:mistakes], y[:mistakes]), by=("pot", "zscore", "gradient", "random"),
        scores=scores, held_out=(setting.own[0][right], setting.own[1][right]), prune=PRUNE, tune=(),
        collateral_k=PRUNE, batch_size=setting.batch,
    )  # fmt: skip
    print(results.table(PRUNE), flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    results.to_csv(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--setting", choices=NAMES, required=True)
    parser.add_argument("--shift", required=True, help="'own', or a shift of the setting's")
    parser.add_argument("--mistakes", type=int, default=30)
    parser.add_argument("--held-out", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    target = options.output / "few" / f"{options.setting}-{options.shift}.csv"
    if not target.exists():
        few(
            Setting(options.setting, options.data, options.output),
            options.shift,
            options.mistakes,
            options.held_out,
            target,
        )
