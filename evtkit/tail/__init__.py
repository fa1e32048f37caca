"""Tail: a peaks-over-threshold model of one or many channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.files import read_arrays, write_arrays
from evtkit._common.frames import by_channel, check_names, frame_labels, like, unlabelled
from evtkit._common.results import Result
from evtkit.dated import Dates
from evtkit.fit import FitStatus, GpdFit, fit_gpd
from evtkit.gof import goodness_of_fit
from evtkit.intervals import Inference, Interval
from evtkit.predictive import Predictive
from evtkit.ranking import Channels, rank
from evtkit.tail.channels import joined, picked
from evtkit.tail.empirical import Body
from evtkit.tail.labelled import VARIABLES, dataset
from evtkit.tail.notes import advice
from evtkit.tail.stored import check_tail, from_stored, to_store
from evtkit.tail.textbook import Textbook
from evtkit.tail.words import dates_in_words, described

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.gof import GoodnessOfFit
    from evtkit.ranking import Ranking

__all__ = ["LAWS", "Tail"]

LAWS = ("predictive", "plug-in")
_ADVISED = 50  # channels up to which a repr has notes, which take time
_WHOLE = 1.0 + 1e-12  # lest a product of rounded numbers miss a whole one


@dataclass(frozen=True, eq=False)
class Tail(Inference, Result):
    """A peaks-over-threshold model: the empirical distribution up to a threshold u, a generalised Pareto tail above it.

    `sf`, `logsf`, `isf` and `rank` are about the next observation: they allow for the uncertainty of what was fitted.
    The textbook's P(X > x) = (N_u/n) · S(x − u) for x > u (Pickands 1975) is ``sf(x, law="plug-in")``, and
    `return_level` is its estimate. Made by `fit_tail` or `TailSketch.fit`. Every array has one entry a channel, and is
    0-d for 1-D input. With ``side="lower"`` everything is about the lower tail: `sf` is P(X ≤ x), `isf` and
    `return_level` are low levels.

    Attributes
    ----------
    threshold : ndarray of float64
        u, in the units of the data.
    xi, sigma : ndarray of float64
        Shape and scale of the excesses x − u; NaN where there is no fit (see `status`).
    n, n_excess : ndarray of int64
        Observations, and those strictly beyond u.
    status : ndarray of int64
        A `FitStatus` each.
    mean, std : ndarray of float64
        Of all observations; std with ddof = 1.
    mean_excess : ndarray of float64
        Mean of x − u over the excesses; NaN without any.
    loglik, se_xi, se_sigma, cov : ndarray of float64
        As in `GpdFit`.
    resolution : ndarray of float64
        The step δ of the lattice that the excesses are rounded to; 0 where there is none, or it is too fine to matter.
        The threshold is then the middle between two points of the lattice, and the fit is that of rounded data.
    left_out : ndarray of int64
        Observations that stood apart and were left out (`clean` of `evtkit.fit_tail`); not counted in n.
    largest : ndarray, shape (channels, kept) or (kept,)
        The most extreme observations of each channel that are kept, all excesses among them, ascending (of −x for the
        lower side), NaN in front where a channel has fewer.
    sample : ndarray, shape (channels, n) or (n,), or None
        All observations (of −x for the lower side), if they were kept.
    side : str
        "upper" or "lower".
    method : str
        The estimator, as in `fit_gpd`.
    names : ndarray of str, or None
        Names of the channels, (channels,) or 0-d: those of the columns of a data frame that was fitted.
    dates : Dates, or None
        When the observations were made, if they had dates; in the order of `sample`.
    library : str or None
        "pandas" or "polars", where a data frame of it was fitted: one number a channel then comes with the names.

    See Also
    --------
    fit_tail : makes it.
    TailSketch : for data that do not fit into memory.
    evtkit.covariates.CovariateTail : a tail that depends on something.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> tail = fit_tail(np.random.default_rng(0).standard_t(df=4, size=10_000), quantile=0.95)
    >>> tail
    Tail(x > 2.06025: 499 of 10000, xi=0.2498 ± 0.055, sigma=0.8021 ± 0.056, OK)
    >>> print(f"{tail.sf(20.0):.2g}, {tail.isf(1e-4):.1f}, {tail.return_level(1e4):.1f}")
    3.5e-05, 14.7, 14.0
    """

    threshold: Float
    xi: Float
    sigma: Float
    n: NDArray[np.int64]
    n_excess: NDArray[np.int64]
    status: NDArray[np.int64]
    mean: Float
    std: Float
    mean_excess: Float
    loglik: Float
    se_xi: Float
    se_sigma: Float
    cov: Float
    resolution: Float
    left_out: NDArray[np.int64]
    largest: NDArray[Any]
    sample: NDArray[Any] | None = None
    side: str = "upper"
    method: str = "mle"
    names: NDArray[np.str_] | None = None
    dates: Dates | None = None
    library: str | None = None

    # -- probabilities -------------------------------------------------------------------------------------------------

    def logsf(self, x: ArrayLike, *, law: str = "predictive") -> Float:
        """Logarithm of the probability that the next observation is as extreme as x.

        Parameters
        ----------
        x : array_like, shape (..., channels); any shape for a tail of one channel
            Values, in the units of the data. A data frame's columns must be the channels by name, in their order.
        law : {"predictive", "plug-in"}
            - "predictive": P(X ≥ x) of the next observation, with the uncertainty of ξ, σ and the exceedance rate
              averaged in; see `evtkit.predictive`. What has happened is possible: the probability is never 0. Up to the
              threshold it is (1 + number of observations ≥ x)/(n + 1), and so it is above where a channel has no fit or
              fewer than 3 excesses.
            - "plug-in": the textbook's P(X > x) = (N_u/n) · S(x − u) with the estimates for the truth, and the share of
              observations above x up to the threshold. Too small far out, by a multiple where p·n is below 10. NaN
              above the threshold in a channel without a fit, 0 beyond the endpoint of a tail with ξ < 0.

        Returns
        -------
        ndarray of float64
            Shape of `x`; a data frame or series, with its index, where `x` is one. Below the smallest value that was
            kept, if not all were, the rank is unknown and 0 (the logarithm of 1) is returned: never less than the
            truth.

        Raises
        ------
        ValueError
            If x holds NaN or no numbers, its last axis is not the channels, or the law is unknown.

        Examples
        --------
        >>> import numpy as np
        >>> from evtkit import fit_tail
        >>> tail = fit_tail(np.random.default_rng(4).standard_exponential(500), quantile=0.9)
        >>> print(f"{tail.sf(8.0):.1e} {tail.sf(8.0, law='plug-in'):.1e}; the truth is 3.4e-04")
        2.4e-04 0.0e+00; the truth is 3.4e-04
        """
        levels = self._levels(x)
        _check_law(law)
        rows = (self._sign * levels).reshape(-1, self.threshold.size)
        if law == "predictive":
            return self._like(x, self._next.log_sf(rows, self._body.log_rank(rows)).reshape(levels.shape))
        return self._like(x, self._textbook.logsf(rows).reshape(levels.shape))

    def sf(self, x: ArrayLike, *, law: str = "predictive") -> Float:
        """The probability that the next observation is as extreme as x. Arguments and errors as in `logsf`."""
        with np.errstate(under="ignore"):
            return self._like(x, np.exp(np.asarray(unlabelled(self.logsf(x, law=law), "x"))))

    def isf(self, p: ArrayLike, *, law: str = "predictive") -> Float:
        """The level that the next observation exceeds with probability `p`: the inverse of `sf`.

        Parameters
        ----------
        p : array_like, shape (..., channels) or scalar; any shape for a tail of one channel
            Probabilities in [0, 1]. A data frame's columns must be the channels by name, in their order.
        law : {"predictive", "plug-in"}
            As in `logsf`. A plug-in level is exceeded too often: see :doc:`/calibration`.

        Returns
        -------
        ndarray of float64, or a data frame or series where `p` is one
            "predictive": the least level beyond which every value has a probability of at most p; an observation where
            p > (N_u + 1)/(n + 1), and infinite where nothing is so improbable, as at p = 0.
            "plug-in": x_p = u + σ/ξ · ((p n/N_u)^(−ξ) − 1) where p ≤ N_u/n, else sorted(x)[n − 1 − floor(p n)]; the
            endpoint, or infinite, at p = 0; NaN in a channel without a fit where p ≤ N_u/n.

        Raises
        ------
        ValueError
            If p is outside [0, 1], or so large that it asks for values that were not kept, or the law is unknown.
        """
        prob = self._numbers(p, "p")
        _check_law(law)
        if np.any(bad := ~((prob >= 0.0) & (prob <= 1.0))):
            raise ValueError(f"p must lie in [0, 1], got {float(prob[bad].flat[0])}")
        if self.threshold.ndim and prob.ndim and prob.shape[-1] != self.threshold.size:
            raise ValueError(
                f"p must be a scalar or have {self.threshold.size} channels on its last axis, got {prob.shape}"
            )
        shape = np.broadcast_shapes(prob.shape, self.threshold.shape)
        prob = np.broadcast_to(prob, shape)
        rows = prob.reshape(-1, self.threshold.size)
        if law == "predictive":
            level = self._next.isf(rows)
            as_large = np.floor(rows * (np.atleast_1d(self.n) + 1.0) * _WHOLE).astype(np.int64) - 1
            level[np.isnan(level) & (as_large < 0)] = np.inf  # no rank is so improbable
            by_rank = np.isnan(level)
            level[by_rank] = self._body.order_statistics(as_large, by_rank)
            return self._like(p, self._sign * level.reshape(shape))
        return self._like(p, self._sign * self._textbook.isf(rows).reshape(shape))

    @overload
    def return_level(self, period: ArrayLike, *, per: str | float = ..., extremal_index: ArrayLike = ...) -> Float: ...

    @overload
    def return_level(
        self,
        period: ArrayLike,
        *,
        interval: float,
        method: str = ...,
        per: str | float = ...,
        extremal_index: ArrayLike = ...,
    ) -> Interval: ...

    def return_level(
        self,
        period: ArrayLike,
        *,
        interval: float | None = None,
        method: str = "bartlett",
        per: str | float = 1.0,
        extremal_index: ArrayLike = 1.0,
    ) -> Float | Interval:
        """The textbook's level exceeded once in `period` observations, on average: ``isf(1/period, law="plug-in")``.

        An estimate of a property of the distribution (Coles 2001, equation 4.13), for tables and intervals. For an
        alarm use `isf`, whose level the next observation exceeds with the probability stated.

        Parameters
        ----------
        period : array_like
            Numbers of observations, > 1; e.g. 100 · 365 for the hundred-year level of daily data. One period, or a
            list of k, is asked of every channel; an array of two or more axes has the channels on its last one, and so
            has a series or data frame of pandas that names them.
        interval : float in (0, 1), optional
            Also confidence limits at this level, for tails fitted by maximum likelihood.
        method : {"bartlett", "profile", "delta"}
            Of the interval: profile likelihood, which "bartlett" corrects where a channel has fewer than 100 excesses;
            or the delta method; see `evtkit.intervals.return_level_interval`.
        per : str or float
            What `period` counts: "year", "month", "week", "day" or "hour", for tails with dates; or a number of
            observations.
        extremal_index : float or array_like, shape (channels,)
            θ in (0, 1]. Below 1 the level is the one that a *cluster* of exceedances reaches once in `period`
            observations, x with P(X > x) = 1/(θ · period) (Coles 2001, section 5.3.3); see `evtkit.dependence`.

        Returns
        -------
        ndarray of float64, or Interval
            For a tail of one channel without an axis: shaped as `period`. Of several channels: (channels,) for one
            period, (k, channels) for a list of k, and else shaped as `period`. With `interval` an
            `evtkit.intervals.Interval` of that shape, whose lower limits are the lower numbers on either side. Limits
            are NaN where there are none: in channels without a fit, and for levels at or before the threshold.

        Raises
        ------
        ValueError
            If a period is not above one observation, the last of several axes is not the channels, θ is not in (0, 1],
            an interval is asked of another estimator, or `per` is a name and there are no dates.

        Examples
        --------
        >>> from evtkit import fit_tail, gpd
        >>> tail = fit_tail(gpd.rvs(0.2, 1.0, size=3650, rng=1), quantile=0.9)
        >>> hundred_years = tail.return_level(36500, interval=0.95)
        >>> print(f"{hundred_years.estimate:.1f}, between {hundred_years.lower:.1f} and {hundred_years.upper:.1f}")
        38.4, between 24.1 and 77.5
        >>> many = fit_tail(gpd.rvs(0.2, 1.0, size=(3650, 4), rng=1), quantile=0.9)
        >>> many.return_level([365, 3650, 36500], interval=0.95).upper.shape
        (3, 4)
        >>> days = np.arange("1990-01-01", "2000-01-01", dtype="datetime64[D]")
        >>> dated = fit_tail(gpd.rvs(0.2, 1.0, size=3652, rng=1), quantile=0.9, time=days)
        >>> print(f"{dated.return_level(100, per='year'):.1f}")
        38.7
        """
        asked = self._periods(period)
        m = asked * self.observations_per(per)
        if np.any(bad := ~(m > 1.0)):
            raise ValueError(f"period must be more than one observation, got {float(m[bad].flat[0])}")
        theta = real_array(extremal_index, "extremal_index").astype(np.float64)
        if not np.all((theta > 0.0) & (theta <= 1.0)):
            raise ValueError(
                f"extremal_index must lie in (0, 1], got {theta[~((theta > 0.0) & (theta <= 1.0))].flat[0]}"
            )
        m = np.maximum(np.broadcast_to(m * theta, np.broadcast_shapes(m.shape, theta.shape, self.threshold.shape)), 1.0)
        estimate = np.asarray(self.isf(1.0 / m, law="plug-in"))
        if interval is None:
            return self._like(period, estimate)
        return self._said(self._level_interval(m, estimate, interval, method), "period", asked)

    def goodness_of_fit(self, **options: Any) -> GoodnessOfFit:
        """Do the excesses follow the fitted GPD? Options as in `evtkit.gof.goodness_of_fit`."""
        self._need_likelihood("a goodness-of-fit test")
        return goodness_of_fit(self.excesses, self.gpd_fit, **options)

    def rank(
        self,
        x: ArrayLike,
        by: str = "pot",
        *,
        law: str = "predictive",
        rng: np.random.Generator | int | None = None,
        names: ArrayLike | None = None,
    ) -> Ranking:
        """Rank the channels by how improbable their values are, most improbable first.

        Parameters
        ----------
        x : array_like, shape (channels,) or (queries, channels)
            One value a channel, or several queries to be ranked apart.
        by : str
            ``"pot"``, ``"zscore"``, ``"excess"``, ``"spot-script"``, ``"gradient"``, ``"impact"`` or ``"random"``; see
            `Ranking`.
        law : {"predictive", "plug-in"}
            Whose probabilities, as in `logsf`; "plug-in" ranks as Wang & Sato (2023) do.
        rng : numpy.random.Generator or int
            For ``by="random"``.
        names : array_like of str, optional
            Names of the channels; by default the tail's.

        Returns
        -------
        Ranking
        """
        if not self.threshold.ndim:
            raise ValueError("ranking needs a tail of several channels, got one; fit x of shape (n, channels)")
        _check_law(law)
        return rank(self._channels(law), self._numbers(x, "x"), by, rng=rng, names=names)

    # -- time ----------------------------------------------------------------------------------------------------------

    def observations_per(self, per: str | float) -> float:
        """Observations in one year, month, week, day or hour; a number as it is. Errors as in `Dates.observations_per`.

        Raises
        ------
        ValueError
            Also where the tail has no dates.
        """
        if self.dates is not None:
            return self.dates.observations_per(per)
        if isinstance(per, str):
            raise ValueError(f"per={per!r} needs dates; fit a series with dates, or give per a number of observations")
        return Dates(np.empty(0, dtype="M8[us]")).observations_per(per)

    @property
    def excesses_per_year(self) -> Float:
        """How many observations a year are beyond the threshold, by the dates; of clusters, how many events."""
        return np.asarray(self.exceedance_rate * self.observations_per("year"))

    @property
    def times_beyond(self) -> NDArray[np.datetime64]:
        """When the observations of one channel were beyond the threshold, as the clock in the time zone shows it.

        Raises
        ------
        ValueError
            If the tail has several channels, no dates, or did not keep its sample.
        """
        if self.threshold.ndim:
            raise ValueError(f"times are of one channel, got {len(self)}; pick one: tail[0]")
        if self.dates is None or self.sample is None:
            raise ValueError("times need dates and the sample; fit a series with dates, with keep_sample=True")
        with np.errstate(invalid="ignore"):
            return self.dates.local()[self.sample > self._sign * self.threshold]

    # -- what was fitted -----------------------------------------------------------------------------------------------

    @property
    def is_fitted(self) -> NDArray[np.bool_]:
        """Whether each channel has a fitted tail (status OK or BOUNDARY)."""
        return np.asarray(self.status <= FitStatus.BOUNDARY)

    @property
    def exceedance_rate(self) -> Float:
        """N_u/n, the share of the observations beyond the threshold; 0 in a channel without any."""
        return np.asarray(self.n_excess / np.maximum(self.n, 1))

    @property
    def endpoint(self) -> Float:
        """The upper endpoint u − σ/ξ where ξ < 0, else inf (the lower one, else −inf, for the lower side)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(self.xi < 0.0, -self.sigma / self.xi, np.where(np.isnan(self.xi), np.nan, np.inf))
        return np.asarray(self.threshold + self._sign * reach)

    @cached_property
    def excesses(self) -> Float:
        """The excesses, shape (most excesses of a channel, channels) or (n_excess,), NaN-padded: `fit_gpd`'s input."""
        rows = np.atleast_2d(self.largest).astype(np.float64)
        rows = rows - np.atleast_1d(self._sign * self.threshold)[:, None]
        rows[~(rows > 0.0)] = np.nan
        widest = int(np.max(self.n_excess, initial=0))
        out = rows[:, rows.shape[1] - widest :].T
        return out if self.threshold.ndim else out[:, 0]

    @cached_property
    def gpd_fit(self) -> GpdFit:
        """The fit as `fit_gpd` returns it."""
        return GpdFit(self.xi, self.sigma, self.loglik, self.n_excess, self.status,
                      self.se_xi, self.se_sigma, self.cov, self.method, self.resolution)  # fmt: skip

    @cached_property
    def _body(self) -> Body:
        sample = None if self.sample is None else np.atleast_2d(self.sample)
        return Body(np.atleast_2d(self.largest), sample, np.atleast_1d(self.n))

    @cached_property
    def _textbook(self) -> Textbook:
        one = np.atleast_1d
        return Textbook(
            self._body, one(self._sign * self.threshold), one(self.xi), one(self.sigma), one(self.n),
            one(self.n_excess), one(self.is_fitted),
        )  # fmt: skip

    @cached_property
    def _next(self) -> Predictive:
        """The law of the next observation beyond the threshold, made when it is first asked for."""
        one = np.atleast_1d
        return Predictive(
            np.atleast_2d(self.largest), one(self._sign * self.threshold), one(self.n), one(self.n_excess),
            one(self.is_fitted), one(self.resolution), one(self.xi), one(self.sigma),
        )  # fmt: skip

    @cached_property
    def notes(self) -> tuple[str, ...]:
        r"""What to know beside the numbers, a line each: rounding, ties, too few excesses, a fit that does not hold, …

        Examples
        --------
        >>> import numpy as np
        >>> from evtkit import fit_tail
        >>> print(*fit_tail(np.random.default_rng(0).poisson(3.0, 200), quantile=0.9).notes, sep="\n")
        15 excesses only: far levels rest on the prior
        rounded to steps of 1, and fitted as such
        """
        return self.notes_on(None)

    def notes_on(self, p: float | None) -> tuple[str, ...]:
        """`notes`, and whether the data reach as far as the probability `p`."""
        channels = self.threshold.size
        one = np.atleast_1d
        fit = GpdFit(
            one(self.xi), one(self.sigma), one(self.loglik), one(self.n_excess), one(self.status), one(self.se_xi),
            one(self.se_sigma), one(self.cov), self.method, one(self.resolution),
        )  # fmt: skip
        names = None if self.names is None else np.atleast_1d(self.names).tolist()
        ordered = None
        if self.sample is not None:
            ordered = np.atleast_2d(self.sample), self._sign * np.atleast_1d(self.threshold)
        n, left_out, excesses = np.atleast_1d(self.n), np.atleast_1d(self.left_out), self.excesses.reshape(-1, channels)
        return (
            *dates_in_words(self.dates, self.n, self.left_out),
            *advice(fit, n, excesses, left_out, names, ordered, p),
        )

    def __len__(self) -> int:
        return self.threshold.size

    def __getitem__(self, channel: int | str | Sequence[int | str]) -> Tail:
        """One channel, by its position or name, as a tail of its own; of a list of those, a tail of these channels."""
        return Tail(**picked(self, channel))

    def __repr__(self) -> str:
        notes = self.notes if len(self) <= _ADVISED else ()
        return "\n".join([described(self), *(f"  note: {line}" for line in notes)])

    # -- other forms ---------------------------------------------------------------------------------------------------

    @classmethod
    def concat(cls, tails: Sequence[Tail]) -> Tail:
        """One tail of the channels of several, in their order.

        Dates and samples stay where they are the same, or as long, in all.

        Raises
        ------
        ValueError
            If there is none, they differ in side or method, only some have names, or a name stands in two.

        Examples
        --------
        >>> import numpy as np
        >>> from evtkit import Tail, fit_tail
        >>> x = np.random.default_rng(0).standard_exponential((500, 3))
        >>> parts = Tail.concat([fit_tail(x[:, :1]), fit_tail(x[:, 1:])])
        >>> bool(np.all(parts.xi == fit_tail(x).xi))
        True
        """
        return cls(**joined(list(tails)))

    def to_dataset(self, dim: str = "channel", *, units: str | None = None) -> Any:
        """The tail as an `xarray.Dataset`, with names, units and flags after the CF conventions; needs xarray.

        `evtkit.interop.xarray.to_tail` is the way back, and its other functions work on the Dataset. The sample is not
        in it.

        Parameters
        ----------
        dim : str
            Name of the dimension that the channels run along; their names, if they have any, become its coordinate.
        units : str, optional
            Units of the data, such as "mm d-1".
        """
        many = self.threshold.ndim > 0
        arrays = {name: getattr(self, name) for name in VARIABLES}
        coords = {dim: self.names} if self.names is not None else {}
        per_year = None if self.dates is None else self.dates.per_year
        attrs = {"side": self.side, "method": self.method, "observations_per_year": per_year}
        return dataset(arrays, [dim] if many else [], coords, attrs, units)

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an .npz file, atomically; `Tail.load` restores it bit for bit."""
        write_arrays(path, "Tail", *to_store(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tail:
        """Read what `save` wrote. Raises ValueError if the file is anything else, damaged or contradicts itself."""
        return cls(**from_stored(*read_arrays(path, "Tail", check_tail)))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _channels(self, law: str) -> Channels:
        """What a ranking may look at."""

        def spot_script() -> tuple[Float, Float]:
            fit = fit_gpd(self.excesses, method="spot-script")
            return fit.xi, fit.sigma

        return Channels(
            sign=self._sign, threshold=self.threshold, mean=self.mean, sigma=self.sigma,
            rate=self.exceedance_rate, std=self.std, mean_excess=self.mean_excess, fitted=self.is_fitted,
            log_sf=lambda x: self._log_sf_of_fitted(x, law), log_p_value=lambda x: np.asarray(self.logsf(x)),
            spot_script=spot_script, names=self.names,
            least_surprise=float(np.log((self.n.max() + 1.0) / (self.n_excess.max() + 1.0))),
        )  # fmt: skip

    def _log_sf_of_fitted(self, x: Float, law: str) -> Float:
        """`logsf`, with 0 where a channel is not fitted, also above its threshold."""
        known = np.where(self.is_fitted, x, self.threshold)
        return np.where(self.is_fitted, np.asarray(self.logsf(known, law=law)), 0.0)

    def _periods(self, period: ArrayLike) -> Float:
        """Periods with the channels on the last axis, or 1 for all of them."""
        m = self._numbers(period, "period")
        named = frame_labels(period)
        channels = self.threshold.size
        if not self.threshold.ndim or not m.ndim:
            return m
        if m.ndim == 1 and (named is None or named.channels is None):
            return m[:, None]
        if m.shape[-1] not in (1, channels):
            raise ValueError(f"period must have {channels} channels on the last of its axes, got shape {m.shape}")
        return m

    def _numbers(self, x: ArrayLike, argument: str) -> Float:
        """Numbers as float64; the columns of a data frame are compared with the channels."""
        if (given := frame_labels(x)) is not None:
            check_names(given.channels, self.names, argument)
        return real_array(x, argument).astype(np.float64)

    def _like(self, x: ArrayLike, out: Float) -> Float:
        """A result as NumPy's functions return it, or labelled as x is; of one number with the channels' names."""
        if self.library is not None and self.names is not None and self.names.ndim and np.ndim(x) == 0:
            return cast("Float", by_channel(out, self.names, self.library))
        return cast("Float", like(x, out[()] if out.ndim else np.asarray(out)))

    def _levels(self, x: ArrayLike) -> Float:
        levels = self._numbers(x, "x")
        if np.any(np.isnan(levels)):
            raise ValueError("x holds NaN; a level must be a number")
        if self.threshold.ndim and (levels.ndim == 0 or levels.shape[-1] != self.threshold.size):
            raise ValueError(f"x must have {self.threshold.size} channels on its last axis, got shape {levels.shape}")
        return levels


def _check_law(law: str) -> None:
    if law not in LAWS:
        raise ValueError(f"law must be one of {', '.join(map(repr, LAWS))}, got {law!r}")
