"""Few: what it costs elsewhere to remove one filter, or five, for a mistake.

    python examples/evidence/few.py --data DIR --output DIR --setting imagenet_resnet50 --shift own --mistakes 12

As repair.py prunes, with the collateral at every k, for some of the rankings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import command
from repair import reference

from evtkit.saliency import evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from settings import Setting

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
    options = command.parsed(command.parser(__doc__, shift=True))
    path = options.output / "few" / f"{options.setting}-{options.shift}.csv"
    if not path.exists():
        few(command.chosen(options), options.shift, options.mistakes, options.held_out, path)
