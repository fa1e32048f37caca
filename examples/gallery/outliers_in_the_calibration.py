"""
Outliers in the calibration
===========================

One in a hundred values is a faulty reading. A plain fit takes them for a heavy tail, and would never raise an alarm
again; the default leaves them out and says so.
"""

import numpy as np

from evtkit import fit_tail

x = np.append(np.random.default_rng(0).exponential(size=1980), np.full(20, 60.0))
plain, default = fit_tail(x, clean=False), fit_tail(x)
print(default)

# %%
# The level that one value in ten thousand exceeds; the truth is 9.2.

print(f"as they are {plain.isf(1e-4):.0f}, by default {default.isf(1e-4):.1f}")
