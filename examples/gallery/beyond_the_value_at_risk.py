"""
Beyond the value at risk
========================

Losses of an insurer (drawn here from a heavy tail): the value at risk, and what is lost on average beyond it.
"""

import numpy as np

from evtkit import fit_tail, gpd, plot

loss = 1.0 + gpd.rvs(0.5, 2.0, size=2000, rng=3)
tail = fit_tail(loss, quantile=0.9)
p = [0.01, 0.001]
print("value at risk     ", tail.return_level(1 / np.array(p)).round(1))
print("expected shortfall", tail.expected_shortfall(p).round(1))

# %%
# How the level grows with its return period.

ax = plot.return_level(tail, label="loss", unit="million")
