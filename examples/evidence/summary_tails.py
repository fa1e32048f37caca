"""Summary of the open questions: tails, stability, sequences; and of the scalability."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from gathered import gathered, title
from settings import NAMES
from tables import read, write

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {
    "accuracy": "accuracy", "sequence": "sequence/mnist_resnet18-summary", "scaling": "scaling/scaling",
    "slopes": "scaling/slopes",
}  # fmt: skip
PICTURES = ("scaling", "sequence", "stability")


def tails(output: Path, docs: Path) -> None:
    """All of them."""
    _fits(output, docs)
    _stability(output, docs)
    for what, source in TABLES.items():
        if (path := output / f"{source}.csv").exists():
            shutil.copyfile(path, docs / "tables" / f"evidence-{what}.csv")
    for name in PICTURES:
        if (path := output / "pictures" / f"evidence-{name}.png").exists():
            shutil.copyfile(path, docs / "_static" / path.name)


def _fits(output: Path, docs: Path) -> None:
    rows = [row for name in NAMES if (path := output / "tails" / f"{name}.csv").exists() for row in read(path)]
    if not rows:
        return
    write(
        docs / "tables" / "evidence-tails.csv",
        list(rows[0]),
        [r.values() for r in rows if r["level"] in ("all", "stage")],
    )
    table: list[list[Any]] = []
    for row in rows:
        if row["level"] != "all" or row["samples"] != "400" or row["quantile"] not in ("0.8", "0.9", "0.95"):
            continue
        best = max(("gpd", "lognormal", "gamma", "weibull", "exponential"), key=lambda f: float(row[f"best_{f}"]))
        table.append([
            title(row["setting"]), row["reduction"], row["normalize"], row["quantile"],
            f"{100 * float(row['rejected']):.0f}", f"{100 * float(row['best_gpd']):.0f}",
            f"{best} {100 * float(row[f'best_{best}']):.0f}",
            f"{float(row['xi_05']):.2f} … {float(row['xi_95']):.2f}", f"{float(row['held_out_0.01']):.2f}",
            f"{float(row['held_out_0.001']):.1f}", f"{float(row['predictive_0.001']):.2f}",
        ])  # fmt: skip
    write(
        docs / "tables" / "evidence-tails-short.csv",
        ["network", "profile", "normalised", "quantile", "rejected [%]", "GPD best [%]", "best family [%]",
         "ξ, 5 … 95 % of units", "beyond 1e-2", "beyond 1e-3", "beyond 1e-3, predictive"], table,
    )  # fmt: skip


def _stability(output: Path, docs: Path) -> None:
    rows = gathered(output, docs, "stability", "stability")
    bys = list(dict.fromkeys(row["by"] for row in rows))
    table = []
    for change, value in dict.fromkeys((row["change"], row["value"]) for row in rows):
        cells = []
        for by in bys:
            key = (by, change, value, "top25")
            some = [float(r["mean"]) for r in rows if (r["by"], r["change"], r["value"], r["metric"]) == key]
            cells.append(f"{np.mean(some):.2f}" if some else "")
        table.append([change, value, *cells])
    write(docs / "tables" / "evidence-stability-short.csv", ["what differs", "value", *bys], table)
