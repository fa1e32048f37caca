"""Extremes that come together: in clusters (the extremal index θ, declustering), and in two series at once.

In a dependent stream exceedances of a high threshold arrive in clusters of mean size 1/θ; θ = 1 is independence. The
excesses of all exceedances still follow a GPD, but standard errors, tests and return levels assume independent ones, so
keep one value a cluster, its peak, or account for θ.
"""

from __future__ import annotations

from evtkit.dependence.clusters import Clusters, decluster
from evtkit.dependence.index import extremal_index, extremal_index_interval
from evtkit.dependence.kgaps import KGaps, KGapsChoice, choose_k_gaps, fit_k_gaps
from evtkit.dependence.pairs import TailDependence, tail_dependence

__all__ = [
    "Clusters",
    "KGaps",
    "KGapsChoice",
    "TailDependence",
    "choose_k_gaps",
    "decluster",
    "extremal_index",
    "extremal_index_interval",
    "fit_k_gaps",
    "tail_dependence",
]
