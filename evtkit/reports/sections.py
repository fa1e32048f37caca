"""The sections of a series' report: data, threshold, fit, steadiness, return levels, how to reproduce it."""

from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING

import numpy as np

from evtkit import threshold as choosing
from evtkit._common.version import __version__
from evtkit.dated.dates import shown
from evtkit.dated.rhythm import MONTHS
from evtkit.fit import FitStatus
from evtkit.intervals.profile import stretched
from evtkit.reports.case import DOUBTFUL, data_hash, extremal_index_of, limits_of_extremal_index, steadiness_of
from evtkit.reports.page import Part, Row, Section, Table, drawing
from evtkit.reports.wording import number, p_value, period_text, with_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evtkit.dated import Dates
    from evtkit.reports.case import Case
    from evtkit.reports.levels import Level

__all__ = ["data", "fit", "reproduce", "return_levels", "threshold", "time"]

_LISTED = 10  # gaps
_METHODS = {"bartlett": "profile, corrected", "profile": "profile", "delta": "delta method"}
_GRID = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)  # times the excesses, for other thresholds


def _rows(pairs: Sequence[tuple[str, str]]) -> Part:
    return Part("table", Table(("", ""), [Row(pair) for pair in pairs], text=(0, 1)))


def data(case: Case) -> Section:
    """The series, its gaps, rounding and what is missing."""
    from evtkit import plot

    present = case.values[~np.isnan(case.values)]
    pairs = [
        ("Observations", f"{present.size:,}"),
        ("Missing values", f"{case.values.size - present.size:,}"),
        ("Smallest, median, largest", " · ".join(case.quantity(float(q)) for q in np.quantile(present, [0, 0.5, 1]))),
    ]
    parts: list[Part] = []
    if case.dates is None:
        pairs.append(("Dates", "none: the order of the observations stands for time"))
    else:
        pairs += [
            ("Dates", case.dates.description),
            ("Absent from the dates", _absent(case.dates)),
            ("Times that occur again", f"{case.dates.n_repeated:,}" if case.dates.n_repeated else "none"),
        ]
    step = float(case.every.resolution)
    pairs.append(("Rounding", f"to steps of {case.quantity(step)}" if step > 0.0 else "none that matters was found"))
    marked = None if case.clusters is None else case.clusters.peak
    figure = plot.series(
        case.values, float(case.every.threshold), marked=marked, side=case.every.side, time=case.dates,
        label=case.label, unit=case.unit,
    ).figure  # fmt: skip
    what = "the peaks of clusters" if case.clusters is not None else "what is beyond it"
    gaps = " Gaps are shaded." if case.dates is not None and case.dates.gaps else ""
    parts = [_rows(pairs), drawing(figure, f"The series with its threshold; marked is {what}.{gaps}")]
    if case.dates is not None and (holes := case.dates.gaps):
        rows = [Row((shown(a), shown(b), f"{n:,}")) for a, b, n in holes[:_LISTED]]
        more = f" The longest {_LISTED} of {len(holes):,}." if len(holes) > _LISTED else ""
        parts += [
            Part("text", f"Gaps: the last observation before, the first one after, and how many are absent.{more}"),
            Part("table", Table(("from", "to", "absent"), rows, text=(0, 1))),
        ]
    return Section("The data", parts)


def _absent(dates: Dates) -> str:
    gaps = len(dates.gaps)
    if not dates.rhythm.is_regular:
        return "not known: the times have no rhythm"
    return f"{dates.n_absent:,} in {gaps:,} gap{'s' * (gaps != 1)}" if gaps else "none"


