"""Log-likelihoods of a GPD or GEV whose parameters are linear in covariates, with first and second derivatives.

Both laws are written by the reduced value b = log(1 + ξz)/ξ. With z = (y − μ)/σ and η = log σ,

- GPD: ℓ = −η − (1 + ξ) b, with μ = 0,
- GEV: ℓ = −η − (1 + ξ) b − exp(−b).

Every derivative follows from those of b in z and ξ, which are computed without cancellation through ξ = 0. A column of
the design belongs to μ (0), η (1) or ξ (2), as `which` says. Observations of weight 0 are passed over.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.gev import bend
from evtkit._kernels.jit import kernel

COLES_DIXON, MARTINS_STEDINGER = 1, 2
"""Priors on the shape; 0 is none."""

MODEL = "boolean, float64[::1], float64[:, ::1], int64[::1], float64[::1], float64[:, ::1], float64[::1]"
"""Whether it is a GEV, responses, design, which, weights, offsets (n, 3), and origin and unit of the responses, which
are divided by them already, while offsets are not."""

PENALTY = "int64, float64[:, ::1]"  # the prior, and P: ½ θᵀPθ is taken off


@kernel("float64(float64, float64)")
def reduced(z, xi):
    """log(1 + ξz)/ξ, inside the support."""
    u = xi * z
    if abs(u) < 1e-5:
        return z * (1.0 - u * (0.5 - u / 3.0))
    return math.log1p(u) / xi


@kernel("float64(boolean, float64, float64, float64, float64)")
def loglik(is_gev, y, mu, eta, xi):
    """Of one observation; −inf outside the support."""
    z = (y - mu) * math.exp(-eta)
    if not (xi * z > -1.0 and abs(z) < np.inf):
        return -np.inf
    b = reduced(z, xi)
    value = -eta - (1.0 + xi) * b
    if is_gev:
        value -= math.exp(-b)
    return value


@kernel("void(boolean, float64, float64, float64, float64, float64[::1])")
def terms(is_gev, y, mu, eta, xi, out):
    """Derivatives of one observation's log-likelihood: in μ, η, ξ, then μμ, μη, μξ, ηη, ηξ, ξξ (a GPD has no μ)."""
    scale = math.exp(-eta)
    z = (y - mu) * scale
    u = xi * z
    a, a1, a2 = bend(u)
    s = 1.0 + u
    b = z * a
    b_z, b_x = 1.0 / s, z * z * a1
    b_zz, b_zx, b_xx = -xi / (s * s), -z / (s * s), z * z * z * a2
    l_b, l_bb = -(1.0 + xi), 0.0
    if is_gev:
        e = math.exp(-b)
        l_b, l_bb = e + l_b, -e
    l_z = l_b * b_z
    l_zz = l_bb * b_z * b_z + l_b * b_zz
    l_zx = l_bb * b_z * b_x + l_b * b_zx - b_z  # the factor 1 + ξ of b depends on ξ too
    out[0] = -l_z * scale
    out[1] = -l_z * z - 1.0
    out[2] = l_b * b_x - b
    out[3] = l_zz * scale * scale
    out[4] = l_zz * scale * z + l_z * scale
    out[5] = -l_zx * scale
    out[6] = l_zz * z * z + l_z * z
    out[7] = -l_zx * z
    out[8] = l_bb * b_x * b_x + l_b * b_xx - 2.0 * b_x


@kernel("UniTuple(float64, 3)(int64, float64)")
def log_prior(prior, xi):
    """Log of a prior on the shape, and two derivatives.

    Coles & Dixon (1999), α = λ = 1: 1 − 1/(1 − ξ) for 0 < ξ < 1, 0 below, −∞ above. Martins & Stedinger (2000): ½ − ξ
    has a Beta(6, 9) law (their κ is −ξ), so that ξ has mean .10 and standard deviation .12.
    """
    if prior == COLES_DIXON:
        if xi <= 0.0:
            return 0.0, 0.0, 0.0
        if xi >= 1.0:
            return -np.inf, 0.0, 0.0
        rest = 1.0 / (1.0 - xi)
        return 1.0 - rest, -rest * rest, -2.0 * rest * rest * rest
    if prior == MARTINS_STEDINGER:
        low, high = 0.5 - xi, 0.5 + xi
        if low <= 0.0 or high <= 0.0:
            return -np.inf, 0.0, 0.0
        return 5.0 * math.log(low) + 8.0 * math.log(high), -5.0 / low + 8.0 / high, -5.0 / low**2 - 8.0 / high**2
    return 0.0, 0.0, 0.0


@kernel("void(float64[:, ::1], int64[::1], float64[:, ::1], float64[::1], float64[::1], intp, float64[::1])")
def predict(design, which, offsets, place, theta, i, out):
    """μ, η and ξ of observation i, in units of the responses."""
    out[0] = (offsets[i, 0] - place[0]) / place[1]
    out[1] = offsets[i, 1] - place[2]
    out[2] = offsets[i, 2]
    for k in range(theta.size):
        out[which[k]] += design[i, k] * theta[k]


@kernel(f"float64({MODEL}, {PENALTY}, float64[::1])")
def value_at(is_gev, y, design, which, weights, offsets, place, prior, ridge, theta):
    """The penalised log-likelihood; −inf where an observation lies outside the support or has ξ ≤ −1."""
    own = np.empty(3)
    total, believed, count = 0.0, 0.0, 0.0
    for i in range(y.size):
        if weights[i] == 0.0:
            continue
        predict(design, which, offsets, place, theta, i, own)
        if not own[2] > -1.0:
            return -np.inf
        total += weights[i] * loglik(is_gev, y[i], own[0], own[1], own[2])
        if prior != 0:
            believed += weights[i] * log_prior(prior, own[2])[0]
            count += weights[i]
    if prior != 0:
        total += believed / count
    if ridge.size:
        for k in range(theta.size):
            for j in range(theta.size):
                total -= 0.5 * theta[k] * ridge[k, j] * theta[j]
    return total if total == total else -np.inf


@kernel(f"void({MODEL}, {PENALTY}, float64[::1], float64[::1], float64[:, ::1])")
def derivatives_at(is_gev, y, design, which, weights, offsets, place, prior, ridge, theta, gradient, hessian):
    """Gradient and Hessian of `value_at`, where that is finite."""
    size = theta.size
    own, each = np.empty(3), np.empty(9)
    pair = np.array([[3, 4, 5], [4, 6, 7], [5, 7, 8]])
    gradient[:] = 0.0
    hessian[:] = 0.0
    count = 0.0
    for i in range(y.size):
        count += weights[i]
    for i in range(y.size):
        if weights[i] == 0.0:
            continue
        predict(design, which, offsets, place, theta, i, own)
        terms(is_gev, y[i], own[0], own[1], own[2], each)
        if prior != 0:
            _, slope, curve = log_prior(prior, own[2])
            each[2] += slope / count
            each[8] += curve / count
        for k in range(size):
            w = weights[i] * design[i, k]
            gradient[k] += w * each[which[k]]
            row = pair[which[k]]
            for j in range(k, size):
                hessian[k, j] += w * design[i, j] * each[row[which[j]]]
    for k in range(size):
        for j in range(k):
            hessian[k, j] = hessian[j, k]
    if ridge.size:
        for k in range(size):
            for j in range(size):
                gradient[k] -= ridge[k, j] * theta[j]
                hessian[k, j] -= ridge[k, j]
