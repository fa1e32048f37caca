"""One likelihood for block maxima, r largest values a block and exceedances of a threshold: its maximum, and limits.

Let z be the values less some centre, t = ξ/σ₀ with σ₀ the scale that belongs to the centre, and y = log1p(tz)/t. If z
are extremes of a GEV, y are those of a Gumbel distribution: points of a Poisson process with mean exp(c − λy) beyond y
in every block. With N points z_k, and exposures e_j (weight v_j) beyond which a block would have shown a point,

    ℓ = N log λ − (t + λ) Σ y_k + N c − Σ v_j exp(c − λ y(e_j)).

Block maxima expose what is beyond each of them; r largest values what is beyond the least of each block (Coles 2001,
equation 3.15); a threshold u what is beyond u, in so many blocks (equation 7.9). For a given t the likelihood is
concave in (λ, c), and c is known: N = e^c Σ v exp(−λ y). Every quantity of the fit is a function of (t, λ, c), with
ξ = t/λ and the Gumbel quantile (c + g)/λ. Where the likelihood is above a bar c lies, for given t and λ, in an interval
with explicit ends (see `evtkit._kernels.profile_limits`), λ in an interval, and t in stretches that a scan finds.

As t → −1/z_min, where the endpoint is the least value and ξ → ∞, the likelihood grows without bound. That is no answer,
and stretches that reach this corner are left out, unless the maximum itself lies on one: then there is no upper limit.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.gev import bend
from evtkit._kernels.jit import kernel
from evtkit._kernels.profile_limits import stretch

XI, MU, SIGMA, LEVEL, REDUCED, ENDPOINT = 0, 1, 2, 3, 4, 5
OK, BOUNDARY, NO_SOLUTION = 0.0, 1.0, 5.0  # FitStatus

_END = 32.0  # of log((1 + t z_max)/(1 + t z_min)), to either side
_STEP = 0.4
_SCANNED = 600
_OUTER, _INNER = 25, 9  # nodes
_GOLDEN = 0.6180339887498949
_STEPS = 60
_DATA = "float64[::1], float64[::1], float64[::1]"  # points, exposures, weights


@kernel("float64(float64, float64, float64)")
def _slope_of(place, low, high):
    """t, from where it lies between −1/z_max and −1/z_min."""
    grown = math.expm1(place)
    return grown / (high - (grown + 1.0) * low)


@kernel("float64(float64, float64)")
def _gumbel(t, z):
    return math.log1p(t * z) / t if t != 0.0 else z


@kernel(f"float64({_DATA}, float64, float64[::1])")
def _transform(points, exposures, weights, t, y):
    """Σ y of the points; y of the exposures goes to y."""
    total = 0.0
    for k in range(points.size):
        total += _gumbel(t, points[k])
    for j in range(exposures.size):
        y[j] = _gumbel(t, exposures[j])
    return total


@kernel("UniTuple(float64, 3)(float64[::1], float64[::1], float64)")
def _exposed(y, weights, rate):
    """log Σ v exp(−λy), and the mean and variance of y with these weights."""
    low = y[0]
    for j in range(y.size):
        low = min(low, y[j])
    total, first, second = 0.0, 0.0, 0.0
    for j in range(y.size):
        d = y[j] - low
        e = weights[j] * math.exp(-rate * d)
        total += e
        first += d * e
        second += d * d * e
    first, second = first / total, second / total
    return math.log(total) - rate * low, low + first, second - first * first


@kernel("UniTuple(float64, 2)(float64[::1], float64[::1], float64, float64, float64, float64)")
def _height(y, weights, n, total, t, rate):
    """ℓ at the best c, and that c."""
    exposed = _exposed(y, weights, rate)[0]
    c = math.log(n) - exposed
    return n * math.log(rate) - (t + rate) * total + n * c - n, c


@kernel("float64(float64[::1], float64[::1], float64, float64, float64, float64)")
def _best_rate(y, weights, n, total, t, start):
    """The λ of the highest ℓ for this t, where λ (ȳ − weighted mean) = 1; not below −t, where ξ = −1."""
    rate, below, above = start, 0.0, np.inf
    for _ in range(_STEPS):
        _, mean, variance = _exposed(y, weights, rate)
        gap = total / n - mean
        if not gap > 0.0:  # rounding
            below = rate
            rate *= 4.0
            continue
        error = math.log(rate * gap)
        if error > 0.0:
            above = rate
        else:
            below = rate
        new = rate * math.exp(-error / (1.0 + rate * variance / gap))
        if abs(new - rate) <= 1e-13 * rate:
            rate = new
            break
        if not below < new < above:
            new = 0.5 * (below + above) if above < np.inf else 2.0 * rate
        rate = new
    return max(rate, -t)


@kernel("float64(float64[::1], float64[::1], float64, float64, float64, float64, float64, float64, float64)")
def _rate_limit(y, weights, n, total, t, best, top, bar, side):
    """The λ on one side (−1 or 1) of the best where ℓ has fallen to the bar."""
    inside, outside = math.log(best), math.log(best)
    f_in, f_out = top - bar, top - bar
    step = 1.2 * math.sqrt(max(top - bar, 1e-12) / n)
    least = math.log(-t) if t < 0.0 else -np.inf
    for _ in range(_STEPS):
        outside = inside + side * step
        if side < 0.0 and outside <= least:
            outside = least
        f_out = _height(y, weights, n, total, t, math.exp(outside))[0] - bar
        if f_out <= 0.0:
            break
        if outside == least:
            return -t
        inside, f_in = outside, f_out
        step *= 2.0
    last = 0
    for _ in range(_STEPS):
        if abs(outside - inside) <= 1e-13 or f_in <= 1e-14 * n:
            break
        share = min(max(f_in / (f_in - f_out), 1e-6), 1.0 - 1e-6)
        new = inside + share * (outside - inside)
        f = _height(y, weights, n, total, t, math.exp(new))[0] - bar
        if f >= 0.0:
            inside, f_in = new, f
            if last == 1:
                f_out *= 0.5
            last = 1
        else:
            outside, f_out = new, f
            if last == -1:
                f_in *= 0.5
            last = -1
    return math.exp(inside)


@kernel("float64(intp, float64, float64, float64, float64)")
def _quantity(kind, at, t, rate, c):
    """A quantity, in the units of z; `at` is the reduced variate of a level, or the level of a reduced variate."""
    if kind == XI:
        return max(t / rate, -1.0)
    if kind == ENDPOINT:
        return -1.0 / t if t < 0.0 else np.inf
    if kind == SIGMA:
        return math.exp(t * c / rate) / rate
    if kind == REDUCED:
        if t * at <= -1.0:
            return np.inf if t < 0.0 else -np.inf
        return rate * _gumbel(t, at) - c
    place = (c + (at if kind == LEVEL else 0.0)) / rate
    grown = t * place
    return place * (math.expm1(grown) / grown if grown != 0.0 else 1.0)


@kernel("float64(float64[::1], float64[::1], float64, float64, float64, float64, float64, intp, float64, intp)")
def _at(y, weights, n, total, t, rate, bar, kind, at, side):
    """The signed quantity at the end of c, for a λ."""
    height, c = _height(y, weights, n, total, t, rate)
    low, high = stretch(max(height - bar, 0.0) / n)
    upwards = kind != REDUCED and not (kind == SIGMA and t < 0.0)
    value = _quantity(kind, at, t, rate, c + (high if upwards == (side == 1) else low))
    return value if side == 1 else -value


@kernel(f"float64({_DATA}, float64, float64, intp, float64, intp, float64[::1])")
def _extreme(points, exposures, weights, t, bar, kind, at, side, y):
    """The largest signed quantity for this t where ℓ is above the bar; −inf where it never is."""
    n = float(points.size)
    total = _transform(points, exposures, weights, t, y)
    best = _best_rate(y, weights, n, total, t, 1.0)
    top = _height(y, weights, n, total, t, best)[0]
    if top < bar:
        return -np.inf
    if kind == ENDPOINT:
        return _at(y, weights, n, total, t, best, bar, kind, at, side)
    low = _rate_limit(y, weights, n, total, t, best, top, bar, -1.0)
    high = _rate_limit(y, weights, n, total, t, best, top, bar, 1.0)
    if kind == XI:
        low, high = max(t / low, -1.0), max(t / high, -1.0)
        return max(low, high) if side == 1 else -min(low, high)
    middle, half = 0.5 * (math.log(low) + math.log(high)), 0.5 * (math.log(high) - math.log(low))
    found, where = -np.inf, 0
    for k in range(_INNER):
        rate = math.exp(middle - half * math.cos(math.pi * k / (_INNER - 1)))
        value = _at(y, weights, n, total, t, max(rate, -t), bar, kind, at, side)
        if value > found:
            found, where = value, k
    if not abs(found) < np.inf:
        return found
    left, right = math.pi * max(where - 1, 0) / (_INNER - 1), math.pi * min(where + 1, _INNER - 1) / (_INNER - 1)
    a, b = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_a = _at(y, weights, n, total, t, max(math.exp(middle - half * math.cos(a)), -t), bar, kind, at, side)
    at_b = _at(y, weights, n, total, t, max(math.exp(middle - half * math.cos(b)), -t), bar, kind, at, side)
    for _ in range(24):
        if at_a > at_b:
            right, b, at_b = b, a, at_a
            a = right - _GOLDEN * (right - left)
            at_a = _at(y, weights, n, total, t, max(math.exp(middle - half * math.cos(a)), -t), bar, kind, at, side)
        else:
            left, a, at_a = a, b, at_b
            b = left + _GOLDEN * (right - left)
            at_b = _at(y, weights, n, total, t, max(math.exp(middle - half * math.cos(b)), -t), bar, kind, at, side)
    return max(found, at_a, at_b)


@kernel(f"UniTuple(float64, 3)({_DATA}, float64, float64[::1])")
def profile(points, exposures, weights, t, y):
    """ℓ(t) at the best λ and c, and these."""
    n = float(points.size)
    total = _transform(points, exposures, weights, t, y)
    rate = _best_rate(y, weights, n, total, t, 1.0)
    height, c = _height(y, weights, n, total, t, rate)
    return height, rate, c


@kernel(f"float64({_DATA}, float64, float64[::1])")
def _rise(points, exposures, weights, t, y):
    """dℓ/dt at the best λ and c."""
    _, rate, c = profile(points, exposures, weights, t, y)
    slope = 0.0
    for k in range(points.size):
        z = points[k]
        value, by_w, _ = bend(t * z)
        slope -= z * value + (t + rate) * z * z * by_w
    for j in range(exposures.size):
        z = exposures[j]
        slope += weights[j] * rate * z * z * bend(t * z)[1] * math.exp(c - rate * y[j])
    return slope


@kernel(f"UniTuple(float64, 5)({_DATA})")
def fit(points, exposures, weights):
    """Status, t, λ, c and ℓ of the highest local maximum over ξ ≥ −1; NaN where there is none."""
    y = np.empty(exposures.size)
    low, high = min(points.min(), exposures.min()), points.max()
    count = 2 * int(_END / _STEP) + 1
    heights = np.empty(count)
    for i in range(count):
        place = -_END + i * _STEP
        heights[i] = profile(points, exposures, weights, _slope_of(place, low, high), y)[0]
    status, t, rate, c, best = NO_SOLUTION, np.nan, np.nan, np.nan, -np.inf
    for i in range(1, count - 1):
        if not (heights[i] >= heights[i - 1] and heights[i] > heights[i + 1]):
            continue
        left, right = -_END + (i - 1) * _STEP, -_END + (i + 1) * _STEP
        f_left = _rise(points, exposures, weights, _slope_of(left, low, high), y)
        f_right = _rise(points, exposures, weights, _slope_of(right, low, high), y)
        if not f_left > 0.0 > f_right:
            continue
        last = 0
        for turn in range(_STEPS):
            share = min(max(f_left / (f_left - f_right), 1e-3), 1.0 - 1e-3) if turn % 4 != 3 else 0.5
            new = left + share * (right - left)
            f = _rise(points, exposures, weights, _slope_of(new, low, high), y)
            if f > 0.0:
                left, f_left = new, f
                if last == 1:
                    f_right *= 0.5
                last = 1
            else:
                right, f_right = new, f
                if last == -1:
                    f_left *= 0.5
                last = -1
            if f == 0.0 or right - left <= 1e-14 * max(1.0, abs(left)):
                break
        here = _slope_of(0.5 * (left + right), low, high)
        height, its_rate, its_c = profile(points, exposures, weights, here, y)
        if height > best and here / its_rate > -1.0:
            status, t, rate, c, best = OK, here, its_rate, its_c, height
    exposed = 0.0
    for j in range(exposures.size):
        exposed += weights[j] * (1.0 - exposures[j] / high)
    if high > 0.0 and exposed > 0.0:
        n = float(points.size)
        at_edge = n * (math.log(n / exposed) - math.log(high) - 1.0)
        if (status == OK and at_edge >= best) or (status != OK and heights[0] > heights[1]):
            return BOUNDARY, -1.0 / high, 1.0 / high, math.log(n / exposed), at_edge
    return status, t, rate, c, best


@kernel(f"intp({_DATA}, float64, float64, float64, float64, float64[::1], float64[:, ::1])")
def _scan(points, exposures, weights, start, low, high, bar, y, found):
    """Places between the ends of t and ℓ − bar there, ascending; returns how many."""
    count = 0
    for side in range(2):
        place, step = start, 0.3 / math.sqrt(points.size)
        while count < _SCANNED // (2 - side) and abs(place) < _END:
            place = min(place + step, _END) if side else max(place - step, -_END)
            height = profile(points, exposures, weights, _slope_of(place, low, high), y)[0]
            found[count, 0], found[count, 1] = place, height - bar
            count += 1
            step = min(1.4 * step, _STEP)
        if side == 0:
            for i in range(count // 2):
                for j in range(2):
                    found[i, j], found[count - 1 - i, j] = found[count - 1 - i, j], found[i, j]
            found[count, 0] = start
            found[count, 1] = profile(points, exposures, weights, _slope_of(start, low, high), y)[0] - bar
            count += 1
    return count


@kernel(f"float64({_DATA}, float64, float64, float64, float64, float64, float64[::1])")
def _crossing(points, exposures, weights, inside, outside, low, high, bar, y):
    """Where the profile of t meets the bar between two places, by bisection."""
    for _ in range(48):
        middle = 0.5 * (inside + outside)
        if profile(points, exposures, weights, _slope_of(middle, low, high), y)[0] >= bar:
            inside = middle
        else:
            outside = middle
    return inside


@kernel(f"void({_DATA}, float64, float64, float64, float64, float64, int64[::1], float64[::1], float64[::1], "
        "float64[:, ::1])")  # fmt: skip
def _search(points, exposures, weights, left, right, low, high, bar, kinds, ats, y, best):
    """Raise the signed limits to what a stretch of t holds."""
    middle, half, values = 0.5 * (left + right), 0.5 * (right - left), np.empty(_OUTER)
    for j in range(kinds.size):
        for side in range(2):
            for k in range(_OUTER):
                t = _slope_of(middle - half * math.cos(math.pi * k / (_OUTER - 1)), low, high)
                values[k] = _extreme(points, exposures, weights, t, bar, kinds[j], ats[j], side, y)
                best[j, side] = max(best[j, side], values[k])
            if kinds[j] == ENDPOINT:
                continue
            for k in range(_OUTER):
                before, after = values[max(k - 1, 0)], values[min(k + 1, _OUTER - 1)]
                if not (values[k] >= before and values[k] >= after and abs(values[k]) < np.inf):
                    continue
                from_, to = math.pi * max(k - 1, 0) / (_OUTER - 1), math.pi * min(k + 1, _OUTER - 1) / (_OUTER - 1)
                a, b = to - _GOLDEN * (to - from_), from_ + _GOLDEN * (to - from_)
                t = _slope_of(middle - half * math.cos(a), low, high)
                at_a = _extreme(points, exposures, weights, t, bar, kinds[j], ats[j], side, y)
                t = _slope_of(middle - half * math.cos(b), low, high)
                at_b = _extreme(points, exposures, weights, t, bar, kinds[j], ats[j], side, y)
                for _ in range(22):
                    if at_a > at_b:
                        to, b, at_b = b, a, at_a
                        a = to - _GOLDEN * (to - from_)
                        t = _slope_of(middle - half * math.cos(a), low, high)
                        at_a = _extreme(points, exposures, weights, t, bar, kinds[j], ats[j], side, y)
                    else:
                        from_, a, at_a = a, b, at_b
                        b = from_ + _GOLDEN * (to - from_)
                        t = _slope_of(middle - half * math.cos(b), low, high)
                        at_b = _extreme(points, exposures, weights, t, bar, kinds[j], ats[j], side, y)
                best[j, side] = max(best[j, side], at_a, at_b)


@kernel(f"void({_DATA}, float64, float64, int64[::1], float64[::1], float64[:, ::1])")
def limits(points, exposures, weights, t, bar, kinds, ats, best):
    """The lower and upper limit of each quantity where ℓ is above the bar, around the maximum at t."""
    y = np.empty(exposures.size)
    low, high = min(points.min(), exposures.min()), points.max()
    share = (1.0 + t * high) / (1.0 + t * low)
    start = min(max(math.log(share) if share > 0.0 else -_END, -_END), _END)
    scanned = np.empty((_SCANNED + 8, 2))
    count = _scan(points, exposures, weights, start, low, high, bar, y, scanned)
    best[:] = -np.inf
    i = 0
    while i < count:
        if scanned[i, 1] < 0.0:
            i += 1
            continue
        first = i
        while i + 1 < count and scanned[i + 1, 1] >= 0.0:
            i += 1
        left, right = scanned[first, 0], scanned[i, 0]
        holds = left <= start <= right
        if i + 1 < count:
            right = _crossing(points, exposures, weights, right, scanned[i + 1, 0], low, high, bar, y)
        elif not holds:
            break
        if first > 0:
            left = _crossing(points, exposures, weights, left, scanned[first - 1, 0], low, high, bar, y)
        _search(points, exposures, weights, left, right, low, high, bar, kinds, ats, y, best)
        if i + 1 >= count:  # the maximum's own stretch reaches the corner
            for j in range(kinds.size):
                if kinds[j] in (XI, SIGMA, LEVEL):
                    best[j, 1] = np.inf
        i += 1
    for j in range(kinds.size):
        best[j, 0] = -best[j, 0]
