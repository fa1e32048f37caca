"""Repairing: units at fault, the last layer or all are changed, sized on samples in no loss, judged on others."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.batches import size_of
from evtkit.saliency.finding import suspects
from evtkit.saliency.readouts import as_seen, best_refits
from evtkit.saliency.repairs import Repair, Share, Tried
from evtkit.saliency.tasks import as_targets, losses, mistaken_among
from evtkit.saliency.trials import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.tasks import Wrong

__all__ = ["repair"]

_STEPS = 12
_GROWTH = 1.5  # of a step's multiple of the gradient, as long as the loss falls
_WEIGHTS = (1.0, 4.0)  # of the mean loss of the mistakes, and of the rehearsed samples
_FEW, _ALL = 0.02, 5e-4  # length of the first step, relative to that of the weights that take it
_BATCH = 64  # samples in one gradient
_RATE, _ROUNDS = 0.01, 4  # of Adam's steps, relative to the mean size of the weights; so many for one look
_HALVES = 5
_HOPELESS = 5.0  # times the budget: a path that costs more is left


def repair(
    model: SaliencyModel,
    reference: Reference,
    mistakes: tuple[Any, Any],
    keep: tuple[Any, Any],
    *,
    budget: float = 0.01,
    units: ArrayLike | None = None,
    candidates: Mapping[str, Sequence[int]] | None = None,
    steps: int = _STEPS,
    batch_size: int = 64,
    wrong: Wrong | None = None,
) -> Repair:
    """Find a small change of the weights that corrects some mistakes and their like, and costs next to nothing.

    Candidates are tried side by side: the first unit that `suspects` lists, in small gradient steps from where it is,
    from its removal and with its sign turned; all that it names (the first five, if it names none), in steps; the last
    layer fitted anew; and fine-tuning of all units by Adam (Kingma & Ba 2015). Each step lowers the loss of the
    mistakes and of rehearsed samples together. If the end of one costs more than the budget, parts of the way to it are
    tried by halves: weights between those before and after fine-tuning keep more of what was right (Wortsman et al.
    2022). Of all that was tried, the change that corrects most mistakes within the budget is taken, the smaller one of
    two that correct as many; nothing further is tried once all are corrected for half of the budget.

    The last layer is fitted with a brake: the mean square of what its change does to the scores of rehearsed samples.
    So it moves along what the mistakes differ in and right samples hardly do, as in Bau et al. (2020). Several fits and
    parts of the way to each are compared by their margins, which takes next to no time. For classes, by the default
    loss, of models that tell of a last layer that is linear and puts out the scores; it need not have units.

    The mistakes are split by turns: two of four are in the loss, one chooses, one reports. The samples to keep
    likewise: one of three is rehearsed, one sizes the change, one reports. So no figure that is reported comes from
    samples that had a say.

    Parameters
    ----------
    model : SaliencyModel
        The network. Its weights are afterwards what they were, bit for bit; `Repair.apply` changes them.
    reference : Reference
        From `calibrate`, for `suspects`.
    mistakes : (x, y)
        Samples that the network gets wrong, with their true labels; those it gets right are left out. At least 4.
    keep : (x, y)
        Samples that it gets right and is to go on getting right; those it gets wrong are left out. At least 3 / budget
        of them, for a third must be able to show a loss of the budget's size.
    budget : float
        Share of the kept samples that may be lost, on those that size the change.
    units : array-like, optional
        The units at fault, as in `Units.resolve`, if they are known. By default found. Empty: only `candidates`.
    candidates : mapping of str to sequence of int, optional
        Sets of units that take gradient steps, by name, instead of the last layer and of all units.
    steps : int
        Gradient steps of each candidate, longer and longer as long as the loss falls.
    batch_size : int
        Samples predicted at a time.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evaluate`.

    Returns
    -------
    Repair

    Raises
    ------
    ValueError
        If samples are too few, or an argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> x, y = samples(3000, noise=0.0)
    >>> net = Toy(reduction="taylor")
    >>> reference = calibrate(net, Batches(x[:1000], y[:1000]), progress=False)
    >>> net.rows[5][:] *= -4.0
    >>> wrong = net.predict(x).argmax(axis=1) != y
    >>> mended = repair(net, reference, (x[wrong][:40], y[wrong][:40]), (x[~wrong][:900], y[~wrong][:900]), units=[5])
    >>> mended.apply(net)
    >>> bool(np.mean(net.predict(x).argmax(axis=1) != y) < 0.5 * np.mean(wrong))
    True
    >>> mended.revert(net)
    """
    if not 0.0 < budget < 1.0:
        raise ValueError(f"budget must lie strictly between 0 and 1, got {budget}")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    bad = _chosen(model, mistakes, False, batch_size, "mistakes", wrong)
    right = _chosen(model, keep, True, batch_size, "keep", wrong)
    if size_of(bad[1]) < 4:
        raise ValueError(f"mistakes must be at least 4 that the network gets wrong, got {size_of(bad[1])}")
    if size_of(right[1]) < 3.0 / budget:
        raise ValueError(
            f"keep must have at least {int(np.ceil(3 / budget))} samples that the network gets right for a budget of "
            f"{budget:g}, got {size_of(right[1])}"
        )
    parts = {"learn": (0, 2), "choose": (1,), "report": (3,)}
    own = {name: _every(bad, 4, turns) for name, turns in parts.items()}
    kept = {name: _every(right, 3, (turn,)) for turn, name in enumerate(("learn", "choose", "report"))}
    found = suspects(model, reference, own["learn"], batch_size=batch_size, wrong=wrong) if units is None else None
    if found is None:
        fault = [int(u) for u in model.units.resolve(units)]  # type: ignore[arg-type]
    else:
        fault = [int(u) for u in (found.found if len(found.found) else found.order[:5])]
    one = fault[:1] if found is not None else fault
    starts = {"suspect, removed": 0.0, "suspect, turned": -1.0, "suspect": None} if one else {}
    plan = [(name, one, start, _FEW) for name, start in starts.items()]
    if len(fault) > len(one):
        plan.append(("all suspects", fault, None, _FEW))
    others = {"all units": list(range(len(model.units)))} if candidates is None else candidates
    plan += [(name, [int(u) for u in some], None, _ALL if len(some) > 25 else _FEW) for name, some in others.items()]
    search = _Search(model, own, kept, budget, batch_size, wrong)
    for name, some, start, first in plan:
        tuned = name == "all units" and candidates is None
        if tuned and not search.perfect:
            search.refit()
        if not search.perfect:
            search.follow(name, some, start, first, steps, tuned)
    return search.best(found)


class _Search:
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
        self._how = wrong
        self._learnt = (own["learn"], kept["learn"])
        self.tried: list[Tried] = []
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
        told = [as_seen(model, *part, self._batch) for part in samples]
        if any(one is None for one in told):
            return
        seen = [one[1] for one in told if one is not None]
        for number, (step, fits) in enumerate(best_refits(seen[:2], seen[2:], self._budget), 1):
            with model.shifted(told[0][0].changes(model.profiler.network, step)):  # type: ignore[index]
                self._look("last layer", list(range(len(step))), number, fits=fits)

    def _tune(self, name: str, units: list[int], steps: int) -> dict[str, Any]:
        """Adam's steps (Kingma & Ba 2015), as in fine-tuning; returns the end if it costs more than the budget."""
        model = self._model
        weights = model.unit_norms(units)
        rate = _RATE * float(np.linalg.norm(weights) / np.sqrt(max(1, model.units.size[units].sum())))
        mean: dict[str, Any] = {}
        square: dict[str, Any] = {}
        lost = 0.0
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
                    lost = self._look(name, units, number)
                    if self.perfect or (lost > _HOPELESS * self._budget and number > _ROUNDS * steps // 2):
                        break
            return model.export(self._outer) if lost > self._budget else {}

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
                lost = self._look(f"{name}, part of the way", units, number, delta)
            finally:
                self._model.apply(delta, revert=True)
            low, high = (part, high) if lost <= self._budget else (low, part)

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
            multiple, loss, lost = 0.0, self._loss(), 0.0
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
                lost = self._look(name, units, number)
                if self.perfect or (lost > _HOPELESS * self._budget and number > steps // 2):
                    break
            return model.export(self._outer) if lost > self._budget and not self.perfect else {}

    @property
    def perfect(self) -> bool:
        """Whether a change corrects all mistakes at next to no cost, so that there is nothing left to look for."""
        return self._best is not None and self._best[0][0] == 1.0 and -self._best[0][1] <= 0.5 * self._budget

    def best(self, found: Any) -> Repair:
        """The change that was best, judged on samples that had no say."""
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
        corrected, lost = Share.of(right["own"]), Share.of(~right["kept"])
        return Repair(self._model.units, delta, tuple(self.tried), chosen, corrected, lost, self._budget, found)

    def _look(
        self, name: str, units: list[int], number: int, delta: dict[str, Any] | None = None, fits: bool = True
    ) -> float:
        """Record the change in force, which may be taken if it fits; returns what it costs."""
        learnt, chosen = (float(self._right(self._own[part]).mean()) for part in ("learn", "choose"))
        lost = float(np.mean(~self._right(self._kept["choose"])))
        delta = self._model.export(self._outer) if delta is None else delta
        names = [key for key in delta if key.endswith(".after")]
        gaps = [np.asarray(delta[key], float) - np.asarray(delta[f"{key[:-6]}.before"], float) for key in names]
        norm = float(np.sqrt(sum(float(np.square(gap).sum()) for gap in gaps)))
        self.tried.append(Tried(name, len(units), number, norm, learnt, chosen, lost))
        n = {part: size_of(self._own[part][1]) for part in ("learn", "choose")}
        # half of the weight to the mistakes that were in no loss, for what carries over; but they are few
        score = (0.5 * learnt + 0.5 * chosen) if n["choose"] >= 5 else (n["learn"] * learnt + chosen) / (n["learn"] + 1)
        key = (score, -lost, -norm)
        if fits and lost <= self._budget and score > 0.0 and (self._best is None or key > self._best[0]):
            self._best = key, len(self.tried) - 1, delta
        return lost

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


def _chosen(
    model: SaliencyModel, samples: tuple[Any, Any], right: bool, batch_size: int, name: str, how: Wrong | None
) -> tuple[Any, Any]:
    """Those of the samples that the network gets right, or wrong."""
    x, y = samples
    targets = as_targets(model, x, y, name)
    rows = np.flatnonzero(mistaken_among(model, x, targets, how, batch_size) != right)
    return rows_of(x, rows), rows_of(targets, rows)


def _every(samples: tuple[Any, Any], period: int, turns: tuple[int, ...]) -> tuple[Any, Any]:
    """Those whose turn it is."""
    rows = np.flatnonzero(np.isin(np.arange(size_of(samples[1])) % period, turns))
    return rows_of(samples[0], rows), rows_of(samples[1], rows)
