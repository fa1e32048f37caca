"""Rounded data: what they are rounded to, and the fit of a GPD to excesses that are known to a cell each.

Values on a lattice of step δ are numbers to the nearest point, so that a value x stands for [x − δ/2, x + δ/2]. With
the threshold u in the middle between two points, excesses are (j − ½)δ, j = 1, 2, …, and the likelihood of one is a
difference of two survival functions, S((j − 1)δ) − S(jδ). It depends on nothing but the counts of the cells; as δ → 0
it becomes the density times δ. δ is the unit of length here.
"""

from __future__ import annotations

import math

import numpy as np

from evtkit._kernels.grimshaw import BOUNDARY, CONSTANT, EMPTY, OK, TOO_FEW
from evtkit._kernels.jit import kernel

_NEGLIGIBLE = 0.25  # a step below this many standard errors of the mean excess does not matter
_ULPS = 8.0  # by which a value may miss its lattice point
_NEAR = 1e-3  # |ξy/σ| below which derivatives are summed by series
_STEPS = 100  # of Newton's method, at most
_TINY = 1e-6  # by which ξ and log σ are moved to difference the gradient


@kernel("float64(float64[::1], intp, intp, float64, float64)")
def lattice_step(x, first, stop, mean, epsilon):
    """The step of the lattice on which ascending values x[first:stop] lie, 0 if it is negligible or there is none.

    mean is the mean excess, which a step is compared with, and epsilon the relative precision of a value.
    """
    tolerance = _ULPS * epsilon * max(abs(x[first]), abs(x[stop - 1]))
    least = max(_NEGLIGIBLE * mean / math.sqrt(stop - first), 64.0 * tolerance)
    step = np.inf
    for i in range(first + 1, stop):
        d = x[i] - x[i - 1]
        if d > tolerance:
            step = min(step, d)
            if step < least:
                return 0.0
    if step == np.inf:
        return 0.0
    i = first + 1
    while i < stop:  # Euclid's algorithm
        d = x[i] - x[i - 1]
        times = np.floor(d / step + 0.5)
        rest = abs(d - times * step)
        if rest > tolerance * (1.0 + times):
            step, i = rest, first
            if step < least:
                return 0.0
        i += 1
    span = x[stop - 1] - x[first]
    return span / np.floor(span / step + 0.5)


@kernel("float64(float64[::1], intp, float64)")
def rounding(x, n, mean):
    """The lattice step of n ascending values with such a mean excess: as double numbers, else as single ones."""
    step = lattice_step(x, 0, n, mean, 2.0**-53)
    return step if step > 0.0 else lattice_step(x, 0, n, mean, 2.0**-24)


@kernel("float64(float64, float64, float64)", late=True)
def mid_cell(u, smallest, step):
    """The middle between two lattice points that parts the same values as u; smallest is the least value above u."""
    below = np.ceil((smallest - u) / step - 1e-6) - 1.0
    return smallest - step * (below + 0.5)


@kernel("UniTuple(float64, 3)(float64, float64, float64)")
def _log_survival(y, xi, sigma):
    """log S(y) and its derivatives in ξ and log σ; −inf and zeros beyond the endpoint."""
    z = y / sigma
    x = xi * z
    if x <= -1.0:
        return -np.inf, 0.0, 0.0
    in_scale = z / (1.0 + x)
    if abs(x) < _NEAR:
        log_s = -z * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * (0.25 - 0.2 * x))))
        return log_s, z * z * (0.5 - x * (2.0 / 3.0 - x * (0.75 - x * (0.8 - x / 1.2)))), in_scale
    log_s = -math.log1p(x) / xi
    return log_s, (-log_s - in_scale) / xi, in_scale


@kernel("UniTuple(float64, 3)(float64[::1], float64[::1], intp, float64, float64)")
def log_likelihood(cells, counts, m, xi, log_sigma):
    """Σ c log(S(j − 1) − S(j)) over m cells j, and its derivatives in ξ and log σ."""
    sigma = math.exp(log_sigma)
    total, in_shape, in_scale = 0.0, 0.0, 0.0
    for i in range(m):
        lower, lower_shape, lower_scale = _log_survival(cells[i] - 1.0, xi, sigma)
        if lower == -np.inf:
            return -np.inf, 0.0, 0.0
        upper, upper_shape, upper_scale = _log_survival(cells[i], xi, sigma)
        ratio = math.exp(upper - lower)
        inside = -math.expm1(upper - lower)
        weight = ratio / inside
        total += counts[i] * (lower + math.log(inside))
        in_shape += counts[i] * (lower_shape - weight * (upper_shape - lower_shape))
        in_scale += counts[i] * (lower_scale - weight * (upper_scale - lower_scale))
    return total, in_shape, in_scale


