"""Finding: which units are at fault for some mistakes; screened by both tails of their usual saliency, then tried."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.saliency.accused import Suspects
from evtkit.saliency.classes import unit_of_class, with_class
from evtkit.saliency.screening import few_mistakes, screened, usual_mistakes
from evtkit.saliency.seeing import Seen, mistakes_among
from evtkit.saliency.tasks import as_pair
from evtkit.saliency.tracing import alone, astray, behind, places
from evtkit.saliency.trials import Trials, changed, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.screening import Screen

__all__ = ["suspects"]

_MOST = 32  # mistakes on which units are tried
_MOST_OF_IT = 0.6  # a share of the loss that one unit takes away in no sound network that was looked at, shifted or not
_PLAINLY = 0.8  # a share that names a unit whatever else stands out
_NEARLY_ALL = 0.7  # a share that puts a unit before those whose values go astray
_ENOUGH = 0.3  # a share of the loss that a change must take away before it may explain anything
_AT_ONCE = 3  # units changed together, at the most
_TELL = 5  # mistakes at least, half of them else, that tell what follows from the last unit changed


def suspects(
    model: SaliencyModel,
    reference: Reference,
    mistakes: tuple[Any, Any],
    *,
    n_screen: int = 16,
    level: float = 0.05,
    batch_size: int = 64,
    wrong: Callable[[Any, Any], Any] | None = None,
) -> Suspects:
    """Find the units that are at fault for some mistakes, or say that none is.

    A screen by saliency, which costs one profile of the mistakes, then trials of what it lists.

    - *Adding*: a unit whose mean impact is large is tried: how much of the mistakes' loss goes when the unit is
      removed, and when its sign is turned? All on a few mistakes, the best on more, two on all of them.
    - *Lacking*: a unit whose saliency is far smaller in size than it usually is contributes nothing any more. Removing
      it shows nothing. Only Taylor saliency (the default of the adapters) tells that.
    - *Explaining*: a damaged unit makes others behind it loud, or silences them. What stands out no more once the first
      unit is changed follows from it, and comes after it.
    - *Tracing*: values go astray at a damaged unit and behind it, never before it. What every unit puts out is held
      against what it usually does; the unit farthest out in the first layer where any stands out comes first, unless
      another one takes away 70 % of the loss, or 30 % where several of that layer stand out: then the cause lies before
      them. Not for models without `activations`.
      A unit is named for its silence only if no other one before it or of its layer is silent or astray.
    - *Classes*: if at least 80 % of the mistakes are of one class, more than chance makes so, the unit of the last
      layer that scores it comes first, or second if the first stands out clearly. That alone names no unit.
    - *More than one*: while much of the loss is left with the first changed, the same is asked again of what is left.

    Parameters
    ----------
    model : SaliencyModel
        The network as it is now. Its weights are afterwards what they were, bit for bit.
    reference : Reference
        From `calibrate` on the network when it was sound, which need not be at hand any more.
    mistakes : (x, y)
        Samples that the network gets wrong, with their true labels. Those it gets right are left out. Ten are a good
        number. With two or three, or a calibration that met none, no p-value can be small, so that only an emptied unit
        is named; the result says so.
    n_screen : int
        How many units, of those with the largest mean impact, to try; besides a quarter as many of the loudest and of
        the most silent.
    level : float
        Share of the sets of mistakes of a sound network for which some unit may stand out. It is kept for mistakes like
        those of the calibration samples. Other samples make units stand out that are not at fault. So a unit is named
        only if, besides, it takes away 60 % of the mistakes' loss, or puts out what lies five standard deviations out,
        twice as far as any other unit of its layer or before; and, unless it takes away 80 %, only if nothing before it
        is astray and at least half of what stands out behind it follows from it. A silent unit is named if nothing else
        up to its layer is silent or astray.
    batch_size : int
        Samples profiled or predicted at a time. Does not change the results, but for rounding.
    wrong : callable, optional
        What is a mistake, ``wrong(predictions, y) -> (n,)``; see `evaluate`.

    Returns
    -------
    Suspects

    Raises
    ------
    ValueError
        If the reference is another network's or holds no usual mistakes, no sample is a mistake, or an option is out
        of its range.

    Notes
    -----
    p-values are by places: the saliency of a usual mistake is equally likely to take any place among those of the
    others (`Reference.mistakes`), whatever its distribution. They are multiplied by the number of units and of
    tails (two of saliency, four of what a unit puts out), and so hold whatever depends on what. Where calibration met
    fewer than 32 mistakes and right samples stand in, none is below the p-value of the set: by exchange of these
    mistakes with the few that are usual (Westfall & Young 1993). With none of them it is 1. A unit follows from the
    first if −log p of it at least halves once that one is changed: on half of the mistakes, or on all if much of the
    loss is left, for then the next unit is looked for. At most 32 mistakes are tried.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> x, y = samples(3000, noise=0.05)
    >>> net = Toy(hidden=8)
    >>> reference = calibrate(net, Batches(x[:2000], y[:2000]), progress=False)
    >>> net.rows[5][:] *= -4.0
    >>> found = suspects(net, reference, (x[2000:2100], y[2000:2100]))
    >>> print(found.units.names[found.order[0]])
    layer1.conv[5]
    """
    x, y = as_pair(mistakes, "mistakes")
    if n_screen < 1:
        raise ValueError(f"n_screen must be at least 1, got {n_screen}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    own, loss = mistakes_among(model, reference, x, y, batch_size, wrong)
    usual = usual_mistakes(reference)
    seen = Seen.of(model, reference, own, batch_size)
    screen = screened(reference, seen.profiles, seen.activations)
    emptied = (np.asarray(model.unit_norms()) == 0.0) & np.any(usual != 0.0, axis=0)
    deep = np.log(len(usual) + 1.0)  # about as silent as the most silent usual mistake, in the mean of all
    quiet = (screen.p_silent <= level) & (screen.silent >= deep) & (model.reduction == "taylor")
    quiet |= emptied  # it has no weights any more, and it had some when the network was calibrated: no chance in that
    p_first = _p_of(screen, quiet)
    p_first[emptied] = 0.0
    chain = _Chain(model, reference, own, batch_size, level)
    chain.extend(seen, loss, screen, p_first, quiet, emptied, n_screen)
    lead = chain.order[0]
    clear = lead in chain.accounting or (quiet[lead] and chain.p_of[lead] <= level)
    clear |= chain.trials.get(lead, _UNTRIED).effect >= _MOST_OF_IT
    missed = unit_of_class(model, own)
    order = np.array(with_class(missed, chain.order, bool(clear)))
    strong = np.argsort(-screen.impact, kind="stable")
    of = [chain.trials.get(u, _UNTRIED) for u in order.tolist()]
    takes = [u for u in chain.units if chain.trials.get(u, _UNTRIED).effect >= _ENOUGH]
    first = [*np.flatnonzero(emptied).tolist(), *chain.plain]
    quiet &= emptied | (alone(model.units, quiet | (screen.p_odd <= level)) & ~behind(model.units, first))
    lacks, because = quiet[order] & ~np.isin(order, takes), chain.because[order]
    sure = chain.sure(any(chain.p_of[u] <= level and chain.because[u] < 0 for u in np.flatnonzero(quiet)))
    p_set, least = few_mistakes(reference, seen.profiles, seen.activations)  # no unit is surer than the set is
    p_value = np.where(emptied, 0.0, np.maximum(chain.p_of, p_set))
    named = (p_value[order] <= level) & (lacks | np.isin(order, sure)) & (because < 0)
    p_none = float(np.where(emptied, 0.0, np.maximum(p_first, p_set)).min())
    return Suspects(
        units=model.units, order=order, ranked=np.concatenate([order, strong[~np.isin(strong, order)]]), named=named,
        lacks=lacks, effect=np.array([one.effect for one in of]), effect_low=np.array([one.band[0] for one in of]),
        effect_high=np.array([one.band[1] for one in of]), factor=np.array([one.factor for one in of]),
        given=np.array([one.given for one in of]), tried=np.array([one.band[2] for one in of], dtype=np.int64),
        silence=np.exp(-screen.silent[order]), odd=screen.odd[order], p_value=p_value[order], because=because,
        p_none=p_none, p_least=max(screen.p_least, least), n_mistakes=len(seen.profiles),
        n_usual=int(reference.missed or 0), level=level, missed_class=missed,
    )  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """What came of the best change of a unit, its band and the unit that was changed already."""

    effect: float
    factor: float
    band: tuple[float, float, int]
    given: int = -1


_UNTRIED = _Trial(np.nan, 0.0, (np.nan, np.nan, 0))


class _Chain:
    """Units changed one on top of the other, each because it leads what is left, and what they explain.

    Attributes
    ----------
    units : list of int
        Those changed; the first is the one that leads, whatever it takes away.
    order : list of int
        All that were looked at, most suspect first.
    trials : dict of int to _Trial
        Of all that were tried, in their order.
    p_of : ndarray of float64, shape (all units,)
        Of each unit, or of the most surprising that it explains.
    plain : list of int
        Those of them that go astray by themselves.
    accounting : list of int
        Those that account for what stands out: nothing before them is astray, and at least half of what stands out
        behind them follows from them; or they take plainly most of the loss.
    because : ndarray of int, shape (all units,)
        As `Suspects.because`.
    """

    def __init__(
        self, model: SaliencyModel, reference: Reference, own: tuple[Any, Any], batch_size: int, level: float
    ) -> None:  # fmt: skip
        self._model, self._reference, self._own = model, reference, own
        self._batch, self._level = batch_size, level
        self.plain: list[int] = []
        self.accounting: list[int] = []
        self._place = places(model.units)
        self.units: list[int] = []
        self.order: list[int] = []
        self.trials: dict[int, _Trial] = {}
        self.p_of: Float = np.empty(0)
        self.because = np.full(len(model.units), -1)

    def extend(
        self,
        seen: Seen,
        loss: Float | None,
        screen: Screen,
        p_first: Float,
        quiet: NDArray[np.bool_],
        emptied: NDArray[np.bool_],
        n: int,
    ) -> None:
        """Try units, change the one that leads, and ask again of what is left, while much is."""
        self.p_of = p_first.copy()
        level = self._level
        out = (p_first <= level) & ~emptied
        size = np.abs(usual_mistakes(self._reference)).mean(axis=0)
        depth = {u: (not emptied[u], -round(screen.silent[u], 9), -size[u]) for u in np.flatnonzero(quiet).tolist()}
        silent = sorted(depth, key=depth.__getitem__)
        left, now = 1.0, screen
        rounds: list[tuple[list[int], list[int], bool]] = []
        with ExitStack() as stack:
            for turn in range(_AT_ONCE):
                trace = astray(now, self._model.units, level)
                odd = [u for u in trace.order if u not in self.units]
                few = max(1, n // 4)
                some = list(dict.fromkeys([*odd[:few], *trace.before[:n], *_listed(now, n, level)]))
                if trace.plain:  # it is clear where values go astray: little is left to try
                    some = some[: 2 * few]
                trials = Trials(self._model, *self._own, self._batch, _MOST, None if turn else loss)
                tried = trials.halved([u for u in some if u not in self.units])
                effects = {u: (e, f) for u, e, f in tried}
                given = self.units[-1] if turn else -1
                lacking = [u for u in silent if self.because[u] < 0 and u not in self.units]
                astray_now = [*(u for u in lacking if emptied[u]), *odd, *lacking]
                best, most = tried[0][0], tried[0][1]
                p_now = np.minimum(now.p_loud, now.p_odd)
                if odd:
                    by_trial = most >= _NEARLY_ALL or (most >= _ENOUGH and trace.several and not trace.plain)
                else:
                    bar = min([level, *(self.p_of[u] for u in lacking)])
                    by_trial = most >= _ENOUGH and (p_now if turn else self.p_of)[best] <= bar
                by_trial &= not any(emptied[u] for u in astray_now[:1])
                lead = best if by_trial or not astray_now else astray_now[0]
                effect, factor = effects.get(lead, (0.0, 0.0))
                if turn and (effect < _ENOUGH or p_now[lead] > level):
                    rounds.append(([], astray_now if trace.plain else [], False))
                    break
                kept = tried if not turn else [one for one in tried if one[0] == lead]
                self.trials |= {u: _Trial(e, f, trials.band(u, f), given) for u, e, f in kept}
                adding = [u for u, *_ in kept if u not in lacking]
                rounds.append((adding, astray_now, by_trial))
                self.units.append(lead)
                if turn:
                    self.p_of[lead], self.because[lead] = p_now[lead], -1
                left *= 1.0 - effect
                by_itself = trace.plain and lead == trace.order[0]
                ahead = (self._place < self._place[lead]) & (now.p_odd <= level)
                ahead[self.units] = False
                others = out & (self.because < 0)
                others[self.units] = False
                follows = np.zeros_like(others)
                if by_itself and effect < _ENOUGH:  # that it is removed may give nothing back, and still show
                    factor = 0.0
                elif effect < _ENOUGH:
                    break
                if others.any() or left >= _ENOUGH:
                    stack.enter_context(changed(self._model, lead, factor))
                    asked_again = left >= _ENOUGH and effect >= _ENOUGH
                    before, now = self._explained(seen, p_first, quiet, None if asked_again else trials.rows)
                    follows = others & (_p_of(now, quiet) > np.minimum(level, np.sqrt(before)))  # half is gone
                back = others & (self._place > self._place[lead])
                accounts = not ahead.any() and 2 * np.count_nonzero(follows & back) >= np.count_nonzero(back)
                if accounts or effect >= _PLAINLY:
                    self.accounting.append(lead)
                    self.plain += [lead] * by_itself
                if effect >= _ENOUGH or accounts:
                    self.because[follows] = lead
                    # what follows speaks against the unit
                    self.p_of[lead] = min(self.p_of[lead], p_first[follows].min(initial=1.0))
                if left < _ENOUGH or effect < _ENOUGH:
                    break
        self.order = self._ordered(rounds)

    def _explained(
        self, seen: Seen, p_first: Float, quiet: NDArray[np.bool_], rows: NDArray[np.intp] | None
    ) -> tuple[Float, Screen]:
        """p-values before the units were changed, and the screen now: of half of the mistakes in `rows`, or of all."""
        if rows is None:
            now = Seen.of(self._model, self._reference, self._own, self._batch)
            return p_first, screened(self._reference, now.profiles, now.activations)
        some = rows[: max(_TELL, (len(rows) + 1) // 2)]
        x, y = self._own
        now = Seen.of(self._model, self._reference, (rows_of(x, some), rows_of(y, some)), self._batch)
        parts = seen.some(some), now.some(slice(None))
        screens = [screened(self._reference, *part, ranked=False) for part in parts]
        return _p_of(screens[0], quiet), screens[1]

    def _ordered(self, rounds: list[tuple[list[int], list[int], bool]]) -> list[int]:
        """Those changed, then by turns what trials and what traces put first, the last of these first."""
        trials, traces = rounds[0][0], [u for _, trace, _ in reversed(rounds) for u in trace]
        traces = [u for u in traces if self.because[u] < 0] + [u for u in traces if self.because[u] >= 0]
        one, other = (traces, trials) if rounds[0][2] else (trials, traces)
        turns = [u for pair in zip_longest(one, other) for u in pair if u is not None]
        return list(dict.fromkeys([*self.units, *turns]))

    def sure(self, lacking: bool) -> list[int]:
        """Those that are named: up to the last that takes most of what those before it have left, and plain ones.

        A part is enough for the first beside units that lack something: what those miss, no removal gives back.
        """
        last = 0
        for i, unit in enumerate(self.units, 1):
            most = _ENOUGH if lacking and i == 1 else _MOST_OF_IT
            effect = self.trials.get(unit, _UNTRIED).effect
            if effect >= most and self.p_of[unit] <= self._level and unit in self.accounting:
                last = i
        return [*self.units[:last], *self.plain]


def _listed(screen: Screen, n: int, level: float) -> list[int]:
    """Units worth a trial: the strongest, and some of the loudest and of the most silent."""
    strong, loud, silent = (np.argsort(-of, kind="stable") for of in (screen.impact, screen.loud, screen.silent))
    few = max(1, n // 4)
    sure = int(np.count_nonzero(screen.p_loud <= level))
    if sure:  # something is plainly loud: the fault is among the first
        some = [strong[: min(n, max(few, sure))], loud[: min(n, max(few, sure))]]
    else:
        some = [strong[:n], loud[:few], silent[:few]]
    return list(dict.fromkeys(np.concatenate(some).tolist()))


def _p_of(screen: Screen, quiet: NDArray[np.bool_]) -> Float:
    """p-value of each unit: by its lower tail where it is quiet, else by the upper one, or by what it puts out."""
    return np.minimum(np.where(quiet, screen.p_silent, screen.p_loud), screen.p_odd)