def threshold(case: Case) -> Section:
    """The evidence for the threshold."""
    from evtkit import plot

    signed = np.sort(case.sign * case.values[~np.isnan(case.values)])
    u, n = case.sign * float(case.every.threshold), int(case.every.n_excess)
    counts = sorted({int(min(max(f * n, 10), signed.size // 2)) for f in _GRID if f != 1.0}, reverse=True)
    others = {float(signed[signed.size - 1 - k]) for k in counts}
    fits = choosing.parameter_stability(signed, sorted({*others, u}))
    rows = [
        Row(
            (number(case.sign * level), f"{m:,}", with_error(xi, se),
             with_error(scale, se_scale, 4)),
            "group" if level == u else "",
        )
        for level, m, xi, se, scale, se_scale in zip(
            fits.threshold, fits.n_excess, fits.xi, fits.se_xi, fits.modified_scale, fits.se_modified_scale, strict=True
        )
    ]  # fmt: skip
    choice = choosing.suggest_threshold(signed)
    if choice.n_excess:
        suggestion = (
            f"Sequential tests (Bader, Yan & Zhang 2018) suggest {case.quantity(case.sign * choice.threshold)}, which "
            f"leaves {choice.n_excess:,} excesses: the lowest candidate against which they find nothing."
        )
    else:
        suggestion = "Sequential tests (Bader, Yan & Zhang 2018) reject every candidate."
    text = (
        f"The threshold is {case.quantity(float(case.every.threshold))}, {case.chosen}. Above a threshold where the "
        "model holds, it holds above every higher one, with the same shape, the same modified scale and a mean excess "
        f"that is a line. {suggestion}"
    )
    figure = plot.threshold_choice(case.values, side=case.every.side, label=case.label, unit=case.unit,
                                   marked=float(case.every.threshold))  # fmt: skip
    return Section(
        "Where the tail begins",
        [
            Part("text", text),
            drawing(figure, "Mean excess, shape and modified scale over thresholds; the line marks the one taken."),
            Part("table", Table(("threshold", "excesses", "shape ξ", "modified scale σ − ξu"), rows, text=())),
        ],
    )


def fit(case: Case, per: str | float) -> Section:
    """Estimates, limits, tests and pictures of the fit."""
    from evtkit import plot

    tail = case.tail
    status = FitStatus(int(tail.status))
    if not tail.is_fitted:
        return Section("The fit", [Part("text", f"There is no fit: {status.name}. Choose another threshold.")])
    test, shape = tail.goodness_of_fit(), tail.xi_interval(case.level)
    percent = f"{100 * case.level:g} %"
    rate = f"{float(tail.exceedance_rate):.4g} an observation"
    if isinstance(per, str):
        rate += f", {float(tail.exceedance_rate) * tail.observations_per(per):.4g} a {per}"
    pairs = [
        ("Events" if case.clusters is not None else "Excesses", f"{int(tail.n_excess):,}; {rate}"),
        ("Shape ξ", f"{with_error(float(tail.xi), float(tail.se_xi), 4)}; {percent} by profile likelihood: "
                    f"{number(float(shape.lower))} to {number(float(shape.upper))}"),
        ("Scale σ", with_error(float(tail.sigma), float(tail.se_sigma), 4)),
        ("Log-likelihood", f"{float(tail.loglik):.6f}".replace("-", "−")),
        ("Ends at", case.quantity(float(tail.endpoint)) if np.isfinite(tail.endpoint) else "no end"),
        ("Cramér–von Mises", f"W² = {number(float(test.w2), 3)}, {p_value(float(test.p_w2))}"),
        ("Anderson–Darling", f"A² = {number(float(test.a2), 3)}, {p_value(float(test.p_a2))}"),
        ("Status", status.name),
    ]  # fmt: skip
    p = float(test.p_a2)
    verdict = "the tests speak against the model" if p < DOUBTFUL else "the tests find nothing against the model"
    if math.isnan(p):
        verdict = "p-values are not known for such a fit"
    figure = plot.diagnostics(tail, label=case.label, unit=case.unit, level=case.level, per=per)
    return Section(
        "The fit and its test",
        [
            Part("text", "The exact maximum of the likelihood, with standard errors from the observed information "
                         f"(Coles 2001). Of its goodness {verdict}; that is no proof, and the pictures show where it "
                         "fits."),
            _rows(pairs),
            drawing(figure, f"Points in the bands ({percent}, pointwise) agree with the fitted model."),
        ],
    )  # fmt: skip


def time(case: Case) -> Section:
    """Whether extremes come evenly."""
    from evtkit import plot

    found, theta, (low, high) = steadiness_of(case), extremal_index_of(case), limits_of_extremal_index(case)
    of = "year" if case.dates is not None else "tenth of the series"
    pairs = [
        ("Constant rate: mean time of extremes", p_value(found.p_trend)),
        (f"Constant rate: counts a {of}", p_value(found.p_spread)),
        ("Constant size: rank correlation with time", p_value(found.p_size)),
        ("Constant rate: months of the year", p_value(found.p_season)),
        (
            "Extremal index θ (Ferro & Segers 2003)",
            f"{theta:.3f}{_known(low, high, case)}: clusters of {1 / theta:.2f} on average",
        ),
    ]
    if case.clusters is not None:
        pairs.append(("Clusters", f"{len(case.clusters):,} of {int(case.clusters.size.sum()):,} exceedances, the "
                                  f"largest of {int(case.clusters.size.max()):,}"))  # fmt: skip
    parts = [
        Part("text", "Return levels take extremes as independent and their law as constant. Small p-values speak "
                     "against that."),
        _rows(pairs),
        drawing(plot.counts(found.expected, found.found, found.part).figure,
                f"Extremes in each {of}; the shaded band holds 95 % of the counts that a constant rate brings."),
    ]  # fmt: skip
    expected = found.expected_by_month
    if found.by_month is not None and expected is not None and np.count_nonzero(expected) > 1:
        there = expected > 0.0
        names = np.array(MONTHS)[there]
        figure = plot.counts(expected[there], found.by_month[there], names).figure
        parts.append(drawing(figure, "Extremes in each month of the year; a season can be fitted by itself."))
    return Section("Do extremes come evenly?", parts)


def return_levels(case: Case, levels: list[Level], per: str | float) -> Section:
    """Levels, their limits by several methods, those of events, and the predictive ones."""
    if not levels:
        why = "Without a fit there are none." if not case.tail.is_fitted else "None was asked for."
        return Section("Return levels", [Part("text", why)])
    band, few = f"{100 * case.level:g} % interval", bool(stretched(case.tail.n_excess) > 1.0)
    what = "events" if case.clusters is not None else "observations"
    of_unit = f" (in {case.unit})" if case.unit else ""
    text = (
        f"The level exceeded once in a period, on average, by {what}{of_unit}. Intervals are of the profile likelihood "
        f"at the rate found{', corrected for few excesses' if few else ''}. The last column is the level that the next "
        f"of the {what} exceeds with the probability one over the period, with the uncertainty of the fit averaged in: "
        "it is the one to set an alarm by."
    )
    rows = [
        Row((period_text(one.period, per), number(one.estimate, 5), _band(one.limits["bartlett"]),
             number(one.predictive, 5)))
        for one in levels
    ]  # fmt: skip
    parts = [Part("text", text), Part("table", Table(("once in", "level", band, "predictive level"), rows, text=(0,)))]
    if any(one.event for one in levels):
        theta, (low, high) = extremal_index_of(case), limits_of_extremal_index(case)
        rows = [
            Row((period_text(one.period, per), number(one.event[0], 5), _band(one.event[1:])))
            for one in levels
            if one.event
        ]
        parts += [
            Part("text", "Exceedances come in clusters. The level that a cluster reaches once in a period is lower: it "
                         "has the probability one over θ periods, with the extremal index θ = "
                         f"{theta:.2f}{_known(low, high, case)} (Coles 2001, section 5.3.3). Its intervals take θ as "
                         "known, and exceedances as independent."),
            Part("table", Table(("once in", "level of events", band), rows, text=(0,))),
        ]  # fmt: skip
    methods = (*(["bartlett"] if few else []), "profile", "delta")
    rows = [Row((period_text(one.period, per), *(_band(one.limits[name]) for name in methods))) for one in levels]
    parts += [
        Part("text", f"The same {band}s by other methods. The delta method's are symmetric and too short far out; "
                     "where they differ much, the likelihood is skewed and the first column is to be believed."),
        Part("table", Table(("once in", *(_METHODS[name] for name in methods)), rows, text=(0,))),
    ]  # fmt: skip
    return Section("Return levels", parts)


def _known(low: float, high: float, case: Case) -> str:
    return "" if math.isnan(low) else f" ({100 * case.level:g} %: {low:.2f} to {high:.2f})"


def _band(limits: Sequence[float]) -> str:
    return "–" if math.isnan(limits[0]) else f"{number(limits[0], 5)} to {number(limits[1], 5)}"


def reproduce(case: Case, call: str, source: str | None) -> Section:
    """What makes the same page again."""
    import scipy

    pairs = [
        *([("Source", source)] if source else []),
        ("SHA-256 of the data", data_hash(case)),
        ("Made of", "the values as 64-bit numbers in order of time"
                    + (", then their times in microseconds since 1970" if case.dates is not None else "")),
        ("Versions", f"evtkit {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, SciPy "
                     f"{scipy.__version__}"),
    ]  # fmt: skip
    table = Table(("", ""), [Row(pair) for pair in pairs], text=(0, 1), code=(1,))
    return Section("To reproduce it", [Part("code", call), Part("table", table)])
