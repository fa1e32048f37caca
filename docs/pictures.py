"""The pictures of the guide, drawn anew at every build of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit import DSpot, demo, fit_tail, plot

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
        "stream": _stream(),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


def draw_card(folder: Path) -> None:
    """Draw the picture that a shared link shows, 1200 × 630 pixels."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    x = np.linspace(-2.2, 6.0, 500)
    y = np.exp(-x - np.exp(-x))
    figure = Figure(figsize=(12.0, 6.3), dpi=100, facecolor="#10263b")
    axes = figure.add_axes((0.07, 0.12, 0.86, 0.52))
    axes.fill_between(x, y, where=x >= 1.75, color="#ff8a4c", alpha=0.45, linewidth=0)
    axes.plot(x, y, color="#a9cdf0", linewidth=5)
    axes.plot([1.75, 1.75], [0.0, 0.33], color="#a9cdf0", linewidth=2, linestyle="--")
    axes.plot([5.0], [0.045], "o", color="#ff8a4c", markersize=20)
    axes.set_axis_off()
    figure.text(0.07, 0.82, "evtkit", color="white", fontsize=60, weight="bold")
    figure.text(0.07, 0.71, "How improbable is this value?", color="#a9cdf0", fontsize=30)
    figure.savefig(folder / "card.png")


def _ranking():
    months, names, loss = demo.monthly_losses()
    tail = fit_tail(loss, quantile=0.9)
    row = int(np.flatnonzero(months == np.datetime64("2008-10"))[0])
    return plot.ranking(tail.rank(loss[row], names=np.array(names))).figure


def _stream():
    """Response times with a daily rhythm, three of them out of the ordinary."""
    rng, n = np.random.default_rng(2), 20_000
    x = 60.0 + 20.0 * np.sin(np.arange(n) * 2.0 * np.pi / 8640.0) + rng.gumbel(0.0, 5.0, n)
    x[[6000, 11_000, 16_500]] += 90.0, 110.0, -60.0
    time = np.datetime64("2024-03-04T00:00:00") + 10 * np.arange(n)
    spot = DSpot(risk=1e-5, depth=100, side="both").fit(x[:2000])
    trace = spot.trace(x[2000:])
    return plot.stream(x[2000:], trace, calibration=x[:2000], time=time, label="response time", unit="ms").figure
