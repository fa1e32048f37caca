"""Where the profile log-likelihood of the GPD has its local maxima: brackets on a grid, Newton's method inside them.

Everything here is in units in which the excesses have mean 1. q(t) is the derivative of the profile log-likelihood an
observation (see `evtkit._kernels.grimshaw`); a local maximum is a place where q falls through zero.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.jit import kernel
from evtkit._kernels.sums import near_zero, sums

CANDIDATES = 8  # local maxima that are followed up

_NEAR = 0.01  # |t| below which the sums that cancel near 0 are not used at all
_POLISH = 0.1  # |t| below which they are not trusted with the last digits


@kernel("UniTuple(float64, 2)(float64, float64, float64, float64)", inline=True)
def slope(t, xi, m, m2):
    """q/m and its derivative; q/m has q's sign, and is straighter (1/m is linear near the left end)."""
    scale = t * xi * m
    q = ((1.0 + xi) * m - 1.0) / scale
    dh = ((1.0 + xi) * m2 - m * (m + xi)) / t
    return q, (dh - q * ((xi + 1.0 - m) * m - xi * (m - m2))) / scale


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64, float64[:, :, ::1])")
def sign_of_slope(z, n, z_max, t, work):
    """A number of q's sign, and m, or 1, which is more, for a positive t near 0."""
    if abs(t) < _NEAR:
        a, b = near_zero(z, n, z_max, t, work)
        return (b - a) / (1.0 - t * a) - (1.0 - t * b), 1.0
    xi, m, _ = sums(z, n, z_max, t)
    return (1.0 + xi) * m - 1.0, m


@kernel("float64(float64)")
def right_end(z_min):
    """A t beyond which h < 0 for certain: Grimshaw's, or Jensen's with the tangent of log1p at 1 + t = 2/z_min."""
    grimshaw = 2.0 * (1.0 - z_min) / z_min / z_min
    jensen = 2.0 * (math.log(2.0 / z_min) - 1.0) / z_min + 1.0
    return min(max(min(grimshaw, jensen), 1e-3), 1e300)


@kernel("float64(float64)")
def _largest_share(z_min):
    """At least the largest value of (1 + log1p(t))/(1 + t z_min) over t > 0.

    Any tangent will do, 1 + log1p(t) ≤ log c + (1 + t)/c, for the ratio then lies between its values at 0 and ∞; they
    are equal, and the largest value, where c log c = 1/z_min − 1.
    """
    target = 1.0 / z_min - 1.0
    c = max(target, 3.0)
    for _ in range(3):
        c = max(target / math.log(c), 1.5)
    return max(math.log(c) + 1.0 / c, 1.0 / (c * z_min))


@kernel("float64(float64, float64, float64, float64)")
def _start(left, right, z_max, newton):
    """Where to start in a bracket: Newton's step from 0, or a mean of its ends on the scale on which it was laid."""
    if left < newton < right and left * right == 0.0:
        return newton
    if left > 0.0:
        return math.sqrt(left) * math.sqrt(right)
    if left == 0.0 or right == 0.0:
        return 0.5 * (left + right)
    return (math.sqrt((1.0 + left * z_max) * (1.0 + right * z_max)) - 1.0) / z_max


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64, float64, float64, float64[:, :, ::1])")
def _march(z, n, z_max, right, right_sign, best, work):
    """The first interval left of `right`, a t ≤ 0 where q has that sign, in which q falls through zero, or (nan, nan).

    ξ(t) rises and σ(t) and m(t) fall. So left of b the likelihood is at most −log σ(b) − ξ(leftmost) − 1, and the
    search ends where that is not better than `best`. Between a < b the likelihood is at most −log σ(b) − ξ(a) − 1, and
    h at most (1 + ξ(b)) m(a) − 1. Where neither rules out a better maximum, the step is shortened, to a factor of 0.7
    in v at the least: a dense search, checked against brute force, not a proof.
    """
    xi, sigma = 0.0, 1.0
    if right != 0.0:
        xi = sums(z, n, z_max, right)[0]
        sigma = xi / right
    v, v_min, ratio = 1.0 + right * z_max, 1.0 / n / n, 0.25
    lowest = sums(z, n, z_max, (0.25 * v_min - 1.0) / z_max)[0] if v > v_min else 0.0
    while v > v_min and -math.log(sigma) - lowest - 1.0 > best:
        left = (v * ratio - 1.0) / z_max
        xi_left, m, _ = sums(z, n, z_max, left)
        sign = (1.0 + xi_left) * m - 1.0 if left < -_NEAR else sign_of_slope(z, n, z_max, left, work)[0]
        if sign > 0.0 and right_sign <= 0.0:
            return left, right
        hidden = sign <= 0.0 and right_sign <= 0.0 and -math.log(sigma) - xi_left - 1.0 > best and (1.0 + xi) * m > 1.0
        if hidden and ratio < 0.6:
            ratio = math.sqrt(ratio)
            continue
        right, right_sign, xi, sigma = left, sign, xi_left, xi_left / left
        v *= ratio
        ratio = max(ratio * ratio, 0.25)
    return np.nan, np.nan


