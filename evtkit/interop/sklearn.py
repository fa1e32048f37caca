"""Outlier detectors of scikit-learn's kind, whose alarm level is a probability."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from evtkit._common.checks import is_share, real_array
from evtkit._common.frames import like
from evtkit.interop.calibrated import CalibratedDetector, NeighborDistance
from evtkit.peaks import fit_tail
from evtkit.pvalues import combine_p_values
from evtkit.tail.empirical import Ranks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["CalibratedDetector", "NeighborDistance", "PotDetector"]

_SIDES = {"upper": ("upper",), "lower": ("lower",), "both": ("upper", "lower"), "longer": ("upper", "lower")}
_COMBINE = ("bonferroni", "geometric", "harmonic", "fisher")  # in Cauchy's rule a p-value near 1 outweighs the others
_CHUNK_VALUES = 1 << 20  # p-values held at a time
_MOST_RANKS = 4096  # order statistics of a feature that are kept


class PotDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Outliers by peaks over threshold: a row is flagged if so improbable a one has at most probability `risk`.

    Every feature gets a p-value, the probability that the next value of this feature is as extreme: by its rank among
    the rows of `fit` where there are many such, by a generalised Pareto tail beyond (see `evtkit.Tail.sf`). The
    p-values of a row are combined into one, and the row is an outlier where that is below `risk`. Units of features do
    not matter, and nothing is random. It names the feature responsible, but is blind to dependence between features:
    `CalibratedDetector` sees it.

    Parameters
    ----------
    risk : float in (0, 1)
        The probability that a row like those of `fit` is flagged. It is an upper bound with the default `combine`: on
        independent features the realised rate is close to it, on dependent ones below.
    quantile : float in (0, 1), optional
        Where the tails begin, as in `evtkit.fit_tail`: 0.9 leaves the most extreme tenth on either side to them. By
        default the tail is the most extreme tenth, but no more than 50 rows or, if that is more, √n: far enough out for
        the generalised Pareto distribution to hold for most data.
    side : {"both", "upper", "lower", "longer"}
        Which values are extreme: for "both" twice the smaller p-value of the two sides counts; for "longer" the side to
        which a feature is skewed, as outliers are more often found there (Li et al. 2022). With ``combine="geometric"``
        that gives the best order of rows that single features can give; `CalibratedDetector` gives it a level.
    combine : str
        How p-values are combined, a method of `evtkit.pvalues.combine_p_values`:

        - "bonferroni", the default, holds however features depend on each other, and names the feature responsible: the
          score is that of the most extreme one;
        - "geometric" holds likewise, and adds up what many features say: better where outliers are mildly unusual in
          many features at once. Its level is conservative; its order of rows is that of "fisher";
        - "harmonic" lies between, and holds approximately, for a small risk, also under dependence;
        - "fisher" holds for independent features only. On dependent ones it flags more rows than `risk`.
    clean : bool
        Leave values that stand apart out of the tail of their feature, as in `evtkit.fit_tail`: training data of an
        outlier detector are taken to hold outliers. ``tails_`` say how many (`Tail.left_out`).
    n_threads : int, optional
        Default EVTKIT_NUM_THREADS or all processors. The result does not depend on it.

    Attributes
    ----------
    offset_ : float
        log(risk): ``decision_function = score_samples − offset_``.
    tails_ : tuple of Tail
        The tails of each side, one channel a feature, to look at (``status`` says which were fitted).
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    A feature whose tail cannot be fitted (constant, nearly so, or fewer than 3 excesses) still has the p-value of its
    rank, which is never below 1/(n + 1), n the number of rows of `fit`: a value never seen in n rows is no more
    improbable than that. With few rows it cannot be flagged, and features with a fitted tail go before it.

    Rows of `fit` should be mostly normal. Outliers among them that no hole separates from the rest make tails heavier,
    and alarms rarer. `risk` holds for rows that come independently from the same distribution: fit anew after a change
    of it.

    Memory: up to 4,096 order statistics of a feature and its excesses.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.interop.sklearn import PotDetector
    >>> rng = np.random.default_rng(0)
    >>> normal = rng.standard_t(df=4, size=(2000, 3))
    >>> detector = PotDetector(risk=1e-3).fit(normal)
    >>> strange = [[0.0, 0.0, 0.0], [1.0, 90.0, -2.0], [-3.0, 2.0, 3.0]]
    >>> detector.predict(strange)
    array([ 1, -1,  1])
    >>> detector.explain(strange)
    array(['x0', 'x1', 'x0'], dtype=object)
    """

    def __init__(
        self,
        risk: float = 0.05,
        *,
        quantile: float | None = None,
        side: str = "both",
        combine: str = "bonferroni",
        clean: bool = True,
        n_threads: int | None = None,
    ) -> None:
        self.risk = risk
        self.quantile = quantile
        self.side = side
        self.combine = combine
        self.clean = clean
        self.n_threads = n_threads

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn what is normal.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            Finite numbers, at least two rows.
        y
            Ignored.

        Raises
        ------
        ValueError
            If a parameter is not what the class says, or X holds anything else than finite numbers.
        """
        self._check()
        values = validate_data(self, _unmasked(X), dtype=[np.float64, np.float32], ensure_min_samples=2)
        n = len(values)
        n_excess = None if self.quantile is None else max(n - int(self.quantile * n) - 1, 1)
        tails = [
            fit_tail(values, n_excess=n_excess, side=side, clean=self.clean, n_threads=self.n_threads)
            for side in _SIDES[self.side]
        ]
        self._laws = tuple(_Law(tail) for tail in tails)
        deviation = values - values.mean(axis=0, dtype=np.float64)
        deviation /= np.maximum(np.abs(deviation).max(axis=0), np.finfo(np.float64).tiny)  # cubes of it may overflow
        self._upper = np.sum(deviation**3, axis=0) >= 0.0  # the longer tail
        self.tails_ = tuple(replace(tail, sample=None) for tail in tails)
        self.offset_ = float(np.log(self.risk))
        return self

    def feature_scores(self, X: ArrayLike) -> Float:
        """Logarithms of every feature's p-value, shape (rows, features): the lower, the more unusual.

        A data frame where `X` is one, with its index and columns.
        """
        return cast("Float", like(X, self._log_p(self._validated(X))))

    def explain(self, X: ArrayLike) -> NDArray[np.object_]:
        """The name of each row's most unusual feature (x0, x1, … where `fit` saw no names), shape (rows,)."""
        names = getattr(self, "feature_names_in_", None)
        worst = np.argmin(self._log_p(self._validated(X)), axis=1)
        known = [f"x{i}" for i in range(self.n_features_in_)] if names is None else names
        return np.asarray(np.array(known, dtype=object)[worst])

    def score_samples(self, X: ArrayLike) -> Float:
        """Logarithm of each row's combined p-value, shape (rows,): the lower, the more unusual.

        A combination that comes out above 1, and a logarithm above 0, is left so, to keep ordinary rows in order.
        """
        values = self._validated(X)
        out = np.empty(len(values))
        step = max(1, _CHUNK_VALUES // values.shape[1])
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            out[rows] = combine_p_values(self._log_p(values[rows]).T, self.combine, clip=False)
        return out

    def decision_function(self, X: ArrayLike) -> Float:
        """``score_samples(X) − offset_``: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """−1 for outliers, whose combined p-value is below `risk`, else +1; shape (rows,)."""
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def _check(self) -> None:
        for name in ("risk", "quantile"):
            value = getattr(self, name)
            if not (is_share(value) if value is not None else name == "quantile"):
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value!r}")
        for name, choices in (("side", tuple(_SIDES)), ("combine", _COMBINE)):
            if getattr(self, name) not in choices:
                wanted = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {wanted}, got {getattr(self, name)!r}")

    def _validated(self, X: ArrayLike) -> Float:
        check_is_fitted(self)
        values: Float = validate_data(self, _unmasked(X), dtype=[np.float64, np.float32], reset=False)
        return values

    def _log_p(self, values: Float) -> Float:
        log_p = [law.log_p(values) for law in self._laws]
        if len(log_p) == 1:
            return log_p[0]
        if self.side == "longer":
            return np.where(self._upper, *log_p)
        return np.asarray(np.minimum(np.minimum(*log_p) + np.log(2.0), 0.0))


def _unmasked(X: ArrayLike) -> ArrayLike:
    """A masked array with NaN, which is refused, where scikit-learn would take what lies under the mask."""
    return real_array(X, "X") if isinstance(X, np.ma.MaskedArray) else X


class _Law:
    """What `Tail.logsf` says, of a few thousand ranks instead of the whole sample."""

    def __init__(self, tail: Tail) -> None:
        assert tail.sample is not None
        self._sign = 1.0 if tail.side == "upper" else -1.0
        self._ranks, self._next = Ranks(tail.sample, _MOST_RANKS), tail._next

    def log_p(self, values: Float) -> Float:
        signed = self._sign * np.asarray(values, dtype=np.float64)
        return self._next.log_sf(signed, self._ranks.log_rank(signed))
