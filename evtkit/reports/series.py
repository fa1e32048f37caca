"""The report of a series: from its data to return levels, on one page that someone can sign."""

from __future__ import annotations

import hashlib
import math
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit import threshold as choosing
from evtkit._common.version import __version__
from evtkit.dated import Dates, in_season
from evtkit.dated.dates import shown
from evtkit.dated.reading import dated_values
from evtkit.dated.rhythm import MONTHS
from evtkit.dependence import Clusters, decluster, extremal_index
from evtkit.fit import FitStatus
from evtkit.peaks import fit_tail
from evtkit.reports.page import Part, Row, Section, Table, drawing, write_page
from evtkit.reports.steadiness import steadiness

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from evtkit._common.types import Float
    from evtkit.tail import Tail

__all__ = ["report"]

_YEARS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_LISTED = 10  # gaps
_DOUBTFUL = 0.05  # p-values below which the text says so
_CLUSTERED = 0.9  # extremal index below which exceedances are said to come together
_FAR = 4.0  # times the length of the record beyond which a level is said to rest on the model
_GRID = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)  # times the excesses, for other thresholds


@dataclass(frozen=True, eq=False)
class _Case:
    """All that the sections tell of."""

    values: Float
    dates: Dates | None
    tail: Tail
    every: Tail
    clusters: Clusters | None
    chosen: str
    label: str
    unit: str
    level: float

    @property
    def sign(self) -> float:
        return 1.0 if self.tail.side == "upper" else -1.0

    def quantity(self, value: float, digits: int = 4) -> str:
        return f"{_number(value, digits)} {self.unit}".rstrip()


