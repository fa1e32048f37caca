"""Sweeping: every repair of one mistake, many in one batch where the network can do that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import Batches, labels_of
from evtkit.saliency.results import METRICS
from evtkit.saliency.tasks import judged, mistaken
from evtkit.saliency.trials import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel, UnitGradient

__all__ = ["HeldOut", "Outcome", "Sweep"]

_SAME = 0.01
"""Of what a repair changes, a batch may differ by so much from the repair by itself, beside rounding."""

_ROUNDING = 1e-5  # of a prediction in float32


@dataclass(frozen=True)
class Outcome:
    """One sample's values of each metric, (rankings, ks), for every repair; and what was before."""

    values: dict[str, dict[str, Float]]
    n_above: int
    wrong: float
    true: float


class HeldOut:
    """Samples on which collateral is measured."""

    def __init__(self, model: SaliencyModel, batches: Batches, wrong: Callable[[Any, Any], Any] | None) -> None:
        self._model, self._batches, self._how = model, batches, wrong
        self._right = ~self._wrong()
        self.n = int(np.count_nonzero(self._right))
        if not self.n:
            raise ValueError(f"some held-out samples must be classified right, got none of {len(self._right)}")

    def lost(self) -> float:
        """Share of those right before that are wrong now."""
        return float(np.count_nonzero(self._wrong() & self._right)) / self.n

    def _wrong(self) -> NDArray[np.bool_]:
        return np.concatenate([mistaken(self._model, x, y, self._how) for x, y in self._batches])


@dataclass(frozen=True)
class _Try:
    """A change of some units: they are removed, or a multiple of the gradient is subtracted from them."""

    units: tuple[int, ...]
    multiple: float | None = None

    @property
    def key(self) -> tuple[frozenset[int], float | None]:
        """What is the same for rankings that put the same units first, in whatever order."""
        return frozenset(self.units), self.multiple


