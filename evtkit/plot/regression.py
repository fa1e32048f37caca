"""Pictures of laws with covariates: does the model hold, and what does it say of a level?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from evtkit._common.checks import real_array
from evtkit.plot._axes import BAND, MARK, MODEL, axes, points, quantity, quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float
    from evtkit.covariates import CovariateTail, RegressionFit

__all__ = ["effective_levels", "residual_quantile", "residuals"]


def residual_quantile(fit: RegressionFit, ax: Axes | None = None, *, level: float = 0.95) -> Axes:
    """Residuals against the quantiles of the law that they have if the model holds (Coles 2001, section 6.2.3).

    Parameters
    ----------
    fit : RegressionFit
        Of one response: from `evtkit.covariates.fit_gpd` or `fit_gev`, or ``excess`` of a `CovariateTail`.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    level : float
        Confidence of the band of each point, for the model as estimated.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the fit has several responses, or the level is outside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates, gpd, plot
    >>> t = np.linspace(0.0, 1.0, 200)
    >>> fit = covariates.fit_gpd(gpd.rvs(0.1, np.exp(t), size=200, rng=0), sigma=t)
    >>> plot.residual_quantile(fit).get_xlabel()
    'standard exponential quantile'
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    found = np.sort(_residuals(fit))
    ax, n = axes(ax), len(found)
    rank = np.arange(1, n + 1)
    expected = _quantile(fit, rank / (n + 1.0))
    low, high = (
        _quantile(fit, betaincinv(rank, n + 1.0 - rank, share)) for share in (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    )
    ax.fill_between(expected, low, high, color=MODEL, alpha=BAND, linewidth=0, label=f"{100 * level:g} % of each point")
    ax.plot(expected, expected, color=MODEL, linewidth=1.2, label="the model")
    points(ax, expected, found)
    ax.set(xlabel=f"{_law(fit)} quantile", ylabel="residual", title="Residuals")
    ax.legend(frameon=False, loc="best")
    quiet(ax)
    return ax


def residuals(fit: RegressionFit, over: ArrayLike, ax: Axes | None = None, *, label: str = "covariate") -> Axes:
    """Residuals against a covariate, or time: they should show nothing.

    Parameters
    ----------
    fit : RegressionFit
        Of one response.
    over : array_like, shape (n,)
        The covariate at the rows of the fit; one that is not in the model, too.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    label : str
        Name of the covariate.

    Returns
    -------
    matplotlib Axes
        With the quartiles of the law, and those of the residuals in ten parts of equal numbers.

    Raises
    ------
    ValueError
        If the fit has several responses, or there is no value a residual.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates, gpd, plot
    >>> t = np.linspace(0.0, 1.0, 200)
    >>> fit = covariates.fit_gpd(gpd.rvs(0.1, np.exp(t), size=200, rng=0), sigma=t)
    >>> plot.residuals(fit, t, label="year").get_xlabel()
    'year'
    """
    found, where = _residuals(fit), np.asarray(real_array(over, "over"), dtype=np.float64)
    if where.shape != found.shape:
        raise ValueError(f"over must have shape {found.shape}, a value a residual, got {where.shape}")
    ax = axes(ax)
    points(ax, where, found)
    for quartile in (0.25, 0.5, 0.75):
        ax.axhline(float(_quantile(fit, np.array(quartile))), color=MODEL, linewidth=1.2 if quartile == 0.5 else 0.8,
                   linestyle="--", label="quartiles of the model" if quartile == 0.5 else None)  # fmt: skip
    parts = [part for part in np.array_split(np.argsort(where, kind="stable"), 10) if part.size]
    middles = np.array([np.median(where[part]) for part in parts])
    for quartile in (0.25, 0.5, 0.75):
        ax.plot(middles, [np.quantile(found[part], quartile) for part in parts], color=MARK, linewidth=1.2,
                label="of the residuals" if quartile == 0.5 else None)  # fmt: skip
    ax.set(xlabel=quantity(label, ""), ylabel=f"residual ({_law(fit)})", title=f"Residuals over {label}")
    ax.legend(frameon=False, loc="best")
    quiet(ax)
    return ax


def effective_levels(
    fit: RegressionFit | CovariateTail,
    over: ArrayLike,
    ax: Axes | None = None,
    *,
    at: Any = None,
    p: Sequence[float] = (0.1, 0.01),
    observed: bool = True,
    label: str = "covariate",
    value: str = "level",
    unit: str = "",
) -> Axes:
    """Levels exceeded with given probabilities as the covariates change (Katz, Parlange & Naveau 2002).

    Parameters
    ----------
    fit : RegressionFit or CovariateTail
        Of maxima, excesses, or observations.
    over : array_like, shape (rows,)
        Where along the axis each row lies: one covariate, or time.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    at : data frame, mapping of columns, or array_like, optional
        Rows of covariates; by default those of the fit.
    p : sequence of float
        Probabilities of being exceeded.
    observed : bool
        Draw the observations too, where the rows are those of the fit.
    label, value, unit : str
        Names of the axis and of the observations, and their unit.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `over` has not a number a row.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates, gev, plot
    >>> year = np.arange(1900, 2020)
    >>> level = gev.rvs(-0.1, 1.0 + 0.002 * (year - 1900), 0.1, size=120, rng=0)
    >>> fit = covariates.fit_gev(level, {"year": year}, mu="year")
    >>> plot.effective_levels(fit, year, label="year", value="sea level", unit="m").get_ylabel()
    'sea level [m]'
    """
    where = np.asarray(real_array(over, "over"), dtype=np.float64)
    ax = axes(ax)
    order = np.argsort(where, kind="stable")
    for i, chance in enumerate(p):
        levels = np.asarray(fit.isf(chance, at))
        if levels.shape != where.shape:
            raise ValueError(f"over must have a number a row, shape {levels.shape}, got {where.shape}")
        ax.plot(where[order], levels[order], color=MODEL, linewidth=1.4, alpha=1.0 - 0.6 * i / max(len(p), 1),
                label=f"exceeded with p = {chance:g}")  # fmt: skip
    if at is None and observed:
        points(ax, where, np.asarray(fit.y, dtype=np.float64).reshape(len(where), -1)[:, 0])
    ax.set(xlabel=quantity(label, ""), ylabel=quantity(value, unit), title="Effective return levels")
    ax.legend(frameon=False, loc="best")
    quiet(ax)
    return ax


def _residuals(fit: RegressionFit) -> Float:
    if not fit.single:
        raise ValueError(f"the fit must be of one response, got {fit.coefficients.shape[1]}")
    return np.asarray(fit.residuals())


def _quantile(fit: RegressionFit, share: Float) -> Float:
    """Of the standard exponential or Gumbel law."""
    return np.asarray(-np.log1p(-share) if fit.family == "gpd" else -np.log(-np.log(share)))


def _law(fit: RegressionFit) -> str:
    return "standard exponential" if fit.family == "gpd" else "standard Gumbel"