@kernel(
    "UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64, float64, float64, float64[:, :, ::1])", late=True
)
def enclose(z, n, z_max, right_end, q0, t, work):
    """A bracket around a local maximum near t, or (nan, nan) where there is none; right_end bounds it on the right."""
    if t > 0.0 and q0 > 0.0:
        return 0.0, right_end
    if sign_of_slope(z, n, z_max, t, work)[0] > 0.0:
        return t, (0.0 if t < 0.0 and q0 <= 0.0 else right_end)
    right = t
    while right > 0.5 / z_max:  # a maximum between 0 and t, where samples of many scales may have one
        left = 0.7 * right
        if sign_of_slope(z, n, z_max, left, work)[0] > 0.0:
            return left, right
        right = left
    return _march(z, n, z_max, min(t, 0.0), min(q0, 0.0) if t > 0.0 else -1.0, max(-math.log(z_max), -1.0), work)


@kernel(
    "UniTuple(float64, 3)(float64[:, :, ::1], intp, float64, float64, float64, float64, float64, float64[:, :, ::1])"
)
def solve(z, n, z_max, left, right, start, dq0, work):
    """The root of q in (left, right), q(left) > 0 > q(right): t, ξ and σ there, for excesses of mean 1."""
    t = start
    last_t, last_q = np.nan, np.nan
    for _ in range(200):
        if abs(t) < _NEAR:
            a, b = near_zero(z, n, z_max, t, work)
            sigma = 1.0 - t * a
            q = (b - a) / sigma - (1.0 - t * b)
            dq = dq0 if math.isnan(last_t) or t == last_t else (q - last_q) / (t - last_t)
            last_t, last_q = t, q
        else:
            xi, m, m2 = sums(z, n, z_max, t)
            q, dq = slope(t, xi, m, m2)
            sigma = xi / t
        if q > 0.0:
            left = t
        elif q < 0.0:
            right = t
        step = -q / dq if dq < 0.0 else np.inf
        small = max(3e-8 * min(abs(t), t + 1.0 / z_max), 1e-15)  # after such a step the error is its square
        if abs(step) <= small:
            break
        new = t + step
        if not left < new < right:
            # A geometric mean where the bracket spans magnitudes, on either side of 0.
            wide = left > 0.0 and right > 4.0 * left
            new = math.sqrt(left) * math.sqrt(right) if wide else 0.5 * (left + right)
            if new == left or new == right:  # noqa: SIM109 - a tuple would be a helper to compile
                step = 0.0
                break
        t = new
    if abs(t) < _NEAR:
        return t + step, (t + step) * (sigma - step * (b - a)), sigma - step * (b - a)
    if abs(t) < _POLISH:
        t += step
        a, b = near_zero(z, n, z_max, t, work)
        sigma = 1.0 - t * a
        step = -((b - a) / sigma - (1.0 - t * b)) / dq
        return t + step, (t + step) * (sigma - step * (b - a)), sigma - step * (b - a)
    xi += step * ((1.0 - m) / t - 0.5 * step * (1.0 - 2.0 * m + m2) / (t * t))
    t += step
    return t, xi, xi / t


@kernel("float64(float64[::1])", inline=True)
def _height(maximum):
    """The log-likelihood an observation of a maximum (t, ξ, σ)."""
    return -math.log(maximum[2]) - maximum[1] - 1.0


@kernel("intp(float64[:, :, ::1], intp, float64, float64, float64, float64, float64[:, ::1], float64[:, :, ::1])")
def maxima(z, n, z_max, z_min, q0, dq0, found, work):
    """All local maxima of the profile log-likelihood, as rows (t, ξ, σ) of `found`; returns how many."""
    count = 0
    newton = -q0 / dq0 if dq0 < 0.0 else np.nan
    best = max(-math.log(z_max), -1.0)
    left, left_sign = 0.0, q0
    right, end, share = 0.5 / z_max, right_end(z_min), _largest_share(z_min)
    while left < end and count < CANDIDATES:
        sign, m = sign_of_slope(z, n, z_max, right, work) if right < end else (-1.0, 0.0)
        if left_sign >= 0.0 and sign < 0.0:
            start = _start(left, min(right, end), z_max, newton)
            found[count, 0], found[count, 1], found[count, 2] = solve(
                z, n, z_max, left, min(right, end), start, dq0, work
            )
            best = max(best, _height(found[count]))
            count += 1
        # ξ(t) ≤ log1p(t) by Jensen, and m(t)(1 + t z_min) falls, so h(t) ≤ m(right)(1 + right z_min) share − 1
        if m * (1.0 + right * z_min) * share < 1.0 - 1e-9:
            break
        left, left_sign = right, sign
        right *= 4.0
    left, right = _march(z, n, z_max, 0.0, q0, best, work)
    while not math.isnan(left) and count < CANDIDATES:
        start = _start(left, right, z_max, newton)
        found[count, 0], found[count, 1], found[count, 2] = solve(z, n, z_max, left, right, start, dq0, work)
        best = max(best, _height(found[count]))
        count += 1
        left, right = _march(z, n, z_max, left, 1.0, best, work)
    return count
