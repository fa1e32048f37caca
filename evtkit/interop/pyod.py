"""A threshold for any detector of PyOD: the level that scores exceed with a stated probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from evtkit._common.checks import is_share, real_array
from evtkit.peaks import fit_tail

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["PotThreshold"]


class PotThreshold:
    """Peaks over threshold on a detector's scores, to be given to a PyOD detector as its ``contamination``.

    PyOD cuts off a fixed share of the training rows, whether they are outliers or not. Here the scores are cut off at
    the level that a normal row exceeds with probability `risk`, taken from a generalised Pareto tail of the training
    scores, with its uncertainty averaged in: none of the training rows need lie beyond it, and it can lie far beyond
    all of them.

    Parameters
    ----------
    risk : float in (0, 1)
        Probability that a row like those of training is labelled an outlier. Where outliers among the training rows lie
        close together, as neighbours of each other, no score tells them from the fringe of the rest; the default, one
        row in a hundred, still labels most of a hundredth of such rows.
    quantile : float in (0, 1), optional
        Where the tail of the scores begins, as in `evtkit.fit_tail`. By default the tail is the most extreme tenth, but
        no more than 50 scores or, if that is more, √n.
    method : str
        The estimator, as in `evtkit.fit_gpd`. It makes no difference to levels, which are predictive.
    clean : bool
        Leave out training rows whose scores stand apart, as in `evtkit.fit_tail`: training data of an outlier detector
        are taken to hold outliers. ``tail_.left_out`` says how many. They are labelled like any row, by the level.

    Attributes
    ----------
    thresh_ : float
        The level, ``tail_.isf(risk)``; PyOD takes it over as ``threshold_``.
    labels_ : ndarray of int, shape (rows,)
        1 for the training rows beyond it, else 0.
    tail_ : Tail
        The fitted tail.

    Notes
    -----
    Of a detector that is fitted with it, ``predict``, ``labels_``, ``threshold_``, ``predict_proba`` and
    ``predict_confidence`` work as ever; ``predict_with_rejection``, which computes with the share of outliers, wants a
    number. Give each detector a threshold of its own. Detectors that hand their ``contamination`` on to scikit-learn,
    such as IForest and LOF, accept only a number: fit them as usual, then `attach` a threshold.

    PyOD puts the share of outliers in place of a ``threshold_`` of exactly 0; labels are not affected.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.interop.pyod import PotThreshold
    >>> scores = np.random.default_rng(0).standard_exponential(5000)   # of a detector, say
    >>> threshold = PotThreshold(risk=1e-4).fit(scores)
    >>> print(round(threshold.thresh_, 1), threshold.labels_.sum(), threshold.predict([1.0, 12.0]))
    9.5 0 [0 1]
    """

    def __init__(
        self, risk: float = 0.01, *, quantile: float | None = None, method: str = "mle", clean: bool = True
    ) -> None:
        self.risk = risk
        self.quantile = quantile
        self.method = method
        self.clean = clean

    def fit(self, scores: ArrayLike, y: Any = None) -> Self:
        """Find the level in the scores of training rows; the higher a score, the more unusual a row.

        Parameters
        ----------
        scores : array_like, shape (rows,) or (rows, 1)
            Finite numbers.
        y
            Ignored.

        Raises
        ------
        ValueError
            If risk is outside (0, 1), as in `evtkit.fit_tail`, or if the scores beyond the threshold are all equal, so
            that there is no tail to take the level from.
        """
        if not is_share(self.risk):
            raise ValueError(f"risk must lie strictly between 0 and 1, got {self.risk!r}")
        values = _one_column(scores)
        if not values.size or not np.all(np.isfinite(values)):
            wrong = values[~np.isfinite(values)]
            raise ValueError(f"scores must be finite numbers, got {wrong[0] if wrong.size else 'none'}")
        tail = fit_tail(values, quantile=self.quantile, method=self.method, clean=self.clean)
        level = float(tail.isf(self.risk))
        if np.isinf(level) and tail.n_excess == 0:  # all scores up to the largest are equal: beyond them is beyond them
            level = float(tail.threshold)
        if not np.isfinite(level):
            raise ValueError(f"no tail can be fitted to these scores for a risk of {self.risk}: {tail}")
        self.tail_: Tail = tail
        self.thresh_ = level
        self.labels_ = self.predict(values)
        return self

    def attach(self, detector: Any) -> Any:
        """Fit to the scores of a fitted detector, and replace its threshold, labels and ``contamination``.

        Parameters
        ----------
        detector
            A fitted PyOD detector.

        Returns
        -------
        detector
            The same, changed.

        Raises
        ------
        ValueError
            If it is not fitted, or as in `fit`; it is then as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from pyod.models.iforest import IForest
        >>> from evtkit.interop.pyod import PotThreshold
        >>> rows = np.random.default_rng(0).standard_normal((300, 2))
        >>> detector = PotThreshold(risk=0.01).attach(IForest(random_state=0).fit(rows))
        >>> detector.predict([[0.0, 0.0], [9.0, 9.0]])
        array([0, 1])
        """
        scores = getattr(detector, "decision_scores_", None)
        if scores is None:
            raise ValueError(f"attach wants a fitted PyOD detector, got {type(detector).__name__} without scores")
        self.fit(scores)
        detector.contamination, detector.threshold_, detector.labels_ = self, self.thresh_, self.labels_
        return detector

    def predict(self, scores: ArrayLike) -> NDArray[np.int64]:
        """1 where a score lies beyond the level, else 0; shape (rows,)."""
        if not hasattr(self, "thresh_"):
            raise ValueError("this PotThreshold is not fitted; call fit, or fit the detector it was given to")
        return (_one_column(scores) > self.thresh_).astype(np.int64)

    def p_value(self, scores: ArrayLike) -> Float:
        """P(a normal row's score is larger), from the tail: how improbable, where labels only say whether."""
        if not hasattr(self, "tail_"):
            raise ValueError("this PotThreshold is not fitted; call fit, or fit the detector it was given to")
        return self.tail_.sf(_one_column(scores))

    def __repr__(self) -> str:
        arguments = ("risk", "quantile", "method", "clean")
        return f"PotThreshold({', '.join(f'{name}={getattr(self, name)!r}' for name in arguments)})"


def _one_column(scores: ArrayLike) -> NDArray[Any]:
    values = real_array(scores, "scores")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"scores must have shape (rows,) or (rows, 1), got {values.shape}")
    return values
