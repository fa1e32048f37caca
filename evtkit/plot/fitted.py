"""A fitted tail beside its excesses: quantile plot, probability plot, density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit import gpd
from evtkit.plot._axes import BAND, MODEL, axes, ink, points, quantity, quiet
from evtkit.plot._sample import excesses, observations, one_channel, plotting_positions, rank_band, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from evtkit.tail import Tail

__all__ = ["density", "probability", "quantile"]

_MOST_BINS = 60


def quantile(tail: Tail, ax: Axes | None = None, *, label: str = "value", unit: str = "", level: float = 0.95) -> Axes:
    """Quantile plot: the observations beyond the threshold against the quantiles of the fitted tail.

    Points on the diagonal agree with the model. The band holds each point with probability `level` if the fitted model
    is the truth: the model's probability of the i-th of N_u ordered values is a Beta(i, N_u + 1 − i) variable. The
    uncertainty of the estimates is not in it.

    Parameters
    ----------
    tail : Tail
        One channel, fitted.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    label, unit : str
        Name and unit of the observations.
    level : float
        Probability of the pointwise band, in (0, 1).

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tail has several channels or no fit, or `level` is not in (0, 1).

    Examples
    --------
    >>> from evtkit import fit_tail, gpd, plot
    >>> tail = fit_tail(gpd.rvs(0.1, 1.0, size=1000, rng=0), quantile=0.9)
    >>> plot.quantile(tail, label="loss", unit="%").get_ylabel()
    'observed loss [%]'
    """
    tail, ax = one_channel(tail), axes(ax)
    excess = excesses(tail)
    shares = (plotting_positions(excess.size), *rank_band(excess.size, level))
    expected, along, low, high = (observations(tail, gpd.ppf(p, tail.xi, tail.sigma)) for p in shares)
    observed, shown = observations(tail, excess), thinned(excess.size)
    ax.fill_between(along, low, high, color=MODEL, alpha=BAND, linewidth=0)
    ends = [float(tail.threshold), float(expected[-1])]
    ax.plot(ends, ends, color=MODEL, linewidth=1.4)
    points(ax, expected[shown], observed[shown])
    ax.set(xlabel=quantity(f"model {label}", unit), ylabel=quantity(f"observed {label}", unit), title="Quantile plot")
    quiet(ax)
    return ax


def probability(tail: Tail, ax: Axes | None = None, *, level: float = 0.95) -> Axes:
    """Probability plot: the fitted distribution of each excess against the share of excesses up to it.

    Arguments, band and errors as in `quantile`.

    Examples
    --------
    >>> from evtkit import fit_tail, gpd, plot
    >>> tail = fit_tail(gpd.rvs(0.1, 1.0, size=1000, rng=0), quantile=0.9)
    >>> plot.probability(tail).get_xlabel()
    'share of excesses'
    """
    tail, ax = one_channel(tail), axes(ax)
    excess = excesses(tail)
    share, (along, low, high) = plotting_positions(excess.size), rank_band(excess.size, level)
    fitted, shown = gpd.cdf(excess, tail.xi, tail.sigma), thinned(excess.size)
    ax.fill_between(along, low, high, color=MODEL, alpha=BAND, linewidth=0)
    ax.plot([0.0, 1.0], [0.0, 1.0], color=MODEL, linewidth=1.4)
    points(ax, share[shown], fitted[shown])
    ax.set(xlabel="share of excesses", ylabel="model probability", title="Probability plot", xlim=(0, 1), ylim=(0, 1))
    quiet(ax)
    return ax


def density(tail: Tail, ax: Axes | None = None, *, label: str = "value", unit: str = "") -> Axes:
    """Histogram of the observations beyond the threshold, and the fitted density.

    Arguments and errors as in `quantile`. Ticks along the axis mark the observations, single extremes among them.

    Examples
    --------
    >>> from evtkit import fit_tail, gpd, plot
    >>> tail = fit_tail(gpd.rvs(0.1, 1.0, size=1000, rng=0), quantile=0.9)
    >>> plot.density(tail, unit="mm").get_ylabel()
    'density [1/mm]'
    """
    tail, ax = one_channel(tail), axes(ax)
    excess = excesses(tail)
    edges = np.linspace(0.0, excess[-1], _n_bins(excess) + 1)
    heights, _ = np.histogram(excess, bins=edges, density=True)
    at = np.linspace(0.0, excess[-1], 500)
    curve = gpd.pdf(at, tail.xi, tail.sigma)
    ax.stairs(heights, observations(tail, edges), fill=True, color=ink(ax), alpha=0.2, label="observed")
    ax.plot(observations(tail, at), curve, color=MODEL, linewidth=1.8, label="fitted")
    rug = observations(tail, excess[thinned(excess.size)])
    ax.plot(rug, np.zeros(rug.size), "|", color=ink(ax), markersize=8, alpha=0.5, transform=ax.get_xaxis_transform())
    top = 1.08 * max(heights.max(), min(curve.max(), 2.0 * heights.max()))
    ax.set(xlabel=quantity(label, unit), ylabel=quantity("density", f"1/{unit}" if unit else ""), title="Density")
    ax.set_ylim(0.0, top)
    ax.legend(frameon=False)
    quiet(ax)
    return ax


def _n_bins(excess: NDArray[np.float64]) -> int:
    """Bins by Freedman & Diaconis (1981), within reason where the tail is heavy."""
    low, high = np.quantile(excess, [0.25, 0.75])
    width = 2.0 * (high - low) / excess.size ** (1.0 / 3.0)
    return int(np.clip(np.ceil(excess.max() / width), 5, _MOST_BINS)) if width > 0.0 else 10
