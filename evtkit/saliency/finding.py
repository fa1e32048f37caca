"""Finding: which units are at fault for some mistakes; screened by both tails of their usual saliency, then tried."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit._common.text import aligned
from evtkit.saliency.batches import size_of, take
from evtkit.saliency.reference import normalized
from evtkit.saliency.screening import screened, usual_mistakes
from evtkit.saliency.tasks import as_targets, mistaken_among
from evtkit.saliency.trials import Trials, changed, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.units import Units

__all__ = ["Suspects", "suspects"]

_MOST = 32  # mistakes on which units are tried
_MOST_OF_IT = 0.6  # a share of the loss that one unit takes away in no sound network that was looked at, shifted or not
_ENOUGH = 0.3  # a share of the loss that a change must take away before it may explain anything


@dataclass(frozen=True, eq=False, repr=False)
class Suspects(Result):
    """The units that may be behind some mistakes, most suspect first; made by `suspects`.

    Arrays of shape (suspects,) are in the order of `order`.

    Attributes
    ----------
    units : Units
        All units of the network.
    order : ndarray of int, shape (suspects,)
        Positions in `units` of those that were looked at.
    ranked : ndarray of int, shape (units,)
        All units: these first, then the rest by mean impact.
    named : ndarray of bool, shape (suspects,)
        Where a unit stands out at the stated level, no unit before it explains that, and it takes away 60 % of the loss
        or lacks.
    lacks : ndarray of bool, shape (suspects,)
        Where a unit is suspect for what it no longer does (it is silent), rather than for what it adds to the loss.
    effect : ndarray of float64, shape (suspects,)
        Share of the mistakes' loss that goes when the unit is removed or its sign is turned, whichever takes more.
        Negative if either adds to it, NaN if the unit was not tried.
    effect_low, effect_high : ndarray of float64, shape (suspects,)
        95 % bootstrap band of the effect, over the mistakes that it was tried on.
    factor : ndarray of float64, shape (suspects,)
        What the effect is that of: 0 if the unit was removed, −1 if its sign was turned.
    tried : ndarray of int, shape (suspects,)
        On how many mistakes a unit was tried.
    silence : ndarray of float64, shape (suspects,)
        Geometric mean, over the mistakes, of the share of the usual mistakes for which the unit's saliency is smaller
        in size: about 0.4 usually, near 0 for a unit that does nothing any more.
    p_value : ndarray of float64, shape (suspects,)
        Probability that any unit at all would stand out so far, either way, on as many usual mistakes of the network
        that was calibrated. 0 for a unit all of whose weights are zero now, and were not then.
    because : ndarray of int, shape (suspects,)
        Position of the unit that explains this one, −1 if none does: it stands out far less once that one is changed.
    p_none : float
        Probability that any unit would stand out as far as the one that does so most: the p-value of "no unit is at
        fault".
    n_mistakes : int
        How many mistakes there were.
    level : float
        Of `named`.

    Examples
    --------
    See `suspects`.
    """

    units: Units
    order: NDArray[np.intp]
    ranked: NDArray[np.intp]
    named: NDArray[np.bool_]
    lacks: NDArray[np.bool_]
    effect: Float
    effect_low: Float
    effect_high: Float
    factor: Float
    tried: NDArray[np.int64]
    silence: Float
    p_value: Float
    because: NDArray[np.intp]
    p_none: float
    n_mistakes: int
    level: float

    @property
    def found(self) -> NDArray[np.intp]:
        """Positions of the units that are named, most suspect first; empty if there are none."""
        return self.order[self.named]

    def __len__(self) -> int:
        return len(self.order)

    def top(self, k: int) -> NDArray[np.intp]:
        """Positions of the first k units, of all."""
        if not 1 <= k <= len(self.ranked):
            raise ValueError(f"k must lie in [1, {len(self.ranked)}], got {k}")
        return self.ranked[:k]

    def __repr__(self) -> str:
        head = f"Suspects of {len(self.units):,} units for {self.n_mistakes:,} mistakes"
        return f"{head}: {self._verdict()}\n{self.table(5)}"

    def _verdict(self) -> str:
        names = ", ".join(map(str, self.units.names[self.found[:3]]))
        more = f" and {len(self.found) - 3} more" if len(self.found) > 3 else ""
        if names:
            return f"{names}{more} (p = {self.p_none:.3g})"
        return f"none at the {100 * self.level:g} % level (p = {self.p_none:.2g})"

    def rows(self, k: int = 10) -> list[tuple[str, ...]]:
        """The first k suspects as text, under their headings."""
        out: list[tuple[str, ...]] = [("", "unit", "suspect for", "effect", "95 % band", "tried", "silence", "p")]
        for i in range(min(k, len(self))):
            name = str(self.units.names[self.order[i]])
            why = "lacking" if self.lacks[i] else "sign" if self.factor[i] else "adding"
            if self.because[i] >= 0:
                why = f"follows {self.units.names[self.because[i]]}"
            elif not self.named[i]:
                why = "–"
            known = not np.isnan(self.effect[i])
            band = f"{100 * self.effect_low[i]:.0f} … {100 * self.effect_high[i]:.0f}" if known else ""
            effect = f"{100 * self.effect[i]:.0f} %" if known else ""
            out.append((f"{i + 1}", name, why, effect, band, f"{self.tried[i]}", f"{self.silence[i]:.2g}",
                        f"{self.p_value[i]:.3g}"))  # fmt: skip
        return out

    def table(self, k: int = 10) -> str:
        """The first k suspects as text; the effect is the share of the loss that goes without the unit."""
        return aligned(self.rows(k), "><<>>>>>")

    def _table(self) -> dict[str, Any]:
        """All suspects, one row each."""
        return {
            "unit": self.units.names[self.order],
            "named": self.named,
            "lacks": self.lacks,
            "effect": self.effect,
            "effect_low": self.effect_low,
            "effect_high": self.effect_high,
            "factor": self.factor,
            "tried": self.tried,
            "silence": self.silence,
            "p_value": self.p_value,
            "because": np.array([str(self.units.names[u]) if u >= 0 else "" for u in self.because], dtype=np.str_),
        }

    def _repr_html_(self) -> str:
        head, *body = self.rows()
        lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
        lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
        title = f"Suspects for {self.n_mistakes:,} mistakes: {self._verdict()}"
        return f"<p>{escape(title)}</p><div style='overflow-x:auto'><table>{''.join(lines)}</table></div>"


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

    Parameters
    ----------
    model : SaliencyModel
        The network as it is now. Its weights are afterwards what they were, bit for bit.
    reference : Reference
        From `calibrate` on the network when it was sound, which need not be at hand any more.
    mistakes : (x, y)
        Samples that the network gets wrong, with their true labels. Those it gets right are left out. Ten are a good
        number; one may do.
    n_screen : int
        How many units, of those with the largest mean impact, to try; besides a quarter as many of the loudest and of
        the most silent.
    level : float
        Share of the sets of mistakes of a sound network for which some unit may stand out. It is kept for mistakes like
        those of the calibration samples. Other samples make units stand out that are not at fault; such a unit is named
        only if it takes away 60 % of the mistakes' loss, or has fallen all but silent.
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
    others (`Reference.mistakes`), whatever its distribution. They are multiplied by the number of units, and by two for
    both tails, and so hold whatever depends on what. A unit follows from the first if −log p of it at least halves once
    that one is changed. Trials cost about five predictions of each mistake, fewer where a unit
    is plainly at fault, and at most 32 mistakes are tried; explaining costs a second profile.

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
    x, y = mistakes
    own, profiles = _profiled(model, reference, x, y, n_screen, level, batch_size, wrong)
    screen = screened(reference, profiles)
    trials = Trials(model, *own, batch_size, _MOST)
    strong, loud, silent = (np.argsort(-of, kind="stable") for of in (screen.impact, screen.loud, screen.silent))
    sure = int(np.count_nonzero(screen.p_loud <= level))
    few = max(1, n_screen // 4)
    some = np.concatenate([strong[:n_screen], loud[:few], silent[:few]])
    if sure:  # something is plainly loud: the fault is among the first
        some = np.concatenate([strong[: min(n_screen, max(few, sure))], loud[: min(n_screen, max(few, sure))]])
    tried = trials.halved(list(dict.fromkeys(some.tolist())))
    effects = {unit: (effect, factor) for unit, effect, factor in tried}
    first, effect, factor = tried[0]
    usual = usual_mistakes(reference)
    deep = np.log(len(usual) + 1.0)  # about as silent as the most silent usual mistake, in the mean of all
    quiet = (screen.p_silent <= level) & (screen.silent >= deep) & (model.reduction == "taylor")
    emptied = (np.asarray(model.unit_norms()) == 0.0) & np.any(usual != 0.0, axis=0)
    quiet |= emptied  # it has no weights any more, and it had some when the network was calibrated: no chance in that
    lacking = [u for u in silent.tolist() if quiet[u]]
    p_silent = np.where(emptied, 0.0, screen.p_silent)
    p_of, because = np.where(quiet, p_silent, screen.p_loud), np.full(len(quiet), -1)
    p_none = float(p_of.min())
    out = p_of <= level
    if effect >= _ENOUGH and np.any(np.delete(out, first)):
        with changed(model, first, factor):
            again = screened(reference, _profiles(model, reference, *own, batch_size))
        after = np.where(quiet, again.p_silent, again.p_loud)
        follows = out & ~emptied & (after > np.minimum(level, np.sqrt(p_of)))  # half of its surprise is gone
        follows[first] = False
        because[follows] = first
        p_of[first] = min(p_of[first], p_of[follows].min(initial=1.0))  # what it explains speaks against it
        lacking = [u for u in lacking if not follows[u]]
    size = np.abs(usual).mean(axis=0)
    deepest = {u: (not emptied[u], -round(screen.silent[u], 9), -size[u]) for u in lacking if u != first}
    lacking = sorted(deepest, key=deepest.__getitem__)
    adding = [unit for unit, *_ in tried if unit not in lacking]
    begun = [first] if effect >= _ENOUGH and p_of[first] <= min([level, *(p_of[u] for u in lacking)]) else []
    order = np.array([*begun, *lacking, *(u for u in adding if u not in begun)])
    rest = strong[~np.isin(strong, order)]
    bands = [trials.band(u, effects[u][1]) if u in effects else (np.nan, np.nan, 0) for u in order.tolist()]
    low, high, number = (np.array(column) for column in zip(*bands, strict=True))
    lacks = np.isin(order, lacking)
    p = p_of[order]
    effect_of = np.array([effects.get(u, (np.nan, 0.0)) for u in order.tolist()])
    named = (p <= level) & (lacks | (effect_of[:, 0] >= _MOST_OF_IT)) & (because[order] < 0)
    return Suspects(
        model.units, order, np.concatenate([order, rest]), named, lacks,
        effect_of[:, 0], low, high, effect_of[:, 1], number.astype(np.int64),
        np.exp(-screen.silent[order]), p, because[order], p_none, len(profiles), level,
    )  # fmt: skip


def _profiled(
    model: SaliencyModel,
    reference: Reference,
    x: Any,
    y: Any,
    n_screen: int,
    level: float,
    batch_size: int,
    how: Callable[[Any, Any], Any] | None,
) -> tuple[tuple[Any, Any], NDArray[Any]]:
    """The samples that are mistakes, and their profiles, normalised as the reference is."""
    if reference.units != model.units or reference.reduction != model.reduction:
        raise ValueError(
            f"reference must be for this network's {model.units!r} by {model.reduction}, "
            f"got {reference.units!r} by {reference.reduction}"
        )
    if n_screen < 1:
        raise ValueError(f"n_screen must be at least 1, got {n_screen}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    targets = as_targets(model, x, y, "mistakes")
    usual_mistakes(reference)
    wrong = np.flatnonzero(mistaken_among(model, x, targets, how, batch_size))
    if not wrong.size:
        raise ValueError(f"some samples must be mistakes, got {size_of(targets)} that are all classified right")
    own = (rows_of(x, wrong), rows_of(targets, wrong))
    return own, _profiles(model, reference, *own, batch_size)


def _profiles(model: SaliencyModel, reference: Reference, x: Any, y: Any, batch_size: int) -> NDArray[Any]:
    parts = [np.asarray(model.profile(take(x, rows), take(y, rows))) for rows in _parts(size_of(y), batch_size)]
    return normalized(np.concatenate(parts), reference.normalize)


def _parts(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
