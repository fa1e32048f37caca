"""The exact maximum-likelihood fit of the GEV over ξ ≥ −1: a likelihood of one variable, searched for its local maxima.

Let z be the maxima less their median, t = ξ/σ₀ with σ₀ the scale that belongs to the median, and y = log1p(tz)/t. If z
follows a GEV, y follows a Gumbel distribution with scale σ₀, and for every t the two parameters of that are the root of
one increasing function. What is left is a function of t alone, on (−1/z_max, −1/z_min),

    ℓ(t)/n = log λ − λ (ȳ − a) − 1 − t ȳ,      λ = 1/σ₀ = t/ξ,      a the Gumbel's location,
    dℓ/dt / n = q(t) = mean(−y′ (λ (1 − E) + t) − y),      y′ = dy/dt,      E = exp(−λ (y − a)),

neither of which cancels at t = 0. The estimator is the highest local maximum: a place where q falls through zero, found
between two points of a grid that is geometric in the distance from either end. It competes with ξ = −1 at the largest
value as the endpoint, where ℓ = −n (log mean(z_max − z) + 1): below −1 the likelihood is unbounded. It is unbounded too
as t → −1/z_min, where the endpoint is the smallest value and ξ → ∞; no sample says that, and it is no local maximum.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.bits import assign
from evtkit._kernels.jit import kernel

OK, BOUNDARY, CONSTANT, TOO_FEW, EMPTY, NO_SOLUTION = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0  # FitStatus

_FEWEST = 3
_RATIO, _FAR, _WIDER = 0.6, 0.05, 0.35  # from one point of the grid to the next, and beyond which distance
_STRIDE = 4.0
_NEAREST = 1e-10  # to an end, relative to the distance of t = 0 from it
_SERIES = 0.03  # |tz| below which log1p(w)/w is differentiated by its series,
_TERMS = 12  # of so many terms
_SCAN = 200  # with more maxima than this, the grid is evaluated for half as many of them
_STEPS = 60  # at the most, of any iteration
_EDGE = -1.0  # the least shape
_ROUGH, _EXACT = 1e-3, 1e-8  # relative steps of λ; the next one would be about its square


@kernel("UniTuple(float64, 3)(float64)")
def bend(w):
    """log1p(w)/w with its first two derivatives."""
    if abs(w) < _SERIES:
        value, first, second = 0.0, 0.0, 0.0
        for k in range(_TERMS, -1, -1):  # the k-th coefficient is (−1)^k/(k + 1)
            c = (1.0 if k % 2 == 0 else -1.0) / (k + 1.0)
            value = value * w + c
            if k >= 1:
                first = first * w + k * c
            if k >= 2:
                second = second * w + k * (k - 1.0) * c
        return value, first, second
    value = math.log1p(w) / w
    inverse = 1.0 / (1.0 + w)
    first = (inverse - value) / w
    return value, first, (-inverse * inverse - 2.0 * first) / w


@kernel("void(float64[::1], intp, float64, float64[:, ::1])")
def _gumbel(z, n, t, work):
    """log1p(tz)/t of the first n of z into the first row of the workspace."""
    y = work[0]
    if t == 0.0:
        assign(y[:n], z[:n])
        return
    inverse = 1.0 / t
    for i in range(n):
        y[i] = math.log1p(t * z[i]) * inverse


@kernel("UniTuple(float64, 3)(float64[::1], intp, float64, float64, float64, float64[:, ::1])")
def _profile(z, n, t, start, exactness, work):
    """q(t), λ and ℓ(t)/n for the first n of z, ascending; λ is sought from a start, to a relative exactness."""
    y, e = work[0], work[1]
    _gumbel(z, n, t, work)
    mean, low = 0.0, y[0]
    for i in range(n):
        mean += y[i]
    mean /= n
    gap, rate, step, below, above = mean - low, start, 0.0, 0.0, np.inf
    for _ in range(_STEPS):  # λ (ȳ − weighted mean) increases from 0 without end, and is to be 1
        weight, first, second = 0.0, 0.0, 0.0
        for i in range(n):
            d = y[i] - low
            e[i] = math.exp(-rate * d)
            weight += e[i]
            first += d * e[i]
            second += d * d * e[i]
        first, second = first / weight, second / weight
        error = math.log(rate * (gap - first))
        if error > 0.0:
            above = rate
        else:
            below = rate
        new = rate * math.exp(-error / (1.0 + rate * (second - first * first) / (gap - first)))
        step = new - rate
        if abs(step) <= exactness * rate:  # before the bracket, whose ends are no better than rounding
            rate = new
            break
        if not below < new < above:
            new = 0.5 * (below + above) if above < np.inf else 2.0 * rate
        step, rate = new - rate, new
    weight = 0.0
    for i in range(n):
        e[i] -= e[i] * step * (y[i] - low)
        weight += e[i]
    weight /= n
    q, scaled = 0.0, rate / weight
    for i in range(n):
        w = t * z[i]
        by_t = (z[i] / (1.0 + w) - y[i]) / t if abs(w) > _SERIES else z[i] * z[i] * bend(w)[1]
        q -= by_t * (rate - scaled * e[i] + t) + y[i]
    return q / n, rate, math.log(rate) - rate * gap - math.log(weight) - 1.0 - t * mean


@kernel("UniTuple(float64, 3)(float64[::1], intp, float64[::1], float64[:, ::1])")
def _root(z, n, bracket, work):
    """Where q falls through zero in a bracket, with λ and ℓ/n there (Chandrupatla 1997)."""
    left, right, at_left, at_right, rate = bracket
    a, b, c = right, left, right
    fa, fb, fc = at_right, at_left, at_right
    share, value = 0.5, -np.inf
    best, lowest, best_rate = left, np.inf, rate
    for _ in range(_STEPS):
        t = a + share * (b - a)
        f, rate, now = _profile(z, n, t, rate, _EXACT, work)
        if abs(f) < lowest:
            best, lowest, best_rate, value = t, abs(f), rate, now
        if (f > 0.0) == (fa > 0.0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = t, f
        least = min(abs(fa), abs(fb))
        nearest = a if abs(fa) < abs(fb) else b
        room = 2.3e-16 * abs(nearest) / abs(b - a) if b != a else 1.0
        if room > 0.25 or least == 0.0:
            break
        share = 0.5
        x, p = (a - b) / (c - b), (fa - fb) / (fc - fb)
        if p * p < x and (1.0 - p) * (1.0 - p) < 1.0 - x:  # inverse quadratic interpolation is safe
            share = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        share = min(max(share, room), 1.0 - room)
    return best, best_rate, value


@kernel(
    "Tuple((intp, float64))(float64[::1], intp, float64, float64, float64, float64, float64[:, ::1], intp, "
    "float64[:, ::1])"
)
def _walk(z, n, end, inner, q, rate, found, count, work):
    """Walk over a grid from t = 0, where q and λ are known, to an end; brackets of local maxima on the way.

    It is geometric in t from half of inner on, where values of many scales may have maxima between, and in the distance
    from the end from there on. Returns the number of brackets in found, and q at the last point.
    """
    t, ahead, distance = 0.0, math.copysign(0.5 * inner, end), 1.0
    while distance > _NEAREST:
        if abs(ahead) < 0.2 * abs(end):
            new = ahead
            ahead *= _STRIDE
        else:
            distance *= _RATIO if distance > _FAR else _WIDER
            new = end * (1.0 - distance)
        f, rate, _ = _profile(z, n, new, rate, _ROUGH, work)
        falls = f > 0.0 > q if end < 0.0 else q > 0.0 > f
        if falls and count < found.shape[0]:
            row = found[count]
            row[0], row[1], row[4] = min(t, new), max(t, new), rate
            count += 1
        t, q = new, f
        if new / rate <= _EDGE:
            break
    return count, q


@kernel("Tuple((intp, float64))(float64[::1], intp, float64[:, ::1], float64[:, ::1])")
def _brackets(z, n, found, work):
    """Brackets of local maxima, (left, right, q left, q right, λ), how many, and q where ξ has fallen to −1."""
    low, high, square = -z[0], z[n - 1], 0.0
    for i in range(n):
        square += z[i] * z[i]
    q, rate, _ = _profile(z, n, 0.0, 1.28 / math.sqrt(square / n), _ROUGH, work)
    count, at_edge = _walk(z, n, -1.0 / high, 1.0 / low, q, rate, found, 0, work)
    count, _ = _walk(z, n, 1.0 / low, 1.0 / high, q, rate, found, count, work)
    return count, at_edge


@kernel("boolean(float64[::1], intp, float64[::1], float64[:, ::1])")
def _enclose(z, n, bracket, work):
    """Widen the bracket of a subsample, or of rough values, until it is one of the sample; False if none is near."""
    low, high = z[0], z[n - 1]
    rate, width = bracket[4], bracket[1] - bracket[0]
    for side in range(2):
        for _ in range(_STEPS):
            q, rate, _ = _profile(z, n, bracket[side], rate, _EXACT, work)
            bracket[2 + side] = q
            if (q > 0.0) == (side == 0) and q != 0.0:
                break
            bracket[1 - side] = bracket[side]
            t = bracket[side] - width if side == 0 else bracket[side] + width
            if not (1.0 + t * high > 0.0 and 1.0 + t * low > 0.0):
                end = -1.0 / high if side == 0 else -1.0 / low
                t = 0.5 * (bracket[side] + end)
            bracket[side] = t
            width *= 2.0
    bracket[4] = rate
    return bracket[2] > 0.0 > bracket[3]


@kernel("void(float64[::1], intp, float64, float64, float64, float64[:, ::1])")
def _information(z, n, xi, mu, sigma, out):
    """Observed information of (ξ, μ, σ)."""
    out[:] = 0.0
    for i in range(n):
        s = (z[i] - mu) / sigma
        value, first, second = bend(xi * s)
        g, by_xi, by_xi_xi = s * value, s * s * first, s * s * s * second
        by_s = 1.0 / (1.0 + xi * s)
        tail = math.exp(-g)
        by_g = tail - 1.0 - xi
        xx = -tail * by_xi * by_xi + by_g * by_xi_xi - 2.0 * by_xi
        xs = -tail * by_xi * by_s - by_g * s * by_s * by_s - by_s
        ss = -tail * by_s * by_s - by_g * xi * by_s * by_s
        slope = by_g * by_s
        out[0, 0] -= xx
        out[0, 1] += xs / sigma
        out[0, 2] += xs * s / sigma
        out[1, 1] -= ss / (sigma * sigma)
        out[1, 2] -= (ss * s + slope) / (sigma * sigma)
        out[2, 2] -= (ss * s * s + 2.0 * s * slope + 1.0) / (sigma * sigma)
    out[1, 0], out[2, 0], out[2, 1] = out[0, 1], out[0, 2], out[1, 2]


@kernel("void(float64[:, ::1], float64[:, ::1])")
def _invert(a, out):
    """The inverse of a symmetric 3 × 3 matrix by its cofactors; NaN if it is not positive definite."""
    for i in range(3):
        for j in range(3):
            p, q, r, s = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
            out[j, i] = a[p, r] * a[q, s] - a[p, s] * a[q, r]
    determinant = a[0, 0] * out[0, 0] + a[0, 1] * out[1, 0] + a[0, 2] * out[2, 0]
    if a[0, 0] > 0.0 and out[2, 2] > 0.0 and determinant > 0.0:
        for i in range(3):
            for j in range(3):
                out[i, j] /= determinant
    else:
        out[:] = np.nan


@kernel("UniTuple(float64, 5)(float64[::1], intp, float64[:, ::1], float64[:, ::1])")
def _fit_standard(z, n, found, work):
    """Status, ξ, μ, σ and ℓ for ascending z that are not all equal, of about unit size around 0."""
    if n > _SCAN:
        size, some = _SCAN // 2, work[2]
        for i in range(size):
            some[i] = z[i * (n - 1) // (size - 1)]
        count, rises = _brackets(some, size, found, work)
    else:
        count, rises = _brackets(z, n, found, work)
    status, xi, mu, sigma, best = NO_SOLUTION, np.nan, np.nan, np.nan, -np.inf
    y = work[0]
    for k in range(count):
        if not _enclose(z, n, found[k], work):
            continue
        t, rate, value = _root(z, n, found[k], work)
        if t / rate <= _EDGE or not value > best:
            continue
        _gumbel(z, n, t, work)
        weight = 0.0
        for i in range(n):
            weight += math.exp(-rate * (y[i] - y[0]))
        place = y[0] - math.log(weight / n) / rate
        grown = t * place
        status, xi, best = OK, t / rate, value
        mu = place * (math.expm1(grown) / grown if grown != 0.0 else 1.0)
        sigma = math.exp(grown) / rate
    mean = 0.0
    for i in range(n):
        mean += z[n - 1] - z[i]
    mean /= n
    at_edge = -math.log(mean) - 1.0
    if (status == OK and at_edge >= best) or (status != OK and rises < 0.0):
        return BOUNDARY, -1.0, z[n - 1] - mean, mean, n * at_edge
    return status, xi, mu, sigma, n * best


@kernel("void(float64[:, ::1], float64[:, ::1], float64[:, :, ::1], int64[::1])")
def fit_rows(rows, result, covariance, counts):
    """Fit every row (NaN is padding, which is moved to its end): status, ξ, μ, σ and ℓ; the covariance; the numbers.

    A row is centred at its median and divided by a power of two, so that units cost no digits.
    """
    width = rows.shape[1]
    work, found, information = np.empty((3, max(width, _SCAN))), np.empty((8, 5)), np.empty((3, 3))
    for c in range(rows.shape[0]):
        row = np.sort(rows[c])  # NaN last
        n = width
        while n > 0 and math.isnan(row[n - 1]):
            n -= 1
        counts[c] = n
        result[c] = np.nan
        covariance[c] = np.nan
        if n < _FEWEST:
            result[c, 0] = TOO_FEW if n else EMPTY
            continue
        if row[0] == row[n - 1]:
            result[c, 0] = CONSTANT
            continue
        largest = max(abs(row[0]), abs(row[n - 1]))
        shrink = -8 if largest > 1e300 else 0  # lest a difference overflow
        centre = math.ldexp(row[n // 2], shrink)
        spread = 0.0
        for i in range(n):
            row[i] = math.ldexp(row[i], shrink) - centre
            spread = max(spread, abs(row[i]))
        offset, total = 0.0, 0.0
        if row[0] == 0.0 or row[n - 1] == 0.0:  # half of the values are equal: t needs both signs
            offset = 0.5 * (row[0] + row[n - 1])
        for i in range(n):
            row[i] -= offset
            total += abs(row[i] / spread)
        power = math.frexp(spread * (total / n))[1]
        for i in range(n):
            row[i] = math.ldexp(row[i], -power)
        status, xi, mu, sigma, loglik = _fit_standard(row, n, found, work)
        result[c, 0] = status
        if status > BOUNDARY:
            continue
        result[c, 1] = xi
        result[c, 2] = math.ldexp((math.ldexp(mu, power) + offset) + centre, -shrink)
        result[c, 3] = math.ldexp(sigma, power - shrink)
        result[c, 4] = loglik - n * (power - shrink) * math.log(2.0)
        if xi <= -0.5:
            continue
        _information(row, n, xi, mu, sigma, information)
        _invert(information, covariance[c])
        for i in range(3):
            for j in range(3):
                covariance[c, i, j] = math.ldexp(covariance[c, i, j], (power - shrink) * ((i > 0) + (j > 0)))
