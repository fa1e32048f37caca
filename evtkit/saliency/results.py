"""RepairResults: repair curves over k for every ranking, as a table and a picture."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit._common.files import write_atomic
from evtkit._common.results import Result
from evtkit._common.text import aligned

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from evtkit._common.types import Float

__all__ = ["METRICS", "RepairCurves", "RepairResults"]

METRICS = ("wrong", "true", "corrected", "collateral")


@dataclass(frozen=True, eq=False)
class RepairCurves:
    """What one way of repairing did to each sample, for every ranking and k.

    Attributes
    ----------
    k : ndarray of int, shape (ks,)
        How many of the first units were changed.
    wrong : ndarray of float64, shape (rankings, samples, ks)
        Change of the confidence in the class that was predicted, a mistake, before.
    true : ndarray of float64, shape (rankings, samples, ks)
        Change of the confidence in the true class.
    corrected : ndarray of float64, shape (rankings, samples, ks)
        1 where the true class is now predicted, else 0.
    collateral : ndarray of float64, shape (rankings, samples, ks)
        Share of the held-out samples, right before, that the repair for this one sample gets wrong; NaN at ks at which
        it was not measured.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate, evaluate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> results = evaluate(
    ...     net, reference, samples(100, seed=2), by=("impact", "random"), prune=(1,), tune=(), progress=False)
    >>> results.curves["prune"].corrected.shape == (2, len(results), 1)
    True
    """

    k: NDArray[np.int64]
    wrong: Float
    true: Float
    corrected: Float
    collateral: Float


@dataclass(frozen=True, eq=False, repr=False)
class RepairResults(Result):
    """Outcome of `evaluate`.

    Attributes
    ----------
    by : tuple of str
        The rankings compared.
    curves : mapping of str to RepairCurves
        One for each way of repairing: "prune", "tune" and perhaps "tune_equal".
    n_above : ndarray of int64, shape (samples,)
        How many units of each sample are truly above their threshold.
    wrong_before, true_before : ndarray of float64, shape (samples,)
        Confidence in the class predicted before, and in the true one.
    n_left_out : int
        Samples that were no mistakes, and so left out.
    n_held_out : int
        Held-out samples that were right before.
    n_boot, seed : int
        Bootstrap resamples of the samples, and the seed.
    settings : mapping
        ``step``: that of tuning.

    See Also
    --------
    evaluate : makes it.
    evtkit.plot.repair_curves : the picture.

    Examples
    --------
    >>> from evtkit.saliency import Batches, calibrate, evaluate
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> results = evaluate(
    ...     net, reference, samples(100, seed=2), by=("impact", "random"), prune=(1,), tune=(), progress=False)
    >>> results
    RepairResults(22 mistakes, 78 left out; prune by impact, random; 0 held-out samples)
    >>> print(results.table([1]))
    repair  by      k  wrong class  true class  corrected   95 % band  collateral  n(k)
    prune   impact  1      -20.3 %      +8.5 %      9.1 %  0.0 … 22.7                 8
    prune   random  1       -7.3 %      +2.8 %      4.5 %  0.0 … 13.6                 8
    """

    by: tuple[str, ...]
    curves: Mapping[str, RepairCurves]
    n_above: NDArray[np.int64]
    wrong_before: Float
    true_before: Float
    n_left_out: int = 0
    n_held_out: int = 0
    n_boot: int = 1000
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.n_above)

    def __repr__(self) -> str:
        return (
            f"RepairResults({len(self)} mistakes, {self.n_left_out} left out; {', '.join(self.curves)} by "
            f"{', '.join(self.by)}; {self.n_held_out} held-out samples)"
        )

    def _table(self) -> dict[str, NDArray[Any]]:
        return self.means

    @cached_property
    def means(self) -> dict[str, NDArray[Any]]:
        """Means over the samples with bootstrap bands, tidy: one row for each repair, ranking and k.

        Columns: ``repair``, ``by``, ``k``, ``n`` samples, ``n_k`` of them with at least k units above their threshold,
        and for each metric of `RepairCurves` its mean, e.g. ``wrong``, and the ends of its 95 % band, ``wrong_low`` and
        ``wrong_high``: percentiles of the mean over resampled samples, the same resamples for every row.
        """
        rng = np.random.default_rng(self.seed)
        n = len(self)
        weights = rng.multinomial(n, np.full(n, 1.0 / n), size=self.n_boot) / n
        parts: dict[str, list[NDArray[Any]]] = {}
        for repair, curves in self.curves.items():
            shape = (len(self.by), len(curves.k))
            above = np.count_nonzero(self.n_above[:, None] >= curves.k, axis=0)
            columns = {"repair": np.full(shape, repair), "by": np.broadcast_to(np.array(self.by)[:, None], shape)}
            columns |= {"k": np.broadcast_to(curves.k, shape), "n": np.full(shape, n)}
            columns |= {"n_k": np.broadcast_to(above, shape)}
            for metric in METRICS:
                values = getattr(curves, metric)
                means = np.einsum("bn,rnk->brk", weights, values, optimize=True)
                low, high = np.percentile(means, [2.5, 97.5], axis=0)
                columns |= {metric: values.mean(axis=1), f"{metric}_low": low, f"{metric}_high": high}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column.ravel())
        return {name: np.concatenate(columns) for name, columns in parts.items()}

    @cached_property
    def samples(self) -> dict[str, NDArray[Any]]:
        """Every single outcome, tidy: one row for each repair, ranking, sample and k."""
        parts: dict[str, list[NDArray[Any]]] = {}
        for repair, curves in self.curves.items():
            shape = curves.wrong.shape
            columns = {
                "repair": np.full(shape, repair),
                "by": np.broadcast_to(np.array(self.by)[:, None, None], shape),
                "sample": np.broadcast_to(np.arange(len(self))[:, None], shape),
                "k": np.broadcast_to(curves.k, shape),
                "n_above": np.broadcast_to(self.n_above[:, None], shape),
                "wrong_before": np.broadcast_to(self.wrong_before[:, None], shape),
                "true_before": np.broadcast_to(self.true_before[:, None], shape),
            } | {metric: getattr(curves, metric) for metric in METRICS}
            for name, column in columns.items():
                parts.setdefault(name, []).append(column.ravel())
        return {name: np.concatenate(columns) for name, columns in parts.items()}

    def difference(
        self, first: str, second: str, metric: str = "corrected", repair: str = "tune", k: int = 25
    ) -> tuple[float, float, float]:
        """How much more one ranking achieves than another on the same samples: mean difference and its 95 % band.

        Parameters
        ----------
        first, second : str
            Rankings, of `by`.
        metric : {"wrong", "true", "corrected", "collateral"}
            What to compare, see `RepairCurves`.
        repair : str
            "prune", "tune" or "tune_equal".
        k : int
            At how many units.

        Returns
        -------
        mean, low, high : float
            A band that spans 0 is no difference shown.

        Raises
        ------
        ValueError
            If any of the five is not among the results.
        """
        if repair not in self.curves or first not in self.by or second not in self.by or metric not in METRICS:
            raise ValueError(
                f"what is compared must be in {self!r}, metric one of {METRICS}, got {(repair, first, second, metric)}"
            )
        curves = self.curves[repair]
        place = np.flatnonzero(curves.k == k)
        if not place.size:
            raise ValueError(f"k must be one of {curves.k.tolist()}, got {k}")
        values = getattr(curves, metric)[..., place[0]]
        gap = values[self.by.index(first)] - values[self.by.index(second)]
        weights = np.random.default_rng(self.seed).multinomial(
            len(self), np.full(len(self), 1 / len(self)), self.n_boot
        )
        low, high = np.percentile(weights @ gap / len(self), [2.5, 97.5])
        return float(gap.mean()), float(low), float(high)

    def table(self, k: Sequence[int] = (5, 25)) -> str:
        """Means at some k as text: changes of confidence and shares in percent, for each repair and ranking."""
        rows = [("repair", "by", "k", "wrong class", "true class", "corrected", "95 % band", "collateral", "n(k)")]
        s = self.means
        for i in range(len(s["k"])):
            if int(s["k"][i]) not in k:
                continue
            low, high = 100 * s["corrected_low"][i], 100 * s["corrected_high"][i]
            collateral = "" if np.isnan(s["collateral"][i]) else f"{100 * s['collateral'][i]:.2f} %"
            rows.append((
                str(s["repair"][i]), str(s["by"][i]), f"{s['k'][i]}", f"{100 * s['wrong'][i]:+.1f} %",
                f"{100 * s['true'][i]:+.1f} %", f"{100 * s['corrected'][i]:.1f} %", f"{low:.1f} … {high:.1f}",
                collateral, f"{s['n_k'][i]}",
            ))  # fmt: skip
        return aligned(rows, "<<>>>>>>>")

    def to_csv(self, path: str | os.PathLike[str], what: str = "means") -> Path:
        """Write the table to a CSV file, atomically; empty cells are what was not measured.

        Parameters
        ----------
        path : path
            The file.
        what : {"means", "samples"}
            Means with bands, or every single outcome.
        """
        if what not in ("means", "samples"):
            raise ValueError(f"what must be 'means' or 'samples', got {what!r}")
        columns: dict[str, NDArray[Any]] = getattr(self, what)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            writer.writerow("" if isinstance(cell, float) and np.isnan(cell) else cell for cell in row)
        content = text.getvalue().encode()

        def write(stream: BinaryIO) -> None:
            stream.write(content)

        return write_atomic(path, write)
