"""The Gumbel distribution against the whole GEV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evtkit.fit import FitStatus
from evtkit.gev.fit import fit_gev
from evtkit.intervals.submodels import SubmodelTest, compared

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["gumbel_test"]


def gumbel_test(maxima: ArrayLike, *, axis: int = 0) -> SubmodelTest:
    """Compare the GEV with the Gumbel distribution, for block maxima as in `evtkit.gev.fit_gev`.

    Examples
    --------
    >>> from evtkit import gev
    >>> gumbel_test(gev.rvs(0.0, 4.0, 0.2, size=65, rng=1))
    SubmodelTest(...)
    """
    whole, part = fit_gev(maxima, axis=axis), fit_gev(maxima, axis=axis, method="gumbel")
    known = (whole.status <= FitStatus.BOUNDARY) & (part.status == FitStatus.OK)
    return compared("gumbel", whole.xi, whole.loglik, part.loglik, known, 3)
