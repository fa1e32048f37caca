"""Series with dates: what their times say, block maxima, seasons.

A series or data frame of pandas or polars that has dates in its index or in a column, or any array with ``time=``, is a
dated series: `evtkit.fit_tail` keeps its times in `Tail.dates`, and return levels can be asked for in years.
"""

from evtkit.dated.blocks import BlockMaxima, block_maxima
from evtkit.dated.dates import Dates
from evtkit.dated.seasons import in_season

__all__ = ["BlockMaxima", "Dates", "block_maxima", "in_season"]
