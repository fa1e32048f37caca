"""TorchModel: a PyTorch classifier as saliency sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evtkit.saliency.adapting import NetworkGradient, NetworkModel, check_options, write_repair
from evtkit.saliency.units import stage_of
from evtkit_torch.network import TorchNetwork
from evtkit_torch.profiles import TorchProfiler
from evtkit_torch.state import unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from evtkit.saliency.adapting import Chooser, Reduction
    from evtkit_torch.inputs import Loss

__all__ = ["TorchModel", "TorchUnitGradient", "apply_repair"]


class TorchUnitGradient(NetworkGradient):
    """Gradient of selected units at some weights, in tensors; what `TorchModel.gradient` returns.

    Examples
    --------
    >>> import torch
    >>> from evtkit_torch import TorchModel
    >>> _ = torch.manual_seed(0)
    >>> cnn = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.Flatten(), torch.nn.Linear(27, 2)).eval()
    >>> net = TorchModel(cnn)
    >>> x, y = torch.randn(5, 1, 4, 4), torch.randint(2, (5,))
    >>> net.gradient(x, y, [0, 2]).norms.shape
    (2,)
    """


class TorchModel(NetworkModel):
    """A network's units, their per-sample saliency, and temporary changes to them.

    The profile of a labelled sample holds, for every unit, by how much the loss would fall, to first order, if the
    unit's weights were zero: Σ w · ∂L/∂w, exact, from one forward and one backward pass over the whole batch. The
    network is run in evaluation mode; its modes, gradients and flags are afterwards what they were. The published
    protocol (Levin et al. 2021, arXiv 2108.01335; Wang & Sato 2023) is ``reduction="mean-abs"``.

    Parameters
    ----------
    model : nn.Module
        Its output is a tensor of logits (batch, classes), or has one as ``logits``; a single logit is that of the
        second of two classes. Axes behind the classes are positions, each with a label, as the pixels of a
        segmentation; of ``logits`` of three axes the classes are the last. Wrapped models (compiled, data parallel)
        are unwrapped.
    loss : callable, optional
        ``loss(output, target) -> (batch,)``, one number a sample, or one a position, of which a sample's
        loss is then the mean, without those whose integer label is -100. By default the cross-entropy to the target.
    units : str, callable, or sequence of them
        Kinds of layers (``"filters"`` of convolutions, ``"rows"`` of linear layers, ``"channels"`` of normalisation
        scales, ``"heads"`` of attention, ``"cells"`` of recurrent layers, ``"words"`` of embeddings), globs over module
        names, or predicates of (name, module). A glob or predicate takes every layer it matches, whatever its kind.
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
    task : {"classes", "labels", "values"}
        What the network says: one class of several; several labels, each true or not; or numbers, as in regression.
        It decides what `predict` returns (the probability of each class, or of each label, or the output) and the
        default loss: cross-entropy, to the class or as a mean over the labels; or mean squared error.
    output : str or int, optional
        Which of several outputs, by its key, name or place: that of the loss and of `predict`.
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

    gradient_type = TorchUnitGradient

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
        task: str = "classes",
        output: str | int | None = None,
        stage: Callable[[str], str] = stage_of,
        verify: bool = True,
    ) -> None:
        check_options(reduction, max_workspace_mib, micro_batch, loss_scale, task)
        model = unwrap(model)
        network = TorchNetwork(model)
        plan = network.plan(units, stage)
        network.model = model if device is None else model.to(device)
        profiler = TorchProfiler(
            network=network,
            plan=plan,
            reduction=reduction,
            loss=loss,
            task=task,
            output=output,
            workspace_mib=max_workspace_mib,
            autocast=autocast,
            loss_scale=loss_scale,
        )
        super().__init__(profiler, micro_batch=micro_batch, verify=verify)


def apply_repair(model: nn.Module, repair: Mapping[str, Tensor], *, revert: bool = False) -> None:
    """Write an exported repair into a network, for good.

    Parameters
    ----------
    model : nn.Module
        A network with the weights the repair was made for.
    repair : mapping of str to Tensor
        What `TorchModel.export` returned, for instance through `torch.save` or safetensors.
    revert : bool
        Undo the repair instead.

    Raises
    ------
    ValueError
        If the repair names no parameter of the network, or its weights are not those it was made for; nothing is
        changed then.

    See Also
    --------
    evtkit.saliency.Repair.save : a file that it reads, too.

    Examples
    --------
    >>> import torch
    >>> from evtkit_torch import TorchModel, apply_repair
    >>> _ = torch.manual_seed(0)
    >>> cnn = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.Flatten(), torch.nn.Linear(27, 2)).eval()
    >>> net = TorchModel(cnn)
    >>> before = cnn[0].weight.detach().clone()
    >>> with net.pruned([1]):
    ...     change = net.export()
    >>> apply_repair(cnn, change)
    >>> cnn[0].weight[1].abs().sum().item()
    0.0
    >>> apply_repair(cnn, change, revert=True)
    >>> torch.equal(before, cnn[0].weight)
    True
    """
    write_repair(TorchNetwork(model), repair, revert)
