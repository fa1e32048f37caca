"""The likelihood of excesses of which the largest are only known to lie beyond the others, searched on a grid.

With t = ξ/σ in units of the largest excess that is known, reach = log(1 + t) and logs = Σ log(1 + t yᵢ), the likelihood
of n excesses and `censored` larger ones is profiled over σ, or taken at a given shape.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import sums

_FINER = 22  # points of a finer grid; an even number, so that 0 is not among them
_ROUNDS = 3


@kernel("float64(float64, float64, float64, float64, float64)")
def _loglik(n, censored, shape, reach, logs):
    """The log-likelihood at a reach: over ξ ≥ −1 where the shape is NaN, else at the shape; −inf outside."""
    if math.isnan(shape):
        xi = (logs + censored * reach) / n
        return -n * math.log(xi / math.expm1(reach)) - logs - n if xi >= -1.0 else -np.inf
    if reach <= 0.0:
        return -np.inf
    return n * math.log(math.expm1(reach)) - (1.0 + 1.0 / shape) * logs - censored / shape * reach


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64[::1], float64, float64)")
def likeliest(z, n, grid, censored, shape):
    """The reach where the likelihood is largest, and its logs; z holds the n excesses in units of the largest."""
    best, logs_there = grid[0], 0.0
    low, step, points = grid[0], grid[1] - grid[0], grid.size
    for _ in range(_ROUNDS):
        highest = -np.inf
        for i in range(points):
            reach = low + i * step
            logs = n * sums(z, n, 1.0, math.expm1(reach))[0]
            value = _loglik(n, censored, shape, reach, logs)
            if value > highest or i == 0:
                highest, best, logs_there = value, reach, logs
        low, step, points = best - step, 2.0 * step / (_FINER - 1), _FINER
    return best, logs_there
