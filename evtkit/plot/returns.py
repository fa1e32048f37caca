"""Return levels of a fitted tail, with its observations and a confidence band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evtkit.plot._axes import BAND, MODEL, axes, points, quantity, quiet
from evtkit.plot._sample import excesses, observations, one_channel, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["return_level"]

_PERIODS = 60  # at which the curve and its band are computed


def return_level(
    tail: Tail,
    ax: Axes | None = None,
    *,
    label: str = "value",
    unit: str = "",
    band: str | None = "bartlett",
    level: float = 0.95,
    longest: float | None = None,
    per: str | float | None = None,
    period_unit: str | None = None,
) -> Axes:
    """Return levels: what is exceeded once in a period, on average, with the observations at their empirical periods.

    Parameters
    ----------
    tail : Tail
        One channel, fitted.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    label, unit : str
        Name and unit of the observations.
    band : {"bartlett", "profile", "delta", None}
        Confidence band: profile likelihood, by default corrected for fewer than 100 excesses; the delta method, where
        it is valid (ξ > −0.5); or none. A tail that was not fitted by maximum likelihood gets none.
    level : float
        Pointwise confidence of the band, in (0, 1).
    longest : float, optional
        Longest period drawn, in `period_unit`; by default four times the observed one.
    per : str or float
        Observations in one `period_unit`: 365.25 for years of daily data; or "year", "month", … for tails with dates.
        By default years where the tail has dates, else single observations.
    period_unit : str
        Unit of the periods; by default what `per` says.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the tail has several channels or no fit, `band` is unknown, or a period is not above the shortest one, n/N_u
        observations.

    Notes
    -----
    The i-th largest of n observations stands at the period (n + 1)/i (Weibull's plotting position).

    Examples
    --------
    >>> from evtkit import fit_tail, gpd, plot
    >>> tail = fit_tail(gpd.rvs(0.1, 1.0, size=3650, rng=0), quantile=0.9)
    >>> plot.return_level(tail, per=365.25, period_unit="years").get_xlabel()
    'return period [years]'
    """
    tail, ax = one_channel(tail), axes(ax)
    if band not in ("bartlett", "profile", "delta", None):
        raise ValueError(f"band must be 'bartlett', 'profile', 'delta' or None, got {band!r}")
    per, period_unit = periods_of(tail, per, period_unit)
    shortest = float(tail.n / tail.n_excess)
    end = 4.0 * float(tail.n) if longest is None else longest * per
    if not shortest < end < np.inf:
        raise ValueError(f"longest must be finite and exceed {shortest / per:.4g} {period_unit}, got {longest}")
    periods = np.geomspace(shortest * 1.0001, end, _PERIODS)
    if band is not None and tail.method == "mle":
        low, high = _band(tail, periods, band, level)
        ax.fill_between(periods / per, low, high, color=MODEL, alpha=BAND, linewidth=0,
                        label=f"{100 * level:g} % confidence")  # fmt: skip
    ax.plot(periods / per, tail.return_level(periods), color=MODEL, linewidth=1.8, label="fitted")
    excess = excesses(tail)
    rank, shown = np.arange(excess.size, 0, -1), thinned(excess.size)
    empirical = (float(tail.n) + 1.0) / rank / per
    points(ax, empirical[shown], observations(tail, excess)[shown], label="observed")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(_period)
    ax.set(xlabel=quantity("return period", period_unit), ylabel=quantity(label, unit), title="Return level")
    ax.legend(frameon=False, loc="best")
    quiet(ax)
    return ax


def periods_of(tail: Tail, per: str | float | None, unit: str | None) -> tuple[float, str]:
    """Observations in one unit of return periods, and its name."""
    if per is None:
        per = "year" if tail.dates is not None and tail.dates.per_year > 0.0 else 1.0
    return tail.observations_per(per), unit or (f"{per}s" if isinstance(per, str) else "observations")


def _band(tail: Tail, periods: Float, method: str, level: float) -> tuple[Float, Float]:
    """Confidence limits at each period, on the side of the tail."""
    found = tail.return_level(periods, interval=level, method=method)
    return found.lower, found.upper


def _period(m: float, _: float) -> str:
    """A tick at a power of ten: 1, 10, 1,000; powers from a million on."""
    return f"{m:,.10g}" if 1e-3 <= m < 1e6 else f"$10^{{{np.log10(m):.0f}}}$"
