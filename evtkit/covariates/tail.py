"""CovariateTail: threshold, rate and excesses that depend on covariates; probabilities of the next observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import chdtri, expit, ndtri

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit.covariates.design import Design, asked, response
from evtkit.covariates.fits import fit_designs
from evtkit.covariates.inference import limits_by_row
from evtkit.covariates.rates import exceedance_rate, quantile_regression
from evtkit.fit import FitStatus
from evtkit.predictive import Predictive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike

    from evtkit._common.types import Bool, Float
    from evtkit.covariates.results import RegressionFit
    from evtkit.intervals import Interval

__all__ = ["CovariateTail", "fit_tail"]

_DRAWS = 4096
_FEWEST = 3  # excesses that have a law
_ROWS = 256  # whose laws are held at a time
_DF = 6.0  # of the t law that the draws come from: heavier than the posterior
_PRIOR_SD = 0.6  # of the shape above 0, as for the tails without covariates
_LAWS = ("predictive", "plug-in")


@dataclass(frozen=True, eq=False, repr=False)
class CovariateTail(Result):
    """A tail that depends on covariates; made by `fit_tail`.

    Attributes
    ----------
    excess : RegressionFit
        The law of the excesses.
    designs : mapping of str to Design
        What ``"sigma"`` and ``"xi"`` are linear in, for all observations.
    threshold_design, rate_design : Design
        What threshold and rate are linear in.
    threshold_coefficients, rate_coefficients : ndarray of float64
        Of the threshold, in the units of the data (of the negated data for a lower tail), and of the logarithm of the
        odds of an exceedance.
    rate_cov : ndarray of float64
        Covariance of the latter.
    above : ndarray of bool, shape (n,)
        Which observations exceed their threshold.
    y : ndarray of float64, shape (n,)
        The observations.
    side : {"upper", "lower"}
        Which tail.

    See Also
    --------
    fit_tail : makes it.
    evtkit.Tail : where nothing depends on anything.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates
    >>> rng = np.random.default_rng(0)
    >>> year = np.arange(2000) / 2000
    >>> y = rng.exponential(np.exp(0.5 * year))
    >>> tail = covariates.fit_tail(y, threshold=year, sigma=year)
    >>> tail.isf(1e-3, at=[0.0, 1.0]).round(0)
    array([ 7., 14.])
    """

    excess: RegressionFit
    designs: Mapping[str, Design]
    threshold_design: Design
    threshold_coefficients: Float
    rate_design: Design
    rate_coefficients: Float
    rate_cov: Float
    above: Bool
    y: Float
    side: str = "upper"

    def _table(self) -> dict[str, Any]:
        """The coefficients of the law of the excesses."""
        return self.excess._table()

    def __repr__(self) -> str:
        parts = {"u": self.threshold_design, "rate": self.rate_design} | dict(self.excess.designs)
        models = ", ".join(f"{key} ~ {design.label}" for key, design in parts.items())
        status = FitStatus(int(self.excess.status)).name
        return f"CovariateTail({self.side}; {models}; {int(self.above.sum())} of {len(self.y)}, {status})"

    def threshold(self, at: Any = None) -> Float:
        """The threshold at each row, (rows,)."""
        level = _matrix(self.threshold_design, at, "threshold") @ self.threshold_coefficients
        return level if self.side == "upper" else -level

    def rate(self, at: Any = None) -> Float:
        """The probability of an exceedance at each row, (rows,)."""
        return np.asarray(expit(_matrix(self.rate_design, at, "rate") @ self.rate_coefficients))

    def sf(self, x: ArrayLike, at: Any = None, *, law: str = "predictive") -> Float:
        """P(X > x) at each row (P(X < x) for a lower tail); above the threshold.

        Parameters
        ----------
        x : array_like, shape () or (rows,)
            Levels. At and below the threshold the probability is that of an exceedance, at least.
        at : data frame, mapping of columns, or array_like, optional
            Rows of covariates; by default those of the fit.
        law : {"predictive", "plug-in"}
            Of the next observation, with the uncertainty of all coefficients but the threshold's averaged in; or for
            the estimates as if they were true.

        Returns
        -------
        ndarray of float64, shape (rows,)
        """
        level = np.asarray(real_array(x, "x"), dtype=np.float64)
        threshold = self.threshold(at)
        if level.shape not in ((), threshold.shape):
            raise ValueError(f"x must be a number or have shape {threshold.shape}, got {level.shape}")
        excess = np.maximum(level - threshold if self.side == "upper" else threshold - level, 0.0)
        return self._by_row(at, law, lambda laws, own: laws.sf(own), excess)

    def isf(self, p: ArrayLike, at: Any = None, *, law: str = "predictive") -> Float:
        """The level that the next observation at each row exceeds with probability p.

        Returns
        -------
        ndarray of float64, shape (rows,)
            NaN where p is larger than the rate: the level lies below the threshold.
        """
        chance = np.asarray(real_array(p, "p"), dtype=np.float64)
        if np.any(~((chance > 0.0) & (chance < 1.0))):
            raise ValueError(f"p must lie strictly between 0 and 1, got {chance!r}")
        threshold = self.threshold(at)
        if chance.shape not in ((), threshold.shape):
            raise ValueError(f"p must be a number or have shape {threshold.shape}, got {chance.shape}")
        excess = self._by_row(at, law, lambda laws, own: laws.isf(own), np.broadcast_to(chance, threshold.shape))
        return threshold + (excess if self.side == "upper" else -excess)

    def return_level(
        self, m: float, at: Any = None, *, interval: float | None = None, method: str = "profile"
    ) -> Float | Interval:
        """The textbook's effective return level at each row (Katz, Parlange & Naveau 2002).

        It would be exceeded with probability 1/m were all rows like that one.

        Parameters
        ----------
        m : float
            Return period in observations, above 1.
        at : data frame, mapping of columns, or array_like, optional
            Rows of covariates; by default those of the fit.
        interval : float, optional
            Confidence level of an interval, for the threshold and the rate as estimated.
        method : {"profile", "delta"}
            Of the interval; see `RegressionFit.interval`.

        Returns
        -------
        ndarray of float64, shape (rows,), or Interval
            NaN where 1/m is larger than the rate: the level lies below the threshold.

        Raises
        ------
        ValueError
            If m is not above 1, or as `RegressionFit.interval`.
        """
        if not m > 1.0:
            raise ValueError(f"m must be above 1, got {m!r}")
        if interval is None:
            return self.isf(1.0 / m, at, law="plug-in")
        threshold, rate = self.threshold(at), self.rate(at)
        rows = {key: np.broadcast_to(_matrix(design, at, key), (len(threshold), len(design.names)))
                for key, design in self.designs.items()}  # fmt: skip
        sign = 1.0 if self.side == "upper" else -1.0

        def level(own: Mapping[str, Float], i: int) -> Float:
            chance = 1.0 / (m * rate[i])
            return threshold[i] + sign * gpd.isf(chance, own["xi"], own["sigma"]) if chance <= 1.0 else np.array(np.nan)

        return limits_by_row(self.excess, level, rows, np.column_stack([threshold, rate]), interval, method)

    def residuals(self) -> Float:
        """Excesses on the scale of the standard exponential law, (n_excess,); see `RegressionFit.residuals`."""
        return self.excess.residuals()

    def _by_row(self, at: Any, law: str, ask: Callable[[Any, Float], Float], values: Float) -> Float:
        """Answers of the laws of all rows, (rows,); rows with equal covariates share one."""
        if law not in _LAWS:
            raise ValueError(f"law must be one of {', '.join(map(repr, _LAWS))}, got {law!r}")
        parts = [_matrix(self.rate_design, at, "rate")]
        parts += [_matrix(design, at, key) for key, design in self.designs.items()]
        stacked = np.column_stack([*parts, values])
        rows, place = np.unique(stacked, axis=0, return_inverse=True)
        ends = np.cumsum([part.shape[1] for part in parts])
        known = np.all(np.isfinite(self.excess.cov))
        shared = self._shared() if law == "predictive" and (len(self.excess.names) == 2 or not known) else None
        if law == "plug-in" or not known:
            betas, weights = self.excess.coefficients[:, None], np.ones(1)
            others = self.rate_coefficients[:, None]
        else:
            betas, weights, others = self._draws()
        answers = np.empty(len(rows))
        for first in range(0, len(rows), _ROWS):
            some = slice(first, first + _ROWS)
            rate, sigma, xi = np.split(rows[some, :-1], ends[:-1], axis=1)
            rates = expit(rate @ others)
            if law == "predictive" and len(self.rate_design.names) == 1:  # the posterior mean, as without covariates
                rates = np.full((len(rate), len(weights)), (len(self.excess.y) + 1.0) / (len(self.y) + 1.0))
            own = self.excess.predicted(betas, {"sigma": sigma, "xi": xi})
            laws: _Laws | _SharedLaw = _Laws(rates, own["sigma"], np.maximum(own["xi"], -1.0), weights)
            if shared is not None:
                at_best = self.excess.predicted(self.excess.coefficients[:, None], {"sigma": sigma, "xi": xi})
                laws = _SharedLaw(rates @ weights, at_best["sigma"][:, 0], shared)
            answers[some] = ask(laws, np.ascontiguousarray(rows[some, -1]))
        return answers[place.ravel()]

    def _shared(self) -> Predictive | None:
        """The law of an excess by its own scale, where all have one shape: that of tails without covariates.

        It is exact where nothing depends on a covariate. Where the shape is at most −½ no normal law is near the
        posterior; what the scale depends on is then taken for known. None for shapes that differ.
        """
        if len(self.excess.designs["xi"].names) > 1 or len(self.excess.y) < _FEWEST:
            return None
        scales = self.excess.parameters()["sigma"]
        tops = np.sort(self.excess.y[:, 0] / scales)[None]
        size, none = np.array([tops.size]), np.zeros(1)
        return Predictive(tops, none, size, size, np.array([True]), none, none, none)

    def _draws(self) -> tuple[Float, Float, Float]:
        """Coefficients of the excesses (coefficients, draws), their weights, and coefficients of the rate.

        Importance sampling of the posterior, with a t law around the maximum and points that fill the space evenly. The
        prior is that of tails without covariates: flat in the coefficients of log σ, and in the shape up to 0; half a
        normal law above.
        """
        from scipy.stats import qmc

        fit = self.excess
        size, extra = len(fit.coefficients), len(self.rate_coefficients)
        points = qmc.Sobol(size + extra + 1, scramble=True, rng=np.random.default_rng(0)).random(_DRAWS)
        radius = np.sqrt(_DF / chdtri(_DF, points[:, -1]))
        normal = ndtri(points[:, :-1])
        standard = normal[:, :size] * radius[:, None]
        betas = fit.coefficients[:, None] + np.linalg.cholesky(fit.cov) @ standard.T
        others = self.rate_coefficients[:, None] + np.linalg.cholesky(self.rate_cov) @ normal[:, size:].T
        log = fit.problem.value(fit.theta_of(betas))
        shape = fit.predicted(betas, {key: d.matrix for key, d in fit.designs.items()})["xi"].mean(axis=0)
        log = log - 0.5 * np.square(np.maximum(shape, 0.0) / _PRIOR_SD)
        log = log + 0.5 * (_DF + size) * np.log1p(np.square(standard).sum(axis=1) / _DF)
        weights = np.exp(log - log.max())
        return betas, weights / weights.sum(), others


@dataclass(frozen=True)
class _Laws:
    """Rate, scale and shape at each row for each draw, (rows, draws), and the draws' weights."""

    rates: Float
    scales: Float
    shapes: Float
    weights: Float

    def sf(self, excess: Float) -> Float:
        """Probability of an excess beyond these, (rows,)."""
        return np.asarray((self.rates * gpd.sf(excess[:, None], self.shapes, self.scales)) @ self.weights)

    def isf(self, chance: Float) -> Float:
        """Excess with these probabilities, by Newton's method on log p inside a bracket; NaN below the threshold."""
        low, high = np.zeros(len(chance)), 4.0 * self.scales.max(axis=1)
        while np.any(short := (self.sf(high) > chance) & np.isfinite(high)):
            low[short], high[short] = high[short], 2.0 * high[short]
        level = 0.5 * (low + high)
        left = np.flatnonzero(chance <= self.rates @ self.weights)  # rows whose level is not known yet
        for _ in range(200 if left.size else 0):
            own = _Laws(self.rates[left], self.scales[left], self.shapes[left], self.weights)
            x, p = level[left], chance[left]
            now = own.sf(x)
            over = now > p
            low[left], high[left] = np.where(over, x, low[left]), np.where(over, high[left], x)
            density = (own.rates * gpd.pdf(x[:, None], own.shapes, own.scales)) @ own.weights
            with np.errstate(divide="ignore", invalid="ignore"):
                new = x + now * np.log(now / p) / density
            near = np.abs(new - x) <= 1e-13 * high[left]  # before the bracket is asked, one end of which is x
            inside = (new > low[left]) & (new < high[left])
            level[left] = np.where(near | inside, new, 0.5 * (low[left] + high[left]))
            left = left[~near]
            if not left.size:
                break
        return np.where(chance > self.rates @ self.weights, np.nan, level)