def report(
    path: str | os.PathLike[str],
    x: ArrayLike,
    *,
    quantile: float | None = None,
    threshold: float | None = None,
    n_excess: int | None = None,
    time: str | Dates | ArrayLike | None = None,
    column: str | None = None,
    season: str | Sequence[int] | None = None,
    span: Any = None,
    side: str = "upper",
    periods: Sequence[float] | None = None,
    per: str | float | None = None,
    level: float = 0.95,
    label: str | None = None,
    unit: str = "",
    title: str | None = None,
    notes: Sequence[str] = (),
    command: str | None = None,
    source: str | None = None,
) -> Path:
    """Write the report of a series as one self-contained HTML file: for a browser, for printing, for signing.

    Needs Jinja and Matplotlib: ``pip install 'evtkit[report]'``.

    Parameters
    ----------
    path : path
        The file; written atomically.
    x : array_like, shape (n,), or data frame
        Observations of one series, in order of time or with dates; NaN is missing, counted and said.
    quantile, threshold, n_excess
        Where the tail begins, as in `evtkit.fit_tail`; by its default the page says that nobody chose it.
    time, column : optional
        The column of dates, or the dates; and the column of the values, where there are several.
    season : str or sequence of int, optional
        Only observations of these months, as in `evtkit.dated.in_season`.
    span : str or timedelta, optional
        Fit the peaks of clusters: exceedances that follow each other by at most so much, such as "48h", are one event.
    side : {"upper", "lower"}
        Which extremes.
    periods : sequence of float, optional
        Return periods, in `per`.
    per : str or float, optional
        What periods count: by default years where there are dates, else observations.
    level : float in (0, 1)
        Confidence of intervals.
    label, unit : str
        Name and unit of the values; the name is by default the column's.
    title : str, optional
        The heading.
    notes : sequence of str
        Further remarks for the page.
    command : str, optional
        The command that made the page; by default a call in Python.
    source : str, optional
        Where the data are from, such as a file and its checksum.

    Returns
    -------
    Path
        The file. The same data and arguments give the same page, to the byte.

    Raises
    ------
    ValueError
        If x is not one series of numbers, an argument is none of these, or the folder does not exist.
    ImportError
        If Jinja or Matplotlib is not installed.
    """
    if season is not None:
        x, time = _of_season(x, time, season)
    values, dates, labels = dated_values(x, time, nulls=True)
    name = labels.name if labels is not None else None
    if labels is not None and labels.columns is not None:
        column = labels.columns[0] if column is None and len(labels.columns) == 1 else column
        if column not in labels.columns:
            raise ValueError(f"column must be one of {', '.join(map(repr, labels.columns[:12]))}, got {column!r}")
        name, values = column, values[:, labels.columns.index(column)]
    if values.ndim != 1 or not values.size:
        raise ValueError(f"x must be one series of shape (n,), got shape {values.shape}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    rule: dict[str, Any] = {"quantile": quantile, "threshold": threshold, "n_excess": n_excess}
    given = [f"{key}={value:g}" for key, value in rule.items() if value is not None]
    values = values.astype(np.float64)
    every = fit_tail(values, time=dates, side=side, missing="drop", **rule)
    tail, clusters = every, None
    if span is not None:
        if side != "upper":
            raise ValueError("span is of upper extremes, got side='lower'; negate the values")
        assert every.sample is not None  # without gross outliers
        clusters = decluster(every.sample.astype(np.float64), float(every.threshold), span=span, time=dates)
        tail = fit_tail(clusters)
    chosen = f"as asked for ({', '.join(given)})" if given else "by a rule of thumb; nobody chose it"
    case = _Case(values, dates, tail, every, clusters, chosen, label or name or "value", unit, level)
    per = per if per is not None else "year" if dates is not None and dates.per_year > 0.0 else 1.0
    levels = _levels(case, periods, per)
    said = [*_caveats(case, levels, per), *notes]
    call = command or _call(path, rule, time, column, season, span, side, periods, per, level, label, unit, title, name)
    return write_page(
        path,
        title=title or f"Extremes of {case.label}",
        lead=_lead(case),
        facts=_facts(case, levels, per),
        sections=[
            Section("To know before", [Part("list", said)]) if said else Section("To know before", [_nothing()]),
            _data(case), _threshold(case), _fit(case, per), _time(case), _return_levels(case, levels, per),
            _reproduce(case, call, source),
            Section("Signature", [Part("signature", ("Name", "Date", "Signature"))]),
        ],
    )  # fmt: skip


def _of_season(x: Any, time: Any, season: str | Sequence[int]) -> tuple[Any, Any]:
    if isinstance(time, Dates):
        there = in_season(time, season)
        return np.asarray(x)[there], Dates(time.time[there], time.zone)
    if time is not None and not isinstance(time, str):
        there = in_season(time, season)
        return np.asarray(x)[there], np.asarray(time)[there]
    there = in_season(x, season, time=time)
    return (x.filter(there) if hasattr(x, "filter") and hasattr(x, "schema") else x[there]), time


def _nothing() -> Part:
    return Part("text", "Nothing was found that speaks against the fit.")


# -- numbers -----------------------------------------------------------------------------------------------------------


def _levels(case: _Case, periods: Sequence[float] | None, per: str | float) -> list[tuple[float, float, float, float]]:
    """Return periods with their levels and limits, without those below the threshold unless they were asked for."""
    tail, wanted = case.tail, periods
    unit = tail.observations_per(per)
    if wanted is None:
        shortest = float(tail.n / max(int(tail.n_excess), 1)) / unit
        grid = _YEARS if isinstance(per, str) else [10.0**k for k in range(1, 1 + int(np.log10(10.0 * float(tail.n))))]
        wanted = [m for m in grid if m > 1.01 * shortest]
    if not tail.is_fitted:
        return []
    out = []
    for m in wanted:
        found = tail.return_level(m, interval=case.level, per=per)
        out.append((float(m), float(found.estimate), float(found.lower), float(found.upper)))
    return out


def _data_hash(case: _Case) -> str:
    """SHA-256 of the values in order of time, and of their times in microseconds, little-endian."""
    digest = hashlib.sha256(np.ascontiguousarray(case.values, dtype="<f8").tobytes())
    if case.dates is not None:
        digest.update(np.ascontiguousarray(case.dates.time.astype(np.int64), dtype="<i8").tobytes())
    return digest.hexdigest()


# -- words -------------------------------------------------------------------------------------------------------------


def _number(value: float, digits: int = 4) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{digits}g}".replace("-", "−") if abs(value) < 10.0**digits else f"{value:,.0f}".replace("-", "−")


def _p(value: float) -> str:
    return "not known" if math.isnan(value) else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _with_error(value: float, error: float, digits: int = 3) -> str:
    return _number(value, digits) + (f" ± {_number(error, 2)}" if error > 0.0 else "")


def _periods(m: float, per: str | float) -> str:
    return f"{_number(m, 10)} {per}{'s' * (m != 1.0)}" if isinstance(per, str) else f"{_number(m, 10)} observations"


def _lead(case: _Case) -> str:
    what = "events, the peaks of clusters," if case.clusters is not None else "observations"
    beyond = "above" if case.sign > 0 else "below"
    when = f" from {_span(case.dates)}" if case.dates is not None else ""
    return (
        f"{int(case.every.n):,} observations of {case.label}{when}; a generalised Pareto distribution is fitted to the "
        f"{int(case.tail.n_excess):,} {what} {beyond} {case.quantity(float(case.tail.threshold))}."
    )


