"""Reports: one HTML page, pictures included, that opens in any browser and needs nothing from elsewhere.

`report` writes that of a series: its data and their gaps, the evidence for the threshold, the fit and its test, whether
extremes come evenly, return levels with intervals, and what reproduces it all.
"""

from evtkit.reports.series import report
from evtkit.reports.steadiness import Steadiness, steadiness

__all__ = ["Steadiness", "report", "steadiness"]
