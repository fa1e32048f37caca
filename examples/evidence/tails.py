"""Does a generalised Pareto distribution describe the tails of gradients?

    python examples/evidence/tails.py --data DIR --output DIR --setting cifar_resnet56

Of the calibration profiles, for both reductions, as they are and divided by their mean size, at four thresholds: fits
of five families to every unit's excesses (`evtkit.saliency.compare_families`), over all units, stages and layers. The
power of a test grows with the number of excesses, so there is a second set of rows for 400 of the samples, which
compares settings. What matters to p-values, whatever a test says, is ``held_out_p``: how often one half of the samples
is less probable than p under the tails of the other half, over p, in the mean over units and both ways; 1 if the tails
are right. ``predictive_p`` likewise, for the probabilities that allow for the uncertainty of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import command
import numpy as np
from settings import REDUCTIONS, Setting
from tables import write

from evtkit import fit_tail
from evtkit.families import FAMILIES, FamilyComparison
from evtkit.saliency import Reference
from evtkit.saliency.reference import NORMALIZE, normalized

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUANTILES = (0.80, 0.85, 0.90, 0.95)
FEW = 400
PROBABILITIES = (1e-2, 1e-3)
HEADER = (
    "setting", "reduction", "normalize", "samples", "quantile", "level", "group", "units", "unfitted", "boundary",
    "excesses", "rejected", *(f"best_{family}" for family in FAMILIES),
    *(f"gap_{family}" for family in FAMILIES[1:]), *(f"a2_{family}" for family in FAMILIES),
    "xi_05", "xi_50", "xi_95", *(f"{how}_{p:g}" for how in ("held_out", "predictive") for p in PROBABILITIES),
)  # fmt: skip
"""Columns. ``rejected``: share of the units with a p-value for which the GPD is rejected at 5 % (Anderson–Darling).
``best_f``: share of the comparable units whose AIC is smallest; ``gap_f``: mean log-likelihood per excess, less the
GPD's; ``a2_f``: median A². ``boundary``: units with ξ = −1."""


def fitted(setting: Setting, usual: np.ndarray, reduction: str, normalize: str | None, quantile: float) -> Reference:
    """The reference that `calibrate` would give, from profiles."""
    tail = fit_tail(normalized(usual, normalize), quantile=quantile, keep_sample=False)
    return Reference(tail, setting.nets[reduction].units, quantile, "all", normalize, reduction, len(usual))


@dataclass
class Found:
    """What one threshold gives, unit by unit."""

    reference: Reference
    families: FamilyComparison
    held_out: np.ndarray  # (2 · probabilities, units), NaN without a fit

    @classmethod
    def of(cls, setting: Setting, usual: np.ndarray, reduction: str, normalize: str | None, quantile: float) -> Found:
        """Fit to the samples, and, for `held_out`, to each half of them."""
        order = np.random.default_rng(0).permutation(len(usual))
        halves = [usual[order[: len(order) // 2]], usual[order[len(order) // 2 :]]]
        ratios = []
        for one, other in (halves, halves[::-1]):
            tail = fitted(setting, one, reduction, normalize, quantile).tail
            values = normalized(other, normalize)
            log_p = tail.logsf(values)
            beyond = [values > tail.isf(p, law="plug-in") for p in PROBABILITIES] + [
                log_p <= np.log(p) for p in PROBABILITIES
            ]
            shares = np.array([np.mean(b, axis=0) for b in beyond]) / np.array(2 * PROBABILITIES)[:, None]
            ratios.append(np.where(tail.is_fitted, shares, np.nan))
        reference = fitted(setting, usual, reduction, normalize, quantile)
        return cls(reference, reference.goodness(), np.mean(ratios, axis=0))

    def row(self, some: np.ndarray) -> list[Any]:
        """Columns from ``units`` on, over some of them."""
        tail, families = self.reference.tail, self.families
        known, p = some & tail.is_fitted, families.p_gpd[some]
        alike = some & families.comparable
        counts = [int(np.sum(some)), int(np.sum(some & ~tail.is_fitted)), int(np.sum(known & (tail.xi <= -1.0)))]
        if not np.any(alike):
            return [*counts, 0.0, *[float("nan")] * (len(HEADER) - HEADER.index("rejected"))]
        best = np.bincount(families.best[alike], minlength=len(FAMILIES)) / np.sum(alike)
        gap = np.mean(families.loglik[1:, alike] - families.loglik[0, alike], axis=1)
        tested = p[~np.isnan(p)]
        rejected = float(np.mean(tested < 0.05)) if len(tested) else float("nan")
        return [
            *counts, float(np.median(families.n[known])), rejected,
            *best, *gap, *np.median(families.a2[:, alike], axis=1), *np.quantile(tail.xi[known], [0.05, 0.5, 0.95]),
            *np.nanmean(self.held_out[:, known], axis=1),
        ]  # fmt: skip


def groups(reference: Reference) -> Iterator[tuple[str, str, np.ndarray]]:
    """All units, then those of each stage, then of each layer."""
    units = reference.units
    yield "all", "all", np.ones(len(units), dtype=bool)
    for level, column in (("stage", units.stage), ("layer", units.module)):
        for name in dict.fromkeys(column.tolist()):
            yield level, name, column == name


def tails(setting: Setting, path: Path) -> None:
    rows = []
    for reduction in REDUCTIONS:
        whole = setting.usual(reduction)
        few = whole[np.sort(np.random.default_rng(1).permutation(len(whole))[:FEW])]
        for normalize in NORMALIZE:
            for usual in [whole] if len(few) == len(whole) else [whole, few]:
                for quantile in QUANTILES:
                    found = Found.of(setting, usual, reduction, normalize, quantile)
                    if quantile == 0.9:
                        print(f"{setting.name} {reduction} {normalize} {len(usual)}: {found.families!r}", flush=True)
                    head = (setting.name, reduction, normalize or "none", len(usual), quantile)
                    rows += [(*head, level, name, *found.row(some)) for level, name, some in groups(found.reference)]
    write(path, HEADER, rows)


if __name__ == "__main__":
    options = command.parsed(command.parser(__doc__))
    path = options.output / "tails" / f"{options.setting}.csv"
    if not path.exists():
        tails(command.chosen(options), path)
