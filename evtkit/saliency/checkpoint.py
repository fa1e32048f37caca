"""Checkpoint: a half-done calibration as one file, replaced atomically."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.files import read_arrays, write_arrays
from evtkit.saliency.mistakes import UsualMistakes
from evtkit.saliency.stored import check_checkpoint
from evtkit.sketch import TailSketch

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evtkit.saliency.protocol import SaliencyModel

__all__ = ["Checkpoint"]


@dataclass(eq=False)
class Checkpoint:
    """How far a calibration has come.

    Parameters
    ----------
    settings : dict
        What must be the same when it goes on; JSON values.
    names : ndarray of str, shape (units,)
        The units.
    norms : ndarray of float64, shape (units,)
        Length of each unit's weights, by which other weights of the same architecture are told.
    sketch : TailSketch or None
        None before the first usable sample.
    mistakes : UsualMistakes or None
        The profiles that are kept whole; None before the first.
    batches, seen : int
        Batches and samples that are in it.
    digest : str
        Fingerprint of their labels.
    taken : int
        Samples that are in it: those seen but for what others had done, and all of those others.
    place : tuple of int
        Number of the first of its samples among all, and the step between them.
    done : tuple of (first, step, n)
        Samples that were in the checkpoints from which it was joined, by their numbers.
    labels, known : int
        Sums of fingerprints of labels: of all samples that are in it, and of those in `done`.
    whole : bool
        Not amid a change.
    """

    settings: dict[str, Any]
    names: NDArray[np.str_]
    norms: NDArray[np.float64]
    sketch: TailSketch | None = None
    mistakes: UsualMistakes | None = None
    batches: int = 0
    seen: int = 0
    digest: str = ""
    taken: int = 0
    place: tuple[int, int] = (0, 1)
    done: tuple[tuple[int, int, int], ...] = ()
    labels: int = 0
    known: int = 0
    whole: bool = True

    @classmethod
    def begin(cls, path: str | os.PathLike[str] | None, model: SaliencyModel, settings: dict[str, Any]) -> Checkpoint:
        """Where to start: from the file if there is one, else from nothing.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or one of another network or other settings.
        """
        fresh = cls(settings, model.units.names, np.asarray(model.unit_norms(), dtype=np.float64))
        if path is None or not Path(path).exists():
            return fresh
        arrays, found = read_arrays(path, "Checkpoint", check_checkpoint)
        if found["settings"] != settings:
            raise ValueError(
                f"checkpoint {path} must be made with {settings}, got {found['settings']}; or name another file"
            )
        same = np.array_equal(arrays["names"], fresh.names)
        if not same or not np.allclose(arrays["norms"], fresh.norms, rtol=1e-6, atol=0.0):
            raise ValueError(
                f"checkpoint {path} must be of this network's {'weights' if same else 'units'}, got others"
            )
        if found["sketch"] is not None:
            stored = {name.removeprefix("sketch."): a for name, a in arrays.items() if name.startswith("sketch.")}
            fresh.sketch = TailSketch.from_arrays(stored, found["sketch"])
        if "mistakes.key" in arrays:
            fresh.mistakes = UsualMistakes(arrays["mistakes.profiles"], arrays["mistakes.key"])
        fresh.batches, fresh.seen, fresh.digest = found["batches"], found["seen"], found["digest"]
        fresh.taken, fresh.labels, fresh.known = found["taken"], int(found["labels"]), int(found["known"])
        first, step = found["place"]
        fresh.place, fresh.done = (first, step), tuple((f, s, n) for f, s, n in found["done"])
        return fresh

    @classmethod
    def joined(cls, paths: Sequence[Path], model: SaliencyModel, settings: dict[str, Any]) -> Checkpoint:
        """One to go on from, with another number of ranks: all that the checkpoints of the former ones have."""
        whole = cls.begin(None, model, settings)
        for path in paths:
            part = cls.begin(path, model, settings)
            whole.done = tuple(dict.fromkeys((*whole.done, *part.done, (*part.place, part.seen))))
            whole.taken += part.taken
            whole.labels = (whole.labels + part.labels) % (1 << 64)
            whole.take(part.sketch, part.mistakes)
        whole.known = whole.labels
        return whole

    def take(self, sketch: TailSketch | None, mistakes: UsualMistakes | None) -> None:
        """Merge what another has learnt."""
        if self.sketch is None:
            self.sketch = sketch
        elif sketch is not None:
            self.sketch.merge(sketch)
        if self.mistakes is None:
            self.mistakes = mistakes
        elif mistakes is not None:
            self.mistakes.merge(mistakes)

    def is_new(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which samples, by their numbers, are not done."""
        new = np.ones(len(numbers), dtype=bool)
        for first, step, n in self.done:
            place, rest = np.divmod(numbers - first, step)
            new &= (rest != 0) | (place < 0) | (place >= n)
        return new

    def save(self, path: str | os.PathLike[str]) -> None:
        """Replace the file by the present state; a reader, or a killed process, sees the old one or the new one."""
        arrays, values = {"names": self.names, "norms": self.norms}, None
        if self.sketch is not None:
            stored, values = self.sketch.to_arrays()
            arrays |= {f"sketch.{name}": array for name, array in stored.items()}
        if self.mistakes is not None:
            arrays |= {"mistakes.profiles": self.mistakes.profiles, "mistakes.key": self.mistakes.key}
        progress = {
            "batches": self.batches, "seen": self.seen, "digest": self.digest, "sketch": values, "taken": self.taken,
            "place": self.place, "done": self.done, "labels": str(self.labels), "known": str(self.known),
        }  # fmt: skip
        write_arrays(path, "Checkpoint", arrays, {"settings": self.settings, **progress})

    def check(self, digest: str, seen: int) -> None:
        """Refuse to go on with other batches than those that are in already."""
        if (digest, seen) != (self.digest, self.seen):
            raise ValueError(
                f"the first {self.batches} batches must be those behind the checkpoint, in their order, got other "
                "labels or sizes (a loader that shuffles?)"
            )
