"""Repairs: a change of weights with what it was chosen from and what it does, to save, apply and take back."""

from __future__ import annotations

from dataclasses import dataclass, fields
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit._common.text import aligned, counted

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from evtkit.saliency.accused import Suspects
    from evtkit.saliency.protocol import SaliencyModel
    from evtkit.saliency.units import Units

__all__ = ["Repair", "Share", "Tried"]


@dataclass(frozen=True)
class Share:
    """A share of n samples with its 95 % interval (Wilson 1927).

    Examples
    --------
    >>> print(Share.of([True, False, False, False]))
    25 % (4.56 … 69.9 of 4)
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: Any) -> Share:
        """Of samples that hit or do not."""
        n, k, z = len(hits), int(np.count_nonzero(hits)), 1.959964
        if not n:
            return cls(np.nan, np.nan, np.nan, 0)
        middle, half = (k + z * z / 2) / (n + z * z), z * np.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
        return cls(k / n, max(0.0, float(middle - half)), min(1.0, float(middle + half)), n)

    def __str__(self) -> str:
        low, high = (f"{100 * end:.3g}" for end in (self.low, self.high))
        return f"{100 * self.value:.3g} % ({low} … {high} of {self.n})"

    @property
    def most(self) -> float:
        """What the share is at most, with a confidence of 95 %, exactly (Clopper & Pearson 1934).

        Examples
        --------
        >>> round(Share.of([False] * 60).most, 3)  # none of 60
        0.049
        """
        from scipy.special import betaincinv

        hits = round(self.value * self.n) if self.n else 0
        return float(betaincinv(hits + 1, self.n - hits, 0.95)) if hits < self.n else 1.0


@dataclass(frozen=True)
class Tried:
    """One change that was looked at.

    Attributes
    ----------
    candidate : str
        What was changed, and from where it began.
    n_units, step : int
        How many units, and after how many gradient steps; 0 is the beginning. Of the last layer, how many classes, and
        which of its fits.
    norm : float
        Euclidean length of the change.
    learnt, corrected : float
        Share now right of the mistakes in the loss, and of those that choose; NaN if these were in the loss, too.
    lost : float
        Share now wrong of the samples that size the change.
    expected : float
        Share that others like these will lose, by ``evtkit.saliency.costs.expected_loss``: what the budget holds for.
    """

    candidate: str
    n_units: int
    step: int
    norm: float
    learnt: float
    corrected: float
    lost: float
    expected: float


@dataclass(frozen=True, eq=False, repr=False)
class Repair(Result):
    """A change of a network's weights that corrects mistakes; made by `repair`.

    Attributes
    ----------
    units : Units
        All units of the network.
    delta : mapping of str to array
        What `export` gives: for every changed parameter its positions, and the weights before and after. Empty if
        nothing that was tried corrects anything within the budget.
    tried : tuple of Tried
        Every change that was looked at: the frontier of what is corrected and what it costs.
    chosen : int
        Which of them it is; −1 if none.
    corrected : Share
        Of mistakes that had no say.
    lost : Share
        Of samples to keep that had no say: right before, wrong now.
    budget : float
        Share of others that might be lost, in the mean.
    sized : Share
        Of the samples that sized the change, those it loses; ``sized.most`` is what may be lost by them.
    suspects : Suspects or None
        The units at fault, as they were found.

    See Also
    --------
    repair : makes it.
    evtkit.plot.repair_frontier : the picture.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate, repair
    >>> from evtkit.saliency.toy import Toy, samples
    >>> x, y = samples(3000, noise=0.0)
    >>> net = Toy(reduction="taylor")
    >>> reference = calibrate(net, Batches(x[:1000], y[:1000]), progress=False)
    >>> net.rows[5][:] *= -4.0
    >>> wrong = net.predict(x).argmax(axis=1) != y
    >>> mended = repair(net, reference, (x[wrong][:40], y[wrong][:40]), (x[~wrong][:900], y[~wrong][:900]), units=[5])
    >>> chosen = mended.tried[mended.chosen]
    >>> chosen.n_units, mended.corrected.value > 0.5
    (1, True)
    """

    units: Units
    delta: Mapping[str, Any]
    tried: tuple[Tried, ...]
    chosen: int
    corrected: Share
    lost: Share
    budget: float
    sized: Share
    suspects: Suspects | None = None

    def __repr__(self) -> str:
        if self.chosen < 0:
            return (
                f"Repair(none: nothing tried corrects a mistake for at most {100 * self.budget:g} % lost, as far as "
                f"{self.sized.n} samples show)"
            )
        one = self.tried[self.chosen]
        what = f"{one.candidate}, {counted(one.n_units, 'unit')}, {counted(one.step, 'step')}"
        return f"Repair({what}: corrects {self.corrected} unseen mistakes, loses {self.lost} others)"

    def _table(self) -> dict[str, Any]:
        """All that was tried, one row each."""
        return {part.name: np.array([getattr(one, part.name) for one in self.tried]) for part in fields(Tried)}

    def apply(self, model: SaliencyModel) -> None:
        """Change the network's weights, for good. ValueError if they are not those it was made for."""
        if self.delta:
            model.apply(self.delta)

    def revert(self, model: SaliencyModel) -> None:
        """Take the change back, bit for bit."""
        if self.delta:
            model.apply(self.delta, revert=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the delta to a file, which the adapters' ``apply_repair`` takes when it has been read again.

        Parameters
        ----------
        path : path
            Of a name that ends in .safetensors, a file for ``safetensors.torch.load_file`` or
            ``safetensors.numpy.load_file``; else an .npz file for `numpy.load`.

        Raises
        ------
        ValueError
            If NumPy has no such type as some weights are of, as bfloat16: safetensors has.
        ImportError
            If safetensors is asked for and not installed.
        """
        from evtkit._common.files import write_atomic

        if str(path).endswith(".safetensors"):
            content = _as_safetensors(self.delta)
            write_atomic(path, lambda stream: stream.write(content))  # type: ignore[arg-type]
            return
        try:
            arrays: dict[str, NDArray[Any]] = {name: np.asarray(array) for name, array in self.delta.items()}
        except TypeError as error:
            raise ValueError(f"path must end in .safetensors for such weights, got {path}: {error}") from None
        write_atomic(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]

    def frontier(self) -> list[Tried]:
        """The changes that no other beats in both what is corrected and what is lost, cheapest first."""
        out: list[Tried] = []
        told = [one for one in self.tried if not np.isnan(one.corrected)]
        for one in sorted(told, key=lambda one: (one.lost, -one.corrected, -one.learnt, one.norm)):
            if not out or one.corrected > out[-1].corrected:
                out.append(one)
        return out

    def rows(self) -> list[tuple[str, ...]]:
        """Each candidate at its best within the budget, and the one taken, as text under headings."""
        head = ("", "changed", "units", "steps", "norm", "learnt", "corrected", "lost")
        out: list[tuple[str, ...]] = [head]
        for name in dict.fromkeys(one.candidate for one in self.tried):
            own = [one for one in self.tried if one.candidate == name]
            inside = [one for one in own if one.expected <= self.budget]
            best = max(inside or own, key=lambda one: (one.learnt + one.corrected, -one.expected, -one.norm))
            if self.chosen >= 0 and self.tried[self.chosen].candidate == name:
                best = self.tried[self.chosen]
            mark = "→" if self.chosen >= 0 and best is self.tried[self.chosen] else ""
            known = (best.learnt, best.corrected, best.lost)
            shares = ("–" if np.isnan(share) else f"{100 * share:.1f} %" for share in known)
            out.append((mark, name, f"{best.n_units:,}", f"{best.step}", f"{best.norm:.3g}", *shares))
        return out

    def table(self) -> str:
        """Each candidate at its best as text, and what the one taken does to samples that had no say."""
        return f"{aligned(self.rows(), '<<>>>>>>')}\n{self!r}\n{self._known()}"

    def _known(self) -> str:
        """What the samples that size a change can show, and what they cannot."""
        n, most = self.sized.n, f"up to {100 * self.sized.most:.2g} %"
        if self.chosen < 0:
            return f"{n:,} samples size a change: if it loses none of these, {most} of others may still be lost."
        lost, expected = round(self.sized.value * n), 100 * self.tried[self.chosen].expected
        return (
            f"It loses {lost:,} of the {n:,} samples that size it: {most} of others may be lost, {expected:.2g} % are "
            f"expected (budget {100 * self.budget:g} %)."
        )

    def _repr_html_(self) -> str:
        head, *body = self.rows()
        lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
        lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
        text = escape(f"{self!r} {self._known()}")
        return f"<p>{text}</p><div style='overflow-x:auto'><table>{''.join(lines)}</table></div>"


def _as_safetensors(delta: Mapping[str, Any]) -> bytes:
    """The content of a safetensors file, in whichever framework's tensors the delta is."""
    try:
        if any(hasattr(array, "detach") for array in delta.values()):
            from safetensors.torch import save

            return bytes(save({name: array.contiguous() for name, array in delta.items()}))
        from safetensors.numpy import save as save_arrays
    except ImportError as error:
        raise ImportError("a .safetensors file needs safetensors; install it with: pip install safetensors") from error
    return bytes(save_arrays({name: np.ascontiguousarray(array) for name, array in delta.items()}))
