"""
Alarms on a stream
==================

Response times with a daily rhythm and three incidents (made up here). The detector follows the level of the stream, and
each incident is told once.
"""

import numpy as np

from evtkit import DSpot, plot

rng, n = np.random.default_rng(2), 20_000
x = 60.0 + 20.0 * np.sin(np.arange(n) * 2.0 * np.pi / 8640.0) + rng.gumbel(0.0, 5.0, n)
x[6000:6030] += 90.0
x[[11_000, 16_500]] += 110.0, -60.0

spot = DSpot(risk=1e-5, depth=100, side="both").fit(x[:2000])
for event in spot.events(x[2000:]):
    if event.is_over:
        print(event)

# %%
# The alarm levels as they were, row by row.

spot = DSpot(risk=1e-5, depth=100, side="both").fit(x[:2000])
ax = plot.stream(x[2000:], spot.trace(x[2000:]), calibration=x[:2000], label="response time", unit="ms")
