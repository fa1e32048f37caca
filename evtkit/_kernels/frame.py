"""What every estimator but maximum likelihood does around its own formula.

Each works on excesses divided by their mean, so units never change an answer, and returns ξ and σ in those units. The
frame answers for the samples that have no estimate, adds the log-likelihood and restores the units.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import empty
from evtkit._kernels.grimshaw import CONSTANT, EMPTY, OK, TOO_FEW, mean_of, pack, store
from evtkit._kernels.jit import kernel
from evtkit._kernels.likelihood import mean_loglik
from evtkit._kernels.sums import CHUNK, LANES, ROWS

NO_SOLUTION = 5.0  # FitStatus, as the kernels return it

FIT_ROWS = "void(float64[:, ::1], float64[:, ::1], int64[::1])"


@kernel("Tuple((float64[::1], float64[:, :, ::1], float64[:, :, ::1]))(intp)")
def room(width):
    """Workspace for rows of so many excesses: y, chunks and work."""
    deep = max(2, (width + CHUNK - 1) // CHUNK)
    return empty(width + 1), empty((deep, ROWS, LANES)), empty((2, deep, LANES))


@kernel("Tuple((intp, float64, float64, float64))(float64[::1], float64[::1], float64[:, :, ::1], float64[::1])")
def prepare(row, y, chunks, result):
    """The excesses of a row into chunks: their number, mean, and smallest and largest in units of it.

    The mean is 0 where there is nothing to estimate; the answer is then in `result`, status −1 for invalid values.
    """
    n = pack(row, y)
    result[0] = -1.0 if n < 0 else EMPTY if n == 0 else TOO_FEW
    result[1:] = np.nan
    if n < 2:
        return n, 0.0, 0.0, 0.0
    low, high = y[:n].min(), y[:n].max()
    if low == high:
        result[0], result[1], result[2], result[3] = CONSTANT, -1.0, high, -n * math.log(high)
        return n, 0.0, 0.0, 0.0
    mean = mean_of(y, n, high)
    store(y, n, mean, chunks[: (n + CHUNK - 1) // CHUNK])
    return n, mean, low / mean, high / mean


@kernel("void(float64[:, :, ::1], intp, float64, float64, float64, float64, float64[:, :, ::1], float64[::1])")
def finish(z, n, mean, z_max, xi, sigma, work, result):
    """Status, parameters in the units of the data, and log-likelihood of an estimate."""
    result[0] = NO_SOLUTION
    if not (abs(xi) < np.inf and 0.0 < sigma < np.inf):
        return
    value = mean_loglik(z, n, z_max, xi, sigma, work)
    if value > -np.inf:
        result[0] = OK
    result[1], result[2], result[3] = xi, sigma * mean, n * (value - math.log(mean))
