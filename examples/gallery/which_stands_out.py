"""
Which of many stands out?
=========================

A fall of a tenth is nothing for one share and a catastrophe for an index. Each month is judged by what its own channel
usually does.
"""

import numpy as np

from evtkit import demo, fit_tail, plot

months, names, loss = demo.monthly_losses()
tail = fit_tail(loss, quantile=0.9)
crash = int(np.flatnonzero(months == np.datetime64("2008-10"))[0])
ranking = tail.rank(loss[crash], names=np.array(names))
print(ranking)

# %%
# Largest loss and most improbable one are not the same.

ax = plot.ranking(ranking)
