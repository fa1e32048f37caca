"""What the kernels say of an observation, and which magnitudes they take for infinite."""

from __future__ import annotations

MISSING, NORMAL, EXCESS, ANOMALY = -1, 0, 1, 2
HUGE = 1e300  # a magnitude beyond which sums could overflow