def _span(dates: Dates) -> str:
    first, last = dates.local()[[0, -1]]
    return f"{shown(first)} to {shown(last)}"


def _facts(case: _Case, levels: Sequence[tuple[float, ...]], per: str | float) -> list[tuple[str, str]]:
    tail = case.tail
    said = [
        (f"{int(tail.n):,}", "observations"),
        (case.quantity(float(tail.threshold)), "threshold"),
        (f"{int(tail.n_excess):,}", "events" if case.clusters is not None else "excesses"),
        (_with_error(float(tail.xi), float(tail.se_xi)), "shape ξ"),
    ]
    hundred = [line for line in levels if line[0] == 100.0] or list(levels[-1:])
    for m, estimate, low, high in hundred:
        band = f"{_number(low)} to {_number(high)} at {100 * case.level:g} %"
        said.append((case.quantity(estimate), f"level of {_periods(m, per)}, {band}"))
    return said


def _caveats(case: _Case, levels: Sequence[tuple[float, ...]], per: str | float) -> list[str]:
    """Every note that applies, as a sentence."""
    said = [f"{line[0].upper()}{line[1:]}." for line in case.tail.notes]
    if case.chosen.startswith("by a rule"):
        said.append("The threshold was taken by a rule of thumb. Look at the evidence below and choose it.")
    lacking = int(np.count_nonzero(np.isnan(case.values)))
    if lacking and case.dates is None:
        said.append(f"{lacking:,} of {case.values.size:,} values are missing.")
    steady = _steady(case)
    for p, what in (
        (steady.p_trend, "Extremes gather at one end of the record: their rate is not constant"),
        (steady.p_spread, "Extremes are more uneven from one time to another than chance makes them"),
        (steady.p_size, "The size of extremes changes over the record"),
        (steady.p_season, "Extremes come more in some months than in others"),
    ):
        if p < _DOUBTFUL:
            said.append(f"{what} ({_p(p)}). Return levels take their law as constant.")
    theta = _theta(case)
    if case.clusters is None and theta < _CLUSTERED:
        said.append(
            f"Exceedances come in clusters of {1 / theta:.1f} on average. Intervals and tests take them as independent "
            "and are too sure; fit the peaks of clusters (span) beside this."
        )
    length = float(case.tail.n) / case.tail.observations_per(per)
    if far := [m for m, *_ in levels if m > _FAR * length]:
        said.append(
            f"Levels from {_periods(far[0], per)} on lie more than {_FAR:g} times beyond the record, which is "
            f"{_periods(float(f'{length:.3g}'), per)} long: they rest on the model."
        )
    return said


def _theta(case: _Case) -> float:
    """The extremal index of the exceedances; 1 where there are too few to say."""
    signed = case.sign * case.values
    theta = float(extremal_index(signed[~np.isnan(signed)], case.sign * float(case.every.threshold)))
    return 1.0 if math.isnan(theta) else theta


def _steady(case: _Case) -> Any:
    present = ~np.isnan(case.values)
    extreme = np.zeros(case.values.size, dtype=bool)
    if case.clusters is not None:
        extreme[case.clusters.peak] = True
    else:
        extreme[present] = case.sign * (case.values[present] - float(case.tail.threshold)) > 0.0
    return steadiness(extreme, present, case.sign * case.values, case.dates)


# -- sections ----------------------------------------------------------------------------------------------------------


def _rows(pairs: Sequence[tuple[str, str]]) -> Part:
    return Part("table", Table(("", ""), [Row(pair) for pair in pairs], text=(0, 1)))


def _data(case: _Case) -> Section:
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


