"""A ranking: which channels are the most improbable, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit.plot._axes import MARK, MODEL, axes, ink, literal, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from evtkit.ranking import Ranking

__all__ = ["ranking"]

_LONGEST_NAME = 32


def ranking(ranking: Ranking, ax: Axes | None = None, *, k: int = 20) -> Axes:
    """The first k channels of a ranking, most improbable on top, by −log₁₀ P(X ≥ x); 3 is once in 1,000 observations.

    Filled discs are values above their channel's threshold, open ones at or below it. An arrow at the right edge marks
    probability 0, beyond the endpoint of a bounded tail; a cross at 0 a channel without a fitted tail. A ranking by
    another score keeps its order, and shows the same probabilities.

    Parameters
    ----------
    ranking : Ranking
        One query; see `evtkit.Tail.rank`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default, as high as the number of channels asks for.
    k : int
        How many channels, at most.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the ranking has several queries, or k < 1.

    Examples
    --------
    >>> from evtkit import fit_tail, gpd, plot
    >>> tail = fit_tail(gpd.rvs(0.1, 1.0, size=(500, 3), rng=0), quantile=0.9)
    >>> ax = plot.ranking(tail.rank([9.0, 2.0, 4.0], names=["north", "east", "west"]))
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['north', 'west', 'east']
    """
    if ranking.order.ndim > 1:
        raise ValueError(f"a picture shows one query, got {ranking.order.shape[0]}; pick one: ranking[0]")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    shown = ranking.top(min(k, len(ranking)))
    ax = axes(ax, height=1.1 + 0.26 * shown.size)
    place = np.arange(shown.size)
    score = np.maximum(-ranking.log_sf[shown] / np.log(10.0), 0.0)
    sure, fitted, above = np.isinf(score), ranking.fitted[shown], ranking.above[shown]
    edge = 1.12 * max(score[~sure].max(initial=0.0), 1.0)
    reach = np.where(sure, edge, score)
    ax.hlines(place, 0.0, reach, color=MODEL, linewidth=1.6, alpha=0.6)
    for wanted, mark, face, note in (
        (above & ~sure, "o", MODEL, "above the threshold"),
        (fitted & ~above, "o", "none", "at or below the threshold"),
        (sure, ">", MARK, "beyond the endpoint, P = 0"),
        (~fitted, "x", "none", "no fitted tail"),
    ):
        if np.any(wanted):
            edge_colour = MARK if mark == ">" else ink(ax) if mark == "x" else MODEL
            ax.plot(reach[wanted], place[wanted], mark, markerfacecolor=face, markeredgecolor=edge_colour,
                    label=note, markersize=6.5, markeredgewidth=1.4, clip_on=False)  # fmt: skip
    ax.set_yticks(place, _names(ranking, shown))
    ax.set(ylim=(shown.size - 0.4, -0.6), xlim=(0.0, edge), xlabel=r"$-\log_{10}\,P(X \geq x)$")
    ax.set_title(f"The {shown.size} most improbable of {len(ranking)} channels" if shown.size < len(ranking)
                 else "Channels by improbability")  # fmt: skip
    if not np.all(above & ~sure):
        ax.legend(frameon=False, loc="lower right")
    quiet(ax)
    ax.grid(visible=False, axis="y")
    return ax


def _names(ranking: Ranking, shown: NDArray[np.int64]) -> list[str]:
    names = [f"channel {c}" if ranking.names is None else str(ranking.names[c]) for c in shown]
    return [literal(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…") for name in names]
