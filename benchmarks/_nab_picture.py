"""The picture of benchmarks/nab.py: series a row, detectors a column."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from _detectors import Verdict
    from _nab import Series
    from matplotlib.axes import Axes

VALUE, LEVEL, RIGHT, FALSE, WINDOW, LEARNING = "#9aa5b1", "#1f5fa8", "#1b7f3b", "#d1471f", "#f3d27a", "#e6e6e6"


def draw(corpus: Sequence[Series], verdicts: Mapping[str, Sequence[Verdict]], file: Path) -> None:
    """Values, labelled windows, alarm levels and alarms."""
    figure = Figure(figsize=(11.5, 2.7 * len(corpus) + 0.5), layout="constrained")
    grid = figure.subplots(len(corpus), len(verdicts), sharex="row", sharey="row", squeeze=False)
    for row, series in zip(grid, corpus, strict=True):
        for ax, (name, of_series) in zip(row, verdicts.items(), strict=True):
            panel(ax, series, of_series[corpus.index(series)])
            ax.set_title(f"{series.name.partition('/')[2].removesuffix('.csv')}: {name}", fontsize=9, loc="left")
        row[0].set_ylabel("value")
    figure.legend(
        handles=[
            Patch(color=LEARNING, label="for learning"),
            Patch(color=WINDOW, label="labelled window"),
            Line2D([], [], color=VALUE, label="value"),
            Line2D([], [], color=LEVEL, label="alarm levels"),
            Line2D([], [], color=RIGHT, marker="o", ms=4, ls="", label="alarm in a window"),
            Line2D([], [], color=FALSE, marker="x", ms=5, ls="", label="false alarm"),
        ],
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=9,
    )
    figure.get_layout_engine().set(h_pad=0.09, w_pad=0.09)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").quantize(48).save(file, optimize=True)  # a third of the size


def panel(ax: Axes, series: Series, verdict: Verdict) -> None:
    """One series as one detector saw it."""
    times, values, alarm = series.times, series.values, verdict.alarm
    ax.axvspan(times[0], times[series.learning], color=LEARNING, lw=0)
    for first, last in series.windows:
        ax.axvspan(times[first], times[last], color=WINDOW, alpha=0.6, lw=0)
    ax.plot(times, values, color=VALUE, lw=0.5)
    for level in (verdict.judged.lower, verdict.judged.upper):
        ax.plot(times[series.learning :], level, color=LEVEL, lw=0.9)
    for rows, colour, marker in ((series.window >= 0, RIGHT, "o"), (series.window < 0, FALSE, "x")):
        ax.plot(times[alarm & rows], values[alarm & rows], marker, color=colour, ms=3.5, mew=0.8, ls="")
    room = 0.15 * np.ptp(values)
    ax.set_ylim(values.min() - room, values.max() + room)
    ax.set_xlim(times[0], times[-1])
    locator = AutoDateLocator(maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.text(0.995, 0.97, f"{int(alarm.sum()):,} alarms", transform=ax.transAxes, ha="right", va="top", fontsize=8)
