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
        return fresh

    def save(self, path: str | os.PathLike[str]) -> None:
        """Replace the file by the present state; a reader, or a killed process, sees the old one or the new one."""
        arrays, values = {"names": self.names, "norms": self.norms}, None
        if self.sketch is not None:
            stored, values = self.sketch.to_arrays()
            arrays |= {f"sketch.{name}": array for name, array in stored.items()}
        if self.mistakes is not None:
            arrays |= {"mistakes.profiles": self.mistakes.profiles, "mistakes.key": self.mistakes.key}
        progress = {"batches": self.batches, "seen": self.seen, "digest": self.digest, "sketch": values}
        write_arrays(path, "Checkpoint", arrays, {"settings": self.settings, **progress})

    def check(self, digest: str, seen: int) -> None:
        """Refuse to go on with other batches than those that are in already."""
        if (digest, seen) != (self.digest, self.seen):
            raise ValueError(
                f"the first {self.batches} batches must be those behind the checkpoint, in their order, got other "
                "labels or sizes (a loader that shuffles?)"
            )
