"""Sections: what a report says of a calibration, a ranking, a repair and the fits; words, tables and pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from evtkit._common.text import counted, probability
from evtkit.families import FAMILIES
from evtkit.fit import FitStatus
from evtkit.reports.page import Part, Row, Section, Table, picture

if TYPE_CHECKING:
    from evtkit.families import FamilyComparison
    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.results import RepairResults

__all__ = [
    "calibration",
    "caveats",
    "enriched",
    "facts",
    "fitted",
    "lead",
    "ranked",
    "repaired",
]

_SALIENCY = {
    "taylor": "Σ w · ∂loss/∂w over a unit's weights: to first order, by how much the loss would fall without it",
    "mean-abs": "mean |∂loss/∂w| over a unit's weights",
    "l2": "length of a unit's gradient",
}


def _percent(share: float, digits: int = 1) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.{digits}f} %"


def lead(reference: Reference, ranking: UnitRanking | None) -> str:
    """What the report is about, in a sentence."""
    learned = f"The usual saliency of {len(reference.units):,} units was learned from {reference.n_samples:,} samples"
    if ranking is None:
        return f"{learned}."
    if ranking.n_samples == 1:
        return f"{learned}; one sample is held against it."
    return f"{learned}; {ranking.n_samples:,} mistakes are held against it, and combined into one ranking."


def facts(reference: Reference, ranking: UnitRanking | None, results: RepairResults | None) -> list[tuple[str, str]]:
    """The few numbers to see first, each with its label."""
    tail = reference.tail
    shown = [
        (f"{len(reference.units):,}", "units"),
        (f"{reference.n_samples:,}", "calibration samples"),
        (f"{int(np.count_nonzero(tail.is_fitted)):,}", "units with a fitted tail"),
        (f"{int(np.max(tail.n_excess)):,}", "excesses a unit, at most"),
    ]
    if ranking is not None:
        above = "units above the threshold" if ranking.n_samples == 1 else "units above oftener than usual"
        shown.append((f"{ranking.n_above:,}", above))
    if results is not None:
        shown.append((f"{len(results):,}", "mistakes repaired one by one"))
    return shown


def calibration(reference: Reference) -> Section:
    """Settings, coverage, and what became of the fits."""
    tail = reference.tail
    used = {"all": "all of them", "correct": "those that the network gets right"}[reference.which]
    begins = (
        "by the number of samples" if reference.quantile is None else f"each unit's {reference.quantile:g} quantile"
    )
    rows = [
        ("Units", repr(reference.units)),
        ("Coverage", reference.coverage or "not recorded"),
        ("Saliency", _SALIENCY.get(reference.reduction, reference.reduction)),
        ("Each profile", "as it is" if reference.normalize is None else "divided by its mean size over the units"),
        ("Samples", f"{reference.n_seen:,} seen; {reference.n_samples:,} used: {used}"),
        ("Threshold", f"{begins}; {int(np.max(tail.n_excess)):,} excesses at most"),
        ("Tails", ", ".join(f"{np.count_nonzero(tail.status == s):,} {s.name}" for s in FitStatus
                            if np.any(tail.status == s))),
    ]  # fmt: skip
    if np.any(tail.left_out):
        apart = counted(int(np.count_nonzero(tail.left_out)), "unit")
        rows.append(("Left out", f"gross outliers of {apart}, {int(np.max(tail.left_out)):,} samples at most"))
    if np.any(tail.is_fitted):
        low, middle, high = np.nanpercentile(tail.xi[tail.is_fitted], [5, 50, 95])
        spread = f"median {middle:.2f}; 90 % of the units in {low:.2f} … {high:.2f}".replace("-", "−")
        rows.append(("Shape ξ", spread))
    table = Table(("", ""), [Row(row) for row in rows], text=(0, 1))
    return Section("What was calibrated", [Part("table", table)])


def ranked(ranking: UnitRanking, k: int) -> Section:
    """The depth picture and the first k units."""
    from evtkit import plot

    several = ranking.exceedance is not None
    value, above = ("mean saliency", "above in") if several else ("saliency", "threshold")
    by, _, combine = ranking.by.partition(", ")
    rows = []
    for place, unit in enumerate(ranking.top(k), start=1):
        share = f"{100 * ranking.exceedance[unit]:.0f} %" if ranking.exceedance is not None else (
            "above" if ranking.above[unit] else "not above")  # fmt: skip
        name, stage = str(ranking.units.names[unit]), str(ranking.units.stage[unit])
        p = probability(ranking.log_sf[unit])
        cells = (f"{place}", name, stage, *map(_number, (ranking.value[unit], ranking.score[unit])), p,
                 share if ranking.fitted[unit] else "no fit")  # fmt: skip
        rows.append(Row(cells, "" if ranking.above[unit] else "quiet"))
    meaning = " Impact is saliency times its surprise, −log of its probability." if by == "impact" else ""
    if several:
        chance = " p is the probability of so many if mistakes were like the calibration samples."
        how = (
            f"By {ranking.by} over {ranking.n_samples:,} mistakes.{meaning} “Above in” is the share of the mistakes in "
            "which a unit exceeds its threshold; grey where that is no larger than in calibration."
            + (chance if combine == "mean" else "")
        )
    else:
        how = f"By {by}.{meaning} p is the probability of so large a saliency. Grey: at or below the threshold."
    caption = (
        f"Every unit, from the first layer to the last; the height is the score that ranks. Marked: the first {k}."
    )
    shown = picture(plot.unit_depth(ranking, k).figure, caption)
    table = Table(("", "unit", "stage", value, "score", "p", above), rows, text=(1, 2), code=(1,))
    return Section("The most salient units", [Part("text", how), shown, Part("table", table)])


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−") if np.isfinite(value) else "–"


def enriched(ranking: UnitRanking, k: int) -> Section:
    """In which stages the first k units are."""
    found = ranking.enrichment(k)
    rows = [
        Row((group, f"{units:,}", f"{top}", f"{ratio:.2f}", f"{p:.2g}"), "" if top else "quiet")
        for group, units, top, ratio, p in zip(
            found.group, found.n_units, found.n_top, found.ratio, found.p_value, strict=True
        )
    ]
    text = (
        f"A stage's share of the first {k} units, divided by its share of all units: 1 is what chance gives. "
        "p is the probability of at least as many by chance."
    )
    table = Table(("stage", "units", f"in first {k}", "enrichment", "p"), rows, code=(0,))
    return Section("Where they are", [Part("text", text), Part("table", table)])


def repaired(results: RepairResults) -> Section:
    """What changing units did: a table at two k, and the curves."""
    from evtkit import plot

    s = results.means
    names = {"prune": "set to zero", "tune": "one gradient step", "tune_equal": "step of equal length"}
    rows, last = [], ""
    for i, repair in enumerate(s["repair"].tolist()):
        grid = results.curves[repair].k
        if int(s["k"][i]) not in {int(grid[np.argmin(np.abs(grid - k))]) for k in (5, 25)}:
            continue
        low, high = _percent(s["corrected_low"][i]), _percent(s["corrected_high"][i])
        what = names[repair] if repair != last else ""
        cells = (what, str(s["by"][i]), f"{s['k'][i]}", _signed(s["wrong"][i]), _signed(s["true"][i]),
                 _percent(s["corrected"][i]), f"{low} … {high}", _percent(s["collateral"][i], 2))  # fmt: skip
        rows.append(Row(cells, "group" if repair != last and last else ""))
        last = repair
    head = ("repair", "ranking", "k", "wrong class", "true class", "corrected", "95 % band", "held-out lost")
    text = (
        f"Each of {len(results):,} mistakes was repaired alone, by changing its own first k units: setting them to "
        f"zero, or one gradient step of {results.settings.get('step', 0):g} on its own loss. Changes are of the "
        "softmax confidence, in percentage points; corrected is the share now classified right"
        + (f"; held-out lost: the share of {results.n_held_out:,} samples right before that the change gets wrong."
           if results.n_held_out else ".")
    )  # fmt: skip
    caption = f"Means over the mistakes; band of 95 % for {results.by[0]}, from a bootstrap."
    shown = picture(plot.repair_curves(results), caption)
    return Section("Repair", [Part("text", text), Part("table", Table(head, rows, text=(0, 1))), shown])


def _signed(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−")


def fitted(families: FamilyComparison) -> Section:
    """How well the tails fit."""
    from evtkit import plot

    s = families.by_family
    rows = [
        Row((name, _percent(s["best"][i]), f"{s['loglik'][i]:+.4f}".replace("-", "−"), f"{s['a2'][i]:.2f}",
              _percent(s["closest"][i])))
        for i, name in enumerate(FAMILIES)
    ]  # fmt: skip
    text = (
        f"Five families fitted to the excesses of {int(np.count_nonzero(families.comparable)):,} units by maximum "
        f"likelihood. The generalised Pareto distribution is rejected at 5 % for {_percent(families.rejected)} of the "
        "units; 5 % would be expected if it were exactly right everywhere."
    )
    table = Table(("family", "best AIC", "log-likelihood per excess, less the GPD's", "median A²", "smallest A²"), rows)
    shown = picture(
        plot.families(families), "Left: to the right of 0 a family describes a unit's excesses better than the GPD."
    )
    return Section("Do the tails fit?", [Part("text", text), Part("table", table), shown])


def caveats(reference: Reference, ranking: UnitRanking | None, results: RepairResults | None, k: int) -> list[str]:
    """What a reader should bear in mind, of what applies here."""
    last = ranking is not None and ranking.by.partition(",")[0] in ("pot", "spot-script", "excess")
    unfitted = len(reference.units) - int(np.count_nonzero(reference.tail.is_fitted))
    said = [
        "A unit that is salient for a mistake is one on which the loss depends much, or unusually; that it caused the "
        "mistake is not thereby shown. What a repair does is the test.",
        "Mistakes should not be among the calibration samples.",
    ]
    if unfitted:
        said.append(
            f"{unfitted:,} units have no fitted tail (their saliency never or hardly varied in calibration). "
            f"{'They are ranked last, and nothing' if last else 'Nothing'} is claimed of them: their p is 1."
        )
    if ranking is not None and ranking.n_samples == 1 and ranking.n_above < k:
        said.append(
            f"Only {ranking.n_above:,} units are above their threshold; the others listed are not out of the ordinary."
        )
    if ranking is not None:
        listed = ranking.top(k).tolist()
        tail = replace(reference.tail[listed], names=reference.units.names[listed])
        said += [f"Of the units listed: {note}." for note in tail.notes]
    if ranking is not None and ranking.n_samples > 1:
        said.append("Combined p-values take the mistakes as independent; similar mistakes make them too small.")
    if results is not None:
        said.append(
            "Setting a convolution's filter to zero leaves the shift of a batch normalisation behind it: the channel "
            "becomes a constant, not nothing."
        )
        if "tune_equal" not in results.curves:
            said.append(
                "At equal step a ranking that prefers large gradients changes more weights' length than others."
            )
        if not results.n_held_out:
            said.append("What the repairs cost elsewhere was not measured: no held-out samples were given.")
    return said
