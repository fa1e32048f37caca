"""GevFit: GEV parameters, whatever they were fitted to, and what they say with its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from scipy.special import exprel, ndtri

from evtkit._common.checks import real_array
from evtkit._common.results import Result
from evtkit.fit import FitStatus
from evtkit.intervals import Interval
from evtkit.intervals.profile import stretched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float

__all__ = ["BlockData", "GevFit", "slope_by_xi", "standardised"]

_XI, _MU, _SIGMA, _LEVEL, _REDUCED, _ENDPOINT = range(6)  # as in the kernel
_METHODS = ("bartlett", "profile", "delta")
_EDGE = -31.9  # log((1 + t z_max)/(1 + t z_min)) from which the kernel's search can go to both sides
_EXACT_FROM = 50  # block maxima from which the χ² law of the likelihood ratio needs no correction
_STRETCH = 5.0  # fitted to simulations: `benchmarks/block_coverage.py`


@dataclass(frozen=True, eq=False)
class BlockData:
    """What a fit of block maxima was made of, for one channel; see `evtkit._kernels.block_maxima`.

    Attributes
    ----------
    points : ndarray of float64
        Values.
    exposures, weights : ndarray of float64
        Levels beyond which a block would have shown a value, and how many blocks would.
    """

    points: Float
    exposures: Float
    weights: Float


def standardised(data: BlockData) -> tuple[Float, Float, float, float]:
    """Points and exposures less a centre and in units of about their spread, with both; 0 lies inside their range."""
    low, high = min(data.points.min(), data.exposures.min()), data.points.max()
    centre = float(np.median(data.points))
    if centre in (low, high):
        centre = 0.5 * low + 0.5 * high
    spread = max(high - centre, centre - low)
    unit = float(2.0 ** (np.frexp(spread * np.mean(np.abs(data.points - centre) / spread))[1]))
    return (data.points - centre) / unit, (data.exposures - centre) / unit, centre, unit


@dataclass(frozen=True, eq=False)
class GevFit(Result):
    """GEV parameters; every array has one entry a channel, 0-d for 1-D input.

    Attributes
    ----------
    xi, mu, sigma : ndarray of float64
        Shape, location and scale; NaN where there is no fit.
    loglik : ndarray of float64
        Log-likelihood.
    covariance : ndarray of float64, (..., 3, 3)
        Inverse of the observed information of (ξ, μ, σ); NaN where ξ ≤ −0.5, where it is not valid (Smith 1985), and
        for estimators other than maximum likelihood.
    n : ndarray of int64
        Number of values; NaN padding is not counted.
    status : ndarray of int64
        An `evtkit.FitStatus` each: OK; BOUNDARY, where the likelihood is larger at ξ = −1, with the endpoint at the
        largest value, than at any local maximum; CONSTANT, TOO_FEW (one or two maxima) and EMPTY; NO_SOLUTION, where
        the likelihood grows towards the corner ξ → ∞ without any local maximum, or a moment estimator has no valid
        value. The last four are no fit.
    method : str
        The estimator: "mle", "lmoments", "pwm", or "gumbel" for maximum likelihood with ξ = 0.
    data : tuple of BlockData, or None
        What the likelihood is of, a channel each; for limits.

    See Also
    --------
    fit_gev, fit_r_largest, fit_point_process : make it.

    Examples
    --------
    >>> from evtkit import gev
    >>> fit = gev.fit_gev(gev.rvs(0.1, 20.0, 5.0, size=80, rng=0))
    >>> fit
    GevFit(xi=0.1635 ± 0.08, mu=19.5048 ± 0.63, sigma=5.078 ± 0.49, loglik=-263.538899, n=80, status=OK)
    >>> fit.return_level(100, interval=0.95)
    Interval(54.34, 95 % bartlett limits 43.91 … 80.04)
    """

    xi: Float
    mu: Float
    sigma: Float
    loglik: Float
    covariance: Float
    n: NDArray[np.int64]
    status: NDArray[np.int64]
    method: str = "mle"
    data: tuple[BlockData, ...] | None = None

    @property
    def se_xi(self) -> Float:
        """Standard error of ξ."""
        return np.sqrt(self.covariance[..., 0, 0])

    @property
    def se_mu(self) -> Float:
        """Standard error of μ."""
        return np.sqrt(self.covariance[..., 1, 1])

    @property
    def se_sigma(self) -> Float:
        """Standard error of σ."""
        return np.sqrt(self.covariance[..., 2, 2])

    @property
    def aic(self) -> Float:
        """Akaike's criterion 2 · parameters − 2 · log-likelihood; smaller is better."""
        return np.asarray(2.0 * (2 if self.method == "gumbel" else 3) - 2.0 * self.loglik)

    @property
    def endpoint(self) -> Float:
        """The upper endpoint μ − σ/ξ where ξ < 0, else inf."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(
                np.where(self.xi < 0.0, self.mu - self.sigma / self.xi, np.where(np.isnan(self.xi), np.nan, np.inf))
            )

    @overload
    def return_level(self, period: ArrayLike) -> Float: ...

    @overload
    def return_level(self, period: ArrayLike, *, interval: float, method: str = ...) -> Interval: ...

    def return_level(
        self, period: ArrayLike, *, interval: float | None = None, method: str = "bartlett"
    ) -> Float | Interval:
        """The level that a block's maximum exceeds with probability 1/period (Coles 2001, equation 3.10).

        Parameters
        ----------
        period : array_like
            Numbers of blocks, > 1: years, for annual maxima. One period, or a list of k, is asked of every channel; an
            array of two or more axes has the channels on its last one.
        interval : float in (0, 1), optional
            Also confidence limits at this level.
        method : {"bartlett", "profile", "delta"}
            Profile likelihood, which "bartlett" corrects for fewer than 50 maxima (:doc:`/intervals`), or the delta
            method.

        Returns
        -------
        ndarray of float64, or Interval
            For one channel shaped as `period`; of several (channels,) for one period, (k, channels) for a list of k. An
            upper limit is infinite where the likelihood stays above the bar all the way to ξ → ∞, as it may for a
            handful of maxima.

        Raises
        ------
        ValueError
            If a period is not above 1, or an interval is asked of another estimator than maximum likelihood.

        Examples
        --------
        >>> from evtkit import gev
        >>> fit = gev.fit_gev(gev.rvs(0.1, 4.0, 0.2, size=65, rng=1))
        >>> found = fit.return_level([10, 100], interval=0.95)
        >>> for level, low, high in zip(found.estimate, found.lower, found.upper):
        ...     print(f"{level:.2f}, between {low:.2f} and {high:.2f}")
        4.50, between 4.39 and 4.68
        5.06, between 4.79 and 5.72
        """
        m = real_array(period, "period").astype(np.float64)
        if np.any(bad := ~(m > 1.0)):
            raise ValueError(f"period must be more than one block, got {float(m[bad].flat[0])}")
        if m.ndim == 1 and self.xi.ndim:
            m = m[:, None]
        try:
            m = np.broadcast_to(m, np.broadcast_shapes(m.shape, self.xi.shape))
        except ValueError:
            raise ValueError(
                f"period must have {self.xi.size} channels on its last axis, got shape {m.shape}"
            ) from None
        with np.errstate(divide="ignore"):
            g = -np.log(-np.log1p(-1.0 / m))
        level = self.mu + self.sigma * g * exprel(self.xi * g)
        if interval is None:
            return np.asarray(level)[()]
        if method == "delta":
            by_xi = self.sigma * slope_by_xi(self.xi, g)
            gradient = np.stack([by_xi, np.ones_like(by_xi), g * exprel(self.xi * g)], axis=-1)
            return replace(self._delta(level, gradient, interval), asked=("period", m))
        low, high = self._limits(_LEVEL, g, interval, method)
        return Interval(level, low, high, interval, method, self.status, asked=("period", m))

    def xi_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the shape ξ."""
        return self._parameter(0, _XI, self.xi, level, method)

    def mu_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the location μ."""
        return self._parameter(1, _MU, self.mu, level, method)

    def sigma_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the scale σ."""
        return self._parameter(2, _SIGMA, self.sigma, level, method)

    def endpoint_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the upper endpoint, by profile likelihood; infinite where ξ ≥ 0 is not rejected."""
        low, high = self._limits(_ENDPOINT, np.zeros(self.xi.shape), level, self._not_delta(method))
        return Interval(self.endpoint, low, high, level, method, self.status)

    def sf_interval(self, x: ArrayLike, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the probability that a block's maximum exceeds x, by profile likelihood.

        Parameters
        ----------
        x : array_like, shape (..., channels); any shape for one channel
            Levels.
        level : float
            Confidence level.
        method : {"bartlett", "profile"}
            As in `return_level`.

        Examples
        --------
        >>> from evtkit import gev
        >>> fit = gev.fit_gev(gev.rvs(0.1, 4.0, 0.2, size=65, rng=1))
        >>> found = fit.sf_interval(4.8)
        >>> print(f"{found.estimate:.4f}, between {found.lower:.4f} and {found.upper:.4f}; the truth is 0.0340")
        0.0289, between 0.0091 and 0.0733; the truth is 0.0340
        """
        values = real_array(x, "x").astype(np.float64)
        if np.isnan(values).any():
            raise ValueError("x holds NaN; a level must be a number")
        values = np.broadcast_to(values, np.broadcast_shapes(values.shape, self.xi.shape))
        low, high = self._limits(_REDUCED, values, level, self._not_delta(method))
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            s = (values - self.mu) / self.sigma
            w = np.maximum(self.xi * s, -1.0)
            g = np.where(np.abs(w) < 1e-12, s, np.log1p(w) / np.where(self.xi == 0.0, 1.0, self.xi))
            estimate, lower, upper = (-np.expm1(-np.exp(-v)) for v in (g, high, low))
        return Interval(estimate, lower, upper, level, method, self.status, asked=("x", values))

    def _table(self) -> dict[str, Any]:
        """Standard errors stand beside the estimates."""
        return {
            name: np.ravel(getattr(self, name))
            for name in ("xi", "se_xi", "mu", "se_mu", "sigma", "se_sigma", "loglik", "n", "status")
        }

    def __repr__(self) -> str:
        head = "GevFit" if self.method == "mle" else f"GevFit[{self.method}]"
        if self.xi.ndim == 0:
            return (
                f"{head}(xi={self.xi:.4g} ± {self.se_xi:.2g}, mu={self.mu:.6g} ± {self.se_mu:.2g}, "
                f"sigma={self.sigma:.4g} ± {self.se_sigma:.2g}, loglik={self.loglik:.6f}, n={self.n}, "
                f"status={FitStatus(int(self.status)).name})"
            )
        states = [f"{np.count_nonzero(self.status == s)} {s.name}" for s in FitStatus if np.any(self.status == s)]
        return f"{head}({'×'.join(map(str, self.xi.shape))} channels: {', '.join(states)})"

    # -- inside --------------------------------------------------------------------------------------------------------

    def _parameter(self, index: int, kind: int, estimate: Float, level: float, method: str) -> Interval:
        if method == "delta":
            gradient = np.zeros((*self.xi.shape, 3))
            gradient[..., index] = 1.0
            return self._delta(estimate, gradient, level)
        low, high = self._limits(kind, np.zeros(self.xi.shape), level, method)
        return Interval(estimate, low, high, level, method, self.status)

    def _delta(self, estimate: Float, gradient: Float, level: float) -> Interval:
        self._check(level, "delta")
        variance = np.einsum("...i,...ij,...j->...", gradient, self.covariance, gradient)
        half = ndtri(0.5 + 0.5 * level) * np.sqrt(variance)
        return Interval(estimate, estimate - half, estimate + half, level, "delta", self.status)

    def _not_delta(self, method: str) -> str:
        if method not in (known := _METHODS[:2]):
            raise ValueError(f"method must be one of {', '.join(map(repr, known))}, got {method!r}")
        return method

    def _check(self, level: float, method: str) -> Sequence[BlockData]:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level must lie in (0, 1), got {level}")
        if method not in _METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, got {method!r}")
        if self.method != "mle" or self.data is None:
            raise ValueError(f"an interval needs a maximum-likelihood fit, got method {self.method!r}")
        return self.data

    def _limits(self, kind: int, at: Float, level: float, method: str) -> tuple[Float, Float]:
        """Profile limits of a quantity, asked at values (…, channels) in the units of the data or reduced variates."""
        from evtkit._kernels.block_maxima import limits  # deferred: compiled

        data = self._check(level, method)
        rows = np.reshape(at, (-1, self.xi.size))
        out = np.full((2, *rows.shape), np.nan)
        drop = 0.5 * float(ndtri(0.5 + 0.5 * level)) ** 2
        xi, mu, sigma, loglik = (np.ravel(a) for a in (self.xi, self.mu, self.sigma, self.loglik))
        for c, part in enumerate(data):
            if np.ravel(self.status)[c] > FitStatus.BOUNDARY:
                continue
            points, exposures, centre, unit = standardised(part)
            t = _inside(float(xi[c] * unit / (sigma[c] + xi[c] * (centre - mu[c]))), points, exposures)
            fall = drop * _stretched(part) if method == "bartlett" else drop
            bar = float(loglik[c]) + points.size * math.log(unit) - fall
            asked = (rows[:, c] - centre) / unit if kind == _REDUCED else rows[:, c]
            found = np.empty((len(asked), 2))
            kinds = np.full(len(asked), kind, dtype=np.int64)
            limits(points, exposures, part.weights, t, bar, kinds, np.ascontiguousarray(asked), found)
            if kind in (_MU, _LEVEL, _ENDPOINT):
                found = centre + unit * found
            out[:, :, c] = (unit * found if kind == _SIGMA else found).T
        low, high = (a.reshape(np.shape(at)) for a in out)
        return low, high