def _threshold(case: _Case) -> Section:
    from evtkit import plot

    signed = np.sort(case.sign * case.values[~np.isnan(case.values)])
    u, n = case.sign * float(case.every.threshold), int(case.every.n_excess)
    counts = sorted({int(min(max(f * n, 10), signed.size // 2)) for f in _GRID if f != 1.0}, reverse=True)
    others = {float(signed[signed.size - 1 - k]) for k in counts}
    fits = choosing.parameter_stability(signed, sorted({*others, u}))
    rows = [
        Row(
            (_number(case.sign * level), f"{m:,}", _with_error(xi, se),
             _with_error(scale, se_scale, 4)),
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


def _fit(case: _Case, per: str | float) -> Section:
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
        ("Shape ξ", f"{_with_error(float(tail.xi), float(tail.se_xi), 4)}; {percent} by profile likelihood: "
                    f"{_number(float(shape.lower))} to {_number(float(shape.upper))}"),
        ("Scale σ", _with_error(float(tail.sigma), float(tail.se_sigma), 4)),
        ("Log-likelihood", f"{float(tail.loglik):.6f}".replace("-", "−")),
        ("Ends at", case.quantity(float(tail.endpoint)) if np.isfinite(tail.endpoint) else "no end"),
        ("Cramér–von Mises", f"W² = {_number(float(test.w2), 3)}, {_p(float(test.p_w2))}"),
        ("Anderson–Darling", f"A² = {_number(float(test.a2), 3)}, {_p(float(test.p_a2))}"),
        ("Status", status.name),
    ]  # fmt: skip
    p = float(test.p_a2)
    verdict = "the tests speak against the model" if p < _DOUBTFUL else "the tests find nothing against the model"
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


def _time(case: _Case) -> Section:
    from evtkit import plot

    found, theta = _steady(case), _theta(case)
    of = "year" if case.dates is not None else "tenth of the series"
    pairs = [
        ("Constant rate: mean time of extremes", _p(found.p_trend)),
        (f"Constant rate: counts a {of}", _p(found.p_spread)),
        ("Constant size: rank correlation with time", _p(found.p_size)),
        ("Constant rate: months of the year", _p(found.p_season)),
        ("Extremal index θ (Ferro & Segers 2003)", f"{theta:.3f}: clusters of {1 / theta:.2f} on average"),
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
    if found.by_month is not None and np.count_nonzero(found.expected_by_month) > 1:
        there = found.expected_by_month > 0.0
        names = np.array(MONTHS)[there]
        figure = plot.counts(found.expected_by_month[there], found.by_month[there], names).figure
        parts.append(drawing(figure, "Extremes in each month of the year; a season can be fitted by itself."))
    return Section("Do extremes come evenly?", parts)


def _return_levels(case: _Case, levels: list[tuple[float, float, float, float]], per: str | float) -> Section:
    if not levels:
        return Section("Return levels", [Part("text", "Without a fit there are none.")])
    unit = case.tail.observations_per(per)
    nexts = np.asarray(case.tail.isf(np.array([1.0 / (m * unit) for m, *_ in levels])))
    rows = [
        Row((_periods(m, per), _number(z, 5), f"{_number(low, 5)} to {_number(high, 5)}", _number(float(further), 5)))
        for (m, z, low, high), further in zip(levels, nexts, strict=True)
    ]
    band = f"{100 * case.level:g} % interval"
    what = "events" if case.clusters is not None else "observations"
    text = (
        f"The level exceeded once in a period, on average, by {what}{f' (in {case.unit})' if case.unit else ''}. "
        "Intervals are of the profile likelihood at the rate found. The last column is the level that the next "
        "observation exceeds with the probability one over the period, with the uncertainty of the fit averaged in: "
        "it is the one to set an alarm by."
    )
    table = Table(("once in", "level", band, "predictive level"), rows, text=(0,))
    return Section("Return levels", [Part("text", text), Part("table", table)])


def _reproduce(case: _Case, call: str, source: str | None) -> Section:
    import scipy

    pairs = [
        *([("Source", source)] if source else []),
        ("SHA-256 of the data", _data_hash(case)),
        ("Made of", "the values as 64-bit numbers in order of time"
                    + (", then their times in microseconds since 1970" if case.dates is not None else "")),
        ("Versions", f"evtkit {__version__}, Python {platform.python_version()}, NumPy {np.__version__}, SciPy "
                     f"{scipy.__version__}"),
    ]  # fmt: skip
    table = Table(("", ""), [Row(pair) for pair in pairs], text=(0, 1), code=(1,))
    return Section("To reproduce it", [Part("code", call), Part("table", table)])


def _call(path: Any, rule: dict[str, Any], time: Any, column: Any, season: Any, span: Any, side: str, periods: Any,
          per: Any, level: float, label: Any, unit: str, title: Any, name: str | None) -> str:  # fmt: skip
    """The call in Python; what is long is named."""
    given = {k: v for k, v in rule.items() if v is not None}
    given |= {"time": time if time is None or isinstance(time, str) else ..., "column": column, "season": season}
    given |= {"span": span, "side": None if side == "upper" else side, "per": per}
    given |= {"periods": None if periods is None else list(periods), "level": None if level == 0.95 else level}
    given |= {"label": label, "unit": unit or None, "title": title}
    options = "".join(f", {k}={'time' if v is ... else repr(v)}" for k, v in given.items() if v is not None)
    return f"evtkit.reports.report({str(path)!r}, {name if name and name.isidentifier() else 'x'}{options})"
