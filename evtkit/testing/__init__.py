"""Laws that every estimator of the generalised Pareto distribution must obey, to be run against any of them.

Needs Hypothesis: ``pip install "evtkit[testing]"``.

`check_gpd_estimator` looks for samples that break a law, shrinks them to simple ones, and says which law fails on which
sample. The samples come from the strategies of this module, which can be used in tests of your own:

==================  ==================================================================================
`samples`           every kind below, half of them in tiny or huge units
`heavy_tails`       ξ from 0.2 to 3
`bounded_tails`     ξ from −1.5 to −0.2
`near_exponential`  ``|ξ| ≤ 0.01``
`near_boundary`     ξ from −1.1 to −0.9, where the likelihood is often largest at ξ = −1
`tied`              small whole numbers, sometimes all equal
`rounded`           recorded to one or two digits
`two_points`        two excesses
`mixed_scales`      two scales in one sample
`rescaled`          any of them, from 1e−280 to 1e280
`ragged`            a matrix of channels, padded with NaN
==================  ==================================================================================

Examples
--------
>>> from evtkit import fit_gpd
>>> report = check_gpd_estimator(fit_gpd, max_examples=20)
>>> report.passed
True
>>> def exponential(y):
...     return 0.0, max(y.mean(), 1e-3)
>>> report = check_gpd_estimator(exponential, max_examples=50, raise_on_failure=False)
>>> [result.law for result in report.failures]
['scale_equivariance', 'maximum_likelihood']
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError('evtkit.testing needs Hypothesis: pip install "evtkit[testing]"') from error

from evtkit.testing.check import BrokenLawError, EstimatorReport, LawResult, check_gpd_estimator
from evtkit.testing.laws import brute_force_loglik, loglik
from evtkit.testing.samples import (
    bounded_tails,
    heavy_tails,
    mixed_scales,
    near_boundary,
    near_exponential,
    ragged,
    rescaled,
    rounded,
    samples,
    tied,
    two_points,
)

__all__ = [
    "BrokenLawError",
    "EstimatorReport",
    "LawResult",
    "bounded_tails",
    "brute_force_loglik",
    "check_gpd_estimator",
    "heavy_tails",
    "loglik",
    "mixed_scales",
    "near_boundary",
    "near_exponential",
    "ragged",
    "rescaled",
    "rounded",
    "samples",
    "tied",
    "two_points",
]
