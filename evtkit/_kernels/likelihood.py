"""The likelihood of the GPD at any ξ and σ, for excesses divided by their mean."""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import sums, sums_near_zero

_NEAR = 0.01  # |ξ/σ| below which ξ(t)/t would cancel


@kernel("float64(float64[:, :, ::1], intp, float64, float64, float64[:, :, ::1])")
def mean_log(z, n, z_max, t, work):
    """mean log1p(tz)/t, exact through t = 0: the scale that goes with t in the likelihood of Grimshaw (1993)."""
    if abs(t) < _NEAR:
        return 1.0 - t * sums_near_zero(z, n, t, work)[0]
    return sums(z, n, z_max, t)[0] / t


@kernel("float64(float64[:, :, ::1], intp, float64, float64, float64, float64[:, :, ::1])")
def mean_loglik(z, n, z_max, xi, sigma, work):
    """Log-likelihood an observation; −inf where the largest excess is at the endpoint, to rounding, or beyond it."""
    t = xi / sigma
    if 1.0 + t * z_max <= 1e-12:
        return -np.inf
    return -math.log(sigma) - (1.0 + xi) * mean_log(z, n, z_max, t, work) / sigma
