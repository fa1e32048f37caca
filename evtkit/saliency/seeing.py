"""Seeing: which samples a network gets wrong, and what it makes of them: their profiles and activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import size_of, take
from evtkit.saliency.reference import normalized
from evtkit.saliency.screening import usual_mistakes
from evtkit.saliency.tasks import as_targets, mistaken_with_losses
from evtkit.saliency.trials import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference

__all__ = ["Seen", "mistakes_among"]


@dataclass(frozen=True)
class Seen:
    """What the network as it is now makes of some mistakes: their profiles, and activations if it tells."""

    profiles: NDArray[Any]
    activations: NDArray[Any] | None

    @classmethod
    def of(cls, model: SaliencyModel, reference: Reference, own: tuple[Any, Any], batch_size: int) -> Seen:
        """Of samples and their targets, by the network as it is now."""
        return cls(_profiles(model, reference, *own, batch_size), _activations(model, reference, own[0], batch_size))

    def some(self, rows: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Both for some of the samples."""
        return self.profiles[rows], None if self.activations is None else self.activations[rows]


def mistakes_among(
    model: SaliencyModel,
    reference: Reference,
    x: Any,
    y: Any,
    batch_size: int,
    how: Callable[[Any, Any], Any] | None,
) -> tuple[tuple[Any, Any], Float | None]:
    """The samples that are mistakes, and their losses if their predictions tell them.

    Raises
    ------
    ValueError
        If there are none, or the reference is another network's or holds no usual mistakes.
    """
    if reference.units != model.units or reference.reduction != model.reduction:
        raise ValueError(
            f"reference must be for this network's {model.units!r} by {model.reduction}, "
            f"got {reference.units!r} by {reference.reduction}"
        )
    targets = as_targets(model, x, y, "mistakes")
    usual_mistakes(reference)
    flags, loss = mistaken_with_losses(model, x, targets, how, batch_size)
    wrong = np.flatnonzero(flags)
    if not wrong.size:
        raise ValueError(f"some samples must be mistakes, got {size_of(targets)} that are all classified right")
    return (rows_of(x, wrong), rows_of(targets, wrong)), None if loss is None else loss[wrong]


def _activations(model: SaliencyModel, reference: Reference, x: Any, batch_size: int) -> NDArray[Any] | None:
    """Activations of some samples, if the reference has those of usual mistakes."""
    if reference.activations is None or not getattr(model, "has_activations", False):
        return None
    tell: Any = getattr(model, "activations")  # noqa: B009 (not in the protocol: a model may do without)
    return np.concatenate([np.asarray(tell(take(x, rows))) for rows in _parts(size_of(x), batch_size)])


def _profiles(model: SaliencyModel, reference: Reference, x: Any, y: Any, batch_size: int) -> NDArray[Any]:
    parts = [np.asarray(model.profile(take(x, rows), take(y, rows))) for rows in _parts(size_of(y), batch_size)]
    return normalized(np.concatenate(parts), reference.normalize)


def _parts(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
