"""Searching: paths of changes from a network, each looked at on samples in no loss, and the best of all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import size_of
from evtkit.saliency.costs import Sizing
from evtkit.saliency.readouts import as_seen, best_refits, refitted
from evtkit.saliency.repairs import Repair, Share, Tried
from evtkit.saliency.tasks import losses, mistaken_among
from evtkit.saliency.trials import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.readouts import Refit
    from evtkit.saliency.tasks import Wrong

__all__ = ["Search"]

_GROWTH = 1.5  # of a step's multiple of the gradient, as long as the loss falls
_WEIGHTS = (1.0, 4.0)  # of the mean loss of the mistakes, and of the rehearsed samples
_BATCH = 64  # samples in one gradient
_RATE, _ROUNDS = 0.01, 4  # of Adam's steps, relative to the mean size of the weights; so many for one look
_HALVES = 5
_HOPELESS = 5.0  # times the budget: a path that costs more is left


class Search:
    """All paths so far, and the best change of them."""

    def __init__(
        self,
        model: SaliencyModel,
        own: dict[str, tuple[Any, Any]],
        kept: dict[str, tuple[Any, Any]],
        budget: float,
        batch_size: int,
        wrong: Wrong | None,
    ) -> None:
        self._model, self._own, self._kept = model, own, kept
        self._budget, self._batch, self._outer = budget, batch_size, model.in_force
        self._how, self._little = wrong, 0.5 * budget
        self._learnt = (own["learn"], kept["learn"])
        self.tried: list[Tried] = []
        self._present = self._loss()
        self._sizing = Sizing(model, kept["choose"], batch_size, wrong)
        self._again: dict[int, Callable[[int], None]] = {}  # of what was tried, what to do with the mistakes that chose
        self._best: tuple[tuple[float, float, float], int, dict[str, Any]] | None = None

    def follow(
        self, name: str, units: list[int], start: float | None, first: float, steps: int, tuned: bool = False
    ) -> None:
        """Take steps of some units, from where they are or from their multiple by `start`, and look after each.

        If the end costs more than the budget, parts of the way there are looked at too.
        """
        end = self._tune(name, units, steps) if tuned else self._walk(name, units, start, first, steps)
        if end:
            self._part_of_the_way(name, units, end)

    def refit(self) -> None:
        """Fit the last layer anew, where it is a linear one that the model tells of, and look at the best fits."""
        model: Any = self._model
        samples = [parts[part] for parts in (self._own, self._kept) for part in ("learn", "choose")]
        told = [one for one in (as_seen(model, *part, self._batch) for part in samples) if one is not None]
        if len(told) < len(samples):
            return
        layer, (learn, choose, *kept) = told[0][0], (seen for _, seen in told)

        def look(name: str, number: int, fit: Refit, told_all: bool = False) -> None:
            with model.shifted(layer.changes(model.profiler.network, fit.step)):
                self._look(name, list(range(len(fit.step))), number, fits=fit.fits, told_all=told_all)

        fits = best_refits((learn, choose), kept, self._budget)
        numbers = range(len(self.tried), len(self.tried) + len(fits))
        for number, fit in enumerate(fits, 1):
            look("last layer", number, fit)

        def again(number: int) -> None:
            fit = fits[numbers.index(number)]
            more = refitted(fit, learn.joined(choose), kept, self._budget)
            if more is not None:
                look("last layer, all mistakes", 1, more, told_all=True)

        self._again |= dict.fromkeys(numbers, again)

    def _tune(self, name: str, units: list[int], steps: int) -> dict[str, Any]:
        """Adam's steps (Kingma & Ba 2015), as in fine-tuning; returns the end if it costs more than the budget."""
        model = self._model
        weights = model.unit_norms(units)
        rate = _RATE * float(np.linalg.norm(weights) / np.sqrt(max(1, model.units.size[units].sum())))
        mean: dict[str, Any] = {}
        square: dict[str, Any] = {}
        cost = 0.0
        with model.stepping(units) as step:
            for number in range(1, _ROUNDS * steps + 1):
                slopes = [model.gradient(*self._batch_of(part, number), units) for part in self._learnt]
                if not all(hasattr(slope, "parameters") for slope in slopes):
                    return {}
                ways = {}
                for key in slopes[0].parameters:  # type: ignore[attr-defined]
                    g = sum(w * s.parameters[key] for w, s in zip(_WEIGHTS, slopes, strict=True))  # type: ignore[attr-defined]
                    mean[key] = 0.9 * mean[key] + 0.1 * g if key in mean else 0.1 * g
                    square[key] = 0.99 * square[key] + 0.01 * g * g if key in square else 0.01 * g * g
                    ways[key] = (mean[key] / (1 - 0.9**number)) / ((square[key] / (1 - 0.99**number)) ** 0.5 + 1e-12)
                step(replace(slopes[0], parameters=ways), rate)  # type: ignore[type-var]
                if number % _ROUNDS == 0:
                    cost = self._look(name, units, number)
                    if self.perfect or (cost > _HOPELESS * self._budget and number > _ROUNDS * steps // 2):
                        break
            return model.export(self._outer) if cost > self._budget else {}

    def _part_of_the_way(self, name: str, units: list[int], end: dict[str, Any]) -> None:
        """Look at weights between those that the network has and those at the end (Wortsman et al. 2022), by halves."""
        low, high = 0.0, 1.0
        for number in range(1, _HALVES + 1):
            part = 0.5 * (low + high)
            delta = dict(end)
            for key in [key for key in end if key.endswith(".after")]:
                before = end[f"{key[:-6]}.before"]
                delta[key] = before + part * (end[key] - before)
            self._model.apply(delta)
            try:
                cost = self._look(f"{name}, part of the way", units, number, delta)
            finally:
                self._model.apply(delta, revert=True)
            low, high = (part, high) if cost <= self._budget else (low, part)

    def _walk(self, name: str, units: list[int], start: float | None, first: float, steps: int) -> dict[str, Any]:
        """Steps along the gradient, longer and longer; returns the end if it costs more than the budget."""
        model = self._model
        with ExitStack() as stack:
            size = float(np.linalg.norm(model.unit_norms(units)))
            size = size if size > 0.0 else float(np.linalg.norm(model.unit_norms())) * 0.1
            if start is not None:
                stack.enter_context(model.scaled(units, start) if start else model.pruned(units))
                self._look(name, units, 0)
                if self.perfect:
                    return {}
            step = stack.enter_context(model.stepping(units))
            multiple, loss, cost = 0.0, self._loss(), 0.0
            if start is not None and loss > self._present:  # worse than where the network is: no place to begin
                return {}
            for number in range(1, steps + 1):
                slopes = [model.gradient(*self._batch_of(part, number), units) for part in self._learnt]
                lengths = [w * float(np.linalg.norm(g.norms)) for w, g in zip(_WEIGHTS, slopes, strict=True)]
                longest = float(np.linalg.norm(lengths))
                if not longest > 0.0:
                    break
                multiple = multiple * _GROWTH if multiple else first * size / longest
                for weight, slope in zip(_WEIGHTS, slopes, strict=True):
                    step(slope, weight * multiple)
                now = self._loss()
                if now > loss:  # too far: a fifth of it will do, and the next steps are as short
                    for weight, slope in zip(_WEIGHTS, slopes, strict=True):
                        step(slope, -0.8 * weight * multiple)
                    multiple *= 0.2
                    now = self._loss()
                loss = now
                cost = self._look(name, units, number)
                if self.perfect or (cost > _HOPELESS * self._budget and number > steps // 2):
                    break
            return model.export(self._outer) if cost > self._budget and not self.perfect else {}

    @property
    def perfect(self) -> bool:
        """Whether a change corrects all mistakes at next to no cost, so that there is nothing left to look for."""
        return self._best is not None and self._best[0][0] == 1.0 and self.tried[self._best[1]].lost <= self._little

    def best(self, found: Any) -> Repair:
        """The change that was best, with the mistakes that chose of use if they can be, judged on those with no say."""
        if self._best is not None and not self.perfect and self._best[1] in self._again:
            self._again[self._best[1]](self._best[1])
        delta: dict[str, Any] = {}
        chosen = -1
        after = {"own": self._own["report"], "kept": self._kept["report"]}
        if self._best is not None:
            _, chosen, delta = self._best
            self._model.apply(delta)
        try:
            right = {name: self._right(part) for name, part in after.items()}
        finally:
            if delta:
                self._model.apply(delta, revert=True)
        n = size_of(self._kept["choose"][1])
        sized = Share.of(np.arange(n) < (round(self.tried[chosen].lost * n) if chosen >= 0 else 0))
        corrected, lost = Share.of(right["own"]), Share.of(~right["kept"])
        return Repair(self._model.units, delta, tuple(self.tried), chosen, corrected, lost, self._budget, sized, found)

    def _look(
        self,
        name: str,
        units: list[int],
        number: int,
        delta: dict[str, Any] | None = None,
        fits: bool = True,
        told_all: bool = False,
    ) -> float:
        """Record the change in force, which may be taken if it fits; returns the share that others will lose by it.

        If it was told all mistakes, those that choose say nothing of others.
        """
        learnt, chosen = (float(self._right(self._own[part]).mean()) for part in ("learn", "choose"))
        lost, cost = self._sizing.now()
        delta = self._model.export(self._outer) if delta is None else delta
        names = [key for key in delta if key.endswith(".after")]
        gaps = [np.asarray(delta[key], float) - np.asarray(delta[f"{key[:-6]}.before"], float) for key in names]
        norm = float(np.sqrt(sum(float(np.square(gap).sum()) for gap in gaps)))
        n = {part: size_of(self._own[part][1]) for part in ("learn", "choose")}
        shares = (n["learn"] * learnt + n["choose"] * chosen) / sum(n.values()), np.nan
        share = lost / size_of(self._kept["choose"][1])
        both = shares if told_all else (learnt, chosen)
        self.tried.append(Tried(name, len(units), number, norm, *both, share, cost))
        # half of the weight to the mistakes that were in no loss, for what carries over; but they are few
        score = (0.5 * learnt + 0.5 * chosen) if n["choose"] >= 5 else (n["learn"] * learnt + chosen) / (n["learn"] + 1)
        key = (score, -cost, -norm)
        if fits and cost <= self._budget and score > 0.0 and (self._best is None or key > self._best[0]):
            self._best = key, len(self.tried) - 1, delta
        return cost

    def _loss(self) -> float:
        """Of as many mistakes and others as a step sees, always the same, by their weights."""
        means = [losses(self._model, *self._batch_of(part, 1), self._batch).mean() for part in self._learnt]
        return float(np.dot(_WEIGHTS, means))

    def _batch_of(self, part: tuple[Any, Any], number: int) -> tuple[Any, Any]:
        """A step's samples: all, or by turns so many."""
        x, y = part
        if size_of(y) <= _BATCH:
            return part
        rows = (np.arange(_BATCH) + (number - 1) * _BATCH) % size_of(y)
        return rows_of(x, rows), rows_of(y, rows)

    def _right(self, part: tuple[Any, Any]) -> NDArray[np.bool_]:
        return ~mistaken_among(self._model, *part, self._how, self._batch)
