"""Families: does the generalised Pareto distribution describe the excesses better than other distributions would?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import digamma, gammainc, gammaincc, gammaln, log_ndtr, polygamma, xlogy

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit._common.text import aligned
from evtkit.fit import FitStatus, fit_gpd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

    Logs = tuple[Float, Float]

__all__ = ["FAMILIES", "FamilyComparison", "compare_families", "compare_tails"]

FAMILIES = ("gpd", "lognormal", "gamma", "weibull", "exponential")
_PARAMETERS = np.array([2, 2, 2, 2, 1])
_BLOCK = 1 << 20  # excesses held at a time
_TINY = 1e-300


@dataclass(frozen=True, eq=False, repr=False)
class FamilyComparison(Result):
    """How well families of distributions describe the excesses of every unit; made by `compare_families`.

    Attributes
    ----------
    loglik : ndarray of float64, shape (families, units)
        Largest mean log-likelihood per excess, of the excesses divided by their mean; NaN where a family has no fit.
        The families stand in the order of `FAMILIES`: gpd, lognormal, gamma, weibull, exponential.
    aic : ndarray of float64, shape (families, units)
        Akaike's criterion 2 · parameters − 2 · log-likelihood; smaller is better.
    a2 : ndarray of float64, shape (families, units)
        Anderson–Darling distance A² between the fitted and the empirical distribution; smaller is better. Infinite for
        a GPD that ends at the largest excess (ξ = −1).
    p_gpd : ndarray of float64, shape (units,)
        Probability of so large an A² if the excesses follow a GPD (Choulakian & Stephens 2001); NaN at ξ = −1.
    n : ndarray of int64, shape (units,)
        Excesses of each unit.
    names : ndarray of str, shape (units,), or None
        Names of the units.

    See Also
    --------
    compare_families, compare_tails : make it.
    evtkit.plot.families : the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.families import compare_families
    >>> compare_families(np.random.default_rng(0).exponential(size=(500, 20)))
    FamilyComparison of 20 units, 20 comparable; GPD rejected at 5 % for 0.0 %
    family       best AIC  log-likelihood − GPD's  median A²  smallest A²
    gpd            20.0 %       +0.0000 an excess       0.34       40.0 %
    lognormal       0.0 %       -0.0842 an excess       5.84        0.0 %
    gamma          10.0 %       -0.0002 an excess       0.27       30.0 %
    weibull         5.0 %       -0.0001 an excess       0.29       20.0 %
    exponential    65.0 %       -0.0013 an excess       0.55       10.0 %
    """

    loglik: Float
    aic: Float
    a2: Float
    p_gpd: Float
    n: NDArray[np.int64]
    names: NDArray[np.str_] | None = None

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """Units for which every family has a fit."""
        return np.asarray(np.all(np.isfinite(self.loglik), axis=0))

    @property
    def best(self) -> NDArray[np.int64]:
        """The family of the smallest AIC for each unit, as a position in `FAMILIES`; −1 if not comparable."""
        return np.where(self.comparable, np.argmin(np.nan_to_num(self.aic, nan=np.inf), axis=0), -1)

    @property
    def by_family(self) -> dict[str, NDArray[Any]]:
        """One row a family, over the comparable units.

        Columns: ``family``; ``best``, the share of units whose AIC is smallest; ``loglik``, the mean over the units of
        the log-likelihood per excess, less the GPD's; ``a2``, the median A²; ``closest``, the share of units whose A²
        is smallest.
        """
        some = self.comparable
        total = max(int(np.count_nonzero(some)), 1)
        best = np.bincount(self.best[some], minlength=len(FAMILIES)) / total
        closest = np.bincount(np.argmin(self.a2[:, some], axis=0), minlength=len(FAMILIES)) / total
        gap, a2 = np.full(len(FAMILIES), np.nan), np.full(len(FAMILIES), np.nan)
        if np.any(some):
            gap = np.mean(self.loglik[:, some] - self.loglik[0, some], axis=1)
            a2 = np.median(self.a2[:, some], axis=1)
        return {"family": np.array(FAMILIES), "best": best, "loglik": gap, "a2": a2, "closest": closest}

    @property
    def rejected(self) -> float:
        """Share of the units with a p-value for which the GPD is rejected at 5 %; 5 % is what a GPD would give."""
        known = ~np.isnan(self.p_gpd)
        return float(np.mean(self.p_gpd[known] < 0.05)) if np.any(known) else float("nan")

    def table(self) -> str:
        """`by_family` as text."""
        s = self.by_family
        rows = [("family", "best AIC", "log-likelihood − GPD's", "median A²", "smallest A²")]
        for i, family in enumerate(FAMILIES):
            rows.append((family, f"{100 * s['best'][i]:.1f} %", f"{s['loglik'][i]:+.4f} an excess", f"{s['a2'][i]:.2f}",
                         f"{100 * s['closest'][i]:.1f} %"))  # fmt: skip
        return aligned(rows, "<>>>>")

    def _table(self) -> dict[str, NDArray[Any]]:
        return self.by_family

    def __repr__(self) -> str:
        n_units, n_some = self.n.size, int(np.count_nonzero(self.comparable))
        head = f"FamilyComparison of {n_units:,} units, {n_some:,} comparable; GPD rejected at 5 % for "
        return f"{head}{100 * self.rejected:.1f} %\n{self.table()}"


def compare_families(excesses: ArrayLike, *, names: ArrayLike | None = None) -> FamilyComparison:
    """Fit five families to the same excesses by maximum likelihood, and compare them.

    What is compared is the description of the tail, x − u for x > u, which is all that a sketch keeps and all that the
    ranking uses: a gamma distribution, say, of the excesses, not of the whole sample. All but the exponential have two
    parameters, so AIC ranks them as the likelihood does. For a GPD with ξ < −½ the theory behind AIC does not hold.

    Parameters
    ----------
    excesses : array_like, shape (n,) or (n, units)
        Positive excesses; NaN is padding. `Tail.excesses` has this form.
    names : array_like of str, optional
        Names of the units.

    Returns
    -------
    FamilyComparison

    Raises
    ------
    ValueError
        If an excess is not positive and finite, or the shape is wrong.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> comparison = compare_families(np.column_stack([gpd.rvs(0.4, 1.0, 2000, rng), rng.gamma(4.0, size=2000)]))
    >>> [FAMILIES[i] for i in comparison.best]
    ['gpd', 'gamma']
    """
    values = real_array(excesses, "excesses")
    if values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(f"excesses must have shape (n,) or (n, units) and not be empty, got {values.shape}")
    from evtkit.gof import goodness_of_fit

    columns = values.reshape(len(values), -1)
    n_units = columns.shape[1]
    out = np.empty((2, len(FAMILIES), n_units))
    p_gpd, counts = np.empty(n_units), np.empty(n_units, dtype=np.int64)
    step = max(1, _BLOCK // len(columns))
    for start in range(0, n_units, step):
        piece = slice(start, start + step)
        block = np.sort(columns[:, piece].astype(np.float64), axis=0)  # NaN last
        fit = fit_gpd(block)
        test = goodness_of_fit(block, fit)
        counts[piece], p_gpd[piece] = fit.n, test.p_a2
        with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
            scale = np.nansum(block, axis=0) / np.maximum(fit.n, 1)
            sample = _Sample.of(block / scale, fit.n)
            ok = fit.status <= FitStatus.BOUNDARY
            pareto = _gpd(fit.xi, fit.sigma / scale, fit.loglik / np.maximum(fit.n, 1) + np.log(scale))
            others = [family(sample) for family in (_lognormal, _gamma, _weibull, _exponential)]
            for f, (loglik, law) in enumerate([pareto, *others]):
                out[0, f, piece] = np.where(ok, loglik, np.nan)
                out[1, f, piece] = np.where(ok, _a2(sample, law), np.nan)
    aic = 2.0 * _PARAMETERS[:, None] - 2.0 * counts * out[0]
    return FamilyComparison(
        out[0], aic, out[1], p_gpd, counts, None if names is None else np.asarray(names, dtype=np.str_)
    )


def compare_tails(tail: Tail, *, names: ArrayLike | None = None) -> FamilyComparison:
    """`compare_families` of the excesses that a tail keeps, without a copy of them all: see there.

    Parameters
    ----------
    tail : Tail
        Of several channels.
    names : array_like of str, optional
        Names of the channels.

    See Also
    --------
    compare_families : of excesses.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> from evtkit.families import compare_tails
    >>> tail = fit_tail(np.random.default_rng(0).standard_t(df=4, size=(4000, 20)), quantile=0.9)
    >>> compare_tails(tail).loglik.shape
    (5, 20)
    """
    if not tail.threshold.ndim:
        raise ValueError(
            "tail must have several channels, got one without an axis; compare_families takes its excesses"
        )
    sign = 1.0 if tail.side == "upper" else -1.0
    step = max(1, _BLOCK // tail.largest.shape[1])
    parts = []
    for start in range(0, len(tail), step):
        piece = slice(start, start + step)
        rows = tail.largest[piece].astype(np.float64) - sign * tail.threshold[piece, None]
        parts.append(compare_families(np.where(rows > 0.0, rows, np.nan).T))
    joined = {
        part.name: np.concatenate([getattr(found, part.name) for found in parts], axis=-1)
        for part in fields(FamilyComparison)
        if part.name != "names"
    }
    return FamilyComparison(**joined, names=None if names is None else np.asarray(names, dtype=np.str_))


@dataclass(frozen=True)
class _Sample:
    """Excesses with mean 1, ascending, NaN last, and the sums that likelihoods are made of."""

    y: Float
    n: NDArray[np.int64]
    log: Float
    mean_log: Float

    @classmethod
    def of(cls, y: Float, n: NDArray[np.int64]) -> _Sample:
        log = np.log(y)
        return cls(y, n, log, np.nansum(log, axis=0) / np.maximum(n, 1))

    def mean(self, values: Float) -> Float:
        """Mean over each column's excesses."""
        return np.asarray(np.nansum(values, axis=0) / np.maximum(self.n, 1))


