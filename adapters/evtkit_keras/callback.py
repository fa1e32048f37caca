"""Callback: after ``fit``, calibrate the network, rank the units behind its mistakes, and write a report."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import keras
import numpy as np  # noqa: F401  # for the example

from evtkit.saliency.training import TrainingSaliency, list_around
from evtkit_keras.model import KerasModel
from evtkit_keras.samples import batches

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

__all__ = ["SaliencyCallback"]


class SaliencyCallback(TrainingSaliency, keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Calibrate and report when training ends.

    Arguments, data and labels are checked before the first epoch, on the first batch of each. The numbers are of the
    weights that the network ends with: other callbacks that restore weights come first, whatever their place. What
    fails after the training becomes a warning, so that the training is never lost.

    Parameters
    ----------
    calibration : (x, y), tf.data.Dataset of batches, or PyDataset
        Samples to learn the usual saliency from; not those of ``samples``. See `batches`.
    samples : (x, y), tf.data.Dataset of batches, or PyDataset, optional
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
    n_samples : int, optional
        How many samples ``calibration`` holds, or an upper bound, for a dataset that does not know. By default it is
        counted.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evtkit.saliency.evaluate`.
    writer : SummaryWriter, optional
        Gets the numbers and pictures of `evtkit.saliency.write_summary`, for TensorBoard.
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

    Raises
    ------
    ValueError
        If an argument is out of its range; data and labels, and what depends on the network, when ``fit`` begins.

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
    Reference(9 units, 200 of 200 samples, tails of 20 excesses: ...)
    >>> saliency.ranking.top(3).shape
    (3,)
    """

    net: KerasModel

    def __init__(
        self,
        calibration: Any,
        samples: Any = None,
        *,
        report: str | os.PathLike[str] | None = None,
        by: str = "impact",
        combine: str | None = None,
        quantile: float | None = None,
        normalize: str | None = "sample",
        which: str = "all",
        k: int = 25,
        max_mistakes: int = 1000,
        batch_size: int = 64,
        n_samples: int | None = None,
        wrong: Callable[[Any, Any], Any] | None = None,
        writer: Any = None,
        progress: bool = True,
        **options: Any,
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        TrainingSaliency.__init__(
            self, calibration, samples, list(inspect.signature(KerasModel).parameters)[1:], options, report=report,
            by=by, combine=combine, quantile=quantile, normalize=normalize, which=which, k=k, max_mistakes=max_mistakes,
            batch_size=batch_size, n_samples=n_samples, wrong=wrong, writer=writer, progress=progress,
        )  # fmt: skip

    def _batches(self, data: Any, n_samples: int | None) -> Iterable[Any]:
        return batches(data, self._batch_size, n_samples)

    def _net(self) -> KerasModel:
        return KerasModel(self.model, **self._options)

    def on_train_begin(self, logs: Any = None) -> None:
        """Check all that depends on the network, by a profile of the first batch, whose graph serves again at the end.

        Raises
        ------
        ValueError, RuntimeError
            If an option, the data or the labels will not do.
        """
        self._begun = None
        if self.model.built:  # else nothing can be said of it yet
            self.begin(self._net)

    def on_train_end(self, logs: Any = None) -> None:
        """Calibrate, rank and report, once the callbacks behind this one are through."""
        around = list_around(self)
        if around is None or around.callbacks[-1] is self:
            self.finish(self._net)
        else:  # a list that is run through reaches what is put at its end meanwhile
            around.callbacks.append(_Last(lambda: self.finish(self._net), around))


class _Last(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """What is done once, after all other callbacks, and then leaves their list."""

    def __init__(self, finish: Callable[[], None], around: Any) -> None:
        super().__init__()
        self._finish, self._around = finish, around

    def on_train_end(self, logs: Any = None) -> None:
        """Do it. A list that is run through would pass over a neighbour if this one were taken out; the last may."""
        self._finish()
        if self._around.callbacks[-1] is self:
            self._around.callbacks[:] = [own for own in self._around.callbacks if not isinstance(own, _Last)]