@kernel("UniTuple(float64, 3)(float64[::1], float64[::1], intp, float64, float64)")
def _curvature(cells, counts, m, xi, log_sigma):
    """Minus the second derivatives: ξξ, ξ log σ, log σ log σ."""
    _, a1, b1 = log_likelihood(cells, counts, m, xi + _TINY, log_sigma)
    _, a0, b0 = log_likelihood(cells, counts, m, xi - _TINY, log_sigma)
    _, c1, d1 = log_likelihood(cells, counts, m, xi, log_sigma + _TINY)
    _, c0, d0 = log_likelihood(cells, counts, m, xi, log_sigma - _TINY)
    step = 2.0 * _TINY
    return (a0 - a1) / step, 0.5 * ((b0 - b1) + (c0 - c1)) / step, (d0 - d1) / step


@kernel("UniTuple(float64, 2)(float64[::1], float64[::1], intp)")
def _start(cells, counts, m):
    """ξ and log σ of the best point of a coarse grid around what the mean logarithm suggests."""
    total, logs = 0.0, 0.0
    for i in range(m):
        total += counts[i]
        logs += counts[i] * math.log(cells[i] - 0.5)
    centre, best = logs / total + 0.577, -np.inf
    xi, log_sigma = 0.0, centre
    for shape in (-0.9, -0.5, -0.2, 0.1, 0.4, 0.8, 1.5, 3.0):
        for shift in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.8):
            value = log_likelihood(cells, counts, m, shape, centre + shift - 0.6 * shape)[0]
            if value > best:
                best, xi, log_sigma = value, shape, centre + shift - 0.6 * shape
    return xi, log_sigma


@kernel("UniTuple(float64, 2)(float64[::1], float64[::1], intp)")
def _uniform(cells, counts, m):
    """σ and the log-likelihood of the best distribution with ξ = −1."""
    total = 0.0
    for i in range(m):
        total += counts[i]
    last, top = counts[m - 1], cells[m - 1]
    sigma = (top - 1.0) * total / (total - last) if total > last else top
    sigma = min(sigma, top)
    return sigma, last * math.log(sigma - top + 1.0) - total * math.log(sigma)


@kernel("UniTuple(float64, 7)(float64[::1], float64[::1], intp)")
def fit_cells(cells, counts, m):
    """Fit counts of ascending cells: status, ξ, σ, log-likelihood, variances of log σ and ξ, their covariance."""
    nan = np.nan
    total = 0.0
    for i in range(m):
        total += counts[i]
    if m == 0:
        return EMPTY, nan, nan, nan, nan, nan, nan
    if total == 1.0:
        return TOO_FEW, nan, nan, nan, nan, nan, nan
    if m == 1:
        return CONSTANT, -1.0, cells[0] - 0.5, 0.0, nan, nan, nan
    xi, log_sigma = _start(cells, counts, m)
    value, g, h = log_likelihood(cells, counts, m, xi, log_sigma)
    damping = 1e-3
    for _ in range(_STEPS):
        a, b, c = _curvature(cells, counts, m, xi, log_sigma)
        a, c = a + damping * (abs(a) + total), c + damping * (abs(c) + total)
        determinant = a * c - b * b
        if not (a > 0.0 and determinant > 0.0):
            damping = 10.0 * damping + 1e-3
            if damping > 1e12:
                break
            continue
        dx, ds = (c * g - b * h) / determinant, (a * h - b * g) / determinant
        following = max(xi + dx, -1.0)
        new, new_g, new_h = log_likelihood(cells, counts, m, following, log_sigma + ds)
        if new >= value:
            moved = max(abs(following - xi), abs(ds))
            xi, log_sigma, value, g, h = following, log_sigma + ds, new, new_g, new_h
            damping *= 0.05
            if moved < 1e-10 or (xi == -1.0 and g < 0.0 and moved < 1e-6):
                break
        else:
            damping = 10.0 * damping + 1e-6
            if damping > 1e12:
                break
    sigma, flat = _uniform(cells, counts, m)
    if xi <= -1.0 or flat > value:
        return BOUNDARY, -1.0, sigma, flat, nan, nan, nan
    sigma = math.exp(log_sigma)
    if xi <= -0.5:
        return OK, xi, sigma, value, nan, nan, nan
    a, b, c = _curvature(cells, counts, m, xi, log_sigma)
    determinant = a * c - b * b
    if not determinant > 0.0:
        return OK, xi, sigma, value, nan, nan, nan
    return OK, xi, sigma, value, a / determinant, c / determinant, -b / determinant


