"""Profilers: what is run through a network. The second of an adapter's two sets of hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from evtkit.saliency.adapting.batch import Batch, make_batch, make_targets
from evtkit.saliency.adapting.network import Network  # noqa: TC001 (fields of a dataclass)
from evtkit.saliency.adapting.plan import Plan  # noqa: TC001 (likewise)
from evtkit.saliency.adapting.reduction import Reduction, reduce_gradient, unit_totals
from evtkit.saliency.tasks import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from evtkit.saliency.adapting.last import LastLayer

__all__ = ["NOISE", "TASKS", "Profiler"]

_OUT_OF_MEMORY = ("outofmemory", "out of memory", "resourceexhausted", "can't allocate memory", "failed to allocate")

NOISE = 64
"""A sum of products below so many units of rounding of the sum of their absolute values is nothing but rounding."""

TASKS = ("classes", "labels", "values")
"""What a network may say: one class of several; several labels, each true or not; numbers, as in regression."""


@dataclass(eq=False, repr=False, kw_only=True)
class Profiler(ABC):
    """Everything that stays the same from one batch to the next.

    An adapter must say `logits` and `gradient`. `profile` is exact for any network, one sample at a time; what makes it
    fast is the adapter's own.

    Parameters
    ----------
    network : Network
        The network.
    plan : Plan
        Its units.
    reduction : {"taylor", "mean-abs", "l2"}
        How a unit's gradient becomes one number.
    task : {"classes", "labels", "values"}
        What the network says, which decides what `probabilities` are.

    Attributes
    ----------
    used : set of str
        Parameters with units that some profile's forward pass has used. By default all of them.
    slow : dict of str to str
        Parameters whose part of a profile is taken one sample at a time, and why.
    cost : float
        Time of the last profile relative to what it would be without them.
    sizes : ndarray of float, shape (batch, units), or None
        For the last profile, if it was of Taylor saliency: the sum of the absolute values of what was added up, against
        which rounding is to be judged; 0 where that is not known. Where `quieten` is the adapter's own, those of the
        first samples will do.
    followers : dict of str to set of str
        For each parameter, the batch norms its output goes straight into, by the name that the network knows them by.
    channel_axis : int
        The axis of an input that has the channels, by the framework's custom.
    """

    channel_axis: ClassVar[int] = -1
    has_activations: ClassVar[bool] = False
    """Whether `activations` says anything."""

    network: Network
    plan: Plan
    reduction: Reduction = "taylor"
    task: str = "classes"
    used: set[str] = field(default_factory=set)
    followers: dict[str, set[str]] = field(default_factory=dict)
    slow: dict[str, str] = field(default_factory=dict)
    cost: float = 1.0
    sizes: NDArray[np.floating[Any]] | None = None

    @abstractmethod
    def logits(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class scores, shape (batch, classes), float32 at least."""

    @abstractmethod
    def gradient(self, batch: Batch, target: Any, names: Iterable[str]) -> Mapping[str, Any]:
        """Gradient of the batch's summed loss with respect to some parameters, the ordinary way.

        Zero for a parameter that the loss does not depend on. Raises a ValueError unless the loss is one finite number
        a sample. The target is what `targets` returned.
        """

    def profile(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Profile of a batch that fits in memory, shape (batch, units); here one sample at a time."""
        self.used.update(self.plan.parameters)
        return np.stack([self.alone(*one) for one in batch.parts(1, target)]).astype(self.dtype)

    def activations(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Mean and mean size of what each unit puts out over its positions, shape (batch, units, 2).

        NaN for a unit that has no output of its own. Before any activation function that the layer itself applies.
        """
        return np.full((batch.size, len(self.plan.units), 2), np.nan, dtype=self.dtype)

    def varied(
        self,
        chosen: Sequence[NDArray[np.intp]],
        factors: NDArray[np.float64],
        gradient: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[Callable[[], bool]] | None:
        """Context in which the i-th sample of the next batch sees the weights of units ``chosen[i]`` changed.

        Multiplied by ``factors[i]`` or, with a gradient by parameter, less that multiple of it. It gives a function
        that says afterwards whether that has happened. None if it is not possible for these units.
        """
        return None

    def last_layer(self, batch: Batch) -> LastLayer | None:
        """The linear layer whose output is the class scores, with what enters it; None where there is none.

        It need not be certain: whoever asks checks that the scores are what the layer makes of the features.
        """
        return None

    def quieten(self, profile: NDArray[np.floating[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Put 0 for sums of the last profile that have cancelled to rounding: else chance would rank them.

        Returns
        -------
        noise, signal : ndarray of bool, shape (units,)
            Which units had such a sum for some sample; which had another one.
        """
        sizes = self.sizes
        if sizes is None:
            none = np.zeros(profile.shape[1], dtype=bool)
            return none, none
        quiet = np.abs(profile) <= NOISE * np.finfo(profile.dtype).eps * sizes
        noise, signal = (quiet & (sizes > 0)).any(axis=0), (~quiet & (profile != 0)).any(axis=0)
        profile[quiet] = 0.0
        return noise, signal

    def fall_back(self, parameters: Iterable[str], reason: str, batch: Batch, target: Any) -> bool:
        """Take some parameters' part of profiles one sample at a time from now on. False where that is no choice."""
        return False

    def exactly(self) -> AbstractContextManager[Any] | None:
        """A context in which the device computes in the dtype's full precision; None where it does so anyway."""
        return None

    def doubled(self) -> Profiler | None:
        """The same with a copy of the network in double precision; None where there is none, or it is that already."""
        return None

    def input_slope(self, batch: Batch, target: Any, measure: Callable[[Mapping[str, Any]], Any]) -> Any:
        """Slope of a measure of one sample's ordinary gradient along the input, for `input_saliency`.

        Parameters
        ----------
        batch, target
            One sample.
        measure : callable
            From the gradient by parameter, in the framework's arrays, to one number; gradients flow through it.

        Returns
        -------
        ndarray, shape of the first floating input, or None
            None where the measure does not depend on the input.
        """
        raise NotImplementedError(f"{type(self).__name__} has no gradient of gradients")

    def is_tensor(self, x: Any) -> bool:
        """Whether something is an array of the framework's."""
        return isinstance(x, np.ndarray)

    def place(self, x: Any) -> Any:
        """Bring an array to where the network is, floating numbers in its dtype; anything else stays as it is."""
        return x

    def place_target(self, y: Any) -> Any:
        """Bring targets, an array or tensor of numbers, to where the loss takes them."""
        return y

    def check_targets(self, y: Any) -> None:  # noqa: B027 (there may be nothing to check)
        """Refuse targets, of any number of samples, that the default loss cannot take."""

    def batch(self, x: Any) -> Batch:
        """A network's input as tensors, checked."""
        return make_batch(x, self.place, self.is_tensor)

    def targets(self, y: Any, size: int) -> Any:
        """Targets, one a sample, or None, or "predicted", for the class that the network ranks first."""
        return make_targets(y, size, self.place_target, self.is_tensor)

    def probabilities(self, batch: Batch) -> NDArray[np.floating[Any]]:
        """Class probabilities, shape (batch, classes): the softmax of `logits`."""
        scores = self.logits(batch)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def move(self, device: Any) -> None:
        """Bring the network to a device."""
        raise ValueError(f"device must be left out for {self.network.title}, which has no such choice, got {device!r}")

    def use_loss(self, loss: Callable[[Any, Any], Any]) -> None:
        """Take another loss, one number a sample."""
        raise ValueError(f"loss must be left out for {self.network.title}, which has its own")

    def ran_out(self, error: BaseException) -> bool:
        """Whether an error says that memory was not enough, and less would do; what was kept for reuse is given up."""
        text = f"{type(error).__name__}: {error}".lower()
        return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)

    def sample_losses(self, batch: Batch, target: Any) -> NDArray[np.floating[Any]]:
        """Loss of each sample, shape (batch,); here the cross-entropy to the class, by `probabilities`."""
        return cross_entropy(self.probabilities(batch), target)

    def computes_in(self) -> Iterable[str]:
        """Names of the dtypes that the network computes in, which decide how closely a profile can be verified."""
        return [self.dtype.name]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a profile: float64 if a parameter with units is, else float32."""
        wide = any(str(self.network.read(name).dtype).endswith("float64") for name in self.plan.parameters)
        return np.dtype(np.float64 if wide else np.float32)

    def alone(self, batch: Batch, target: Any) -> NDArray[np.float64]:
        """One sample's profile, shape (units,), from its ordinary gradient."""
        return self.judged(batch, target)[0]

    def judged(self, batch: Batch, target: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One sample's profile from its ordinary gradient, and what rounding in it is relative to.

        That is the sum of the absolute values of what each unit's number is the sum of; both have shape (units,).
        """
        numpy, names = self.network.arrays.numpy, self.plan.parameters
        gradient = {name: numpy(part) for name, part in self.gradient(batch, target, names).items()}
        weights = {name: numpy(self.network.read(name)) for name in names} if self.reduction == "taylor" else {}
        reduced: NDArray[np.float64] = reduce_gradient(self.plan, self.reduction, gradient, weights)
        if self.reduction != "taylor":
            return reduced, reduced
        return reduced, unit_totals(self.plan, self.reduction, gradient, weights, sizes=True)
