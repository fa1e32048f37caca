"""Profile-likelihood limits of whatever a GPD says: its shape, scale, levels, probabilities, endpoint, mean excesses.

A limit is the largest or smallest value that a quantity takes where the log-likelihood is at least a bar (Coles 2001,
section 2.6.6: the same as profiling, which maximises for each value and then looks for where the maximum meets the
bar). In units in which the excesses have mean 1, with t = ξ/σ, h(t) = mean log1p(ty)/t and σ = s h(t), ξ = tσ, the
log-likelihood an observation is

    −log h(t) − t h(t) − log s − 1/s,

so that for a given t the parameters above the bar are an interval of s, whose ends are the roots of one equation
without data. Every quantity here increases with s (the shape with |ξ|). What is left is a search over t alone, whose
curve is smooth on each stretch of t that is above the bar: all stretches are searched on a grid, and every local
maximum of it is refined. So no inner maximum is missed where a profile has two, and many quantities share one pass.

The shape is restricted to ξ ≥ −1, as in the fit: s is at most −1/(t h) there. At t = −1/z_max that leaves the point
ξ = −1, σ = z_max.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.grimshaw import mean_of, pack, store
from evtkit._kernels.jit import kernel
from evtkit._kernels.likelihood import mean_log, mean_loglik
from evtkit._kernels.maxima import right_end
from evtkit._kernels.sums import CHUNK, LANES, ROWS

XI, SIGMA, LEVEL, LOG_SF, ENDPOINT, SHORTFALL, MEAN_EXCESS = 0, 1, 2, 3, 4, 5, 6

_FIRST = -30.0  # of log(1 + t z_max), below which 1 + t z_max has no digits
_STEP, _GROWTH, _FAR = 0.4, 1.15, 6.0  # steps of the scan, which grow beyond a distance from t = 0
_NODES = 33  # on a stretch
_SCANNED = 1024  # points, at the most
_MANY, _HOPELESS = 512, 50.0  # with more excesses, a scan ends where the log-likelihood is so far below the bar
_GOLDEN = 0.6180339887498949
_CUBE = "float64[:, :, ::1]"
_DATA = f"{_CUBE}, intp, float64"


@kernel(f"UniTuple(float64, 5)({_DATA}, float64, float64, {_CUBE})")
def _at(z, n, z_max, place, bar, work):
    """t, h, by how much the best s is above the bar without and with the restriction, and the largest s."""
    t = math.expm1(place) / z_max
    h = mean_log(z, n, z_max, t, work)
    xi = t * h
    free = -math.log(h) - xi - 1.0 - bar
    largest = -1.0 / xi if xi < 0.0 else np.inf
    above = free
    if largest < 1.0:
        above -= math.log(largest) + 1.0 / largest - 1.0
    return t, h, free, above, largest


@kernel("UniTuple(float64, 2)(float64)")
def stretch(d):
    """The two roots x < 0 < x of eˣ − 1 − x = d, by Newton's method from outside, where it is monotone."""
    if not d > 0.0:
        return 0.0, 0.0
    root = math.sqrt(2.0 * d)
    low, high = -(d + root), math.log1p(root + d)
    for _ in range(60):
        slope = math.expm1(low)
        new = low - (slope - low - d) / slope
        if not new > low:
            break
        low = new
    for _ in range(60):
        slope = math.expm1(high)
        new = high - (slope - high - d) / slope
        if not new < high:
            break
        high = new
    return low, high


@kernel("float64(intp, float64, float64, float64)")
def _quantity(kind, at, t, sigma):
    """A quantity for excesses of mean 1; `at` is log(period × rate) for levels and shortfalls, else an excess."""
    xi = max(t * sigma, -1.0)
    if kind == XI:
        return xi
    if kind == SIGMA:
        return sigma
    if kind == ENDPOINT:
        return -1.0 / t if t < 0.0 else np.inf
    w = t * at
    if kind == LOG_SF:
        if w <= -1.0:
            return -np.inf
        return -(at if w == 0.0 else at * (math.log1p(w) / w)) / sigma
    if xi >= 1.0 and kind != LEVEL:
        return np.inf
    if kind == MEAN_EXCESS:
        return max(sigma * (1.0 + w), 0.0) / (1.0 - xi)
    grown = xi * at
    level = sigma * at * (math.expm1(grown) / grown if grown != 0.0 else 1.0)
    return level if kind == LEVEL else (sigma + level) / (1.0 - xi)


@kernel(f"float64(intp, float64, intp, {_DATA}, float64, float64, {_CUBE})")
def _edge(kind, at, side, z, n, z_max, place, bar, work):
    """The largest quantity (side 1) or minus the least (side 0) for a t; −inf where nothing is above the bar."""
    t, h, free, above, largest = _at(z, n, z_max, place, bar, work)
    if above < 0.0:
        return -np.inf
    low, high = stretch(free)
    s = math.exp(-high) if (side == 1) == (kind == XI and t < 0.0) else math.exp(-low)
    value = _quantity(kind, at, t, h * min(s, largest))
    return value if side == 1 else -value


