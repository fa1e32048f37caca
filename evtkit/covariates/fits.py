"""Fits of generalised Pareto and generalised extreme-value laws whose parameters are linear in covariates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit import gev
from evtkit._common.checks import real_array
from evtkit.covariates.design import Design, asked, response
from evtkit.covariates.problem import PRIORS, Problem, Solution, maximize
from evtkit.covariates.results import PARAMETERS, RegressionFit
from evtkit.fit import FitStatus
from evtkit.fit import fit_gpd as fit_stationary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from evtkit._common.types import Float

__all__ = ["fit_designs", "fit_gev", "fit_gpd"]

_FEW = 100  # observations: of 3,000 samples of 12 to 300, two had a higher maximum elsewhere, both of 20


def fit_gev(
    y: Any,
    data: Any = None,
    *,
    mu: str | ArrayLike | None = None,
    sigma: str | ArrayLike | None = None,
    xi: str | ArrayLike | None = None,
    weights: ArrayLike | None = None,
    offsets: Mapping[str, ArrayLike] | None = None,
    prior: str | None = None,
    ridge: float = 0.0,
) -> RegressionFit:
    """Fit a generalised extreme-value law whose location, log-scale and shape are linear in covariates.

    Parameters
    ----------
    y : array_like, shape (n,) or (n, channels), or str
        Maxima, or the name of a column of the data. All channels share the covariates. Or a whole formula, ``"level ~
        year"``: the location then depends on what is right of it, unless ``mu`` is given (the scale of excesses, in
        `fit_gpd`). It may also stand second, after the data.
    data : data frame or mapping of columns, optional
        Where formulas find their covariates.
    mu, sigma, xi : str or array_like, optional
        What μ, log σ and ξ are linear in: the right side of a formula (``"year + soi"``, by formulaic, with
        `harmonics` at hand), or covariates of shape (n,) or (n, columns), to which a constant is added. By default each
        is constant.
    weights : array_like, shape (n,), optional
        How often each observation counts.
    offsets : mapping of str to array_like, optional
        Known parts of ``"mu"``, ``"sigma"`` (on the scale of log σ) and ``"xi"``, shape (n,) each.
    prior : {"coles-dixon", "martins-stedinger"}, optional
        A prior on the shape, added to the log-likelihood.
    ridge : float
        Take off ridge/2 times the squared coefficients, of covariates with standard deviation 1, constants excepted.

    Returns
    -------
    RegressionFit

    Raises
    ------
    ValueError
        If a response, covariate, weight or offset is not finite or has the wrong shape, covariates depend on each
        other, or there are fewer observations than coefficients.

    Notes
    -----
    The maximum inside the support with ξ > −1 for every observation, by Newton's method with exact derivatives. Neither
    the unit of the response nor scale and origin of a covariate make a difference, but to the coefficients.

    References
    ----------
    Coles (2001), An Introduction to Statistical Modeling of Extreme Values, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import gev
    >>> from evtkit.covariates import fit_gev
    >>> year = np.arange(1900, 2020)
    >>> level = gev.rvs(-0.1, 1.0 + 0.002 * (year - 1900), 0.1, size=120, rng=0)
    >>> fit = fit_gev(level, {"year": year}, mu="year")
    >>> print(fit.summary())
    GEV(mu ~ Intercept + year, sigma ~ 1, xi ~ 1; n=120, loglik=..., AIC=..., OK)
                     estimate        se      z        p
    mu: Intercept  ...
    """
    y, data, terms = asked(y, data)
    mu = terms if mu is None else mu
    return _fit("gev", y, data, {"mu": mu, "sigma": sigma, "xi": xi}, weights, offsets, prior, ridge)


def fit_gpd(
    y: Any,
    data: Any = None,
    *,
    sigma: str | ArrayLike | None = None,
    xi: str | ArrayLike | None = None,
    weights: ArrayLike | None = None,
    offsets: Mapping[str, ArrayLike] | None = None,
    prior: str | None = None,
    ridge: float = 0.0,
) -> RegressionFit:
    """Fit a generalised Pareto law whose log-scale and shape are linear in covariates, to excesses.

    Parameters, errors and notes as for `fit_gev`; ``y`` are excesses over a threshold, hence positive.

    Returns
    -------
    RegressionFit

    References
    ----------
    Davison & Smith (1990), J. R. Statist. Soc. B 52, 393-442.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import gpd
    >>> from evtkit.covariates import fit_gpd
    >>> t = np.linspace(0.0, 1.0, 500)
    >>> fit = fit_gpd(gpd.rvs(0.1, np.exp(1.0 + t), size=500, rng=0), sigma=t)
    >>> fit
    GPD(sigma ~ 1 + x1, xi ~ 1; n=500, loglik=..., AIC=..., OK)
    """
    y, data, terms = asked(y, data)
    sigma = terms if sigma is None else sigma
    return _fit("gpd", y, data, {"sigma": sigma, "xi": xi}, weights, offsets, prior, ridge)


def _fit(
    family: str, y: Any, data: Any, models: dict[str, Any], weights: ArrayLike | None,
    offsets: Mapping[str, ArrayLike] | None, prior: str | None, ridge: float,
) -> RegressionFit:  # fmt: skip
    values = response(y, data)
    _check(family, values, prior, ridge)
    designs = {key: Design.of(what, data, len(values), key) for key, what in models.items()}
    return fit_designs(family, values, designs, weights, offsets, prior, ridge)


def fit_designs(
    family: str, values: Float, designs: Mapping[str, Design], weights: ArrayLike | None = None,
    offsets: Mapping[str, ArrayLike] | None = None, prior: str | None = None, ridge: float = 0.0,
) -> RegressionFit:  # fmt: skip
    """Fit a law to responses (n,) or (n, channels) by designs that have been checked."""
    single = values.ndim == 1
    values = values[:, None] if single else values
    n = len(values)
    size = sum(len(design.names) for design in designs.values())
    if n < size:
        raise ValueError(f"observations must be at least as many as coefficients, {size}, got {n}")
    given = _rows(weights, n, "weights", 1.0)
    if np.any(given < 0.0) or not np.any(given > 0.0):
        raise ValueError("weights must be 0 or more, and some above 0")
    if unknown := set(offsets or {}) - set(designs):
        raise ValueError(f"offsets must be of {', '.join(map(repr, designs))}, got {sorted(unknown)}")
    known = np.column_stack([_rows((offsets or {}).get(k), n, f"offset of {k}", 0.0) for k in ("mu", "sigma", "xi")])
    center, unit = _units(family, values)
    scaled = np.ascontiguousarray(((values - center) / unit).T)
    triangles, matrices = [], []
    for key in ("mu", "sigma", "xi"):
        q, r = designs[key].orthonormal() if key in designs else (np.zeros((n, 0)), np.zeros((0, 0)))
        matrices.append(q)
        triangles.append(r)
    penalty = _ridge(ridge, designs, triangles) if ridge else None
    problem = Problem(family, scaled, matrices, given, known, center, unit, PRIORS[prior] if prior else 0, penalty)
    solution = _best(problem)
    theta = solution.theta
    _, hessian = problem.derivatives(theta)
    back = np.zeros((size, size))
    for block, r in zip(problem.blocks, triangles, strict=True):
        back[block, block] = np.linalg.inv(r) if r.size else r
    scale = np.ones((size, values.shape[1]))
    scale[problem.blocks[0]] = unit
    beta = (back @ theta) * scale
    status = np.where(
        solution.boundary, FitStatus.BOUNDARY, np.where(solution.converged, FitStatus.OK, FitStatus.NO_SOLUTION)
    ).astype(np.int64)
    xi = problem.shapes(theta)
    cov = np.full((values.shape[1], size, size), np.nan)
    for c in np.flatnonzero((status == FitStatus.OK) & (np.min(xi, axis=0) > -0.5)):
        own = back * scale[:, c][:, None]
        cov[c] = own @ np.linalg.pinv(-hessian[c], hermitian=True) @ own.T
    plain = (
        solution.value if not problem.prior and penalty is None else replace(problem, prior=0, ridge=None).value(theta)
    )
    loglik = plain - given.sum() * np.log(unit)
    se = np.sqrt(np.diagonal(cov, axis1=1, axis2=2)).T
    names = tuple(
        f"{label}: {name}"
        for label in PARAMETERS
        if label.split()[-1] in designs
        for name in designs[label.split()[-1]].names
    )
    whole = (beta, se, loglik, status)
    beta, se, loglik, status = (np.asarray(part[..., 0]) for part in whole) if single else whole
    return RegressionFit(
        family, names, beta, se, cov[0] if single else cov, loglik, status, n, values, problem, designs, theta,
        (center, unit), tuple(triangles), known,
    )  # fmt: skip


def _check(family: str, values: Float, prior: str | None, ridge: float) -> None:
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"y must have shape (n,) or (n, channels), got {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("y must be finite, got NaN or inf")
    if family == "gpd" and np.any(values <= 0.0):
        raise ValueError(f"excesses must be positive, got {values.min():g}")
    if prior is not None and prior not in PRIORS:
        raise ValueError(f"prior must be one of {', '.join(map(repr, PRIORS))}, got {prior!r}")
    if not 0.0 <= ridge < np.inf:
        raise ValueError(f"ridge must be 0 or more, got {ridge!r}")


def _rows(given: ArrayLike | None, n: int, name: str, default: float) -> Float:
    """Numbers a row."""
    if given is None:
        return np.full(n, default)
    values = np.asarray(real_array(given, name), dtype=np.float64)
    if values.shape not in ((), (n,)) or not np.all(np.isfinite(values)):
        raise ValueError(f"{name} must be finite and of shape ({n},), got shape {values.shape}")
    return np.broadcast_to(values, (n,)).copy()


def _units(family: str, values: Float) -> tuple[Float, Float]:
    """An origin and a unit for each response, the unit a power of two, so that dividing by it rounds nothing."""
    center = np.median(values, axis=0) if family == "gev" else np.zeros(values.shape[1])
    spread = np.median(np.abs(values - center), axis=0)
    spread = np.where(spread > 0.0, spread, np.max(np.abs(values - center), axis=0))
    _, exponent = np.frexp(np.where(spread > 0.0, spread, 1.0))
    return center, np.ldexp(1.0, exponent)


def _ridge(ridge: float, designs: Mapping[str, Design], triangles: list[Float]) -> Float:
    """The penalty as a matrix for the coefficients of orthonormal columns."""
    size = sum(r.shape[0] for r in triangles)
    whole, first = np.zeros((size, size)), 0
    for key, r in zip(("mu", "sigma", "xi"), triangles, strict=True):
        if r.size:
            spread = designs[key].matrix.std(axis=0)
            inner = spread[:, None] * np.linalg.inv(r)
            whole[first : first + len(r), first : first + len(r)] = ridge * inner.T @ inner
        first += len(r)
    return whole


def _best(problem: Problem) -> Solution:
    """The climb from the law without covariates; where that may not be the highest maximum, another from ξ = 0."""
    best = maximize(problem, _start(problem, light=False))
    again = np.flatnonzero(~best.converged | (problem.y.shape[1] <= _FEW))
    if not again.size:
        return best
    some = replace(problem, y=problem.y[again], origin=problem.origin[again], unit=problem.unit[again])
    other = maximize(some, _start(some, light=True))
    value, converged, boundary = best.value[again], best.converged[again], best.boundary[again]
    better = ((other.value > value) & ~(converged & ~other.converged)) | (other.converged & ~converged & ~boundary)
    taken = again[better]
    best.theta[:, taken], best.value[taken] = other.theta[:, better], other.value[better]
    best.converged[taken], best.boundary[taken] = other.converged[better], other.boundary[better]
    return best


def _start(problem: Problem, *, light: bool) -> Float:
    """Coefficients (coefficients, channels) of the law without covariates, or of one with ξ = 0."""
    y = problem.y
    if problem.family == "gpd":
        location, scale, shape = np.zeros(len(y)), y.mean(axis=1), np.zeros(len(y))
        if not light:
            found = fit_stationary(y, axis=1)
            usable = found.xi > -0.5
            scale, shape = np.where(usable, found.sigma, scale), np.where(usable, found.xi, 0.0)
    else:
        scale = np.maximum(y.std(axis=1), 1e-300) * np.sqrt(6.0) / np.pi
        location, shape = y.mean(axis=1) - 0.5772156649015329 * scale, np.zeros(len(y))
        if not light:
            law = gev.fit_gev(y, axis=1)
            usable = (law.status == FitStatus.OK) & (law.xi > -0.5)
            location, scale, shape = (
                np.where(usable, own, other)
                for own, other in zip((law.mu, law.sigma, law.xi), (location, scale, shape), strict=True)
            )
    known = ((problem.offsets[:, :1] - problem.origin) / problem.unit, problem.offsets[:, 1:2] - np.log(problem.unit),
             problem.offsets[:, 2:])  # fmt: skip
    theta = np.concatenate([
        design.T @ (value - offset) / len(design)
        for design, offset, value in zip(problem.designs, known, (location, np.log(scale), shape), strict=True)
    ])  # fmt: skip
    if problem.prior:
        theta[problem.blocks[2]] *= 0.5
    return theta
