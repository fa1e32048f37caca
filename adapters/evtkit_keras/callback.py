"""Callback: after ``fit``, calibrate the network, rank the units behind its mistakes, and write a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from evtkit.saliency.batches import labels_of
from evtkit_keras.model import KerasModel
from evtkit_keras.samples import batches

if TYPE_CHECKING:
    import os

    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference

__all__ = ["SaliencyCallback"]


class SaliencyCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Calibrate and report when training ends.

    Parameters
    ----------
    calibration : (x, y), or tf.data.Dataset of batches
        Samples to learn the usual saliency from; not those of ``samples``.
    samples : (x, y), or tf.data.Dataset of batches, optional
        Samples such as the validation set, whose mistakes are ranked. Without them the callback only calibrates.
    report : path, optional
        File for an HTML report; needs ``pip install 'evtkit[saliency]'``.
    by, combine : str, optional
        How to rank, and how several mistakes become one ranking; see `evtkit.saliency.Reference.rank`.
    quantile, normalize, which
        As in `evtkit.saliency.calibrate`.
    k : int
        How many units the report lists.
    max_mistakes : int
        So many mistakes are ranked at most.
    batch_size : int
        For arrays.
    progress : bool
        Show a bar (on a terminal's standard error).
    **options
        For `KerasModel`: ``units``, ``loss``, ``reduction`` and the others.

    Attributes
    ----------
    net : KerasModel
        The trained network.
    reference : Reference
        What is usual.
    ranking : UnitRanking or None
        Of the mistakes; None without ``samples``, or where there are no mistakes.
    accuracy : float or None
        Share of ``samples`` that the network gets right.

    Examples
    --------
    >>> keras.utils.set_random_seed(0)
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(300, 8)).astype("float32"), rng.integers(0, 3, 300)
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)])
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> saliency = SaliencyCallback((x[:200], y[:200]), (x[200:], y[200:]), units="rows", progress=False)
    >>> _ = model.fit(x[:200], y[:200], verbose=0, callbacks=[saliency])
    >>> saliency.reference
    Reference(9 units, 200 of 200 samples, threshold at the 0.9 quantile: ...)
    >>> saliency.ranking.top(3).shape
    (3,)
    """

    net: KerasModel
    reference: Reference

    def __init__(
        self,
        calibration: Any,
        samples: Any = None,
        *,
        report: str | os.PathLike[str] | None = None,
        by: str = "impact",
        combine: str | None = None,
        quantile: float = 0.90,
        normalize: str | None = "sample",
        which: str = "all",
        k: int = 25,
        max_mistakes: int = 1000,
        batch_size: int = 64,
        progress: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        if max_mistakes < 1:
            raise ValueError(f"max_mistakes must be at least 1, got {max_mistakes}")
        self._calibration = batches(calibration, batch_size)  # malformed data are refused before the training
        self._samples = None if samples is None else batches(samples, batch_size)
        self._report, self._by, self._combine, self._k = report, by, combine, k
        self._how = {"quantile": quantile, "normalize": normalize, "which": which, "progress": progress}
        self._max_mistakes = max_mistakes
        self._options = options
        self.ranking: UnitRanking | None = None
        self.accuracy: float | None = None

    def on_train_end(self, logs: Any = None) -> None:
        """Calibrate, rank and report."""
        from evtkit.saliency import calibrate

        self.net = KerasModel(self.model, **self._options)
        self.reference = calibrate(self.net, self._calibration, **self._how)  # type: ignore[arg-type]  # by name
        if self._samples is not None:
            self._rank()
        if self._report is not None:
            from evtkit.saliency import report

            k = min(self._k, len(self.net.units))
            families = self.reference.compare_families()
            report(self._report, self.reference, ranking=self.ranking, families=families, k=k)

    def _rank(self) -> None:
        profiles: list[Any] = []
        seen = right = 0
        for x, y in self._samples or ():
            wrong = np.flatnonzero(self.net.predict(x).argmax(1) != labels_of(y))
            seen, right = seen + len(y), right + len(y) - len(wrong)
            room = self._max_mistakes - sum(map(len, profiles))
            if len(wrong) and room > 0:
                # the whole batch, for which there is a graph already, rather than another for each number of mistakes
                profiles.append(self.net.profile(x, y)[wrong[:room]])
        self.accuracy = right / seen
        if profiles:
            self.ranking = self.reference.rank(np.concatenate(profiles), self._by, combine=self._combine)
