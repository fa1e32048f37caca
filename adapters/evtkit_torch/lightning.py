"""Lightning: a callback that calibrates the network when ``fit`` ends, ranks units behind its mistakes, and reports.

Works with ``lightning`` and with ``pytorch_lightning``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from evtkit_torch.trained import TorchTrainingSaliency

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from torch import nn

if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback, LightningModule
else:
    try:
        from lightning.pytorch import Callback, LightningModule
    except ImportError:
        from pytorch_lightning import Callback, LightningModule

__all__ = ["SaliencyCallback"]


class SaliencyCallback(TorchTrainingSaliency, Callback):  # type: ignore[misc]  # Lightning may not be installed
    """Calibrate and report when a Lightning Trainer's ``fit`` ends.

    Arguments, data and labels are checked before the sanity check and the first step, on the first batch of each. The
    numbers are of the weights that the network ends with: those of callbacks that put in others when training ends,
    such as averaged ones, come first, whatever their place. What fails after the training becomes a warning, so that
    the training is never lost; and the random numbers that the training draws are the same as without the callback. In
    distributed training the first process does all of it.

    Parameters
    ----------
    calibration : (x, y), dict with "labels", Dataset, DataLoader, or list of batches
        Samples to learn the usual saliency from; not those of ``samples``. See `evtkit_torch.batches`.
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
        Gets the numbers and pictures of `evtkit.saliency.write_summary`, for TensorBoard. By default none;
        ``writer="logger"`` takes that of the Trainer's TensorBoardLogger.
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
        If an argument is out of its range; data and labels, and what depends on the network, when ``fit`` begins.

    Examples
    --------
    .. code-block:: python

        saliency = SaliencyCallback((x_train[:2000], y_train[:2000]), val_loader, network="net", report="saliency.html")
        trainer = lightning.Trainer(max_epochs=10, callbacks=[saliency])
        trainer.fit(module, train_loader, val_loader)
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
        Callback.__init__(self)
        self._logs = writer == "logger"
        TorchTrainingSaliency.__init__(
            self, calibration, samples, network, options, report=report, by=by, combine=combine, quantile=quantile,
            normalize=normalize, which=which, k=k, max_mistakes=max_mistakes, batch_size=batch_size,
            n_samples=n_samples, wrong=wrong, writer=None if self._logs else writer, progress=progress,
        )  # fmt: skip

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Check all that depends on the network.

        Raises
        ------
        ValueError, RuntimeError
            If an option, the data or the labels will not do.
        """
        if trainer.is_global_zero:
            if self._logs:
                self._writer = _writer_of(trainer)
            part = self.part_of(pl_module)
            if isinstance(part, LightningModule) and type(part).forward is LightningModule.forward:
                raise ValueError(
                    f"network must name the part of {type(part).__name__} that maps inputs to class scores, for it has "
                    "no forward of its own"
                )
            self.begin(lambda: self.wrapped(pl_module))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Calibrate, rank and report, behind everything that is done when training ends."""
        if trainer.is_global_zero:
            self.finish(lambda: self.wrapped(pl_module))


def _writer_of(trainer: Any) -> Any:
    """The SummaryWriter of the Trainer's logger."""
    for logger in trainer.loggers:
        found = getattr(logger, "experiment", None)
        if callable(getattr(found, "add_scalar", None)):
            return found
    got = [type(logger).__name__ for logger in trainer.loggers]
    raise ValueError(f"writer must be a SummaryWriter where the Trainer has no TensorBoardLogger, got loggers {got}")
