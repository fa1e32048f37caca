"""The exact maximum-likelihood fit of the GPD over ξ ≥ −1, for any sample (after Grimshaw 1993).

Excesses are divided by their mean, so every tolerance is relative and units never change an answer. With t = ξ/σ the
likelihood profiles to one dimension, ℓ(t)/n = −log σ(t) − ξ(t) − 1 with ξ(t) = mean log1p(ty) and σ(t) = ξ(t)/t, and

    dℓ/dt / n = q(t) = h(t)/(t ξ(t)),   h(t) = (1 + ξ(t)) m(t) − 1,   m(t) = mean 1/(1+ty).

Grimshaw's h has a root at t = 0 that is usually not the answer; q has not, and q(0) = mean y²/2 − 1 is positive just
when the sample is heavier than exponential. Local maxima of ℓ are the places where q falls through zero. They are

1. bracketed on a geometric grid over (−1/y_max, t_U), on a systematic subsample where there are many excesses,
2. solved by Newton's method inside the bracket, and, near t = 0, polished with sums that do not cancel there,
3. compared with each other and with the boundary ξ = −1, σ = y_max, where ℓ = −n log y_max.

The likelihood is unbounded for ξ < −1, hence the restriction. The grid's ends are exact:

- with v = 1 + t·y_max, a stationary point has 1 + ξ = 1/m ≤ n v, and beats the boundary only if v > 2/n² or so;
- on the right h < 0 once t > 2(ȳ − y_min)/y_min² (Grimshaw 1993), and once log1p(t) < t·y_min (by Jensen on ξ).
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import bits_of, empty, flat, number_of
from evtkit._kernels.jit import kernel
from evtkit._kernels.lanes import lanes, total
from evtkit._kernels.maxima import CANDIDATES, enclose, maxima, right_end, solve
from evtkit._kernels.sums import CHUNK, LANES, ROWS, sums

OK, BOUNDARY, CONSTANT, TOO_FEW, EMPTY = 0.0, 1.0, 2.0, 3.0, 4.0  # FitStatus, as the kernels return it

_INFINITY = np.int64(0x7FF0000000000000)  # its bits
_SCAN = 512  # with more excesses than this, starting points are sought on a subsample of half as many
_ONE = (
    "UniTuple(float64, 7)"
    "(float64[::1], intp, float64[:, :, ::1], float64[:, :, ::1], float64[:, :, ::1], float64[:, ::1])"
)
_SERIES = 0.01  # |ξ/σ| below which the observed information is summed by a series,
_TERMS = 16  # of so many terms


@kernel("float64(float64[::1], intp, float64)", fused=True)
def _sum_of_shares(y, n, y_max):
    """Σ y/y_max, which overflows for no y."""
    parts, inverse, whole = lanes(), 1.0 / y_max, n // CHUNK * CHUNK
    if not 1e-300 < y_max < 1e300:
        for i in range(n):
            parts[0] += y[i] / y_max
        return parts[0]
    for start in range(0, whole, CHUNK):
        for j in range(LANES):
            part = 0.0
            for i in range(start + j, start + CHUNK, LANES):
                part += y[i] * inverse
            parts[j] += part
    for i in range(whole, n):
        parts[i % LANES] += y[i] * inverse
    return total(parts)


@kernel("float64(float64[::1], intp, float64)")
def mean_of(y, n, y_max):
    """The mean, without overflow; apart from the sum, lest the product be taken first."""
    return y_max * (_sum_of_shares(y, n, y_max) / n)


@kernel("void(float64[::1], intp, float64, float64[:, :, ::1])")
def store(y, n, mean, z):
    """y/mean into the padded chunks of z."""
    row = flat(z)
    inverse = 1.0 / mean
    safe = 1e-300 < mean < 1e300
    for i in range(n):
        row[i] = y[i] * inverse if safe else y[i] / mean
    for i in range(n, row.size):
        row[i] = 0.0


@kernel("UniTuple(float64, 2)(float64[:, :, ::1], intp)", fused=True)
def moments(z, n):
    """q and dq/dt at t = 0, from the second and third moments."""
    squares, cubes = lanes(), lanes()
    for c in range(z.shape[0]):
        for j in range(LANES):
            second, third = 0.0, 0.0
            for r in range(ROWS):
                y = z[c, r, j]
                square = y * y
                second += square
                third += square * y
            squares[j] += second
            cubes[j] += third
    second, third = total(squares) / n, total(cubes) / n
    return 0.5 * second - 1.0, second + 0.25 * second * second - third / 1.5


@kernel("UniTuple(float64, 4)(float64[:, :, ::1], intp, float64, float64)", fused=True, late=True)
def _information_near_zero(z, n, xi, sigma):
    """Means of w = (y/σ)/(1 + ξy/σ), w/(1 + ξy/σ) and w², and the curvature, where |ξ/σ| is small."""
    t = xi / sigma
    ws, over_a, squares, cubic = lanes(), lanes(), lanes(), lanes()
    for c in range(z.shape[0]):
        for k in range(ROWS):
            for j in range(LANES):
                a = 1.0 + t * z[c, k, j]
                u = z[c, k, j] / (sigma * a)
                ws[j] += u
                over_a[j] += u / a
                squares[j] += u * u
                # (2 log a − 2r − r²)/(ξw)³ by its series in r = ξw
                r, rest = xi * u, 0.0
                for i in range(_TERMS + 2, 2, -1):
                    rest = 2.0 / i + r * rest
                cubic[j] += u * u * u * rest
    w, w_over_a, w_squared, cubes = total(ws) / n, total(over_a) / n, total(squares) / n, total(cubic) / n
    return w, w_over_a, w_squared, cubes - w_squared


@kernel("UniTuple(float64, 3)(float64[:, :, ::1], intp, float64, float64, float64)", fused=True)
def _information(z, n, z_max, xi, sigma):
    """Observed information of (σ, ξ) an observation at the maximum: the entries σσ, σξ, ξξ."""
    t = xi / sigma
    if abs(t) >= _SERIES:
        _, m, m2 = sums(z, n, z_max, t)
        w = (1.0 - m) / xi
        w_over_a = (m - m2) / xi
        w_squared = (1.0 - 2.0 * m + m2) / (xi * xi)
        curvature = 2.0 * (1.0 - w) / (xi * xi) - (1.0 + 1.0 / xi) * w_squared
    else:
        w, w_over_a, w_squared, curvature = _information_near_zero(z, n, xi, sigma)
    scale = ((1.0 + xi) * (w + w_over_a) - 1.0) / (sigma * sigma)
    mixed = ((1.0 + xi) * w_squared - w) / sigma
    return scale, mixed, curvature


@kernel(
    "Tuple((intp, float64))(float64[::1], intp, float64, float64[:, :, ::1], float64[:, ::1], float64[:, :, ::1])",
    late=True,
)
def _starts(y, n, y_max, few, found, work):
    """Local maxima on a systematic subsample that keeps the largest value; their places t go into found[:, 0]."""
    size = _SCAN // 2
    sample = empty(size)
    for i in range(size):
        sample[i] = y[i * n // size]
    sample[size - 1] = y_max
    mean = mean_of(sample, size, y_max)
    store(sample, size, mean, few)
    z_max, z_min = y_max / mean, number_of(_extent(sample, size)[0]) / mean
    q0, dq0 = moments(few, size)
    return maxima(few, size, z_max, z_min, q0, dq0, found, work), mean


@kernel("boolean(float64[:, :, ::1], float64, float64)", late=True)
def _misfits(few, xi, sigma):
    """Whether far more of the subsample lie near 0 than a fit expects: there may be a scale that it has not seen."""
    size = _SCAN // 2
    y = flat(few)
    for share in (0.1, 0.01):
        count = 0
        for i in range(size):
            count += y[i] < share * sigma
        expected = size * (share if xi == 0.0 else -math.expm1(-math.log1p(xi * share) / xi))
        if count > expected + 5.0 * math.sqrt(expected) + 3.0:
            return True
    return False


@kernel("UniTuple(int64, 2)(float64[::1], intp)")
def _extent(y, n):
    """The bits of the smallest and the largest of the first n values; positive numbers order as their bits do."""
    low = high = bits_of(y[0])
    for i in range(n):
        bits = bits_of(y[i])
        low, high = min(low, bits), max(high, bits)
    return low, high


@kernel("UniTuple(float64, 4)(float64[:, ::1], intp, float64)")
def _best(found, count, z_max):
    """Status, ξ, σ and log-likelihood an observation of the best of all candidates."""
    status, xi, sigma, best = BOUNDARY, -1.0, z_max, -math.log(z_max)
    if best < -1.0:
        status, xi, sigma, best = OK, 0.0, 1.0, -1.0
    for i in range(count):
        shape, scale = found[i, 1], found[i, 2]
        value = -math.log(scale) - shape - 1.0
        if shape > -1.0 and value > best:
            status, xi, sigma, best = OK, shape, scale, value
    return status, xi, sigma, best


@kernel(_ONE)
def fit_one(y, n, chunks, few, work, found):
    """Fit the first n values of y: status, ξ, σ, log-likelihood, variances of σ/σ̂ and ξ, their covariance.

    chunks (≥ n/128, 16, 8), few (2, 16, 8), work (2, ≥ max(2, n/128), 8) and found (9, 3) are workspace.
    """
    nan = np.nan
    if n == 0:
        return EMPTY, nan, nan, nan, nan, nan, nan
    low_bits, high_bits = _extent(y, n)
    low, high = number_of(low_bits), number_of(high_bits)
    if n == 1:
        return TOO_FEW, nan, nan, nan, nan, nan, nan
    if low == high:
        return CONSTANT, -1.0, high, -n * math.log(high), nan, nan, nan
    mean = mean_of(y, n, high)
    z = chunks[: (n + CHUNK - 1) // CHUNK]
    store(y, n, mean, z)
    z_max, z_min = high / mean, low / mean
    q0, dq0 = moments(z, n)

    scale = 0.0  # of the subsample's units in the sample's, if there is one
    if n <= _SCAN or z_min < 1e-9 * z_max:  # a subsample may miss one of many scales
        count = maxima(z, n, z_max, z_min, q0, dq0, found, work)
    else:
        count, mean_few = _starts(y, n, high, few, found, work)
        scale, seen = mean / mean_few, False
        for i in range(count):
            found[i, 0] *= scale
            seen |= (found[i, 0] > 0.0) == (q0 > 0.0)
        if not seen:  # the subsample lies on the other side of the exponential
            found[count, 0] = 1.0 if q0 > 0.0 else -0.5 / z_max
            count += 1
        end = right_end(z_min)
        for i in range(count):
            start = found[i, 0]
            left, right = enclose(z, n, z_max, end, q0, start, work)
            found[i, 1], found[i, 2] = -2.0, 1.0  # nothing, unless there is a bracket
            if not math.isnan(left):
                found[i, 0], found[i, 1], found[i, 2] = solve(z, n, z_max, left, right, start, dq0, work)

    status, xi, sigma, best = _best(found, count, z_max)
    if scale > 0.0 and _misfits(few, xi, sigma * scale):
        status, xi, sigma, best = _best(found, maxima(z, n, z_max, z_min, q0, dq0, found, work), z_max)

    if status == BOUNDARY:  # σ is the largest excess itself, lest rounding put the endpoint below it
        return status, xi, high, -n * math.log(high), nan, nan, nan
    loglik = n * (best - math.log(mean))
    if xi <= -0.5:
        return status, xi, sigma * mean, loglik, nan, nan, nan
    ss, sx, xx = _information(z, n, z_max, xi, sigma)
    determinant = n * (ss * xx - sx * sx)
    return (status, xi, sigma * mean, loglik,
            xx / determinant / (sigma * sigma), ss / determinant, -sx / determinant / sigma)  # fmt: skip


@kernel("intp(float64[::1], float64[::1])", late=True)
def pack(row, out):
    """Copy the values of row that are not NaN to out; return their number, or −1 if one is not positive and finite."""
    count, valid = 0, True
    for i in range(row.size):
        value = row[i]
        out[count] = value
        present = not math.isnan(value)
        count += present
        valid &= (not present) or 0.0 < value < np.inf
    return count if valid else -1


@kernel("void(float64[:, ::1], float64[:, ::1], int64[::1])")
def fit_rows(rows, result, counts):
    """Fit every row (NaN is padding); results as of `fit_one`, status −1 for invalid values, and the numbers used."""
    width = rows.shape[1]
    deep = max(2, (width + CHUNK - 1) // CHUNK)
    chunks, work = empty((deep, ROWS, LANES)), empty((2, deep, LANES))
    few, found = empty((2, ROWS, LANES)), empty((CANDIDATES + 1, 3))
    y = empty(width + 1)
    for i in range(rows.shape[0]):
        excesses, n = rows[i], width
        low, high = _extent(excesses, n) if n else (0, 0)
        if low <= 0 or high >= _INFINITY:  # something is not positive and finite; NaN is neither
            excesses, n = y, pack(rows[i], y)
        counts[i] = n
        if n < 0:
            result[i, 0] = -1.0
            continue
        fit = fit_one(excesses, n, chunks, few, work, found)
        for k in range(7):
            result[i, k] = fit[k]
