"""Pictures of tails with Matplotlib (``pip install 'evtkit[plot]'``).

Every function draws into the Axes it is given, or into a new figure, and returns the Axes; the figure is ``ax.figure``.
New figures belong to no window and to no global list, so nothing needs closing: save them, or name them on a notebook's
last line. Nothing here calls ``pyplot``, shows a window or changes Matplotlib's settings; text takes the colour of the
style in force, and the other colours hold on light and dark. Names and units are shown as they are, dollar signs too.

============================ ===========================================================================================
`diagnostics`                the next four on one figure: can the fit be believed?
`probability`                share of excesses against the model's: right near the threshold?
`quantile`                   observations against the model's quantiles: right far out?
`density`                    histogram of the excesses, and fitted density
`return_level`               what is exceeded once in how many observations, with its confidence band and the data
`threshold_choice`           the next two on one figure: where does the tail begin?
`mean_residual_life`         mean excess against threshold: where does it become a line?
`threshold_evidence`         what a suggested threshold rests on
`stability`                  shape and modified scale against threshold: where do they become constant?
`ranking`                    the most improbable channels
`series`                     a series over time, with its threshold and its gaps
`counts`                     how many extremes came in each year, and how many chance would bring
`stream`                     a stream with its moving alarm levels, and its alarms
`l_moment_ratios`            which family do many samples look like?
`families`                   do other distributions describe the excesses better?
`residual_quantile`          a law with covariates: do its residuals follow the standard law?
`residuals`                  its residuals against a covariate, where they should show nothing
`effective_levels`           its return levels as the covariates change
`unit_depth`                 the score that ranks, of a network's units, over depth
`repair_curves`              what a repair corrects and costs, over the number of units changed
`repair_frontier`            what the candidates of a repair correct over what they cost
`input_saliency`             an image, and where the first units look
============================ ===========================================================================================
"""

from __future__ import annotations

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("evtkit.plot needs Matplotlib; install it with: pip install 'evtkit[plot]'") from error

from evtkit.plot.dated import counts, series
from evtkit.plot.fitted import density, probability, quantile
from evtkit.plot.networks import families, input_saliency, repair_curves, repair_frontier, unit_depth
from evtkit.plot.panels import diagnostics
from evtkit.plot.ranked import ranking
from evtkit.plot.ratios import l_moment_ratios
from evtkit.plot.regression import effective_levels, residual_quantile, residuals
from evtkit.plot.returns import return_level
from evtkit.plot.streams import stream
from evtkit.plot.thresholds import mean_residual_life, stability, threshold_choice, threshold_evidence

__all__ = [
    "counts",
    "density",
    "diagnostics",
    "effective_levels",
    "families",
    "input_saliency",
    "l_moment_ratios",
    "mean_residual_life",
    "probability",
    "quantile",
    "ranking",
    "repair_curves",
    "repair_frontier",
    "residual_quantile",
    "residuals",
    "return_level",
    "series",
    "stability",
    "stream",
    "threshold_choice",
    "threshold_evidence",
    "unit_depth",
]
