"""Summary: the tables and pictures of the documentation, from what the other scripts wrote.

    python examples/evidence/summary.py --output DIR --docs docs

Tables go to docs/tables/evidence-*.csv, pictures to docs/_static/evidence-*.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from settings import HELD_BACK, NAMES
from tables import band, read, write

from evtkit.saliency.pictures import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterable

K = "25"
ORDER = NAMES
SHORT = {
    "cifar_resnet56": "ResNet-56", "cifar_resnet20": "ResNet-20", "mnist_resnet18": "MNIST ResNet-18",
    "imagenet_resnet50": "ResNet-50", "imagenet_lite0": "Lite0", "pacs_art_painting": "PACS art",
    "pacs_cartoon": "PACS cartoon", "pacs_photo": "PACS photo", "pacs_sketch": "PACS sketch", "mnist_vit": "ViT",
}  # fmt: skip
MAIN = {  # ranking, profile, combine: what it is called, and its colour
    ("impact/sample", "taylor", "mean"): ("Taylor, impact", COLOURS["impact"]),
    ("gradient/sample", "taylor", "mean"): ("Taylor, value", "#e39b3b"),
    ("pot/sample", "taylor", "mean-rank"): ("Taylor, pot", "#7a5ca8"),
    ("pot", "mean-abs", "mean-rank"): ("pot", COLOURS["pot"]),
    ("published", "mean-abs", "mean-rank"): ("published", COLOURS["published"]),
    ("excess", "mean-abs", "mean-rank"): ("excess", COLOURS["excess"]),
    ("zscore", "mean-abs", "mean-rank"): ("zscore", COLOURS["zscore"]),
    ("gradient", "mean-abs", "mean-rank"): ("gradient", COLOURS["gradient"]),
    ("random", "mean-abs", "mean-rank"): ("random", COLOURS["random"]),
}
REPAIRS = ("prune", "tune", "tune_equal")


def every(folder: Path, ending: str = "") -> Iterable[tuple[str, str, list[dict[str, str]]]]:
    """Setting, the rest of the name, and rows of each file of a folder, in the order of the settings."""
    for name in ORDER:
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


def faults(output: Path, docs: Path) -> None:
    rows = gathered(output, docs, "faults", "found")
    gathered(output, docs, "faults-drawn", "found", "-drawn")
    settings = [name for name in ORDER if any(row["setting"] == name for row in rows)]
    table: list[list[Any]] = []
    for n in ("1", "5", "20", "50"):
        for key, (label, _) in MAIN.items():
            cells = []
            for name in settings:
                row = _row(rows, name, key, n)
                cells.append("" if row is None else f"{float(row['mrr']):.2f} / {float(row['hit25']):.2f}")
            table.append([n, label, *cells])
    head = [SHORT[name] + (" *" if name in HELD_BACK else "") for name in settings]
    write(docs / "tables" / "evidence-faults-short.csv", ["mistakes", "ranking", *head], table)
    _stages(output, docs)
    _picture(docs, rows, settings)


def _row(rows: list[dict[str, str]], name: str, key: tuple[str, str, str], n: str) -> dict[str, str] | None:
    found = [row for row in rows if (row["setting"], row["ranking"], row["profile"], row["combine"], row["n"])
             == (name, *key, n)]  # fmt: skip
    return found[0] if found else None


def _stages(output: Path, docs: Path) -> None:
    """Reciprocal rank over sets of 20, or of 5, by the kind of damage."""
    kinds: dict[tuple[str, str], dict[str, list[float]]] = {}
    for _, _, rows in every(output / "found", "-faults"):
        for row in rows:
            key = (row["ranking"], row["profile"], row["combine"])
            if key in MAIN and row["n"] == "5":
                kinds.setdefault((MAIN[key][0], row["kind"]), {}).setdefault("all", []).append(float(row["reciprocal"]))
    names = sorted({kind for _, kind in kinds})
    table = []
    for label, _ in MAIN.values():
        cells = []
        for kind in names:
            values = kinds.get((label, kind), {}).get("all")
            cells.append("" if not values else "{:.2f} ({:.2f} … {:.2f})".format(*band(np.array(values))))
        table.append([label, *cells])
    counts = [f"{kind} ({len(kinds[next(iter(MAIN.values()))[0], kind]['all'])})" for kind in names]
    write(docs / "tables" / "evidence-faults-kinds.csv", ["ranking", *counts], table)


def _picture(docs: Path, rows: list[dict[str, str]], settings: list[str]) -> None:
    columns = min(5, len(settings))
    lines = -(-len(settings) // columns)
    figure = Figure(figsize=(2.3 * columns, 2.3 * lines + 0.5), layout="constrained")
    grid = np.atleast_2d(figure.subplots(lines, columns, sharey=True, squeeze=False))
    for ax, name in zip(grid.ravel(), settings, strict=False):
        for key, (label, colour) in MAIN.items():
            some = [row for n in ("1", "5", "20", "50") if (row := _row(rows, name, key, n)) is not None]
            n, mrr, low, high = ([float(row[c]) for row in some] for c in ("n", "mrr", "mrr_low", "mrr_high"))
            ax.plot(n, mrr, "o-", color=colour, markersize=3, linewidth=1.3, label=label)
            if label in ("Taylor, impact", "pot"):
                ax.fill_between(n, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.set_xscale("log")
        ax.set_xticks([1, 5, 20, 50], ["1", "5", "20", "50"])
        ax.minorticks_off()
        ax.set_ylim(0.0, 1.02)
        ax.set_title(SHORT[name] + (" *" if name in HELD_BACK else ""), fontsize="medium")
        ax.spines[["top", "right"]].set_visible(False)
    for ax in grid.ravel()[len(settings) :]:
        ax.set_axis_off()
    for ax in grid[:, 0]:
        ax.set_ylabel("mean reciprocal rank")
    for ax in grid[-1]:
        ax.set_xlabel("mistakes in the set")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    figure.savefig(docs / "_static" / "evidence-faults.png", dpi=80)


def repairs(output: Path, docs: Path) -> None:
    rows = gathered(output, docs, "repair", "repair")
    bys = list(dict.fromkeys(row["by"] for row in rows))
    table: list[list[Any]] = []
    for name, shift in dict.fromkeys((row["setting"], row["shift"]) for row in rows):
        for repair in REPAIRS:
            some = {row["by"]: row for row in rows
                    if (row["setting"], row["shift"], row["repair"], row["k"]) == (name, shift, repair, K)}  # fmt: skip
            cells = [f"{100 * float(some[by]['corrected']):.0f}"
                     + (f" ({100 * float(some[by]['collateral']):.1f})" if some[by]["collateral"] else "")
                     for by in bys if by in some]  # fmt: skip
            count = next(iter(some.values()))["n"] if some else ""
            table.append([SHORT[name] + (" *" if name in HELD_BACK else ""), shift, count, repair, *cells])
    write(docs / "tables" / "evidence-repair-short.csv", ["network", "mistakes", "n", "repair", *bys], table)
    differences(output, docs)
    bias = gathered(output, docs, "stages", "repair", "-stages")
    shared = gathered(output, docs, "overlap", "repair", "-overlap")
    _overlap(docs, shared)
    _bias(docs, bias)


PAIRS = (("pot", "zscore"), ("pot", "published"), ("pot", "gradient"), ("published", "zscore"),
         ("taylor-impact", "pot"), ("taylor-impact", "published"), ("taylor-impact", "zscore"),
         ("taylor-impact", "gradient"), ("taylor-impact", "taylor"))  # fmt: skip


def differences(output: Path, docs: Path) -> None:
    """Paired differences of the share corrected, in percent, with bands; and pooled, each mistake counted once."""
    rows: list[list[Any]] = []
    pools: dict[tuple[str, str, str, str], list[np.ndarray]] = {}
    for name, shift, found in every(output / "repair", "-samples"):
        for repair in REPAIRS:
            outcome: dict[str, dict[str, float]] = {}
            for row in found:
                if (row["repair"], row["k"]) == (repair, K):
                    outcome.setdefault(row["by"], {})[row["sample"]] = float(row["corrected"])
            for one, other in PAIRS:
                if one in outcome and other in outcome:
                    gap = np.array([outcome[one][s] - outcome[other][s] for s in outcome[one]])
                    rows.append([name, shift, repair, one, other, len(gap), *(100 * v for v in band(gap))])
                    where = "in domain" if shift == "own" else "under shift"
                    for group in (where, "held back" if name in HELD_BACK or shift == "usps" else "chosen on"):
                        pools.setdefault((group, repair, one, other), []).append(gap)
    head = ["setting", "shift", "repair", "ranking", "other", "n", "difference", "low", "high"]
    write(docs / "tables" / "evidence-differences.csv", head, rows)
    pooled = []
    for (group, repair, one, other), gaps in pools.items():
        gap = np.concatenate(gaps)
        pooled.append(
            [
                group,
                repair,
                f"{one} − {other}",
                len(gap),
                "{:+.1f} ({:+.1f} … {:+.1f})".format(*(100 * v for v in band(gap))),
            ]
        )
    pooled.sort(key=lambda row: ([*dict.fromkeys(r[0] for r in pooled)].index(row[0]), REPAIRS.index(row[1])))
    write(docs / "tables" / "evidence-claims.csv", ["mistakes", "repair", "difference", "n", "corrected [%]"], pooled)


def _overlap(docs: Path, rows: list[dict[str, str]]) -> None:
    """Mean share of the first 25 that two rankings have in common, over all settings and shifts."""
    bys = list(dict.fromkeys(row["by"] for row in rows))
    table = []
    for one in bys:
        cells = []
        for other in bys:
            values = [float(row["shared"]) for row in rows if (row["by"], row["other"]) == (one, other)]
            cells.append(f"{np.mean(values):.2f}")
        table.append([one, *cells])
    write(docs / "tables" / "evidence-overlap-short.csv", ["", *bys], table)


def _bias(docs: Path, rows: list[dict[str, str]]) -> None:
    """Enrichment of each stage, and how uneven it is: the total variation between the first 25 and all units."""
    table = []
    bys = list(dict.fromkeys(row["by"] for row in rows))
    for name, shift in dict.fromkeys((row["setting"], row["shift"]) for row in rows):
        cells = []
        for by in bys:
            some = [row for row in rows if (row["setting"], row["shift"], row["by"]) == (name, shift, by)]
            total = sum(int(row["units"]) for row in some)
            share = np.array([float(row["share"]) for row in some])
            base = np.array([int(row["units"]) / total for row in some])
            cells.append(f"{0.5 * np.abs(share - base).sum():.2f}")
        table.append([SHORT[name], shift, *cells])
    write(docs / "tables" / "evidence-bias-short.csv", ["network", "mistakes", *bys], table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    (options.docs / "_static").mkdir(parents=True, exist_ok=True)
    faults(options.output, options.docs)
    repairs(options.output, options.docs)
