"""Gathered: files of one kind, setting by setting, in one table of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from settings import HELD_BACK, NAMES
from tables import read, write

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SHORT = {
    "cifar_resnet56": "ResNet-56", "cifar_resnet20": "ResNet-20", "mnist_resnet18": "MNIST ResNet-18",
    "imagenet_resnet50": "ResNet-50", "imagenet_lite0": "Lite0", "pacs_art_painting": "PACS art",
    "pacs_cartoon": "PACS cartoon", "pacs_photo": "PACS photo", "pacs_sketch": "PACS sketch", "mnist_vit": "ViT",
}  # fmt: skip


def title(name: str) -> str:
    """What a setting is called; held back ones have a star."""
    return SHORT[name] + (" *" if name in HELD_BACK else "")


def every(folder: Path, ending: str = "") -> Iterable[tuple[str, str, list[dict[str, str]]]]:
    """Setting, the rest of the name, and rows of each file of a folder, in the order of the settings."""
    for name in NAMES:
        for path in sorted(folder.glob(f"{name}*{ending}.csv")):
            rest = path.stem.removeprefix(name).removesuffix(ending).strip("-")
            if path.stem.endswith(ending) and (ending or not _special(path.stem)):
                yield name, rest, read(path)


def _special(stem: str) -> bool:
    return any(stem.endswith(f"-{word}") for word in ("samples", "stages", "overlap", "faults", "drawn"))


def gathered(output: Path, docs: Path, what: str, folder: str, ending: str = "") -> list[dict[str, str]]:
    """All files of one kind in one table of the documentation."""
    rows = []
    for name, rest, found in every(output / folder, ending):
        extra = {} if "setting" in found[0] else {"setting": name, "shift": rest}
        rows += [extra | row for row in found]
    if rows:
        write(docs / "tables" / f"evidence-{what}.csv", list(rows[0]), [row.values() for row in rows])
    return rows
