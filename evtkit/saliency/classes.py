"""Classes: where nearly all mistakes are of one class, the unit that scores it may be behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import bdtrc

from evtkit.saliency.batches import labels_of, take
from evtkit.saliency.tasks import is_plain
from evtkit.saliency.tracing import places

if TYPE_CHECKING:
    from evtkit.saliency.protocol import SaliencyModel

__all__ = ["unit_of_class", "with_class"]

_NEARLY_ALL = 0.8  # of the mistakes
_CHANCE = 1e-3  # that so many are of one class if all are as likely


def unit_of_class(model: SaliencyModel, own: tuple[Any, Any]) -> int:
    """Position of the unit of the last layer that scores the class of nearly all mistakes; −1 if there is none."""
    x, y = own
    if not is_plain(model) or np.ndim(y) != 1:
        return -1
    labels = labels_of(y)
    classes, counts = np.unique(labels, return_counts=True)
    most = int(counts.max())
    if most < _NEARLY_ALL * len(labels):
        return -1
    place = places(model.units)
    last = np.flatnonzero(place == place.max())
    last = last[np.argsort(model.units.index[last])]
    n = np.asarray(model.predict(take(x, slice(0, 1)))).shape[-1]
    if not np.array_equal(model.units.index[last], np.arange(n)):
        return -1  # the last layer with units is not the one that scores the classes
    chance = n * float(bdtrc(most - 1, len(labels), 1.0 / n))
    return int(last[classes[counts.argmax()]]) if chance <= _CHANCE else -1


def with_class(unit: int, order: list[int], sure: bool) -> list[int]:
    """Suspects with the unit of the class of nearly all mistakes among them: first, or second if the first is sure.

    What a class's unit puts out is as usual if another class's is wrong by as much, and removing it need not help: a
    score that is far too low may go to 0 and be too low still. That its class alone is missed tells it.
    """
    at = 1 if sure else 0
    if unit < 0 or unit in order[: at + 1]:
        return order
    rest = [u for u in order if u != unit]
    return [*rest[:at], unit, *rest[at:]]
