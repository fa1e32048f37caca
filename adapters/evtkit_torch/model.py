"""TorchModel: a PyTorch classifier as saliency sees it."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from evtkit.saliency.adapting import Chooser, Reduction, check_options, places, step_size
from evtkit.saliency.units import Coverage, Units, stage_of
from evtkit_torch.inputs import Batch, Loss, labels_of, logits_of, make_batch, stack_numpy
from evtkit_torch.patches import Patches, TorchUnitGradient
from evtkit_torch.plan import make_plan
from evtkit_torch.profiles import Profiler, ordinary_gradient
from evtkit_torch.state import check_no_mixing, eager, evaluation, unwrap
from evtkit_torch.verify import verify as verify_profiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.protocol import UnitGradient

__all__ = ["TorchModel"]


class TorchModel:
    """A network's units, their per-sample saliency, and temporary changes to them.

    The profile of a labelled sample holds, for every unit, by how much the loss would fall, to first order, if the
    unit's weights were zero: Σ w · ∂L/∂w, exact, from one forward and one backward pass over the whole batch. The
    network is run in evaluation mode; its modes, gradients and flags are afterwards what they were. The published
    protocol (Levin et al. 2021, arXiv 2108.01335; Wang & Sato 2023) is ``reduction="mean-abs"``.

    Parameters
    ----------
    model : nn.Module
        A classifier: its output is a tensor of logits (batch, classes), or has one as ``logits``. Wrapped models
        (compiled, data parallel) are unwrapped.
    loss : callable, optional
        ``loss(output, target) -> (batch,)``, one number a sample. By default the cross-entropy to the target.
    units : str, callable, or sequence of them
        Kinds of layers (``"filters"`` of convolutions, ``"rows"`` of linear layers, ``"channels"`` of normalisation
        scales, ``"heads"`` of attention), globs over module names, or predicates of (name, module). A glob or
        predicate takes every layer it matches, whatever its kind.
    max_workspace_mib : float
        Bound of the memory used beyond the activations, in MiB.
    micro_batch : int, optional
        Process this many samples at a time. By default a whole batch.
    reduction : {"taylor", "mean-abs", "l2"}
        Product of a unit's gradient with its weights, Σ w · ∂L/∂w (Molchanov et al. 2019, arXiv 1906.10771, keep its
        square), which has a sign, and is in the loss's units for every unit alike; or mean absolute value of the
        gradient, or its Euclidean length.
    device : optional
        Move the network there, as ``model.to`` does. By default it stays where it is; inputs go where it is.
    autocast : torch.dtype, optional
        Run the forward pass in mixed precision. Gradients are still multiplied and added in float32.
    loss_scale : float
        Multiplies the loss for the backward pass, for float16; divided out again. A power of two is exact.
    stage : callable
        From a module's name to its stage in `units`.
    verify : bool
        Check the first two samples ever profiled against ordinary gradients, once. Costs about four samples' passes.

    Raises
    ------
    ValueError
        If nothing matches ``units``, a layer is uninitialised, or an argument is out of its range.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> cnn = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)).eval()
    >>> net = TorchModel(cnn)
    >>> net
    TorchModel(Sequential: 4 filters in 1 layers; 2.4 % of 1,490 parameters covered;
    left out: 1,440 rows not selected, 14 bias)
    >>> x, y = torch.randn(3, 1, 8, 8), [1, 2, 3]
    >>> net.profile(x, y).shape
    (3, 4)
    >>> with net.pruned([0, 2]):
    ...     net.predict(x).shape
    (3, 10)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | None = None,
        units: Chooser | Sequence[Chooser] = "filters",
        *,
        max_workspace_mib: float = 256,
        micro_batch: int | None = None,
        reduction: Reduction = "taylor",
        device: torch.device | str | None = None,
        autocast: torch.dtype | None = None,
        loss_scale: float = 1.0,
        stage: Callable[[str], str] = stage_of,
        verify: bool = True,
    ) -> None:
        check_options(reduction, max_workspace_mib, micro_batch, loss_scale)
        model = unwrap(model)
        self._plan = make_plan(model, units, stage)
        self._model = model if device is None else model.to(device)
        self._profiler = Profiler(self._model, self._plan, loss, reduction, max_workspace_mib, autocast, loss_scale)
        self._patches = Patches(self._model, self._plan)
        self._micro_batch = micro_batch
        self._verify = verify
        self._warned = False

    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self._model

    @property
    def units(self) -> Units:
        """Ordered table of the units: ``named_modules()`` order, then output index."""
        return self._plan.units

    @property
    def coverage(self) -> Coverage:
        """Which parameters belong to no unit, and why."""
        return self._plan.coverage

    @property
    def reduction(self) -> Reduction:
        """How a unit's gradient becomes one number."""
        return self._profiler.reduction

    @property
    def unused(self) -> tuple[str, ...]:
        """Weights of units that no profile's forward pass has used so far: a profile warns, and is zero there."""
        return tuple(name for name in self._plan.parameters if name not in self._profiler.used)

    def __repr__(self) -> str:
        return f"TorchModel({type(self._model).__name__}: {self._plan})"

    def profile(self, x: Any, y: Any = None) -> NDArray[np.floating[Any]]:
        """Saliency of every unit for every sample.

        Parameters
        ----------
        x : tensor, array, tuple or dict
            The network's input, samples along axis 0; a tuple is positional, a dict keyword arguments.
        y : array of int, or "predicted"
            Labels, one a sample (whatever the loss takes, if it is one's own). "predicted" stands for the class that
            the network ranks first.

        Returns
        -------
        ndarray, shape (batch, units)
            float64 for a float64 network, else float32. In the loss's units; with "mean-abs" and "l2", per unit of
            weight.

        Raises
        ------
        ValueError
            If a batch norm is in training mode, the input or labels are malformed, the loss is not one finite number
            a sample.
        RuntimeError
            If a weight is used in a way without a rule, an input is changed in place after its use, gradients are not
            finite, or the first samples' profiles differ from ordinary gradients.
        """
        with torch.inference_mode(False):  # what is made in inference mode has no gradient, ever
            batch, target = self._batch(x, y)
            if self._verify:
                verify_profiles(self._profiler, batch, target)
                self._verify = False
            result = stack_numpy(
                self._profiler.profile(part, labels).cpu() for part, labels in batch.parts(self._micro_batch, target)
            )
        if self.unused and not self._warned:
            self._warned = True
            warnings.warn(
                f"no forward pass has used {', '.join(self.unused[:5])} yet: the profile is zero there", stacklevel=2
            )
        bad = np.flatnonzero(~np.isfinite(result).all(axis=1)).tolist()
        if bad:
            raise RuntimeError(
                f"got gradients that are not finite for samples {bad[:5]} of the batch, wanted finite ones "
                "(float16 may want another loss_scale)"
            )
        return result

    def logits(self, x: Any) -> NDArray[np.floating[Any]]:
        """Class scores, shape (batch, classes), in evaluation mode and without a gradient."""
        batch, _ = self._batch(x, None)
        parts = []
        with torch.no_grad(), eager(), evaluation(self._model):
            for part, _ in batch.parts(self._micro_batch):
                scores = logits_of(self._profiler.forward(part))
                parts.append(scores if scores.dtype == torch.float64 else scores.float())
        return stack_numpy(parts)

    def predict(self, x: Any) -> NDArray[np.floating[Any]]:
        """Class probabilities, shape (batch, classes): the softmax of `logits`."""
        return torch.from_numpy(self.logits(x)).softmax(1).numpy()

    def unit_norms(self, selection: ArrayLike | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights (all by default), shape (selected,)."""
        return self._patches.norms(self._resolve(selection))

    def gradient(self, x: Any, y: Any = None, selection: ArrayLike | None = None) -> TorchUnitGradient:
        """Gradient of the mean loss with respect to selected units, at the present weights.

        Take it once, at the original weights, and every `tuned` of a sweep from it.

        Parameters
        ----------
        x, y
            As in `profile`. The loss is averaged over the batch, so that a step does not grow with it.
        selection : array-like, optional
            Units, as in `Units.resolve`. By default all.

        Returns
        -------
        TorchUnitGradient
            With ``selection`` and the ``norms`` of its units.
        """
        chosen = self._resolve(selection)
        names = list(dict.fromkeys(lanes.parameter for unit in chosen.tolist() for lanes, _ in self._plan.pieces[unit]))
        total: dict[str, Tensor] = {}
        with torch.inference_mode(False):
            batch, target = self._batch(x, y)
            for part, labels in batch.parts(self._micro_batch, target):
                for name, gradient in ordinary_gradient(self._profiler, part, labels, names).items():
                    total[name] = gradient if name not in total else total[name] + gradient
            mean = {name: gradient / batch.size for name, gradient in total.items()}
        return TorchUnitGradient(chosen, self._patches.norms(chosen, mean), mean)

    @contextmanager
    def pruned(self, selection: ArrayLike, *, bn: Literal["keep", "zero"] = "keep") -> Iterator[Self]:
        """Context in which the selected units' weights are zero.

        Parameters
        ----------
        selection : array-like
            Units, as in `Units.resolve`.
        bn : {"keep", "zero"}
            What becomes of the batch norm that a filter's output goes straight into. ``"keep"``, the published
            protocol, changes the filter's weights only: the batch norm still adds its shift, so the channel becomes a
            constant. ``"zero"`` also zeroes that channel's scale and shift, so that nothing is left. Which batch norm
            follows is learned from a profile, so one must have been taken.

        Yields
        ------
        TorchModel
            This object. On leaving, weights are restored bit for bit, also after an exception.
        """
        if bn not in ("keep", "zero"):
            raise ValueError(f"got bn={bn!r}, wanted 'keep' or 'zero'")
        chosen = self._resolve(selection)
        blocks = self._patches.blocks(chosen)
        if bn == "zero":
            blocks += self._patches.following(chosen, self._profiler.followers)
        with self._patches.restoring(blocks):
            for block in blocks:
                self._patches.view(block).zero_()
            yield self

    @contextmanager
    def tuned(
        self,
        selection: ArrayLike,
        x: Any = None,
        y: Any = None,
        step: float = 1e-3,
        *,
        gradient: UnitGradient | None = None,
        length: float | None = None,
    ) -> Iterator[Self]:
        """Context in which the selected units have taken one gradient step.

        Parameters
        ----------
        selection : array-like
            Units, as in `Units.resolve`.
        x, y
            Samples whose mean loss is to fall; not with ``gradient``.
        step : float
            Multiple of the gradient that is subtracted.
        gradient : TorchUnitGradient, optional
            A gradient that `gradient` returned, for sweeps at fixed weights.
        length : float, optional
            Scale the update to this Euclidean length over the whole selection instead of by ``step``.

        Yields
        ------
        TorchModel
            This object. On leaving, weights are restored bit for bit, also after an exception.

        Raises
        ------
        ValueError
            If neither or both of samples and gradient are given, or the gradient lacks a selected unit.
        """
        chosen = self._resolve(selection)
        if (x is None) == (gradient is None):
            raise ValueError("got both or neither of x and gradient, wanted one of them")
        taken = self.gradient(x, y, chosen) if gradient is None else gradient
        if not isinstance(taken, TorchUnitGradient):
            raise ValueError(f"got a gradient of type {type(taken).__name__}, wanted one from TorchModel.gradient")
        step = step_size(taken.norms[places(taken.selection, chosen)], step, length)
        blocks = self._patches.blocks(chosen)
        with self._patches.restoring(blocks):
            for block in blocks:
                name, index = block
                self._patches.view(block).sub_(taken.parameters[name][index], alpha=step)
            yield self

    def export(self) -> dict[str, Tensor]:
        """Return the patches in force as a repair to keep.

        Returns
        -------
        dict of str to Tensor
            For every changed parameter ``<name>.index`` (flat positions), ``<name>.before`` and ``<name>.after``:
            small, and savable by `torch.save` or safetensors. `apply_repair` writes it into a network, and checks
            that it fits.

        Raises
        ------
        ValueError
            Outside `pruned` and `tuned`.
        """
        return self._patches.export()

    def _resolve(self, selection: ArrayLike | None) -> NDArray[np.intp]:
        return np.arange(len(self.units)) if selection is None else self.units.resolve(selection)

    def _batch(self, x: Any, y: Any) -> tuple[Batch, Any]:
        check_no_mixing(self._model)
        parameter = next(self._model.parameters())
        batch = make_batch(x, parameter.device, parameter.dtype)
        return batch, labels_of(y, batch.size, parameter.device)
