"""Attribution: saliency called as Captum's methods are, ``attribute(inputs, target=...)``; Captum is not needed.

`UnitAttribution` says what units do for a sample, `InputAttribution` which pixels excite its salient units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from evtkit_torch.input_saliency import input_saliency

if TYPE_CHECKING:
    from collections.abc import Callable

    from evtkit.saliency.reference import Reference
    from evtkit_torch.model import TorchModel

__all__ = ["InputAttribution", "UnitAttribution"]


class UnitAttribution:
    """A profile as an attribution: what each unit adds to each sample's loss.

    Parameters
    ----------
    net : TorchModel
        The network.

    Examples
    --------
    >>> from evtkit_torch import TorchModel
    >>> _ = torch.manual_seed(0)
    >>> net = TorchModel(torch.nn.Sequential(torch.nn.Linear(4, 3)), units="rows")
    >>> UnitAttribution(net).attribute(torch.randn(2, 4), target=1).shape
    torch.Size([2, 3])
    """

    def __init__(self, net: TorchModel) -> None:
        self.net = net
        self.forward_func: Callable[..., Any] = net.model

    def has_convergence_delta(self) -> bool:
        """Whether attributions add up to something known: they do not."""
        return False

    def attribute(self, inputs: Any, target: Any = None) -> Tensor:
        """Saliency of every unit for every sample, shape (batch, units).

        Parameters
        ----------
        inputs : Tensor, or tuple of them
            What the network is called with.
        target : int, Tensor or array, optional
            Label of all samples, or one each. By default the class that the network ranks first.
        """
        return torch.from_numpy(self.net.profile(inputs, _targets(inputs, target)))


class InputAttribution:
    """Input saliency as an attribution of the input's shape (Levin et al. 2021), for Captum's pictures, say.

    Parameters
    ----------
    net : TorchModel
        The network.
    reference : Reference
        What is usual, from `evtkit.saliency.calibrate`.
    **options
        For `evtkit_torch.input_saliency.input_saliency`.

    See Also
    --------
    UnitAttribution : of units.

    Examples
    --------
    >>> import torch
    >>> from evtkit_torch import InputAttribution, TorchModel
    >>> _ = torch.manual_seed(0)
    >>> cnn = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.Flatten(), torch.nn.Linear(27, 2)).eval()
    >>> net = TorchModel(cnn)
    >>> from evtkit.saliency import Batches, calibrate
    >>> x, y = torch.randn(200, 1, 4, 4), torch.randint(2, (200,))
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> InputAttribution(net, reference, k=1).attribute(x[:2], target=1).shape
    torch.Size([2, 1, 4, 4])
    """

    def __init__(self, net: TorchModel, reference: Reference, **options: Any) -> None:
        self.net, self.reference, self.options = net, reference, options
        self.forward_func: Callable[..., Any] = net.model

    def has_convergence_delta(self) -> bool:
        """Whether attributions add up to something known: they do not."""
        return False

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """Saliency of every pixel, with an axis of 1 where the input has its channels.

        Parameters
        ----------
        inputs : Tensor, shape (batch, channels, …)
            Samples.
        target : int, Tensor or array, optional
            Label of all samples, or one each. By default the class that the network ranks first.
        """
        target = _targets(inputs, target)
        if isinstance(target, str):
            target = self.net.predict(inputs).argmax(1)
        found = input_saliency(self.net, inputs, target, self.reference, **self.options)
        return torch.from_numpy(np.asarray(found)).unsqueeze(1)


def _targets(inputs: Any, target: Any) -> Any:
    """Labels one a sample; one alone is that of all."""
    if target is None:
        return "predicted"
    if np.ndim(target) == 0:
        first = inputs[0] if isinstance(inputs, tuple) else inputs
        return np.full(len(first), int(target))
    return target
