"""Trainer: a callback for the Hugging Face Trainer: calibrates when ``train`` ends, ranks the units, and reports."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from evtkit.saliency.training import list_around
from evtkit_torch.state import unwrap
from evtkit_torch.trained import TorchTrainingSaliency

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from torch import nn

    from evtkit_torch.model import TorchModel

__all__ = ["SaliencyCallback"]

_LABELS = ("label", "labels", "label_ids")


class SaliencyCallback(TorchTrainingSaliency, TrainerCallback):  # type: ignore[misc]  # may not be installed
    """Calibrate and report when ``train`` of a Hugging Face Trainer ends.

    Arguments, data and labels are checked before the first step, on the first batch of each. The numbers are of the
    weights that the network ends with: those that ``load_best_model_at_end`` or other callbacks put in come first,
    whatever the callbacks' order. What fails after the training becomes a warning, so that the training is never lost;
    and the random numbers that the training draws are the same as without the callback. In distributed training the
    first process does all of it.

    Parameters
    ----------
    calibration : (x, y), dict with "labels", Dataset, DataLoader, or list of batches
        Samples to learn the usual saliency from; not those of ``samples``. See `evtkit_torch.batches`. Datasets
        are put together by the Trainer's own collator, without the columns that the network does not take.
    samples : as calibration, optional
        Samples such as the validation set, whose mistakes are ranked. Without them the callback only calibrates.
    network : str or callable, optional
        The part of the trained module that maps inputs to class scores: its name, or a function from the module to it.
        By default the module itself.
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
        For arrays and datasets.
    n_samples : int, optional
        How many samples ``calibration`` holds, or an upper bound, for data that do not know.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evtkit.saliency.evaluate`.
    writer : SummaryWriter, optional
        Gets the numbers and pictures of `evtkit.saliency.write_summary`, for TensorBoard.
    progress : bool
        Show a bar (on a terminal's standard error).
    **options
        For `TorchModel`: ``units``, ``loss``, ``task``, ``reduction`` and the others.

    Attributes
    ----------
    net : TorchModel
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
        If an argument is out of its range; data and labels, and what depends on the network, when ``train`` begins.

    Notes
    -----
    The default loss is the cross-entropy of ``logits`` to ``labels``, a label a sample or a position, without those of
    -100; of a ``config`` with ``problem_type`` "regression" or "multi_label_classification", or one label only, that of
    such a task. A model that shifts its labels, as causal language models do, needs a ``loss`` that does so too.

    Examples
    --------
    .. code-block:: python

        saliency = SaliencyCallback(train_set, eval_set, units="rows", report="saliency.html")
        Trainer(model, args, train_dataset=train_set, eval_dataset=eval_set, callbacks=[saliency]).train()
        print(saliency.ranking.table())
    """

    def __init__(
        self,
        calibration: Any,
        samples: Any = None,
        *,
        network: str | Callable[[nn.Module], nn.Module] | None = None,
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
        TrainerCallback.__init__(self)
        TorchTrainingSaliency.__init__(
            self, calibration, samples, network, options, report=report, by=by, combine=combine, quantile=quantile,
            normalize=normalize, which=which, k=k, max_mistakes=max_mistakes, batch_size=batch_size,
            n_samples=n_samples, wrong=wrong, writer=writer, progress=progress,
        )  # fmt: skip

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check all that depends on the network.

        Raises
        ------
        ValueError, RuntimeError
            If an option, the data or the labels will not do.
        """
        if not state.is_world_process_zero:
            return
        model = unwrap(kwargs["model"])
        collate = getattr(kwargs.get("train_dataloader"), "collate_fn", None)
        if collate is not None:
            self.collate_by(_of_columns(collate, model))
        self.begin(lambda: self.wrapped(model))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Calibrate, rank and report, once the callbacks behind this one are through."""
        if not state.is_world_process_zero:
            return
        model = unwrap(kwargs["model"])
        around = list_around(self)
        if around is None or around.callbacks[-1] is self:
            self.finish(lambda: self.wrapped(model))
        else:  # a list that is run through reaches what is put at its end meanwhile
            around.callbacks.append(_Last(lambda: self.finish(lambda: self.wrapped(model)), around))

    def wrapped(self, module: nn.Module) -> TorchModel:
        """The network as saliency sees it, with the task of its configuration."""
        if "task" not in self._options and self._options.get("loss") is None:
            task = _task_of(getattr(module, "config", None))
            self._options = self._options | ({} if task is None else {"task": task})
        return super().wrapped(module)


class _Last(TrainerCallback):  # type: ignore[misc]  # likewise
    """What is done once, after all other callbacks, and then leaves their list."""

    def __init__(self, finish: Callable[[], None], around: Any) -> None:
        self._finish, self._around = finish, around

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Do it. A list that is run through would pass over a neighbour if this one were taken out; the last may."""
        self._finish()
        if self._around.callbacks[-1] is self:
            self._around.callbacks[:] = [own for own in self._around.callbacks if not isinstance(own, _Last)]


def _task_of(config: Any) -> str | None:
    """The task by a configuration, as the Transformers choose their loss by it."""
    kind = getattr(config, "problem_type", None)
    if kind is None and config is not None and getattr(config, "num_labels", None) == 1:
        kind = "regression"
    return {"regression": "values", "multi_label_classification": "labels"}.get(str(kind))


def _of_columns(collate: Callable[[Any], Any], model: nn.Module) -> Callable[[Any], Any]:
    """The Trainer's collator, without the columns that the network does not take, as the Trainer leaves them out."""
    taken = {*inspect.signature(model.forward).parameters, *_LABELS}

    def collated(rows: Any) -> Any:
        if rows and isinstance(rows[0], Mapping):
            rows = [{key: value for key, value in row.items() if key in taken} for row in rows]
        return collate(rows)

    return collated
