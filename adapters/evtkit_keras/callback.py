"""Callback: after ``fit``, calibrate the network, rank the units behind its mistakes, and write a report."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from evtkit.saliency.batches import Batches
from evtkit.saliency.calibration import calibrate, check_settings
from evtkit.saliency.combine import check_ranking
from evtkit.saliency.reporting import report as write_report
from evtkit.saliency.tasks import mistaken
from evtkit_keras.model import KerasModel
from evtkit_keras.samples import batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference

__all__ = ["SaliencyCallback"]


class SaliencyCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
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
        n_samples: int | None = None,
        wrong: Callable[[Any, Any], Any] | None = None,
        progress: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        known = list(inspect.signature(KerasModel).parameters)[1:]
        if unknown := sorted(set(options) - set(known)):
            raise ValueError(f"options must be arguments of the callback or some of {', '.join(known)}, got {unknown}")
        for name, number in (("max_mistakes", max_mistakes), ("k", k), ("batch_size", batch_size)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        check_settings(quantile, which, normalize)
        if check_ranking(by, combine) == "each":
            raise ValueError("combine must make one ranking of the mistakes, got 'each'")
        if report is not None:
            _check_path(report)
        if wrong is not None and not callable(wrong):
            raise ValueError(f"wrong must be a function of (predictions, y), got {wrong!r}")
        self._calibration = batches(calibration, batch_size, n_samples)
        count = self._calibration.n_samples  # type: ignore[attr-defined]  # every one has it
        if count - int(quantile * count) < 2:
            raise ValueError(f"quantile must leave samples above it of {count}, got {quantile}")
        self._samples = None if samples is None else batches(samples, batch_size)
        self._report, self._by, self._combine, self._k = report, by, combine, k
        self._how = {"quantile": quantile, "normalize": normalize, "which": which, "progress": progress}
        self._max_mistakes, self._wrong = max_mistakes, wrong
        self._options = options
        self._begun: KerasModel | None = None
        self.ranking: UnitRanking | None = None
        self.accuracy: float | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Check all that depends on the network, by a profile of the first batch, whose graph serves again at the end.

        Raises
        ------
        ValueError, RuntimeError
            If an option, the data or the labels will not do.
        """
        self._begun = None
        if not self.model.built:  # nothing can be said of it yet
            return
        self._begun = KerasModel(self.model, **self._options)
        x, y = next(iter(self._calibration))
        self._begun.profile(x, y)
        for every in (self._calibration, self._samples):
            if isinstance(every, Batches):  # labels further on, which cost nothing to look at
                self._begun.profiler.check_targets(every.y)
        for needed, data in ((self._how["which"] == "correct", self._calibration), (True, self._samples)):
            if needed and data is not None:
                mistaken(self._begun, *next(iter(data)), self._wrong)

    def on_train_end(self, logs: Any = None) -> None:
        """Calibrate, rank and report, once the callbacks behind this one are through."""
        around = _list_of(self)
        if around is None or around.callbacks[-1] is self:
            self._finish()
        else:  # a list that is run through reaches what is put at its end meanwhile
            around.callbacks.append(_Last(self._finish, around))

    def _finish(self) -> None:
        try:
            self._conclude()
        except Exception as error:
            warnings.warn(
                f"the training is kept, but its saliency could not be had: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _conclude(self) -> None:
        self.ranking = self.accuracy = None
        self.net = self._begun or KerasModel(self.model, **self._options)
        self._begun = None
        how: Any = self._how
        self.reference = calibrate(self.net, self._calibration, wrong=self._wrong, **how)
        if self._samples is not None:
            self._rank()
        if self._report is not None:
            k = min(self._k, len(self.net.units))
            families = self.reference.compare_families()
            write_report(self._report, self.reference, ranking=self.ranking, families=families, k=k)

    def _rank(self) -> None:
        profiles: list[Any] = []
        seen = right = 0
        for x, y in self._samples or ():
            missed = mistaken(self.net, x, y, self._wrong)
            wrong = np.flatnonzero(missed)
            seen, right = seen + len(missed), right + len(missed) - len(wrong)
            room = self._max_mistakes - sum(map(len, profiles))
            if len(wrong) and room > 0:
                # the whole batch, for which there is a graph already, rather than another for each number of mistakes
                profiles.append(self.net.profile(x, y)[wrong[:room]])
        self.accuracy = right / seen
        if profiles:
            self.ranking = self.reference.rank(np.concatenate(profiles), self._by, combine=self._combine, rng=0)


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


def _list_of(callback: SaliencyCallback) -> Any:
    """The list whose end this callback is told of, for Keras does not tell a callback what stands beside it."""
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList) and any(own is callback for own in owner.callbacks):
            return owner
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return None


def _check_path(report: str | os.PathLike[str]) -> None:
    path = Path(report)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"report must be a file in a folder that exists and can be written to, got {str(path)!r}")
    for module in ("jinja2", "matplotlib"):
        if find_spec(module) is None:
            raise ImportError(f"a report needs {module}; install it with: pip install 'evtkit[saliency]'")
