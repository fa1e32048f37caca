"""What is usual at every moment of a season: a centre, and a scale on either side of it, learnt from a calibration.

Each season has harmonics, shrunk the more the faster they are, and what its moments have besides (a job that runs at
02:00 every night). How much is shrunk is found by leaving out whole cycles, as neighbours in time resemble each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit._common.types import Float

__all__ = ["Profile", "fitted_profile"]

_HARMONICS = 8  # of the shortest season; of a longer one half as many for each of the shorter ones that it holds,
_MOST_HARMONICS = 28  # and at most so many
_MOST_CELLS = 2016  # moments of a season: of a week, five minutes
_FOLDS = 8
_HUBER = 1.5
_PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 100.0)
_PSEUDO = (np.inf, 30.0, 10.0, 3.0, 1.0, 0.3)  # rows that say a moment is nothing special
_GAIN = 0.99  # of the loss, at the most, is left where moments are believed to be special
_DOUBTLESS, _LIKELY = 4.0, 2.0  # standard errors; the same, measured by a spread of its own
_ENOUGH = 6  # rows of a moment that say it is narrower than those around, or differs in size alone
_WIDER = 6.0  # by how much wider it is taken, times the variance of its logarithm: (z² + 1)/2, z as at a risk of 1e-3
_TURNS = 3  # in which days and weeks are told what the other has
_ROUNDS = 5
_LEAST = 0.05  # of the usual scale, at the least


@dataclass(frozen=True)
class Profile:
    """A centre and two scales at every moment.

    Attributes
    ----------
    periods : tuple of float
        Lengths of the seasons, in seconds.
    constants : tuple of float
        Of the centre, and of the logarithms of the scales below and above it.
    tables : tuple of ndarray of float64, shape (3, moments)
        What each season adds to them.
    """

    periods: tuple[float, ...]
    constants: tuple[float, float, float]
    tables: tuple[Float, ...]

    def at(self, times: Float) -> tuple[Float, Float, Float]:
        """Centre, scale below and scale above at these times (seconds), (n,) each."""
        parts = np.repeat(np.array(self.constants)[:, None], len(times), axis=1)
        for period, table in zip(self.periods, self.tables, strict=True):
            parts += table[:, _cells(times, period, table.shape[1])]
        return parts[0], np.exp(parts[1]), np.exp(parts[2])


def fitted_profile(times: Float, x: Float, periods: Sequence[float]) -> tuple[Profile, Float]:
    """The profile of a calibration sample, and its rows on the profile's scale.

    Each row's scale is that of a profile learnt without its cycle, so that the rows of the calibration deviate as much
    as those to come. Times are ascending seconds, (n,); x is finite.
    """
    basis = _Basis.of(times, periods)
    middle = float(np.median(x))
    unit = float(np.median(np.abs(x - middle))) or float(np.mean(np.abs(x - middle))) or 1.0
    y = (x - middle) / unit
    spread = np.ones(len(y))
    everything = np.ones(len(y), dtype=bool)
    special = [np.zeros(n, dtype=bool) for n in basis.sizes]
    for _ in range(2):
        centre = _smoothed(basis, y, everything, spread, special)
        special = centre.special
        left = y - centre.out_of_fold
        scales = _with_own_sizes(basis, left, [_scale(basis, sign * left) for sign in (-1.0, 1.0)], special)
        spread = np.exp(0.5 * (scales[0].out_of_fold + scales[1].out_of_fold))
    z = left / np.exp(np.where(left < 0.0, scales[0].out_of_fold, scales[1].out_of_fold))
    shift = np.log(unit)
    profile = Profile(
        tuple(periods),
        (middle + unit * centre.constant, scales[0].constant + shift, scales[1].constant + shift),
        tuple(np.stack([unit * c, lo, hi]) for c, lo, hi in
              zip(centre.tables, scales[0].tables, scales[1].tables, strict=True)),
    )  # fmt: skip
    return profile, z


def _scale(basis: _Basis, left: Float) -> _Curve:
    """The logarithm of the usual size of positive residuals."""
    some, y, typical = _log_sizes(left)
    curve = _smoothed(basis, y, some, np.ones(len(y)))
    low = np.log(_LEAST * typical)
    return _Curve(curve.constant, curve.tables, np.maximum(curve.out_of_fold, low), curve.special)


def _log_sizes(left: Float) -> tuple[NDArray[np.bool_], Float, float]:
    """Which residuals are positive (or all, taken as positive, where few are), log sizes, and a typical size."""
    some = left > 0.0
    if np.count_nonzero(some) < 10:
        some, left = np.ones(len(left), dtype=bool), np.abs(left)
    sizes = left[some]
    typical = float(np.median(sizes)) or float(np.mean(sizes)) or 1.0
    return some, np.log(np.maximum(left, 0.1 * typical)), typical


def _with_own_sizes(basis: _Basis, left: Float, scales: list[_Curve], special: list[NDArray[np.bool_]]) -> list[_Curve]:
    """Scales with a size of its own, on both sides, for each moment that has a centre or a size of its own.

    The fewer rows it is learnt from, the nearer it stays to that of the moments around, and less than six rows say that
    a moment is wider than those, never that it is narrower. With a standard error s of its logarithm a size is taken
    1 + (z² + 1) s²/2 times as large: by so much the quantile of a t distribution lies beyond z, that of the normal one
    (the first term of Cornish and Fisher's expansion). Else what is known least would alarm most.
    """
    above = left > 0.0
    rest = np.empty(len(left))
    for side, curve, sign in zip((~above, above), scales, (-1.0, 1.0), strict=True):
        rest[side] = _log_sizes(sign * left)[1][side] - curve.out_of_fold[side]
    spread = float(np.median(np.abs(rest - np.median(rest)))) / 0.6745 or 1.0
    groups = [np.flatnonzero(basis.fold == f) for f in range(int(basis.fold.max()) + 1)]
    columns = np.repeat(rest[:, None], len(groups) + 1, axis=1)
    tables, out = [list(curve.tables) for curve in scales], np.zeros(len(left))
    for i in np.argsort(basis.sizes):
        own = np.zeros((basis.sizes[i], len(groups) + 1))
        cells = basis.cells[i]
        _evident(cells, columns, groups, np.full(len(left), spread), own, special[i], _ENOUGH, _WIDER)
        columns = columns - own[cells]
        out += own[cells, basis.fold]
        for own_tables in tables:
            own_tables[i] = own_tables[i] + own[:, -1]
    return [
        _Curve(curve.constant, own_tables, curve.out_of_fold + out, special)
        for curve, own_tables in zip(scales, tables, strict=True)
    ]


def _cells(times: Float, period: float, n: int) -> NDArray[np.int64]:
    return np.minimum((np.mod(times, period) * (n / period)).astype(np.int64), n - 1)


@dataclass(frozen=True)
class _Basis:
    """Harmonics and moments of the seasons at the rows of a calibration sample.

    Attributes
    ----------
    matrix : ndarray of float64, shape (n, 1 + columns)
        A constant, and a sine and a cosine a harmonic.
    season : ndarray of int, shape (columns,)
        Which season a harmonic is one of.
    speed : ndarray of float64, shape (columns,)
        How much its size is punished.
    cells : list of ndarray of int, shape (n,)
        The moment of each row, a season each.
    harmonics : list of list
        Of each season, as (places of the columns, harmonics at the middles of its moments).
    fold : ndarray of int, shape (n,)
        Rows of one cycle of the longest season are left out together.
    """

    matrix: Float
    season: NDArray[np.int64]
    speed: Float
    cells: list[NDArray[np.int64]]
    sizes: list[int]
    tables: list[Float]
    fold: NDArray[np.int64]

    @classmethod
    def of(cls, times: Float, periods: Sequence[float]) -> _Basis:
        step = float(np.median(np.diff(times)))
        order = sorted(range(len(periods)), key=lambda i: periods[i])
        shortest = periods[order[0]]
        frequencies: list[tuple[int, int]] = []
        taken: set[float] = set()
        for i in order:
            ratio = periods[i] / shortest
            most = _HARMONICS if ratio == 1.0 else min(_MOST_HARMONICS, int(np.ceil(0.5 * _HARMONICS * ratio)))
            most = min(most, max(1, int(0.45 * periods[i] / step)))
            for k in range(1, most + 1):
                if (key := round(k / periods[i], 15)) not in taken:
                    taken.add(key)
                    frequencies.append((i, k))
        season = np.repeat([i for i, _ in frequencies], 2)
        speed = np.repeat([(k / periods[i] * shortest) ** 2 + (periods[i] > shortest) for i, k in frequencies], 2)
        sizes = [max(2, int(min(round(period / step), _MOST_CELLS))) for period in periods]

        def waves(i: int) -> Float:
            """The harmonics of a season at the middles of its moments."""
            middles = (np.arange(sizes[i]) + 0.5) / sizes[i]
            own = [2.0 * np.pi * k * middles for j, k in frequencies if j == i]
            return (
                np.stack([f(angle) for angle in own for f in (np.sin, np.cos)], axis=1)
                if own
                else (np.zeros((sizes[i], 0)))
            )

        tables = [waves(i) for i in range(len(periods))]
        cells = [_cells(times, period, n) for period, n in zip(periods, sizes, strict=True)]
        longest = max(periods)
        cycle = ((times - times[0]) // longest).astype(np.int64)
        n_cycles = max(2, int(np.ceil((times[-1] - times[0] + step) / longest - 0.25)))
        fold = np.minimum(cycle, n_cycles - 1) % min(_FOLDS, n_cycles)
        matrix = np.ones((len(times), 1 + len(season)))
        for i, table in enumerate(tables):
            matrix[:, 1:][:, season == i] = table[cells[i]]
        return cls(matrix, season, speed, cells, sizes, tables, fold)


@dataclass(frozen=True)
class _Curve:
    """A smooth course through the seasons, as tables of their moments; and each row's value by the other folds."""

    constant: float
    tables: list[Float]
    out_of_fold: Float
    special: list[NDArray[np.bool_]]
    """Moments of each season that have, beyond doubt, something of their own."""


def _smoothed(
    basis: _Basis,
    y: Float,
    some: NDArray[np.bool_],
    spread: Float,
    known: list[NDArray[np.bool_]] | None = None,
) -> _Curve:
    """Harmonics and moments fitted to some of the values, robustly; single moments that stand out, where some may."""
    rows, folds = basis.matrix[some], basis.fold[some]
    own, sigma = y[some], spread[some]
    groups = [np.flatnonzero(folds == f) for f in range(int(basis.fold.max()) + 1)]
    everywhere = [np.flatnonzero(basis.fold == f) for f in range(len(groups))]
    seasons = len(basis.sizes)

    def penalty(strength: Sequence[float]) -> Float:
        return np.concatenate([[0.0], np.asarray(strength)[basis.season] * basis.speed])

    weight = 1.0 / sigma**2
    start = penalty([1e-3] * seasons)
    for _ in range(_ROUNDS):
        beta = _ridge((rows * weight[:, None]).T @ rows, rows.T @ (weight * own), start * weight.sum())
        size = np.abs(own - rows @ beta) / sigma
        cut = _HUBER * (float(np.median(size)) / 0.6745 or 1.0)
        weight = np.minimum(1.0, cut / np.maximum(size, 1e-300)) / sigma**2
    grams = np.stack([(rows[g] * weight[g][:, None]).T @ rows[g] for g in groups])
    moments = np.stack([rows[g].T @ (weight[g] * own[g]) for g in groups])
    totals = np.array([weight[g].sum() for g in groups])

    def left_out(strength: Sequence[float]) -> list[Float]:
        p = penalty(strength)
        return [
            _ridge(grams.sum(0) - grams[f], moments.sum(0) - moments[f], p * (totals.sum() - totals[f]))
            for f in range(len(groups))
        ]

    def loss(predicted: Float) -> float:
        e = np.abs(own - predicted) / sigma / cut
        return float(np.where(e < 1.0, 0.5 * e**2, e - 0.5).mean())

    def predictions(betas: list[Float]) -> Float:
        out = np.empty(len(own))
        for g, beta in zip(groups, betas, strict=True):
            out[g] = rows[g] @ beta
        return out

    best = [1e-3] * seasons
    for _ in range(2 if seasons > 1 else 1):
        for i in range(seasons):
            tried = [[*best[:i], value, *best[i + 1 :]] for value in _PENALTIES]
            best = min(tried, key=lambda strength: loss(predictions(left_out(strength))))
    beta = _ridge(grams.sum(0), moments.sum(0), penalty(best) * totals.sum())
    betas = left_out(best)
    out = np.empty(len(y))
    for g, coefficients in zip(everywhere, betas, strict=True):
        out[g] = basis.matrix[g] @ coefficients
    tables = [table @ beta[1:][basis.season == i] for i, table in enumerate(basis.tables)]
    left = own[:, None] - rows @ np.stack([*betas, beta]).T
    found, special = list(known or ()), [np.zeros((n, left.shape[1])) for n in basis.sizes]
    for _ in range(_TURNS if seasons > 1 else 1):
        for i in np.argsort(basis.sizes):
            cells = basis.cells[i][some]
            left = left + special[i][cells]
            special[i] = _special(cells, basis.sizes[i], left, weight, groups, cut * sigma)
            if known is not None:
                found[i] = _evident(cells, left, groups, cut * sigma / _HUBER, special[i], known[i])
            left = left - special[i][cells]
    for i, own_parts in enumerate(special):
        tables[i] = tables[i] + own_parts[:, -1]
        for f, g in enumerate(everywhere):
            out[g] += own_parts[basis.cells[i][g], f]
    return _Curve(float(beta[0]), tables, out, found)


def _special(
    cells: NDArray[np.int64], n: int, left: Float, weight: Float, groups: list[NDArray[np.intp]], cut: Float
) -> Float:
    """What the moments of a season have besides: without each of the groups of rows, and of all, (n, groups + 1).

    `left` has the residuals of all rows by the curves without each of the groups, and by the curve of all.
    """
    sums = np.stack([np.bincount(cells, weight * column, n) for column in left.T], axis=1)
    counts = np.repeat(np.bincount(cells, weight, n)[:, None], left.shape[1], axis=1)
    for f, g in enumerate(groups):
        sums[:, f] -= np.bincount(cells[g], weight[g] * left[g, f], n)
        counts[:, f] -= np.bincount(cells[g], weight[g], n)
    unit = float(weight.mean())

    def effects(pseudo: float) -> Float:
        return sums / (counts + pseudo * unit) if np.isfinite(pseudo) else np.zeros_like(sums)

    def loss(pseudo: float) -> float:
        found, own = 0.0, effects(pseudo)
        for f, g in enumerate(groups):
            e = np.abs(left[g, f] - own[cells[g], f]) / cut[g]
            found += float(np.where(e < 1.0, 0.5 * e**2, e - 0.5).sum())
        return found

    losses = [loss(pseudo) for pseudo in _PSEUDO]
    which = int(np.argmin(losses))
    return effects(_PSEUDO[which] if losses[which] < _GAIN * losses[0] else np.inf)


def _evident(
    cells: NDArray[np.int64], left: Float, groups: list[NDArray[np.intp]], sigma: Float, special: Float,
    known: NDArray[np.bool_], least: int = 2, wider: float = 0.0,
) -> NDArray[np.bool_]:  # fmt: skip
    """Put in full into `special` what moments have beyond doubt, however few they are; which these are.

    A nightly job that takes half as long at weekends is special at seven moments of a week. That says nothing of the
    others, and so those would all be left out. Beyond doubt is what whole cycles agree on: no matter which is left out,
    the others' mean is far from zero, so one incident is none. Known moments are those too, if they have enough rows.
    With `wider` the parts are logarithms of sizes, see `_with_own_sizes`.
    """
    n = len(special)
    scaled = left / sigma[:, None]
    count = np.repeat(np.bincount(cells, minlength=n)[:, None], left.shape[1], axis=1)
    total = np.stack([np.bincount(cells, column, n) for column in scaled.T], axis=1)
    for f, g in enumerate(groups):
        count[:, f] -= np.bincount(cells[g], minlength=n)
        total[:, f] -= np.bincount(cells[g], scaled[g, f], n)
    z = total / np.sqrt(np.maximum(count, 1))
    doubtless = (np.all(z > _DOUBTLESS, axis=1) | np.all(z < -_DOUBTLESS, axis=1)) & np.all(count >= least, axis=1)
    likely = np.all(z > _LIKELY, axis=1) | np.all(z < -_LIKELY, axis=1)
    doubtless |= known & np.all(count >= 2, axis=1) & (likely | (wider > 0.0))
    own = np.full(len(cells), len(groups))
    for f, g in enumerate(groups):
        own[g] = f
    for moment in np.flatnonzero(doubtless):
        rows = np.flatnonzero(cells == moment)
        for f in range(left.shape[1]):
            kept = rows[own[rows] != f]
            middle = np.median(left[kept, f])
            room = _HUBER * sigma[kept]
            special[moment, f] = middle + np.clip(left[kept, f] - middle, -room, room).mean()
            if wider:
                variance = float(np.mean(sigma[kept])) ** 2
                own_size = special[moment, f] * kept.size / (kept.size + variance)
                special[moment, f] = own_size if kept.size >= least else max(own_size, 0.0)
                special[moment, f] += np.log1p(wider * variance / (kept.size + variance))
    return np.asarray(doubtless)


def _ridge(gram: Float, moment: Float, penalty: Float) -> Float:
    whole = gram + np.diag(penalty + 1e-12 * np.trace(gram) / len(gram))
    return np.asarray(np.linalg.solve(whole, moment))
