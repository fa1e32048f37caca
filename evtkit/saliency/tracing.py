"""Tracing: where in a network values first go astray; whatever lies behind that may only follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit.saliency.screening import Screen
    from evtkit.saliency.units import Units

__all__ = ["Astray", "alone", "astray", "behind", "places"]

_FAR = 5.0  # standard deviations, in the mean over the mistakes
_APART = 2.0  # so many times as far out as any other unit of its layer, or of those before


@dataclass(frozen=True)
class Astray:
    """Units that put out what they usually do not.

    Attributes
    ----------
    order : tuple of int
        Their positions: those of the first layer that has any, farthest out first, then of the next.
    several : bool
        Whether the first layer has more than one. What makes several go astray at once lies before them.
    plain : bool
        Whether the first is so far out, and so much farther than all others of its layer and of those before, that it
        goes astray by itself: other samples than the usual ones move many units of a layer at once.
    before : tuple of int
        Unless the first is plain, the units of the layer before, farthest out first: one with its sign turned may put
        out what is as large as usual, on average too.
    """

    order: tuple[int, ...]
    several: bool
    plain: bool
    before: tuple[int, ...] = ()


def astray(screen: Screen, units: Units, level: float) -> Astray:
    """Trace the units whose activations stand out at a level, in the order of the layers.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> units = SimpleNamespace(module=np.array(["a", "a", "b", "b"]))
    >>> screen = SimpleNamespace(p_odd=np.array([1.0, 0.01, 1e-9, 0.02]), odd=np.array([1.0, 9.0, 50.0, 6.0]))
    >>> astray(screen, units, 0.05)
    Astray(order=(1, 2, 3), several=False, plain=True, before=())
    """
    place = places(units)
    some: NDArray[np.intp] = np.flatnonzero(screen.p_odd <= level)
    order = some[np.lexsort((-screen.odd[some], place[some]))]
    if not len(order):
        return Astray((), False, False)
    lead = order[0]
    others = (place <= place[lead]) & (np.arange(len(place)) != lead)
    far = screen.odd[lead]
    plain = far >= _FAR and far >= _APART * screen.odd[others].max(initial=0.0)
    several = int(np.count_nonzero(place[order] == place[lead])) > 1
    earlier = place[place < place[lead]]
    before = np.flatnonzero(place == earlier.max()) if not plain and len(earlier) else np.array([], dtype=np.intp)
    before = before[np.argsort(-screen.odd[before], kind="stable")]
    return Astray(tuple(order.tolist()), several, bool(plain), tuple(before.tolist()))


def alone(units: Units, some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of some units, those with no other one of them in their layer or before it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> units = SimpleNamespace(module=np.array(["a", "a", "b", "b"]))
    >>> alone(units, np.array([False, True, True, True]))
    array([False,  True, False, False])
    """
    place = places(units)
    own = place[some]
    first = own.min(initial=len(place))
    return np.asarray(some & (place == first) & (np.count_nonzero(own == first) == 1))


def behind(units: Units, some: Sequence[int]) -> NDArray[np.bool_]:
    """Which units are of a layer behind the first of some units' layers; none if there are none of these.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> behind(SimpleNamespace(module=np.array(["b", "b", "a", "c"])), [2])
    array([False, False, False,  True])
    """
    place = places(units)
    return np.asarray(place > min((int(place[unit]) for unit in some), default=len(place)))


def places(units: Units) -> NDArray[np.intp]:
    """The place of each unit's layer: that of the layer's first unit."""
    _, first, layer = np.unique(units.module, return_index=True, return_inverse=True)
    return np.asarray(first[layer], dtype=np.intp)
