"""Series with dates: what their times say, block maxima, seasons.

A series or data frame of pandas or polars that has dates in its index or in a column, or any array with ``time=``, is a
dated series: `evtkit.fit_tail` keeps its times in `Tail.dates`, and return levels can be asked for in years.
"""

from evtkit.dated.blocks import BlockMaxima, block_maxima
from evtkit.dated.dates import PERIODS, Dates, duration, shown, shown_duration
from evtkit.dated.reading import as_times, dated_values, dates_of
from evtkit.dated.rhythm import MONTHS
from evtkit.dated.seasons import in_season

__all__ = [
    "MONTHS",
    "PERIODS",
    "BlockMaxima",
    "Dates",
    "as_times",
    "block_maxima",
    "dated_values",
    "dates_of",
    "duration",
    "in_season",
    "shown",
    "shown_duration",
]
