r"""The generalised extreme-value distribution (GEV), for block maxima.

Location μ, scale σ > 0 and shape ξ, with the sign of `evtkit.gpd`: ξ > 0 is a heavy tail (scipy's ``c = −ξ``).

.. math::

    F(x) = \exp(-e^{-g}), \qquad g = \log(1 + ξ s)/ξ, \qquad s = (x - μ)/σ, \qquad g = s \text{ where } ξ = 0.

Functions broadcast, compute in float64, return NaN where an argument is NaN and raise ``ValueError`` where σ ≤ 0 or a
parameter is infinite. All are built from g, which log1p(ξs)/ξ gives without cancellation through ξ = 0.

Examples
--------
>>> from evtkit import gev
>>> print(gev.isf(0.01, 0.1, mu=4.0, sigma=0.2).round(4))  # the level of a 100-year maximum
5.1682
>>> fit = gev.fit_gev(gev.rvs(0.1, 4.0, 0.2, size=200, rng=1))
>>> print(f"μ = {fit.mu:.3f}, σ = {fit.sigma:.3f}, ξ = {fit.xi:.3f}")
μ = 3.995, σ = 0.195, ξ = 0.025
"""

from __future__ import annotations

from evtkit.gev.blocks import fit_point_process, fit_r_largest
from evtkit.gev.distribution import cdf, isf, logpdf, logsf, pdf, ppf, rvs, sf
from evtkit.gev.fit import fit_gev
from evtkit.gev.lmoments import l_moments
from evtkit.gev.results import GevFit
from evtkit.gev.submodels import gumbel_test

__all__ = [
    "GevFit",
    "cdf",
    "fit_gev",
    "fit_point_process",
    "fit_r_largest",
    "gumbel_test",
    "isf",
    "l_moments",
    "logpdf",
    "logsf",
    "pdf",
    "ppf",
    "rvs",
    "sf",
]
