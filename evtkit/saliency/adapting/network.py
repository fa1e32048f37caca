"""Networks: parameters by name, and the layers that could give units. The first of an adapter's two sets of hooks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from evtkit.saliency.adapting.arrays import NUMPY, Arrays
from evtkit.saliency.adapting.plan import Candidate, Chooser, Plan, Weight, make_plan
from evtkit.saliency.units import stage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from evtkit.saliency.adapting.lanes import Index


__all__ = ["Network"]


class Network(ABC):
    """What a network is made of.

    An adapter must say `kinds`, `names`, `candidates`, `read` and `write`; the rest has answers for most frameworks.

    Attributes
    ----------
    model : object
        The framework's own network.
    arrays : Arrays
        Arithmetic on the framework's arrays.
    """

    model: Any
    arrays: Arrays = NUMPY

    @property
    def title(self) -> str:
        """What the network is called in messages."""
        return type(self.model).__name__

    @property
    @abstractmethod
    def kinds(self) -> Sequence[str]:
        """Every kind of unit that some layer could have."""

    @abstractmethod
    def names(self) -> Iterable[str]:
        """Full names of all parameters, each parameter once."""

    @abstractmethod
    def candidates(self) -> Iterable[Candidate]:
        """Layers that could give units, in the framework's own order."""

    @abstractmethod
    def read(self, name: str) -> Any:
        """Present weights of a parameter, as one of the framework's arrays; it may share their memory."""

    @abstractmethod
    def write(self, name: str, changes: Iterable[tuple[Index, Any]]) -> None:
        """Put values, or 0, at some indices of a parameter, bit for bit."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter."""
        return tuple(self.read(name).shape)

    def stored(self, values: Any) -> Any:
        """Values as they are kept in a repair, apart from the network."""
        return values

    def no_units(self, name: str) -> str:
        """Why no unit would hold a parameter, if its layer's type gives none."""
        return "for which no units are defined"

    def has_batch_norm(self) -> bool:
        """Whether a batch norm may follow a filter."""
        return False

    def scale_and_shift(self, follower: str) -> Sequence[str]:
        """Parameters of a batch norm that `Profiler.followers` names; none where it has no scale."""
        return ()

    def plan(self, choose: Chooser | Sequence[Chooser], stage: Callable[[str], str] = stage_of) -> Plan:
        """Choose units by kind, name or predicate, see `make_plan`."""
        weights = [Weight(name, math.prod(self.shape(name)), self.no_units(name)) for name in self.names()]
        return make_plan(list(self.candidates()), weights, choose, self.kinds, stage=stage, owner=self.title)

    def weights(self, names: Iterable[str]) -> Mapping[str, Any]:
        """Present weights of some parameters, by name."""
        return {name: self.read(name) for name in names}