@dataclass(frozen=True)
class _SharedLaw:
    """Rate and scale at each row, (rows,), and the law of an excess by its scale."""

    rates: Float
    scales: Float
    law: Predictive

    def sf(self, excess: Float) -> Float:
        """Probability of an excess beyond these, (rows,)."""
        beyond = (excess / self.scales)[:, None]
        return np.asarray(self.rates * np.exp(self.law.log_sf(beyond, np.zeros(beyond.shape))[:, 0]))

    def isf(self, chance: Float) -> Float:
        """Excess with these probabilities; NaN below the threshold."""
        share = np.minimum(chance / self.rates, 1.0)[:, None]
        return np.where(chance > self.rates, np.nan, self.scales * self.law.isf(share)[:, 0])


def fit_tail(
    y: Any,
    data: Any = None,
    *,
    threshold: float | str | ArrayLike | None = None,
    quantile: float = 0.9,
    sigma: str | ArrayLike | None = None,
    xi: str | ArrayLike | None = None,
    rate: str | ArrayLike | None = None,
    side: str = "upper",
    prior: str | None = None,
) -> CovariateTail:
    """Fit a tail whose threshold, rate, scale and shape depend on covariates: from data to probabilities in one call.

    Parameters
    ----------
    y : array_like, shape (n,), or str
        Observations, or the name of a column of the data. Or a whole formula, ``"load ~ hour"``: threshold and scale
        then depend on what is right of it, unless they are given. It may also stand second, after the data.
    data : data frame or mapping of columns, optional
        Where formulas find their covariates.
    threshold : float, str or array_like, optional
        A number: the same for all rows. A formula or covariates: the quantile that is linear in them, by quantile
        regression. By default constant.
    quantile : float in (0, 1)
        Of the threshold, where it is not a number.
    sigma, xi : str or array_like, optional
        What log σ and ξ of the excesses are linear in, as in `fit_gpd`.
    rate : str or array_like, optional
        What the log-odds of an exceedance are linear in.
    side : {"upper", "lower"}
        Which tail.
    prior : str, optional
        A prior on the shape, as in `fit_gpd`, for the estimates. The predictive law has one of its own.

    Returns
    -------
    CovariateTail

    Raises
    ------
    ValueError
        If an argument is bad, as in `fit_gpd`, or fewer observations exceed the threshold than there are coefficients.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.covariates import fit_tail, harmonics
    >>> hour = np.arange(24 * 100) % 24
    >>> load = np.random.default_rng(0).gamma(3.0, 2.0 + np.cos(2 * np.pi * hour / 24))
    >>> day = harmonics(hour / 24)
    >>> tail = fit_tail(load, threshold=day, sigma=day)
    >>> tail
    CovariateTail(upper; u ~ 1 + x1 + x2, rate ~ 1, sigma ~ 1 + x1 + x2, xi ~ 1; 239 of 2400, OK)
    >>> midnight, noon = tail.isf(1e-3, harmonics([0.0, 0.5]))
    >>> bool(midnight > 2 * noon)
    True

    From a table, in one call:

    >>> fit_tail("load ~ harmonics(hour / 24)", {"load": load, "hour": hour}).isf(1e-3, {"hour": [0, 12]}).round(1)
    array([34. , 12.6])
    """
    y, data, terms = asked(y, data)
    threshold, sigma = (terms if given is None else given for given in (threshold, sigma))
    values = response(y, data)
    if values.ndim != 1:
        raise ValueError(f"y must have shape (n,), got {values.shape}")
    if bad := int(np.count_nonzero(~np.isfinite(values))):
        raise ValueError(f"y must be finite, got NaN or inf in {bad} of {len(values)} rows: leave them out of the data")
    if side not in ("upper", "lower"):
        raise ValueError(f"side must be 'upper' or 'lower', got {side!r}")
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must lie strictly between 0 and 1, got {quantile!r}")
    own = values if side == "upper" else -values
    n = len(own)
    if isinstance(threshold, int | float) and not isinstance(threshold, bool):
        design = Design.of(None, data, n, "threshold")
        coefficients = np.array([float(threshold) if side == "upper" else -float(threshold)])
    else:
        design = Design.of(threshold, data, n, "threshold")
        if design.names == ("1",):
            coefficients = np.array([np.sort(own)[int(quantile * n)]])
        else:
            q, r = design.orthonormal()
            coefficients = np.linalg.solve(r, quantile_regression(own, q, quantile))
    excesses = own - design.matrix @ coefficients
    above = excesses > 1e-12 * np.maximum(np.abs(own), 1e-300)  # rows that the threshold goes through are not above it
    if not above.any():
        raise ValueError("some observations must exceed the threshold, got none")
    odds = Design.of(rate, data, n, "rate")
    rate_coefficients, rate_cov = exceedance_rate(above.astype(float), odds.matrix)
    inner = {"sigma": Design.of(sigma, data, n, "sigma"), "xi": Design.of(xi, data, n, "xi")}
    excess = fit_designs("gpd", excesses[above], {k: d.rows(above) for k, d in inner.items()}, prior=prior)
    return CovariateTail(excess, inner, design, coefficients, odds, rate_coefficients, rate_cov, above, values, side)


def _matrix(design: Design, at: Any, parameter: str) -> Float:
    return design.matrix if at is None else design.at(at, parameter)
