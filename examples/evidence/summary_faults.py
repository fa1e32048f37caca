"""Summary of the planted faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gathered import every, gathered, title
from matplotlib.figure import Figure
from settings import NAMES
from tables import band, write

from evtkit.plot.networks import COLOURS

if TYPE_CHECKING:
    from pathlib import Path

MAIN = {  # ranking, profile, combine: what it is called, and its colour
    ("impact/sample", "taylor", "mean"): ("Taylor, impact", COLOURS["impact"]),
    ("gradient/sample", "taylor", "mean"): ("Taylor, value", "#e39b3b"),
    ("pot/sample", "taylor", "mean-rank"): ("Taylor, pot", "#7a5ca8"),
    ("pot", "mean-abs", "mean-rank"): ("pot", COLOURS["pot"]),
    ("spot-script", "mean-abs", "mean-rank"): ("spot-script", COLOURS["spot-script"]),
    ("excess", "mean-abs", "mean-rank"): ("excess", COLOURS["excess"]),
    ("zscore", "mean-abs", "mean-rank"): ("zscore", COLOURS["zscore"]),
    ("gradient", "mean-abs", "mean-rank"): ("gradient", COLOURS["gradient"]),
    ("random", "mean-abs", "mean-rank"): ("random", COLOURS["random"]),
}


def faults(output: Path, docs: Path) -> None:
    rows = gathered(output, docs, "faults", "found")
    gathered(output, docs, "faults-drawn", "found", "-drawn")
    settings = [name for name in NAMES if any(row["setting"] == name for row in rows)]
    table: list[list[Any]] = []
    for n in ("1", "5", "20", "50"):
        for key, (label, _) in MAIN.items():
            cells = []
            for name in settings:
                row = _row(rows, name, key, n)
                cells.append("" if row is None else f"{float(row['mrr']):.2f} / {float(row['hit25']):.2f}")
            table.append([n, label, *cells])
    head = [title(name) for name in settings]
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
        ax.set_title(title(name), fontsize="medium")
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
