"""
A level that rises
==================

Annual maxima whose location depends on the year (made up here). Is there a trend, and what is the 100-year level now?
"""

import numpy as np

from evtkit import covariates, gev

year = np.arange(1900, 2020)
level = gev.rvs(-0.1, 1.0 + 0.002 * (year - 1900), 0.1, size=year.size, rng=0)
still = covariates.fit_gev(level)
rising = covariates.fit_gev(level, {"year": year}, mu="year")
print(rising.summary())
print(rising.compare(still))

# %%
# The trend with its profile-likelihood limits, and the level with a yearly chance of one in a hundred at both ends.

trend = rising.interval("mu: year")
print(f"{1000 * trend.estimate:.1f} mm a year, {1000 * trend.lower:.1f} to {1000 * trend.upper:.1f}")
print(rising.isf(0.01, {"year": [1900, 2019]}).round(2))
