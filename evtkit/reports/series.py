"""The report of a series: from its data to return levels, on one page that someone can sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.dated import Dates, in_season
from evtkit.dated.reading import dated_values
from evtkit.dependence import decluster
from evtkit.peaks import fit_tail
from evtkit.reports import sections
from evtkit.reports.case import CLUSTERED, DOUBTFUL, Case, extremal_index_of, steadiness_of
from evtkit.reports.levels import levels_of
from evtkit.reports.page import Part, Section, write_page
from evtkit.reports.wording import number, p_value, period_text, span_text, with_error

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from evtkit.reports.levels import Level

__all__ = ["report"]

_FAR = 4.0  # times the length of the record beyond which a level is said to rest on the model


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

    See Also
    --------
    evtkit.plot.diagnostics : the pictures alone.
    evtkit.saliency.report : of a network.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from evtkit import demo, reports
    >>> days, loss = demo.daily_losses()
    >>> path = Path(tempfile.mkdtemp()) / "losses.html"
    >>> tail = reports.report(path, loss, threshold=2.0, time=days, label="daily loss", unit="%")
    >>> path.stat().st_size > 100_000  # one page, its pictures in it
    True
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
        assert every.sample is not None  # without gross outliers, and negated on the lower side
        kept = every.sample.astype(np.float64) if side == "upper" else -every.sample.astype(np.float64)
        clusters = decluster(kept, float(every.threshold), span=span, time=dates, side=side)
        tail = fit_tail(clusters)
    chosen = f"as asked for ({', '.join(given)})" if given else "by a rule of thumb; nobody chose it"
    case = Case(values, dates, tail, every, clusters, chosen, label or name or "value", unit, level)
    per = per if per is not None else "year" if dates is not None and dates.per_year > 0.0 else 1.0
    levels = levels_of(case, periods, per)
    said = [*_caveats(case, levels, per), *notes]
    call = command or _call(path, rule, time, column, season, span, side, periods, per, level, label, unit, title, name)
    return write_page(
        path,
        title=title or f"Extremes of {case.label}",
        lead=_lead(case),
        facts=_facts(case, levels, per),
        sections=[
            Section("To know before", [Part("list", said)]) if said else Section("To know before", [_nothing()]),
            sections.data(case), sections.threshold(case), sections.fit(case, per), sections.time(case),
            sections.return_levels(case, levels, per),
            sections.reproduce(case, call, source),
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


def _lead(case: Case) -> str:
    what = "events, the peaks of clusters," if case.clusters is not None else "observations"
    beyond = "above" if case.sign > 0 else "below"
    when = f" from {span_text(case.dates)}" if case.dates is not None else ""
    return (
        f"{int(case.every.n):,} observations of {case.label}{when}; a generalised Pareto distribution is fitted to the "
        f"{int(case.tail.n_excess):,} {what} {beyond} {case.quantity(float(case.tail.threshold))}."
    )


def _facts(case: Case, levels: Sequence[Level], per: str | float) -> list[tuple[str, str]]:
    tail = case.tail
    said = [
        (f"{int(tail.n):,}", "observations"),
        (case.quantity(float(tail.threshold)), "threshold"),
        (f"{int(tail.n_excess):,}", "events" if case.clusters is not None else "excesses"),
        (with_error(float(tail.xi), float(tail.se_xi)), "shape ξ"),
    ]
    for one in [line for line in levels if line.period == 100.0] or list(levels[-1:]):
        band = f"{number(one.lower)} to {number(one.upper)} at {100 * case.level:g} %"
        said.append((case.quantity(one.estimate), f"level of {period_text(one.period, per)}, {band}"))
        if one.event:
            band = f"{number(one.event[1])} to {number(one.event[2])}"
            said.append(
                (case.quantity(one.event[0]), f"level that events reach in {period_text(one.period, per)}, {band}")
            )
    return said


def _caveats(case: Case, levels: Sequence[Level], per: str | float) -> list[str]:
    """Every note that applies, as a sentence."""
    said = [f"{line[0].upper()}{line[1:]}." for line in case.tail.notes]
    if case.chosen.startswith("by a rule"):
        said.append("The threshold was taken by a rule of thumb. Look at the evidence below and choose it.")
    lacking = int(np.count_nonzero(np.isnan(case.values)))
    if lacking and case.dates is None:
        said.append(f"{lacking:,} of {case.values.size:,} values are missing.")
    steady = steadiness_of(case)
    for p, what in (
        (steady.p_trend, "Extremes gather at one end of the record: their rate is not constant"),
        (steady.p_spread, "Extremes are more uneven from one time to another than chance makes them"),
        (steady.p_size, "The size of extremes changes over the record"),
        (steady.p_season, "Extremes come more in some months than in others"),
    ):
        if p < DOUBTFUL:
            said.append(f"{what} ({p_value(p)}). Return levels take their law as constant.")
    theta = extremal_index_of(case)
    if case.clusters is None and theta < CLUSTERED:
        said.append(
            f"Exceedances come in clusters of {1 / theta:.1f} on average. Intervals and tests take them as independent "
            "and are too sure; fit the peaks of clusters (span) beside this. The table has the levels of events, too."
        )
    length = float(case.tail.n) / case.tail.observations_per(per)
    if far := [one.period for one in levels if one.period > _FAR * length]:
        said.append(
            f"Levels from {period_text(far[0], per)} on lie more than {_FAR:g} times beyond the record, which is "
            f"{period_text(float(f'{length:.3g}'), per)} long: they rest on the model."
        )
    return said


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
