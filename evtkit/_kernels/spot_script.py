"""What the published SPOT and POT-saliency scripts compute, two mistakes included, for comparison and nothing else.

The scripts of Siffer et al. (2017), and of the parameter-saliency code that follows them (Wang & Sato 2023), look for
the roots of Grimshaw's h (see `evtkit._kernels.grimshaw`) in two brackets,

    (−1/y_max, 0)    and    [2(ȳ − y_min)/(ȳ y_min), 2(ȳ − y_min)/y_min²],

and compare them with the exponential by log-likelihood. Both steps are wrong:

- Grimshaw's right bracket starts at 0; theirs leaves out nearly every root of a heavy tail;
- the exponential's log-likelihood is −n(1 + log ȳ); theirs is n(1 + log ȳ), so that the exponential wins whenever
  ȳ > 1/e, and the answer depends on the units of the data.

Here the brackets and the comparison are theirs and the roots are exact. Their root search, a local minimisation of h²,
often stops short of the trivial root t = 0, with a ξ of some −0.001 where this module says 0.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.frame import FIT_ROWS, prepare, room
from evtkit._kernels.grimshaw import OK, moments
from evtkit._kernels.jit import kernel
from evtkit._kernels.likelihood import mean_log, mean_loglik
from evtkit._kernels.maxima import right_end, sign_of_slope
from evtkit._kernels.sums import CHUNK

_STEPS = 48  # halvings towards either end of the left bracket


@kernel("float64(float64[:, :, ::1], intp, float64, float64, float64, float64, float64[:, :, ::1])")
def _bisect(z, n, z_max, left, right, left_sign, work):
    """The t in [left, right] where h changes its sign, to the last bit."""
    while True:
        t = 0.5 * (left + right)
        if t in (left, right):
            return t
        if (sign_of_slope(z, n, z_max, t, work)[0] > 0.0) == (left_sign > 0.0):
            left = t
        else:
            right = t


@kernel("UniTuple(float64, 3)(float64[:, :, ::1], intp, float64, float64, float64[:, :, ::1])")
def _best_root(z, n, z_max, z_min, work):
    """ξ, σ and log-likelihood an observation of the likeliest root in the two brackets; −inf where there is none."""
    best, best_xi, best_sigma = -np.inf, np.nan, np.nan
    q0 = moments(z, n)[0]
    start = 2.0 * (1.0 - z_min) / z_min
    end = min(start / z_min, right_end(z_min))
    for side in range(2):
        left = (2.0**-_STEPS - 1.0) / z_max if side == 0 else start
        if side == 1 and not left < end:
            break
        left_sign = sign_of_slope(z, n, z_max, left, work)[0]
        k = 1
        while left < 0.0 if side == 0 else left < end:
            if side == 1:
                right = min(2.0 * left, end)
            elif k < _STEPS:
                right = (2.0 ** (k - _STEPS) - 1.0) / z_max
            else:
                right = -(2.0 ** (_STEPS - 1 - k)) / z_max if k < 2 * _STEPS else 0.0
            right_sign = q0 if right == 0.0 else sign_of_slope(z, n, z_max, right, work)[0]
            if (left_sign > 0.0) != (right_sign > 0.0):
                t = _bisect(z, n, z_max, left, right, left_sign, work)
                sigma = mean_log(z, n, z_max, t, work)
                value = mean_loglik(z, n, z_max, t * sigma, sigma, work)
                if value > best:
                    best, best_xi, best_sigma = value, t * sigma, sigma
            left, left_sign = right, right_sign
            k += 1
    return best_xi, best_sigma, best


@kernel(FIT_ROWS)
def fit_rows(rows, result, counts):
    """As `grimshaw.fit_rows`; the log-likelihood is the true one of the estimates."""
    y, chunks, work = room(rows.shape[1])
    for i in range(rows.shape[0]):
        n, mean, z_min, z_max = prepare(rows[i], y, chunks, result[i])
        counts[i] = n
        if mean > 0.0:
            xi, sigma, value = _best_root(chunks[: (n + CHUNK - 1) // CHUNK], n, z_max, z_min, work)
            if not value - math.log(mean) > 1.0 + math.log(mean):  # the sign is theirs
                xi, sigma, value = 0.0, 1.0, -1.0
            result[i, 0], result[i, 1], result[i, 2] = OK, xi, sigma * mean
            result[i, 3] = n * (value - math.log(mean))
