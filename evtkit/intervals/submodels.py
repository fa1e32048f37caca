"""Is ξ = 0? The Gumbel distribution for block maxima, the exponential for excesses, against the whole family.

Twice the difference of the two log-likelihoods follows a χ²₁ law where ξ is 0 (Coles 2001, theorem 2.7). With few
values it is larger: `SubmodelTest.p_value` then errs towards rejecting. ξ = 0 has narrower limits far out, and is a
strong claim: keep it only where something else than a p-value speaks for it (Coles 2001, section 3.4.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc

from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit.fit import FitStatus, fit_gpd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from evtkit._common.types import Bool, Float

__all__ = ["SubmodelTest", "compared", "exponential_test"]


@dataclass(frozen=True, eq=False)
class SubmodelTest(Result):
    """A family against its member ξ = 0; one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    submodel : str
        "gumbel" or "exponential".
    xi : ndarray of float64
        The shape that the whole family fits.
    loglik, loglik_submodel : ndarray of float64
        Largest log-likelihoods; NaN where there is no fit.
    statistic, p_value : ndarray of float64
        Twice their difference, and the chance of as much where ξ = 0.
    aic, aic_submodel : ndarray of float64
        2 · parameters − 2 · log-likelihood; smaller is better.

    Examples
    --------
    >>> from evtkit import gpd
    >>> from evtkit.intervals import exponential_test
    >>> test = exponential_test(gpd.rvs(0.3, 1.0, size=300, rng=0))
    >>> test
    SubmodelTest(exponential: xi=0.2944, statistic=42.3, p=7.82e-11; AIC 940.60 against 900.30: the whole family)
    """

    submodel: str
    xi: Float
    loglik: Float
    loglik_submodel: Float
    statistic: Float
    p_value: Float
    aic: Float
    aic_submodel: Float

    def __repr__(self) -> str:
        if self.xi.ndim:
            return f"SubmodelTest({self.submodel}, {self.xi.size} channels)"
        better = self.submodel if self.aic_submodel <= self.aic else "the whole family"
        return (
            f"SubmodelTest({self.submodel}: xi={self.xi:.4g}, statistic={self.statistic:.4g}, "
            f"p={self.p_value:.3g}; AIC {self.aic_submodel:.2f} against {self.aic:.2f}: {better})"
        )


def exponential_test(excesses: ArrayLike) -> SubmodelTest:
    """Compare the GPD with the exponential distribution, for excesses as in `evtkit.fit_gpd`.

    Examples
    --------
    >>> from evtkit import gpd
    >>> exponential_test(gpd.rvs(0.3, 1.0, size=200, rng=1))
    SubmodelTest(...)
    """
    values = real_array(excesses, "excesses").astype(np.float64)
    fit = fit_gpd(values)
    unit = np.nanmax(values, axis=0, initial=0.0) if len(values) else np.full(values.shape[1:], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = unit * (np.nansum(values / unit, axis=0) / fit.n)
        loglik = -fit.n * (np.log(mean) + 1.0)
    return compared("exponential", fit.xi, fit.loglik, loglik, fit.status <= FitStatus.BOUNDARY, 2)


def compared(name: str, xi: Float, whole: Float, part: Float, known: Bool, parameters: int) -> SubmodelTest:
    """The comparison of two log-likelihoods where both are known; the whole family has so many parameters."""
    whole, part = np.where(known, whole, np.nan), np.where(known, part, np.nan)
    statistic = np.maximum(2.0 * (whole - part), 0.0)
    return SubmodelTest(
        name, np.asarray(xi), whole, part, np.asarray(statistic), np.asarray(chdtrc(1, statistic)),
        np.asarray(2.0 * parameters - 2.0 * whole), np.asarray(2.0 * (parameters - 1) - 2.0 * part),
    )  # fmt: skip
