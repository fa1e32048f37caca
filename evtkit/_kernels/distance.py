"""How far ordered excesses lie from a GPD: Cramér–von Mises W² and Anderson–Darling A² (see `evtkit.gof`)."""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.jit import kernel
from evtkit._kernels.regression import reduced


@kernel("UniTuple(float64, 2)(float64[::1], float64, float64)")
def distances(y, xi, sigma):
    """W² and A² of excesses in ascending order, up to the first NaN; NaN where ξ is."""
    if xi != xi:
        return np.nan, np.nan
    n = 0
    while n < y.size and y[n] == y[n]:
        n += 1
    size = max(n, 1)
    w2, a2 = 1.0 / (12.0 * size), -1.0 * n
    for i in range(n):
        place = (i + 0.5) / size
        z = y[i] / sigma
        log_survival = -reduced(z, xi) if xi * z > -1.0 else -np.inf
        u = -math.expm1(log_survival)
        w2 += (u - place) ** 2
        # log(1 − u) of the i-th largest has the weight (2i − 1)/n, that of the i-th smallest 2 − (2i − 1)/n
        a2 -= 2.0 * place * math.log(u) + 2.0 * (1.0 - place) * log_survival
    return w2, a2


@kernel("void(float64[:, ::1], float64[::1], float64[::1], float64[::1], float64[::1])")
def distances_of_rows(rows, xi, sigma, w2, a2):
    """W² and A² of every row."""
    for r in range(rows.shape[0]):
        w2[r], a2[r] = distances(rows[r], xi[r], sigma[r])
