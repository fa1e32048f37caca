"""Is there a trend? A likelihood-ratio test of extremes against time, with the trend's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit.covariates.fits import fit_gev, fit_gpd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Float
    from evtkit.covariates.results import RegressionFit

__all__ = ["TrendTest", "trend_test"]


@dataclass(frozen=True, eq=False, repr=False)
class TrendTest(Result):
    """A test of no trend; made by `trend_test`.

    Attributes
    ----------
    slope, lower, upper : ndarray of float64, shape ()
        Change of the parameter per unit of time, with the limits of its profile-likelihood interval.
    level : float
        Confidence level of the limits.
    deviance, p_value : ndarray of float64, shape ()
        Twice the gain in log-likelihood, and its p-value by the χ² law with one degree of freedom.
    parameter : str
        What changes: ``"mu"``, or ``"log sigma"``.
    fit : RegressionFit
        The law with the trend.

    See Also
    --------
    trend_test : makes it.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates, gev
    >>> year = np.arange(1950, 2020)
    >>> sea = gev.rvs(-0.1, 0.002 * (year - 1950), 0.1, size=70, rng=0)  # two millimetres a year
    >>> covariates.trend_test(sea, year)
    TrendTest(mu: 0.002812 per unit of time, 0.001541 to 0.003969, p=0.00011)
    """

    slope: Float
    lower: Float
    upper: Float
    level: float
    deviance: Float
    p_value: Float
    parameter: str
    fit: RegressionFit

    def __repr__(self) -> str:
        return (
            f"TrendTest({self.parameter}: {self.slope:.4g} per unit of time, {self.lower:.4g} to {self.upper:.4g}, "
            f"p={self.p_value:.3g})"
        )


def trend_test(
    y: ArrayLike, time: ArrayLike, *, family: str = "gev", parameter: str | None = None, level: float = 0.95
) -> TrendTest:
    """Test whether maxima or excesses change with time, by the likelihood ratio (Coles 2001, section 6.2.2).

    Parameters
    ----------
    y : array_like, shape (n,)
        Independent maxima, or excesses over a threshold.
    time : array_like, shape (n,)
        When, as numbers: years, say.
    family : {"gev", "gpd"}
        The law: of maxima, or of excesses.
    parameter : {"mu", "sigma"}, optional
        What changes linearly: the location of maxima (the default), or the logarithm of the scale (the default for
        excesses, which have no location).
    level : float
        Confidence level of the limits of the slope.

    Returns
    -------
    TrendTest

    Raises
    ------
    ValueError
        If an argument is none of these, or as `fit_gev` and `fit_gpd`.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import gev
    >>> from evtkit.covariates import trend_test
    >>> year = np.arange(1900, 2020)
    >>> trend_test(gev.rvs(-0.1, 1.0 + 0.002 * (year - 1900), 0.1, size=120, rng=0), year)
    TrendTest(mu: 0.00200... per unit of time, 0.0014... to 0.0025..., p=4...e-10)
    """
    if family not in ("gev", "gpd"):
        raise ValueError(f"family must be 'gev' or 'gpd', got {family!r}")
    own = parameter or ("mu" if family == "gev" else "sigma")
    if own not in (("mu", "sigma") if family == "gev" else ("sigma",)):
        raise ValueError(f"parameter must be 'mu' (of maxima) or 'sigma', got {parameter!r}")
    when = np.asarray(real_array(time, "time"), dtype=np.float64)
    if when.ndim != 1:
        raise ValueError(f"time must have shape (n,), got {when.shape}")
    if family == "gev":
        still = fit_gev(y)
        moving = fit_gev(y, mu=when) if own == "mu" else fit_gev(y, sigma=when)
    else:
        still, moving = fit_gpd(y), fit_gpd(y, sigma=when)
    name = "mu" if own == "mu" else "log sigma"
    ratio = moving.compare(still)
    slope = moving.interval(next(n for n in moving.names if n.startswith(name) and not n.endswith(": 1")), level=level)
    return TrendTest(slope.estimate, slope.lower, slope.upper, level, ratio.deviance, ratio.p_value, name, moving)