def _gpd(xi: Float, sigma: Float, loglik: Float) -> tuple[Float, Callable[[Float], Logs]]:
    width = np.where(sigma > 0.0, sigma, 1.0)
    return loglik, lambda y: _complement(gpd.logsf(y, xi, width))


def _lognormal(s: _Sample) -> tuple[Float, Callable[[Float], Logs]]:
    width = np.sqrt(s.mean((s.log - s.mean_log) ** 2))
    loglik = -0.5 * np.log(2.0 * np.pi) - np.log(width) - s.mean_log - 0.5

    def law(y: Float) -> Logs:
        z = (np.log(y) - s.mean_log) / width
        return log_ndtr(z), log_ndtr(-z)

    return loglik, law


def _gamma(s: _Sample) -> tuple[Float, Callable[[Float], Logs]]:
    """Shape k solves log k − ψ(k) = −mean log y, for excesses of mean 1."""
    gap = -s.mean_log
    k = (3.0 - gap + np.sqrt((gap - 3.0) ** 2 + 24.0 * gap)) / (12.0 * gap)  # this start and the steps: Minka (2002)
    for _ in range(8):
        k = 1.0 / (1.0 / k + (np.log(k) - digamma(k) - gap) / (k * k * (1.0 / k - polygamma(1, k))))
    loglik = xlogy(k, k) - gammaln(k) + (k - 1.0) * s.mean_log - k

    def law(y: Float) -> Logs:
        return np.log(np.maximum(gammainc(k, k * y), _TINY)), np.log(np.maximum(gammaincc(k, k * y), _TINY))

    return loglik, law


