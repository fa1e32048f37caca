"""Newton's method to the maximum of a likelihood with covariates, one channel after another.

Columns of each design are orthonormal, so that neither the scale of a covariate nor what it is added to makes a
difference. Where the Hessian is not negative definite, as much of its diagonal is taken off as makes it so (Levenberg
1944; Marquardt 1963). A step is halved until it stays inside the support and gains what its slope promises.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.jit import kernel
from evtkit._kernels.regression import PENALTY, derivatives_at, value_at

_STEPS = 200
_HALVINGS = 60
_SHIFTS = 60
_LEAST_SHIFT = 1e-3
_ENOUGH = 1e-4  # of the gain that a step's slope promises
_ROUNDING = 1e-14  # of a log-likelihood
_SINGULAR = 1e-13  # a pivot, relative to the diagonal
_SHARED = "float64[:, ::1], int64[::1], float64[::1], float64[:, ::1], float64[:, ::1]"
_CALL = f"boolean, float64[:, ::1], {_SHARED}, {PENALTY}, float64[:, ::1]"


@kernel("boolean(float64[:, ::1], float64, float64[:, ::1])")
def _factor(hessian, shift, lower):
    """The Cholesky factor of −H + shift · |diagonal|, and whether there is one."""
    size = lower.shape[0]
    largest = 0.0
    for k in range(size):
        largest = max(largest, abs(hessian[k, k]))
    for k in range(size):
        own = max(abs(hessian[k, k]), 1e-12 * largest)
        for j in range(k + 1):
            total = -hessian[k, j]
            if j == k:
                total += shift * own
            for i in range(j):
                total -= lower[k, i] * lower[j, i]
            if j < k:
                lower[k, j] = total / lower[j, j]
            elif total > _SINGULAR * own:
                lower[k, k] = math.sqrt(total)
            else:
                return False
    return True


@kernel("void(float64[:, ::1], float64[::1], float64[::1])")
def _solve(lower, right, out):
    """x of L Lᵀ x = right."""
    size = right.size
    for k in range(size):
        total = right[k]
        for j in range(k):
            total -= lower[k, j] * out[j]
        out[k] = total / lower[k, k]
    for k in range(size - 1, -1, -1):
        total = out[k]
        for j in range(k + 1, size):
            total -= lower[j, k] * out[j]
        out[k] = total / lower[k, k]


@kernel(f"void({_CALL}, float64[::1], boolean[::1])")
def climb(is_gev, y, design, which, weights, offsets, places, prior, ridge, theta, value, converged):
    """Climb from theta (channels, coefficients), which becomes where it ends; say whether the gradient vanishes there.

    Where a start lies outside the support nothing is done, and the value is −inf.
    """
    n, size = y.shape[1], theta.shape[1]
    gradient, direction, new = np.empty(size), np.empty(size), np.empty(size)
    hessian, lower = np.empty((size, size)), np.empty((size, size))
    for c in range(y.shape[0]):
        now = value_at(is_gev, y[c], design, which, weights, offsets, places[c], prior, ridge, theta[c])
        converged[c] = False
        for _ in range(_STEPS):
            if now == -np.inf:
                break
            derivatives_at(
                is_gev, y[c], design, which, weights, offsets, places[c], prior, ridge, theta[c], gradient, hessian
            )
            shift = 0.0
            for _ in range(_SHIFTS):
                if _factor(hessian, shift, lower):
                    break
                shift = max(_LEAST_SHIFT, 4.0 * shift)
            _solve(lower, gradient, direction)
            promise = 0.0
            for k in range(size):
                promise += gradient[k] * direction[k]
            length, gained, found = 1.0, False, now
            for _ in range(_HALVINGS):
                for k in range(size):
                    new[k] = theta[c, k] + length * direction[k]
                found = value_at(is_gev, y[c], design, which, weights, offsets, places[c], prior, ridge, new)
                # near the maximum a step gains less than the value can show
                if found >= now + _ENOUGH * length * promise - _ROUNDING * (1.0 + abs(now)) and found < np.inf:
                    gained = True
                    break
                length *= 0.5
            done = promise <= 1e-22 * (1.0 + abs(now)) * n
            if gained:
                now = found
                theta[c] = new
            if done or not gained:
                # a slope that no step can follow is rounding
                converged[c] = shift == 0.0 and (done or promise < 1e-9 * (1.0 + abs(now)))
                break
        value[c] = now


@kernel(f"void({_CALL}, float64[::1])")
def values(is_gev, y, design, which, weights, offsets, places, prior, ridge, theta, out):
    """What is maximised, at each theta (draws, coefficients); of its own channel, or all of the only one."""
    for d in range(theta.shape[0]):
        c = d if y.shape[0] > 1 else 0
        out[d] = value_at(is_gev, y[c], design, which, weights, offsets, places[c], prior, ridge, theta[d])


@kernel(f"void({_CALL}, float64[:, ::1], float64[:, :, ::1])")
def derivatives(is_gev, y, design, which, weights, offsets, places, prior, ridge, theta, gradient, hessian):
    """Gradient and Hessian of `values` at each theta."""
    for d in range(theta.shape[0]):
        c = d if y.shape[0] > 1 else 0
        derivatives_at(
            is_gev, y[c], design, which, weights, offsets, places[c], prior, ridge, theta[d], gradient[d], hessian[d]
        )
