"""Tails that depend on something: parameters linear in covariates, seasons, thresholds that move.

`fit_tail` goes from data to probabilities in one call; `fit_gpd` fits excesses, `fit_gev` block maxima. A formula (by
formulaic) or columns of covariates say what each parameter is linear in; many responses may share them.
"""

from evtkit.covariates.design import Design, harmonics
from evtkit.covariates.fits import fit_gev, fit_gpd
from evtkit.covariates.inference import LikelihoodRatio
from evtkit.covariates.results import RegressionFit
from evtkit.covariates.stepwise import stepwise
from evtkit.covariates.tail import CovariateTail, fit_tail
from evtkit.covariates.trend import TrendTest, trend_test

__all__ = [
    "CovariateTail", "Design", "LikelihoodRatio", "RegressionFit", "TrendTest", "fit_gev", "fit_gpd", "fit_tail",
    "harmonics", "stepwise", "trend_test",
]  # fmt: skip
