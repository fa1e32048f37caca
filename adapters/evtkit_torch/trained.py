"""Trained: what the callbacks of PyTorch's trainers share, on top of `evtkit.saliency.training`."""

from __future__ import annotations

import inspect
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evtkit.saliency.training import TrainingSaliency
from evtkit_torch.model import TorchModel
from evtkit_torch.samples import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

__all__ = ["TorchTrainingSaliency"]


class TorchTrainingSaliency(TrainingSaliency):
    """`TrainingSaliency` for a `TorchModel`: data, the part of a module that is looked at, and the random numbers.

    Parameters
    ----------
    calibration, samples
        As `evtkit_torch.samples.batches` takes them.
    network : str, callable or None
        The part of the trained module that maps inputs to scores: its name, or a function from the module to it. By
        default all of it.
    options : dict
        For `TorchModel`.
    **others
        As in `TrainingSaliency`.
    """

    def __init__(
        self,
        calibration: Any,
        samples: Any,
        network: str | Callable[[nn.Module], nn.Module] | None,
        options: dict[str, Any],
        **others: Any,
    ) -> None:
        if network is not None and not isinstance(network, str) and not callable(network):
            raise ValueError(f"network must be the name of a module, a function to it, or None, got {network!r}")
        self._network = network
        self._collate: Callable[[Any], Any] | None = None
        known = list(inspect.signature(TorchModel).parameters)[1:]
        super().__init__(calibration, samples, known, options, **others)
        self._given = calibration, samples, others.get("n_samples")

    def _batches(self, data: Any, n_samples: int | None) -> Iterable[Any]:
        return batches(data, self._batch_size, n_samples, self._collate)

    def collate_by(self, collate: Callable[[Any], Any]) -> None:
        """Put datasets' samples together as the trainer does."""
        self._collate = collate
        calibration, samples, n_samples = self._given
        self._calibration = self._batches(calibration, n_samples)
        self._samples = None if samples is None else self._batches(samples, None)

    def part_of(self, module: nn.Module) -> nn.Module:
        """The part of the trained module that is looked at."""
        if self._network is None:
            return module
        if not isinstance(self._network, str):
            return self._network(module)
        try:
            return module.get_submodule(self._network)
        except AttributeError:
            names = [name for name, _ in module.named_children()]
            raise ValueError(
                f"network must name a module of {type(module).__name__}, {names[:8]}, got {self._network!r}"
            ) from None

    def wrapped(self, module: nn.Module) -> TorchModel:
        """The network as saliency sees it."""
        return TorchModel(self.part_of(module), **self._options)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Leave the random numbers of the training as they are: loaders and transforms draw some."""
        plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002  # whatever the user's transforms use
        try:
            devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
            with torch.random.fork_rng(devices):
                yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)  # noqa: NPY002
