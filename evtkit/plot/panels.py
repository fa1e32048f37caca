"""The pictures of one fitted tail on one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from evtkit.plot._axes import roomy
from evtkit.plot._sample import one_channel
from evtkit.plot.fitted import density, probability, quantile
from evtkit.plot.returns import return_level

if TYPE_CHECKING:
    from evtkit.tail import Tail

__all__ = ["diagnostics"]


def diagnostics(
    tail: Tail,
    *,
    label: str = "value",
    unit: str = "",
    level: float = 0.95,
    per: str | float | None = None,
    period_unit: str | None = None,
    figure: Figure | None = None,
) -> Figure:
    """The four pictures that tell whether a fit can be believed: probability, quantile, density and return level.

    Parameters
    ----------
    tail : Tail
        One channel, fitted.
    label, unit, level, per, period_unit
        As in `quantile` and `return_level`.
    figure : matplotlib Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        As the four functions.

    Examples
    --------
    >>> from evtkit import fit_tail, gpd, plot
    >>> tail = fit_tail(gpd.rvs(0.1, 1.0, size=1000, rng=0), quantile=0.9)
    >>> [ax.get_title() for ax in plot.diagnostics(tail, label="loss", unit="%").axes]
    ['Probability plot', 'Quantile plot', 'Density', 'Return level']
    """
    tail = one_channel(tail)
    if figure is None:
        figure = Figure(figsize=(9.6, 7.2), layout=roomy())
    panels = figure.subplots(2, 2)
    probability(tail, panels[0, 0], level=level)
    quantile(tail, panels[0, 1], label=label, unit=unit, level=level)
    density(tail, panels[1, 0], label=label, unit=unit)
    return_level(tail, panels[1, 1], label=label, unit=unit, level=level, per=per, period_unit=period_unit)
    return figure
