"""Trials: what becomes of the mistakes' loss when one unit after another is removed, or its sign is turned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import size_of, take
from evtkit.saliency.tasks import losses

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel

__all__ = ["FACTORS", "Trials", "changed", "rows_of"]

FACTORS = (0.0, -1.0)
"""A unit is removed, and its sign is turned: damage may have turned it."""

_ROUNDS = ((0.2, 6), (0.5, 2), (1.0, 2))
"""The share of the mistakes that a round tries, and how many units go on to the next."""

_TURNED = 6  # units of the first round whose sign is turned too: those whose removal takes most away
_PLAIN = 0.3  # a share of the loss; once a change takes it away, one that takes less than half as much is left


class Trials:
    """The loss of some mistakes under changes of single units, each change and mistake tried at most once.

    Parameters
    ----------
    model : SaliencyModel
        The network; afterwards its weights are what they were, bit for bit.
    x, y
        The mistakes.
    batch_size : int
        Samples predicted at a time.
    most : int
        Of more mistakes than this, so many are tried, evenly spread over their losses.
    loss : ndarray of float64, shape (n,), optional
        Of the mistakes, if it is known.

    Attributes
    ----------
    rows : ndarray of int, shape (tried,)
        Which of the mistakes are tried, in the order of trial. The first few are spread over all losses too.
    before : ndarray of float64, shape (tried,)
        Loss of each mistake that is tried.
    passes : int
        Samples predicted so far.
    """

    def __init__(
        self, model: SaliencyModel, x: Any, y: Any, batch_size: int, most: int, loss: Float | None = None
    ) -> None:  # fmt: skip
        self._model, self._batch = model, batch_size
        self.passes = 0 if loss is not None else size_of(x)
        loss = losses(model, x, y, batch_size) if loss is None else loss
        order = np.argsort(-loss, kind="stable")
        some = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
        # a round tries the first few: by turns from all parts of the range, and the same whatever the samples' order
        some = some[np.argsort(np.arange(1, len(some) + 1) * 0.6180339887 % 1.0, kind="stable")]
        self.rows, self.before = some, loss[some]
        self._x, self._y = rows_of(x, some), rows_of(y, some)
        self._after: dict[tuple[int, float], list[Float]] = {}

    def after(self, unit: int, factor: float, n: int) -> Float:
        """Loss of the first n mistakes with the unit's weights multiplied by the factor."""
        parts = self._after.setdefault((unit, factor), [])
        done = sum(map(len, parts))
        if done < n:
            rows = slice(done, n)
            with changed(self._model, unit, factor):
                parts.append(losses(self._model, take(self._x, rows), take(self._y, rows), self._batch))
            self.passes += n - done
        return np.concatenate(parts)[:n]

    def prepare(self, units: list[int], factor: float, n: int) -> None:
        """Try a change of many units on the first n mistakes, many in one batch where the model can do that."""
        vary: Any = getattr(self._model, "varied", None)
        by_done: dict[int, list[int]] = {}
        for unit in units:
            done = sum(map(len, self._after.get((unit, factor), [])))
            if done < n:
                by_done.setdefault(done, []).append(unit)
        for done, some in by_done.items() if vary is not None else ():
            rows = np.arange(done, n)
            at_once = max(1, self._batch // len(rows))
            for start in range(0, len(some), at_once):
                own = some[start : start + at_once]
                if len(own) < 2:
                    continue
                copies = np.tile(rows, len(own))
                context = vary(np.repeat(own, len(rows)), factor)
                if context is None:
                    continue
                with context as happened:
                    x, y = rows_of(self._x, copies), rows_of(self._y, copies)
                    found = losses(self._model, x, y, len(copies))
                    if not happened():
                        continue
                self.passes += len(copies)
                for unit, part in zip(own, found.reshape(len(own), -1), strict=True):
                    self._after.setdefault((unit, factor), []).append(part)

    def effect(self, unit: int, n: int, factors: tuple[float, ...] = FACTORS) -> tuple[float, float]:
        """The largest share of the first n mistakes' loss that a change of the unit takes away, and its factor."""
        whole = max(float(self.before[:n].sum()), np.finfo(float).tiny)
        shares = [1.0 - float(self.after(unit, factor, n).sum()) / whole for factor in factors]
        best = int(np.argmax(shares))
        return shares[best], factors[best]

    def band(self, unit: int, factor: float, weights: int = 1000) -> tuple[float, float, int]:
        """95 % bootstrap band of a change's effect over the mistakes that it was tried on, and how many these are."""
        after = np.concatenate(self._after[unit, factor])
        n = len(after)
        drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=weights)
        share = 1.0 - drawn @ after / np.maximum(drawn @ self.before[:n], np.finfo(float).tiny)
        low, high = np.percentile(share, [2.5, 97.5])
        return float(low), float(high), n

    def halved(self, units: list[int]) -> list[tuple[int, float, float]]:
        """Try the units on a few mistakes, the best on more, and the first two on all.

        Returns
        -------
        list of (unit, effect, factor)
            All units, by how far they came and then by their effect.
        """
        ways: dict[int, tuple[float, ...]] = dict.fromkeys(units, FACTORS[:1])
        out: list[tuple[int, float, float]] = []
        for share, keep in _ROUNDS:
            n = max(1, int(np.ceil(share * len(self.before))))
            tried = self._round(ways, n)
            if not out:
                turned: dict[int, tuple[float, ...]] = dict.fromkeys([unit for unit, *_ in tried[:_TURNED]], FACTORS)
                both = {unit: (effect, factor) for unit, effect, factor in self._round(turned, n)}
                tried = sorted(((one[0], *both.get(one[0], one[1:])) for one in tried), key=lambda one: -one[1])
                ways |= turned
            most = tried[0][1]
            left = [one for one in tried[:keep] if most < _PLAIN or 2.0 * one[1] >= most]
            out = tried + [one for one in out if one[0] not in {unit for unit, *_ in tried}]
            ways = {unit: (factor,) for unit, _, factor in left}
        return out

    def _round(self, ways: Mapping[int, tuple[float, ...]], n: int) -> list[tuple[int, float, float]]:
        """Units with their largest effect on the first n mistakes and its factor, by the effect."""
        for factor in FACTORS:
            self.prepare([unit for unit, factors in ways.items() if factor in factors], factor, n)
        return sorted(
            ((unit, *self.effect(unit, n, factors)) for unit, factors in ways.items()), key=lambda one: -one[1]
        )


def changed(model: SaliencyModel, unit: int, factor: float) -> AbstractContextManager[Any]:
    """Context in which a unit's weights are multiplied by a factor."""
    return model.scaled([unit], factor) if factor else model.pruned([unit])


def rows_of(x: Any, rows: NDArray[np.intp]) -> Any:
    """Chosen samples of an input, in this order: of an array or tensor, or of every one in a tuple, list or mapping."""
    if isinstance(x, Mapping):
        return {key: rows_of(value, rows) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(rows_of(value, rows) for value in x)
    try:
        return x[rows]
    except TypeError:  # a tensor of TensorFlow takes slices only
        return np.asarray(x)[rows]
