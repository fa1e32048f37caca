"""The likelihood's mean over a data-dependent prior (Zhang & Stephens 2009)."""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import flat
from evtkit._kernels.frame import FIT_ROWS, finish, prepare, room
from evtkit._kernels.jit import kernel
from evtkit._kernels.likelihood import mean_log
from evtkit._kernels.sums import CHUNK


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64[:, :, ::1])")
def _zhang_stephens(z, n, z_max, work):
    """The likelihood's mean of t over the prior points of Zhang & Stephens (2009), equations 5 to 8; their θ is −t."""
    points = 20 + int(math.sqrt(n))
    quartile = np.partition(flat(z)[:n], int(n / 4 + 0.5) - 1)[int(n / 4 + 0.5) - 1]
    ts, logliks = np.empty(points), np.empty(points)
    for i in range(points):
        ts[i] = -1.0 / z_max - (1.0 - math.sqrt(points / (i + 0.5))) / (3.0 * quartile)
        sigma = mean_log(z, n, z_max, ts[i], work)
        logliks[i] = n * (-math.log(sigma) - ts[i] * sigma - 1.0)
    best = logliks.max()
    total, t = 0.0, 0.0
    for i in range(points):
        weight = math.exp(logliks[i] - best)
        total += weight
        t += weight * ts[i]
    t /= total
    sigma = mean_log(z, n, z_max, t, work)
    return t * sigma, sigma


@kernel(FIT_ROWS)
def fit_rows(rows, result, counts):
    """As `grimshaw.fit_rows`, with this estimator."""
    y, chunks, work = room(rows.shape[1])
    for i in range(rows.shape[0]):
        n, mean, _, z_max = prepare(rows[i], y, chunks, result[i])
        counts[i] = n
        if mean > 0.0:
            z = chunks[: (n + CHUNK - 1) // CHUNK]
            xi, sigma = _zhang_stephens(z, n, z_max, work)
            finish(z, n, mean, z_max, xi, sigma, work, result[i])
