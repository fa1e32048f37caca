"""Reference: what every unit's saliency usually is, to hold a mistake's against."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.checks import real_array
from evtkit._common.files import read_arrays, write_arrays
from evtkit._common.text import counted
from evtkit.fit import FitStatus
from evtkit.saliency.combine import COMBINE, rank_set, usual_combine
from evtkit.saliency.rankings import UnitRanking
from evtkit.saliency.stored import check_reference
from evtkit.saliency.units import Units
from evtkit.tail import Tail

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from evtkit.families import FamilyComparison

__all__ = ["NORMALIZE", "Reference", "normalized"]

NORMALIZE = (None, "sample")


def normalized(profiles: NDArray[Any], how: str | None) -> NDArray[Any]:
    """Profiles (n, units) as they are, or each divided by its mean size over the units (an all-zero one stays so)."""
    if how is None:
        return profiles
    if how not in NORMALIZE:
        raise ValueError(f"normalize must be None or 'sample', got {how!r}")
    mean = np.abs(profiles).mean(axis=1, dtype=np.float64, keepdims=True)
    with np.errstate(invalid="ignore"):  # inf/inf: what is not finite stays so, to be refused
        scaled = np.divide(profiles, mean, out=np.zeros(profiles.shape), where=mean != 0.0)
    return np.asarray(scaled, dtype=profiles.dtype)


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """The usual saliency of a network's units: a fitted tail each, made by `calibrate`.

    Attributes
    ----------
    tail : Tail
        One channel a unit, with mean and standard deviation.
    units : Units
        The units, in the tail's order.
    quantile : float or None
        Of the threshold; None where `evtkit.fit_tail` chose it.
    which : str
        "all" or "correct": which calibration samples were used.
    normalize : str or None
        "sample" if each profile was divided by its mean size over the units, and so will be those that are ranked.
    reduction : str
        How a unit's gradient became one number, see `SaliencyModel.reduction`.
    n_seen : int
        Calibration samples seen; ``tail.n`` of them were used, and ``tail.left_out`` were gross outliers of a unit.
    coverage : str
        What share of the network's parameters the units cover, in words.
    mistakes : ndarray, shape (m, units), or None
        Profiles, normalised likewise, of up to 128 calibration samples that the network gets wrong; where these are
        fewer than 32, the right ones with the largest saliency behind them. `suspects` needs it.
    missed : int or None
        How many of these are mistakes; None stands for all.
    activations : ndarray, shape (m, units, 2), or None
        Mean and mean size of what the units put out for the same samples, if the network tells.

    Examples
    --------
    >>> import numpy as np
    >>> from evtkit import fit_tail
    >>> units = Units(["conv1"] * 3, ["filters"] * 3, [0, 1, 2], [9] * 3, ["conv1"] * 3)
    >>> usual = np.random.default_rng(0).exponential([1.0, 10.0, 0.0], size=(500, 3))
    >>> reference = Reference(fit_tail(usual, keep_sample=False), units)
    >>> reference
    Reference(3 units, 500 of 500 samples, tails of 50 excesses: 2 OK, 1 EMPTY)
    >>> print(reference.rank([8.0, 20.0, 0.0]).table(3))
       channel   value  impact  P(X ≥ x)
    ...
    """

    tail: Tail
    units: Units
    quantile: float | None = None
    which: str = "all"
    normalize: str | None = None
    reduction: str = "mean-abs"
    n_seen: int = 0
    coverage: str = ""
    mistakes: NDArray[Any] | None = None
    activations: NDArray[Any] | None = None
    missed: int | None = None

    def __post_init__(self) -> None:
        if self.tail.threshold.ndim != 1 or len(self.tail) != len(self.units):
            raise ValueError(
                f"tail must have a channel a unit, got {len(self.tail)} channels for {len(self.units)} units"
            )
        if self.mistakes is not None and self.mistakes.shape[1:] != (len(self.units),):
            raise ValueError(f"mistakes must have shape (m, {len(self.units)}), got {self.mistakes.shape}")
        kept = 0 if self.mistakes is None else len(self.mistakes)
        if self.missed is None:
            object.__setattr__(self, "missed", kept)
        elif not 0 <= self.missed <= kept:
            raise ValueError(f"missed must lie in [0, {kept}], as so many mistakes are kept, got {self.missed}")
        shape = None if self.mistakes is None else (*self.mistakes.shape, 2)
        if self.activations is not None and self.activations.shape != shape:
            raise ValueError(f"activations must have shape {shape}, as mistakes have, got {self.activations.shape}")
        if self.n_seen < self.n_samples:
            object.__setattr__(self, "n_seen", self.n_samples)

    @property
    def n_samples(self) -> int:
        """Calibration samples that were used."""
        return int(np.max(self.tail.n + self.tail.left_out))

    def __repr__(self) -> str:
        status = self.tail.status
        states = ", ".join(f"{np.count_nonzero(status == s):,} {s.name}" for s in FitStatus if np.any(status == s))
        begins = f"tails of {int(np.max(self.tail.n_excess)):,} excesses"
        if self.quantile is not None:
            begins = f"threshold at the {self.quantile:g} quantile"
        apart = int(np.count_nonzero(self.tail.left_out))
        without = f"; gross outliers left out of {counted(apart, 'unit')}" if apart else ""
        return (
            f"Reference({len(self.units):,} units, {self.n_samples:,} of {self.n_seen:,} samples, "
            f"{begins}: {states}{without})"
        )

    def rank(
        self,
        profile: ArrayLike,
        by: str = "impact",
        *,
        combine: str | None = None,
        correct: ArrayLike | None = None,
        law: str = "predictive",
        rng: np.random.Generator | int | None = None,
    ) -> UnitRanking:
        """Rank the units: by default by how large their saliency is, times how improbable, largest first.

        The published protocol (Wang & Sato 2023) is ``by="pot", combine="mean-rank"``, on mean absolute gradients.

        Parameters
        ----------
        profile : array_like, shape (units,) or (n, units)
            Saliency of one sample, or of a set of mistakes that are combined into one ranking.
        by : str
            ``"impact"``, ``"pot"``, ``"zscore"``, ``"excess"``, ``"spot-script"``, ``"gradient"`` or ``"random"``; see
            `evtkit.Ranking`. Ties and units without a fitted tail are treated as there.
        combine : str, optional
            How n > 1 samples become one ranking. Ties keep the order of the units. By default ``"mean"`` where the
            scores have a mean, that is, by ``"impact"``, ``"gradient"``, ``"zscore"`` and ``"excess"``; for the others
            ``"mean-rank"``.

            ``"mean"``
                by the mean score, for the four. The p-value is that of so many exceedances of the threshold if mistakes
                were like the calibration samples (binomial).
            ``"mean-rank"``
                by the mean place over the samples' own rankings; ``score`` is the mean share of the units that it
                outranks. The p-value is that of so small a mean place if no unit stood out, in the normal approximation
                (conservative for few samples). No single sample can decide it, however small its p-value.
            ``"fisher"``, ``"harmonic"``, ``"cauchy"``
                for ``by="pot"``: by the combined p-value, see `combine_p_values`; ``score`` is −log p. A value at or
                below the threshold, of which the reference only knows that its probability lies between N_u/n and 1,
                counts as the middle of the two.
            ``"exceedance"``
                for ``by="pot"``: by the share of the samples in which the unit exceeds its threshold, minus that share
                among ``correct`` samples (Fisher's exact test gives the p-value) or, without them, in calibration
                (binomial test).
            ``"each"``
                not combined: n rankings, every array with a leading axis.
        correct : array_like, shape (m, units), optional
            Profiles of samples the network gets right, for ``combine="exceedance"``.
        law : {"predictive", "plug-in"}
            Whose probabilities, as in `evtkit.Tail.logsf`; "plug-in" ranks as Wang & Sato (2023) do.
        rng : numpy.random.Generator or int
            For ``by="random"``.

        Returns
        -------
        UnitRanking

        Raises
        ------
        ValueError
            If a profile has the wrong shape or is not finite, or an argument is unknown or does not go with another.
        """
        values = self._profiles(profile, "profile")
        others = None if correct is None else self._profiles(correct, "correct profiles")
        combine = usual_combine(by) if combine is None else combine
        if combine not in COMBINE:
            raise ValueError(f"combine must be one of {', '.join(map(repr, COMBINE))}, got {combine!r}")
        if np.ndim(profile) == 1 or (len(values) == 1 and combine not in ("each", "exceedance")):
            return UnitRanking.of(self.tail.rank(values[0], by, law=law, rng=rng), self.units)
        return rank_set(self.tail, self.units, values, by, combine, correct=others, law=law, rng=rng)

    def compare_families(self) -> FamilyComparison:
        """How well the excesses of the units follow the GPD, and three families beside it; see `compare_families`."""
        from evtkit.families import compare_tails

        return compare_tails(self.tail, names=self.units.names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one .npz file, atomically; `Reference.load` restores it bit for bit, and executes nothing."""
        arrays = {f"units.{part.name}": getattr(self.units, part.name) for part in fields(Units)}
        words = {}
        for part in fields(Tail):
            value = getattr(self.tail, part.name)
            if isinstance(value, np.ndarray):
                arrays[f"tail.{part.name}"] = value
            elif value is not None:
                words[part.name] = value
        kept = {"mistakes": self.mistakes, "activations": self.activations}
        arrays |= {name: array for name, array in kept.items() if array is not None}
        apart = ("tail", "units", *kept)
        own = {part.name: getattr(self, part.name) for part in fields(self) if part.name not in apart}
        write_arrays(path, "Reference", arrays, own | {"tail": words})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Reference:
        """Read what `save` wrote. Raises ValueError if the file is anything else, damaged or contradicts itself."""
        arrays, own = read_arrays(path, "Reference", check_reference)
        parts = {
            kind: {name.partition(".")[2]: a for name, a in arrays.items() if name.startswith(kind)}
            for kind in ("tail.", "units.")
        }
        own |= {name: arrays.get(name) for name in ("mistakes", "activations")}
        return cls(Tail(**parts["tail."], **own.pop("tail")), Units(**parts["units."]), **own)

    def _profiles(self, profile: ArrayLike, name: str) -> NDArray[Any]:
        values = real_array(profile, name)
        if values.ndim not in (1, 2) or values.shape[-1] != len(self.units) or values.size == 0:
            raise ValueError(
                f"{name} must have shape ({len(self.units)},) or (n, {len(self.units)}), got {values.shape}"
            )
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} must be finite, got NaN or inf")
        return normalized(np.atleast_2d(values), self.normalize)
