"""The little that saliency needs to know of a network; every framework adapter provides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.units import Coverage, Units

__all__ = ["SaliencyModel", "UnitGradient"]


@runtime_checkable
class UnitGradient(Protocol):
    """Signed gradient of some units, taken once at some weights, from which any number of updates can be made."""

    @property
    def selection(self) -> NDArray[np.intp]:
        """Positions of the units it holds, in `SaliencyModel.units`; shape (selected,)."""

    @property
    def norms(self) -> NDArray[np.float64]:
        """Euclidean length of each unit's gradient, in order of `selection`; shape (selected,)."""


@runtime_checkable
class SaliencyModel(Protocol):
    """A classifier with units that can be profiled, zeroed and tuned.

    Inputs ``x`` are whatever the framework's model takes (arrays, tensors, tuples or dicts of them) with samples
    along axis 0; labels ``y`` are integers, one a sample, or whatever else the adapter or its loss takes. Everything
    returned is NumPy.

    A model may also have ``has_activations``, true, and ``activations(x)``: the mean and mean size of what each unit
    puts out over its positions, shape (batch, units, 2), or NaN. `calibrate` and `suspects` do without otherwise, and
    `repair` without ``last_layer`` and ``shifted``, see `NetworkModel`.
    """

    @property
    def units(self) -> Units:
        """Ordered table of the units; the columns of a profile."""

    @property
    def coverage(self) -> Coverage:
        """Which parameters belong to no unit, and why."""

    @property
    def reduction(self) -> str:
        """``"mean-abs"``, ``"l2"`` or ``"taylor"``: how a unit's gradient becomes one number."""

    def profile(self, x: Any, y: Any) -> NDArray[np.floating[Any]]:
        """Per-sample saliency of every unit, shape (batch, units), at the network's present weights."""

    def predict(self, x: Any) -> NDArray[np.floating[Any]]:
        """Class probabilities, shape (batch, classes), at the network's present weights."""

    def unit_norms(self, selection: ArrayLike | None = None) -> NDArray[np.float64]:
        """Euclidean length of each selected unit's weights (all units by default), shape (selected,)."""

    def gradient(self, x: Any, y: Any, selection: ArrayLike | None = None) -> UnitGradient:
        """Gradient of the batch's mean loss with respect to selected units (default all), at the present weights."""

    def pruned(self, selection: ArrayLike) -> AbstractContextManager[Any]:
        """Context in which the selected units' weights are zero; on leaving they are restored bit for bit."""

    def scaled(self, selection: ArrayLike, factor: float) -> AbstractContextManager[Any]:
        """Context in which the selected units' weights are multiplied by a factor; restored likewise."""

    def stepping(self, selection: ArrayLike) -> AbstractContextManager[Callable[[Any, float], None]]:
        """Context in which the selected units can take steps: a function of a gradient and the multiple to subtract."""

    def apply(self, repair: Mapping[str, Any], *, revert: bool = False) -> None:
        """Write what `export` returned into the network, or take it out again."""

    @property
    def in_force(self) -> int:
        """How many of these contexts are entered."""

    def export(self, outer: int = 0) -> dict[str, Any]:
        """All changes in force but the outermost so many, as arrays by name."""

    def tuned(
        self,
        selection: ArrayLike,
        x: Any = None,
        y: Any = None,
        step: float = 1e-3,
        *,
        gradient: UnitGradient | None = None,
        length: float | None = None,
    ) -> AbstractContextManager[Any]:
        """Context in which the selected units have taken one gradient step.

        The gradient is that of ``(x, y)`` at the weights on entry or, for a sweep, one that `gradient` returned
        earlier. With ``length`` the update is rescaled to that Euclidean length over the whole selection, and
        ``step`` is ignored.
        """
