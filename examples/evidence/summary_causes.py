"""Summary of causes: where suspects place a planted fault, and what a repair and its peers correct and lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tables import read, write

if TYPE_CHECKING:
    from pathlib import Path

TITLES = {
    "cifar_resnet20": "ResNet-20", "cifar_resnet56": "ResNet-56", "digits_resnet": "ResNet-18, digits",
    "pacs_cartoon": "PACS cartoon", "fashion_vgg": "VGG, clothes", "digits_vgg": "VGG, digits",
    "fashion_mobile": "MobileNet, clothes", "digits_mobile": "MobileNet, digits",
    "imagenet_lite0": "EfficientNet-Lite0", "fashion_vit": "transformer, clothes", "names_bert": "Bert, names",
}  # fmt: skip
SETS = {"": "one at a time", "-2": "two at once", "-after": "calibrated after the damage"}
KINDS = ("noise", "flip", "scale", "zero", "stuck")
PEERS = ("impact", "value", "activations", "ablation", "random")
WAYS = {
    "ours": "repair", "everything": "everything", "last layer": "last layer", "random 25": "25 at random",
    "arachne": "Arachne", "published": "published step",
}  # fmt: skip


def causes(output: Path, docs: Path) -> None:
    """Mean reciprocal ranks: all with their band, each kind of damage, and other ways on the same mistakes."""
    rows = []
    for name, title in TITLES.items():
        for end, what in SETS.items():
            path = output / "causes" / f"{name}-10{end}.csv"
            by_kind = {row["kind"]: row for row in read(path)} if path.exists() else {}
            if "all" in by_kind:
                of_all = by_kind["all"]
                kinds = [_number(by_kind.get(kind, {}), "suspects") for kind in KINDS]
                others = [_number(of_all, way) for way in PEERS]
                band = "{} ({} … {})".format(*(_number(of_all, f"suspects{part}") for part in ("", "_low", "_high")))
                named = f"{of_all['named_right']}, {of_all['named_others']}"
                rows.append((title, what, of_all["faults"], band, *kinds, *others, named))
    peers = ("impact", "value", "z of activations", "removal of all", "random")
    head = (
        "network",
        "faults",
        "n",
        "suspects",
        "noise",
        "flip",
        "×5",
        "zero",
        "stuck",
        *peers,
        "named: right, others",
    )
    some = [i for i in range(len(head)) if any(row[i] for row in rows)]  # not every way is run
    write(docs / "tables" / "evidence-causes.csv", [head[i] for i in some], ([row[i] for i in some] for row in rows))


def mended(output: Path, docs: Path) -> None:
    """What each way corrects and loses, what is left of that within the budget, and how far ahead the repair is."""
    rows = []
    for name, title in TITLES.items():
        path = output / "causes" / f"{name}-mended.csv"
        for row in read(path) if path.exists() else ():
            what = "planted faults" if row["what"] == "planted" else f"shift: {row['what']}"
            shares = [_percent(row, part) for part in ("corrected", "lost", "at_budget")]
            ahead = "" if row["way"] == "ours" else _percent(row, "ours_ahead")
            rows.append((title, what, row["n"], WAYS[row["way"]], *shares, ahead))
    head = (
        "network",
        "mistakes of",
        "n",
        "way",
        "corrected",
        "lost",
        "corrected where at most 1 % are lost",
        "repair ahead",
    )
    write(docs / "tables" / "evidence-mended.csv", head, rows)


def _number(row: dict[str, str], what: str) -> str:
    return f"{float(row[what]):.2f}" if row.get(what, "nan") != "nan" else ""


def _percent(row: dict[str, str], what: str) -> str:
    value, low, high = (100.0 * float(row[f"{what}{end}"]) for end in ("", "_low", "_high"))
    digits = 1 if what == "lost" else 0
    return f"{value:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"