class Sweep:
    """Repairs of single mistakes.

    Parameters
    ----------
    model : SaliencyModel
        The network; afterwards its weights are what they were, bit for bit.
    ks : mapping of str to sequence of int
        How many units each repair changes.
    step : float
        Multiple of the gradient.
    how : callable or None
        What is a mistake, as in `evaluate`.
    batch_size : int
        Repairs tried in one batch.
    held : HeldOut or None
        Where collateral is measured.
    collateral_k : set of int
        At which k.
    """

    def __init__(
        self,
        model: SaliencyModel,
        ks: Mapping[str, Sequence[int]],
        step: float,
        how: Callable[[Any, Any], Any] | None,
        batch_size: int,
        held: HeldOut | None,
        collateral_k: frozenset[int],
    ) -> None:
        self._model, self._ks, self._step, self._how, self._batch = model, ks, step, how, batch_size
        self._held, self._collateral_k = held, collateral_k if held is not None else frozenset()
        self._classes = how is None and getattr(model, "task", "classes") == "classes"
        self._vary: Any = getattr(model, "varied", None)  # not in the protocol: a model may do without
        self._turn = 0

    def of(self, x: Any, y: Any, tops: NDArray[np.int64], n_above: int) -> Outcome:
        """Every repair of one sample.

        Parameters
        ----------
        x, y
            The sample, in a batch by itself.
        tops : ndarray of int, shape (rankings, most units)
            The units that each ranking puts first.
        n_above : int
            How many units are above their threshold.

        Returns
        -------
        Outcome
            With confidences only where classes are predicted.
        """
        before = np.asarray(self._model.predict(x)[0], dtype=np.float64)
        wrong, true = (int(np.argmax(before)), int(labels_of(y)[0])) if self._classes else (0, 0)
        gradient = None if set(self._ks) <= {"prune"} else self._model.gradient(x, y)
        tries = {repair: self._tries(repair, ks, tops, gradient) for repair, ks in self._ks.items()}
        found: dict[Any, NDArray[Any]] = {}
        self._alone(x, gradient, [one for own in tries.values() for row in own for one in row], before, found)
        values = {}
        for repair, ks in self._ks.items():
            out = {metric: np.full((len(tops), len(ks)), np.nan) for metric in METRICS}
            for r, row in enumerate(tries[repair]):
                for j, (k, one) in enumerate(zip(ks, row, strict=True)):
                    if k in self._collateral_k:
                        assert self._held is not None
                        with self._changed(one, gradient):
                            out["collateral"][r, j] = self._held.lost()
                    after = found[one.key]
                    if self._classes:
                        out["corrected"][r, j] = np.argmax(after) == true
                        out["wrong"][r, j] = after[wrong] - before[wrong]
                        out["true"][r, j] = after[true] - before[true]
                    else:
                        out["corrected"][r, j] = not judged(self._model, after[None], y, self._how)[0]
            values[repair] = out
        whole = before if self._classes else np.full(1, np.nan)
        return Outcome(values, n_above, float(whole[wrong]), float(whole[true]))

    def _tries(
        self, repair: str, ks: Sequence[int], tops: NDArray[np.int64], gradient: UnitGradient | None
    ) -> list[list[_Try]]:
        """What is tried, for each ranking and k."""
        if repair == "prune" or gradient is None:
            return [[_Try(tuple(row[:k].tolist())) for k in ks] for row in tops]
        if repair == "tune":
            return [[_Try(tuple(row[:k].tolist()), self._step) for k in ks] for row in tops]
        squares = gradient.norms**2
        longest = np.sqrt(np.cumsum(np.sort(squares)[::-1]))
        lengths = np.sqrt(np.cumsum(squares[tops], axis=1))
        return [
            [_Try(tuple(row[:k].tolist()), _ratio(self._step * longest[k - 1], own[k - 1])) for k in ks]
            for row, own in zip(tops, lengths, strict=True)
        ]

    def _changed(self, one: _Try, gradient: UnitGradient | None) -> AbstractContextManager[Any]:
        units = np.array(one.units)
        if one.multiple is None:
            return self._model.pruned(units)
        return self._model.tuned(units, step=one.multiple, gradient=gradient)

    def _alone(
        self,
        x: Any,
        gradient: UnitGradient | None,
        tries: Sequence[_Try],
        before: NDArray[Any],
        found: dict[Any, NDArray[Any]],
    ) -> None:
        """What the network says after each try, each by itself where no batch has said it."""
        if self._vary is not None:
            for multiples in (False, True):
                some = {one.key: one for one in tries if (one.multiple is not None) == multiples}
                if some and not self._together(x, gradient if multiples else None, list(some.values()), before, found):
                    break
        for one in tries:
            if one.key not in found:
                with self._changed(one, gradient):
                    found[one.key] = np.asarray(self._model.predict(x)[0])

    def _together(
        self,
        x: Any,
        gradient: UnitGradient | None,
        tries: list[_Try],
        before: NDArray[Any],
        found: dict[Any, NDArray[Any]],
    ) -> bool:
        """Tries in batches; one is looked at by itself as well, for a network may use a layer in an unforeseen way."""
        self._turn += 1
        looked = max(range(len(tries)), key=lambda i: (len(tries[i].units), (i + self._turn) % len(tries)))
        with self._changed(tries[looked], gradient):
            alone = np.asarray(self._model.predict(x)[0], dtype=np.float64)
        after: dict[Any, NDArray[Any]] = {}
        for start in range(0, len(tries), self._batch):
            own = tries[start : start + self._batch]
            context = self._vary(
                [np.array(one.units) for one in own],
                0.0 if gradient is None else np.array([one.multiple for one in own]),
                **({} if gradient is None else {"gradient": gradient}),
            )
            if context is None:
                return True
            with context as happened:
                said = np.asarray(self._model.predict(rows_of(x, np.zeros(len(own), dtype=np.intp))))
                if not happened():
                    return True
            after |= zip((one.key for one in own), said, strict=True)
        effect = np.abs(alone - before).max(initial=0.0)
        apart = np.abs(alone - after[tries[looked].key]).max(initial=0.0)
        if not apart <= _SAME * effect + _ROUNDING * (1.0 + np.abs(alone).max(initial=0.0)):
            self._vary = None
            return False
        found |= after
        return True


def _ratio(length: float, of: float) -> float:
    """The multiple that makes an update so long; a gradient of zero stays one."""
    return float(length / of) if of > 0.0 else 0.0
