"""Verdicts: what a report says of the units at fault, and of their repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evtkit._common.text import counted
from evtkit.reports.page import Part, Row, Section, Table, picture

if TYPE_CHECKING:
    from evtkit.saliency.accused import Suspects
    from evtkit.saliency.repairs import Repair

__all__ = ["mended", "suspected"]


def suspected(found: Suspects, k: int) -> Section:
    """Which units are at fault, if any."""
    head, *body = found.rows(k)
    rows = [Row(cells, "" if named else "quiet") for cells, named in zip(body, found.named, strict=False)]
    names = ", ".join(map(str, found.units.names[found.found[:5]]))
    verdict = (
        f"At fault, at the {100 * found.level:g} % level: {names}."
        if names
        else f"None is at fault at the {100 * found.level:g} % level."
    )
    how = (
        f"{verdict} The units that stand out were tried on {counted(found.n_mistakes, 'mistake')}. The effect is "
        "the share of their loss that goes when the unit is removed, or its sign is turned (“sign”), whichever "
        "takes more. A unit that is “lacking” is silent: its saliency is far smaller in size than it usually is. "
        "One that “follows” stands out far less once the first is changed. p is the probability that any unit "
        "would stand out so far on usual mistakes of the network that was calibrated; samples of another kind make "
        "it small too. Grey: not named."
    )
    return Section("Which units are at fault?", [Part("text", how), Part("table", Table(head, rows, (1, 2), (1,)))])


def mended(repair: Repair) -> Section:
    """What was tried, and what the change that was taken does."""
    from evtkit import plot

    head, *body = repair.rows()
    rows = [Row(cells, "" if cells[0] else "quiet") for cells in body]
    if repair.chosen < 0:
        verdict = f"Nothing that was tried corrects a mistake for at most {100 * repair.budget:g} % lost."
    else:
        verdict = (
            f"The change that was taken corrects {repair.corrected} mistakes that had no say, and loses {repair.lost} "
            "other samples that had no say either (95 % intervals)."
        )
    how = (
        f"{verdict} The table has each candidate at its best within the budget: “learnt” of the mistakes in the loss, "
        "“corrected” of mistakes that choose, “lost” of right samples that size the change."
    )
    caption = "Mistakes corrected over right samples lost, step by step; the budget is shaded."
    shown = picture(plot.repair_frontier(repair).figure, caption)
    return Section("A repair", [Part("text", how), Part("table", Table(head, rows, (0, 1))), shown])