@kernel(f"float64({_DATA}, float64, float64, float64, {_CUBE})")
def _crossing(z, n, z_max, inside, outside, bar, work):
    """Where the profile of t meets the bar, between a place above it and one below (the Illinois rule)."""
    f_in, f_out = _at(z, n, z_max, inside, bar, work)[3], _at(z, n, z_max, outside, bar, work)[3]
    last = 0
    for turn in range(100):
        if abs(outside - inside) <= 1e-14 * max(abs(inside), 1e-3):
            break
        share = f_in / (f_in - f_out) if turn % 8 != 7 and f_out > -1e300 else 0.5
        new = inside + min(max(share, 1e-12), 1.0 - 1e-12) * (outside - inside)
        if new in (inside, outside):
            break
        f = _at(z, n, z_max, new, bar, work)[3]
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
        if f_in <= 1e-16:
            break
    return inside


@kernel(f"intp({_DATA}, float64, float64, float64, {_CUBE}, float64[:, ::1])")
def _scan(z, n, z_max, z_min, start, bar, work, found):
    """Places and how far they are above the bar, ascending, from one end of t to the other; returns how many."""
    count = 0
    first = 0.3 / math.sqrt(n)
    for side in range(2):
        place, step = start, first
        end = right_end(z_min) * z_max
        while count < _SCANNED // (2 - side):
            if side == 0:
                place = max(place - step, _FIRST)
            else:
                place += step
            above = _at(z, n, z_max, place, bar, work)[3]
            found[count, 0], found[count, 1] = place, above
            count += 1
            step = min(1.4 * step, _STEP)
            if place > _FAR:
                step = (_GROWTH - 1.0) * place
            if place > 690.0 or place <= _FIRST or (n > _MANY and above * n < -_HOPELESS):
                break
            if side == 1 and above < 0.0 and place > math.log1p(end):
                break
        if side == 0:
            for i in range(count // 2):
                for j in range(2):
                    found[i, j], found[count - 1 - i, j] = found[count - 1 - i, j], found[i, j]
            found[count, 0], found[count, 1] = start, _at(z, n, z_max, start, bar, work)[3]
            count += 1
    return count


@kernel(f"UniTuple(float64, 2)({_DATA}, float64, float64, float64, {_CUBE})")
def _summit(z, n, z_max, left, right, bar, work):
    """A place between left and right where the profile of t is highest, for a stretch that a scan stepped over."""
    a, b = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_a, at_b = _at(z, n, z_max, a, bar, work)[3], _at(z, n, z_max, b, bar, work)[3]
    for _ in range(40):
        if at_a > at_b:
            right, b, at_b = b, a, at_a
            a = right - _GOLDEN * (right - left)
            at_a = _at(z, n, z_max, a, bar, work)[3]
        else:
            left, a, at_a = a, b, at_b
            b = left + _GOLDEN * (right - left)
            at_b = _at(z, n, z_max, b, bar, work)[3]
    return (a, at_a) if at_a > at_b else (b, at_b)


@kernel(f"float64(intp, float64, intp, {_DATA}, float64, float64, float64, float64, float64, {_CUBE})")
def _refined(kind, at, side, z, n, z_max, middle, half, left, right, bar, work):
    """The largest signed quantity between two angles of a stretch."""
    a, b = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_a = _edge(kind, at, side, z, n, z_max, middle - half * math.cos(a), bar, work)
    at_b = _edge(kind, at, side, z, n, z_max, middle - half * math.cos(b), bar, work)
    for _ in range(36):
        if at_a > at_b:
            right, b, at_b = b, a, at_a
            a = right - _GOLDEN * (right - left)
            at_a = _edge(kind, at, side, z, n, z_max, middle - half * math.cos(a), bar, work)
        else:
            left, a, at_a = a, b, at_b
            b = left + _GOLDEN * (right - left)
            at_b = _edge(kind, at, side, z, n, z_max, middle - half * math.cos(b), bar, work)
    return max(at_a, at_b)


@kernel(f"void({_DATA}, float64, float64, float64, int64[::1], float64[::1], {_CUBE}, float64[:, ::1])")
def _search(z, n, z_max, left, right, bar, kinds, ats, work, best):
    """Raise `best`, signed limits of every quantity (lower, upper), to what a stretch of t holds."""
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    t, low, high = np.empty(_NODES), np.empty(_NODES), np.empty(_NODES)
    for k in range(_NODES):
        place = middle - half * math.cos(math.pi * k / (_NODES - 1))
        t[k], h, free, above, largest = _at(z, n, z_max, place, bar, work)
        low[k], high[k] = np.nan, np.nan
        if above >= 0.0 or k in (0, _NODES - 1):
            x, y = stretch(free)
            low[k], high[k] = h * min(math.exp(-y), largest), h * min(math.exp(-x), largest)
    values = np.empty(_NODES)
    for j in range(kinds.size):
        kind, at = kinds[j], ats[j]
        for side in range(2):
            for k in range(_NODES):
                sigma = low[k] if (side == 1) == (kind == XI and t[k] < 0.0) else high[k]
                value = _quantity(kind, at, t[k], sigma)
                values[k] = -np.inf if math.isnan(sigma) else (value if side == 1 else -value)
                best[j, side] = max(best[j, side], values[k])
            if kind == ENDPOINT:  # monotone in t
                continue
            for k in range(_NODES):
                before, after = values[max(k - 1, 0)], values[min(k + 1, _NODES - 1)]
                if values[k] >= before and values[k] >= after and abs(values[k]) < np.inf:
                    from_, to = math.pi * max(k - 1, 0) / (_NODES - 1), math.pi * min(k + 1, _NODES - 1) / (_NODES - 1)
                    found = _refined(kind, at, side, z, n, z_max, middle, half, from_, to, bar, work)
                    best[j, side] = max(best[j, side], found)


@kernel(f"void({_DATA}, float64, float64, float64, float64, int64[::1], float64[::1], {_CUBE}, float64[:, ::1])")
def _limits(z, n, z_max, z_min, xi, sigma, bar, kinds, ats, work, best):
    """The signed limits of every quantity."""
    best[:] = -np.inf
    scanned = np.empty((_SCANNED + 8, 2))
    start = math.log(max(1.0 + xi / sigma * z_max, math.exp(_FIRST)))
    count = _scan(z, n, z_max, z_min, start, bar, work, scanned)
    if -math.log(z_max) >= bar:
        for j in range(kinds.size):
            value = _quantity(kinds[j], ats[j], -1.0 / z_max, z_max)
            best[j, 0], best[j, 1] = -value, value
    for i in range(1, count - 1):
        above = scanned[i, 1]
        if above < 0.0 and above * n > -2.0 and above >= scanned[i - 1, 1] and above >= scanned[i + 1, 1]:
            scanned[i, 0], scanned[i, 1] = _summit(z, n, z_max, scanned[i - 1, 0], scanned[i + 1, 0], bar, work)
    i = 0
    while i < count:
        if scanned[i, 1] < 0.0:
            i += 1
            continue
        first = i
        while i + 1 < count and scanned[i + 1, 1] >= 0.0:
            i += 1
        left, right = scanned[first, 0], scanned[i, 0]
        if first > 0:
            left = _crossing(z, n, z_max, left, scanned[first - 1, 0], bar, work)
        if i + 1 < count:
            right = _crossing(z, n, z_max, right, scanned[i + 1, 0], bar, work)
        _search(z, n, z_max, left, right, bar, kinds, ats, work, best)
        i += 1


@kernel("void(float64[:, ::1], float64[:, ::1], float64[::1], int64[::1], float64[:, ::1], float64[:, :, ::1])")
def limits_rows(rows, fits, drops, kinds, ats, result):
    """For every row the lower and upper limit of each quantity; NaN where ξ is NaN, or the quantity's `at`.

    A row of `fits` is ξ and σ; of `drops`, by how much the whole log-likelihood may fall; of `ats`, what each quantity
    is asked at, see `_quantity`, in the units of the excesses.
    """
    deep = max(2, (rows.shape[1] + CHUNK - 1) // CHUNK)
    chunks, work = np.empty((deep, ROWS, LANES)), np.empty((2, deep, LANES))
    y = np.empty(rows.shape[1] + 1)
    best, scaled = np.empty((kinds.size, 2)), np.empty(kinds.size)
    for i in range(rows.shape[0]):
        n = pack(rows[i], y)
        result[i] = np.nan
        xi, scale = fits[i]
        if n < 2 or math.isnan(xi):
            continue
        high = y[:n].max()
        mean = mean_of(y, n, high)
        z, z_max, z_min, sigma = chunks[: (n + CHUNK - 1) // CHUNK], high / mean, y[:n].min() / mean, scale / mean
        store(y, n, mean, z)
        for j in range(kinds.size):
            scaled[j] = ats[i, j] / mean if kinds[j] in (LOG_SF, MEAN_EXCESS) else ats[i, j]
        peak = -math.log(sigma) if xi == -1.0 else mean_loglik(z, n, z_max, xi, sigma, work)
        _limits(z, n, z_max, z_min, xi, sigma, peak - drops[i] / n, kinds, scaled, work, best)
        for j in range(kinds.size):
            if math.isnan(ats[i, j]) and kinds[j] not in (XI, SIGMA, ENDPOINT):
                continue
            unit = 1.0 if kinds[j] in (XI, LOG_SF) else mean
            result[i, j, 0], result[i, j, 1] = -best[j, 0] * unit, best[j, 1] * unit
