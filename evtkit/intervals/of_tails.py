"""What a tail says with its limits: levels, probabilities, parameters, endpoint, and what lies beyond a level."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from scipy.special import exprel

from evtkit import gpd
from evtkit._common.checks import real_array
from evtkit._common.frames import check_names, frame_labels
from evtkit.fit import FitStatus, GpdFit, fit_gpd
from evtkit.intervals.coverage import measured_coverage
from evtkit.intervals.interval import Interval, check_level
from evtkit.intervals.of_excesses import level_interval, parameter_interval
from evtkit.intervals.profile import ENDPOINT, LOG_SF, MEAN_EXCESS, SHORTFALL, XI, limits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float, Int

__all__ = ["Inference"]

_BUT_DELTA = ("delta",)


class Inference(Protocol):
    """The part of `evtkit.Tail` that has limits: everything in it is about the textbook's fit, not the next value.

    Limits need a maximum-likelihood fit. Their default method is ``"bartlett"``: profile likelihood, corrected where a
    channel has fewer than 100 excesses and the same as ``"profile"`` from there on (:doc:`/intervals`).

    See Also
    --------
    evtkit.Tail.sf : probabilities of the next observation, with no interval to mind.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> tail = fit_tail(np.random.default_rng(0).standard_t(df=4, size=10_000), quantile=0.95)
    >>> tail.xi_interval()
    Interval(0.2498, 95 % bartlett limits 0.151 … 0.3684)
    >>> tail.endpoint_interval().upper
    array(inf)
    """

    threshold: Float
    xi: Float
    sigma: Float
    n: Int
    n_excess: Int
    status: Int
    resolution: Float
    side: str
    method: str
    names: NDArray[np.str_] | None

    @property
    def excesses(self) -> Float:
        """Excesses, as `evtkit.fit_gpd` takes them."""
        ...

    @property
    def gpd_fit(self) -> GpdFit:
        """Their fit."""
        ...

    def xi_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the shape ξ of each channel; see `evtkit.intervals.xi_interval`."""
        return self._parameter("xi", level, method)

    def sigma_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the scale σ of each channel; see `evtkit.intervals.sigma_interval`."""
        return self._parameter("sigma", level, method)

    def endpoint_interval(self, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the endpoint of each channel; see `evtkit.intervals.endpoint_interval`.

        For the lower side it is that of the lower endpoint, and its lower limit may be −inf.

        Examples
        --------
        >>> from evtkit import fit_tail, gpd
        >>> fit_tail(gpd.rvs(-0.4, 2.0, size=2000, rng=1), quantile=0.8).endpoint_interval()
        Interval(5.084, 95 % bartlett limits 4.867 … 5.657)
        """
        values, fit = self._likelihood(level, method, _BUT_DELTA)
        lower, upper = limits(values, fit, [(ENDPOINT, np.array(np.nan))], level, corrected=method == "bartlett",
                              n_threads=None)  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(self.xi < 0.0, -self.sigma / self.xi, np.where(np.isnan(self.xi), np.nan, np.inf))
        return self._placed(reach, lower, upper, level, method)

    def sf_interval(self, x: ArrayLike, level: float = 0.95, method: str = "bartlett") -> Interval:
        """Confidence interval of the textbook's P(X > x), for a given exceedance rate.

        Parameters
        ----------
        x : array_like, shape (..., channels); any shape for a tail of one channel
            Levels beyond the threshold, in the units of the data.
        level : float
            Confidence level.
        method : {"profile", "bartlett"}
            As in `evtkit.intervals.sf_interval`.

        Returns
        -------
        Interval
            Shaped as `x`; its estimate is ``sf(x, law="plug-in")``. NaN at levels that are not beyond the threshold,
            where the share of the observations is known, and in channels without a fit.

        Raises
        ------
        ValueError
            If x holds NaN, its last axis is not the channels, or there is no likelihood.

        Examples
        --------
        >>> from evtkit import fit_tail, gpd
        >>> tail = fit_tail(gpd.rvs(0.2, 1.0, size=3650, rng=1), quantile=0.9)
        >>> found = tail.sf_interval(20.0)
        >>> print(f"{found.estimate:.1e}, between {found.lower:.1e} and {found.upper:.1e}; the truth is 3.2e-04")
        3.4e-04, between 8.3e-05 and 9.6e-04; the truth is 3.2e-04
        """
        values, fit = self._likelihood(level, method, _BUT_DELTA)
        excess = self._sign * (self._numbers_of_channels(x, "x") - self.threshold)
        excess = np.where((excess > 0.0) & self._fitted, excess, np.nan)
        lower, upper = self._limits_at(values, fit, LOG_SF, excess, level, method)
        rate = self.n_excess / np.maximum(self.n, 1)
        with np.errstate(under="ignore", invalid="ignore"):
            estimate = rate * np.exp(_log_sf(excess, self.xi, self.sigma))
            low, high = rate * np.exp(lower), rate * np.exp(upper)
        found = Interval(estimate, low, high, level, method, self.status, self._coverage(method, level))
        return self._said(found, "x", self._numbers_of_channels(x, "x"))

    @overload
    def expected_shortfall(self, p: ArrayLike) -> Float: ...

    @overload
    def expected_shortfall(self, p: ArrayLike, *, interval: float, method: str = ...) -> Interval: ...

    def expected_shortfall(
        self, p: ArrayLike, *, interval: float | None = None, method: str = "bartlett"
    ) -> Float | Interval:
        """The mean of the values beyond the level that is exceeded with probability `p`, with limits if asked for.

        ES = (x_p + σ − ξu)/(1 − ξ) (McNeil, Frey & Embrechts 2015, equation 5.20), where x_p is the level, the
        "value at risk" ``isf(p, law="plug-in")``. It is infinite for ξ ≥ 1, where the mean does not exist, and so is
        an upper limit where ξ ≥ 1 is not rejected.

        Parameters
        ----------
        p : array_like, shape (..., channels) or scalar; any shape for a tail of one channel
            Probabilities in (0, N_u/n]: 0.01 for the shortfall "at 99 %".
        interval : float in (0, 1), optional
            Also confidence limits at this level.
        method : {"profile", "bartlett"}
            Of the interval, as in `evtkit.intervals.sf_interval`.

        Returns
        -------
        ndarray of float64, or Interval
            Shaped as `p`, with the channels last. NaN in channels without a fit. Of the lower side it is a mean of
            small values.

        Raises
        ------
        ValueError
            If p is not in (0, N_u/n] in every channel with a fit.

        Examples
        --------
        >>> from evtkit import fit_tail, gpd
        >>> tail = fit_tail(gpd.rvs(0.3, 1.0, size=2000, rng=3), quantile=0.9)
        >>> tail.expected_shortfall(0.01, interval=0.95)
        Interval(...)
        """
        prob = self._numbers_of_channels(p, "p")
        rate = np.where(self._fitted, self.n_excess / np.maximum(self.n, 1), np.nan)
        if np.any(bad := ~(prob > 0.0) | (prob > rate * (1.0 + 1e-12))):
            most = float(np.nanmin(rate)) if np.any(self._fitted) else float("nan")
            got = float(np.broadcast_to(prob, bad.shape)[bad].flat[0])
            raise ValueError(f"p must lie in (0, N_u/n], here at most {most:.6g}, got {got}")
        with np.errstate(divide="ignore"):
            w = np.maximum(np.log(rate / prob), 0.0)
        xi, sigma = self.xi, self.sigma
        with np.errstate(invalid="ignore", divide="ignore"):
            reach = np.where(xi < 1.0, sigma * (1.0 + w * exprel(xi * w)) / (1.0 - xi), np.inf)
        reach = np.where(np.isnan(w), np.nan, reach)
        if interval is None:
            return np.asarray(self.threshold + self._sign * reach)[()]
        values, fit = self._likelihood(interval, method, _BUT_DELTA)
        lower, upper = self._limits_at(values, fit, SHORTFALL, w, interval, method)
        return self._said(self._placed(reach, lower, upper, interval, method), "p", prob)

    @overload
    def mean_excess_beyond(self, x: ArrayLike) -> Float: ...

    @overload
    def mean_excess_beyond(self, x: ArrayLike, *, interval: float, method: str = ...) -> Interval: ...

    def mean_excess_beyond(
        self, x: ArrayLike, *, interval: float | None = None, method: str = "bartlett"
    ) -> Float | Interval:
        """By how much a value beyond x exceeds x, on average: e(x) = (σ + ξ(x − u))/(1 − ξ), with limits if asked for.

        Parameters
        ----------
        x : array_like, shape (..., channels); any shape for a tail of one channel
            Levels at or beyond the threshold, in the units of the data.
        interval : float in (0, 1), optional
            Also confidence limits at this level.
        method : {"profile", "bartlett"}
            Of the interval, as in `evtkit.intervals.sf_interval`.

        Returns
        -------
        ndarray of float64, or Interval
            Shaped as `x`. Infinite for ξ ≥ 1; 0 at and beyond the endpoint, where nothing is; NaN before the threshold
            and in channels without a fit. Of the lower side it is by how much smaller values are.

        Raises
        ------
        ValueError
            If x holds NaN or its last axis is not the channels.

        Examples
        --------
        >>> from evtkit import fit_tail, gpd
        >>> tail = fit_tail(gpd.rvs(0.3, 1.0, size=2000, rng=3), quantile=0.9)
        >>> print(tail.mean_excess_beyond([5.0, 10.0]).round(1), "the truth is [3.6 5.7]")
        [3.8 6. ] the truth is [3.6 5.7]
        """
        excess = self._sign * (self._numbers_of_channels(x, "x") - self.threshold)
        excess = np.where((excess >= 0.0) & self._fitted, excess, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(self.xi < 1.0, np.maximum(self.sigma + self.xi * excess, 0.0) / (1.0 - self.xi), np.inf)
        mean = np.where(np.isnan(excess), np.nan, mean)
        if interval is None:
            return np.asarray(mean)[()]
        values, fit = self._likelihood(interval, method, _BUT_DELTA)
        lower, upper = self._limits_at(values, fit, MEAN_EXCESS, excess, interval, method)
        found = Interval(mean, lower, upper, interval, method, self.status, self._coverage(method, interval))
        return self._said(found, "x", self._numbers_of_channels(x, "x"))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _said(self, found: Interval, name: str, asked: Float) -> Interval:
        """With the names of the channels, and what was asked for."""
        return replace(found, names=self.names, asked=(name, asked))

    @property
    def _sign(self) -> float:
        return 1.0 if self.side == "upper" else -1.0

    @property
    def _fitted(self) -> NDArray[np.bool_]:
        return np.asarray(self.status <= FitStatus.BOUNDARY)

    def _parameter(self, name: str, level: float, method: str) -> Interval:
        values, fit = self._likelihood(level, method)
        found = parameter_interval(values, fit, name, level=level, method=method)
        estimate = np.where(self._fitted, getattr(self, name), np.nan)
        return Interval(estimate, found.lower, found.upper, level, method, self.status, found.coverage)

    def _level_interval(self, period: Float, estimate: Float, level: float, method: str) -> Interval:
        """Limits of return levels, of the side of the tail; period and estimate as in `return_level`."""
        values, fit = self._likelihood(level, method)
        rate = self.n_excess / np.maximum(self.n, 1)
        m = np.broadcast_to(period, estimate.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            w = np.where(self._fitted & (rate * m > 1.0) & np.isfinite(m), np.log(rate * m), np.nan)
        found = level_interval(values, fit, w, rate, np.zeros(rate.shape), level=level, method=method)
        shifted = self._placed(np.asarray(found.estimate), found.lower, found.upper, level, method)
        return Interval(estimate, shifted.lower, shifted.upper, level, method, self.status, found.coverage)

    def _limits_at(
        self, values: Float, fit: GpdFit, kind: int, at: Float, level: float, method: str
    ) -> tuple[Float, Float]:
        """Profile limits of a quantity at values (…, channels), shaped as these; NaN where they are."""
        rows = at.reshape(-1, self.threshold.size)
        lower, upper = limits(
            values, fit, [(kind, row) for row in rows], level, corrected=method == "bartlett", n_threads=None
        )
        if kind in (SHORTFALL, MEAN_EXCESS):  # no mean exists where ξ ≥ 1
            shape = limits(values, fit, [(XI, np.array(np.nan))], level, corrected=method == "bartlett", n_threads=None)
            upper = np.where((shape[1] >= 1.0) & ~np.isnan(upper), np.inf, upper)
        return lower.reshape(at.shape), upper.reshape(at.shape)

    def _placed(self, reach: Float, lower: Float, upper: Float, level: float, method: str) -> Interval:
        """Distances from the threshold as levels of the side, the lower limit below the upper one."""
        low, high = np.reshape(lower, np.shape(reach)), np.reshape(upper, np.shape(reach))
        if self._sign < 0:
            low, high = high, low
        u, sign = self.threshold, self._sign
        return Interval(u + sign * reach, u + sign * low, u + sign * high, level, method, self.status,
                        self._coverage(method, level))  # fmt: skip

    def _coverage(self, method: str, level: float) -> Float | None:
        return measured_coverage(method, "level", level, np.asarray(self.n_excess))

    def _likelihood(self, level: float, method: str, without: tuple[str, ...] = ()) -> tuple[Float, GpdFit]:
        """Excesses whose likelihood has its maximum at the fit; rounded ones are spread over their cells."""
        self._need_likelihood("an interval")
        check_level(level, method, without=without)
        return _spread(self.excesses, self.gpd_fit)

    def _need_likelihood(self, what: str) -> None:
        if self.method != "mle":
            raise ValueError(f"{what} needs a maximum-likelihood fit, got method {self.method!r}")

    def _numbers_of_channels(self, x: ArrayLike, argument: str) -> Float:
        """Numbers whose last axis is the channels, broadcast to them."""
        if (given := frame_labels(x)) is not None:
            check_names(given.channels, self.names, argument)
        values = real_array(x, argument).astype(np.float64)
        if np.any(np.isnan(values)):
            raise ValueError(f"{argument} holds NaN; it must be numbers")
        try:
            return np.broadcast_to(values, np.broadcast_shapes(values.shape, self.threshold.shape))
        except ValueError:
            raise ValueError(
                f"{argument} must be one number or have {self.threshold.size} channels on its last axis, "
                f"got shape {values.shape}"
            ) from None


def _log_sf(excess: Float, xi: Float, sigma: Float) -> Float:
    return gpd.logsf(excess, np.where(np.isfinite(xi), xi, np.nan), np.where(sigma > 0.0, sigma, 1.0))


def _spread(values: Float, fit: GpdFit) -> tuple[Float, GpdFit]:
    """Rounded excesses put where the fit expects so many in their cells, and the fit of those."""
    if fit.resolution is None or not np.any(fit.resolution > 0.0):
        return values, fit
    from evtkit._kernels.grouped import spread_rows

    rows = np.ascontiguousarray(values.reshape(-1, fit.xi.size).T.astype(np.float64))
    spread_rows(rows, *(np.ascontiguousarray(np.ravel(a)) for a in (fit.resolution, fit.xi, fit.sigma)))
    exact = rows.T.reshape(values.shape)
    return exact, fit_gpd(exact)
