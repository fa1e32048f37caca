"""Any outlier detector with an alarm level that is a probability: the tail of its scores of rows that it has not seen.

A detector's score of a row that it was fitted to says little of its score of the next one. So the rows are parted into
folds, each is scored by a detector fitted to the others, and the tail is that of these left-out scores.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from evtkit._common.checks import is_share, real_array
from evtkit.peaks import fit_tail

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["CalibratedDetector", "NeighborDistance"]

_PASSES = 3  # of the cleaning


class NeighborDistance(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """How far a row's neighbours are: minus the mean distance to its nearest rows of `fit`, the lower the stranger.

    Features are divided by their standard deviations first, so units do not matter. The distance sees clusters and
    dependence between features (Angiulli & Pizzuti 2002), and nothing is random.

    Parameters
    ----------
    n_neighbors : int
        How many neighbours; more than there are outliers of one kind in the rows of `fit`, which would otherwise vouch
        for each other.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 1))
    >>> scorer = NeighborDistance().fit(np.hstack([x, x]))
    >>> scorer.score_samples([[1.0, 1.0], [1.0, -1.0]]).round(1)
    array([-0.1, -1.5])
    """

    def __init__(self, n_neighbors: int = 20) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Remember the rows; X has shape (rows, features). ValueError if n_neighbors is below 1, or X is not finite."""
        if not (isinstance(self.n_neighbors, int | np.integer) and self.n_neighbors >= 1):
            raise ValueError(f"n_neighbors must be a whole number from 1 on, got {self.n_neighbors!r}")
        values = validate_data(self, X, dtype=np.float64)
        size = np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny)  # squares of it may overflow
        scale = (values / size).std(axis=0) * size
        scale[values.max(axis=0) == values.min(axis=0)] = 0.0  # of equal values it is 0 but for rounding
        self.scale_ = np.where(scale > 0.0, scale, 1.0)
        self.neighbors_ = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(values))).fit(values / self.scale_)
        return self

    def score_samples(self, X: ArrayLike) -> Float:
        """Minus the mean distance to the nearest rows of `fit`, shape (rows,)."""
        check_is_fitted(self)
        values = validate_data(self, X, reset=False, dtype=np.float64)
        means: Float = np.mean(self.neighbors_.kneighbors(values / self.scale_)[0], axis=1)
        return -means

    def left_out_scores(self) -> Float:
        """The scores of the rows of `fit`, each by its distance to the others; shape (rows,)."""
        check_is_fitted(self)
        others = min(self.n_neighbors, self.neighbors_.n_samples_fit_ - 1)
        means: Float = np.mean(self.neighbors_.kneighbors(None, others)[0], axis=1)
        return -means


class CalibratedDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """A detector of outliers that flags a row where so strange a score has at most probability `risk`.

    The order of rows is the wrapped detector's. What is added is a probability for each score: rows are parted into
    folds, each fold is scored by the detector fitted to the others, and a generalised Pareto tail is fitted to these
    scores, with its uncertainty averaged in (`evtkit.Tail.sf`). Then the detector is fitted to all rows.

    Parameters
    ----------
    estimator
        What scores the rows: an outlier detector or density of scikit-learn (with ``score_samples`` or
        ``decision_function``, where low is strange), a pipeline that ends in one, or a detector of PyOD (where high is
        strange). By default `NeighborDistance`, which sees dependence between features. It is cloned, never changed.
    risk : float in (0, 1)
        The probability that a row like those of `fit` is flagged.
    cv : int
        How many folds. Every one is a fit of the detector. Row i is in fold i mod cv, so nothing is random here. A
        detector with a method ``left_out_scores()``, as `NeighborDistance` has one, needs no folds.
    clean : bool
        Take the rows of `fit` for contaminated: rows whose scores a hole separates from the rest (`evtkit.fit_tail`)
        are left out, and the others scored anew without them. ``tail_.left_out`` says how many.
    n_jobs : int, optional
        Folds fitted at a time, as everywhere in scikit-learn.

    Attributes
    ----------
    estimator_
        The wrapped detector, fitted.
    tail_ : Tail
        The tail of the left-out scores; its notes say what to know beside the number (``tail_.notes``).
    threshold_ : float
        The score beyond which a row is flagged: the detector's, with the sign that makes high ones strange.
    p_values_ : ndarray, shape (rows,)
        How improbable each row of `fit` is, from its left-out score.
    offset_ : float
        log(risk): ``decision_function = score_samples − offset_``.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    With folds, the detector is fitted to a share 1 − 1/cv of the rows for the tail, and to all of them for use. Scores
    that fall with the number of rows, as other distances to neighbours do, then leave the risk below what was asked
    for; a larger `cv` brings it closer. `risk` holds for rows that come independently from the distribution of those of
    `fit`.

    Up to the threshold of the tail a score's probability is that of its rank, between ranks interpolated, so rows keep
    the order that the detector gives them.

    Examples
    --------
    Each feature of the second row is ordinary, the two together are not:

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((500, 1))
    >>> rows = np.hstack([x, x + 0.1 * np.random.default_rng(1).standard_normal((500, 1))])
    >>> detector = CalibratedDetector(risk=1e-2).fit(rows)
    >>> detector.predict([[1.0, 1.0], [1.0, -1.0]])
    array([ 1, -1])
    >>> bool(detector.p_value([[1.0, -1.0]])[0] < 1e-2)
    True

    Any other detector:

    >>> from sklearn.ensemble import IsolationForest
    >>> forest = CalibratedDetector(IsolationForest(n_estimators=20, random_state=0), risk=0.01).fit(rows)
    >>> forest.predict([[1.0, 1.0], [9.0, 9.0]])
    array([ 1, -1])
    """

    def __init__(
        self, estimator: Any = None, risk: float = 0.01, *, cv: int = 10, clean: bool = True, n_jobs: int | None = None
    ) -> None:
        self.estimator = estimator
        self.risk = risk
        self.cv = cv
        self.clean = clean
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Fit the detector, and the tail of its scores.

        Parameters
        ----------
        X : array_like, shape (rows, features)
            At least two rows; a data frame is handed on as it is.
        y : ignored

        Raises
        ------
        ValueError
            If a parameter is out of range, the estimator has no scores for new rows, scores are not finite, or as the
            estimator says.
        """
        if not is_share(self.risk):
            raise ValueError(f"risk must lie strictly between 0 and 1, got {self.risk!r}")
        if not (isinstance(self.cv, int | np.integer) and self.cv >= 2):
            raise ValueError(f"cv must be a whole number from 2 on, got {self.cv!r}")
        estimator = NeighborDistance() if self.estimator is None else self.estimator
        rows = self._rows(X, reset=True)
        n = _num_samples(rows)
        kept = np.arange(n)
        for _ in range(_PASSES if self.clean else 1):  # outliers move the scores of the others
            some = _safe_indexing(rows, kept)
            scores = self._finite(self._left_out(estimator, some, kept.size), estimator)
            tail = fit_tail(scores, clean=self.clean)
            inside = np.sort(np.argsort(scores, kind="stable")[: kept.size - int(tail.left_out)])
            if inside.size == kept.size:
                break
            kept, scores = kept[inside], scores[inside]
        self.tail_: Tail = replace(tail, left_out=np.asarray(n - kept.size))
        self.estimator_ = clone(estimator).fit(_safe_indexing(rows, kept))
        self._levels, self._log_p = _body(np.sort(scores), self.tail_)
        every = np.empty(n)
        every[kept] = scores
        if (apart := np.setdiff1d(np.arange(n), kept)).size:
            every[apart] = self._finite(_scores(self.estimator_, _safe_indexing(rows, apart)), estimator)
        self.p_values_ = np.exp(np.minimum(self._log_p_of(every), 0.0))
        self.threshold_ = self._level()
        self.offset_ = float(np.log(self.risk))
        return self

    @staticmethod
    def _finite(scores: Float, estimator: Any) -> Float:
        if not np.all(np.isfinite(scores)):
            raise ValueError(
                f"the scores of {type(estimator).__name__} must be finite, got {scores[~np.isfinite(scores)][0]}"
            )
        return scores

    def score_samples(self, X: ArrayLike) -> Float:
        """The logarithm of each row's p-value, shape (rows,): the lower, the more improbable."""
        check_is_fitted(self)
        return self._log_p_of(_scores(self.estimator_, self._rows(X, reset=False)))

    def p_value(self, X: ArrayLike) -> Float:
        """The probability that a row like those of `fit` has so strange a score; shape (rows,)."""
        return np.exp(self.score_samples(X))

    def decision_function(self, X: ArrayLike) -> Float:
        """``score_samples − offset_``: negative where a row is an outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """−1 where a row's p-value is below `risk`, else 1; shape (rows,)."""
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def _left_out(self, estimator: Any, rows: Any, n: int) -> Float:
        """Scores of the rows, high where strange, each by a detector that has not seen it."""
        if hasattr(estimator, "left_out_scores"):
            return -np.asarray(clone(estimator).fit(rows).left_out_scores(), dtype=np.float64)
        fold = np.arange(n) % min(self.cv, n)
        parts = Parallel(n_jobs=self.n_jobs)(
            delayed(_scores_of_others)(clone(estimator), rows, np.flatnonzero(fold != k), np.flatnonzero(fold == k))
            for k in range(min(self.cv, n))
        )
        scores = np.empty(n)
        for k, part in enumerate(parts):
            scores[fold == k] = part
        return scores

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """The rows as the detector is to have them: a data frame as it is, else an array that has been checked."""
        if isinstance(X, np.ma.MaskedArray):
            X = real_array(X, "X")  # NaN, which is refused, for what is masked
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if _num_samples(X) < 2 and reset:
                raise ValueError(f"Found array with {_num_samples(X)} sample(s), wanted at least 2")
            return X
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_min_samples=2 if reset else 1)

    def _log_p_of(self, scores: Float) -> Float:
        """log P(as strange a score): of the tail above its threshold, else between ranks; decreasing in the score."""
        log_p = np.interp(scores, self._levels, self._log_p)
        if np.any(beyond := scores > self._levels[-1]):
            log_p[beyond] = self.tail_.logsf(scores[beyond])
        if np.any(below := scores < self._levels[0]):  # as ordinary as nothing before, and still in order
            reach = (scores[below] - self._levels[0]) / self._spread
            log_p[below] = np.log1p(np.expm1(self._log_p[0]) * np.exp(reach))
        return log_p

    @property
    def _spread(self) -> float:
        return float(self._levels[-1] - self._levels[0]) or 1.0

    def _level(self) -> float:
        """The score whose p-value is `risk`."""
        log_risk = np.log(self.risk)
        if log_risk >= self._log_p[-1]:
            return float(np.interp(-log_risk, -self._log_p, self._levels))
        return float(self.tail_.isf(self.risk))


