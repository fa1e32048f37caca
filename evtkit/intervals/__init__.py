"""Confidence intervals of what a fitted GPD says: profile likelihood, and the delta method where it is valid.

The profile-likelihood interval holds every value that a likelihood-ratio test at level 1 − `level` accepts,

    2 (ℓ(ξ̂, σ̂) − max over the other parameter ℓ) ≤ χ²₁ quantile of `level`

(Coles 2001, section 2.6.6). It is asymmetric where the likelihood is, which for return levels it always is, and stays
inside ξ ≥ −1. Where the inner maximum has several peaks, the highest counts. With few excesses the likelihood ratio is
larger than its limit law says, and the interval too short: ``method="bartlett"`` stretches the quantile for samples of
fewer than 100 (after Bartlett 1937; the factor comes from simulations, see :doc:`/intervals`). The delta method's
symmetric interval needs standard errors, which do not exist for ξ ≤ −0.5, and covers too little far out.

Examples
--------
>>> from evtkit import gpd
>>> xi_interval(gpd.rvs(0.2, 1.0, size=300, rng=1))
Interval(0.2188, 95 % profile limits 0.1054 … 0.3676)
"""

from __future__ import annotations

from evtkit.intervals.interval import Interval
from evtkit.intervals.of_excesses import (
    endpoint_interval,
    return_level_interval,
    sf_interval,
    sigma_interval,
    xi_interval,
)
from evtkit.intervals.of_tails import Inference
from evtkit.intervals.submodels import SubmodelTest, exponential_test

__all__ = [
    "Inference",
    "Interval",
    "SubmodelTest",
    "endpoint_interval",
    "exponential_test",
    "return_level_interval",
    "sf_interval",
    "sigma_interval",
    "xi_interval",
]