def _inside(t: float, points: Float, exposures: Float) -> float:
    """t, or at the edge ξ = −1, where it is −1/z_max, as much more as the search can tell from there."""
    low, high = min(points.min(), exposures.min()), points.max()
    least = math.exp(_EDGE)
    return float(max(t, (least - 1.0) / (high - least * low)))


def _stretched(data: BlockData) -> float:
    """The factor by which the likelihood ratio of a small sample exceeds its limit law, on average.

    Of one value a block by simulation; of a threshold, where the limits of ξ are those of the excesses, as for them.
    The r largest values of a block say enough.
    """
    n = data.points.size
    if data.exposures.size == n:
        return float(1.0 + _STRETCH * max(1.0 / n - 1.0 / _EXACT_FROM, 0.0))
    return float(stretched(np.array(n))) if data.exposures.size == 1 else 1.0


def slope_by_xi(xi: Float, g: Float) -> Float:
    """The derivative of (e^(ξg) − 1)/ξ by ξ, by its series where it would cancel."""
    w = xi * g
    near = np.abs(w) < 1e-2
    safe = np.where(near, 1.0, w)
    far = (safe * np.exp(safe) - np.expm1(safe)) / (safe * safe)
    series = 0.5 + w * (1.0 / 3.0 + w * (1.0 / 8.0 + w * (1.0 / 30.0 + w / 144.0)))
    return np.asarray(g * g * np.where(near, series, far))
