"""Choosing covariates step by step, where somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evtkit.covariates.fits import fit_gev, fit_gpd
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evtkit.covariates.results import RegressionFit

__all__ = ["stepwise"]


def stepwise(
    family: str, y: Any, data: Any, among: Mapping[str, Sequence[str]], *, penalty: float = 2.0, **options: Any
) -> RegressionFit:
    """Add or drop one term of a formula at a time, as long as an information criterion falls.

    The fit's standard errors, p-values and intervals know nothing of the search: they say too much. Where you know
    which covariates matter, fit that model instead.

    Parameters
    ----------
    family : {"gev", "gpd"}
        The law: of maxima, or of excesses.
    y : array_like, shape (n,), or str
        Responses, or the name of a column of the data.
    data : data frame or mapping of columns
        Where formulas find their covariates.
    among : mapping of str to sequence of str
        Terms that each parameter may depend on: ``{"mu": ["year", "soi"], "sigma": ["year"]}``. The search begins with
        none of them.
    penalty : float
        Of a coefficient, in −2 · log-likelihood: 2 is Akaike's criterion, log n Schwarz's.
    **options
        As `fit_gev` and `fit_gpd` take them.

    Returns
    -------
    RegressionFit
        Of the terms that are left; a model without a maximum is never taken.

    Raises
    ------
    ValueError
        If the family is neither, there is no such parameter, or as `fit_gev` and `fit_gpd`.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import gev
    >>> from evtkit.covariates import stepwise
    >>> data = {"year": np.arange(120.0), "noise": np.random.default_rng(1).normal(size=120)}
    >>> level = gev.rvs(-0.1, 1.0 + 0.002 * data["year"], 0.1, size=120, rng=0)
    >>> stepwise("gev", level, data, {"mu": ["year", "noise"], "sigma": ["year"]})
    GEV(mu ~ Intercept + year, sigma ~ 1, xi ~ 1; n=120, loglik=..., AIC=..., OK)
    """
    if family not in ("gev", "gpd"):
        raise ValueError(f"family must be 'gev' or 'gpd', got {family!r}")
    parameters = ("mu", "sigma", "xi") if family == "gev" else ("sigma", "xi")
    if unknown := set(among) - set(parameters):
        raise ValueError(f"among must be of {', '.join(map(repr, parameters))}, got {sorted(unknown)}")
    terms = [(parameter, term) for parameter in parameters for term in among.get(parameter, ())]
    fit = fit_gev if family == "gev" else fit_gpd

    def fitted(chosen: frozenset[tuple[str, str]]) -> RegressionFit:
        own: dict[str, Any] = {}
        for p in parameters:
            own[p] = " + ".join(term for parameter, term in terms if parameter == p and (p, term) in chosen) or None
        return fit(y, data, **own, **options)

    def criterion(model: RegressionFit) -> float:
        if not model.single:
            raise ValueError(f"y must have shape (n,), got {model.y.T.shape}")
        taken = int(model.status) == FitStatus.OK
        return float(penalty * len(model.names) - 2.0 * model.loglik) if taken else float("inf")

    chosen: frozenset[tuple[str, str]] = frozenset()
    best = fitted(chosen)
    seen = {chosen}
    while True:
        near = [other for term in terms if (other := chosen ^ {term}) not in seen]
        seen.update(near)
        models = [(fitted(other), other) for other in near]
        if not models:
            return best
        found, other = min(models, key=lambda pair: criterion(pair[0]))
        if not criterion(found) < criterion(best):
            return best
        best, chosen = found, other
