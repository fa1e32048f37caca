"""UnitRanking: a network's units in the order in which they stand out, with names, layers and stages."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.results import Result
from evtkit._common.text import aligned, probability
from evtkit.ranking import Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.saliency.units import Units

__all__ = ["Enrichment", "UnitRanking"]


@dataclass(frozen=True, eq=False, repr=False)
class UnitRanking(Ranking):
    """A ranking of units; made by `Reference.rank`. What `Ranking` has, and the units.

    For one sample every array is as in `Ranking`. For a set of samples combined into one ranking ``value`` is the mean
    saliency, ``above`` says where the unit exceeds its threshold in a larger share of the samples than it did in
    calibration, and ``score``, ``log_sf`` and ``p_value`` depend on how the set was combined, see `Reference.rank`.

    Attributes
    ----------
    units : Units
        Table of the units, in the order of ``score`` and ``p_value``.
    exceedance : ndarray of float64, shape (units,), or None
        For a set, the share of its samples in which each unit exceeds its threshold.
    n_samples : int
        How many samples were combined; 1 for a single one.

    See Also
    --------
    Reference.rank : makes it.
    suspects : which unit is at fault, or none.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> ranking = reference.rank(net.profile(x[:20], y[:20]))
    >>> ranking.n_samples, ranking.top(2)
    (20, array([3, 5]))
    >>> print(ranking.table(2))
       unit            mean value  impact, mean      p  above in
    1  layer1.conv[3]       1.832         6.016  0.642       5 %
    2  layer1.conv[5]       1.833         5.782  0.264      10 %
    """

    units: Units = field(kw_only=True)
    exceedance: Float | None = field(kw_only=True, default=None)
    n_samples: int = field(kw_only=True, default=1)

    @classmethod
    def of(cls, ranking: Ranking, units: Units) -> UnitRanking:
        """A ranking of channels as one of the units that the channels are."""
        values = {part.name: getattr(ranking, part.name) for part in fields(Ranking)}
        return cls(**(values | {"names": units.names}), units=units)

    def __getitem__(self, query: int) -> UnitRanking:
        """One sample's ranking, of several ranked apart."""
        return UnitRanking.of(super().__getitem__(query), self.units)

    def __repr__(self) -> str:
        n_units, unfitted = self.order.shape[-1], int(np.count_nonzero(~self.fitted))
        tail = f"{unfitted} without a fitted tail"
        if self.order.ndim > 1:
            return f"UnitRanking by {self.by} of {n_units:,} units for {len(self.order)} samples, {tail}"
        of = f" over {self.n_samples} samples" if self.n_samples > 1 else ""
        more = f"\n   … {n_units - 5:,} more" if n_units > 5 else ""
        above = f"{self.n_above:,} above their threshold"
        if self.n_samples > 1:
            above = f"{self.n_above:,} above it oftener than in calibration"
        return f"UnitRanking by {self.by}{of}, of {n_units:,} units: {above}, {tail}\n{self.table(5)}{more}"

    def table(self, k: int = 10) -> str:
        """The first k units as text; for a set of samples with the combined p-value and the share of them above."""
        if self.exceedance is None:
            return super().table(k)
        rows = [("", "unit", "mean value", self.by, "p", "above in")]
        for place, unit in enumerate(self.top(min(k, len(self))), start=1):
            share = f"{100 * self.exceedance[unit]:.0f} %" if self.fitted[unit] else "no fit"
            rows.append((f"{place}", str(self.units.names[unit]), f"{self.value[unit]:.4g}", f"{self.score[unit]:.4g}",
                         probability(self.log_sf[unit]), share))  # fmt: skip
        return aligned(rows, "><>>>>")

    def enrichment(self, k: int = 25, by: str = "stage") -> Enrichment:
        """How much oftener each stage, layer or kind appears among the first k units than among all.

        Parameters
        ----------
        k : int
            How many units of the order to count.
        by : {"stage", "module", "kind"}
            The column of `Units` to group by.

        Returns
        -------
        Enrichment

        Raises
        ------
        ValueError
            If k is not in [1, units], `by` is no such column, or the ranking is of several samples apart.

        Examples
        --------
        >>> import numpy as np
        >>> from evtkit import fit_tail
        >>> from evtkit.saliency.units import Units
        >>> units = Units([*"aab"], ["filters"] * 3, [0, 1, 0], [9] * 3, [*"aab"])
        >>> tail = fit_tail(np.random.default_rng(0).exponential(size=(200, 3)), quantile=0.9)
        >>> print(UnitRanking.of(tail.rank([1.0, 2.0, 99.0]), units).enrichment(1))
        stage  units  in top 1  enrichment  P(≥)
        a          2         0           0     1
        b          1         1           3  0.333
        """
        self._single("enrichment")
        if by not in ("stage", "module", "kind"):
            raise ValueError(f"by must be 'stage', 'module' or 'kind', got {by!r}")
        n_units = len(self.units)
        if not 1 <= k <= n_units:
            raise ValueError(f"k must lie in [1, {n_units}], got {k}")
        column = getattr(self.units, by)
        groups = list(dict.fromkeys(column.tolist()))  # in order of depth
        position = {group: i for i, group in enumerate(groups)}
        member = np.array([position[name] for name in column.tolist()])
        n_all = np.bincount(member, minlength=len(groups))
        n_top = np.bincount(member[self.top(k)], minlength=len(groups))
        from scipy.stats import hypergeom

        chance = np.minimum(hypergeom.sf(n_top - 1, n_units, n_all, k), 1.0)
        return Enrichment(by, k, tuple(groups), n_all, n_top, (n_top / k) / (n_all / n_units), chance)

    def _single(self, what: str) -> None:
        if self.order.ndim > 1:
            raise ValueError(f"{what} needs one ranking, got {len(self.order)} samples ranked apart; index them")


@dataclass(frozen=True, eq=False, repr=False)
class Enrichment(Result):
    """Share of each group among the first k units, divided by its share of all units.

    Attributes
    ----------
    by : str
        What the units are grouped by.
    k : int
        How many of the first units were counted.
    group : tuple of str
        The groups, in order of depth.
    n_units, n_top : ndarray of int, shape (groups,)
        Units of each group, and those among the first k.
    ratio : ndarray of float64, shape (groups,)
        (n_top/k) / (n_units/all units): 1 is no enrichment.
    p_value : ndarray of float64, shape (groups,)
        Probability of at least as many if the first k were drawn at random (hypergeometric).

    See Also
    --------
    UnitRanking.enrichment : makes it.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> print(reference.rank(net.profile(x[:20], y[:20])).enrichment(5))
    stage   units  in top 5  enrichment   P(≥)
    layer1      8         4         1.2  0.424
    fc          4         1         0.6  0.929
    """

    by: str
    k: int
    group: tuple[str, ...]
    n_units: NDArray[np.int64]
    n_top: NDArray[np.int64]
    ratio: Float
    p_value: Float

    def _table(self) -> dict[str, NDArray[Any]]:
        columns = {"n_units": self.n_units, "n_top": self.n_top, "ratio": self.ratio, "p_value": self.p_value}
        return {self.by: np.array(self.group), **columns}

    def __str__(self) -> str:
        rows = [(self.by, "units", f"in top {self.k}", "enrichment", "P(≥)")]
        rows += [
            (name, f"{units}", f"{top}", f"{ratio:.3g}", f"{p:.3g}")
            for name, units, top, ratio, p in zip(
                self.group, self.n_units, self.n_top, self.ratio, self.p_value, strict=True
            )
        ]
        return aligned(rows, "<>>>>")
