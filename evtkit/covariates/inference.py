"""Intervals and tests for laws with covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import chdtrc, chdtri, ndtri

from evtkit._common.results import Result
from evtkit.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from evtkit._common.types import Float, Int
    from evtkit.covariates.design import Design
    from evtkit.covariates.problem import Problem

__all__ = ["LikelihoodRatio", "interval_of", "likelihood_ratio", "limits_by_row"]

_STEP = 6e-6  # of the numerical derivative, in standard errors
_FAR = 60.0  # standard errors: beyond it a limit is infinite


class Fit(Protocol):
    """What inference needs of a `RegressionFit`."""

    @property
    def family(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def coefficients(self) -> Float: ...
    @property
    def cov(self) -> Float: ...
    @property
    def loglik(self) -> Float: ...
    @property
    def status(self) -> Int: ...
    @property
    def y(self) -> Float: ...
    @property
    def problem(self) -> Problem: ...
    @property
    def designs(self) -> Mapping[str, Design]: ...
    @property
    def units(self) -> tuple[Float, Float]: ...
    @property
    def triangles(self) -> tuple[Float, ...]: ...
    @property
    def single(self) -> bool: ...
    def theta_of(self, coefficients: Float) -> Float: ...


@dataclass(frozen=True, eq=False)
class LikelihoodRatio(Result):
    """A likelihood-ratio test of a model against one that holds it; one entry a channel.

    Attributes
    ----------
    deviance : ndarray of float64
        Twice the difference of the log-likelihoods.
    df : int
        Difference of the numbers of coefficients.
    p_value : ndarray of float64
        Of the χ² law with so many degrees of freedom.

    See Also
    --------
    RegressionFit.compare : makes it.
    trend_test : of a trend over time, in one call.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates
    >>> year = np.arange(2000) / 2000
    >>> y = np.random.default_rng(0).exponential(np.exp(0.5 * year))
    >>> covariates.fit_gpd(y, sigma=year).compare(covariates.fit_gpd(y))
    LikelihoodRatio(deviance=21.8796, df=1, p=2.9e-06)
    """

    deviance: Float
    df: int
    p_value: Float

    def __repr__(self) -> str:
        if self.deviance.ndim:
            return f"LikelihoodRatio({self.deviance.shape[0]} channels, df={self.df})"
        return f"LikelihoodRatio(deviance={self.deviance:.4f}, df={self.df}, p={self.p_value:.3g})"


def likelihood_ratio(larger: Fit, smaller: Fit) -> LikelihoodRatio:
    """See `RegressionFit.compare`."""
    df = len(larger.names) - len(smaller.names)
    if larger.family != smaller.family or not np.array_equal(larger.y, smaller.y) or df < 1:
        raise ValueError(
            f"the smaller model must be of the same law and responses with fewer coefficients, got {smaller!r} "
            f"beside {larger!r}"
        )
    deviance = np.maximum(2.0 * (larger.loglik - smaller.loglik), 0.0)
    return LikelihoodRatio(np.asarray(deviance), df, np.asarray(chdtrc(df, deviance)))


def interval_of(
    fit: Fit, of: str | Callable[[Mapping[str, Float]], Float], at: Any, level: float, method: str
) -> Interval:
    """See `RegressionFit.interval`."""
    _check(fit, level, method)
    if isinstance(of, str) and of not in fit.names:
        raise ValueError(f"of must be one of {', '.join(map(repr, fit.names))}, got {of!r}")

    if not isinstance(of, str) and at is None and any(design.names != ("1",) for design in fit.designs.values()):
        raise ValueError("at must be one row of covariates, for what follows from the parameters, got none")
    rows = {key: design.matrix[:1] if at is None else design.at(at, key) for key, design in fit.designs.items()}
    if any(len(row) != 1 for row in rows.values()):
        raise ValueError(f"at must be one row of covariates, got {max(map(len, rows.values()))}")
    blocks = {key: block for key, block in zip(("mu", "sigma", "xi"), fit.problem.blocks, strict=True) if key in rows}

    def value(beta: Float) -> float:
        if isinstance(of, str):
            return float(beta[fit.names.index(of)])
        own = {key: row @ beta[blocks[key]] for key, row in rows.items()}
        return float(np.squeeze(of(own | {"sigma": np.exp(own["sigma"])})))

    estimate, lower, upper = _limits(fit, value, level, method)
    return Interval(np.array(estimate), np.array(lower), np.array(upper), level, method, fit.status)


def limits_by_row(
    fit: Fit, of: Callable[[Mapping[str, Float], int], Float], rows: Mapping[str, Float], known: Float,
    level: float, method: str,
) -> Interval:  # fmt: skip
    """Of what follows from the parameters of each row of some designs, and from what is known of row i; (rows,).

    Rows that are alike, `known` (rows, …) included, share their limits.
    """
    _check(fit, level, method)
    blocks = {key: block for key, block in zip(("mu", "sigma", "xi"), fit.problem.blocks, strict=True) if key in rows}
    size = len(next(iter(rows.values())))
    stacked = np.column_stack([*rows.values(), known])
    _, first, place = np.unique(stacked, axis=0, return_index=True, return_inverse=True)
    found = np.empty((len(first), 3))
    for k, i in enumerate(first):

        def value(beta: Float, i: int = int(i)) -> float:
            own = {key: row[i : i + 1] @ beta[blocks[key]] for key, row in rows.items()}
            return float(np.squeeze(of(own | {"sigma": np.exp(own["sigma"])}, i)))

        found[k] = _limits(fit, value, level, method)
    found = found[place.ravel()]
    return Interval(found[:, 0], found[:, 1], found[:, 2], level, method, np.broadcast_to(fit.status, size).copy())


def _check(fit: Fit, level: float, method: str) -> None:
    if not fit.single:
        raise ValueError(f"an interval needs a fit of one response, got {fit.coefficients.shape[1]}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level!r}")
    if method not in ("profile", "delta"):
        raise ValueError(f"method must be 'profile' or 'delta', got {method!r}")


def _limits(fit: Fit, value: Callable[[Float], float], level: float, method: str) -> tuple[float, float, float]:
    """Estimate and limits of a function of the coefficients."""
    estimate = value(fit.coefficients)
    if not np.all(np.isfinite(fit.cov)) or not np.isfinite(estimate):
        return estimate, float("nan"), float("nan")
    # coefficients = estimate + root · standard coordinates
    root: Float = np.asarray(np.linalg.cholesky(fit.cov), dtype=np.float64)
    slope = _slope(lambda v: value(fit.coefficients + root @ v), len(root))
    if method == "delta":
        half = float(ndtri(0.5 + 0.5 * level) * np.linalg.norm(slope))
        return estimate, estimate - half, estimate + half
    lower, upper = (_limit(fit, value, root, slope, level, sign) for sign in (-1.0, 1.0))
    return estimate, lower, upper


def _limit(fit: Fit, value: Callable[[Float], float], root: Float, slope: Float, level: float, sign: float) -> float:
    """The largest (smallest) value inside the region that a likelihood-ratio test accepts.

    That is the limit of the profile interval, found without profiling: the value is pushed outwards on the surface of
    the region (Venzon & Moolgavkar 1988 solve the same equations).
    """
    drop = 0.5 * float(chdtri(1, 1.0 - level))
    best = _loglik(fit, fit.coefficients)
    estimate, size = value(fit.coefficients), float(np.linalg.norm(slope)) or 1.0

    def room(v: Float) -> float:
        found = _loglik(fit, fit.coefficients + root @ v)
        return float(found - best + drop) if np.isfinite(found) else -1e3 - float(v @ v)

    def aim(v: Float) -> float:
        return -sign * (value(fit.coefficients + root @ v) - estimate) / size

    start = sign * slope / size * np.sqrt(2.0 * drop)
    ends = []
    for shrink in (1.0, 0.6, 0.3):
        found = minimize(
            aim, shrink * start, jac=lambda v: _slope(aim, len(v), v), method="SLSQP",
            constraints=[{"type": "ineq", "fun": room, "jac": lambda v: _gradient(fit, root, v)}],
            bounds=[(-_FAR, _FAR)] * len(root), options={"maxiter": 300, "ftol": 1e-13},
        )  # fmt: skip
        if np.all(np.isfinite(found.x)) and room(found.x) > -1e-6:
            ends.append(found.x)
            if found.success:
                break
    if not ends:
        return float("nan")
    end = min(ends, key=aim)
    if np.any(np.abs(end) >= 0.999 * _FAR):
        return sign * float("inf")
    return value(fit.coefficients + root @ end)


def _loglik(fit: Fit, beta: Float) -> float:
    return float(fit.problem.value(fit.theta_of(beta[:, None]))[0])


def _gradient(fit: Fit, root: Float, v: Float) -> Float:
    """Of the log-likelihood in standard coordinates."""
    beta = fit.coefficients + root @ v
    if not np.isfinite(_loglik(fit, beta)):
        return -2.0 * v
    gradient = fit.problem.derivatives(fit.theta_of(beta[:, None]))[0][0]
    own = np.empty_like(beta)
    for k, (block, r) in enumerate(zip(fit.problem.blocks, fit.triangles, strict=True)):
        own[block] = r.T @ gradient[block] / (fit.units[1][0] if k == 0 else 1.0)
    return np.asarray(root.T @ own)


def _slope(function: Callable[[Float], float], size: int, at: Float | None = None) -> Float:
    """The gradient by central differences."""
    where = np.zeros(size) if at is None else at
    steps = _STEP * np.eye(size)
    return np.array([(function(where + step) - function(where - step)) / (2.0 * _STEP) for step in steps])
