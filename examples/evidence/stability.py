"""Is the order of the units stable? Rankings of the same mistakes by references that ought to agree.

    python examples/evidence/stability.py --data DIR --output DIR --setting cifar_resnet56
    python examples/evidence/stability.py --output DIR --picture

Up to 60 mistakes of the same kind as the calibration samples (``own``), and of the setting's first shift, are ranked
twice. The share of the first 25 units that two orders have in common, and Spearman's correlation of the places of all
units, are averaged over repeats, and over the mistakes with bootstrap bands. What the two references differ in
(``change``, ``value``):

quantile  the threshold: the value's, and 0.90
size      the calibration samples: that share of them, drawn at random, and all
disjoint  the calibration samples: that share of them, and as many others. At 0.5 it is what chance alone changes
which     ``correct``: only the calibration samples that the network gets right, and all; ``as-many``: as many of them
          at random, and all

pot, zscore     by mean absolute gradients, as they are
pot-sample      the same, each profile divided by its mean
impact          by Taylor saliency, likewise; with fewer than five excesses a unit it knows no tails, only ranks
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from settings import CHOOSING, NAMES, Setting
from tables import band, read, write
from tails import fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RANKINGS = {
    "pot": ("mean-abs", None, "pot"),
    "pot-sample": ("mean-abs", "sample", "pot"),
    "zscore": ("mean-abs", None, "zscore"),
    "impact": ("taylor", "sample", "impact"),
}
QUANTILES = (0.80, 0.85, 0.95)
SHARES = (1 / 8, 1 / 4, 1 / 2)
K = 25
Order = np.ndarray  # int64, (mistakes, units)


def agreement(one: Order, other: Order) -> np.ndarray:
    """(2, mistakes): the share of the first K that two orders have in common, and Spearman's correlation."""
    n, units = one.shape
    places = np.empty((2, n, units))
    for place, order in zip(places, (one, other), strict=True):
        np.put_along_axis(place, order, np.arange(float(units))[None], axis=1)
    shared = np.mean((places[0] < K) & (places[1] < K), axis=1) * units / K
    squares = np.sum((places[0] - places[1]) ** 2, axis=1)
    return np.array([shared, 1.0 - 6.0 * squares / (units * (units**2 - 1.0))])


def comparisons(order: Callable[..., Order], right: np.ndarray, repeats: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Change, value, and agreement in the mean over repeats; order(rows, quantile) ranks by calibration samples."""
    n = len(right)
    usual = order(None)
    for quantile in QUANTILES:
        yield "quantile", f"{quantile:g}", agreement(order(None, quantile), usual)
    for share in SHARES:
        size = int(share * n)
        with_all, with_others = [], []
        for repeat in range(repeats):
            rows = np.random.default_rng([3, repeat]).permutation(n)
            one, other = order(rows[:size]), order(rows[-size:])
            with_all += [agreement(one, usual), agreement(other, usual)]
            with_others.append(agreement(one, other))
        yield "size", f"{share:g}", np.mean(with_all, axis=0)
        yield "disjoint", f"{share:g}", np.mean(with_others, axis=0)
    yield "which", "correct", agreement(order(np.flatnonzero(right)), usual)
    drawn = [np.random.default_rng([4, repeat]).permutation(n)[: np.sum(right)] for repeat in range(repeats)]
    yield "which", "as-many", np.mean([agreement(order(rows), usual) for rows in drawn], axis=0)


def stability(setting: Setting, mistakes: int, repeats: int, path: Path) -> None:
    right = setting.kept("calibration-predicted", lambda: setting.predicted(setting.calibration[0]))
    right = right == setting.calibration[1]
    shifts = ("own", next(iter(setting.shifts)))
    rows = []
    for name, (reduction, normalize, by) in RANKINGS.items():
        usual = setting.usual(reduction)
        profiles = {}
        for shift in shifts:
            x, y = setting.mistakes(shift)
            profiles[shift] = setting.kept(
                f"{shift}-first{mistakes}-{reduction}",
                lambda x=x, y=y, reduction=reduction: setting.profiles(x[:mistakes], y[:mistakes], reduction),
            )
        cuts = np.cumsum([len(profiles[shift]) for shift in shifts])[:-1]
        queries = np.concatenate([profiles[shift] for shift in shifts])

        def order(rows: np.ndarray | None, quantile: float = 0.9) -> Order:
            some = usual if rows is None else usual[np.sort(rows)]  # noqa: B023
            reference = fitted(setting, some, reduction, normalize, quantile)  # noqa: B023
            return reference.rank(queries, by, combine="each").order  # noqa: B023

        for change, value, found in comparisons(order, right, repeats):
            for shift, part in zip(shifts, np.split(found, cuts, axis=1), strict=True):
                for metric, values in zip((f"top{K}", "spearman"), part, strict=True):
                    head = (setting.name, shift, name, change, value, metric)
                    rows.append((*head, *band(values), len(values), len(usual), usual.shape[1]))
            print(setting.name, name, change, value, found.mean(axis=1).round(3), flush=True)
    header = (
        "setting",
        "shift",
        "by",
        "change",
        "value",
        "metric",
        "mean",
        "low",
        "high",
        "mistakes",
        "samples",
        "units",
    )
    write(path, header, rows)


def picture(folder: Path, path: Path) -> None:
    """The first 25 units that references from different samples share, over how many samples there are."""
    from matplotlib.figure import Figure

    from evtkit.plot._axes import BAND, MARK, MODEL, quiet

    names = [name for name in CHOOSING if (folder / f"{name}.csv").exists()]
    figure = Figure(figsize=(2.2 * len(names) + 0.8, 2.6), layout="constrained")
    colours = {"pot": MODEL, "pot-sample": "#3d3d8f", "zscore": MARK, "impact": "#c1352b"}
    grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for ax, name in zip(grid, names, strict=True):
        some = [
            row for row in read(folder / f"{name}.csv")
            if (row["shift"], row["change"], row["metric"]) == ("own", "disjoint", f"top{K}")
        ]  # fmt: skip
        for by, colour in colours.items():
            x, mean, low, high = np.array([
                (float(r["value"]) * float(r["samples"]), float(r["mean"]), float(r["low"]), float(r["high"]))
                for r in some if r["by"] == by
            ]).T  # fmt: skip
            ax.plot(x, K * mean, marker="o", markersize=3.5, color=colour, linewidth=1.5, label=by)
            ax.fill_between(x, K * low, K * high, color=colour, alpha=BAND, linewidth=0)
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{round(v)}" for v in x], minor=False)
        ax.minorticks_off()
        ax.set(ylim=(0, K), xlabel="calibration samples")
        ax.set_title(name, fontsize="medium")
        quiet(ax)
    grid[0].set_ylabel(f"shared of the first {K}")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("evidence-output"))
    parser.add_argument("--setting", choices=NAMES)
    parser.add_argument("--mistakes", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=4, help="random draws of calibration samples")
    parser.add_argument("--picture", action="store_true", help="only draw what has been computed")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["EVTKIT_NUM_THREADS"] = str(options.threads)
    folder = options.output / "stability"
    if options.picture:
        picture(folder, options.output / "pictures" / "evidence-stability.png")
    elif options.setting is None or options.data is None:
        parser.error("wanted --setting and --data, or --picture")
    elif not (folder / f"{options.setting}.csv").exists():
        setting = Setting(options.setting, options.data, options.output)
        stability(setting, options.mistakes, options.repeats, folder / f"{options.setting}.csv")
