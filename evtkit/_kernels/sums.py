"""Sums over the excesses that the profile likelihood of the GPD needs, at a fraction of a nanosecond an element.

With t = ξ/σ, all of the likelihood follows from ξ(t) = mean log1p(ty), m(t) = mean 1/(1+ty) and m₂(t) = mean 1/(1+ty)².
No logarithm and no division is taken per element: 16 factors a = 1 + ty are multiplied into D, while

    N ← N·a + D,   Q ← Q·a + N     give Σ 1/a = N/D and Σ_{i<j} 1/(aᵢaⱼ) = Q/D,

so that D, N/D and (N/D)² − 2Q/D serve 16 elements at once, and one logarithm serves 128. Excesses are stored as
(chunks, 16, 8), padded with zeros where a = 1: the last axis fills a vector register, the middle one is unrolled.

Near t = 0 these sums cancel in the equation that is solved. There the product is expanded, D = 1 + tE, E = Σy + tF,
and everything is formed from E and F, whose terms are all of one order.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import bits_of, flat, number_of
from evtkit._kernels.jit import kernel
from evtkit._kernels.lanes import LANES, lanes, total

__all__ = ["CHUNK", "LANES", "ROWS", "near_zero", "sums", "sums_near_zero"]

ROWS = 16
CHUNK = ROWS * LANES
_LN2 = 0.6931471805599453
_SMALL = 32  # below this, padding would cost more than it saves, and its subtraction would cost digits

_SUMS = "UniTuple(float64, 3)(float64[:, :, ::1], intp, float64)"


@kernel(_SUMS, late=True)
def _elementwise(z, n, t):
    """ξ, m, m₂ where there are few elements, or a spans too many orders of magnitude to be multiplied."""
    logs, inverses, squares = 0.0, 0.0, 0.0
    y = flat(z)
    for i in range(n):
        a = 1.0 + t * y[i]
        inverse = 1.0 / a
        logs += math.log(a)
        inverses += inverse
        squares += inverse * inverse
    return logs / n, inverses / n, squares / n


@kernel(_SUMS, fused=True)
def _blocked(z, n, t):
    """ξ, m, m₂ where 16 factors a can be multiplied without overflow."""
    first, second, significands = lanes(), lanes(), lanes()
    logs, exponents = 0.0, np.int64(0)
    for c in range(z.shape[0]):
        for j in range(LANES):
            d, p, q = 1.0, 0.0, 0.0
            for r in range(ROWS):
                a = 1.0 + t * z[c, r, j]
                q = q * a + p
                p = p * a + d
                d = d * a
            inverse = 1.0 / d
            mean = p * inverse
            first[j] += mean
            second[j] += mean * mean - 2.0 * (q * inverse)
            # d = significand · 2^exponent by its bits, so that eight products multiply into one logarithm
            bits = bits_of(d)
            exponents += (bits >> 52) - 1023
            significands[j] = number_of((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000)
        pairs = (significands[0] * significands[1]) * (significands[2] * significands[3])
        logs += math.log(pairs * ((significands[4] * significands[5]) * (significands[6] * significands[7])))
    padding, share = z.size - n, 1.0 / n
    return (logs + exponents * _LN2) * share, (total(first) - padding) * share, (total(second) - padding) * share


@kernel("UniTuple(float64, 3)(float64[:, :, ::1], intp, float64, float64)")
def sums(z, n, z_max, t):
    """ξ(t), m(t) and m₂(t) of the n elements stored in z, of which z_max is the largest."""
    a = 1.0 + t * z_max
    if n <= _SMALL:
        return _elementwise(z, n, t)
    if 1e-18 < a < 1e18:
        return _blocked(z, n, t)
    return _elementwise(z, n, t)


@kernel("float64(float64)", inline=True)
def _log1p_rest(x):
    """(x − log1p(x))/x², by its series where it would cancel."""
    if abs(x) > 0.1:
        return (x - math.log1p(x)) / (x * x)
    total = 0.0
    for k in range(17, 1, -1):
        total = 1.0 / k - x * total
    return total


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64[:, :, ::1])", fused=True, late=True)
def sums_near_zero(z, n, t, work):
    """A = mean (y − log1p(ty)/t)/t and B = mean y²/(1+ty), exact through t = 0; work is (2, chunks, 8).

    σ(t) = ȳ − tA, and mean y/(1+ty) = ȳ − tB. Short blocks keep the terms of the expansion of one order.
    """
    a_sum, b_lanes = 0.0, lanes()
    for c in range(z.shape[0]):
        for j in range(LANES):
            d, e, f, g = 1.0, 0.0, 0.0, 0.0
            for r in range(ROWS):
                y = z[c, r, j]
                a = 1.0 + t * y
                p = y * d
                f += y * e
                g = g * a + y * p
                e += p
                d *= a
            work[0, c, j] = e
            work[1, c, j] = f
            b_lanes[j] += g / d
    for c in range(z.shape[0]):
        for j in range(0, LANES, 4):  # four blocks to one logarithm: (1 + tE)(1 + tE') = 1 + t(E + E' + tEE')
            e, f = work[0, c, j], work[1, c, j]
            for k in range(j + 1, j + 4):
                other = work[0, c, k]
                f += work[1, c, k] + e * other
                e += other + t * (e * other)
            a_sum += e * e * _log1p_rest(t * e) - f
    return a_sum / n, total(b_lanes) / n


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64)", fused=True, late=True)
def _near_zero_small(z, n, t):
    """`sums_near_zero` where the product of eight a lies within [1/2, 2]: the logarithm by a series in registers.

    With u = x/(2 + x), log1p(x) = 2(u + u³/3 + u⁵/5 + …), and |u| ≤ 1/3.
    """
    a_lanes, b_lanes = lanes(), lanes()
    half = ROWS // 2
    for c in range(z.shape[0]):
        for top in range(0, ROWS, half):
            for j in range(LANES):
                d, e, f, g = 1.0, 0.0, 0.0, 0.0
                for r in range(half):
                    y = z[c, top + r, j]
                    a = 1.0 + t * y
                    p = y * d
                    f += y * e
                    g = g * a + y * p
                    e += p
                    d *= a
                x = t * e
                share = 1.0 / (2.0 + x)
                u = x * share
                series = 0.0
                for k in range(37, 1, -2):
                    series = 1.0 / k + u * u * series
                a_lanes[j] += e * e * share * (1.0 - 2.0 * u * share * series) - f
                b_lanes[j] += g / d
    return total(a_lanes) / n, total(b_lanes) / n


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp, float64, float64, float64[:, :, ::1])")
def near_zero(z, n, z_max, t, work):
    """`sums_near_zero`, by the faster of two ways; z_max is the largest element."""
    if abs(t) * z_max < 0.083:  # 1.083⁸ < 2, and 0.917⁸ > 1/2
        return _near_zero_small(z, n, t)
    return sums_near_zero(z, n, t, work)
