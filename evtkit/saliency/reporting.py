"""Reporting: one HTML page that holds everything, pictures included, and needs nothing from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evtkit.reports.page import Part, Section, picture, write_page
from evtkit.saliency import sections as made
from evtkit.saliency import verdicts

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from evtkit.families import FamilyComparison
    from evtkit.saliency.accused import Suspects
    from evtkit.saliency.rankings import UnitRanking
    from evtkit.saliency.reference import Reference
    from evtkit.saliency.repairs import Repair
    from evtkit.saliency.results import RepairResults

__all__ = ["report"]


def report(
    path: str | os.PathLike[str],
    reference: Reference,
    *,
    suspects: Suspects | None = None,
    repair: Repair | None = None,
    ranking: UnitRanking | None = None,
    results: RepairResults | None = None,
    families: FamilyComparison | None = None,
    pictures: Sequence[tuple[Any, str]] = (),
    notes: Sequence[str] = (),
    title: str = "Which parts of the network are behind its mistakes?",
    k: int = 25,
) -> Path:
    """Write a report as one self-contained HTML file: it opens in any browser, without a network.

    Needs Jinja and Matplotlib: ``pip install 'evtkit[saliency]'``.

    Parameters
    ----------
    path : path
        The file; written atomically.
    reference : Reference
        What was calibrated.
    suspects : Suspects, optional
        From `suspects`: which units are at fault, first of all.
    repair : Repair, optional
        From `repair`: what was tried, and what the change that was taken does.
    ranking : UnitRanking, optional
        Of one sample or of a set of mistakes: adds its table, the depth picture and the enrichment of stages.
    results : RepairResults, optional
        From `evaluate`: adds the repair table and curves.
    families : FamilyComparison, optional
        From `Reference.compare_families`: adds how well the tails fit.
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

    See Also
    --------
    evtkit.reports.report : of a series.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from evtkit.saliency import Batches, calibrate, report
    >>> from evtkit.saliency.toy import Toy, samples
    >>> net, (x, y) = Toy(), samples(1000)
    >>> reference = calibrate(net, Batches(x, y), progress=False)
    >>> path = Path(tempfile.mkdtemp()) / "report.html"
    >>> path = report(path, reference, ranking=reference.rank(net.profile(x[:20], y[:20])))
    >>> path.stat().st_size > 50_000
    True
    """
    if suspects is not None and suspects.units != reference.units:
        raise ValueError(f"suspects must be of the reference's units, got {suspects!r}")
    if ranking is not None and (ranking.order.ndim > 1 or ranking.units != reference.units):
        raise ValueError(f"ranking must be one ranking of the reference's units, got {ranking!r}")
    count = min(k, len(reference.units))
    sections = [] if suspects is None else [verdicts.suspected(suspects, min(count, 10))]
    if repair is not None:
        sections.append(verdicts.mended(repair))
    sections.append(made.calibration(reference))
    if ranking is not None:
        sections += [made.ranked(ranking, count), made.enriched(ranking, count)]
    if results is not None:
        sections.append(made.repaired(results))
    if families is not None:
        sections.append(made.fitted(families))
    if pictures:
        sections.append(Section("Pictures", [picture(figure, caption) for figure, caption in pictures]))
    caveats = [*made.caveats(reference, ranking, results, count), *notes]
    sections.append(Section("Mind", [Part("list", caveats)]))
    return write_page(
        path, title=title, lead=made.lead(reference, ranking), facts=made.facts(reference, ranking, results),
        sections=sections,
    )  # fmt: skip