def _body(ordered: Float, tail: Tail) -> tuple[Float, Float]:
    """Levels up to the tail's threshold, and log P of a score there: of mean ranks, never below the tail's."""
    levels, first = np.unique(ordered, return_index=True)
    n, threshold = len(ordered), float(tail.threshold)
    log_p = np.log((n - first - 0.5 + 1.0) / (n + 1.0))
    last = float(tail.logsf(np.nextafter(threshold, np.inf)))
    up_to = levels < threshold
    return np.append(levels[up_to], threshold), np.append(np.maximum(log_p[up_to], last), last)


def _scores_of_others(estimator: Any, rows: Any, train: NDArray[np.intp], test: NDArray[np.intp]) -> Float:
    """Scores of the rows `test` by a detector fitted to the rows `train`."""
    return _scores(estimator.fit(_safe_indexing(rows, train)), _safe_indexing(rows, test))


def _scores(estimator: Any, rows: Any) -> Float:
    """A detector's scores of new rows, high where they are strange."""
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    of_pyod = any(base.__module__.startswith("pyod.") for base in type(last).__mro__)
    for name in ("decision_function",) if of_pyod else ("score_samples", "decision_function"):
        score = getattr(estimator, name, None)
        if score is not None:
            found = np.asarray(score(rows), dtype=np.float64)
            return found if of_pyod else -found
    raise ValueError(
        f"estimator must have score_samples or decision_function for new rows, got {type(last).__name__} without (of "
        "LocalOutlierFactor give novelty=True)"
    )
