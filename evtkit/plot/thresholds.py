"""Pictures for choosing the threshold: mean residual life, and stability of the fitted parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.special import ndtri

from evtkit._common.checks import real_array
from evtkit.plot._axes import BAND, MARK, MODEL, axes, ink, quantity, quiet, roomy
from evtkit.threshold import mean_residual_life as compute_mean_residual_life
from evtkit.threshold import parameter_stability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.threshold import MeanResidualLife, ParameterStability, ThresholdChoice

__all__ = ["mean_residual_life", "stability", "threshold_choice", "threshold_evidence"]

_COUNTS = 6  # numbers of excesses written along the top


def mean_residual_life(
    result: MeanResidualLife,
    ax: Axes | None = None,
    *,
    label: str = "value",
    unit: str = "",
    marked: float | None = None,
) -> Axes:
    """Mean excess against the threshold, with its confidence band: choose the lowest threshold from which it is a line.

    Parameters
    ----------
    result : MeanResidualLife
        From `evtkit.threshold.mean_residual_life`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    label, unit : str
        Name and unit of the observations.
    marked : float, optional
        A threshold to be marked.

    Returns
    -------
    matplotlib Axes
        With the numbers of excesses along the top.

    Examples
    --------
    >>> from evtkit import gpd, plot, threshold
    >>> result = threshold.mean_residual_life(gpd.rvs(0.1, 1.0, size=1000, rng=0))
    >>> plot.mean_residual_life(result, label="loss", unit="%").get_xlabel()
    'threshold of loss [%]'
    """
    ax = axes(ax)
    _band(ax, result.threshold, result.mean_excess, result.lower, result.upper, f"{100 * result.level:g} % confidence")
    ax.set(ylabel=quantity("mean excess", unit), title="Mean residual life")
    _along_thresholds(ax, result.threshold, result.n_excess, label, unit, marked)
    return ax


def stability(
    result: ParameterStability,
    ax: Axes | None = None,
    *,
    parameter: str = "xi",
    label: str = "value",
    unit: str = "",
    level: float = 0.95,
    marked: float | None = None,
) -> Axes:
    """A fitted parameter against the threshold: choose the lowest threshold from which it is constant, but for chance.

    Parameters
    ----------
    result : ParameterStability
        From `evtkit.threshold.parameter_stability`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    parameter : {"xi", "modified_scale"}
        Shape ξ, or modified scale σ* = σ − ξu.
    label, unit : str
        Name and unit of the observations.
    level : float
        Confidence of the pointwise band, from standard errors; no band where they do not exist (ξ ≤ −0.5).
    marked : float, optional
        A threshold to be marked.

    Returns
    -------
    matplotlib Axes
        With the numbers of excesses along the top.

    Raises
    ------
    ValueError
        If `parameter` is neither, or `level` is not in (0, 1).

    Examples
    --------
    >>> from evtkit import gpd, plot, threshold
    >>> result = threshold.parameter_stability(gpd.rvs(0.1, 1.0, size=1000, rng=0))
    >>> plot.stability(result, parameter="modified_scale", unit="mm").get_ylabel()
    'modified scale σ* [mm]'
    """
    if parameter not in ("xi", "modified_scale"):
        raise ValueError(f"parameter must be 'xi' or 'modified_scale', got {parameter!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    ax = axes(ax)
    value: Float = getattr(result, parameter)
    half = ndtri(0.5 + 0.5 * level) * getattr(result, f"se_{parameter}")
    _band(ax, result.threshold, value, value - half, value + half, f"{100 * level:g} % confidence")
    if parameter == "xi":
        ax.set(ylabel="shape ξ", title="Stability of the shape")
    else:
        ax.set(ylabel=quantity("modified scale σ*", unit), title="Stability of the modified scale")
    _along_thresholds(ax, result.threshold, result.n_excess, label, unit, marked)
    return ax


def threshold_choice(
    x: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    side: str = "upper",
    label: str = "value",
    unit: str = "",
    level: float = 0.95,
    marked: float | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Mean residual life and both parameters' stability on one figure: how to choose the threshold of one channel.

    Parameters
    ----------
    x : array_like, shape (n,)
        Observations; NaN is missing.
    thresholds : array_like, optional
        As in `evtkit.threshold`.
    side : str
        "upper", or "lower" for the tail of small values.
    label, unit, level, marked
        As in `stability`.
    figure : matplotlib Figure, optional
        Where to draw; a new one by default.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        As `evtkit.threshold`'s functions, or if `side` is neither.

    Examples
    --------
    >>> from evtkit import gpd, plot
    >>> figure = plot.threshold_choice(gpd.rvs(0.1, 1.0, size=1000, rng=0), unit="mm")
    >>> len(figure.axes)
    3
    """
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
    sign = 1.0 if side == "upper" else -1.0
    values = sign * real_array(x, "x")
    at = None if thresholds is None else sign * real_array(thresholds, "thresholds")
    life, fits = compute_mean_residual_life(values, at, level=level), parameter_stability(values, at)
    if figure is None:
        figure = Figure(figsize=(6.4, 9.6), layout=roomy())
    panels = figure.subplots(3, 1)
    mean_residual_life(replace(life, threshold=sign * life.threshold), panels[0], label=label, unit=unit, marked=marked)
    for ax, parameter in zip(panels[1:], ("xi", "modified_scale"), strict=True):
        stability(
            replace(fits, threshold=sign * fits.threshold), ax,
            parameter=parameter, label=label, unit=unit, level=level, marked=marked,
        )  # fmt: skip
    return figure


