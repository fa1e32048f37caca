"""Summary of the repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gathered import every, gathered, title
from matplotlib.figure import Figure
from settings import HELD_BACK
from tables import band, write

from evtkit.plot.networks import COLOURS

if TYPE_CHECKING:
    from pathlib import Path

K = "25"
REPAIRS = ("prune", "tune", "tune_equal")


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
            table.append([title(name), shift, count, repair, *cells])
    write(docs / "tables" / "evidence-repair-short.csv", ["network", "mistakes", "n", "repair", *bys], table)
    _few(output, docs)
    differences(output, docs)
    _picture(docs, rows)
    bias = gathered(output, docs, "stages", "repair", "-stages")
    shared = gathered(output, docs, "overlap", "repair", "-overlap")
    _overlap(docs, shared)
    _bias(docs, bias)


def _few(output: Path, docs: Path) -> None:
    """One filter, or a few: share corrected and collateral."""
    table: list[list[Any]] = []
    bys: list[str] = []
    for name, shift, found in every(output / "few"):
        bys = list(dict.fromkeys(row["by"] for row in found))
        for k in dict.fromkeys(row["k"] for row in found):
            some = {row["by"]: row for row in found if row["k"] == k}
            cells = [
                f"{100 * float(some[by]['corrected']):.0f} ({100 * float(some[by]['collateral']):.1f})" for by in bys
            ]
            table.append([title(name), shift, found[0]["n"], k, *cells])
    if table:
        write(docs / "tables" / "evidence-few.csv", ["network", "mistakes", "n", "filters", *bys], table)


SHOWN = (("cifar_resnet56", "natural"), ("cifar_resnet20", "natural"), ("mnist_resnet18", "usps"),
         ("pacs_cartoon", "cartoon"), ("imagenet_resnet50", "own"))  # fmt: skip
TAYLOR = {"taylor-impact": COLOURS["impact"], "taylor": "#e39b3b"}


def _picture(docs: Path, rows: list[dict[str, str]]) -> None:
    """Share corrected over k."""
    given = {(row["setting"], row["shift"]) for row in rows}
    shown = [key for key in SHOWN if key in given]
    figure = Figure(figsize=(2.5 * len(shown), 4.8), layout="constrained")
    grid = figure.subplots(2, len(shown), sharey=True, squeeze=False)
    for column, key in enumerate(shown):
        for line, repair in enumerate(("prune", "tune_equal")):
            ax = grid[line, column]
            some = [row for row in rows if (row["setting"], row["shift"], row["repair"]) == (*key, repair)]
            for by in dict.fromkeys(row["by"] for row in some):
                k, mean, low, high = (
                    np.array([float(row[c]) for row in some if row["by"] == by])
                    for c in ("k", "corrected", "corrected_low", "corrected_high")
                )
                colour = TAYLOR.get(by) or COLOURS[by]
                ax.plot(k, 100 * mean, "o-", color=colour, markersize=2.5, linewidth=1.3, label=by)
                if by in ("taylor-impact", "pot"):
                    ax.fill_between(k, 100 * low, 100 * high, color=colour, alpha=0.18, linewidth=0)
            ax.spines[["top", "right"]].set_visible(False)
            ax.set_ylim(0, 100)
        grid[0, column].set_title(f"{title(key[0])}, {key[1]}", fontsize="medium")
        grid[1, column].set_xlabel("filters changed")
    grid[0, 0].set_ylabel("set to zero: corrected [%]")
    grid[1, 0].set_ylabel("steps of equal length [%]")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False, fontsize="small")
    figure.savefig(docs / "_static" / "evidence-repair.png", dpi=72)


PAIRS = (("pot", "zscore"), ("pot", "spot-script"), ("pot", "gradient"), ("spot-script", "zscore"),
         ("taylor-impact", "pot"), ("taylor-impact", "spot-script"), ("taylor-impact", "zscore"),
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
    groups = ("in domain", "under shift", "chosen on", "held back")
    pooled.sort(key=lambda row: (groups.index(row[0]), REPAIRS.index(row[1])))
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
        table.append([title(name), shift, *cells])
    write(docs / "tables" / "evidence-bias-short.csv", ["network", "mistakes", *bys], table)
