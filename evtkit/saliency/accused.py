"""Accused: the units that may be behind some mistakes, with what speaks for and against each."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit._common.text import aligned, counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.units import Units

__all__ = ["Suspects"]


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
        Where a unit stands out at the stated level, no unit before it explains that, and it lacks or takes away 60 % of
        the loss. Of several at fault each takes away 30 %, and the last 60 % of what those before it have left.
    lacks : ndarray of bool, shape (suspects,)
        Where a unit is suspect for what it no longer does (it is silent), rather than for what it adds to the loss.
    effect : ndarray of float64, shape (suspects,)
        Share of the mistakes' loss that goes when the unit is removed or its sign is turned, whichever takes more.
        Negative if either adds to it, NaN if the unit was not tried. Of a unit with one in `given`, the share of what
        is left of the loss with that one changed, and those before it.
    effect_low, effect_high : ndarray of float64, shape (suspects,)
        95 % bootstrap band of the effect, over the mistakes that it was tried on.
    factor : ndarray of float64, shape (suspects,)
        What the effect is that of: 0 if the unit was removed, −1 if its sign was turned.
    given : ndarray of int, shape (suspects,)
        Position of the unit that was changed too when this one was tried, −1 if none was.
    tried : ndarray of int, shape (suspects,)
        On how many mistakes a unit was tried.
    silence : ndarray of float64, shape (suspects,)
        Geometric mean, over the mistakes, of the share of the usual mistakes for which the unit's saliency is smaller
        in size: about 0.4 usually, near 0 for a unit that does nothing any more.
    odd : ndarray of float64, shape (suspects,)
        How many standard deviations what the unit puts out lies from its usual mean, in the mean over the mistakes; 0
        where that is not known.
    p_value : ndarray of float64, shape (suspects,)
        Probability that any unit at all would stand out so far, either way, on as many usual mistakes of the network
        that was calibrated. 0 for a unit all of whose weights are zero now, and were not then.
    because : ndarray of int, shape (suspects,)
        Position of the unit that explains this one, −1 if none does: it stands out far less once that one is changed.
    p_none : float
        Probability that any unit would stand out as far as the one that does so most: the p-value of "no unit is at
        fault".
    p_least : float
        The smallest p-value that so many mistakes can have, here and in calibration. Above the level they are too few
        to name a unit by.
    n_mistakes : int
        How many mistakes there were.
    n_usual : int
        How many mistakes calibration met and kept.
    level : float
        Of `named`.
    missed_class : int
        Position of the unit that scores the class of nearly all mistakes, more than chance has it; −1 if none does.

    See Also
    --------
    suspects : makes it.
    UnitRanking : a ranking that tests nothing.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate, suspects
    >>> from evtkit.saliency.toy import Toy, samples
    >>> x, y = samples(3000, noise=0.05)
    >>> net = Toy(hidden=8)
    >>> reference = calibrate(net, Batches(x[:2000], y[:2000]), progress=False)
    >>> net.rows[5][:] *= -4.0
    >>> found = suspects(net, reference, (x[2000:2100], y[2000:2100]))
    >>> print(found.units.names[found.top(1)])
    ['layer1.conv[5]']
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
    given: NDArray[np.intp]
    tried: NDArray[np.int64]
    silence: Float
    odd: Float
    p_value: Float
    because: NDArray[np.intp]
    p_none: float
    p_least: float
    n_mistakes: int
    n_usual: int
    level: float
    missed_class: int = -1

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
        head = f"Suspects of {len(self.units):,} units for {counted(self.n_mistakes, 'mistake')}"
        return f"{head}: {self._verdict()}\n{self.table(5)}"

    def _verdict(self) -> str:
        names = ", ".join(map(str, self.units.names[self.found[:3]]))
        more = f" and {len(self.found) - 3} more" if len(self.found) > 3 else ""
        if names:
            return f"{names}{more} (p = {self.p_none:.3g})"
        few = ", which so few mistakes cannot reach" if self.p_least > self.level else ""
        few = ", which a calibration without mistakes cannot show" if not self.n_usual else few
        return f"none at the {100 * self.level:g} % level{few} (p = {self.p_none:.2g})"

    def rows(self, k: int = 10) -> list[tuple[str, ...]]:
        """The first k suspects as text, under their headings."""
        head = ("", "unit", "suspect for", "effect", "95 % band", "tried", "silence", "odd", "p")
        out: list[tuple[str, ...]] = [head]
        for i in range(min(k, len(self))):
            name = str(self.units.names[self.order[i]])
            why = "lacking" if self.lacks[i] else "sign" if self.factor[i] else "adding"
            if not self.lacks[i] and not self.effect[i] >= 0.3:
                why = "odd values"
            if self.given[i] >= 0:
                why += f", with {self.units.names[self.given[i]]} changed"
            if self.because[i] >= 0:
                why = f"follows {self.units.names[self.because[i]]}"
            elif not self.named[i] and self.given[i] < 0:
                why = "its class is missed" if self.order[i] == self.missed_class else "–"
            known = not np.isnan(self.effect[i])
            band = f"{100 * self.effect_low[i]:.0f} … {100 * self.effect_high[i]:.0f}" if known else ""
            effect = f"{100 * self.effect[i]:.0f} %" if known else ""
            numbers = (f"{self.silence[i]:.2g}", f"{self.odd[i]:.2g}", f"{self.p_value[i]:.3g}")
            out.append((f"{i + 1}", name, why, effect, band, f"{self.tried[i]}", *numbers))
        return out

    def table(self, k: int = 10) -> str:
        """The first k suspects as text; the effect is the share of the loss that goes without the unit."""
        return aligned(self.rows(k), "><<>>>>>>")

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
            "given": np.array([str(self.units.names[u]) if u >= 0 else "" for u in self.given], dtype=np.str_),
            "tried": self.tried,
            "silence": self.silence,
            "odd": self.odd,
            "p_value": self.p_value,
            "because": np.array([str(self.units.names[u]) if u >= 0 else "" for u in self.because], dtype=np.str_),
        }

    def _repr_html_(self) -> str:
        head, *body = self.rows()
        lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
        lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
        title = f"Suspects for {counted(self.n_mistakes, 'mistake')}: {self._verdict()}"
        return f"<p>{escape(title)}</p><div style='overflow-x:auto'><table>{''.join(lines)}</table></div>"
