"""The parts of the demonstration, one function each."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtkit.peaks import fit_tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from evtkit._common.types import Float
    from evtkit.spot import Event

__all__ = ["PARTS", "Part", "daily_losses", "monthly_losses", "run"]

TRADING_DAYS = 252.0
"""Of a year."""

LEARNT = 500
"""Days from which the watch learns what is usual: two years."""

CRASH = np.datetime64("2008-10")
"""The month whose losses are ranked."""

SHARES = {
    "IBM": "IBM", "AAPL": "Apple", "MSFT": "Microsoft", "XRX": "Xerox", "ADBE": "Adobe", "^GSPC": "S&P 500",
    "^IXIC": "Nasdaq",
}  # fmt: skip
"""Columns of the monthly prices that are complete since 1990, and their names."""


@dataclass(frozen=True)
class Part:
    """What one part of the demonstration found.

    Attributes
    ----------
    title : str
        One line.
    lines : tuple of str
        The findings, for a reader.
    pictures : tuple of Path
        Files written.
    """

    title: str
    lines: tuple[str, ...]
    pictures: tuple[Path, ...]


def run(folder: str | Path) -> Iterator[Part]:
    """Do the parts one after the other, writing pictures to a folder, which is made if need be.

    Parameters
    ----------
    folder : str or Path
        Where pictures go.

    Yields
    ------
    Part
        As soon as it is done.

    Raises
    ------
    ImportError
        Without Matplotlib, whose sample data and pictures these are.
    OSError
        If the folder cannot be made or written to.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        yield part(target)


def daily_losses() -> tuple[NDArray[np.datetime64], Float]:
    """Days, and Google's losses on them in percent, −100 × log return: August 2004 to October 2008.

    Examples
    --------
    >>> from evtkit import demo
    >>> days, loss = demo.daily_losses()
    >>> print(days[loss.argmax()], loss.max().round(2))
    2008-09-29 12.34
    """
    with np.load(_sample_data("goog.npz"), allow_pickle=False) as archive:
        prices = archive["price_data"]
    return prices["date"][1:], -100.0 * np.diff(np.log(prices["adj_close"]))


def monthly_losses() -> tuple[NDArray[np.datetime64], tuple[str, ...], Float]:
    """Months, names and losses in percent, (months, names): five shares and two indices, February 1990 to June 2022.

    Examples
    --------
    >>> from evtkit import demo
    >>> months, names, loss = demo.monthly_losses()
    >>> names[:3], loss.shape
    (('IBM', 'Apple', 'Microsoft'), (389, 7))
    """
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError("the demo needs polars; install it with: pip install 'evtkit[cli,plot]'") from error

    frame = pl.read_csv(_sample_data("Stocks.csv"), comment_prefix="#", try_parse_dates=True, infer_schema_length=None)
    frame = frame.filter(pl.col("Date").dt.day() == 1)  # other days are dividends, without prices
    prices = frame.select(list(SHARES)).to_numpy()
    months = frame["Date"].to_numpy().astype("datetime64[M]")
    return months[1:], tuple(SHARES.values()), -100.0 * np.diff(np.log(prices), axis=0)


def level(folder: Path) -> Part:
    """A level with its interval: how improbable was Google's worst day, and what comes once in 1,000 days?"""
    from evtkit import plot

    days, loss = daily_losses()
    tail = fit_tail(loss, quantile=0.9)
    worst = int(np.argmax(loss))
    p = float(tail.sf(loss[worst]))
    once = tail.return_level(1000, interval=0.95)
    look: dict[str, Any] = {"label": "daily loss", "unit": "%", "per": TRADING_DAYS, "period_unit": "years"}
    pictures = (folder / "google-diagnostics.png", folder / "google-return-level.png")
    plot.diagnostics(tail, **look).savefig(pictures[0], dpi=100)
    _save(plot.return_level(tail, **look), pictures[1])
    return Part(
        f"A level with its interval: Google's daily losses, {days[0]} to {days[-1]} ({loss.size:,} days, in per cent)",
        (
            f"tail               above {tail.threshold:.2f} %, {tail.n_excess} days: shape ξ {tail.xi:.2f} ± "
            f"{tail.se_xi:.2f}, scale σ {tail.sigma:.2f} ± {tail.se_sigma:.2f} %",
            f"once in 1,000 days {once.estimate:.1f} % (95 % profile interval {once.lower:.1f} … {once.upper:.1f} %)",
            f"worst day          {days[worst]}: {loss[worst]:.1f} %, P(X > x) = {p:.2g}, "
            f"once in {1 / p:,.0f} days ({1 / p / TRADING_DAYS:.1f} years)",
        ),
        pictures,
    )


