"""Reporting: one HTML page that holds everything, pictures included, and needs nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

import evtkit
from evtkit._files import write_atomic
from evtkit.fit import FitStatus
from evtkit.ranking import _probability
from evtkit.saliency.families import FAMILIES

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from evtkit.saliency.families import FamilyComparison
    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.results import Results

__all__ = ["report"]

_DPI = 160


def report(
    path: str | os.PathLike[str],
    reference: Reference,
    *,
    ranking: UnitRanking | None = None,
    results: Results | None = None,
    families: FamilyComparison | None = None,
    pictures: Sequence[tuple[Any, str]] = (),
    notes: Sequence[str] = (),
    title: str = "Which parts of the network are behind its mistakes?",
    k: int = 25,
) -> Path:
    """Write a report as one self-contained HTML file: it opens in any browser, without a network.

    Needs Jinja and Matplotlib: ``pip install 'evtkit[report]'``.

    Parameters
    ----------
    path : path
        The file; written atomically.
    reference : Reference
        What was calibrated.
    ranking : UnitRanking, optional
        Of one sample or of a set of mistakes: adds its table, the depth picture and the enrichment of stages.
    results : Results, optional
        From `evaluate`: adds the repair table and curves.
    families : FamilyComparison, optional
        From `Reference.goodness`: adds how well the tails fit.
    pictures : sequence of (matplotlib Figure, str)
        Further pictures with captions.
    notes : sequence of str
        Further caveats. Text only; whatever looks like HTML is shown as it is.
    title : str
        The heading.
    k : int
        How many units to list.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the ranking is of other units, or of several samples apart, or the folder does not exist.
    ImportError
        If Jinja or Matplotlib is not installed.
    """
    if ranking is not None and (ranking.order.ndim > 1 or ranking.units != reference.units):
        raise ValueError(f"got {ranking!r}, wanted one ranking of the reference's units")
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError("a report needs Jinja; install it with: pip install 'evtkit[report]'") from error

    count = min(k, len(reference.units))
    sections = [_calibration(reference)]
    if ranking is not None:
        sections += [_ranking(ranking, count), _enrichment(ranking, count)]
    if results is not None:
        sections.append(_repair(results))
    if families is not None:
        sections.append(_families(families))
    if pictures:
        sections.append(_Section("Pictures", [_picture(figure, caption) for figure, caption in pictures]))
    sections.append(_Section("Mind", [_Part("list", [*_caveats(reference, ranking, results, count), *notes])]))
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(
        files("evtkit.saliency").joinpath("report.html").read_text(encoding="utf-8")
    )
    text = page.render(
        title=title, lead=_lead(reference, ranking), facts=_facts(reference, ranking, results), sections=sections,
        version=evtkit.__version__,
    )  # fmt: skip
    content = text.encode()

    def write(stream: BinaryIO) -> None:
        stream.write(content)

    return write_atomic(path, write)


@dataclass(frozen=True)
class _Part:
    """A paragraph ("text"), "list", "table" or "picture", and what is in it."""

    kind: str
    value: Any


@dataclass(frozen=True)
class _Section:
    title: str
    parts: list[_Part]


@dataclass(frozen=True)
class _Row:
    cells: Sequence[str]
    style: str = ""


@dataclass(frozen=True)
class _Table:
    """Cells as text; columns `text` stand to the left, columns `code` in the font of code."""

    head: Sequence[str]
    rows: list[_Row]
    text: tuple[int, ...] = (0,)
    code: tuple[int, ...] = field(default=())


def _picture(figure: Any, caption: str) -> _Part:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    png = base64.b64encode(stream.getvalue()).decode("ascii")
    return _Part("picture", {"png": png, "caption": caption, "width": round(96 * figure.get_figwidth())})


def _percent(share: float, digits: int = 1) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.{digits}f} %"


def _lead(reference: Reference, ranking: UnitRanking | None) -> str:
    learned = f"The usual saliency of {len(reference.units):,} units was learned from {reference.n_samples:,} samples"
    if ranking is None:
        return f"{learned}."
    if ranking.n_samples == 1:
        return f"{learned}; one sample is held against it."
    return f"{learned}; {ranking.n_samples:,} mistakes are held against it, and combined into one ranking."


def _facts(reference: Reference, ranking: UnitRanking | None, results: Results | None) -> list[tuple[str, str]]:
    tail = reference.tail
    facts = [
        (f"{len(reference.units):,}", "units"),
        (f"{reference.n_samples:,}", "calibration samples"),
        (f"{int(np.count_nonzero(tail.is_fitted)):,}", "units with a fitted tail"),
        (f"{reference.quantile:g}", "quantile of the threshold"),
    ]
    if ranking is not None:
        above = "units above the threshold" if ranking.n_samples == 1 else "units above oftener than usual"
        facts.append((f"{ranking.n_above:,}", above))
    if results is not None:
        facts.append((f"{len(results):,}", "mistakes repaired one by one"))
    return facts


def _calibration(reference: Reference) -> _Section:
    tail = reference.tail
    used = {"all": "all of them", "correct": "those that the network gets right"}[reference.which]
    rows = [
        ("Units", repr(reference.units)),
        ("Coverage", reference.coverage or "not recorded"),
        ("Saliency", {"mean-abs": "mean |∂loss/∂w| over a unit's weights", "l2": "length of a unit's gradient"}.get(
            reference.reduction, reference.reduction)),
        ("Each profile", "as it is" if reference.normalize is None else "divided by its mean over the units"),
        ("Samples", f"{reference.n_seen:,} seen; {reference.n_samples:,} used: {used}"),
        ("Threshold", f"each unit's {reference.quantile:g} quantile; {int(np.max(tail.n_excess)):,} excesses at most"),
        ("Tails", ", ".join(f"{np.count_nonzero(tail.status == s):,} {s.name}" for s in FitStatus
                            if np.any(tail.status == s))),
    ]  # fmt: skip
    if np.any(tail.is_fitted):
        low, middle, high = np.nanpercentile(tail.xi[tail.is_fitted], [5, 50, 95])
        rows.append(("Shape ξ", f"median {middle:.2f}; 90 % of the units in {low:.2f} … {high:.2f}"))
    table = _Table(("", ""), [_Row(row) for row in rows], text=(0, 1))
    return _Section("What was calibrated", [_Part("table", table)])


def _ranking(ranking: UnitRanking, k: int) -> _Section:
    several = ranking.exceedance is not None
    head = [
        "",
        "unit",
        "stage",
        "mean saliency" if several else "saliency",
        "p",
        "above in" if several else "threshold",
    ]
    rows = []
    for place, unit in enumerate(ranking.top(k), start=1):
        share = f"{100 * ranking.exceedance[unit]:.0f} %" if ranking.exceedance is not None else (
            "above" if ranking.above[unit] else "not above")  # fmt: skip
        cells = (f"{place}", str(ranking.units.names[unit]), str(ranking.units.stage[unit]), f"{ranking.value[unit]:.3g}",
                 _probability(ranking.log_sf[unit]), share if ranking.fitted[unit] else "no fit")  # fmt: skip
        rows.append(_Row(cells, "" if ranking.above[unit] else "quiet"))
    if several:
        how = (
            f"By {ranking.by} over {ranking.n_samples:,} mistakes. “Above in” is the share of the mistakes in which a unit "
            "exceeds its threshold."
        )
    else:
        how = f"By {ranking.by}; p is the probability of so large a saliency. Grey: at or below the threshold."
    picture = _picture(
        ranking.plot(k).figure, "Every unit, from the first layer to the last; higher is more improbable."
    )
    table = _Table(head, rows, text=(1, 2), code=(1,))
    return _Section("The most salient units", [_Part("text", how), picture, _Part("table", table)])


def _enrichment(ranking: UnitRanking, k: int) -> _Section:
    found = ranking.enrichment(k)
    rows = [
        _Row((group, f"{units:,}", f"{top}", f"{ratio:.2f}", f"{p:.2g}"), "" if top else "quiet")
        for group, units, top, ratio, p in zip(
            found.group, found.n_units, found.n_top, found.ratio, found.p_value, strict=True
        )
    ]
    text = (
        f"A stage's share of the first {k} units, divided by its share of all units: 1 is what chance gives. "
        "p is the probability of at least as many by chance."
    )
    table = _Table(("stage", "units", f"in first {k}", "enrichment", "p"), rows, code=(0,))
    return _Section("Where they are", [_Part("text", text), _Part("table", table)])


def _repair(results: Results) -> _Section:
    s = results.summary
    names = {"prune": "set to zero", "tune": "one gradient step", "tune_equal": "step of equal length"}
    rows, last = [], ""
    for i, repair in enumerate(s["repair"].tolist()):
        largest = int(results.curves[repair].k[-1])
        if int(s["k"][i]) not in {min(5, largest), min(25, largest)}:
            continue
        low, high = _percent(s["corrected_low"][i]), _percent(s["corrected_high"][i])
        cells = (names[repair], str(s["by"][i]), f"{s['k'][i]}", _signed(s["wrong"][i]), _signed(s["true"][i]),
                 _percent(s["corrected"][i]), f"{low} … {high}", _percent(s["collateral"][i], 2))  # fmt: skip
        rows.append(_Row(cells, "group" if repair != last and last else ""))
        last = repair
    head = ("repair", "ranking", "k", "wrong class", "true class", "corrected", "95 % band", "held-out lost")
    text = (
        f"Each of {len(results):,} mistakes was repaired alone, by changing its own first k units: setting them to zero, or "
        f"one gradient step of {results.settings.get('step', 0):g} on its own loss. Changes are of the softmax confidence, in "
        "percentage points; corrected is the share now classified right"
        + (f"; held-out lost is the share of {results.n_held_out:,} samples right before that the same change gets wrong."
           if results.n_held_out else ".")
    )  # fmt: skip
    picture = _picture(results.plot(), f"Means over the mistakes; band of 95 % for {results.by[0]}, from a bootstrap.")
    return _Section("Repair", [_Part("text", text), _Part("table", _Table(head, rows, text=(0, 1))), picture])


def _signed(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−")


def _families(families: FamilyComparison) -> _Section:
    s = families.summary
    rows = [
        _Row((name, _percent(s["best"][i]), f"{s['loglik'][i]:+.4f}".replace("-", "−"), f"{s['a2'][i]:.2f}",
              _percent(s["closest"][i])))
        for i, name in enumerate(FAMILIES)
    ]  # fmt: skip
    text = (
        f"Five families fitted to the excesses of {int(np.count_nonzero(families.comparable)):,} units by maximum "
        f"likelihood. The generalised Pareto distribution is rejected at 5 % for {_percent(families.rejected)} of the units; "
        "5 % would be expected if it were exactly right everywhere."
    )
    table = _Table(
        ("family", "best AIC", "log-likelihood per excess, less the GPD's", "median A²", "smallest A²"), rows
    )
    picture = _picture(
        families.plot(), "Left: to the right of 0 a family describes a unit's excesses better than the GPD."
    )
    return _Section("Do the tails fit?", [_Part("text", text), _Part("table", table), picture])


def _caveats(reference: Reference, ranking: UnitRanking | None, results: Results | None, k: int) -> list[str]:
    unfitted = len(reference.units) - int(np.count_nonzero(reference.tail.is_fitted))
    said = [
        "A unit that is salient for a mistake is one on which the loss depends unusually; that it caused the mistake is "
        "not thereby shown. What a repair does is the test.",
        "Mistakes should not be among the calibration samples.",
    ]
    if unfitted:
        said.append(
            f"{unfitted:,} units have no fitted tail (their saliency never or hardly varied in calibration). They are ranked "
            "last, and nothing is claimed of them."
        )
    if ranking is not None and ranking.n_samples == 1 and ranking.n_above < k:
        said.append(
            f"Only {ranking.n_above:,} units are above their threshold; those listed after them are not salient."
        )
    if ranking is not None and ranking.n_samples > 1:
        said.append("Combined p-values take the mistakes as independent; similar mistakes make them too small.")
    if results is not None:
        said.append(
            "Setting a convolution's filter to zero leaves the shift of a batch normalisation behind it: the channel becomes a "
            "constant, not nothing."
        )
        if "tune_equal" not in results.curves:
            said.append(
                "At equal step a ranking that prefers large gradients changes more weights' length than others."
            )
        if not results.n_held_out:
            said.append("What the repairs cost elsewhere was not measured: no held-out samples were given.")
    return said
