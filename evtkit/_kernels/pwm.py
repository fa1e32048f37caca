"""Probability-weighted moments, unbiased (Hosking & Wallis 1987)."""

from __future__ import annotations

import numpy as np

from evtkit._kernels.bits import flat
from evtkit._kernels.frame import FIT_ROWS, finish, prepare, room
from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import CHUNK


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp)")
def _weighted_moments(z, n):
    """ξ = 2 − a₀/(a₀ − 2a₁), σ = 2a₀a₁/(a₀ − 2a₁), aᵣ estimating E[Y (1 − F)ʳ] without bias (Hosking & Wallis 1987)."""
    y = np.sort(flat(z)[:n])
    a0, a1, spread = 0.0, 0.0, 0.0
    for i in range(n):
        a0 += y[i]
        a1 += y[i] * (n - 1 - i)
        spread += y[i] * (2 * i + 1 - n)  # a₀ − 2a₁, without its cancellation
    a0, a1, spread = a0 / n, a1 / n / (n - 1), spread / n / (n - 1)
    return 2.0 - a0 / spread, 2.0 * a0 * a1 / spread


@kernel(FIT_ROWS)
def fit_rows(rows, result, counts):
    """As `grimshaw.fit_rows`, with this estimator."""
    y, chunks, work = room(rows.shape[1])
    for i in range(rows.shape[0]):
        n, mean, _, z_max = prepare(rows[i], y, chunks, result[i])
        counts[i] = n
        if mean > 0.0:
            z = chunks[: (n + CHUNK - 1) // CHUNK]
            xi, sigma = _weighted_moments(z, n)
            finish(z, n, mean, z_max, xi, sigma, work, result[i])
