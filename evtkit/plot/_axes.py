"""What all pictures share: axes that belong to no global state, colours, labels."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rcParams
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from evtkit._common.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType
    from numpy.typing import NDArray

    from evtkit._common.types import Float

# Two hues that stay apart under every common colour blindness and are legible on white and on black.
MODEL = "#2f86c8"
MARK = "#d9822b"
BAND = 0.22  # opacity of confidence bands
_PARTS = 1000  # of a long stream, each drawn by its smallest and its largest value
_TEX = {c: f"\\{c}" for c in "$_%&#{}"} | {
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
}  # fmt: skip


def axes(ax: Axes | None, width: float = 6.4, height: float = 4.4) -> Axes:
    """The axes given, or those of a new figure that pyplot does not know of."""
    if ax is None:
        ax = Figure(figsize=(width, height), layout="constrained").add_subplot()
    return ax


def roomy() -> ConstrainedLayoutEngine:
    """The layout of several panels, with room for each one's title and labels."""
    return ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)


def ink(ax: Axes) -> ColorType:
    """The colour of text in the style in force: black on light, white on dark."""
    return ax.xaxis.label.get_color()


def quiet(ax: Axes) -> None:
    """A faint grid behind the data, and no box around them."""
    ax.set_axisbelow(True)
    ax.grid(visible=True, color=ink(ax), alpha=0.12, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def literal(text: str) -> str:
    """A name as it is: no dollar sign, underscore or backslash in it is mathematics or TeX, nothing moves a cursor."""
    shown = "\n".join(plain(line) for line in text.split("\n"))
    if rcParams["text.usetex"]:
        return "".join(_TEX.get(c, c) for c in shown)
    return shown.replace("$", r"\$")


def quantity(label: str, unit: str) -> str:
    """An axis label as it is, with its unit in brackets if it has one."""
    return literal(f"{label} [{unit}]" if unit else label)


def points(ax: Axes, x: NDArray[np.float64], y: NDArray[np.float64], label: str | None = None) -> None:
    """Observations: small discs in the colour of text, so that they show on light and dark."""
    ax.plot(x, y, "o", color=ink(ax), markersize=3.5, markeredgewidth=0, alpha=0.65, label=label)


def along_dates(ax: Axes) -> None:
    """Short dates along the axis."""
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def long_line(ax: Axes, when: NDArray[Any], y: Float, **style: Any) -> None:
    """A line through all that is finite, with gaps at the rest; through the ends of each part where there is much."""
    y = np.where(np.isfinite(y), y, np.nan)
    shown = _ends(y) if y.size > 2 * _PARTS else np.arange(y.size)
    ax.plot(when[shown], y[shown], **style)


def _ends(y: Float) -> NDArray[np.int64]:
    """Where the smallest and the largest value of each part are, in order; where there is none, its first place."""
    cuts = np.linspace(0, y.size, _PARTS + 1).astype(np.int64)
    low = np.where(np.isnan(y), np.inf, y)
    high = np.where(np.isnan(y), -np.inf, y)
    shown = [(a + low[a:b].argmin(), a + high[a:b].argmax()) for a, b in pairwise(cuts)]
    return np.unique(shown)