def threshold_evidence(
    choice: ThresholdChoice, ax: Axes | None = None, *, label: str = "value", unit: str = ""
) -> Axes:
    """What a suggested threshold rests on: the p-value of every candidate, or its expected quantile discrepancy.

    Parameters
    ----------
    choice : ThresholdChoice
        From `evtkit.threshold.suggest_threshold`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    label, unit : str
        Name and unit of the observations.

    Returns
    -------
    matplotlib Axes
        With the suggestion marked, if there is one.

    Examples
    --------
    >>> from evtkit import gpd, plot, threshold
    >>> choice = threshold.suggest_threshold(gpd.rvs(0.1, 1.0, size=1000, rng=0), method="score")
    >>> plot.threshold_evidence(choice, unit="mm").get_ylabel()
    'p-value, and ForwardStop'
    """
    ax = axes(ax)
    is_test = choice.method != "discrepancy"
    if is_test:
        ax.plot(choice.thresholds, choice.p_value, "o", color=MODEL, markersize=3.5, label="p-value")
        ax.plot(choice.thresholds, choice.statistic, "-", color=MODEL, linewidth=1.2, label="ForwardStop")
        ax.axhline(choice.fdr, color=ink(ax), linewidth=0.8, linestyle=":", label=f"limit {choice.fdr:g}")
        ax.set_ylim(0.0, max(1.0, 1.05 * float(np.nanmax(choice.statistic, initial=0.0, where=choice.statistic < 5.0))))
        ax.set_ylabel("p-value, and ForwardStop")
    else:
        ax.plot(choice.thresholds, choice.statistic, "o-", color=MODEL, markersize=3, linewidth=1.2)
        ax.set_ylabel(quantity("expected quantile discrepancy", unit))
    if choice.index >= 0:
        ax.axvline(choice.threshold, color=MARK, linewidth=1.4, linestyle="--",
                   label=f"u = {choice.threshold:.4g}, {choice.n_excess:,} excesses")  # fmt: skip
    ax.set(xlabel=quantity(f"threshold of {label}", unit), title=f"Threshold by {choice.method}")
    ax.legend(frameon=False, loc="best")
    quiet(ax)
    return ax


def _band(ax: Axes, u: Float, value: Float, lower: Float, upper: Float, note: str) -> None:
    if np.any(np.isfinite(lower)):
        ax.fill_between(u, lower, upper, color=MODEL, alpha=BAND, linewidth=0, label=note)
    ax.plot(u, value, "o-", color=MODEL, markersize=3, linewidth=1.2)


def _along_thresholds(ax: Axes, u: Float, n: NDArray[np.int64], label: str, unit: str, marked: float | None) -> None:
    """The axis of thresholds: its label, numbers of excesses on top, the marked one."""
    if marked is not None:
        ax.axvline(marked, color=MARK, linewidth=1.4, linestyle="--", label=f"u = {marked:.4g}")
    ax.set_xlabel(quantity(f"threshold of {label}", unit))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, loc="best")
    quiet(ax)
    top = ax.secondary_xaxis("top")
    shown = np.unique(np.linspace(0, u.size - 1, _COUNTS).round().astype(np.int64))
    top.set_xticks(u[shown], [f"{count:,}" for count in n[shown]])
    top.set_xlabel("excesses", fontsize="small")
    top.tick_params(length=3, labelsize="small", color=ink(ax))
    top.spines["top"].set_visible(False)
