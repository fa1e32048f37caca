"""Summary of the last layer: what each way to change it corrects and loses, with bands, in percent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tables import read, write

if TYPE_CHECKING:
    from pathlib import Path

TITLES = {"cifar_resnet20": "ResNet-20", "cifar_resnet56": "ResNet-56", "fashion_vgg": "VGG",
          "fashion_mobile": "MobileNet", "fashion_vit": "transformer"}  # fmt: skip
WAYS = {"ours": "fitted anew", "arachne": "Arachne", "tuned": "Adam, stopped early"}


def last(output: Path, docs: Path) -> None:
    """One table of all settings and shifts."""
    rows = []
    for name, title in TITLES.items():
        path = output / "causes" / f"{name}-last.csv"
        for row in read(path) if path.exists() else ():
            shares = [_percent(row, what) for what in ("corrected", "lost", "at_budget")]
            rows.append((title, row["shift"], WAYS[row["way"]], *shares))
    head = ("network", "shift", "way", "corrected", "lost", "corrected where 1 % are lost")
    write(docs / "tables" / "evidence-last.csv", head, rows)


def _percent(row: dict[str, str], what: str) -> str:
    value, low, high = (100.0 * float(row[f"{what}{end}"]) for end in ("", "_low", "_high"))
    digits = 1 if what == "lost" else 0
    return f"{value:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"