def alarms(folder: Path) -> Part:
    """Alarms as events: the same days as they come, with one alarm by chance a year, on either side."""
    from evtkit import plot
    from evtkit.spot import Events, Spot

    days, loss = daily_losses()
    days, risk = days[LEARNT:], 1.0 / TRADING_DAYS
    spot, events = Spot(risk, side="both").fit(loss[:LEARNT]), Events(risk=risk, side="both", quiet=20)
    trace = spot.trace(loss[LEARNT:])
    told = {event.id: event for event in [*events.feed(loss[LEARNT:], trace), *events.going_on]}
    picture = folder / "google-alarms.png"
    _save(plot.stream(loss[LEARNT:], trace, time=days, label="daily loss", unit="%"), picture)

    def line(event: Event) -> str:
        until = f" to {days[event.end]}" if event.rows > 1 else ""
        what = f"{event.alarms} alarms, worst " if event.alarms > 1 else ""
        return (
            f"event              {days[event.start]}{until}: {what}{event.peak.value:+.1f} %, "
            f"p {event.peak.probability:.2g}"
        )

    return Part(
        f"Alarms as events: the same losses as they come (a minus is a gain), {LEARNT} days to learn from",
        (
            f"risk               one chance alarm a year; {risk * days.size:.1f} in the {days.size} days watched",
            *(line(event) for event in told.values()),
        ),
        (picture,),
    )


def many_shares(folder: Path) -> Part:
    """What stands out among many: whose month was the most improbable ever, and whose in the crash of 2008?"""
    from evtkit import plot

    months, names, loss = monthly_losses()
    tail = fit_tail(loss, quantile=0.9)
    log_p = tail.logsf(loss)
    when, who = divmod(int(np.argmin(log_p)), len(names))
    row = int(np.flatnonzero(months == CRASH)[0])
    ranking = tail.rank(loss[row], names=np.array(names))
    first, largest = int(ranking.order[0]), int(np.argmax(loss[row]))
    picture = folder / "shares-ranking.png"
    ax = plot.ranking(ranking)
    ax.set_title(f"Losses of {CRASH}, by improbability")
    _save(ax, picture)

    def finding(month: int, share: int) -> str:
        return f"{names[share]}: {loss[month, share]:.1f} %, once in {np.exp(-log_p[month, share]):,.0f} months"

    return Part(
        f"What stands out among many: {len(names)} shares and indices, {months[0]} to {months[-1]} (monthly losses)",
        (
            f"most improbable    {months[when]}, {finding(when, who)}",
            f"first in {CRASH}   {finding(row, first)}",
            f"largest in {CRASH} {finding(row, largest)}",
        ),
        (picture,),
    )


def network(folder: Path) -> Part:
    """A small network, a fault planted, found and repaired, then a real shift; left out where a package is missing."""
    title = "A fault found and repaired: a network that reads scikit-learn's digits"
    needed = {"torch": "PyTorch", "sklearn": "scikit-learn", "jinja2": "Jinja"}
    if missing := [name for module, name in needed.items() if importlib.util.find_spec(module) is None]:
        return Part(title, (f"left out: {', '.join(missing)} not installed; evtkit[demo] brings it",), ())
    from evtkit.demo.network import run as find_and_repair

    found = find_and_repair(folder)
    return Part(title, tuple(found.splitlines()), tuple(sorted(folder.glob("saliency-*.png"))))


PARTS: tuple[Callable[[Path], Part], ...] = (level, alarms, many_shares, network)
"""The demonstration, in order."""


def _sample_data(name: str) -> Path:
    """A file that Matplotlib ships."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ImportError("the demo needs Matplotlib and its sample data: pip install 'evtkit[plot]'") from error
    return Path(mpl.get_data_path(), "sample_data", name)


def _save(ax: Any, path: Path) -> None:
    ax.figure.savefig(path, dpi=100)
