"""The pictures of the guide, drawn anew at every build of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit import demo, fit_tail, plot

if TYPE_CHECKING:
    from pathlib import Path

LOOK = {"label": "daily loss", "unit": "%"}


def draw(folder: Path) -> None:
    """Draw every picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _, loss = demo.daily_losses()
    tail = fit_tail(loss, threshold=2.0)
    figures = {
        "threshold": plot.threshold_choice(loss, marked=2.0, **LOOK),
        "diagnostics": plot.diagnostics(tail, **LOOK, per=252.0, period_unit="years"),
        "ranking": _ranking(),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


def _ranking():
    months, names, loss = demo.monthly_losses()
    tail = fit_tail(loss, quantile=0.9)
    row = int(np.flatnonzero(months == np.datetime64("2008-10"))[0])
    return plot.ranking(tail.rank(loss[row], names=np.array(names))).figure
