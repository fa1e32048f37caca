"""What a fit with covariates knows: coefficients, laws at given covariates, residuals, limits, comparisons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit import gev, gpd
from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit._common.text import aligned
from evtkit.covariates.inference import LikelihoodRatio, interval_of, likelihood_ratio, limits_by_row
from evtkit.fit import FitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.covariates.design import Design
    from evtkit.covariates.problem import Problem
    from evtkit.intervals import Interval

__all__ = ["PARAMETERS", "RegressionFit"]

PARAMETERS = ("mu", "log sigma", "xi")


@dataclass(frozen=True, eq=False, repr=False)
class RegressionFit(Result):
    """A law whose parameters are linear in covariates; one entry a channel, none for a single response.

    Attributes
    ----------
    family : {"gpd", "gev"}
        The law.
    names : tuple of str
        Of the coefficients: ``"mu: 1"``, ``"mu: year"``, ``"log sigma: 1"``, ``"xi: 1"``. log σ, not σ, is linear.
    coefficients, se : ndarray of float64, shape (coefficients,) or (coefficients, channels)
        Estimates, and standard errors by the observed information; NaN where ξ ≤ −½ somewhere, where they do not exist.
    cov : ndarray of float64, shape (coefficients, coefficients) or (channels, coefficients, coefficients)
        Covariance of the estimates.
    loglik : ndarray of float64
        Log-likelihood, without any penalty.
    status : ndarray of int64
        A `FitStatus`: OK, BOUNDARY (ξ = −1 for some observation) or NO_SOLUTION.
    n : int
        Observations.
    y : ndarray of float64, shape (n, channels)
        The responses.

    See Also
    --------
    fit_gpd, fit_gev : make it.
    CovariateTail : with a threshold and a rate, for probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import covariates
    >>> rng = np.random.default_rng(0)
    >>> year = np.arange(2000) / 2000
    >>> y = rng.exponential(np.exp(0.5 * year))
    >>> fit = covariates.fit_gpd(y, sigma=year)
    >>> fit
    GPD(sigma ~ 1 + x1, xi ~ 1; n=2000, loglik=-2522.145159, AIC=5050.29, OK)
    >>> fit.coefficients.round(2)
    array([0.06, 0.37, 0.02])
    """

    family: str
    names: tuple[str, ...]
    coefficients: Float
    se: Float
    cov: Float
    loglik: Float
    status: NDArray[np.int64]
    n: int
    y: Float = field()
    problem: Problem = field()
    designs: Mapping[str, Design] = field()
    theta: Float = field()
    units: tuple[Float, Float] = field()
    triangles: tuple[Float, ...] = field()
    offsets: Float = field()

    def _table(self) -> dict[str, NDArray[Any]]:
        """A row a coefficient, of one channel after another."""
        names, channels = np.array(self.names), self.coefficients[0].size
        table = {} if self.single else {"channel": np.repeat(np.arange(channels), names.size)}
        table |= {"coefficient": np.tile(names, channels)}
        return table | {"estimate": self.coefficients.T.ravel(), "se": self.se.T.ravel()}

    @property
    def single(self) -> bool:
        """Whether there is one response and no axis of channels."""
        return self.coefficients.ndim == 1

    @property
    def aic(self) -> Float:
        """Akaike's criterion, 2 · coefficients − 2 · log-likelihood."""
        return np.asarray(2.0 * len(self.names) - 2.0 * self.loglik)

    def parameters(self, at: Any = None, offsets: Mapping[str, ArrayLike] | None = None) -> dict[str, Float]:
        """μ (of a GEV), σ and ξ of every row.

        Parameters
        ----------
        at : data frame, mapping of columns, or array_like, optional
            New rows of covariates, as they were given to the fit; for arrays of different covariates a mapping from
            ``"mu"``, ``"sigma"``, ``"xi"``. By default the rows of the fit.
        offsets : mapping of str to array_like, optional
            Offsets of the new rows.

        Returns
        -------
        dict
            ``"mu"``, ``"sigma"``, ``"xi"``, shape (rows,) or (rows, channels) each.
        """
        coefficients = self.coefficients if not self.single else self.coefficients[:, None]
        matrices = {key: d.matrix if at is None else d.at(at, key) for key, d in self.designs.items()}
        shifts = {key: self.offsets[:, [k]] for k, key in enumerate(("mu", "sigma", "xi"))}
        if at is not None:
            shifts = {key: np.asarray((offsets or {}).get(key, 0.0), dtype=float).reshape(-1, 1) for key in shifts}
        values = self.predicted(coefficients, matrices, shifts)
        return {key: value[:, 0] if self.single else value for key, value in values.items()}

    def predicted(
        self, coefficients: Float, matrices: Mapping[str, Float], shifts: Mapping[str, Float] | None = None
    ) -> dict[str, Float]:
        """Parameters by given coefficients (coefficients, draws) at the rows of designs: (rows, draws) each."""
        blocks = dict(zip(("mu", "sigma", "xi"), self.problem.blocks, strict=True))
        linear = {key: rows @ coefficients[blocks[key]] for key, rows in matrices.items()}
        linear = {key: value + (0.0 if shifts is None else shifts[key]) for key, value in linear.items()}
        return linear | {"sigma": np.exp(linear["sigma"])}

    def theta_of(self, coefficients: Float) -> Float:
        """Coefficients of the orthonormal columns, from those of the covariates; (coefficients, draws) both."""
        theta = np.empty(coefficients.shape)
        for k, (block, r) in enumerate(zip(self.problem.blocks, self.triangles, strict=True)):
            theta[block] = r @ coefficients[block] / (self.units[1][0] if k == 0 else 1.0)
        return theta

    def sf(self, x: ArrayLike, at: Any = None) -> Float:
        """P(X > x) at each row, for the law as estimated."""
        own = self.parameters(at)
        level = np.asarray(real_array(x, "x"), dtype=np.float64)
        if self.family == "gpd":
            return np.asarray(gpd.sf(level, own["xi"], own["sigma"]))
        return np.asarray(gev.sf(level, own["xi"], own["mu"], own["sigma"]))

    def isf(self, p: ArrayLike, at: Any = None) -> Float:
        """The level exceeded with probability p at each row.

        For annual maxima that is the effective return level of 1/p years (Katz, Parlange & Naveau 2002).
        """
        own = self.parameters(at)
        chance = np.asarray(real_array(p, "p"), dtype=np.float64)
        if self.family == "gpd":
            return np.asarray(gpd.isf(chance, own["xi"], own["sigma"]))
        return np.asarray(gev.isf(chance, own["xi"], own["mu"], own["sigma"]))

    def return_level(
        self, m: float, at: Any = None, *, interval: float | None = None, method: str = "profile"
    ) -> Float | Interval:
        """The effective return level of maxima at each row (Katz, Parlange & Naveau 2002).

        It would be exceeded by one maximum in m were all rows like that one.

        Parameters
        ----------
        m : float
            Return period in maxima, above 1: in years, of annual maxima.
        at : data frame, mapping of columns, or array_like, optional
            Rows of covariates; by default those of the fit.
        interval : float, optional
            Confidence level of an interval.
        method : {"profile", "delta"}
            Of the interval; see `interval`.

        Returns
        -------
        ndarray of float64, shape (rows,), or Interval

        Raises
        ------
        ValueError
            If m is not above 1; of excesses, whose rate is not known here; or as `interval`.
        """
        if self.family != "gev":
            raise ValueError("a return level needs the rate of excesses: take evtkit.covariates.fit_tail")
        if not m > 1.0:
            raise ValueError(f"m must be above 1, got {m!r}")
        if interval is None:
            return self.isf(1.0 / m, at)
        rows = {key: design.matrix if at is None else design.at(at, key) for key, design in self.designs.items()}
        size = max(map(len, rows.values()))
        rows = {key: np.broadcast_to(row, (size, row.shape[1])) for key, row in rows.items()}

        def level(own: Mapping[str, Float], _: int) -> Float:
            return np.asarray(gev.isf(1.0 / m, own["xi"], own["mu"], own["sigma"]))

        return limits_by_row(self, level, rows, np.zeros(size), interval, method)

    def residuals(self) -> Float:
        """Responses on a scale on which all have one law if the model holds: exponential for a GPD, Gumbel for a GEV.

        Returns
        -------
        ndarray of float64, shape (n,) or (n, channels)
            log(1 + ξ(y − μ)/σ)/ξ (Coles 2001, section 6.2.3).
        """
        own = self.parameters()
        y = self.y[:, 0] if self.single else self.y
        z = (y - own.get("mu", 0.0)) / own["sigma"]
        u = own["xi"] * z
        near = np.abs(u) < 1e-5
        with np.errstate(divide="ignore", invalid="ignore"):  # at an end of the support, to rounding
            whole = np.log1p(np.maximum(u, -1.0)) / np.where(near, 1.0, own["xi"])
        return np.asarray(np.where(near, z * (1.0 - u * (0.5 - u / 3.0)), whole))

    def interval(
        self,
        of: str | Callable[[Mapping[str, Float]], Float],
        *,
        at: Any = None,
        level: float = 0.95,
        method: str = "profile",
    ) -> Interval:
        """A confidence interval of a coefficient, or of what follows from the parameters of one row.

        Parameters
        ----------
        of : str or callable
            The name of a coefficient, as in ``names``; or a function from the parameters of a row, a mapping of
            ``"mu"``, ``"sigma"``, ``"xi"`` to arrays of shape (1,), to a number.
        at : data frame, mapping of columns, or array_like, optional
            The row, for a function.
        level : float
            Confidence level in (0, 1).
        method : {"profile", "delta"}
            Profile likelihood, or estimate ± normal quantile × standard error.

        Returns
        -------
        Interval
            Limits are infinite where the likelihood never falls far enough.

        Raises
        ------
        ValueError
            If there is no such coefficient, the level is outside (0, 1), or there are several channels.
        """
        return interval_of(self, of, at, level, method)

    def compare(self, smaller: RegressionFit) -> LikelihoodRatio:
        """The likelihood-ratio test of a smaller model that is nested in this one.

        Raises
        ------
        ValueError
            If the two are not of the same responses and law, or the smaller has not fewer coefficients.
        """
        return likelihood_ratio(self, smaller)

    def summary(self) -> str:
        """The coefficients as text, with standard errors and the two-sided p-value of each being 0."""
        from scipy.special import erfc

        if not self.single:
            return repr(self)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = self.coefficients / self.se
        rows = [("", "estimate", "se", "z", "p")]
        for name, value, error, ratio in zip(self.names, self.coefficients, self.se, z, strict=True):
            cells = (f"{value:.6g}", f"{error:.3g}", f"{ratio:.2f}", f"{erfc(abs(ratio) / np.sqrt(2.0)):.2g}")
            rows.append((name, *cells))
        return f"{self!r}\n{aligned(rows, '<>>>>')}"

    def __repr__(self) -> str:
        law = {"gpd": "GPD", "gev": "GEV"}[self.family]
        models = ", ".join(f"{key} ~ {design.label}" for key, design in self.designs.items())
        if self.single:
            status = FitStatus(int(self.status)).name
            return f"{law}({models}; n={self.n}, loglik={self.loglik:.6f}, AIC={self.aic:.2f}, {status})"
        counts = ", ".join(f"{np.count_nonzero(self.status == s)} {s.name}" for s in FitStatus if s in self.status)
        return f"{law}({models}; {self.coefficients.shape[1]} channels of n={self.n}: {counts})"
