"""Pruning: units as masks of `torch.nn.utils.prune`, which other tools know, and masks as they are applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from evtkit_torch.model import TorchModel

__all__ = ["apply_masks", "masks"]


def masks(net: TorchModel, selection: ArrayLike) -> dict[str, Tensor]:
    """Masks that take units out of a network: 0 for their weights, 1 for all others.

    Parameters
    ----------
    net : TorchModel
        The network; it is not changed.
    selection : array_like
        Units, as in `Units.resolve`.

    Returns
    -------
    dict of str to Tensor
        For every parameter that holds a weight of theirs a mask of its shape, on its device and in its dtype.

    Examples
    --------
    >>> from evtkit_torch import TorchModel
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2))
    >>> found = masks(TorchModel(model), [1])
    >>> found["0.weight"][:, 0, 0, 0].tolist()
    [1.0, 0.0, 1.0]
    >>> apply_masks(model, found)
    >>> model[0].weight[1].abs().sum().item(), "weight_orig" in dict(model[0].named_parameters())
    (0.0, True)
    """
    network = net.profiler.network
    found: dict[str, Tensor] = {}
    for unit in net.units.resolve(selection).tolist():
        for lanes, lane in net.profiler.plan.pieces[unit]:
            weight: Tensor = network.read(lanes.parameter)
            mask = found.setdefault(lanes.parameter, torch.ones_like(weight))
            mask[lanes.index(lane, tuple(weight.shape))] = 0
    return found


def apply_masks(model: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Put masks on a network by `torch.nn.utils.prune.custom_from_mask`, on top of those it has already.

    From then on training keeps those weights at 0; ``torch.nn.utils.prune.remove`` makes that permanent.

    Parameters
    ----------
    model : nn.Module
        The network.
    found : mapping of str to Tensor
        From `masks`.

    Raises
    ------
    ValueError
        If the network has no such parameter, or one of another shape; nothing is masked then.

    See Also
    --------
    masks : makes them.

    Examples
    --------
    >>> import torch
    >>> from evtkit_torch import TorchModel, apply_masks, masks
    >>> _ = torch.manual_seed(0)
    >>> cnn = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.Flatten(), torch.nn.Linear(27, 2)).eval()
    >>> net = TorchModel(cnn)
    >>> apply_masks(cnn, masks(net, [1]))
    >>> [bool(row.any()) for row in cnn[0].weight]
    [True, False, True]
    """
    places: list[tuple[nn.Module, str, Any]] = []
    for name, mask in found.items():
        path, _, leaf = name.rpartition(".")
        leaf = leaf.removesuffix("_orig")
        try:
            owner = model.get_submodule(path)
            shape = getattr(owner, leaf).shape
        except AttributeError:
            raise ValueError(f"masks must be of parameters of {type(model).__name__}, got {name!r}") from None
        if shape != mask.shape:
            raise ValueError(f"the mask of {name} must have shape {tuple(shape)}, got {tuple(mask.shape)}")
        places.append((owner, leaf, mask))
    for owner, leaf, mask in places:
        prune.custom_from_mask(owner, leaf, mask)