def _weibull(s: _Sample) -> tuple[Float, Callable[[Float], Logs]]:
    """Shape c solves Σ yᶜ log y/Σ yᶜ − 1/c − mean log y = 0, whose left side ascends: Newton, kept positive."""
    z = s.log - np.nanmax(np.where(np.isnan(s.log), -np.inf, s.log), axis=0)
    mean_z = s.mean(z)
    c = 1.28 / np.sqrt(s.mean((z - mean_z) ** 2))
    for _ in range(40):
        power = np.exp(c * z)
        a0, a1, a2 = s.mean(power), s.mean(power * z), s.mean(power * z * z)
        step = (a1 / a0 - 1.0 / c - mean_z) / ((a2 * a0 - a1 * a1) / (a0 * a0) + 1.0 / (c * c))
        c = np.maximum(c - step, c / 4.0)
        if not np.any(np.abs(step) > 1e-12 * c):
            break
    log_scale = np.log(s.mean(np.exp(c * s.log))) / c
    loglik = np.log(c) - c * log_scale + (c - 1.0) * s.mean_log - 1.0

    return loglik, lambda y: _complement(-np.exp(c * (np.log(y) - log_scale)))


def _exponential(s: _Sample) -> tuple[Float, Callable[[Float], Logs]]:
    return np.full(s.n.shape, -1.0), lambda y: _complement(-y)


def _complement(log_sf: Float) -> Logs:
    """log F and log (1 − F) from the latter."""
    return np.log(-np.expm1(log_sf)), log_sf


def _a2(s: _Sample, law: Callable[[Float], Logs]) -> Float:
    """Anderson–Darling A² = −n − Σ (2i − 1)/n · (log F(y₍ᵢ₎) + log(1 − F(y₍ₙ₊₁₋ᵢ₎)))."""
    log_cdf, log_sf = law(s.y)
    i = np.arange(1, len(s.y) + 1)[:, None]
    terms = (2 * i - 1) * log_cdf + (2 * (s.n - i) + 1) * log_sf
    return np.asarray(-s.n - np.nansum(np.where(i <= s.n, terms, 0.0), axis=0) / np.maximum(s.n, 1))