@kernel("intp(float64[::1], intp, float64, float64[::1], float64[::1])")
def into_cells(y, n, step, cells, counts):
    """The cells of n ascending excesses from the middle between two lattice points, their counts; return how many."""
    m = 0
    for i in range(n):
        cell = max(1.0, np.floor(y[i] / step + 1.0))
        if m > 0 and cells[m - 1] == cell:
            counts[m - 1] += 1.0
        else:
            cells[m], counts[m] = cell, 1.0
            m += 1
    return m


@kernel("UniTuple(float64, 7)(float64[::1], intp, float64, float64[::1], float64[::1])", late=True)
def fit_rounded(y, n, step, cells, counts):
    """As `grimshaw.fit_one`, for n ascending excesses from mid-cell; cells and counts (≥ n) are workspace.

    The log-likelihood is that of cells less n log δ, which is the density's as δ → 0.
    """
    m = into_cells(y, n, step, cells, counts)
    status, xi, sigma, value, relative, var_xi, cov = fit_cells(cells, counts, m)
    return status, xi, sigma * step, value - n * math.log(step), relative, var_xi, cov


@kernel("void(float64[::1], intp, float64, float64, float64)")
def spread(y, n, step, xi, sigma):
    """Put n ascending excesses from mid-cell to where a tail expects so many in each cell, evenly in probability."""
    start = 0
    while start < n:
        cell = max(1.0, np.floor(y[start] / step + 1.0))
        stop = start + 1
        while stop < n and max(1.0, np.floor(y[stop] / step + 1.0)) == cell:
            stop += 1
        edge = (cell - 1.0) * step
        scale = sigma + xi * edge  # of what lies beyond the cell's lower edge
        if not scale > 0.0:  # which another fit's end does not reach
            scale = 0.25 * step
        share = -math.expm1(_log_survival(step, xi, scale)[0])
        for i in range(start, stop):
            log_s = math.log1p(-share * (i - start + 0.5) / (stop - start))
            x = -xi * log_s
            y[i] = edge + scale * (math.expm1(x) / xi if abs(x) > 1e-9 else -log_s)
        start = stop


@kernel("intp(float64[::1], float64[::1], float64)")
def _from_mid_cell(row, y, step):
    """The values of row but NaN, ascending, as excesses over the middle between two lattice points; how many."""
    n = 0
    for value in row:
        if not math.isnan(value):
            y[n] = value
            n += 1
    y[:n].sort()
    if n > 0 and step > 0.0:
        shift = mid_cell(0.0, y[0], step)
        for i in range(n):
            y[i] -= shift
    return n


@kernel("void(float64[:, ::1], float64[::1], float64[:, ::1])")
def fit_rounded_rows(rows, steps, result):
    """Fit the rows (NaN is padding) again whose step is positive or, if it is NaN, found to be; write the steps.

    result holds what `grimshaw.fit_rows` found.
    """
    width = rows.shape[1]
    y, cells, counts = np.empty(width), np.empty(width), np.empty(width)
    for i in range(rows.shape[0]):
        if result[i, 0] < 0.0 or steps[i] == 0.0:
            steps[i] = 0.0
            continue
        n = _from_mid_cell(rows[i], y, 0.0)
        if math.isnan(steps[i]):
            total = 0.0
            for j in range(n):
                total += y[j]
            steps[i] = rounding(y, n, total / n) if n else 0.0
        if steps[i] > 0.0 and n > 0:
            n = _from_mid_cell(rows[i], y, steps[i])
            fit = fit_rounded(y, n, steps[i], cells, counts)
            for k in range(7):
                result[i, k] = fit[k]


@kernel("void(float64[:, ::1], float64[::1], float64[::1], float64[::1])")
def spread_rows(rows, steps, xi, sigma):
    """`spread` every row (NaN is padding) with a positive step and a fit, in place; NaN goes to the end."""
    y = np.empty(rows.shape[1])
    for i in range(rows.shape[0]):
        if steps[i] > 0.0 and sigma[i] > 0.0:
            n = _from_mid_cell(rows[i], y, steps[i])
            spread(y, n, steps[i], xi[i], sigma[i])
            for j in range(rows.shape[1]):
                rows[i, j] = y[j] if j < n else np.nan
