"""Training: saliency of a network when its training ends, checked before it begins: what all callbacks share."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import Batches, pair
from evtkit.saliency.calibration import calibrate, check_settings
from evtkit.saliency.combine import check_ranking
from evtkit.saliency.reporting import report as write_report
from evtkit.saliency.summaries import write_summary
from evtkit.saliency.tasks import mistaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from evtkit.saliency.adapting import NetworkModel
    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.tasks import Wrong

__all__ = ["TrainingSaliency", "list_around"]


class TrainingSaliency:
    """Calibrate, rank and report once a training is over; a trainer's callback is this with the trainer's own hooks.

    `begin` belongs before the first step: it raises what is wrong with arguments, data and labels. `finish` belongs
    behind whatever else may change the weights: it turns every error into a warning, so that no training is lost.

    Parameters
    ----------
    calibration, samples
        Data as `_batches` takes them.
    known : sequence of str
        What `options` may be called.
    options : dict
        For the adapter's model.
    **others
        As in the callbacks.

    Attributes
    ----------
    net : NetworkModel
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
        If an argument is out of its range.
    """

    net: Any
    reference: Reference

    def __init__(
        self,
        calibration: Any,
        samples: Any,
        known: Sequence[str],
        options: dict[str, Any],
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
        wrong: Wrong | None = None,
        writer: Any = None,
        progress: bool = True,
    ) -> None:
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
        if writer is not None and not callable(getattr(writer, "add_scalar", None)):
            raise ValueError(f"writer must have add_scalar, as a SummaryWriter has, got {type(writer).__name__}")
        self._batch_size = batch_size
        self._calibration = self._batches(calibration, n_samples)
        count = self._calibration.n_samples  # type: ignore[attr-defined]  # every one has it
        if quantile is not None and count - int(quantile * count) < 2:
            raise ValueError(f"quantile must leave samples above it of {count}, got {quantile}")
        self._samples = None if samples is None else self._batches(samples, None)
        self._report, self._by, self._combine, self._k = report, by, combine, k
        self._how = {"quantile": quantile, "normalize": normalize, "which": which, "progress": progress}
        self._max_mistakes, self._wrong, self._writer = max_mistakes, wrong, writer
        self._options = options
        self._begun: NetworkModel | None = None
        self.ranking: UnitRanking | None = None
        self.accuracy: float | None = None

    # -- what a callback supplies --------------------------------------------------------------------------------------

    def _batches(self, data: Any, n_samples: int | None) -> Iterable[Any]:
        """Batches of some data, with an attribute ``n_samples``."""
        raise NotImplementedError

    def _aside(self) -> AbstractContextManager[Any]:
        """Context in which nothing that is drawn at random, or put on record, changes the training."""
        return nullcontext()

    # -- what it calls -------------------------------------------------------------------------------------------------

    def begin(self, make: Callable[[], NetworkModel]) -> None:
        """Check all that depends on the network, by a profile of the first batch.

        Raises
        ------
        ValueError, RuntimeError
            If an option, the data or the labels will not do.
        """
        self._begun = None
        with self._aside():
            net = make()
            net.profile(*pair(next(iter(self._calibration))))
            for every in (self._calibration, self._samples):
                if isinstance(every, Batches):  # labels further on, which cost nothing to look at
                    net.profiler.check_targets(every.y)
            for needed, data in ((self._how["which"] == "correct", self._calibration), (True, self._samples)):
                if needed and data is not None:
                    mistaken(net, *pair(next(iter(data))), self._wrong)
        self._begun = net

    def finish(self, make: Callable[[], NetworkModel]) -> None:
        """Calibrate, rank and report. What fails becomes a warning."""
        try:
            with self._aside():
                self._conclude(make)
        except (Exception, KeyboardInterrupt) as error:
            warnings.warn(
                f"the training is kept, but its saliency could not be had: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _conclude(self, make: Callable[[], NetworkModel]) -> None:
        self.ranking = self.accuracy = None
        self.net = self._begun or make()
        self._begun = None
        how: Any = self._how
        self.reference = calibrate(self.net, self._calibration, wrong=self._wrong, **how)
        if self._samples is not None:
            self._rank()
        k = min(self._k, len(self.net.units))
        if self._writer is not None:
            write_summary(self._writer, self.reference, self.ranking, accuracy=self.accuracy, k=k)
        if self._report is not None:
            families = self.reference.compare_families()
            write_report(self._report, self.reference, ranking=self.ranking, families=families, k=k)

    def _rank(self) -> None:
        profiles: list[Any] = []
        seen = right = 0
        for x, y in map(pair, self._samples or ()):
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


def list_around(callback: Any) -> Any:
    """Find the owner of the list of callbacks whose turn it is, in which this one stands, for trainers do not tell."""
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        found = getattr(owner, "callbacks", None)
        if isinstance(found, list) and any(own is callback for own in found):
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
