"""The L-moment ratio diagram: which family do many samples look like?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array
from evtkit.gev.lmoments import POINTS, RATIOS, l_moments
from evtkit.plot._axes import MARK, MODEL, axes, ink, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = ["l_moment_ratios"]

_STYLES = ("-", "--", ":")


def l_moment_ratios(x: ArrayLike, ax: Axes | None = None, *, margin: float = 0.15) -> Axes:
    """L-kurtosis against L-skewness, a point a channel, with the curves of families and points of distributions.

    The mean of many channels is marked: where it lies near a curve, its family is a candidate for all of them (Hosking
    & Wallis 1997, section 3.5). A single short sample may lie far from its own.

    Parameters
    ----------
    x : array_like, (n,) or (n, channels)
        Observations: block maxima for the generalised extreme-value curve, excesses for the generalised Pareto's. NaN
        is padding.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    margin : float
        Around the points, in units of the ratios.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        As `evtkit.gev.l_moments`; also if no channel has four different values.

    Examples
    --------
    >>> from evtkit import gev, plot
    >>> plot.l_moment_ratios(gev.rvs(0.1, 0.0, 1.0, size=(60, 20), rng=1)).get_xlabel()
    'L-skewness'
    """
    values = real_array(x, "x")
    if values.ndim not in (1, 2):
        raise ValueError(f"x must have shape (n,) or (n, channels), got {values.shape}")
    _, _, skewness, kurtosis = (np.atleast_1d(part) for part in l_moments(values))
    known = np.isfinite(skewness) & np.isfinite(kurtosis)
    if not np.any(known):
        raise ValueError("x must have a channel of at least four values that are not all equal, got none")
    skewness, kurtosis = skewness[known], kurtosis[known]
    ax = axes(ax)
    xi = np.concatenate([np.linspace(-3.0, -1.0, 30), np.linspace(-1.0, 0.999, 200)])
    for style, (name, curve) in zip(_STYLES, RATIOS.items(), strict=True):
        ax.plot(*curve(xi), style, color=ink(ax), linewidth=1.3, alpha=0.75, label=name)
    ax.plot(skewness, kurtosis, "o", color=MODEL, markersize=4.5, alpha=0.7, label="samples")
    if skewness.size > 1:
        ax.plot(skewness.mean(), kurtosis.mean(), "s", color=MARK, markersize=8, label="their mean")
    low, high = min(skewness.min(), 0.0) - margin, max(skewness.max(), 0.35) + margin
    bottom, top = min(kurtosis.min(), 0.0) - margin, max(kurtosis.max(), 0.2) + margin
    for name, (t3, t4) in POINTS.items():
        if low < t3 < high and bottom < t4 < top:
            ax.plot(t3, t4, "+", color=ink(ax), markersize=9)
            ax.annotate(name, (t3, t4), xytext=(6, -11), textcoords="offset points", fontsize="small")
    ax.set(xlim=(max(low, -1.0), min(high, 1.0)), ylim=(bottom, min(top, 1.0)), xlabel="L-skewness",
           ylabel="L-kurtosis", title="L-moment ratios")  # fmt: skip
    ax.legend(frameon=False, loc="upper left", fontsize="small")
    quiet(ax)
    return ax
