"""The method of moments (Hosking & Wallis 1987, section 3)."""

from __future__ import annotations

from evtkit._kernels.bits import flat
from evtkit._kernels.frame import FIT_ROWS, finish, prepare, room
from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import CHUNK


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp)")
def _moments(z, n):
    """ξ = ½(1 − ȳ²/s²), σ = ½ȳ(1 + ȳ²/s²), s² with n − 1 (Hosking & Wallis 1987, section 3)."""
    y = flat(z)
    mean = 0.0
    for i in range(n):
        mean += y[i]
    mean /= n
    variance = 0.0
    for i in range(n):
        variance += (y[i] - mean) * (y[i] - mean)
    ratio = mean * mean / (variance / (n - 1))
    return 0.5 * (1.0 - ratio), 0.5 * mean * (1.0 + ratio)


@kernel(FIT_ROWS)
def fit_rows(rows, result, counts):
    """As `grimshaw.fit_rows`, with this estimator."""
    y, chunks, work = room(rows.shape[1])
    for i in range(rows.shape[0]):
        n, mean, _, z_max = prepare(rows[i], y, chunks, result[i])
        counts[i] = n
        if mean > 0.0:
            z = chunks[: (n + CHUNK - 1) // CHUNK]
            xi, sigma = _moments(z, n)
            finish(z, n, mean, z_max, xi, sigma, work, result[i])
